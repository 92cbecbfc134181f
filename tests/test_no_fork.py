"""The worker where there is no fork, as on CUDA: one process measures case after case. Nothing here asserts a
time.

A worker of its own kind: a sitecustomize.py on its path takes `os.fork` away before anything of ours is
imported.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import load_results, sweep
from harness.core.case import Case, Setting
from harness.core.columns import BY_NAME, MEASURED
from harness.core.errors import CasesFailed
from harness.core.problem import KINDS, Problem
from harness.plan.points import prepare
from harness.run.device_worker import DeviceWorker
from harness.run.worker_process import WorkerProcess
from harness.worker.environment import available_threads
from tests.real_worker import QUICK, ask, configured, small, started

pytestmark = pytest.mark.torch
WITHOUT_FORK = "import os\n\ndel os.fork\n"
TELLING = '''
import gc
import torch

def state(problem, setting):
    """What a case finds in its process; the bytes of tensors that an earlier one left there are the last."""
    gc.collect()
    left = sum(one.numel() for one in gc.get_objects() if type(one) in (torch.Tensor, torch.nn.Parameter))
    backends = torch.backends
    precisions = [backends.mkldnn.conv.fp32_precision, backends.mkldnn.matmul.fp32_precision]
    raise LookupError([torch.get_num_threads(), *precisions, backends.cudnn.benchmark, torch.is_grad_enabled(), left])
'''  # noqa: E501


@pytest.fixture(scope="module")
def without_fork(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Interpreters started from here have no fork; they find tests/kernels.py, and `telling:state`, which
    tells what is in force."""
    folder = tmp_path_factory.mktemp("without_fork")
    (folder / "sitecustomize.py").write_text(WITHOUT_FORK, encoding="utf-8")
    (folder / "telling.py").write_text(TELLING, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{folder}:{Path(__file__).parent}")
        yield


@pytest.fixture(scope="module")
def worker(without_fork: None) -> Iterator[WorkerProcess]:
    with started() as running:
        yield running


def pid_of(values: dict[str, Any]) -> int:
    return int(values["process"].partition("-")[0])


def test_every_kind_is_looked_at_and_measured_in_one_process_which_is_the_workers_own(
    worker: WorkerProcess,
) -> None:
    required = {name for name in MEASURED if not BY_NAME[name].nullable and BY_NAME[name].part == "visit"} - {
        "status"
    }
    for kind in KINDS:
        facts, visit = ask(worker, "survey", small(kind)), ask(worker, "visit", small(kind))
        assert (facts["status"], visit["status"]) == ("ok", "ok"), (facts, visit)
        assert facts["values"].keys() <= MEASURED
        assert facts["values"]["survey_message"] is None
        assert 0 <= facts["values"]["error"] <= facts["values"]["error_bound"]
        assert facts["values"]["macs_fvcore"] == small(kind).problem.macs
        values = visit["values"]
        assert required <= values.keys() <= MEASURED
        assert 0 < values["latency_low_s"] <= values["latency_s"] <= values["latency_high_s"]
        assert values["block_ends"][-1] == len(values["samples_s"])
        assert pid_of(values) == worker._process.pid


FAILING = [
    ({"implementation": "kernels:nowhere"}, "error"),
    ({"implementation": "kernels:greedy"}, "out_of_memory"),
    ({"mode": "cuda_graph"}, "skipped"),
    ({"threads": "4096"}, "skipped"),
]


@pytest.mark.parametrize("what", ["survey", "visit"])
@pytest.mark.parametrize(("setting", "status"), FAILING, ids=str)
def test_a_case_that_fails_is_a_status_and_the_next_is_measured(
    worker: WorkerProcess, setting: dict[str, Any], status: str, what: str
) -> None:
    done = ask(worker, what, small(**setting))
    assert done["status"] == status
    assert done["message"]
    assert ask(worker, what, small())["status"] == "ok"


def test_a_case_that_computes_something_else_is_found_and_the_next_is_not_taken_for_it(
    worker: WorkerProcess,
) -> None:
    wrong = ask(worker, "survey", small(implementation="kernels:off"))["values"]
    assert wrong["error"] > wrong["error_bound"]
    assert ask(worker, "visit", small(implementation="kernels:off"))["status"] == "incorrect"
    assert ask(worker, "visit", small(implementation="kernels:right"))["status"] == "ok"


def test_a_case_whose_time_is_up_is_a_status_and_the_next_is_measured(worker: WorkerProcess) -> None:
    long = Case(Problem("standard", in_channels=256, size=112), Setting(threads="1"))
    with configured(worker, replace(QUICK, visit_limit_s=0.01)):
        assert ask(worker, "visit", long)["status"] == "timeout"
    assert ask(worker, "visit", small())["status"] == "ok"


def test_a_case_that_ends_its_process_ends_the_worker_and_another_goes_on(without_fork: None) -> None:
    """No child dies in its place."""
    requests = [
        {"do": "visit", "id": 1, "case": small(implementation=name).as_message()}
        for name in ("torch", "kernels:fatal", "torch")
    ]
    with DeviceWorker(sys.executable, "cpu", 7, QUICK) as station:
        first, fatal, last = [station.ask(request, 60) for request in requests]
    assert [answer["status"] for answer in (first, fatal, last)] == ["ok", "crashed", "ok"]
    assert "SIGSEGV" in fatal["message"]
    assert first["values"]["process"] != last["values"]["process"]


def test_two_workers_take_turns_block_by_block_and_measure_on(worker: WorkerProcess) -> None:
    turns = 4
    with started() as other:
        workers = (worker, other)
        for _ in range(2):
            for one in workers:
                assert ask(one, "visit", small(), turns=turns)["is"] == "ready"
            answers = [[one.ask({"do": "turn", "id": 1}, 20) for one in workers] for _ in range(turns)]
            assert [[answer["is"] for answer in both] for both in answers] == [["turned"] * 2] * (
                turns - 1
            ) + [["done"] * 2]
            assert [answer["left"] for answer in answers[0]] == [turns - 1] * 2
            for one, done in zip(workers, answers[-1], strict=True):
                assert done["status"] == "ok"
                assert len(done["values"]["block_ends"]) == done["values"]["turns"] == turns
                assert pid_of(done["values"]) == one._process.pid


def test_a_partner_that_is_dropped_ends_as_skipped_and_the_next_case_is_measured(
    worker: WorkerProcess,
) -> None:
    """Before its first turn, and after one. A turn that comes late is not answered."""
    for taken in (0, 1):
        assert ask(worker, "visit", small(), turns=6)["is"] == "ready"
        for _ in range(taken):
            assert worker.ask({"do": "turn", "id": 1}, 20)["is"] == "turned"
        done = worker.ask({"do": "drop", "id": 1, "why": "crashed"}, 20)
        assert (done["status"], done["message"]) == ("skipped", "partner crashed")
    worker._send({"do": "turn", "id": 1})
    assert ask(worker, "visit", small())["status"] == "ok"


LEAVING: list[dict[str, Any]] = [
    {"threads": "1"},
    {"fp32_precision": "bf16"},
    {"autotune": True},
    {"computation": "training"},
    {"dtype": "float16"},
    *(setting for setting, _ in FAILING),
    {"implementation": "kernels:off"},
]


@pytest.mark.parametrize("setting", LEAVING, ids=str)
def test_a_case_finds_its_own_settings_in_force_and_no_tensor_of_the_one_before(
    worker: WorkerProcess, setting: dict[str, Any]
) -> None:
    for what in ("survey", "visit", "turns"):
        if what != "turns":
            ask(worker, what, small(**setting))
        elif ask(worker, "visit", small(**setting), turns=6)["is"] == "ready":
            worker.ask({"do": "drop", "id": 1}, 20)
        found = ask(worker, "visit", small(implementation="telling:state"))
        assert found["error_type"] == "LookupError"
        assert found["message"] == str([available_threads(), "ieee", "ieee", False, False, 0]), what
    own = {"threads": "1", "fp32_precision": "bf16", "autotune": True, "computation": "forward"}
    asked = ask(worker, "visit", small(implementation="telling:state", **own))
    assert asked["message"] == str([1, "bf16", "bf16", True, True, 0])


def test_the_threads_of_a_case_are_its_own_whatever_the_one_before_had(worker: WorkerProcess) -> None:
    used = [
        ask(worker, "visit", small(threads=threads))["values"]["threads_used"]
        for threads in ("all", "1", "all", "1")
    ]
    assert used == [available_threads(), 1] * 2


def test_numbers_in_full_precision_stay_what_they_were_after_a_case_in_another(worker: WorkerProcess) -> None:
    """The same seed gives the same error, to the last digit."""
    errors = []
    for precision in ("ieee", "bf16", "ieee"):
        values = ask(worker, "survey", small(fp32_precision=precision))["values"]
        assert values["error"] <= values["error_bound"]
        errors.append(values["error"])
    assert errors[0] == errors[2]


def test_roofs_are_measured_and_leave_the_next_case_its_threads(worker: WorkerProcess) -> None:
    done = worker.ask({"do": "ceilings", "id": 1, "threads": "1", "dtypes": ["float32"]}, 60)
    assert done["values"]["threads_used"] == 1
    assert ask(worker, "visit", small())["values"]["threads_used"] == available_threads()


def test_a_sweep_measures_each_round_in_a_process_of_its_own(own_folder: Path, without_fork: None) -> None:
    axes: dict[str, tuple[Any, ...]] = {
        "kind": ("depthwise", "pointwise"),
        "in_channels": (8,),
        "size": (12,),
        "threads": ("1",),
    }
    suite = replace(prepare("", axes), policy=replace(QUICK, rounds=2, max_rounds=2))
    try:
        visits = sweep(suite, python=sys.executable).visits
    except CasesFailed as failed:  # on a busy machine visits are invalid, and there all the same
        visits = load_results(failed.where).visits
    assert (visits["status"] == "ok").all()
    assert set(visits["threads_used"]) == {1}
    assert (visits.groupby("round")["case_id"].nunique() == 2).all()
    processes = visits.groupby("round")["process"].agg(["nunique", "first"])
    assert (processes["nunique"] == 1).all()
    assert processes["first"].is_unique
    assert visits["macs_fvcore"].notna().all()
