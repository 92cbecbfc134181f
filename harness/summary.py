"""One row a case, computed from its visits whenever results are loaded; never stored.

In: the frame of visits. Out: the frame that charts, findings and people read: the centre of the visits with the interval between
them, how far they can be trusted, and the facts that do not vary. Invalid visits and failures are counted and not averaged.

    visits beside quiet probes of three processes  ->  they make the figure, the others are set aside
    fewer                                          ->  all make it, less half of what neighbours slowed the machine by; the interval
                                                       reaches from all of that to none of it
"""

from __future__ import annotations

from math import exp
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from harness.probes import PROBES, quiet_level, slowness
from harness.record import COLUMNS
from harness.stats import FEWEST_VISITS, NEIGHBOURS_SHARE, Estimate, interval_between, spread_between, two_modes

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
    *("latency_s", "latency_low_s", "latency_high_s", "interval", "between_cv", "slowness", "minor_faults_per_call"),
]
MEDIANS = ["system_share", "run_queue_share", "device_s", "dispatch_s", "sm_clock_hz", "energy_j", *PROBES]
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


def mark_neighbours(visits: pd.DataFrame, quiet: Mapping[str, Mapping[str, Quiet]]) -> pd.DataFrame:
    """The visits with their `slowness` (`probes.slowness`); those beside slow reference probes noisy, with the reason `neighbours`.

    `quiet`: by run and environment, what was known of its machine when it began; where nothing was, the run's own visits tell. Another torch has
    other probes, so each environment has its own.
    """
    marked = visits.assign(slowness=0.0)
    counted = visits[is_valid(visits) & (visits["device"] == "cpu")]
    for (run_id, environment, threads), group in counted.groupby(["run_id", "environment_id", "threads_used"]):
        seen = group.dropna(subset=PROBES)
        figures: list[Probes] = list(seen[PROBES].itertuples(index=False, name=None))
        level = quiet_level(quiet.get(str(run_id), {}).get(str(environment), {}).get(f"{threads:.0f}"), figures)
        if level is not None:
            slow = pd.Series([slowness(probes, level) for probes in figures], index=seen.index, dtype=float)
            unknown = group.index.difference(seen.index)  # probes without a figure were disturbed, nobody knows how much: as the slowest
            marked.loc[seen.index, "slowness"] = slow
            marked.loc[unknown, "slowness"] = slow.max() if len(slow) else 0.0
            beside = slow.index[slow > 0].union(unknown)
            marked.loc[beside, "trust_reasons"] = marked.loc[beside, "trust_reasons"].map(lambda reasons: [*reasons, "neighbours"])
            marked.loc[beside, "trust"] = marked.loc[beside, "trust"].replace("ok", "noisy")
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


def at_quiet_s(visits: pd.DataFrame) -> pd.Series[float]:
    """What visits would have taken on the quiet machine, in seconds, as far as can be told: their latency less the middle of what neighbours may have
    cost."""
    return visits["latency_s"].mul(np.exp(-NEIGHBOURS_SHARE * visits["slowness"]))


def _groups(visits: pd.DataFrame) -> list[tuple[tuple[Hashable, ...], pd.DataFrame]]:
    return [(keys, group) for keys, group in visits.groupby(KEYS, sort=False)]


def _case_row(group: pd.DataFrame, used: pd.DataFrame) -> dict[str, Any]:
    valid = group[is_valid(group)]
    failed = group[~group["status"].isin(["ok"])]
    modes = two_modes(at_quiet_s(used).tolist())
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
        "between_cv": spread_between(at_quiet_s(used).tolist()),
        "slowness": used["slowness"].mean(),
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


def _estimate(used: pd.DataFrame) -> Estimate | None:
    """Between visits where three processes or more stand behind it; with fewer, from the lowest to the highest end of the intervals within them.
    Either reaches, beyond that, to where neighbours cost nothing, and to where they cost all of what they slowed the machine by."""
    if used.empty:
        return None
    figures = at_quiet_s(used)
    between = interval_between(figures.tolist()) if len(used) > 1 else None
    stands = between is not None and used["process"].nunique() >= FEWEST_VISITS
    if between and stands:
        low_s, high_s = between.low_s, between.high_s
    else:
        less = figures / used["latency_s"]
        low_s, high_s = (used["latency_low_s"] * less).min(), (used["latency_high_s"] * less).max()
    reach = exp(NEIGHBOURS_SHARE * used["slowness"].mean())
    value_s = between.value_s if between else float(figures.iloc[0])
    return Estimate(value_s=value_s, low_s=low_s / reach, high_s=high_s * reach, between=stands)
