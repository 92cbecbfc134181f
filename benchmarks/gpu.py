"""The CUDA path against the bounds that it must keep, in one program for a machine that is to be had by the minute.

    python benchmarks/gpu.py --out FOLDER                     all of it, in the order of what matters most
    python benchmarks/gpu.py --out FOLDER --only clocks memory
    python benchmarks/gpu.py --out FOLDER --device cpu        what needs no GPU: that the program itself runs

Each part prints its figures, one line a case, and writes them to FOLDER/PART.json; runs are kept in FOLDER/results, and packed as
FOLDER/results.tar.gz. A part that fails does not end the others. Exit code 1 where a bound does not hold.

    clocks      device time by events, by replays of a graph, by the profiler: within 2 % over 1 ms, within 5 % from 5 to 100 us
    launches    a small depthwise layer: latency, device and dispatch apart
    caches      rotating is slower than hot for what fits the cache
    ceilings    within 10 % of what a plain loop of torch's reaches: copies, and products in bfloat16
    roofline    no case of quickstart, 32 images at once, above 1.05 of its roof, but where Winograd multiplies less than is counted
    memory      the peak of a call less its output, against the allocation events of the profiler: within 512 bytes a tensor
    suites      the sweeps whose figures are worth keeping, each with a time limit (nine minutes)
    papers      the two whose curves were published (three minutes)
    repeat      five runs of quickstart, 32 images at once: 95 % of the cases over 20 us within 1 % (five minutes)
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness import Problem, Setting, sweep
from harness.arm import Watcher
from harness.bench import bench
from harness.case import Case
from harness.errors import CasesFailed
from harness.policy import Policy
from harness.results import as_json_values, load_results

Row = dict[str, Any]
Sweeps = list[tuple[str, dict[str, tuple[Any, ...]], float]]
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
FITS_THE_CACHE = Problem("depthwise", in_channels=64, size=112, batch=4)  # 26 MB with its output
SUITES: Sweeps = [
    ("mobilenet_v1", {"batch": (1, 32)}, 120),
    ("dtypes", {}, 90),
    ("quickstart", {}, 60),
    ("groups", {}, 60),
    ("kernel_sizes", {}, 60),
    ("channels", {"memory_format": ("channels_last",)}, 60),
    ("quickstart", {"mode": ("eager", "cuda_graph"), "memory_format": ("channels_last",)}, 45),
    ("quickstart", {"cache": ("hot", "rotating"), "memory_format": ("channels_last",)}, 45),
]
PAPERS: Sweeps = [("shufflenet_g2", {"batch": (1, 2, 4)}, 60), ("replknet_depthwise", {}, 120)]
LARGE = {"batch": (32,)}  # as many images as keep a GPU busier than its host


@dataclass(frozen=True)
class Place:
    """Where it is measured and kept."""

    device: str
    out: Path

    @property
    def problems(self) -> list[Problem]:
        """From small to large; on a CPU those that it is done with in a tenth of a second."""
        return PROBLEMS if self.device == "cuda" else PROBLEMS[:5]

    @property
    def results(self) -> Path:
        """The folder of the runs."""
        return self.out / "results"

    def measured(self, *cases: Case) -> list[Row]:
        """The summary's row of each, all measured in one go: a worker takes seconds to start."""
        with bench(self.device, None, sys.executable, wait=True, watcher=Watcher()) as ready:
            found = ready.measure(list(dict.fromkeys(cases)), SHORT, roofs=False).set_index("case_id")
        return [as_json_values(found.loc[case.case_id].to_dict()) for case in cases]

    def swept(self, suite: str, axes: dict[str, tuple[Any, ...]], limit_s: float) -> pd.DataFrame:
        """The summary of a suite on the device."""
        try:
            found = sweep(suite, axes={"device": (self.device,), **axes}, results=self.results, time_limit_s=limit_s)
        except CasesFailed as failed:
            found = load_results(failed.where)
        return found.summary


