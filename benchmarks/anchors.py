"""What other people's tools say of the same layers: our clock held against clocks that are not ours.

    python benchmarks/anchors.py --out FILE.json                  every tool, on the GPU
    python benchmarks/anchors.py --out FILE.json --only nvbench   some of them
    python benchmarks/anchors.py --out FILE.json --device cpu     torch's timer alone: that the program runs

In: the problems below, those of gpu.py. Out: FILE.json, a list with a row a problem, in microseconds a call:

    do_bench    triton.testing.do_bench: between two events, 256 MB overwritten before each call; _us by its
                return_mode median, _p10, _p50 and _p90 by its quantiles, from a run of their own
    cudagraph   triton.testing.do_bench_cudagraph: calls in a row in one graph, nothing overwritten
    nvbench     cuda.bench: _cold_us, the median of calls one by one behind a blocker, the cache overwritten;
                _batch_us, the mean of calls in a row; _mhz, the clock that it saw
    timer       torch.utils.benchmark.Timer: calls in a row by the host's clock, dispatch included

and TOOL_error where one has failed. FILE.json is written again after each tool.
What may surprise: each tool runs in a process of its own, which goes through all problems. These come up
side by side, since an import takes seconds, and measure one after the other. nvbench frees its stream after
two calls of a batch, so that what takes less time than its launch is told by its launch; our own blocker
holds all of a batch. With calls one by one, an event's own time is in the figure.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import gpu

from harness.core.case import Case, Setting
from harness.core.problem import Problem

Row = dict[str, Any]
Call = Callable[[], object]

PROBLEMS = [gpu.LAUNCH_BOUND, gpu.FITS_THE_CACHE, *gpu.PROBLEMS]
SMALLEST = 2  # so many of them on a CPU
TOOLS = {  # and where each is found
    "do_bench": "triton.testing",
    "cudagraph": "triton.testing",
    "nvbench": "cuda.bench",
    "timer": "torch.utils.benchmark",
}
START_S = 45.0  # within which all tools are up ...
LIMIT_S = 25.0  # ... and each is done
WARM_UP_S = 0.05  # of each problem, in each process: the clock goes up, cuDNN chooses
TIMER_S = 0.25
QUANTILES = [0.1, 0.5, 0.9]
SAMPLES = 200  # of nvbench, isolated ...
SAMPLES_S = 0.2  # ... but no longer than this
BATCH_S = 0.1  # of its calls in a row
TAGS = {
    "nvbench_cold_us": ("nv/cold/time/gpu/median", 1e6),
    "nvbench_cold_mean_us": ("nv/cold/time/gpu/mean", 1e6),
    "nvbench_cold_q1_us": ("nv/cold/time/gpu/q1", 1e6),
    "nvbench_cold_q3_us": ("nv/cold/time/gpu/q3", 1e6),
    "nvbench_batch_us": ("nv/batch/time/gpu/mean", 1e6),
    "nvbench_samples": ("nv/cold/sample_size", 1.0),
    "nvbench_mhz": ("nv/cold/sm_clock_rate/mean", 1e-6),
}


def anchors(
    problems: Sequence[Problem],
    settings: Sequence[Setting],
    *,
    tools: Sequence[str] = tuple(TOOLS),
    keep: Callable[[list[Row]], None] | None = None,
) -> list[Row]:
    """A row for each problem in each setting, none in mode cuda_graph; `keep` gets all rows
    after each tool."""
    cases = [Case(problem, setting) for setting in settings for problem in problems]
    rows: list[Row] = [{"case": case.label, "descriptor": case.descriptor} for case in cases]
    children = [Child(tool, cases) for tool in tools]
    up_by = time.monotonic() + START_S
    for child in children:
        child.come_up(up_by)
    for child in children:
        for row, found in zip(rows, child.measured(), strict=True):
            row |= found
        if keep:
            keep(rows)
    return rows


class Child:
    """A process in which one tool measures all cases, once it is told to."""

    def __init__(self, tool: str, cases: list[Case]) -> None:
        self.tool, self.count = tool, len(cases)
        spawning = multiprocessing.get_context("spawn")  # a context of CUDA does not survive a fork
        self.pipe, its_end = spawning.Pipe()
        self.process = spawning.Process(target=live, args=(tool, cases, its_end), daemon=True)
        self.process.start()
        its_end.close()  # so that its death ends the pipe

    def come_up(self, until: float) -> None:
        """Wait until it is ready; what is not by then will never be."""
        if not self.pipe.poll(max(until - time.monotonic(), 0.0)):
            self.process.kill()
        with contextlib.suppress(EOFError, OSError):
            self.pipe.recv()

    def measured(self) -> list[Row]:
        """What it found of each case, and why it did not of the others."""
        found: dict[int, Row] = {}
        until, why = time.monotonic() + LIMIT_S, f"not done after {LIMIT_S:g} s"
        try:
            self.pipe.send("go")
            while self.pipe.poll(max(until - time.monotonic(), 0.0)):
                index, row = self.pipe.recv()
                found.setdefault(index, row)
        except (EOFError, OSError):
            self.process.join(5.0)
            why = f"its process ended with {self.process.exitcode}"
        self.process.kill()
        self.process.join()
        return [found.get(index, {f"{self.tool}_error": why}) for index in range(self.count)]


def live(tool: str, cases: list[Case], pipe: Connection) -> None:
    """All that a child does: come up, wait for its turn, send what it finds of each case."""
    with contextlib.suppress(Exception):  # it fails again when it is used, and is told then
        import torch

        import_module(TOOLS[tool])
        torch.zeros(1, device=cases[0].setting.device)
    pipe.send("ready")
    pipe.recv()
    try:
        for message in by_nvbench(cases) if tool == "nvbench" else one_by_one(tool, cases):
            pipe.send(message)
    except Exception as error:  # what was sent before stays
        for index in range(len(cases)):
            pipe.send((index, {f"{tool}_error": told(error)}))


def one_by_one(tool: str, cases: list[Case]) -> Iterator[tuple[int, Row]]:
    """A tool that times a call."""
    measure = {"do_bench": by_do_bench, "cudagraph": by_cudagraph, "timer": by_timer}[tool]
    for index, case in enumerate(cases):
        yield index, _figures(measure, case, tool)


def _figures(measure: Callable[[Call], Row], case: Case, tool: str) -> Row:
    try:
        with made(case) as call:
            return measure(call)
    except Exception as error:  # of one case: the next may do
        return {f"{tool}_error": told(error)}


@contextlib.contextmanager
def made(case: Case) -> Iterator[Call]:
    """A case's call, warm, in the grad mode in which it belongs; its room is given back afterwards."""
    from harness.worker import devices, environment
    from harness.worker.workload import Workload, guard

    device = devices.of(case.setting.device, 0)
    environment.apply(case.setting, device)
    with guard(case.setting.computation):
        workload = Workload(case, 1, device=device)
        if workload.unrolled != 1:
            raise ValueError("a graph's replay is more than one call")
        until = time.perf_counter() + WARM_UP_S
        while time.perf_counter() < until:
            workload.call()
            device.synchronize()
        yield workload.call
    del workload
    device.release()


