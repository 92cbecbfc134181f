"""What is remembered of this machine from one run to the next, in the user's cache.

    <user's cache>/convscope/runs-3.json      {environment_id: {case_id: [seconds, one figure a run]}}
                             ceilings.json    {environment_id: {device and threads:
                                                 {roof: best rate, or latest cost}}}

Runs: what cases took, so that the next run knows by how much runs of this machine differ. Ceilings: the best
that any run in this environment saw. It is a cache: lost, it is learned again; what cannot be written is not
learned. A run carries in its run.json the figures that held for it, so that it reads the same everywhere.
"""

from __future__ import annotations

import contextlib
import json
from math import log, sqrt
from statistics import fmean, variance
from typing import TYPE_CHECKING, Any

from platformdirs import user_cache_path

from harness.core.columns import METHOD
from harness.store.files import write_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

RUNS = 8  # remembered of a case; a machine that has changed for good is known anew after as many
FEWEST_RUNS = 3  # of a case, to say how they differ ...
FEWEST_CASES = 5  # ... and cases, to say it of the machine
# of logarithms: a machine that seems better was lucky, one that seems worse had another hour
LEAST_SPREAD, MOST_SPREAD = 0.002, 0.05
RATE = "_per_s_"  # in the name of a roof of which more is better
Ceilings = dict[str, Any]


def run_spread(*environment_ids: str) -> dict[str, float]:
    """Standard deviation of a case's figure between runs, on logarithms, by environment; of an environment of
    which too little is known, nothing."""
    known = _runs()
    found = {}
    for environment in environment_ids:
        cases = [
            variance(map(log, figures))
            for figures in known.get(environment, {}).values()
            if len(figures) >= FEWEST_RUNS
        ]
        if len(cases) >= FEWEST_CASES:
            found[environment] = min(
                max(sqrt(fmean(sorted(cases)[: -(len(cases) // 10) or None])), LEAST_SPREAD), MOST_SPREAD
            )
    return found


def learn(summary: pd.DataFrame) -> None:
    """Remember the figures of a run."""
    known = _runs()
    for row in summary[(summary["status"] == "ok") & (summary["interval"] == "between")].to_dict("records"):
        figures = known.setdefault(str(row["environment_id"]), {}).setdefault(str(row["case_id"]), [])
        figures[:] = [*figures, float(row["latency_s"])][-RUNS:]
    remember(_RUNS_FILE, known)


_RUNS_FILE = f"runs-{METHOD}"  # figures of another method differ for another reason


def _runs() -> dict[str, dict[str, list[float]]]:
    """What is remembered of runs; nothing where it is not ours."""
    try:
        return {
            str(environment): {
                str(case): [float(x) for x in figures if x > 0] for case, figures in cases.items()
            }
            for environment, cases in remembered(_RUNS_FILE).items()
        }
    except (ValueError, AttributeError, TypeError):
        return {}


def best_ceilings(environment_id: str, measured: Sequence[Ceilings]) -> list[Ceilings]:
    """The ceilings that were measured just now, each rate the highest that this environment ever reached;
    remembered from now on.

    What disturbs only makes slower, so what was reached once can be reached. A cost is this run's own: it is
    a difference of two figures, and the least of many would be the one that noise made small.
    """
    known = remembered("ceilings")
    kept = known[environment_id] = dict(known.get(environment_id) or {})
    found = []
    for ceilings in measured:
        key = f"{ceilings['device']} {ceilings['device_index']} {ceilings['threads_used']}"
        before = kept.get(key) or {}
        rates = {
            name: value for name, value in ceilings["roofs"].items() if RATE in name and value is not None
        }
        best = {name: max(value, before.get(name) or 0.0) for name, value in rates.items()}
        kept[key] = (
            before | {name: value for name, value in ceilings["roofs"].items() if value is not None} | best
        )
        found.append(ceilings | {"roofs": ceilings["roofs"] | best})
    remember("ceilings", known)
    return found


def known_ceilings(environment_id: str, threads: int, dtypes: set[str]) -> list[Ceilings]:
    """The ceilings of a processor as they are remembered, for as many threads; nothing where one of these
    dtypes was never measured."""
    kept = (remembered("ceilings").get(environment_id) or {}).get(f"cpu None {threads}") or {}
    if "page_fault_s" not in kept or not all(kept.get(f"flops_per_s_{dtype}") for dtype in dtypes):
        return []
    return [{"device": "cpu", "device_index": None, "threads_used": threads, "roofs": kept}]


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
        write_text(path, json.dumps(what, indent=1) + "\n")


def _path(name: str) -> Path:
    return user_cache_path("convscope", appauthor=False) / f"{name}.json"
