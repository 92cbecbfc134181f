"""Two figures of one case set side by side: under both allocators, and in two runs or arms.

In: the summary. Out: frames with a row a pair: both figures with their intervals, their ratio, and whether it
is past them.
Not here: verdicts. A ratio beyond the intervals is worth a look; whether a change is real is for `compare` to
say.
"""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING, Any

import pandas as pd

from harness.core.case import DEFAULTS
from harness.core.interval import Interval

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    Row = Mapping[Any, Any] | pd.Series[Any]

PAST = "beyond their intervals and by more than 10 %"
NOTABLE = 1.10  # a ratio below this is not spoken of, however narrow its interval
_FIGURE = ("latency_s", "latency_low_s", "latency_high_s")
PAIR_COLUMNS = (
    "base_s",
    "base_low_s",
    "base_high_s",
    "other_s",
    "other_low_s",
    "other_high_s",
    "ratio",
    "ratio_low",
    "ratio_high",
    "clear",
    "within",
)


def clearly_slower(slow: Row, fast: Row) -> bool:
    """Whether a case is slower than another beyond both intervals and by more than 10 %; never with an
    interval from within one process."""
    return bool(fast["interval"] == slow["interval"] == "between" and beyond_intervals(slow, fast))


def beyond_intervals(slow: Row, fast: Row) -> bool:
    """The same, whatever the intervals are of."""
    return bool(
        slow["latency_low_s"] > fast["latency_high_s"] and slow["latency_s"] > NOTABLE * fast["latency_s"]
    )


def allocator_pairs(summary: pd.DataFrame) -> pd.DataFrame:
    """The retained allocator (base) against the default one (other), with minor faults a call; the largest
    ratio first.

    Where both are cases, both have intervals; else the survey's single figure stands for the one that is not,
    without an interval.
    """
    measured = summary[summary["latency_s"].notna() & summary["allocator"].isin(["retained", "default"])]
    same = ["run_id", "arm", "problem_id", *(name for name in DEFAULTS if name != "allocator")]
    rows: list[dict[Hashable, Any]] = []
    for _, group in measured.groupby(same, sort=False, dropna=False):
        sides = {row["allocator"]: row for row in group.to_dict("records")}
        known = sides.get("retained") or sides["default"]
        other = "default" if known["allocator"] == "retained" else "retained"
        if other not in sides and not known["other_allocator_s"] > 0:
            continue
        lone: dict[Hashable, Any] = {
            "minor_faults_per_call": known["other_allocator_faults"],
            "interval": "survey",
        }
        lone.update(dict.fromkeys(_FIGURE, known["other_allocator_s"]))
        sides.setdefault(other, lone)
        faults = {
            f"{name}_faults": sides[side]["minor_faults_per_call"]
            for name, side in (("base", "retained"), ("other", "default"))
        }
        rows.append(
            known | _ratio(sides["retained"], sides["default"]) | faults | {"surveyed": len(group) < 2}
        )
    return _frame(rows, summary)


def side_pairs(summary: pd.DataFrame) -> list[tuple[str, str, pd.DataFrame]]:
    """Each later run or arm against the first, over the cases that both were asked for: names of base and
    other, and the pairs."""
    measured = summary[summary["latency_s"].notna()]
    sides = [(keys, group) for keys, group in measured.groupby(["run", "arm"], sort=False)]
    several_arms, several_runs = measured["arm"].nunique() > 1, measured["run"].nunique() > 1

    def name(keys: Any) -> str:
        return " ".join([f"run {keys[0]}"] * several_runs + [f"arm {keys[1]}"] * several_arms)

    sides.sort(key=lambda side: (side[0][0], side[0][1] == "head"))
    found = []
    for keys, group in sides[1:]:
        base = {row["asked_id"]: row for row in sides[0][1].to_dict("records")}
        rows = [
            row | _ratio(base[row["asked_id"]], row)
            for row in group.to_dict("records")
            if row["asked_id"] in base
        ]
        if rows:
            found.append((name(sides[0][0]), name(keys), _frame(rows, summary)))
    return found


def _ratio(base: Any, other: Any) -> dict[str, Any]:
    """Other over base with the interval of the quotient: half-widths of the logarithms added as squares."""
    values = {
        f"{side}{name.removeprefix('latency')}": row[name]
        for side, row in (("base", base), ("other", other))
        for name in _FIGURE
    }
    ratio = Interval.of_latency(other).over(Interval.of_latency(base))
    within = not base["interval"] == other["interval"] == "between"
    clear = clearly_slower(other, base) or clearly_slower(base, other)
    return values | {
        "ratio": ratio.value,
        "ratio_low": ratio.low,
        "ratio_high": ratio.high,
        "clear": clear,
        "within": within,
    }


def _frame(rows: list[dict[Hashable, Any]], summary: pd.DataFrame) -> pd.DataFrame:
    frame = pd.DataFrame(
        rows,
        columns=list(
            dict.fromkeys([*summary.columns, *PAIR_COLUMNS, "base_faults", "other_faults", "surveyed"])
        ),
    )
    return frame.sort_values(
        "ratio", key=lambda r: r.map(lambda v: -abs(log(v))), kind="stable", ignore_index=True
    )
