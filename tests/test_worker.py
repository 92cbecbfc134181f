"""The worker, for real: a process that imports torch and measures. Nothing here asserts a time."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.core.case import Case, Setting
from harness.core.columns import BY_NAME, MEASURED
from harness.core.policy import Policy
from harness.core.problem import KINDS, Problem
from harness.run.worker_process import WorkerGone, WorkerProcess, WorkerTimeout
from tests.conftest import Stub
from tests.real_worker import QUICK, ask, configured, small, started

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("kind", KINDS)
def test_a_visit_answers_with_columns_of_the_record_and_a_figure_inside_its_interval(
    worker: WorkerProcess, kind: str
) -> None:
    done = ask(worker, "visit", small(kind))
    assert done["status"] == "ok"
    values = done["values"]
    assert set(values) <= MEASURED
    required = {name for name in MEASURED if not BY_NAME[name].nullable and BY_NAME[name].part == "visit"} - {
        "status"
    }
    assert required <= set(values)
    assert 0 < values["latency_low_s"] <= values["latency_s"] <= values["latency_high_s"]
    assert len(values["block_ends"]) == 12
    assert values["block_ends"][-1] == len(values["samples_s"])
    assert len(values["place_figures_s"]) == 4
    assert min(values["samples_s"]) <= min(values["place_figures_s"])
    assert max(values["place_figures_s"]) <= max(values["samples_s"])
    assert values["resident_bytes"] == 4 * (
        8 * 144 + sum(a * b * c * d for a, b, c, d in small(kind).problem.weight_shapes)
    )


def test_calls_that_fault_are_in_the_figure(worker: WorkerProcess) -> None:
    """A low quantile of the samples is of the calls that do not."""
    case = Case(
        Problem("standard", in_channels=32, size=28),
        Setting(threads="1", allocator="default", implementation="kernels:faulting"),
    )
    values = ask(worker, "visit", case)["values"]
    assert values["calls_per_sample"] == 1
    assert values["minor_faults_per_call"] > 200
    assert values["latency_s"] > 1.1 * values["latency_p10_s"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_a_survey_finds_torch_correct_and_fvcore_in_agreement(
    worker: WorkerProcess, kind: str, memory_format: str
) -> None:
    case = small(kind, memory_format=memory_format)
    done = ask(worker, "survey", case)
    assert done["status"] == "ok"
    values = done["values"]
    assert set(values) <= MEASURED
    assert values["macs_fvcore"] == case.problem.macs
    assert 0 <= values["error"] <= values["error_bound"] < 1e-4
    assert values["backend"]
    output_bytes = 4 * 8 * 144
    assert values["peak_bytes"] == output_bytes + values["workspace_bytes"]
    assert values["other_allocator_s"] > 0


@pytest.mark.parametrize("allocator", ["retained", "default"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_onednn_ran_is_found_with_its_roles(worker: WorkerProcess, kind: str, allocator: str) -> None:
    """Large enough that torch leaves it to oneDNN, whose choices differ by processor: the roles do not."""
    case = Case(
        Problem(kind, in_channels=32, size=56, groups=4 if kind == "grouped" else None),
        Setting(allocator=allocator),
    )
    values = ask(worker, "survey", case)["values"]
    assert "Mkldnn" in values["backend"]
    convolutions = [primitive for primitive in values["primitives"] if primitive["role"] == "convolution"]
    assert sum(primitive["calls"] for primitive in convolutions) == (
        2 if kind == "depthwise_separable" else 1
    )
    assert all(primitive["time_s"] > 0 and primitive["name"] for primitive in values["primitives"])
    assert values["explained_share"] > 0


@pytest.mark.skipif(platform.machine() != "x86_64", reason="oneDNN's instruction sets")
def test_a_survey_tells_of_the_slow_loop_that_a_dilated_bfloat16_layer_falls_to_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Below AVX-512 oneDNN leaves bfloat16 alone: x 8x16x112x112, w 32x16x7x7, dilation 2 takes seconds."""
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    problem = Problem(
        "standard", in_channels=4, out_channels=8, size=20, kernel_size=7, dilation=2, padding=0
    )
    case, told = Case(problem, Setting(dtype="bfloat16")), list[dict[str, Any]]()
    with started() as running:
        request = {"do": "survey", "id": 1, "case": case.as_message()}
        values = running.ask(request, 60.0, told.append)["values"]
    ((first,),) = [told]
    assert (first["stage"], first["backend"]) == ("survey", "SlowDilated2d")
    assert first["latency_s"] > 0
    assert values["backend"] == "SlowDilated2d"
    convolves = [one["name"] for one in values["primitives"] if one["role"] == "convolution"]
    assert "aten::slow_conv_dilated2d" in convolves


