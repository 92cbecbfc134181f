"""The CUDA path against the bounds that it must keep, in one program for a machine that is to be had by the
minute.

    python benchmarks/gpu.py --out FOLDER                       all of it, in the order of what matters most
    python benchmarks/gpu.py --out FOLDER --only checks turns   some of it
    python benchmarks/gpu.py --out FOLDER --device cpu          what needs no GPU:
                                                                that the program itself runs, in a minute

Each part prints its figures, one line a case, and writes them to FOLDER/PART.json; runs are kept in
FOLDER/results. With --archive FILE all of FOLDER is packed there every 30 s, since the machine may be gone
before the end. A part that fails does not end the others. Exit code 1 where a bound does not hold.

    checks        cases small and large, measured in one go:
                    clocks     device time by events, by a graph of 20 calls and by the profiler's span:
                               within 2 % over 25 us
                    launches   a small depthwise layer: latency, device and dispatch apart
                    caches     rotating and flushed are slower than hot for what fits the cache
                    memory     the peak of a call, against the allocation events of the profiler:
                               within 512 bytes a tensor
    ceilings      within 10 % of what a plain loop of torch's reaches: copies, and products in bfloat16
    probe         raw batches behind a blocker, as data for tests:
                  the host's and the device's time by length, with the clock
    reference_a   a run to keep: MobileNetV1, dtypes, kinds, groups, graphs, caches
    roofline      of that run: no case above 1.05 of its roof, but for a cause that is named
    repeat        five runs of the five kinds, 32 images at once: 95 % of the cases over 20 us within 1 %
    turns         the same kinds against themselves in turns: no case named, and the spread of identical arms
    anchors       what other tools say of the same layers (`anchors.py`)
    engines       what cuDNN offers for some of them, and how far torch's choice is from the best
    papers        a run of two published curves
    reference_b   another run to keep: kernel sizes and channels
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tarfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from harness import Problem, Setting, ab, sweep
from harness.core.case import Case
from harness.core.errors import CasesFailed
from harness.core.policy import Policy
from harness.plan.points import distinct_cases, expand, prepare
from harness.plan.suite import Suite
from harness.run.ad_hoc import ad_hoc_session
from harness.run.progress_events import ProgressListener
from harness.store.results import as_json_values, load_results
from harness.tasks.compare import compare

if TYPE_CHECKING:
    from harness.worker.clocks import EventClock

Row = dict[str, Any]
Axes = dict[str, tuple[Any, ...]]
Wanted = list[tuple[str, Axes]]
PACK_S = 30.0
SHORT = Policy(rounds=3, max_rounds=3, warm_up_s=0.05, visit_time_s=0.1)
ONCE = replace(SHORT, rounds=1, max_rounds=1)
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
LAUNCH_BOUND = Problem("depthwise", in_channels=32, size=14)
FITS_THE_CACHE = Problem("depthwise", in_channels=64, size=112, batch=4)  # 26 MB with its output
LARGE: Axes = {"batch": (32,)}  # as many images as keep a GPU busier than its host
CHANNELS_LAST: Axes = {"memory_format": ("channels_last",)}
REFERENCE_A: Wanted = [
    ("mobilenet_v1", {"batch": (1, 32)}),
    ("dtypes", LARGE),
    ("quickstart", {"batch": (1, 32)}),
    ("groups", LARGE | CHANNELS_LAST),
    ("quickstart", {"mode": ("eager", "cuda_graph"), "batch": (1,)} | CHANNELS_LAST),
    ("quickstart", {"cache": ("hot", "rotating", "flushed"), "batch": (4,)} | CHANNELS_LAST),
    ("quickstart", {"mode": ("compile",), "batch": (32,)} | CHANNELS_LAST),
    ("quickstart", {"autotune": (False, True), "dtype": ("bfloat16",), "batch": (32,)} | CHANNELS_LAST),
]
REFERENCE_B: Wanted = [
    ("kernel_sizes", LARGE | CHANNELS_LAST),
    ("channels", LARGE | CHANNELS_LAST),
]
PAPERS: Wanted = [("shufflenet_g2", {"batch": (1, 2, 4)} | CHANNELS_LAST), ("replknet_depthwise", {})]
# what a CPU does instead
DRY: Wanted = [("quickstart", {"in_channels": (64,), "allocator": ("retained",)} | CHANNELS_LAST)]


@dataclass(frozen=True)
class Place:
    """Where it is measured and kept."""

    device: str
    out: Path

    @property
    def on_gpu(self) -> bool:
        """Whether there is anything to hold a bound against."""
        return self.device == "cuda"

    @property
    def results(self) -> Path:
        """The folder of the runs."""
        return self.out / "results"

    def measured(self, cases: list[Case]) -> list[Row]:
        """The summary's row of each, all measured in one go: a worker takes seconds to start."""
        with ad_hoc_session(
            self.device, None, sys.executable, wait=True, listener=ProgressListener()
        ) as ready:
            found = ready.measure(
                list(dict.fromkeys(cases)), SHORT if self.on_gpu else ONCE, roofs=False
            ).set_index("case_id")
        return [as_json_values(found.loc[case.case_id].to_dict()) for case in cases]

    def swept(self, name: str, wanted: Wanted) -> pd.DataFrame:
        """The summary of suites merged into one run: cases that they share are measured once, and a round
        starts one worker."""
        try:
            found = sweep(merged(name, wanted if self.on_gpu else DRY, self.device), results=self.results)
        except CasesFailed as failed:
            found = load_results(failed.where)
        return found.summary


