"""What holds on a CUDA device, with a real worker: figures, facts and failures. These tests run where there
is a device, and only there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import Problem, Setting, load_results, sweep
from harness.core.case import Case
from harness.core.policy import Policy
from harness.plan.points import prepare
from harness.run.worker_process import WorkerProcess
from tests.conftest import Convscope

HERE = bool(list(Path("/dev").glob("nvidia[0-9]*"))) or Path("/dev/dxg").exists()
pytestmark = [
    pytest.mark.cuda,
    pytest.mark.torch,
    pytest.mark.skipif(not HERE, reason="there is no CUDA device"),
]
LAYER = Problem("standard", in_channels=64, size=28)


@pytest.fixture(scope="module")
def worker() -> Iterator[WorkerProcess]:
    with WorkerProcess(sys.executable) as process:
        hello = process.hello()
        assert "cuda" in hello.device_types
        process.configure("cuda:0", 7, Policy(warm_up_s=0.02, visit_time_s=0.05))
        yield process


def ask(worker: WorkerProcess, what: str, problem: Problem = LAYER, **setting: Any) -> dict[str, Any]:
    case = Case(problem, Setting(device="cuda", **setting))
    answer = worker.ask({"do": what, "id": 1, "case": case.as_message()}, 300)
    assert answer["status"] == "ok", answer
    values: dict[str, Any] = answer["values"]
    return values


def test_a_visit_has_three_figures_and_what_the_device_says_of_itself(worker: WorkerProcess) -> None:
    values = ask(worker, "visit")
    assert values["clock"] == "event"
    assert 0 < values["latency_low_s"] <= values["latency_s"] <= values["latency_high_s"]
    assert values["device_s"] > 0
    assert values["dispatch_s"] > 0
    assert values["device_index"] == 0
    assert values.get("sm_clock_hz") is None or values["sm_clock_hz"] > 1e8


@pytest.mark.parametrize(
    "setting",
    [
        {"mode": "cuda_graph"},
        {"mode": "cuda_graph", "cache": "rotating"},
        {"mode": "compile"},
        {"mode": "compile", "fp32_precision": "tf32"},
        {"cache": "rotating"},
        {"cache": "flushed"},
        {"computation": "forward"},
        {"computation": "training"},
        {"dtype": "float16"},
        {"dtype": "bfloat16"},
        {"fp32_precision": "tf32"},
        {"memory_format": "channels_last"},
        {"autotune": True},
    ],
    ids=str,
)
def test_settings_are_measured_and_correct(worker: WorkerProcess, setting: dict[str, Any]) -> None:
    problem = Problem("standard", in_channels=256, size=112) if "cache" in setting else LAYER
    facts = ask(worker, "survey", problem, **setting)
    assert facts["survey_message"] is None
    assert 0 <= facts["error"] <= facts["error_bound"]
    assert ask(worker, "visit", problem, **setting)["latency_s"] > 0


def test_a_case_that_is_compiled_for_one_shape_does_not_decide_for_the_next(worker: WorkerProcess) -> None:
    """Of two shapes in one process, torch would compile the second for any shape; each is compiled, or read
    from the compiler's own cache."""
    visits = [
        ask(worker, "visit", Problem("standard", in_channels=64, size=size), mode="compile")
        for size in (28, 30, 28)
    ]
    assert all(values["compile_s"] > 10 * values["latency_s"] for values in visits)


def test_a_graph_of_several_calls_is_told_by_the_call(worker: WorkerProcess) -> None:
    values = ask(worker, "visit", mode="cuda_graph")
    assert values["calls_per_sample"] >= 20
    assert values["compile_s"] > 0
    assert values["latency_s"] < ask(worker, "visit")["latency_s"]


def test_memory_is_what_was_asked_for_and_not_the_allocators_blocks(worker: WorkerProcess) -> None:
    """An output of 11.5 MiB gets a block of 12."""
    problem = Problem("depthwise", in_channels=64, size=112, batch=4)
    facts = ask(worker, "survey", Problem("depthwise", in_channels=47, size=127, batch=4))
    assert facts["peak_bytes"] == 4 * 4 * 47 * 127 * 127
    assert ask(worker, "survey", problem)["peak_bytes"] >= 4 * 4 * 64 * 112 * 112