def test_what_torch_itself_ran_is_found_where_onednn_has_no_part(worker: WorkerProcess) -> None:
    """On one thread torch leaves oneDNN out for few pointwise images."""
    values = ask(worker, "survey", Case(Problem("pointwise", in_channels=64, size=28), Setting(threads="1")))[
        "values"
    ]
    assert "Mkldnn" not in values["backend"]
    assert "convolution" in {primitive["role"] for primitive in values["primitives"]}
    assert values.get("explained_share") is None


def test_a_machine_has_roofs(worker: WorkerProcess) -> None:
    done = worker.ask({"do": "ceilings", "id": 1, "threads": "1", "dtypes": ["float32"]}, 60)
    assert done["values"]["threads_used"] == 1
    roofs = done["values"]["roofs"]
    assert {"flops_per_s_float32", "page_fault_s"} < set(roofs)
    assert all(value > 0 for value in roofs.values())


def test_more_threads_than_there_are_have_none(worker: WorkerProcess) -> None:
    assert worker.ask({"do": "ceilings", "id": 1, "threads": "4096", "dtypes": []}, 60)["status"] == "skipped"


@pytest.mark.parametrize(
    "setting",
    [
        {"computation": "training"},
        {"computation": "forward"},
        {"dtype": "bfloat16"},
        {"dtype": "float16"},
        {"dtype": "float64"},
        {"threads": "1"},
        {"allocator": "default"},
        {"autotune": True},
    ],
    ids=str,
)
def test_settings_are_measured_and_correct(worker: WorkerProcess, setting: dict[str, Any]) -> None:
    case = Case(Problem("pointwise", in_channels=32, size=28), Setting(**setting))
    survey, visit = ask(worker, "survey", case), ask(worker, "visit", case)
    assert (survey["status"], visit["status"]) == ("ok", "ok"), (survey, visit)
    assert survey["values"]["error"] <= survey["values"]["error_bound"]
    if "threads" in setting:
        assert visit["values"]["threads_used"] == 1


def test_what_cannot_be_done_here_is_skipped_and_says_why(worker: WorkerProcess) -> None:
    done = ask(worker, "visit", small(mode="cuda_graph"))
    assert done["status"] == "skipped"
    assert "CUDA" in done["message"]


def test_the_default_allocator_faults_and_the_retained_does_not(worker: WorkerProcess) -> None:
    """128 channels at 56x56: the output alone is 392 pages."""
    problem = Problem("depthwise", in_channels=128, size=56)
    with configured(worker, replace(QUICK, warm_up_s=0.05, visit_time_s=0.1)):
        kept = ask(worker, "visit", Case(problem, Setting()))["values"]["minor_faults_per_call"]
        plain = max(
            ask(worker, "visit", Case(problem, Setting(allocator="default")))["values"][
                "minor_faults_per_call"
            ]
            for _ in range(3)
        )
    assert kept < 8
    assert plain > 300


