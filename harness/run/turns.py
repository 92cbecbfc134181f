"""Visits that take turns: each measures a block while the others wait, so that what disturbs one disturbs
all.

In: workers, each with a request for a visit. Out: their answers. While a turn runs the planner waits at a
pipe and does nothing else.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from harness.core.protocol import PARTNER

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from harness.core.protocol import Message
    from harness.run.device_worker import DeviceWorker

DROP_LIMIT_S = 5.0  # for a partner that waits to say that it has ended


def open_all(workers: Iterable[DeviceWorker]) -> None:
    """Have their workers ready, which come up beside each other."""
    together = list(workers)
    for worker in together:
        worker.start()
    for worker in together:
        worker.open()


def alternate(
    visits: Mapping[str, tuple[DeviceWorker, Message]], turns: int, limit_s: float
) -> dict[str, Message]:
    """All answers, by name: one after the other sets up, then each has a block in turn until all are done.

    `limit_s` holds for each answer. Who fails takes the waiting ones along.
    """
    answers: dict[str, Message] = {}
    began_s: dict[str, float] = {}
    for step in range(turns + 1):
        for name, (worker, visit) in visits.items():
            began_s.setdefault(name, time.monotonic())
            answer = worker.ask(visit if step == 0 else {"do": "turn", "id": visit["id"]}, limit_s)
            if answer["is"] != "done":
                continue
            # of all its turns; one that ended well says so itself
            answers[name] = answer | {"wall_s": time.monotonic() - began_s[name]}
            if answer["status"] == "ok":
                continue
            for partner in visits.keys() - answers.keys():
                set_up = partner in began_s
                answers[partner] = _left(visits[partner], answer["status"], limit_s, set_up=set_up)
            return answers
    return answers


def _left(partner: tuple[DeviceWorker, Message], why: str, limit_s: float, *, set_up: bool) -> Message:
    """What becomes of a visit whose partner is gone: it is dropped where it waits; what neither supports is
    no fault of one."""
    worker, visit = partner
    answer: Message = {"status": "skipped", "message": f"{PARTNER}{why}"}
    if not set_up and why == "skipped":
        answer = worker.ask(visit, limit_s)
        set_up = answer["is"] != "done"
    return worker.ask({"do": "drop", "id": visit["id"], "why": why}, DROP_LIMIT_S) if set_up else answer