def clocks(place: Place) -> Iterator[Row]:
    """Three ways to say what the device takes."""
    eager = [Case(problem, Setting(device=place.device)) for problem in place.problems]
    graphs = [Case(problem, Setting(device="cuda", mode="cuda_graph")) for problem in place.problems] if place.device == "cuda" else eager
    rows = place.measured(*eager, *graphs)
    for case, one, graph in zip(eager, rows[: len(eager)], rows[len(eager) :], strict=True):
        events_s, replay_s = (row["device_s"] or row["latency_s"] or float("nan") for row in (one, graph))
        kernels_s = sum(kernel["time_s"] for kernel in one["primitives"] or ()) or float("nan")
        bound = 0.02 if events_s > 1e-3 else 0.05 if 5e-6 <= events_s <= 100e-6 else float("inf")
        ratios = {"graph": replay_s / events_s, "profiler": kernels_s / events_s}
        ok = events_s > 0 and (place.device == "cpu" or all(abs(ratio - 1) <= bound for ratio in ratios.values()))
        yield {"case": case.label, "device_s": events_s, **ratios, "bound": bound, "ok": ok}


def launches(place: Place) -> Iterator[Row]:
    """A layer that the host takes longer to launch than the device to compute."""
    case = Case(Problem("depthwise", in_channels=32, size=14), Setting(device=place.device))
    (row,) = place.measured(case)
    figures = {name: row[name] or float("nan") for name in ("latency_s", "device_s", "dispatch_s")}
    # dispatch is a median of calls after a wait, latency a low quantile of calls in a row
    ok = place.device == "cpu" or figures["device_s"] < figures["dispatch_s"] <= 1.25 * figures["latency_s"]
    yield {"case": case.label, **figures, "ok": ok}


def caches(place: Place) -> Iterator[Row]:
    """What fits the cache of a current GPU, hot and rotated over copies that do not."""
    cases = [Case(FITS_THE_CACHE, Setting(device=place.device, cache=cache)) for cache in ("hot", "rotating")]
    hot_s, rotating_s = (row["device_s"] or row["latency_s"] or float("nan") for row in place.measured(*cases))
    yield {"case": cases[0].label, "hot_s": hot_s, "rotating_s": rotating_s, "ok": rotating_s > 1.1 * hot_s}


