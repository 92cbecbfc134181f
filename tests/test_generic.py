"""A device that torch.accelerator alone knows: what it measures, and that what nobody can tell of it is null.

The device is built from tests/data/npu_on_cpu.cpp, which takes half a minute: `nox -s simulations`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from harness.run.worker_process import WorkerProcess
from tests.conftest import Convscope
from tests.npu_on_cpu import build
from tests.real_worker import ask, small, started

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("npu"),  # built once
    pytest.mark.torch,
    pytest.mark.skipif(not shutil.which("g++"), reason="there is no g++"),
]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder for PYTHONPATH: torch finds the device in it."""
    folder = tmp_path_factory.mktemp("npu")
    build(folder)
    return str(folder)


@pytest.fixture(scope="module")
def worker(path: str) -> Iterator[WorkerProcess]:
    """One that measures on it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", path)
        running = started(device="npu:0")
    with running:
        yield running


def test_it_is_listed(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", path)
    with started() as running:
        assert [one["name"].partition(" of ")[0] for one in running.hello().devices][1:] == ["npu:0"]


@pytest.mark.parametrize("kind", ["standard", "depthwise_separable"])
@pytest.mark.parametrize("computation", ["inference", "forward"])
def test_it_is_measured_by_the_hosts_clock_and_what_nobody_tells_is_null(
    worker: WorkerProcess, kind: str, computation: str
) -> None:
    answer = ask(worker, "visit", small(kind, device="npu", computation=computation))
    assert answer["status"] == "ok", answer
    visit = answer["values"]
    assert visit["latency_s"] > 0
    assert (visit["device_index"], visit["clock"]) == (0, "host")
    assert visit["device_name"].startswith("npu:0 of ")
    assert visit["trust"] != "ok", "nobody tells its clock and its heat"
    assert not {"device_s", "dispatch_s", "energy_j", "sm_clock_hz"} & visit.keys()


def test_its_output_is_checked_and_memory_that_nobody_counts_is_null(worker: WorkerProcess) -> None:
    answer = ask(worker, "survey", small("grouped", device="npu"))
    assert answer["status"] == "ok", answer
    facts = answer["values"]
    assert facts["error"] <= facts["error_bound"]
    assert (facts["peak_bytes"], facts["workspace_bytes"], facts["reserved_bytes"]) == (None, None, None)
    assert not {"primitives", "kernel_s"} & facts.keys()
    assert facts["survey_message"] is None


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ({"mode": "cuda_graph"}, "cuda_graph needs a CUDA device"),
        ({"cache": "flushed"}, "flushed is not supported on npu"),
        ({"cache": "rotating"}, "last-level cache is not known"),
        ({"fp32_precision": "tf32"}, "tf32 cannot be set on npu"),
        ({"autotune": True}, "autotune is not known on npu"),
    ],
)
def test_what_it_cannot_do_is_skipped_with_its_reason(
    worker: WorkerProcess, setting: dict[str, str], why: str
) -> None:
    answer = ask(worker, "visit", small(device="npu", **setting))
    assert (answer["status"], why in answer["message"]) == ("skipped", True), answer


def test_it_has_roofs(worker: WorkerProcess) -> None:
    request = {"do": "ceilings", "id": 1, "dtypes": ["float32"], "threads": "all"}
    roofs = worker.ask(request, 300)["values"]
    assert (roofs["device"], roofs["device_index"], roofs["roofs"]["page_fault_s"]) == ("npu", 0, None)
    assert all(value > 0 for name, value in roofs["roofs"].items() if name != "page_fault_s")


def test_two_sides_take_turns_on_it(convscope: Convscope, path: str) -> None:
    layers = ("-a", "kind=depthwise", "-a", "in_channels=16", "-a", "size=14", "-a", "device=npu")
    ended = convscope("ab", *layers, "--quick", "--json", PYTHONPATH=path)
    (case,) = ended.json["cases"]
    assert case["label"] == "depthwise 16->16 k3 1x16x14x14 npu float32"