def merged(name: str, wanted: Wanted, device: str) -> Suite:
    """One suite of several, each narrowed to the device and its axes."""
    asked = [prepare(suite, {"device": (device,), **axes}) for suite, axes in wanted]
    sweeps = tuple(
        replace(one, name=f"{suite.name}-{number}-{one.name}")
        for number, suite in enumerate(asked, 1)
        for one in suite.sweeps
    )
    title = "Reference: " + ", ".join(dict.fromkeys(suite.name for suite in asked))
    return Suite(name, title, SHORT if device == "cuda" else ONCE, sweeps)


def checks(place: Place) -> Iterator[Row]:
    """All cases in one go, then each bound."""
    problems = PROBLEMS if place.on_gpu else PROBLEMS[:2]
    eager = [Case(problem, Setting(device=place.device)) for problem in problems]
    graphs = (
        [Case(one.problem, replace(one.setting, mode="cuda_graph")) for one in eager]
        if place.on_gpu
        else eager
    )
    launch = Case(LAUNCH_BOUND, Setting(device=place.device))
    caches = [
        Case(FITS_THE_CACHE, Setting(device=place.device, cache=cache))
        for cache in ("hot", "rotating", "flushed")
    ]
    cases = list(dict.fromkeys([*eager, *graphs, launch, *(caches if place.on_gpu else caches[:1])]))
    rows = {case.case_id: row for case, row in zip(cases, place.measured(cases), strict=True)}
    for case in cases:
        (place.out / "checks").mkdir(exist_ok=True)
        (place.out / "checks" / f"{case.case_id}.json").write_text(
            json.dumps(rows[case.case_id], indent=1, default=str) + "\n"
        )
    gap_s = (rows[eager[0].case_id]["device_s"] or 0.0) - (rows[graphs[0].case_id]["device_s"] or 0.0)
    for one, graph in zip(eager, graphs, strict=True):
        yield _clocks(place, one, rows[one.case_id], rows[graph.case_id], gap_s)
    yield _launches(place, launch, rows[launch.case_id])
    if place.on_gpu:
        yield _caches(caches, [rows[case.case_id] for case in caches])
    for case in eager[:6]:
        yield _memory(case, rows[case.case_id])


def _clocks(place: Place, case: Case, eager: Row, graph: Row, gap_s: float) -> Row:
    """Three ways to say what the device takes; `gap_s` is what a launch from the host costs it beyond one
    from a graph, by the smallest case."""
    events_s, graph_s = (row["device_s"] or row["latency_s"] or float("nan") for row in (eager, graph))
    launches, kernel_s, span_s = (eager[name] or float("nan") for name in ("launches", "kernel_s", "span_s"))
    ratios = {
        "graph": graph_s / events_s,
        "graph_and_gaps": (graph_s + launches * gap_s) / events_s,
        "span": span_s / events_s,
    }
    small = events_s < 25e-6
    return {
        "case": f"clocks: {case.label}",
        "device_s": events_s,
        **ratios,
        "gap_s": gap_s,
        "gap_by_profiler_s": (span_s - kernel_s) / launches,
        "launches": launches,
        "error_share": _error_share(eager),
        "ok": not place.on_gpu
        or small
        or all(abs(ratios[name] - 1) <= 0.02 for name in ("graph_and_gaps", "span")),
    }


def _error_share(row: Row) -> float:
    return float(row["error"] / row["error_bound"]) if row["error"] is not None else float("nan")


