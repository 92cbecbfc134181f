"""A device that torch.accelerator alone knows, from end to end: what it measures, and that what nobody can
tell of it is null.

The device is built from tests/data/npu_on_cpu.cpp, which takes half a minute: `nox -s simulations`.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness import load_results
from tests.conftest import Convscope
from tests.npu_on_cpu import build

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("npu"),  # built once
    pytest.mark.torch,
    pytest.mark.skipif(not shutil.which("g++"), reason="there is no g++"),
]
LAYERS = ("-a", "kind=depthwise,pointwise", "-a", "in_channels=16", "-a", "size=14", "-a", "device=npu")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder for PYTHONPATH: torch finds the device in it."""
    folder = tmp_path_factory.mktemp("npu")
    build(folder)
    return str(folder)


def test_a_device_that_only_torch_accelerator_knows_is_measured(
    convscope: Convscope, path: str, tmp_path: Path
) -> None:
    ended = convscope("run", *LAYERS, "--quick", "--json", PYTHONPATH=path)
    assert ended.code == 0, ended.err
    found = load_results(tmp_path / ended.json["path"])
    assert set(found.visits["status"]) == {"ok"}
    assert (found.visits["latency_s"] > 0).all()
    assert set(found.visits["device_name"]) == {"npu:0"}
    assert set(found.visits["clock"]) == {"host"}
    assert "ok" not in set(found.visits["trust"]), "nobody tells its clock and its heat"
    unknown = ["device_s", "dispatch_s", "peak_bytes", "workspace_bytes", "kernel_s", "energy_j"]
    assert found.summary[[name for name in unknown if name in found.summary]].isna().all(axis=None)
    assert (found.summary["error"] <= found.summary["error_bound"]).all()
    roofs = found.runs[0]["ceilings"][0]
    assert (roofs["device"], roofs["device_index"]) == ("npu", 0)
    assert convscope("report", ended.json["run_id"]).code == 0


def test_what_it_cannot_do_is_skipped_with_its_reason(
    convscope: Convscope, path: str, tmp_path: Path
) -> None:
    axes = ("mode=eager,cuda_graph", "cache=hot,rotating,flushed", "fp32_precision=ieee,tf32")
    words = [word for axis in axes for word in ("-a", axis)]
    ended = convscope("run", *LAYERS, *words, "--quick", "--json", PYTHONPATH=path)
    assert ended.code == 0, ended.err
    summary = load_results(tmp_path / ended.json["path"]).summary
    kept = summary[summary["status"] == "ok"]
    assert set(kept["mode"] + " " + kept["cache"] + " " + kept["fp32_precision"]) == {"eager hot ieee"}
    reasons = " ".join(summary.loc[summary["status"] == "skipped", "message"].unique())
    assert "cuda_graph needs a CUDA device" in reasons
    assert "flushed is not supported on npu" in reasons
    assert "tf32 cannot be set on npu" in reasons


def test_two_arms_take_turns_on_it(convscope: Convscope, path: str) -> None:
    ended = convscope("ab", *LAYERS, "--quick", "--json", PYTHONPATH=path)
    assert ended.code in (0, 3), ended.err
    assert len(ended.json["cases"]) == 2
    assert all(case["base"] > 0 and case["head"] > 0 for case in ended.json["cases"])