def by_do_bench(call: Call) -> Row:
    """Two runs of it: how far their medians are apart tells what a figure is worth."""
    from triton.testing import do_bench

    middle_ms = do_bench(call, warmup=25, rep=100, return_mode="median")
    low_ms, again_ms, high_ms = do_bench(call, warmup=25, rep=100, quantiles=QUANTILES)
    names = ("do_bench_us", "do_bench_p10_us", "do_bench_p50_us", "do_bench_p90_us")
    times_ms = (middle_ms, low_ms, again_ms, high_ms)
    return {name: 1e3 * time_ms for name, time_ms in zip(names, times_ms, strict=True)}


def by_cudagraph(call: Call) -> Row:
    """Ten replays of 20 ms; the quantiles are of these."""
    from triton.testing import do_bench_cudagraph

    low_ms, middle_ms, high_ms = do_bench_cudagraph(call, rep=20, quantiles=QUANTILES)
    figures_ms = {"cudagraph_us": middle_ms, "cudagraph_p10_us": low_ms, "cudagraph_p90_us": high_ms}
    return {name: 1e3 * time_ms for name, time_ms in figures_ms.items()}


def by_timer(call: Call) -> Row:
    """The median of its blocks, each between two waits for the device."""
    import torch
    from torch.utils.benchmark import Timer

    timer = Timer("call()", globals={"call": call}, num_threads=torch.get_num_threads())
    found = timer.blocked_autorange(min_run_time=TIMER_S)
    return {"timer_us": 1e6 * found.median, "timer_iqr_us": 1e6 * found.iqr}


def by_nvbench(cases: list[Case]) -> Iterator[tuple[int, Row]]:
    """All cases in one go, as an axis: it runs once in a process, and tells by a file."""
    import cuda.bench
    import torch

    def convolution(state: Any) -> None:
        stream = torch.cuda.ExternalStream(state.get_stream().addressof())  # the one of all its launches
        try:
            with made(cases[state.get_int64("case")]) as call, torch.cuda.stream(stream):
                call()  # what it allocates on this stream is there from now on
                stream.synchronize()
                state.exec(lambda _: call(), batched=True)
        except Exception as error:  # of one case: the next may do
            state.skip(told(error))

    asked = cuda.bench.register(convolution).add_int64_axis("case", list(range(len(cases))))
    asked.set_stopping_criterion("sample-count").set_criterion_param_int64("target-samples", SAMPLES)
    asked.set_timeout(SAMPLES_S).set_batch_target_time(BATCH_S)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "nvbench.json")
        cuda.bench.run_all_benchmarks(["anchors", "--devices", "0", "--quiet", "--json", str(file)])
        for state in json.loads(file.read_text(encoding="utf-8"))["benchmarks"][0]["states"]:
            (axis,) = state["axis_values"]
            yield int(axis["value"]), _nvbench_row(state)


def _nvbench_row(state: Row) -> Row:
    """The figures of one of its states. A number stands there as text."""
    values: dict[str, float] = {}
    for summary in state["summaries"] or []:
        for data in summary.get("data") or []:
            if data["name"] == "value" and data["type"] in ("float64", "int64"):
                values[summary["tag"]] = float(data["value"])
    row: Row = {name: factor * values[tag] for name, (tag, factor) in TAGS.items() if tag in values}
    if state["is_skipped"]:
        return row | {"nvbench_error": state.get("skip_reason", "skipped")}
    return row if "nvbench_cold_us" in row else row | {"nvbench_error": "no isolated call was counted"}


def told(error: BaseException) -> str:
    """An error in a line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def main() -> int:
    """A line a problem. What a tool cannot do is no failure of this program."""
    as_it_stands = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_it_stands)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.json")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--only", nargs="+", choices=list(TOOLS), default=list(TOOLS), metavar="TOOL")
    asked = parser.parse_args()
    on_gpu = asked.device == "cuda"
    tools = asked.only if on_gpu else ["timer"]

    def keep(rows: list[Row]) -> None:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")

    problems = PROBLEMS if on_gpu else PROBLEMS[:SMALLEST]
    for row in anchors(problems, [Setting(device=asked.device)], tools=tools, keep=keep):
        print(row.pop("case"))
        del row["descriptor"]
        for name, value in row.items():
            print(f"    {name:22}{value:.4g}" if isinstance(value, float) else f"    {name:22}{value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
