"""Runs made of rows, on a machine that never was: for pages, findings and summaries, which need no worker."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import tomllib

from harness.core import stats
from harness.core.case import Case
from harness.core.columns import BY_NAME, METHOD, SCHEMA, case_columns
from harness.plan.points import distinct_cases, expand
from harness.plan.suite import parse_suite
from harness.store.run_folder import RunFolder
from harness.store.visit_files import MEASUREMENTS_FILE, VISITS_SCHEMA, write_table

Values = dict[str, Any]
RUN_ID = "20261124T090000-made-0001"

KINDS_SUITE = """
schema = 1
name = "made"
title = "Five kinds & <two> layouts"
[problem]
size = 28
[setting]
memory_format = ["contiguous", "channels_last"]
allocator = ["retained", "default"]
[[sweep]]
name = "channels"
x = "in_channels"
kind = ["standard", "grouped", "depthwise", "pointwise", "depthwise_separable"]
in_channels = [16, 64, 256]
groups = 8
"""
LAYOUTS = 'memory_format = ["contiguous", "channels_last"]\n'
ALLOCATORS = 'allocator = ["retained", "default"]\n'
CHANNELS_SUITE = KINDS_SUITE.replace(LAYOUTS + ALLOCATORS, "")  # 15 cases
# 5 cases, for what is said of any: a page of them takes a sixth of the time
FEW_SUITE = CHANNELS_SUITE.replace("[16, 64, 256]", "[16]")
PLANE_SUITE = """
schema = 1
name = "plane"
title = "Channels by size"
[[sweep]]
name = "plane"
x = "in_channels"
kind = ["standard", "grouped", "depthwise", "pointwise", "depthwise_separable"]
in_channels = [16, 64, 256, 1024]
size = [7, 28, 112]
groups = 8
"""
SETTINGS_SUITE = """
schema = 1
name = "settings"
title = "Two layouts, two channel counts"
[problem]
size = 28
[setting]
memory_format = ["contiguous", "channels_last"]
allocator = ["retained", "default"]
[[sweep]]
name = "kinds"
x = "in_channels"
kind = ["standard", "depthwise", "depthwise_separable"]
in_channels = [64, 128]
"""
GROUPS_SUITE = """
schema = 1
name = "groups"
title = "Groups"
[problem]
size = 28
in_channels = 64
[[sweep]]
name = "groups"
x = "groups"
kind = ["standard", "grouped", "depthwise"]
groups = [1, 2, 4, 8, 16, 32, 48, 64]
[[sweep]]
name = "kernels"
x = "kernel_size"
kind = ["depthwise", "pointwise"]
kernel_size = [1, 3, 5, 7, "3x5"]
[[sweep]]
name = "threads"
x = "threads"
kind = ["standard", "depthwise"]
threads = ["1", "2", "all"]
[[sweep]]
name = "types"
x = "dtype"
kind = ["standard", "depthwise"]
dtype = ["float32", "bfloat16", "float64"]
[[sweep]]
name = "sizes"
x = "size"
kind = ["standard", "depthwise"]
size = [7, 14, 28, 56]
[[sweep]]
name = "no_axis"
kind = ["standard", "depthwise"]
"""
NETWORK_SUITE = """
schema = 1
name = "network"
title = "A small network"
[setting]
memory_format = ["contiguous", "channels_last"]
[[sweep]]
name = "net"
layers = "net.csv"
"""
NETWORK_LAYERS = """name,repeat,in_channels,out_channels,size,kernel_size,stride,groups
stem,1,3,32,64,3,2,1
block 1 depthwise,1,32,32,32,3,1,32
block 1 pointwise,1,32,64,32,1,1,1
block 2 depthwise,5,64,64,32,3,1,64
block 2 pointwise,5,64,64,32,1,1,1
"""
SUITES = {
    "kinds": KINDS_SUITE,
    "groups": GROUPS_SUITE,
    "network": NETWORK_SUITE,
    "plane": PLANE_SUITE,
    "settings": SETTINGS_SUITE,
}


def cost(case: Case) -> float:
    """Seconds a call on a machine that never was: work, bytes, and what an allocator that gives memory back
    takes for its faults."""
    faults = (
        2.0 if case.setting.allocator == "default" and case.setting.memory_format == "contiguous" else 1.0
    )
    return faults * (case.problem.flops / 80e9 + case.problem.minimum_bytes(4) / 4e9 + 5e-6)


def make_run(
    results: Path,
    text: str = KINDS_SUITE,
    *,
    run_id: str = RUN_ID,
    visits: int = 3,
    latency: Callable[[Case], float] = cost,
    change: Callable[[Case], Values] = lambda _: {},
    reached: Callable[[Case], bool] = lambda _: True,
    arms: tuple[str, ...] = ("main",),
    factors: Mapping[str, float] | None = None,
    spread: float = 0.01,
    **header: Any,
) -> Path:
    """A run in `run_folder`, made of rows; an arm takes `factors` times as long; `change` sets columns of a
    case's rows, a status among them. The folder that it lies in. A suite that reads net.csv gets
    `NETWORK_LAYERS`, unless there is one."""
    layers = results / "net.csv"
    if layers.name in text and not layers.exists():
        layers.write_text(NETWORK_LAYERS, encoding="utf-8")
    suite = parse_suite(tomllib.loads(text), text=text, folder=results)
    points = expand(suite)
    told: dict[str, Any] = {"schema": SCHEMA, "method": METHOD, "run_id": run_id}
    told |= {
        "suite": {"name": suite.name, "title": suite.title, "text": text},
        "policy": suite.policy.as_message(),
    }
    told |= {
        "environments": {
            "e1": {
                "torch": "2.0-made",
                "cpu": "made",
                "instruction_set": "NONE",
                "threads_available": 2,
                "memory_bytes": 2**34,
            }
        }
    }
    told |= {
        "quick": False,
        "state": "complete",
        "wall_s": 80.0,
        "timed_s": 31.0,
        "version": "0",
        "git": None,
    }
    told |= {
        "arms": {arm: {"python": "made", "environment_id": "e1", "changes": {}} for arm in arms},
        "devices": [],
    }
    folder = RunFolder(results, told | header, points)
    rows = [
        _row(run_id, arm, case, visit, number, (factors or {}).get(arm, 1.0) * latency(case), spread)
        | (_paired(number, visit, visits) if len(arms) > 1 else {})
        | change(case)
        for number, case in enumerate(filter(reached, distinct_cases(points)))
        for arm in arms
        for visit in range(visits)
    ]
    # at once: row by row each is synced
    write_table(pa.Table.from_pylist(rows, VISITS_SCHEMA), folder.path / MEASUREMENTS_FILE)
    folder.close()
    path: Path = folder.path
    return path


def _paired(number: int, visit: int, visits: int) -> Values:
    """The columns of a visit whose other side was measured beside it."""
    return {"pair": number * visits + visit, "stage": "screen"}


def below(_: Case) -> Values:
    """The columns of a survey that saw a convolution and a reorder below torch."""
    seen = [
        {"name": "jit:avx512", "role": "convolution", "calls": 1, "time_s": 3e-4},
        {"name": "jit:uni", "role": "reorder_source", "calls": 1, "time_s": 1e-4},
    ]
    return {"primitives": seen, "explained_share": 0.8, "backend": "Mkldnn"}


ROOFS = {"flops_per_s_float32": 200e9, "bytes_per_s_2097152": 3e10, "bytes_per_s_268435456": 1.1e10}
CEILINGS = [
    {"device": "cpu", "device_index": None, "threads_used": 4, "roofs": {**ROOFS, "page_fault_s": 1e-7}}
]


def _row(
    run_id: str, arm: str, case: Case, visit: int, number: int, latency_s: float, spread: float
) -> Values:
    chance = random.Random(f"{run_id} {arm} {case.case_id} {visit}")
    centre = latency_s * chance.lognormvariate(0, spread)
    samples = [centre * chance.uniform(0.999, 1.001) for _ in range(30)]
    ends = list(range(3, 31, 3))
    default = case.setting.allocator == "default"
    output = (
        case.setting.element_bytes
        * case.problem.output_shape[1]
        * case.problem.output_shape[2]
        * case.problem.output_shape[3]
    )
    row = dict.fromkeys(BY_NAME) | case_columns(case) | stats.describe(samples, ends, 1e-9)
    row |= {
        "schema": SCHEMA,
        "run_id": run_id,
        "arm": arm,
        "asked_id": case.case_id,
        "environment_id": "e1",
        "round": visit + 1,
        "position": number,
        "turns": 0,
    }
    row |= {
        "started_at": datetime(2026, 11, 24, 9, 0, tzinfo=timezone.utc) + timedelta(seconds=number),
        "process": f"{arm}-{visit}-{number}",
    }
    row |= {
        "status": "ok",
        "trust": "ok",
        "trust_reasons": [],
        "samples_s": samples,
        "block_ends": ends,
        "calls_per_sample": 1,
        "wall_s": 0.3,
    }
    row |= {
        "device_name": "made",
        "threads_used": int(case.setting.threads) if case.setting.threads != "all" else 4,
        "clock": "host",
    }
    row |= {
        "macs_fvcore": case.problem.macs,
        "peak_bytes": 3 * output,
        "workspace_bytes": 2 * output,
        "resident_bytes": output,
    }
    return row | {
        "minor_faults_per_call": 500.0 if default and case.setting.memory_format == "contiguous" else 0.1
    }


def failing(message: str, status: str = "out_of_memory") -> Values:
    """The columns of a visit that came to nothing."""
    nothing = [
        name for name, column in BY_NAME.items() if column.part in ("visit", "survey") and column.nullable
    ]
    return dict.fromkeys(nothing) | {"status": status, "message": message, "trust": "unknown"}