def test_an_implementation_is_checked_like_torch(worker: WorkerProcess) -> None:
    right = ask(worker, "survey", small("standard", implementation="kernels:right"))["values"]
    assert right["error"] <= right["error_bound"]
    wrong = ask(worker, "survey", small("standard", implementation="kernels:off"))["values"]
    assert wrong["error"] > wrong["error_bound"]


@pytest.mark.parametrize("name", ["remembering", "sharing"])
def test_a_kernel_that_remembers_its_answer_or_hands_out_one_buffer_is_wrong(
    worker: WorkerProcess, name: str
) -> None:
    values = ask(worker, "survey", small("standard", implementation=f"kernels:{name}"))["values"]
    assert values["error"] > values["error_bound"]


def test_a_kernel_that_cheats_once_it_is_timed_is_found_after_its_timing(worker: WorkerProcess) -> None:
    case = small("standard", implementation="kernels:tiring")
    surveyed = ask(worker, "survey", case)["values"]
    assert surveyed["error"] <= surveyed["error_bound"]
    done = ask(worker, "visit", case)
    assert done["status"] == "incorrect"
    assert "after it was timed" in done["message"]


def test_a_kernel_that_keeps_its_weights_itself_is_checked_too(worker: WorkerProcess) -> None:
    values = ask(worker, "survey", small("standard", implementation="kernels:own_weights"))["values"]
    assert 0 < values["error"] <= values["error_bound"]


@pytest.mark.parametrize(
    ("name", "status"), [("fatal", "crashed"), ("greedy", "out_of_memory"), ("nowhere", "error")]
)
def test_a_child_that_fails_is_a_status_and_the_worker_lives_on(
    worker: WorkerProcess, name: str, status: str
) -> None:
    for what in ("survey", "visit"):
        done = ask(worker, what, small("standard", implementation=f"kernels:{name}"))
        assert done["status"] == status
        assert done["message"]
    assert ask(worker, "visit", small())["status"] == "ok"


def test_a_visit_whose_limit_comes_first_ends_with_what_it_has_or_as_timeout(worker: WorkerProcess) -> None:
    case = Case(Problem("standard", in_channels=256, size=112), Setting(threads="1"))
    with configured(worker, replace(QUICK, visit_limit_s=0.001)):
        assert ask(worker, "visit", case)["status"] == "timeout"
    quicker = Case(Problem("standard", in_channels=64, size=56), Setting(threads="1"))
    with configured(worker, replace(QUICK, visit_limit_s=1, visit_time_s=300)):
        values = ask(worker, "visit", quicker)["values"]
    assert values["stop_reason"] == "limit"
    assert "few_samples" in values["trust_reasons"]
    assert len(values["samples_s"]) >= 3


def test_an_answer_that_does_not_come_ends_the_worker_which_then_says_how(stub: Stub) -> None:
    with WorkerProcess(str(stub({"fault": "hang"}))) as hanging:
        hanging.hello()
        with pytest.raises(WorkerTimeout):
            hanging.ask({"do": "visit", "id": 1, "case": small().as_message()}, 0.05)
        assert not hanging.alive
        with pytest.raises(WorkerGone, match="SIGKILL"):
            ask(hanging, "visit", small())


