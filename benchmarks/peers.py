"""What today's tools say of the same cases: one process of one of them, as its documentation would have it
used.

    python benchmarks/peers.py METHOD CASES SECONDS

METHOD is one of `PEERS` of the cases' device, CASES a file of cases as JSON messages, SECONDS what a case may
be timed. Prints, as one line of JSON, the figure of every case with an interval: for the tools that show a
median the interval of the median from their own samples (binomial, 95 %), for pyperf, which shows a mean, the
t interval of its values. None states one itself, so this is the best each could state.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from math import ceil, sqrt
from pathlib import Path
from statistics import fmean, median, stdev
from typing import TYPE_CHECKING, Any

from harness.core.case import Case
from harness.core.stats import student_t
from harness.plan.duration import call_s

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Figure = tuple[float, float, float]
    Peer = Callable[[float], dict[str, Figure]]

CASES = "CONVSCOPE_PEERS_CASES"  # pytest and pyperf start this file again, and find the cases there
KEPT = {
    "MALLOC_TRIM_THRESHOLD_": "1073741824",
    "MALLOC_MMAP_THRESHOLD_": "1073741824",
    "MALLOC_TOP_PAD_": "67108864",
}
PYPERF_VALUES = 20


def cases() -> list[Case]:
    """The cases of the file that the environment names."""
    return [Case.from_message(message) for message in json.loads(Path(os.environ[CASES]).read_text())]


def call_of(case: Case) -> Callable[[], object]:
    """The call as anyone would write it: a module, one input, inference mode."""
    import torch

    from harness.worker.conv_modules import torch_layer

    # cuDNN multiplies float32 in TF32 unless it is told, and so ours would be another case
    if case.setting.device == "cuda":
        torch.backends.cudnn.conv.fp32_precision = case.setting.fp32_precision
    memory_format = getattr(
        torch, "contiguous_format" if case.setting.memory_format == "contiguous" else "channels_last"
    )
    module = torch_layer(case.problem).eval().to(device=case.setting.device, memory_format=memory_format)
    x = torch.randn(case.problem.input_shape, device=case.setting.device).to(memory_format=memory_format)

    def call() -> object:
        with torch.inference_mode():
            return module(x)

    return call


def of_median(samples: Sequence[float]) -> Figure:
    """The median, with its interval from order statistics."""
    ordered, count = sorted(samples), len(samples)
    reach = 0.98 * sqrt(count)
    return (
        median(ordered),
        ordered[max(0, int(count / 2 - reach))],
        ordered[min(count - 1, ceil(count / 2 + reach))],
    )


def of_mean(values: Sequence[float]) -> Figure:
    """The mean, with its t interval."""
    centre = fmean(values)
    half = student_t(0.975, len(values) - 1) * stdev(values) / sqrt(len(values))
    return centre, centre - half, centre + half


def blocked_autorange(seconds: float) -> dict[str, Figure]:
    """torch.utils.benchmark, blocks of calls until the time is up."""
    from torch.utils.benchmark import Timer

    return {
        case.case_id: of_median(_timer(Timer, case).blocked_autorange(min_run_time=seconds).times)
        for case in cases()
    }


def adaptive_autorange(_: float) -> dict[str, Figure]:
    """torch.utils.benchmark, until its own spread is below its threshold."""
    from torch.utils.benchmark import Timer

    return {case.case_id: of_median(_timer(Timer, case).adaptive_autorange().times) for case in cases()}


def _timer(timer: Any, case: Case) -> Any:
    import torch

    return timer("call()", globals={"call": call_of(case)}, num_threads=torch.get_num_threads())


def do_bench(seconds: float) -> dict[str, Figure]:
    """triton.testing.do_bench: device time by events, the cache flushed before every call, as long as the
    time allows."""
    from triton import testing

    return {
        case.case_id: _of_milliseconds(testing.do_bench(call_of(case), rep=1e3 * seconds, return_mode="all"))
        for case in cases()
    }


def do_bench_cudagraph(seconds: float) -> dict[str, Figure]:
    """triton.testing.do_bench_cudagraph: replays of a graph of many calls."""
    from triton import testing

    # it replays its graph ten times, of so many calls as fill `rep`
    return {
        case.case_id: _of_milliseconds(
            testing.do_bench_cudagraph(call_of(case), rep=1e2 * seconds, return_mode="all")
        )
        for case in cases()
    }


def _of_milliseconds(times: Sequence[float]) -> Figure:
    return of_median([time_ms / 1e3 for time_ms in times])


def pytest_benchmark(seconds: float) -> dict[str, Figure]:
    """pytest-benchmark, its defaults but for the time."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out.json")
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-c",
            os.devnull,
            "--rootdir",
            folder,
            "-p",
            "no:cacheprovider",
            "-p",
            "no:randomly",
        ]
        flags = [f"--benchmark-max-time={seconds}", f"--benchmark-json={out}", str(Path(__file__).resolve())]
        subprocess.run([*command, *flags], check=True, cwd=folder, stdout=sys.stderr)
        entries = json.loads(out.read_text())["benchmarks"]
    return {entry["params"]["number"]: of_median(entry["stats"]["data"]) for entry in _by_case(entries)}


def _by_case(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    known = cases()
    return [entry | {"params": {"number": known[entry["params"]["number"]].case_id}} for entry in entries]


def pytest_generate_tests(metafunc: Any) -> None:
    """pytest's hook: a test a case."""
    metafunc.parametrize("number", range(len(cases())))


def test_case(benchmark: Any, number: int) -> None:
    """What pytest-benchmark times."""
    benchmark(call_of(cases()[number]))


def pyperf(seconds: float, arguments: Sequence[str] | None = None) -> dict[str, Figure]:
    """pyperf with one process a case, since each imports torch anew; twenty values in the time, without the
    process that would tune them."""
    from pyperf import Runner

    runner = Runner(program_args=(__file__, "pyperf"))
    keep = ",".join([CASES, "PYTHONPATH", *KEPT])
    runner.parse_args(
        arguments or ["--processes=1", f"--values={PYPERF_VALUES}", "--quiet", f"--inherit-environ={keep}"]
    )
    figures = {}
    for case in cases():
        if not arguments:  # the process that starts the others
            runner.args.loops = max(1, round(seconds / PYPERF_VALUES / call_s(case)))
        found = runner.bench_func(case.case_id, lambda case=case: _lazy(case))
        if not arguments:
            figures[case.case_id] = of_mean(found.get_values())
    return figures


_MADE: dict[str, Callable[[], object]] = {}


def _lazy(case: Case) -> object:
    """The call, made when it is first needed: pyperf's own process measures nothing."""
    if case.case_id not in _MADE:
        _MADE[case.case_id] = call_of(case)
    return _MADE[case.case_id]()


TORCH: dict[str, Peer] = {"blocked_autorange": blocked_autorange, "adaptive_autorange": adaptive_autorange}
PEERS: dict[str, dict[str, Peer]] = {  # by device; pytest-benchmark and pyperf do not wait for a GPU
    "cpu": TORCH | {"pytest-benchmark": pytest_benchmark, "pyperf": pyperf},
    "cuda": TORCH | {"do_bench": do_bench, "do_bench_cudagraph": do_bench_cudagraph},
}


def main() -> None:
    """One process of one method; or a process that pyperf started."""
    if sys.argv[1] == "pyperf" and len(sys.argv) != 4:
        pyperf(0, sys.argv[2:])
        return
    _, method, path, seconds = sys.argv
    os.environ[CASES] = path
    print(json.dumps(PEERS[cases()[0].setting.device][method](float(seconds))))


if __name__ == "__main__":
    main()
