"""Comparing two large runs, 100,000 visits against 100,000, takes under 10 s and 2 GiB.

    python benchmarks/large.py

The runs are made: 10,000 cases of ten visits each, 200 samples a visit, written as a run is. What is measured
is the command, its start included. Exit code 1 where a bound is passed.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from harness.core.case import Case, Setting
from harness.core.columns import case_columns
from harness.core.problem import Problem
from harness.store.run_folder import RunFolder
from harness.store.visit_files import MEASUREMENTS_FILE, VISITS_SCHEMA

CASES, VISITS, SAMPLES = 10_000, 10, 200
BOUND_S, BOUND_BYTES = 10.0, 2 * 2**30
BEGAN = datetime(2026, 1, 1, tzinfo=timezone.utc)


def make(results: Path, run_id: str, slower: float) -> None:
    """A run of one machine, all of it slower by a factor."""
    random = np.random.default_rng(0)
    header = {
        "run_id": run_id,
        "schema": 1,
        "suite": {"name": "large"},
        "state": "complete",
        "quick": False,
        "devices": [],
    }
    header |= {"arms": {"main": {"environment_id": "e"}}, "environments": {"e": {"cpu": "made"}}}
    RunFolder(results, header, []).close()
    samples_s = slower * random.lognormal(0, 0.01, (CASES, VISITS, SAMPLES)) * 1e-3
    rows: list[dict[str, Any]] = []
    for number in range(CASES):
        case = Case(
            Problem("standard", in_channels=1 + number % 100, out_channels=1 + number // 100, size=56),
            Setting(),
        )
        known = case_columns(case)
        rows += [
            known | visit_columns(run_id, number, visit, float(np.quantile(samples_s[number, visit], 0.1)))
            for visit in range(VISITS)
        ]
    starts = np.arange(0, samples_s.size + 1, SAMPLES, dtype=np.int32)
    table = pa.Table.from_pylist(rows, VISITS_SCHEMA)
    at = table.schema.get_field_index("samples_s")
    # a list a row would take minutes
    table = table.set_column(at, VISITS_SCHEMA.field(at), pa.ListArray.from_arrays(starts, samples_s.ravel()))
    pq.write_table(table, results / run_id / MEASUREMENTS_FILE)


def visit_columns(run_id: str, number: int, visit: int, latency_s: float) -> dict[str, Any]:
    """One visit, all but its samples."""
    ends = list(range(20, SAMPLES + 1, 20))
    made = {"schema": 1, "run_id": run_id, "arm": "main", "environment_id": "e", "round": visit + 1}
    made |= {
        "position": number,
        "started_at": BEGAN + timedelta(seconds=number),
        "process": f"{visit}-{number}",
        "status": "ok",
        "trust": "ok",
    }
    made |= {
        "trust_reasons": [],
        "samples_s": [],
        "block_ends": ends,
        "calls_per_sample": 1,
        "turns": 0,
        "peak_bytes": 1000,
    }
    return made | {
        "threads_used": 2,
        "device_name": "made",
        "latency_s": latency_s,
        "block_figures_s": [latency_s] * len(ends),
        "latency_low_s": 1e-3,
    }


def main() -> int:
    """Make, compare, print."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder)
        for run_id, slower in (("20260101T000000-base", 1.0), ("20260102T000000-head", 1.001)):
            make(results, run_id, slower)
        began = time.monotonic()
        command = [
            sys.executable,
            "-m",
            "harness",
            "compare",
            "20260101T000000-base",
            "20260102T000000-head",
            "--json",
            "--results",
            folder,
        ]
        done = subprocess.run(command, stdout=subprocess.PIPE)
        took_s = time.monotonic() - began
    peak_bytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(
        f"{CASES * VISITS:,} against {CASES * VISITS:,} visits: "
        f"exit {done.returncode}, {took_s:.1f} s, {peak_bytes / 2**30:.2f} GiB"
    )
    return int(done.returncode != 0 or took_s > BOUND_S or peak_bytes > BOUND_BYTES)


if __name__ == "__main__":
    sys.exit(main())