def test_a_worker_whose_planner_is_gone_ends_by_itself(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from harness.run.worker_process import WorkerProcess\n"
        "worker = WorkerProcess(sys.executable); worker.hello(); "
        "print(worker._process.pid, flush=True); os._exit(1)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    pid = int(ended.stdout)
    end = time.monotonic() + 20
    while (
        Path(f"/proc/{pid}").exists()
        and " Z " not in Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
        and time.monotonic() < end
    ):
        os.sched_yield()
    assert not Path(f"/proc/{pid}").exists() or " Z " in Path(f"/proc/{pid}/stat").read_text(encoding="ascii")


SURVEYED = """
import json, sys
import harness.worker.__main__, harness.worker.visit, harness.worker.survey, harness.worker.fork
from harness.core.case import Case, Setting
from harness.core.policy import Policy
from harness.core.problem import Problem
from harness.worker import survey, visit
from harness.worker.devices.cpu import Cpu
print(json.dumps(sorted(sys.modules)))


class LittleCache(Cpu):
    def cache_bytes(self):
        return 2**20


def case(**setting):
    return Case(Problem("pointwise", in_channels=64, size=28), Setting(**setting))


class Link:
    def send(self, message):
        pass


survey.prepare("eager")
for threads in ("1", "all"):  # torch leaves oneDNN out on one
    found = survey.survey(case(threads=threads), 7, Cpu())
    print(json.dumps([found["survey_message"], found["peak_bytes"] > 0, bool(found["primitives"])]))
policy = Policy(warm_up_s=0.005, visit_time_s=0.02, min_samples=10)
rotating = visit.Visit(case(cache="rotating"), policy, 7, Link(), request={"id": 1}, device=LittleCache())
print(json.dumps(rotating.measure()))
print(json.dumps(sorted(sys.modules)))
"""


@pytest.fixture(scope="module")
def surveyed() -> list[Any]:
    """What a process of its own says that takes the worker's steps itself: the modules that it has at first,
    what two surveys found, a visit whose copies rotate, and the modules that it has then."""
    ended = subprocess.run(
        [sys.executable, "-c", SURVEYED], capture_output=True, text=True, timeout=120, check=True
    )
    return [json.loads(line) for line in ended.stdout.splitlines()]


def test_the_worker_imports_the_standard_library_torch_and_nothing_else_of_ours(surveyed: list[Any]) -> None:
    """What the planner needs must not be needed where kernels are measured."""
    loaded = set(surveyed[0])
    assert not {"pandas", "pyarrow", "pydantic", "click", "rich", "seaborn"} & loaded
    ours = {name.split(".")[1] for name in loaded if name.startswith("harness.")}
    assert ours == {"core", "worker"}


def test_a_survey_loads_no_compiler(surveyed: list[Any]) -> None:
    """torch.profiler imports all of torch's compiler when it starts, which takes longer than a
    survey does."""
    assert surveyed[1:3] == [[None, True, True]] * 2
    assert not {"torch._dynamo", "torch._inductor"} & set(surveyed[4])


def test_copies_that_rotate_fill_the_cache_twice(surveyed: list[Any]) -> None:
    """A cache of a mebibyte: the machine's own may be one of hundreds."""
    values = surveyed[3]
    assert values["resident_bytes"] > 2 * 2**20
    assert 0 < values["latency_low_s"] <= values["latency_s"] <= values["latency_high_s"]


def test_busy_neighbours_are_seen_in_the_run_queue(worker: WorkerProcess) -> None:
    """Three on every core: most of the time goes in waiting for a processor, whether or not calls between
    are undisturbed."""
    loops = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3 * (os.cpu_count() or 1))
    ]
    try:
        with configured(worker, Policy(warm_up_s=0.02, visit_time_s=0.1)):
            case = Case(Problem("standard", in_channels=64, size=56), Setting())
            values = ask(worker, "visit", case)["values"]
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
    assert values["run_queue_share"] > 0.1
    assert values["trust"] in ("noisy", "invalid")
    assert "load" in values["trust_reasons"]


def test_as_many_threads_as_processors_have_one_each_while_they_are_timed(worker: WorkerProcess) -> None:
    processors = len(os.sched_getaffinity(0))
    values = ask(worker, "visit", small())["values"]
    assert values["threads_bound"] is (values["threads_used"] == processors > 1)  # a quota may allow fewer
    alone = ask(worker, "visit", small(threads="1"))["values"]
    assert alone["threads_bound"] is False


def test_every_visit_on_a_cpu_is_a_process_of_its_own(worker: WorkerProcess) -> None:
    pids = [ask(worker, "visit", small())["values"]["process"].partition("-")[0] for _ in range(3)]
    assert len({*pids, str(worker._process.pid)}) == 4
