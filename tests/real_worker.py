"""Real workers for tests: a process that imports torch. One serves all tests of a pytest process that need no
worker of their own, since its start costs more than what it is asked."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness.core.case import Case, Setting
from harness.core.policy import Policy
from harness.core.problem import Problem
from harness.run.worker_process import WorkerProcess

QUICK = Policy(warm_up_s=0.005, visit_time_s=0.02, min_samples=10, visit_limit_s=20)


def started(policy: Policy = QUICK, device: str = "cpu") -> WorkerProcess:
    """A worker that has said what it is and knows the policy. It finds implementations in the current
    folder."""
    running = WorkerProcess(sys.executable)
    running.hello()
    running.configure(device, 7, policy)
    return running


@contextmanager
def configured(worker: WorkerProcess, policy: Policy) -> Iterator[WorkerProcess]:
    """The worker under another policy, for a while."""
    worker.configure("cpu", 7, policy)
    try:
        yield worker
    finally:
        worker.configure("cpu", 7, QUICK)


def ask(worker: WorkerProcess, what: str, case: Case, **more: Any) -> dict[str, Any]:
    """The answer to a `survey` or a `visit` of a case."""
    return worker.ask({"do": what, "id": 1, "case": case.as_message(), **more}, 60)


def small(kind: str = "standard", **setting: Any) -> Case:
    """A case of 8 channels of 12x12."""
    groups = 4 if kind == "grouped" else None
    return Case(Problem(kind, in_channels=8, size=12, groups=groups), Setting(**setting))
