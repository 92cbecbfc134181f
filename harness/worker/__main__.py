"""The worker: reads requests from the planner, one at a time, and answers each. It imports torch and computes
nothing itself.

Where there is fork, on a CPU, every visit and every survey is a child of its own. A CUDA context takes
seconds and does not survive a fork, so there the worker measures a whole round itself, and is given only
cases that may share a process.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from harness.core import protocol
from harness.core.protocol import Channel, ChannelClosed, Message

if TYPE_CHECKING:
    from harness.worker.devices import Device
    from harness.worker.fork import Work


def planner_channel() -> Channel:
    """The pipe to the planner, moved away from the standard streams: oneDNN's verbose lines and anything
    printed go to fd 1, now the log."""
    channel = Channel(os.dup(0), os.dup(1))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    return channel


class Worker:
    """Answers requests until told to quit or until the planner is gone."""

    def __init__(self, planner: Channel) -> None:
        from harness.core.policy import Policy
        from harness.worker import devices

        self.planner = planner
        self.device: Device = devices.of("cpu", None)
        self.seed = 0
        self.policy = Policy()

    def serve(self) -> None:
        """The loop. Raises ChannelClosed when the planner is gone."""
        answers = {
            "hello": self.hello,
            "configure": self.configure,
            "ceilings": self.ceilings,
            "tenants": self.tenants,
            "trace": self.trace,
            "survey": self.survey,
            "visit": self.visit,
            "visits": self.visits,
        }
        while (message := self.planner.receive())["do"] != "quit":
            answer = answers.get(message["do"])
            if answer is not None:  # a turn or a drop for a visit that is over needs no answer
                answer(message)

    def hello(self, message: Message) -> None:
        """What is here: protocol, environment and, unless they are known, the devices: in a child, since
        asking for them starts CUDA."""
        from harness.worker import clocks, devices, environment

        found: list[dict[str, Any]] = [{"type": "cpu", "index": None, "name": environment.cpu_name()}]
        lost = ""
        if message.get("devices", True):
            found[0]["clock"] = clocks.describe(clocks.HostClock())
            answer = self._do(lambda _: devices.listed())
            values = answer.get(
                "values", {"devices": [], "message": f"devices cannot be listed: {answer.get('message')}"}
            )
            found, lost = found + values["devices"], values["message"]
        hello = {"is": "hello", "protocol": protocol.VERSION, "environment": environment.describe()}
        self.planner.send({**hello, "devices": found, "message": lost})

    def configure(self, message: Message) -> None:
        """Device, seed and policy for what follows. No answer."""
        from harness.core.policy import Policy
        from harness.worker import devices

        kind, _, index = message["device"].partition(":")
        self.device = devices.of(kind, int(index) if index else None)
        self.seed = message["seed"]
        self.policy = Policy(**message["policy"])

    def ceilings(self, message: Message) -> None:
        """The roofs of the device, for a number of threads and some dtypes."""
        from harness.worker import ceilings

        self._done(
            message, self._do(lambda _: ceilings.measure(message["dtypes"], message["threads"], self.device))
        )

    def tenants(self, message: Message) -> None:
        """Whether somebody else works on the device."""
        from harness.worker import tenants

        self._done(message, self._do(lambda _: tenants.probe(self.device, message["seconds"])))

    def trace(self, message: Message) -> None:
        """The convolutions of a model."""
        from harness.worker import tracing

        self._done(message, self._do(lambda _: tracing.trace(message["target"], message["shape"])))

    def survey(self, message: Message) -> None:
        """The facts of a case; on a CPU the other allocator in a second child, since the choice cannot be
        undone."""
        from harness.core.case import Case
        from harness.worker import survey

        case = Case.from_message(message["case"])
        survey.prepare(case.setting.mode)

        def tell(call_s: float, backend: str | None, link: Channel) -> None:
            link.send(
                {"is": "progress", "id": message["id"], "stage": "survey"}
                | {"latency_s": call_s, "backend": backend}
            )

        answer = self._do(
            lambda link: survey.survey(
                case, self.seed, self.device, lambda call_s, backend: tell(call_s, backend, link)
            )
        )
        if self.device.forks and answer["status"] == "ok":
            other = self._do(lambda _: survey.other_allocator(case, self.seed))
            lost = (
                ""
                if other["status"] == "ok"
                else f"other allocator: {other['status']}: {other.get('message')}"
            )
            told = "; ".join(filter(None, [answer["values"]["survey_message"], lost]))
            answer["values"] = other.get("values", {}) | answer["values"] | {"survey_message": told or None}
        self._done(message, answer)

    def visit(self, message: Message) -> None:
        """One measured case."""
        from harness.core.case import Case

        self._done(message, self._do(partial(self._visit, Case.from_message(message["case"]), message)))

    def visits(self, message: Message) -> None:
        """Several measured cases, their blocks interleaved; one after the other where there is no fork."""
        from harness.core.case import Case
        from harness.worker import interleaved

        turns = self.policy.visit_turns
        more = {"turns": turns, "paired": False} if self.device.forks else {}
        asked = {visit["id"]: visit | more for visit in message["visits"]}
        works = {
            identity: partial(self._visit, Case.from_message(visit["case"]), visit)
            for identity, visit in asked.items()
        }
        if self.device.forks:
            answers = interleaved.measure(
                works, turns, message["limit_s"], message["together_s"], self.planner
            )
        else:
            answers = {identity: self._do(work) for identity, work in works.items()}
        self._done(
            message,
            {"status": "ok", "visits": [{"id": identity, **answer} for identity, answer in answers.items()]},
        )

    def _visit(self, case: Any, message: Message, link: Channel) -> dict[str, Any]:
        from harness.worker.visit import Visit

        return Visit(case, self.policy, self.seed, link, request=message, device=self.device).measure()

    def _do(self, work: Work) -> Message:
        from harness.worker import fork

        if self.device.forks:
            return fork.in_child(work, self.planner)
        began = time.perf_counter()
        answer = fork.attempt(work, self.planner)
        self.device.release()
        answer.get("values", {})["wall_s"] = time.perf_counter() - began
        return {"is": "done", **answer}

    def _done(self, request: Message, answer: Message) -> None:
        self.planner.send({**answer, "is": "done", "id": request["id"]})


def main() -> None:
    """Take the pipe before torch is imported, then serve."""
    planner = planner_channel()
    try:
        from harness.worker import conv_modules
    except ImportError as error:
        planner.send(
            {"is": "failed", "message": f"{sys.executable} has no torch that can be imported: {error}"}
        )
        return
    conv_modules.prepare()
    with contextlib.suppress(ChannelClosed):  # nobody is left to tell
        Worker(planner).serve()
    os._exit(0)  # nothing is left to save, and tearing torch down takes 0.4 s


if __name__ == "__main__":
    main()