def _launches(place: Place, case: Case, row: Row) -> Row:
    """A layer that the host takes longer to launch than the device to compute."""
    figures = {name: row[name] or float("nan") for name in ("latency_s", "device_s", "dispatch_s")}
    # dispatch is a median of calls after a wait, latency a low quantile of calls in a row
    ok = not place.on_gpu or figures["device_s"] < figures["dispatch_s"] <= 1.25 * figures["latency_s"]
    return {"case": f"launches: {case.label}", **figures, "ok": ok}


def _caches(cases: list[Case], rows: list[Row]) -> Row:
    """What fits the cache of a current GPU: hot, rotated over copies that do not, and with the cache
    overwritten before each call."""
    hot_s, rotating_s, flushed_s = (row["device_s"] or float("nan") for row in rows)
    figures = {"hot_s": hot_s, "rotating_s": rotating_s, "flushed_s": flushed_s}
    return {"case": f"caches: {cases[0].label}", **figures, "ok": min(rotating_s, flushed_s) > 1.1 * hot_s}


def _memory(case: Case, row: Row) -> Row:
    """The peak by the allocator's counters, and by the profiler's events of one call in this process."""
    sizes = _allocations(case)
    peak = int(max(np.cumsum(sizes), default=0))
    tensors = sum(size > 0 for size in sizes)
    off = abs((row["peak_bytes"] or 0) - peak)
    return {
        "case": f"memory: {case.label}",
        "ours": row["peak_bytes"],
        "events": peak,
        "tensors": tensors,
        "ok": off <= 512 * max(tensors, 1),
    }


def _allocations(case: Case) -> list[int]:
    """Bytes of every allocation event of one call on its device, in order of time; negative when freed."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    from harness.worker import devices, environment
    from harness.worker.workload import Workload, guard

    device = devices.of(case.setting.device, None)
    environment.apply(case.setting, device)
    with guard("inference"):
        workload = Workload(case, 1, device=device)
        workload.call()
        with profile(
            activities=[ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * (device.kind == "cuda")],
            profile_memory=True,
        ) as profiler:
            workload.call()
            device.synchronize()
    own = torch.autograd.DeviceType.CUDA if device.kind == "cuda" else torch.autograd.DeviceType.CPU
    found: list[Any] = profiler.profiler.kineto_results.events()  # type: ignore[union-attr]
    events = [event for event in found if event.name() == "[memory]" and event.device_type() == own]
    return [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]


def ceilings(place: Place) -> Iterator[Row]:
    """Ours against a plain loop, on random numbers too."""
    import torch

    axes = {
        "device": (place.device,),
        "kind": ("pointwise",),
        "in_channels": (64,),
        "size": (28,),
        "dtype": ("float32", "bfloat16"),
    }
    suite = replace(prepare("", axes), policy=ONCE)
    try:
        measured = sweep(suite, results=place.results)
    except CasesFailed as failed:
        measured = load_results(failed.where)
    roofs: Row = measured.runs[0]["ceilings"][0]["roofs"]
    device = torch.device(place.device)
    large = max(int(name.removeprefix("bytes_per_s_")) for name in roofs if name.startswith("bytes_per_s_"))
    source, target = (torch.ones(large // 2, dtype=torch.uint8, device=device) for _ in range(2))
    size = 8192 if place.on_gpu else 512
    one, two, product = (
        torch.empty((size, size), dtype=torch.bfloat16, device=device).normal_() for _ in range(3)
    )
    plain = {
        f"bytes_per_s_{large}": large / _least_s(lambda: target.copy_(source), device),
        "flops_per_s_bfloat16": 2 * size**3 / _least_s(lambda: torch.mm(one, two, out=product), device),
    }
    yield {"case": "roofs", **roofs, "ok": True}
    for name, reached in plain.items():
        yield {
            "case": name,
            "ours": roofs[name],
            "plain": reached,
            "ok": not place.on_gpu or abs(roofs[name] / reached - 1) <= 0.1,
        }


def _least_s(call: Callable[[], object], device: Any) -> float:
    """Seconds a call, of the fastest of ten batches of ten."""
    import torch

    took = []
    for _ in range(10):
        began = time.perf_counter()
        for _ in range(10):
            call()
        if device.type == "cuda":
            torch.cuda.synchronize()
        took.append((time.perf_counter() - began) / 10)
    return min(took)


def probe(place: Place) -> Iterator[Row]:
    """Batches of one to 64 calls behind a blocker, and what the device's clock was right after."""
    if not place.on_gpu:
        return
    from harness.worker import devices, environment
    from harness.worker.clocks import EventClock
    from harness.worker.workload import Workload, guard

    device = devices.Cuda(0)
    for problem in (LAUNCH_BOUND, *PROBLEMS):
        case = Case(problem, Setting(device="cuda"))
        environment.apply(case.setting, device)
        with guard("inference"):
            workload, clock = Workload(case, 1, device=device), EventClock(device)
            call_s = min(clock.sample(workload.call, 4) for _ in range(10))
            batches = []
            for calls in (1, 2, 4, 8, 16, 32, 64):
                for _ in range(5):
                    batch = clock.blocked(workload.call, calls, call_s)
                    batches.append(
                        (calls, batch.device_s, batch.dispatch_s, batch.covered, clock.cycles_per_s())
                    )
        yield {
            "case": case.label,
            "descriptor": case.descriptor,
            "call_s": call_s,
            "resolution_s": clock.resolution_s,
            "batches": batches,
            "ok": True,
        }
        device.release()


