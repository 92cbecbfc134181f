"""What holds on a CUDA device, with a real worker: figures, facts and failures. These tests run where there is a device, and only there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import Problem, Setting, load_results, sweep
from harness.bridge import WorkerProcess
from harness.case import Case
from harness.policy import Policy
from tests.conftest import Convscope

HERE = bool(list(Path("/dev").glob("nvidia[0-9]*"))) or Path("/dev/dxg").exists()
pytestmark = [pytest.mark.cuda, pytest.mark.torch, pytest.mark.skipif(not HERE, reason="there is no CUDA device")]
LAYER = Problem("standard", in_channels=64, size=28)


@pytest.fixture(scope="module")
def worker() -> Iterator[WorkerProcess]:
    import sys

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
        {"cache": "rotating"},
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
    assert 0 <= facts["error"] <= facts["error_bound"]
    assert ask(worker, "visit", problem, **setting)["latency_s"] > 0


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
    roofs = worker.ask({"do": "ceilings", "id": 1, "threads": "all", "dtypes": ["float32", "bfloat16"]}, 120)["values"]["roofs"]
    assert roofs["page_fault_s"] is None
    assert all(value > 0 for name, value in roofs.items() if name != "page_fault_s")


def test_a_sweep_and_an_ab_in_turns(own_folder: Path, convscope: Convscope) -> None:
    found = sweep(axes={"device": ("cuda",), "kind": ("depthwise", "pointwise"), "in_channels": (64,), "size": (28,)})
    assert found.summary["roofline_fraction"].notna().all()
    assert found.visits.groupby("round")["process"].nunique().max() == 1
    (own_folder / "kernels.py").write_text(
        "from harness.worker.layers import torch_layer\n\n\ndef same(problem, setting):\n    return torch_layer(problem)\n", encoding="utf-8"
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
        "60",
    ]
    ended = convscope("ab", *asked)
    assert ended.code == 0, ended.err
    assert (load_results("last").visits["turns"] > 0).all()
