"""What is remembered of this machine from one run to the next, in the user's cache.

    <user's cache>/convscope/quiet.json       {environment_id: {threads: {probe: [seconds, one figure a run]}}}
                             ceilings.json    {environment_id: {device and threads: {roof: best}}}

Quiet: what reference probes take when nothing disturbs them, learned from every run, so that the next one knows a noisy hour from its first
visit. Ceilings: the best that any run in this environment saw. It is a cache: lost, it is learned again; what cannot be written is not
learned. A run carries in its run.json the figures that held for it, so that it reads the same everywhere.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from platformdirs import user_cache_path

from harness.probes import PROBES, QUIET_SHARE, QUIET_VISITS
from harness.stats import quantile
from harness.summary import is_valid

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

RUNS = 50  # remembered; a machine that has changed for good is known anew after a tenth of them
RATE = "_per_s_"  # in the name of a roof of which more is better
Quiet = dict[str, dict[str, float]]
Ceilings = dict[str, Any]


def quiet(*environment_ids: str) -> dict[str, Quiet]:
    """Seconds that each probe takes on the quiet machine, by environment and thread count (as text); of an environment of which nothing is known,
    nothing."""
    known = _quiet_runs()
    return {
        environment: {threads: _usual(probes) for threads, probes in known[environment].items()}
        for environment in environment_ids
        if environment in known
    }


def _usual(probes: dict[str, list[float]]) -> dict[str, float]:
    return {probe: quantile(runs, QUIET_SHARE) for probe, runs in probes.items()}


def learn(visits: pd.DataFrame) -> None:
    """Remember the quiet figures of a run, for each number of threads that has enough visits."""
    known = _quiet_runs()
    usable = visits[is_valid(visits) & (visits["device"] == "cpu")].dropna(subset=PROBES)
    for (environment_id, threads), group in usable.groupby(["environment_id", "threads_used"]):
        if len(group) < QUIET_VISITS:
            continue
        probes = known.setdefault(str(environment_id), {}).setdefault(f"{threads:.0f}", {probe: [] for probe in PROBES})
        for probe, runs in probes.items():
            runs[:] = [*runs, float(group[probe].quantile(QUIET_SHARE))][-RUNS:]
    remember("quiet", known)


def _quiet_runs() -> dict[str, dict[str, dict[str, list[float]]]]:
    """What is remembered of the probes; nothing where it is not ours."""
    try:
        return {
            str(environment): {str(threads): {probe: [float(x) for x in probes[probe]] for probe in PROBES} for threads, probes in counts.items()}
            for environment, counts in remembered("quiet").items()
        }
    except (ValueError, AttributeError, KeyError, TypeError):
        return {}


def best_ceilings(environment_id: str, measured: Sequence[Ceilings]) -> list[Ceilings]:
    """The ceilings that were measured just now, each rate the highest that this environment ever reached; remembered from now on.

    What disturbs only makes slower, so what was reached once can be reached. A cost is this run's own: it is a difference of two figures, and
    the least of many would be the one that noise made small.
    """
    known = remembered("ceilings")
    kept = known[environment_id] = dict(known.get(environment_id) or {})
    found = []
    for ceilings in measured:
        key = f"{ceilings['device']} {ceilings['device_index']} {ceilings['threads_used']}"
        before = kept.get(key) or {}
        rates = {name: value for name, value in ceilings["roofs"].items() if RATE in name and value is not None}
        best = {name: max(value, before.get(name) or 0.0) for name, value in rates.items()}
        kept[key] = before | best
        found.append(ceilings | {"roofs": ceilings["roofs"] | best})
    remember("ceilings", known)
    return found


def remembered(name: str) -> dict[str, Any]:
    """What was kept under a name; nothing where there is nothing, or nothing of ours."""
    try:
        found: Any = json.loads(_path(name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def remember(name: str, what: dict[str, Any]) -> None:
    """Keep it, whole or not at all."""
    path = _path(name)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(what, indent=1) + "\n", encoding="utf-8")
        partial.replace(path)


def _path(name: str) -> Path:
    return user_cache_path("convscope", appauthor=False) / f"{name}.json"