def reference_a(place: Place) -> Iterator[Row]:
    """A run to keep."""
    yield _kept(place, "reference_a", place.swept("reference_a", REFERENCE_A))


def papers(place: Place) -> Iterator[Row]:
    """To hold against what is published."""
    yield _kept(place, "papers", place.swept("papers", PAPERS))


def reference_b(place: Place) -> Iterator[Row]:
    """Another."""
    yield _kept(place, "reference_b", place.swept("reference_b", REFERENCE_B))


def _kept(place: Place, name: str, summary: pd.DataFrame) -> Row:
    counts = summary["status"].value_counts().to_dict()
    figures = int(summary["latency_s"].notna().sum())
    return {
        "case": name,
        "cases": len(summary),
        "with_figure": figures,
        "status": str(counts),
        "ok": not place.on_gpu or figures > 0.9 * len(summary),
    }


def roofline(place: Place) -> Iterator[Row]:
    """The fraction of every case of the reference run that lies above its roof."""
    kept = sorted(place.results.glob("*reference_a*"))
    if not kept:
        raise FileNotFoundError("part reference_a comes first")
    summary = load_results(kept[-1]).summary
    fractions = summary["roofline_fraction"].dropna()
    for row in summary[summary["roofline_fraction"] > 1.05].to_dict("records"):
        names = [one["name"] for one in row["primitives"]] if row["primitives"] is not None else []
        causes = {
            "winograd": any("winograd" in name.lower() for name in names),
            "cache": "in the cache" in str(row["bound"]),
        }
        told = [cause for cause, found in causes.items() if found]
        yield {
            "case": Case.from_row(row).label,
            "fraction": row["roofline_fraction"],
            "bound": row["bound"],
            "told": str(told),
            "ok": not place.on_gpu or bool(told),
        }
    yield {
        "case": "all",
        "cases": len(fractions),
        "highest": fractions.max(),
        "median": fractions.median(),
        "ok": not place.on_gpu or len(fractions) > 0,
    }


def repeat(place: Place) -> Iterator[Row]:
    """Five runs, each case against the median of the five."""
    suite = merged("repeat", [("quickstart", LARGE)] if place.on_gpu else DRY, place.device)
    cases, runs = distinct_cases(expand(suite)), list[pd.DataFrame]()
    with ad_hoc_session(place.device, None, sys.executable, wait=True, listener=ProgressListener()) as ready:
        for number in range(5 if place.on_gpu else 2):
            found = ready.measure(cases, suite.policy, roofs=False)
            found.astype(str).to_json(place.out / f"repeat_{number}.json", orient="records", indent=1)
            runs.append(found.set_index("case_id")[["latency_s", "device_s"]])
    for figure in ("latency_s", "device_s"):
        whole = pd.concat([run[figure] for run in runs], axis=1)
        frame = whole.dropna()
        middle = frame.median(axis=1)
        off = (frame.div(middle, axis=0) - 1).abs().max(axis=1)[middle > 20e-6]
        share = float((off <= 0.01).mean())
        yield {
            "case": f"repeat: {figure}",
            "cases": len(off),
            "not_in_all_runs": len(whole) - len(frame),
            "within": share,
            "median_off": float(off.median()),
            "worst_off": float(off.max()),
            "ok": not place.on_gpu or share >= 0.95,
        }


def turns(place: Place) -> Iterator[Row]:
    """Identical arms in turns; the spread is of the log ratio over pairs."""
    suite = merged("turns", [("quickstart", LARGE | CHANNELS_LAST)] if place.on_gpu else DRY, place.device)
    try:
        found = ab(suite, results=place.results, time_limit_s=100 if place.on_gpu else 20)
    except CasesFailed as failed:
        found = load_results(failed.where)
    verdicts = compare(found.runs[0]["run_id"], results=place.results).verdicts
    latency = verdicts[verdicts["metric"] == "latency_s"]
    counts = latency["verdict"].value_counts().to_dict()
    visits = found.visits
    frame = (
        visits[visits["status"] == "ok"].pivot_table(index="pair", columns="arm", values="latency_s").dropna()
    )
    ratios = np.log(frame["head"] / frame["base"])
    invalid = float((visits["trust"] == "invalid").mean())
    named = counts.get("regressed", 0) + counts.get("improved", 0)
    yield {
        "case": "turns",
        "pairs": len(ratios),
        "invalid": invalid,
        "rms": float(np.sqrt((ratios**2).mean())),
        "verdicts": str(counts),
        "ok": not place.on_gpu or named == 0,
    }


