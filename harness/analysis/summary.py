"""One row a case from the rows of its visits.

In: a frame of visits by the columns' names. Out: a frame with one row a run, arm and case: counts, the figure
with its interval, what it took here in the median, how far it can be trusted, and what the visits had in
common. Pure: no file, no device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from harness.analysis import case_estimate
from harness.analysis.case_estimate import FEWEST_VISITS
from harness.analysis.comparability import run_spread
from harness.core.case import padding_of
from harness.core.columns import COLUMNS
from harness.core.interval import Interval
from harness.core.policy import Policy
from harness.core.stats import spread_between, two_modes

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

KEYS = ["run_id", "arm", "case_id"]
FACTS = [c.name for c in COLUMNS if c.part in ("case", "survey") and c.name not in KEYS] + [
    "environment_id",
    "threads_used",
    "device_name",
    "resident_bytes",
]
COMPUTED = [
    *("visits", "processes", "invalid", "status", "message", "trust", "trust_reasons"),
    *(
        "latency_s",
        "latency_low_s",
        "latency_high_s",
        "typical_s",
        "interval",
        "between_cv",
        "minor_faults_per_call",
    ),
]
MEDIANS = ["system_share", "run_queue_share", "device_s", "dispatch_s", "sm_clock_hz", "energy_j"]


def summarize(visits: pd.DataFrame, headers: Mapping[str, Mapping[str, Any]] | None = None) -> pd.DataFrame:
    """The summary of a frame of visits: `KEYS`, latency with interval, trust, counts, medians of what was
    seen, facts, padding as its text; as they first appear.

    `headers`: of each run, by its run_id, what its run.json says: `run_spread`, what runs of its machine
    differ by, by environment, and the policy, whose target_width tells `ok` from `wide`.
    """
    rows = [
        dict(zip(KEYS, keys, strict=True)) | _case_row(group, (headers or {}).get(str(keys[0]), {}))
        for keys, group in _groups(visits)
    ]
    if not rows:
        return pd.DataFrame(columns=[*KEYS, *COMPUTED, *MEDIANS, *FACTS, "padding"])
    facts = visits.groupby(KEYS, sort=False)[FACTS].first()
    facts["padding"] = facts["descriptor"].map(padding_of)  # the columns say it where it is even
    medians = visits[is_valid(visits)].groupby(KEYS, sort=False)[MEDIANS].median()
    return pd.DataFrame(rows).join(medians, on=KEYS).join(facts, on=KEYS)


def is_valid(visits: pd.DataFrame) -> pd.Series[bool]:
    """Which visits carry a figure that may be used: finished, and not known to be disturbed beyond use."""
    return (visits["status"] == "ok") & (visits["trust"] != "invalid")


def _groups(visits: pd.DataFrame) -> list[tuple[tuple[Hashable, ...], pd.DataFrame]]:
    return [(keys, group) for keys, group in visits.groupby(KEYS, sort=False)]


def _case_row(group: pd.DataFrame, header: Mapping[str, Any]) -> dict[str, Any]:
    valid, failed = group[is_valid(group)], group[~group["status"].isin(["ok"])]
    target = (header.get("policy") or {}).get("target_width", Policy().target_width)
    estimate = estimate_of(valid, run_spread(header, group["environment_id"].iloc[0]))
    between = valid["process"].nunique() >= FEWEST_VISITS
    modes = two_modes(valid["latency_s"].tolist())
    row: dict[str, Any] = {
        "visits": len(valid),
        "processes": valid["process"].nunique(),
        "invalid": int(((group["status"] == "ok") & (group["trust"] == "invalid")).sum()),
        "status": _status(valid, failed),
        "message": _message(group, valid, failed),
        "trust": "invalid"
        if estimate is None
        else "ok"
        if between and estimate.half_width <= target
        else "wide",
        "trust_reasons": sorted(_reasons(group) | ({"modes"} if modes else set())),
    }
    return row | {
        "latency_s": estimate.value if estimate else float("nan"),
        "latency_low_s": estimate.low if estimate else float("nan"),
        "latency_high_s": estimate.high if estimate else float("nan"),
        "typical_s": valid["latency_median_s"].median(),
        "interval": ("between" if between else "within") if estimate else None,
        "between_cv": spread_between(valid["latency_s"].tolist()),
        # as the latency: some visits may fault and others not
        "minor_faults_per_call": valid["minor_faults_per_call"].mean(),
    }


def _reasons(group: pd.DataFrame) -> set[str]:
    return {reason for reasons in group["trust_reasons"] if reasons is not None for reason in reasons}


def _status(valid: pd.DataFrame, failed: pd.DataFrame) -> str:
    """`ok` with a figure; else what became of the last visit that failed, or `invalid` where all were
    disturbed."""
    if len(valid):
        return "ok"
    return "invalid" if failed.empty else str(failed["status"].iloc[-1])


def _message(group: pd.DataFrame, valid: pd.DataFrame, failed: pd.DataFrame) -> str | None:
    if not failed.empty:
        return str(failed["message"].iloc[-1])
    return (
        None if len(valid) else f"all {len(group)} repetitions were disturbed: other processes used the CPU"
    )


def estimate_of(valid: pd.DataFrame, run_spread: float) -> Interval | None:
    """Of the valid visits of a case: between them where three processes or more stand behind it; with fewer,
    from the lowest to the highest end of the intervals within them. None without a visit."""
    if valid.empty:
        return None
    places = valid["place_figures_s"].tolist()
    if valid["process"].nunique() >= FEWEST_VISITS:
        return case_estimate.between(places, run_spread)
    value_s = case_estimate.figure_s(places)
    low_s = float(np.minimum(valid["latency_low_s"].min(), value_s))
    return Interval(value_s, low_s, float(np.maximum(valid["latency_high_s"].max(), value_s)))
