"""Whether devices that say the same of themselves are alike: the cases that two of them measured.

In: the visits of a run, and those of its check by other devices. Out: how many times as long the check took,
for each pair of devices, as run.json keeps it.
"""

from __future__ import annotations

from math import exp, log
from statistics import median
from typing import TYPE_CHECKING, Any

from harness.analysis.summary import is_valid, summarize
from harness.core import units
from harness.core.interval import Interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

NOTABLE = 1.05  # two devices that differ by less, in the median case, count as alike


def likeness(visits: pd.DataFrame, checks: pd.DataFrame) -> list[dict[str, Any]]:
    """For each pair of devices, `measured` and `checked` it: `cases` that both measured, the median `ratio`
    of the second's latency to the first's, and how many cases were `apart`, past both intervals; `alike`:
    whether the median is within `NOTABLE`."""
    found: dict[tuple[str, str], list[tuple[float, bool]]] = {}
    before, after = _by_case(visits), _by_case(checks)
    for case_id in before.keys() & after.keys():
        (measured, latency), (checked, again) = before[case_id], after[case_id]
        ratio = again.value / latency.value
        apart = again.low > latency.high or again.high < latency.low
        found.setdefault((measured, checked), []).append((ratio, apart))
    rows = []
    for (measured, checked), pairs in sorted(found.items()):
        ratio = exp(median(log(one) for one, _ in pairs))
        rows.append(
            {
                "measured": measured,
                "checked": checked,
                "cases": len(pairs),
                "ratio": ratio,
                "apart": sum(apart for _, apart in pairs),
                "alike": 1 / NOTABLE < ratio < NOTABLE,
            }
        )
    return rows


def sentences(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """What `likeness` found, for people: all pairs that are alike in one sentence, each other pair in its
    own."""
    alike = [pair for pair in found if pair["alike"]]
    said = []
    if alike:
        cases = sum(pair["cases"] for pair in alike)
        low, high = min(pair["ratio"] for pair in alike), max(pair["ratio"] for pair in alike)
        said.append(
            f"{cases} cases were checked by a second device: alike, {units.significant(low, 3)} to "
            f"{units.significant(high, 3)} times in the median of a pair."
        )
    return said + [
        f"{pair['checked']} takes {units.significant(pair['ratio'], 3)} times as long as {pair['measured']} "
        f"(median of {pair['cases']} cases): they are not alike, so measure with --each."
        for pair in found
        if not pair["alike"]
    ]


def _by_case(visits: pd.DataFrame) -> dict[str, tuple[str, Interval]]:
    """By case, the device that measured it and its latency; without those that several measured."""
    if visits.empty:
        return {}
    valid = visits[is_valid(visits)]
    members = valid.groupby("case_id")["member"].agg(["nunique", "first"])
    rows = summarize(valid, {}).to_dict("records") if len(valid) else []
    return {
        row["case_id"]: (members.loc[row["case_id"], "first"], Interval.of_latency(row))
        for row in rows
        if members.loc[row["case_id"], "nunique"] == 1
    }
