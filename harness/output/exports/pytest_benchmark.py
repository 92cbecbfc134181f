"""A run in pytest-benchmark's own format, so that `pytest-benchmark compare` and `pytest --benchmark-compare`
read it.

A case is named as the pytest plugin names it, `<suite file, from here>::<label>`, so that both sides meet.
Its data are the samples of all its valid visits; pytest-benchmark takes them for independent, which they are
not: its intervals are too narrow, its medians are right.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean, median, stdev
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.analysis.comparability import facts
from harness.analysis.summary import is_valid
from harness.core.case import Case
from harness.store.results import as_json_values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.store.results import Results

EXTRA = (
    "macs",
    "flops",
    "parameters",
    "minimum_bytes",
    "peak_bytes",
    "resident_bytes",
    "latency_s",
    "latency_low_s",
    "latency_high_s",
    "trust",
    "descriptor",
)
FORMAT_VERSION = "5.3.1"  # of pytest-benchmark, whose fields these are


def render(results: Results) -> str:
    """The JSON of a run's cases that have a figure. The run has one arm."""
    header = results.runs[0]
    environment = facts(header, "main")
    visits = results.visits[is_valid(results.visits)]
    samples = {
        case_id: np.concatenate(group.to_list()) for case_id, group in visits.groupby("case_id")["samples_s"]
    }
    rows = results.summary.query("status == 'ok'").to_dict("records")
    document = {
        "machine_info": {
            "machine": environment.get("machine"),
            "system": environment.get("system"),
            "cpu": {"brand_raw": environment.get("cpu")},
        },
        "commit_info": header["git"] or {},
        "benchmarks": [
            _benchmark(_from_here(header["suite"]["source"]), row, samples[row["case_id"]].tolist())
            for row in rows
        ],
        "datetime": results.visits["started_at"].max().isoformat(),
        "version": FORMAT_VERSION,
    }
    return json.dumps(document, indent=1) + "\n"


def _from_here(source: str) -> str:
    path = Path(source).resolve()
    return path.relative_to(Path.cwd()).as_posix() if path.is_relative_to(Path.cwd()) else source


def extra_info(row: Mapping[Any, Any]) -> dict[str, Any]:
    """What stands beside the figures of a case: MACs, memory, our own figure with its interval, and the
    setting in the descriptor."""
    return as_json_values({name: row[name] for name in EXTRA})


def _benchmark(source: str, row: Mapping[Any, Any], data: list[float]) -> dict[str, Any]:
    label = Case.from_row(row).label
    return {
        "group": row["kind"],
        "name": label,
        "fullname": f"{source}::{label}",
        "params": None,
        "param": None,
        "extra_info": extra_info(row),
        "options": {
            "disable_gc": False,
            "timer": "convscope",
            "min_rounds": len(data),
            "max_time": 0.0,
            "min_time": 0.0,
            "warmup": False,
        },
        "stats": _stats(data),
    }


def _stats(data: Sequence[float]) -> dict[str, Any]:
    """By pytest-benchmark's names; quartiles are numpy's."""
    q1, q3 = (float(q) for q in np.quantile(data, [0.25, 0.75]))
    iqr, centre = q3 - q1, fmean(data)
    spread = stdev(data) if len(data) > 1 else 0.0
    inside = [x for x in data if q1 - 1.5 * iqr <= x <= q3 + 1.5 * iqr]
    far = sum(abs(x - centre) > spread for x in data)
    return {
        "min": min(data),
        "max": max(data),
        "mean": centre,
        "stddev": spread,
        "rounds": len(data),
        "median": median(data),
        "iqr": iqr,
        "q1": q1,
        "q3": q3,
        "iqr_outliers": len(data) - len(inside),
        "stddev_outliers": far,
        "outliers": f"{far};{len(data) - len(inside)}",
        "ld15iqr": min(inside),
        "hd15iqr": max(inside),
        "ops": 1 / centre,
        "total": sum(data),
        "data": list(data),
        "iterations": 1,
    }
