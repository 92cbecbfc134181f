"""One row a case, computed from its visits whenever results are loaded; never stored.

In: the frame of visits. Out: the frame that charts, findings and people read: the centre of the visits with the interval between
them, how far they can be trusted, and the facts that do not vary. Invalid visits and failures are counted and not averaged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from harness.probes import PROBES, beside_neighbours, quiet_level
from harness.record import COLUMNS
from harness.stats import FEWEST_VISITS, Estimate, interval_between, spread_between, two_modes

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from harness.probes import Probes, Quiet

KEYS = ["run_id", "arm", "case_id"]
FACTS = [c.name for c in COLUMNS if c.part in ("case", "survey") and c.name != "case_id"] + [
    "environment_id",
    "threads_used",
    "device_name",
    "resident_bytes",
]
COMPUTED = [
    *("visits", "processes", "set_aside", "invalid", "status", "message", "trust", "trust_reasons"),
    *("latency_s", "latency_low_s", "latency_high_s", "interval", "between_cv", "minor_faults_per_call"),
]
MEDIANS = ["system_share", "run_queue_share", "device_s", "dispatch_s", *PROBES]
WORST_FIRST = ("invalid", "noisy", "unknown", "ok")


def summarize(visits: pd.DataFrame) -> pd.DataFrame:
    """The summary of a frame of visits: `KEYS`, latency with interval, trust, counts, medians of what was seen, facts; as they first appear."""
    figures = makes_figure(visits, KEYS)
    rows = [dict(zip(KEYS, keys, strict=True)) | _case_row(group, group[figures[group.index]]) for keys, group in _groups(visits)]
    if not rows:
        return pd.DataFrame(columns=[*KEYS, *COMPUTED, *MEDIANS, *FACTS])
    facts = visits.groupby(KEYS, sort=False)[FACTS].first()
    medians = visits[is_valid(visits)].groupby(KEYS, sort=False)[MEDIANS].median()
    return pd.DataFrame(rows).join(medians, on=KEYS).join(facts, on=KEYS)


def mark_neighbours(visits: pd.DataFrame, quiet: Mapping[str, Quiet]) -> pd.DataFrame:
    """The visits, those beside slow reference probes noisy with the reason `neighbours`.

    `quiet`: by run, what was known of its machine when it began; where nothing was, the run's own visits tell.
    """
    marked = visits.copy()
    for (run_id, _, threads), group in visits[visits["status"] == "ok"].groupby(["run_id", "device", "threads_used"]):
        seen = group.dropna(subset=PROBES)
        figures: list[Probes] = list(seen[PROBES].itertuples(index=False, name=None))
        level = quiet_level(quiet.get(str(run_id), {}).get(f"{threads:.0f}"), figures)
        if level is not None:
            slow = seen.index[[beside_neighbours(probes, level) for probes in figures]]
            marked.loc[slow, "trust_reasons"] = marked.loc[slow, "trust_reasons"].map(lambda reasons: [*reasons, "neighbours"])
            marked.loc[slow, "trust"] = marked.loc[slow, "trust"].replace("ok", "noisy")
    return marked


def is_valid(visits: pd.DataFrame) -> pd.Series[bool]:
    """Which visits carry a figure that may be used: finished, and not known to be disturbed beyond use."""
    return (visits["status"] == "ok") & (visits["trust"] != "invalid")


def makes_figure(visits: pd.DataFrame, by: list[str]) -> pd.Series[bool]:
    """Which visits make the figure of their group: valid ones beside quiet probes where three processes or more had those, else all valid ones."""
    valid = is_valid(visits)
    beside = visits["trust_reasons"].map(lambda reasons: reasons is not None and "neighbours" in reasons).astype(bool)
    quiet = valid & ~beside
    processes = visits["process"].where(quiet).groupby([visits[name] for name in by]).transform("nunique")
    return valid & (quiet | (processes < FEWEST_VISITS))


def _groups(visits: pd.DataFrame) -> list[tuple[tuple[Hashable, ...], pd.DataFrame]]:
    return [(keys, group) for keys, group in visits.groupby(KEYS, sort=False)]


def _case_row(group: pd.DataFrame, used: pd.DataFrame) -> dict[str, Any]:
    valid = group[is_valid(group)]
    failed = group[~group["status"].isin(["ok"])]
    modes = two_modes(used["latency_s"].tolist())
    trust = next((word for word in WORST_FIRST if (used["trust"] == word).any()), "invalid")
    row: dict[str, Any] = {
        "visits": len(used),
        "processes": used["process"].nunique(),
        "set_aside": len(valid) - len(used),
        "invalid": int(((group["status"] == "ok") & (group["trust"] == "invalid")).sum()),
        "status": _status(valid, failed),
        "message": _message(group, valid, failed),
        "trust": "noisy" if modes and trust == "ok" else trust,
        "trust_reasons": sorted(_reasons(group) | ({"modes"} if modes else set())),
    }
    estimate = _estimate(used)
    row |= {
        "latency_s": estimate.value_s if estimate else float("nan"),
        "latency_low_s": estimate.low_s if estimate else float("nan"),
        "latency_high_s": estimate.high_s if estimate else float("nan"),
        "interval": ("between" if estimate.between else "within") if estimate else None,
        "between_cv": spread_between(used["latency_s"].tolist()),
        "minor_faults_per_call": used["minor_faults_per_call"].mean(),  # as the latency: some visits may fault and others not
    }
    return row


def _reasons(group: pd.DataFrame) -> set[str]:
    return {reason for reasons in group["trust_reasons"] if reasons is not None for reason in reasons}


def _status(valid: pd.DataFrame, failed: pd.DataFrame) -> str:
    """`ok` with a figure; else what became of the last visit that failed, or `invalid` where all were disturbed."""
    if len(valid):
        return "ok"
    return "invalid" if failed.empty else str(failed["status"].iloc[-1])


def _message(group: pd.DataFrame, valid: pd.DataFrame, failed: pd.DataFrame) -> str | None:
    if not failed.empty:
        return str(failed["message"].iloc[-1])
    return None if len(valid) else f"all {len(group)} visits were disturbed: something else used the processors"


def _estimate(valid: pd.DataFrame) -> Estimate | None:
    """Between visits where three processes or more stand behind it; with fewer, from the lowest to the highest end of the intervals within them."""
    if valid.empty:
        return None
    between = interval_between(valid["latency_s"].tolist()) if len(valid) > 1 else None
    if between and valid["process"].nunique() >= FEWEST_VISITS:
        return between
    return Estimate(
        value_s=between.value_s if between else float(valid["latency_s"].iloc[0]),
        low_s=valid["latency_low_s"].min(),
        high_s=valid["latency_high_s"].max(),
        units=int(valid["block_ends"].map(len).sum()),
        between=False,
    )