def test_the_profilers_span_holds_its_kernels(worker: WorkerProcess) -> None:
    facts = ask(worker, "survey", Problem("standard", in_channels=256, size=56, batch=8))
    assert facts["launches"] >= 1
    assert 0 < facts["kernel_s"] <= facts["span_s"]


@pytest.mark.parametrize(
    "name", ["CUDA_LAUNCH_BLOCKING", "PYTORCH_NO_CUDA_MEMORY_CACHING", "NVIDIA_TF32_OVERRIDE"]
)
def test_a_variable_that_changes_what_is_measured_is_refused_by_name(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "1")
    with WorkerProcess(sys.executable) as process:
        process.hello(devices=False)
        process.configure("cuda:0", 7, Policy())
        answer = process.ask(
            {"do": "visit", "id": 1, "case": Case(LAYER, Setting(device="cuda")).as_message()}, 120
        )
    assert answer["status"] == "skipped"
    assert name in answer["message"]


def test_energy_is_measured_where_it_is_asked_for() -> None:
    with WorkerProcess(sys.executable) as process:
        process.hello(devices=False)
        process.configure("cuda:0", 7, Policy(warm_up_s=0.02, visit_time_s=0.05, energy_time_s=1.0))
        values = ask(process, "visit", Problem("standard", in_channels=256, size=56, batch=32))
    assert values["energy_j"] is None or values["energy_j"] > 0


@pytest.mark.parametrize("kind", ["standard", "depthwise", "pointwise", "depthwise_separable"])
def test_the_kernels_of_a_call_are_named(worker: WorkerProcess, kind: str) -> None:
    values = ask(worker, "survey", Problem(kind, in_channels=64, size=56))
    convolutions = [one for one in values["primitives"] if one["role"] == "convolution"]
    assert convolutions
    assert all(one["time_s"] > 0 for one in convolutions)


def test_what_does_not_fit_is_a_row_and_the_worker_goes_on(worker: WorkerProcess) -> None:
    huge = Case(Problem("standard", in_channels=4096, size=2048, batch=64), Setting(device="cuda"))
    assert worker.ask({"do": "visit", "id": 1, "case": huge.as_message()}, 300)["status"] == "out_of_memory"
    assert ask(worker, "visit")["latency_s"] > 0


def test_a_device_has_roofs(worker: WorkerProcess) -> None:
    roofs = worker.ask({"do": "ceilings", "id": 1, "threads": "all", "dtypes": ["float32", "bfloat16"]}, 120)[
        "values"
    ]["roofs"]
    assert roofs["page_fault_s"] is None
    assert all(value > 0 for name, value in roofs.items() if name != "page_fault_s")


def test_a_sweep_gives_cases_that_share_a_cache_of_algorithms_workers_of_their_own(own_folder: Path) -> None:
    axes: dict[str, tuple[Any, ...]] = {
        "device": ("cuda",),
        "kind": ("depthwise", "pointwise"),
        "in_channels": (64,),
        "size": (28,),
    }
    suite = prepare("", axes | {"autotune": (False, True)})
    found = sweep(replace(suite, policy=Policy(rounds=2, max_rounds=2, warm_up_s=0.02, visit_time_s=0.05)))
    assert found.summary["roofline_fraction"].notna().all()
    processes = found.visits.groupby(["round", "autotune"])["process"].agg(["nunique", "first"])
    assert (processes["nunique"] == 1).all()
    assert processes["first"].is_unique


def test_an_ab_takes_turns(own_folder: Path, convscope: Convscope) -> None:
    (own_folder / "kernels.py").write_text(
        "from harness.worker.conv_modules import torch_layer\n\n\n"
        "def same(problem, setting):\n    return torch_layer(problem)\n",
        encoding="utf-8",
    )
    asked = [
        "-a",
        "device=cuda",
        "-a",
        "kind=depthwise",
        "-a",
        "in_channels=64",
        "-a",
        "size=56",
        "--head-implementation",
        "kernels:same",
        "--time-limit",
        "30",
    ]
    ended = convscope("ab", *asked)
    assert ended.code == 0, ended.err
    assert (load_results("last").visits["turns"] > 0).all()
