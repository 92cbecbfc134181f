"""The CUDA path against the bounds that it must keep, in one program for a machine that is lent by the minute.

    python benchmarks/gpu.py --out FOLDER                     all of it, in the order of what matters most
    python benchmarks/gpu.py --out FOLDER --only clocks memory
    python benchmarks/gpu.py --out FOLDER --device cpu        what needs no GPU: that the program itself runs

Each part prints its figures, one line a case, and writes them to FOLDER/PART.json; runs are kept in FOLDER/results. A part that fails does not
end the others. Exit code 1 where a bound does not hold.

    clocks      device time by events, by replays of a graph, by the profiler: within 2 % over 1 ms, within 5 % from 5 to 100 us
    launches    a small depthwise layer: latency, device and dispatch apart
    caches      rotating is slower than hot for what fits the cache
    ceilings    within 10 % of what a plain loop of torch's reaches: copies, and products in bfloat16
    roofline    no case of quickstart above 1.05 of its roof
    memory      the peak of a call less its output, against the allocation events of the profiler: within 512 bytes a tensor
    repeat      five runs of quickstart: 95 % of the cases over 20 us within 1 %
    suites      the sweeps whose figures are worth keeping, each with a time limit
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness import Problem, Setting, measure, sweep
from harness.case import Case
from harness.errors import CasesFailed
from harness.policy import Policy
from harness.results import as_json_values, load_results

Row = dict[str, Any]
SHORT = Policy(rounds=3, max_rounds=3, warm_up_s=0.05, visit_time_s=0.1)
PROBLEMS = [
    Problem("depthwise", in_channels=64, size=28),
    Problem("depthwise", in_channels=256, size=56, batch=8),
    Problem("pointwise", in_channels=128, size=56, batch=4),
    Problem("grouped", in_channels=128, size=56, groups=8, batch=8),
    Problem("standard", in_channels=128, size=56, batch=8),
    Problem("depthwise_separable", in_channels=256, size=56, batch=32),
    Problem("standard", in_channels=256, size=112, batch=32),
    Problem("standard", in_channels=512, size=56, batch=64),
]
SUITES: list[tuple[str, dict[str, tuple[Any, ...]], float]] = [
    ("quickstart", {}, 120),
    ("dtypes", {}, 120),
    ("mobilenet_v1", {"batch": (1, 32)}, 180),
    ("channels", {"memory_format": ("channels_last",)}, 120),
    ("groups", {}, 120),
    ("kernel_sizes", {}, 120),
    ("shufflenet_g2", {"batch": (1, 2, 4)}, 60),
    ("replknet_depthwise", {}, 180),
    ("quickstart", {"mode": ("eager", "cuda_graph"), "memory_format": ("channels_last",)}, 90),
    ("quickstart", {"cache": ("hot", "rotating"), "memory_format": ("channels_last",)}, 90),
]


@dataclass(frozen=True)
class Bench:
    """Where it is measured and kept."""

    device: str
    out: Path

    @property
    def results(self) -> Path:
        """The folder of the runs."""
        return self.out / "results"

    def measured(self, problem: Problem, **setting: Any) -> Row:
        """The summary of one case."""
        return measure(problem, Setting(device=self.device, **setting), policy=SHORT).row

    def swept(self, suite: str, axes: dict[str, tuple[Any, ...]], limit_s: float) -> pd.DataFrame:
        """The summary of a suite on the device."""
        try:
            found = sweep(suite, axes={"device": (self.device,), **axes}, results=self.results, time_limit_s=limit_s)
        except CasesFailed as failed:
            found = load_results(failed.where)
        return found.summary


def clocks(bench: Bench) -> Iterator[Row]:
    """Three ways to say what the device takes."""
    for problem in PROBLEMS:
        eager = bench.measured(problem)
        graph = bench.measured(problem, mode="cuda_graph") if bench.device == "cuda" else eager
        events_s = eager["device_s"] or eager["latency_s"]
        kernels_s = sum(one["time_s"] for one in eager["primitives"] or ()) or float("nan")
        bound = 0.02 if events_s > 1e-3 else 0.05 if 5e-6 <= events_s <= 100e-6 else float("inf")
        ratios = {"graph": graph["latency_s"] / events_s, "profiler": kernels_s / events_s}
        ok = bench.device == "cpu" or all(abs(ratio - 1) <= bound for ratio in ratios.values())
        yield {"case": Case(problem, Setting(device=bench.device)).label, "device_s": events_s, **ratios, "bound": bound, "ok": ok}


def launches(bench: Bench) -> Iterator[Row]:
    """A layer that the host takes longer to launch than the device to compute."""
    row = bench.measured(Problem("depthwise", in_channels=32, size=14))
    figures = {name: row[name] for name in ("latency_s", "device_s", "dispatch_s")}
    ok = bench.device == "cpu" or figures["device_s"] < figures["dispatch_s"] <= 1.1 * figures["latency_s"]
    yield {"case": "depthwise 32, 14x14", **figures, "ok": ok}


def caches(bench: Bench) -> Iterator[Row]:
    """What fits the cache of a current GPU, hot and rotated over copies that do not."""
    problem = Problem("pointwise", in_channels=64, size=224)
    hot, rotating = (bench.measured(problem, cache=cache, mode="eager") for cache in ("hot", "rotating"))
    name = "latency_s" if bench.device == "cpu" else "device_s"
    yield {"case": "pointwise 64, 224x224", "hot_s": hot[name], "rotating_s": rotating[name], "ok": rotating[name] > hot[name]}


def ceilings(bench: Bench) -> Iterator[Row]:
    """Ours against a plain loop."""
    import torch

    dtypes = ("float32", "bfloat16")
    found = sweep(
        axes={"device": (bench.device,), "kind": ("pointwise",), "in_channels": (64,), "size": (28,), "dtype": dtypes}, results=bench.results
    )
    roofs: Row = found.runs[0]["ceilings"][0]["roofs"]
    device = torch.device(bench.device)
    large = max(int(name.removeprefix("bytes_per_s_")) for name in roofs if name.startswith("bytes_per_s_"))
    source, target = (torch.ones(large // 2, dtype=torch.uint8, device=device) for _ in range(2))
    size = 8192 if bench.device == "cuda" else 1024
    one, two, product = (torch.full((size, size), 0.5, dtype=torch.bfloat16, device=device) for _ in range(3))
    plain = {
        f"bytes_per_s_{large}": large / _least_s(lambda: target.copy_(source), device),
        "flops_per_s_bfloat16": 2 * size**3 / _least_s(lambda: torch.mm(one, two, out=product), device),
    }
    for name, reached in plain.items():
        yield {"case": name, "ours": roofs[name], "plain": reached, "ok": abs(roofs[name] / reached - 1) <= 0.1}


def _least_s(call: Callable[[], object], device: Any) -> float:
    """Seconds a call, of the fastest of twenty batches of ten."""
    import torch

    took = []
    for _ in range(20):
        began = time.perf_counter()
        for _ in range(10):
            call()
        if device.type == "cuda":
            torch.cuda.synchronize()
        took.append((time.perf_counter() - began) / 10)
    return min(took)


def roofline(bench: Bench) -> Iterator[Row]:
    """The fraction of every case of quickstart."""
    for row in bench.swept("quickstart", {}, 120).to_dict("records"):
        named = row["bound"] is not None
        yield {
            "case": Case.from_row(row).label,
            "fraction": row["roofline_fraction"],
            "bound": row["bound"],
            "ok": not row["roofline_fraction"] > 1.05 or named,
        }


def memory(bench: Bench) -> Iterator[Row]:
    """Workspace by the allocator's peak, and by the profiler's events of one call."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    from harness.worker.workload import Workload, guard

    for problem in PROBLEMS[:6]:
        row = bench.measured(problem)
        case = Case(problem, Setting(device=bench.device))
        with guard("inference"):
            workload = Workload(case, 1)
            workload.call()
            activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (bench.device == "cuda")
            with profile(activities=activities, profile_memory=True) as profiler:
                workload.call()
                if bench.device == "cuda":
                    torch.cuda.synchronize()
        events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]  # type: ignore[union-attr]
        live = peak = tensors = 0
        for event in sorted(events, key=lambda event: event.start_ns()):
            live, tensors = live + event.nbytes(), tensors + (event.nbytes() > 0)
            peak = max(peak, live)
        yield {
            "case": case.label,
            "ours": row["peak_bytes"],
            "events": peak,
            "tensors": tensors,
            "ok": abs(row["peak_bytes"] - peak) <= 512 * max(tensors, 1),
        }


