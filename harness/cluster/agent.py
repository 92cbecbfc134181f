"""What runs on a machine of the cluster: it measures shards with the worker protocol that there is, and tells
of every visit as soon as it is over.

In: an order, a dict that crosses the network. Out: events, pairs of a word and what belongs to it:

    ("ceilings", rows)     roofs, before the first visit
    ("row", row)           a visit
    ("end", facts)         the shard is done, or its time is up
    ("error", facts)       it cannot be measured here
"""

from __future__ import annotations

import os
import queue
import socket
import threading
from typing import TYPE_CHECKING, Any

from harness.core import protocol
from harness.core.case import Case
from harness.core.columns import METHOD, SCHEMA
from harness.core.errors import ConvscopeError
from harness.core.policy import Policy
from harness.run import locks
from harness.run.arm import Arm
from harness.run.context import RunContext
from harness.run.device_worker import connect
from harness.run.progress_events import SILENT
from harness.run.rounds import RoundsRun
from harness.run.worker_process import default_python

if TYPE_CHECKING:
    from collections.abc import Sequence

SPEAKS = (protocol.VERSION, SCHEMA, METHOD)  # what a driver and its agents must have in common
Event = tuple[str, Any]
Order = dict[str, Any]


def look(python: str | None, cores: Sequence[int] | None = None) -> dict[str, Any]:
    """What this machine says of itself, and its interpreter, bound to these processors; or `error`."""
    facts: dict[str, Any] = {"speaks": SPEAKS, "machine": socket.gethostname()}
    before = os.sched_getaffinity(0)
    try:
        if cores:
            os.sched_setaffinity(0, cores)
        with connect(python or default_python()) as connection:
            return facts | {"cores": sorted(before), "interpreter": connection.interpreter}
    except ConvscopeError as error:
        return facts | {"error": error.as_json()}
    finally:
        os.sched_setaffinity(0, before)


class Agent:
    """One device of a machine. A shard is measured in a thread, so that it can be asked meanwhile."""

    def __init__(self, device: str, python: str, cores: Sequence[int] | None) -> None:
        self._device, self._python, self._cores = device, python, cores
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()

    def begin(self, order: Order) -> None:
        """Measure a shard."""
        threading.Thread(target=self._measure, args=(order,), daemon=True).start()

    def events(self, limit_s: float) -> list[Event]:
        """What has happened since this was asked, oldest first; nothing where nothing does within the
        limit."""
        try:
            found = [self._events.get(timeout=limit_s)]
        except queue.Empty:
            return []
        while not self._events.empty():
            found.append(self._events.get())
        return found

    def _measure(self, order: Order) -> None:
        try:
            if self._cores:
                os.sched_setaffinity(0, self._cores)  # of this thread, and of the workers that it starts
            with locks.hold([self._device], wait=True, on_wait=lambda _: None):
                self._events.put(("end", self._measured(order)))
        except ConvscopeError as error:
            self._events.put(("error", error.as_json()))
        except Exception as error:  # whatever it was, the driver must hear of it
            self._events.put(("error", {"message": f"{type(error).__name__}: {error}"}))

    def _measured(self, order: Order) -> dict[str, Any]:
        """Raises ConvscopeError where the interpreter is gone, or is another than it was."""
        context = RunContext(
            run_id=order["run_id"],
            policy=Policy(**order["policy"]),
            seed=order["seed"],
            placement=order["placement"],
            run_spread=order["run_spread"],
        )
        with connect(self._python) as connection:
            if connection.environment_id != order["environment_id"]:
                raise ConvscopeError("its interpreter has changed since the run began", where=self._python)
            arm = Arm("main", context, connection, lambda row: self._events.put(("row", row)), SILENT)
            run = RoundsRun(
                arm,
                [Case.from_message(case) for case in order["cases"]],
                (lambda rows: self._events.put(("ceilings", rows))) if order["ceilings"] else None,
            )
            run.recall(order["before"])
            return {"state": run.go(), "timed_s": run.timed_s, "rounds": run.rounds}
