"""Records runs of the same cases on this machine, one after the other: the data that the definition of a
figure is judged by.

    python benchmarks/campaign.py NAME                 eight runs of fifteen cases, six rounds each,
                                                       some ten minutes
    python benchmarks/campaign.py NAME --busy          beside a loop that keeps one processor busy
    python benchmarks/campaign.py NAME --alone         visits in one go, as an accelerator's are
    python benchmarks/campaign.py NAME --runs 2 --rounds 4

Keeps `benchmarks/campaigns/NAME.parquet`: a row a visit, with its counters, and of each block of samples some
quantiles and their number, which is enough to try another figure. Nothing else should be at work meanwhile: a
campaign says what the machine does by itself.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from harness import sweep
from harness.core.errors import CasesFailed
from harness.output.progress_bar import RunProgress
from harness.plan.suite import read_suite
from harness.run import rounds
from harness.store.results import load_results

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
SHARES = (0.0, 0.02, 0.05, 0.1, 0.25, 0.5, 0.9)  # of each block
FACTS = [
    "case_id",
    "descriptor",
    "kind",
    "memory_format",
    "threads_used",
    "allocator",
    "device_name",
    "environment_id",
]
COUNTERS = ["run_queue_share", "steal_share", "system_share", "drift", "minor_faults_per_call", "wall_s"]
VISIT = [
    "round",
    "position",
    "started_at",
    "process",
    "status",
    "trust",
    "trust_reasons",
    "calls_per_sample",
    "turns",
]
FIGURES = ["latency_s", "latency_median_s", "latency_min_s"]


def recorded(visits: pd.DataFrame) -> pd.DataFrame:
    """A row a visit, its samples thinned to `SHARES` of each block, in seconds a call."""
    blocks = [_blocks(row.samples_s, row.block_ends) for row in visits.itertuples()]
    kept = visits[[*FACTS, *VISIT, *FIGURES, *COUNTERS]].copy()
    kept["block_counts"] = [[len(block) for block in one] for one in blocks]
    kept["block_quantiles_s"] = [
        np.concatenate([np.quantile(block, SHARES) for block in one]).astype(np.float32) for one in blocks
    ]
    return kept


def _blocks(samples: np.ndarray, ends: np.ndarray) -> list[np.ndarray]:
    return [np.asarray(samples[start:end]) for start, end in pairwise([0, *ends])]


@contextmanager
def busy(wanted: bool) -> Iterator[None]:
    """A process that keeps one processor busy meanwhile."""
    if not wanted:
        yield
        return
    loop = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        loop.kill()
        loop.wait()


def main() -> int:
    """Run, thin, keep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name")
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--results", type=Path, help="keep the runs themselves here, samples and all")
    asked = parser.parse_args()
    suite = read_suite(HERE / "campaign.toml")
    if asked.alone:
        rounds.MOST_TOGETHER = 1
    suite = replace(suite, policy=replace(suite.policy, rounds=asked.rounds, max_rounds=asked.rounds))
    out = HERE / "campaigns" / f"{asked.name}.parquet"
    out.parent.mkdir(exist_ok=True)
    frames = []
    for number in range(asked.runs):
        with tempfile.TemporaryDirectory() as passing, busy(asked.busy), RunProgress() as progress:
            try:
                found = sweep(suite, results=asked.results or passing, listener=progress)
            except CasesFailed as failed:
                found = load_results(failed.where)
            visits = found.visits
        frames.append(recorded(visits[visits["status"] == "ok"]).assign(run=number))
        # what is there is kept, whatever comes
        pd.concat(frames).reset_index(drop=True).to_parquet(out, compression="zstd")
    print(f"{sum(map(len, frames))} visits of {asked.runs} runs in {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
