"""The implementations that come along, in a real worker: each is checked as torch's own layers are."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from importlib.util import find_spec
from typing import Any

import pytest

from harness.core.case import RUNTIMES, Case, Setting
from harness.core.errors import SettingError
from harness.core.problem import KINDS, Problem
from harness.run.worker_process import WorkerProcess
from harness.worker import runtimes
from tests.real_worker import ask

pytestmark = pytest.mark.torch
PACKED = {"onnxruntime": ("onnx", "onnxruntime"), "openvino": ("openvino",)}


def layer(kind: str, implementation: str, **setting: Any) -> Case:
    """A strided one with a bias, as each kind allows it."""
    groups = 4 if kind == "grouped" else None
    problem = Problem(kind, in_channels=8, out_channels=16, size=13, groups=groups, stride=2, bias=True)
    return Case(problem, Setting(implementation=implementation, **setting))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", RUNTIMES)
def test_each_runtime_computes_what_torch_does_or_says_that_it_cannot(
    worker: WorkerProcess, name: str, kind: str
) -> None:
    if not all(map(find_spec, PACKED.get(name, ()))):
        pytest.skip(f"{name} is not installed")
    surveyed = ask(worker, "survey", layer(kind, name))
    if name == "linear" and kind != "pointwise":
        assert surveyed["status"] == "skipped"
        assert "pointwise" in surveyed["message"]
        return
    assert surveyed["status"] == "ok", surveyed
    assert 0 < surveyed["values"]["error"] <= surveyed["values"]["error_bound"]
    assert (surveyed["values"]["peak_bytes"] is None) == (name in PACKED), "what torch does not allocate"
    assert ask(worker, "visit", layer(kind, name))["status"] == "ok"


@pytest.mark.parametrize("name", ["torch", *RUNTIMES])
def test_uneven_padding_is_torchs_copy_or_the_runtimes_own(worker: WorkerProcess, name: str) -> None:
    if not all(map(find_spec, PACKED.get(name, ()))):
        pytest.skip(f"{name} is not installed")
    problem = Problem("depthwise_separable", in_channels=8, size=13, stride=2, padding="0+1x3+0")
    surveyed = ask(worker, "survey", Case(problem, Setting(implementation=name)))
    if name == "linear":
        assert surveyed["status"] == "skipped"
        return
    assert surveyed["status"] == "ok", surveyed
    assert 0 < surveyed["values"]["error"] <= surveyed["values"]["error_bound"]
    assert surveyed["values"]["macs_fvcore"] in (problem.macs, None)
    assert surveyed["values"]["survey_message"] is None


@pytest.mark.parametrize("name", PACKED)
def test_a_runtime_refuses_what_it_would_measure_as_something_else(worker: WorkerProcess, name: str) -> None:
    if not all(map(find_spec, PACKED[name])):
        pytest.skip(f"{name} is not installed")
    for setting in (
        {"memory_format": "channels_last"},
        {"dtype": "bfloat16"},
        {"computation": "training"},
        {"cache": "rotating"},
    ):
        assert ask(worker, "survey", layer("standard", name, **setting))["status"] == "skipped", setting


def test_native_runs_without_onednn_and_the_next_case_with_it(worker: WorkerProcess) -> None:
    problem = Problem("standard", in_channels=64, size=28)
    cases = [Case(problem, Setting(implementation=name)) for name in ("native", "torch")]
    backends = [ask(worker, "survey", case)["values"]["backend"] for case in cases]
    assert "Mkldnn" not in backends[0]
    assert "Mkldnn" in backends[1]


def test_a_package_adds_an_implementation_by_an_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    added = EntryPoint("theirs", "harness.worker.runtimes.unfold:layer", runtimes.GROUP)
    monkeypatch.setattr(runtimes, "entry_points", lambda group: [added] if group == runtimes.GROUP else [])
    from harness.worker.runtimes.unfold import layer as expected

    assert runtimes.factory_of("theirs") is expected
    with pytest.raises(ValueError, match=r"it has native, .*theirs"):
        runtimes.factory_of("nobodys")


@pytest.mark.parametrize("name", ["", "Torch", "a b", "mine:", ":layer"])
def test_a_name_that_can_be_none_is_refused(name: str) -> None:
    with pytest.raises(SettingError, match="neither a name nor module:attribute"):
        Setting(implementation=name)
