"""Which workers of a run come up when, and what becomes of one that does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness import sweep
from harness.core.case import Case
from harness.run.progress_events import ProgressListener
from harness.run.worker_process import WorkerProcess
from tests.conftest import Stub


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> list[WorkerProcess]:
    """Every worker that is started in this process, in order."""
    started: list[WorkerProcess] = []

    class Recorded(WorkerProcess):
        def __init__(self, python: str) -> None:
            super().__init__(python)
            started.append(self)

    monkeypatch.setattr("harness.run.device_worker.WorkerProcess", Recorded)
    return started


class Counting(ProgressListener):
    """Notes how many workers had been started by the first visit of each round, and ends the idle ones then
    if told so."""

    def __init__(self, workers: list[WorkerProcess], *, fatal: bool = False) -> None:
        self.workers, self.fatal = workers, fatal
        self.by_round: dict[int, int] = {}

    def visited(self, case: Case, row: dict[str, Any]) -> None:
        self.by_round.setdefault(row["round"], len(self.workers))
        for worker in self.workers[1:3] if self.fatal and row["round"] == 1 else ():
            worker.kill()


def test_workers_of_certain_rounds_come_up_at_once_and_none_outlives_its_run(
    own_folder: Path, suite: Path, stub: Stub, workers: list[WorkerProcess]
) -> None:
    """One says what it is and makes the surveys, three are for the rounds that are certain, two for those
    that may follow."""
    listener = Counting(workers)
    sweep(suite, python=str(stub({"spread": 0.5})), results=own_folder, listener=listener)
    assert listener.by_round == {1: 4, 2: 4, 3: 4, 4: 6}
    assert not any(worker.alive for worker in workers)


def test_no_worker_comes_up_for_a_round_that_is_not_certain(
    own_folder: Path, suite: Path, stub: Stub, workers: list[WorkerProcess]
) -> None:
    """A quick run has one round; a time limit may come before any."""
    quick, limited = Counting(workers), Counting(workers)
    sweep(suite, python=str(stub({"spread": 0})), results=own_folder, quick=True, listener=quick)
    sweep(suite, python=str(stub({"spread": 0})), results=own_folder, time_limit_s=1000, listener=limited)
    assert quick.by_round == {1: 2}
    assert limited.by_round == {1: 4, 2: 5, 3: 6}


def test_a_worker_that_dies_before_its_round_costs_nothing(
    own_folder: Path, suite: Path, stub: Stub, workers: list[WorkerProcess]
) -> None:
    visits = sweep(
        suite, python=str(stub({"spread": 0})), results=own_folder, listener=Counting(workers, fatal=True)
    ).visits
    assert (visits["status"] == "ok").all()
    assert len(visits) == 18


def test_a_worker_that_does_not_come_up_is_started_again(
    own_folder: Path, suite: Path, stub: Stub, workers: list[WorkerProcess]
) -> None:
    """One of those that come up together ends when it is connected, as where memory is short."""
    python, connection, ended = (own_folder / name for name in ("flaky", "connection", "ended"))
    sound = stub({"spread": 0})
    python.write_text(
        f'#!/bin/sh\nmkdir "{connection}" 2>/dev/null || '
        f'{{ mkdir "{ended}" 2>/dev/null && read -r _ && exit 1; }}\n'
        f'exec "{sound}" "$@"\n'
    )
    python.chmod(0o755)
    visits = sweep(suite, python=str(python), results=own_folder).visits
    assert (visits["status"] == "ok").all()
    assert len(workers) == 5