def ceilings(place: Place) -> Iterator[Row]:
    """Ours against a plain loop."""
    import torch

    dtypes = ("float32", "bfloat16")
    found = sweep(
        axes={"device": (place.device,), "kind": ("pointwise",), "in_channels": (64,), "size": (28,), "dtype": dtypes}, results=place.results
    )
    roofs: Row = found.runs[0]["ceilings"][0]["roofs"]
    device = torch.device(place.device)
    large = max(int(name.removeprefix("bytes_per_s_")) for name in roofs if name.startswith("bytes_per_s_"))
    source, target = (torch.ones(large // 2, dtype=torch.uint8, device=device) for _ in range(2))
    size = 8192 if place.device == "cuda" else 1024
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


def roofline(place: Place) -> Iterator[Row]:
    """The fraction of every case of quickstart."""
    for row in place.swept("quickstart", LARGE, 90).to_dict("records"):
        names = [one["name"] for one in row["primitives"]] if row["primitives"] is not None else []
        winograd = any("winograd" in name.lower() for name in names)
        fraction = row["roofline_fraction"]
        yield {
            "case": Case.from_row(row).label,
            "fraction": fraction,
            "bound": row["bound"],
            "winograd": winograd,
            "ok": fraction <= 1.05 or winograd,
        }


def memory(place: Place) -> Iterator[Row]:
    """Workspace by the allocator's peak, and by the profiler's events of one call."""
    cases = [Case(problem, Setting(device=place.device)) for problem in place.problems[:6]]
    for case, row in zip(cases, place.measured(*cases), strict=True):
        sizes = _allocations(case)
        peak = int(max(np.cumsum(sizes), default=0))
        tensors = sum(size > 0 for size in sizes)
        off = abs(row["peak_bytes"] - peak)
        yield {"case": case.label, "ours": row["peak_bytes"], "events": peak, "tensors": tensors, "ok": off <= 512 * max(tensors, 1)}


def _allocations(case: Case) -> list[int]:
    """Bytes of every allocation event of one call, in order of time; negative when freed."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    from harness.worker import environment
    from harness.worker.workload import Workload, guard

    on_gpu = case.setting.device == "cuda"
    environment.apply(case.setting, 0 if on_gpu else None)
    with guard("inference"):
        workload = Workload(case, 1)
        workload.call()
        with profile(activities=[ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu, profile_memory=True) as profiler:
            workload.call()
            if on_gpu:
                torch.cuda.synchronize()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]  # type: ignore[union-attr]
    return [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]


def repeat(place: Place) -> Iterator[Row]:
    """Five runs, each case against the median of the five."""
    runs = [place.swept("quickstart", LARGE, 60).set_index("case_id")["latency_s"] for _ in range(5)]
    whole = pd.concat(runs, axis=1)
    frame = whole.dropna()
    middle = frame.median(axis=1)
    off = (frame.div(middle, axis=0) - 1).abs().max(axis=1)[middle > 20e-6]
    share = float((off <= 0.01).mean())
    yield {
        "case": "quickstart",
        "cases": len(off),
        "not_in_all_runs": len(whole) - len(frame),
        "within": share,
        "median_off": float(off.median()),
        "worst_off": float(off.max()),
        "ok": share >= 0.95,
    }


def suites(place: Place) -> Iterator[Row]:
    """Runs to keep."""
    return _swept(place, SUITES)


def papers(place: Place) -> Iterator[Row]:
    """Runs to hold against what is published."""
    return _swept(place, PAPERS)


def _swept(place: Place, wanted: Sweeps) -> Iterator[Row]:
    for suite, axes, limit_s in wanted:
        axes = {name: values for name, values in axes.items() if place.device == "cuda" or name not in ("mode", "cache")}
        found = place.swept(suite, axes, limit_s if place.device == "cuda" else 20)
        figures = int(found["latency_s"].notna().sum())
        yield {"case": suite, "axes": str(axes), "cases": len(found), "with_figure": figures, "ok": figures > 0}


PARTS: dict[str, Callable[[Place], Iterator[Row]]] = {
    "clocks": clocks,
    "launches": launches,
    "caches": caches,
    "ceilings": ceilings,
    "roofline": roofline,
    "memory": memory,
    "suites": suites,
    "papers": papers,
    "repeat": repeat,
}


def main() -> int:
    """Part by part; whatever one of them says, the others are done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS), metavar="PART")
    asked = parser.parse_args()
    place = Place(asked.device, asked.out)
    place.results.mkdir(parents=True, exist_ok=True)
    failures = 0
    for name in asked.only:
        failures += _done(name, place)
        shutil.make_archive(str(place.results), "gztar", place.results)
    return int(failures > 0)


def _done(name: str, place: Place) -> int:
    """One part, told and written a row at a time, since the machine may be gone before its end; how many bounds do not hold."""
    began, rows = time.monotonic(), list[Row]()

    def keep(row: Row) -> None:
        rows.append(as_json_values({key: value.item() if isinstance(value, np.generic) else value for key, value in row.items()}))
        (place.out / f"{name}.json").write_text(json.dumps(rows, indent=1) + "\n")

    try:
        for row in PARTS[name](place):
            print(f"{name}: " + ", ".join(f"{key} {_told(value)}" for key, value in row.items()), flush=True)
            keep(row)
    except Exception:  # whatever it is, the next part may work
        traceback.print_exc()
        keep({"ok": False, "error": traceback.format_exc()})
    hold = sum(bool(row["ok"]) for row in rows)
    print(f"{name}: {hold} of {len(rows)} hold, {time.monotonic() - began:.0f} s", flush=True)
    return len(rows) - hold


def _told(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
