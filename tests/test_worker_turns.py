"""Visits of real workers whose blocks alternate: of two workers in turns, and of several cases of one."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.core.case import Case, Setting
from harness.core.columns import MEASURED
from harness.core.problem import KINDS, Problem
from harness.run.worker_process import WorkerProcess
from tests.real_worker import QUICK, ask, configured, small, started

pytestmark = pytest.mark.torch


def test_two_workers_take_turns_block_by_block(worker: WorkerProcess) -> None:
    """Blocks correspond one to one; the last turn is answered by `done`."""
    turns = 6
    with started() as other:
        both = (worker, other)
        for one in both:
            assert ask(one, "visit", small(), turns=turns)["is"] == "ready"
        answers = [[one.ask({"do": "turn", "id": 1}, 20) for one in both] for _ in range(turns)]
    assert [answer["is"] for answer in answers[0]] == ["turned", "turned"]
    assert answers[0][0]["left"] == turns - 1
    for done in answers[-1]:
        assert done["status"] == "ok"
        assert len(done["values"]["block_ends"]) == done["values"]["turns"] == turns
        assert done["values"]["stop_reason"] == "turns"
        assert (
            min(
                b - a
                for a, b in zip(
                    [0, *done["values"]["block_ends"]], done["values"]["block_ends"], strict=False
                )
            )
            >= 2
        )


def together(
    worker: WorkerProcess, cases: list[Case], limit_s: float = 20
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What visits came to whose blocks are interleaved, and what the worker told meanwhile."""
    told: list[dict[str, Any]] = []
    visits = [{"do": "visit", "id": number, "case": case.as_message()} for number, case in enumerate(cases)]
    done = worker.ask(
        {"do": "visits", "id": 0, "visits": visits, "limit_s": limit_s, "together_s": 60}, 60, told.append
    )
    return sorted(done["visits"], key=lambda answer: int(answer["id"])), told


def test_blocks_of_several_cases_are_interleaved_each_in_a_process_of_its_own(worker: WorkerProcess) -> None:
    answers, told = together(worker, [small(kind) for kind in KINDS])
    assert [answer["status"] for answer in answers] == ["ok"] * len(KINDS)
    assert [(message["turn"], message["of"]) for message in told] == [
        (turn, QUICK.visit_turns) for turn in range(1, QUICK.visit_turns + 1)
    ]
    assert len({answer["values"]["process"] for answer in answers}) == len(KINDS)
    for values in (answer["values"] for answer in answers):
        assert len(values["block_ends"]) == values["turns"] == QUICK.visit_turns
        assert values["stop_reason"] == "turns"
        assert set(values) <= MEASURED


@pytest.mark.parametrize(
    ("name", "status"),
    [("fatal", "crashed"), ("greedy", "out_of_memory"), ("nowhere", "error"), ("endless", "timeout")],
)
def test_of_cases_that_are_interleaved_one_that_fails_costs_the_others_nothing(
    worker: WorkerProcess, name: str, status: str
) -> None:
    limit_s = 2 if name == "endless" else 60  # only what never ends has to be ended: other tests run beside
    visits = [small(), small("standard", implementation=f"kernels:{name}"), small("pointwise")]
    answers, _ = together(worker, visits, limit_s=limit_s)
    assert [answer["status"] for answer in answers] == ["ok", status, "ok"]
    assert answers[1]["message"]


def test_a_slow_case_among_others_ends_with_what_it_has(worker: WorkerProcess) -> None:
    slow = Case(Problem("standard", in_channels=128, size=56), Setting(threads="1"))
    with configured(worker, replace(QUICK, visit_limit_s=1, visit_time_s=300)):
        answers, _ = together(worker, [small(), slow])
    assert [answer["values"]["stop_reason"] for answer in answers] == ["limit", "limit"]
    assert all(len(answer["values"]["samples_s"]) >= 3 for answer in answers)


@pytest.mark.parametrize(
    "kill",
    [WorkerProcess.kill, lambda worker: os.kill(worker._process.pid, signal.SIGKILL)],
    ids=["ended", "killed alone"],
)
def test_children_that_are_stopped_do_not_outlive_their_worker(kill: Callable[[WorkerProcess], None]) -> None:
    """A stopped process does nothing, not even end, unless it is told to."""
    with contextlib.chdir(Path(__file__).parent):
        running = started()
    cases = [small(), small("standard", implementation="kernels:endless")]
    visits = [{"do": "visit", "id": number, "case": case.as_message()} for number, case in enumerate(cases)]
    with running:
        running._send({"do": "visits", "id": 0, "visits": visits, "limit_s": 60, "together_s": 60})
        in_time = time.monotonic() + 20
        while "T" not in states(running._process.pid) and time.monotonic() < in_time:
            os.sched_yield()
        assert "T" in states(running._process.pid)
        kill(running)
        while states(running._process.pid) - {"Z"} and time.monotonic() < in_time:
            os.sched_yield()
        assert states(running._process.pid) <= {"Z"}


def states(group: int) -> set[str]:
    """Of the processes of a group: T is stopped, Z has ended and nobody has asked how."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, own_group = (
                stat.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[:3]
            )
            found |= {state} if int(own_group) == group else set()
    return found


def test_a_partner_that_is_dropped_ends_as_skipped(worker: WorkerProcess) -> None:
    assert ask(worker, "visit", small(), turns=6)["is"] == "ready"
    done = worker.ask({"do": "drop", "id": 1, "why": "crashed"}, 20)
    assert (done["status"], done["message"]) == ("skipped", "partner crashed")
    assert ask(worker, "visit", small())["status"] == "ok"
