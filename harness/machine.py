"""What this machine's reference probes take when it is quiet: learned from every run, so that the next one knows a noisy hour from its first visit.

    <user's cache>/convscope/quiet.json    {environment_id: {threads: {probe: [seconds, one figure a run]}}}

In: the visits of a run that has ended. Out: quiet figures by thread count. It is a cache: lost, it is learned again; what cannot be
written is not learned. A run carries in its run.json the figures that held when it began, so that it reads the same everywhere.
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
    from pathlib import Path

    import pandas as pd

RUNS = 50  # remembered; a machine that has changed for good is known anew after a tenth of them
Quiet = dict[str, dict[str, float]]


def quiet(environment_id: str) -> Quiet:
    """Seconds that each probe takes on the quiet machine, by thread count (as text); empty where nothing is known."""
    known = _read().get(environment_id, {})
    return {threads: {probe: quantile(runs, QUIET_SHARE) for probe, runs in probes.items()} for threads, probes in known.items()}


def learn(visits: pd.DataFrame) -> None:
    """Remember the quiet figures of a run, for each number of threads that has enough visits."""
    known = _read()
    usable = visits[is_valid(visits) & (visits["device"] == "cpu")].dropna(subset=PROBES)
    for (environment_id, threads), group in usable.groupby(["environment_id", "threads_used"]):
        if len(group) < QUIET_VISITS:
            continue
        probes = known.setdefault(str(environment_id), {}).setdefault(f"{threads:.0f}", {probe: [] for probe in PROBES})
        for probe, runs in probes.items():
            runs[:] = [*runs, float(group[probe].quantile(QUIET_SHARE))][-RUNS:]
    with contextlib.suppress(OSError):
        path = _path()
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
        partial.replace(path)


def _path() -> Path:
    return user_cache_path("convscope", appauthor=False) / "quiet.json"


def _read() -> dict[str, dict[str, dict[str, list[float]]]]:
    """What is remembered; nothing where the file is absent or is not ours."""
    try:
        known: Any = json.loads(_path().read_text(encoding="utf-8"))
        return {
            str(environment): {str(threads): {probe: [float(x) for x in probes[probe]] for probe in PROBES} for threads, probes in counts.items()}
            for environment, counts in known.items()
        }
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return {}