def anchors(place: Place) -> Iterator[Row]:
    """Other tools on the same layers, in a process of their own."""
    told = place.out / "anchors_told.json"
    program = Path(__file__).with_name("anchors.py")
    subprocess.run(
        [sys.executable, str(program), "--device", place.device, "--out", str(told)], check=True, timeout=150
    )
    for row in json.loads(told.read_text(encoding="utf-8")):
        yield row | {"ok": True}


def engines(place: Place) -> Iterator[Row]:
    """Every engine of some layers; needs nvidia-cudnn-frontend."""
    if not place.on_gpu:
        return
    from harness.worker import devices, environment
    from harness.worker.clocks import EventClock
    from harness.worker.engines import against_best
    from harness.worker.engines import engines as offered
    from harness.worker.workload import Workload, guard

    device = devices.Cuda(0)
    for problem in (PROBLEMS[2], PROBLEMS[3], PROBLEMS[4], PROBLEMS[6]):
        case = Case(problem, Setting(device="cuda", dtype="bfloat16", memory_format="channels_last"))
        environment.apply(case.setting, device)
        with guard("inference"):
            workload, clock = Workload(case, 1, device=device), EventClock(device)
            workload.call()
            call_s = min(clock.sample(workload.call, 4) for _ in range(10))
            device_s = clock.blocked(workload.call, 20, call_s).device_s
            rows = offered(workload, partial(_queued_s, clock))
        yield {
            "case": case.label,
            "device_s": device_s,
            "engines": len(rows),
            "times_the_best": against_best(rows, device_s),
            "rows": rows,
            "ok": True,
        }
        device.release()


def _queued_s(clock: EventClock, call: Callable[[], object]) -> float:
    return clock.blocked(call, 10, 100e-6).device_s


PARTS: dict[str, Callable[[Place], Iterator[Row]]] = {
    "checks": checks,
    "ceilings": ceilings,
    "probe": probe,
    "reference_a": reference_a,
    "roofline": roofline,
    "repeat": repeat,
    "turns": turns,
    "anchors": anchors,
    "engines": engines,
    "papers": papers,
    "reference_b": reference_b,
}


def main() -> int:
    """Part by part; whatever one of them says, the others are done."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument(
        "--archive",
        type=Path,
        metavar="FILE",
        help="pack FOLDER into this .tar.gz every 30 s, and at the end",
    )
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS), metavar="PART")
    asked = parser.parse_args()
    place = Place(asked.device, asked.out)
    place.results.mkdir(parents=True, exist_ok=True)
    ended = threading.Event()
    packer = threading.Thread(target=_pack_on, args=(asked.out, asked.archive, ended))
    if asked.archive:
        packer.start()
    try:
        failures = sum(_done(name, place) for name in asked.only)
    finally:
        ended.set()
        if asked.archive:
            packer.join()
    return int(failures > 0)


def _pack_on(folder: Path, archive: Path, ended: threading.Event) -> None:
    """Pack again and again, and once more at the end; a file that changes meanwhile is
    packed as it is then."""
    while True:
        last = ended.wait(PACK_S)
        partial = archive.with_suffix(".partial")
        with tarfile.open(partial, "w:gz", compresslevel=6) as pack:
            pack.add(folder, arcname=".")
        partial.replace(archive)
        if last:
            return


def _done(name: str, place: Place) -> int:
    """One part, told and written a row at a time, since the machine may be gone before its end; how many
    bounds do not hold."""
    began, rows = time.monotonic(), list[Row]()

    def keep(row: Row) -> None:
        rows.append(
            as_json_values(
                {key: value.item() if isinstance(value, np.generic) else value for key, value in row.items()}
            )
        )
        (place.out / f"{name}.json").write_text(json.dumps(rows, indent=1) + "\n")

    try:
        for row in PARTS[name](place):
            print(
                f"{name}: "
                + ", ".join(
                    f"{key} {_told(value)}" for key, value in row.items() if key not in ("batches", "rows")
                ),
                flush=True,
            )
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