def repeat(bench: Bench) -> Iterator[Row]:
    """Five runs, each case against the median of the five."""
    runs = [bench.swept("quickstart", {}, 90).set_index("case_id")["latency_s"] for _ in range(5)]
    frame = pd.concat(runs, axis=1)
    middle = frame.median(axis=1)
    off = (frame.div(middle, axis=0) - 1).abs().max(axis=1)[middle > 20e-6]
    share = float((off <= 0.01).mean())
    yield {
        "case": "quickstart",
        "cases": len(off),
        "within": share,
        "median_off": float(off.median()),
        "worst_off": float(off.max()),
        "ok": share >= 0.95,
    }


def suites(bench: Bench) -> Iterator[Row]:
    """Runs to keep."""
    for suite, axes, limit_s in SUITES:
        axes = {name: values for name, values in axes.items() if bench.device == "cuda" or name not in ("mode", "cache")}
        found = bench.swept(suite, axes, limit_s if bench.device == "cuda" else 5)
        yield {"case": suite, "axes": str(axes), "cases": len(found), "with_figure": int(found["latency_s"].notna().sum()), "ok": len(found) > 0}


PARTS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "clocks": clocks,
    "launches": launches,
    "caches": caches,
    "ceilings": ceilings,
    "roofline": roofline,
    "memory": memory,
    "suites": suites,
    "repeat": repeat,
}


def main() -> int:
    """Part by part; whatever one of them says, the others are done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS), metavar="PART")
    asked = parser.parse_args()
    bench, failures = Bench(asked.device, asked.out), 0
    asked.out.mkdir(parents=True, exist_ok=True)
    for name in asked.only:
        began, rows = time.monotonic(), list[Row]()
        try:
            for row in PARTS[name](bench):
                rows.append(as_json_values({key: value.item() if isinstance(value, np.generic) else value for key, value in row.items()}))
                print(f"{name}: " + ", ".join(f"{key} {_told(value)}" for key, value in row.items()), flush=True)
        except Exception:  # whatever it is, the next part may work
            traceback.print_exc()
            rows.append({"ok": False, "error": traceback.format_exc()})
        failures += sum(not row["ok"] for row in rows)
        (asked.out / f"{name}.json").write_text(json.dumps(rows, indent=1) + "\n")
        print(f"{name}: {sum(bool(row['ok']) for row in rows)} of {len(rows)} hold, {time.monotonic() - began:.0f} s", flush=True)
    return int(failures > 0)


def _told(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
