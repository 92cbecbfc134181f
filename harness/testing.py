"""A stub worker and a fake clock, so that everything on the planner's side runs for real and fast, without
torch.

The stub is a real process on a real pipe that starts in some 50 ms. What it answers is a script, a JSON file:

    {"environment": {...}, "devices": [...], "no_torch": "why", "log": "file",
     "cases": [{"match": {"kind": "depthwise"}, "latency_s": 1e-3, "spread": 0.01,
                "fault": "crash", "survey_fault": "die", "values": {...}}]}

The first entry whose `match` agrees with the case's problem and setting counts; `spread` is the relative
standard deviation between visits; `fault` is one of `FAULTS`, and holds once a worker has done `after`
visits; `turns_fault` holds in turns alone; `values` are columns to answer with. With `mutate`, a seed, some
of what it says is damaged on its way. Of visits together one that
hangs is over, as a worker sees to that. `log` gets a line for every request, with its span.
`interpreter(folder, script)` makes an executable that stands in for a Python: give it to `--python`.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.core import protocol, stats
from harness.core.case import Case
from harness.core.protocol import Channel, ChannelClosed, Message

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FAULTS = (
    "crash",
    "die",
    "hang",
    "garbage",
    "error",
    "out_of_memory",
    "unsupported",
    "invalid",
    "noisy",
    "incorrect",
)
HOSTILE: tuple[object, ...] = (
    *(None, "", "text", "\ud800", "\u001b[31m\u202e<b>$x$</b>", -1, 0, 10**12, 10**30, 1e308, -1e308),
    *(float("nan"), float("inf"), True, [], {}, [None], ["x"], [1e-3] * 1000, {"x": {"y": []}}),
)
BLOCKS, BLOCK_SAMPLES = 10, 3
TURN_S = 0.0001
ENVIRONMENT = {
    "python": "3.11.0",
    "torch": "0.0-stub",
    "cpu": "stub",
    "instruction_set": "NONE",
    "cores": 2,
    "threads_available": 2,
}
DEVICES = [{"type": "cpu", "index": None, "name": "stub"}]


@dataclass
class FakeClock:
    """A clock whose calls cost what a script says, in seconds; after its end the last cost holds. Stands in
    for `worker.clocks.HostClock`."""

    costs: list[float]
    name: str = "host"
    resolution_s: float = 1e-9
    least_sample_s: float = 100e-6
    taken: list[int] = field(default_factory=list)

    def sample(self, call: Callable[[], object], calls: int) -> float:
        """The next cost, a call."""
        call()
        self.taken.append(calls)
        return self.costs[min(len(self.taken), len(self.costs)) - 1]


def interpreter(folder: Path, script: Message) -> Path:
    """An executable in `folder` that starts the stub with this script, whatever it is given to run."""
    from pathlib import Path  # not above: the stub needs none, and what it imports is most of what it costs

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "script.json").write_text(json.dumps(script), encoding="utf-8")
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r}); "
        "import harness.testing; harness.testing.main()"
    )
    path = folder / "stub-python"
    path.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -S -E -c "{code}" "{folder / "script.json"}"\n', encoding="utf-8"
    )
    path.chmod(0o755)
    return path


class StubWorker:
    """Answers requests as its script says."""

    def __init__(self, script: Message, planner: Channel) -> None:
        self.script, self.planner = script, planner
        self.random = random.Random(0)
        self.visits = 0

    def serve(self) -> None:
        """Until told to quit."""
        answers = {
            "hello": self.hello,
            "configure": self.configure,
            "ceilings": self.ceilings,
            "survey": self.survey,
        }
        answers |= {"visit": self.visit, "visits": self.visits_together}
        while (message := self.planner.receive())["do"] != "quit":
            # as the real one: a turn or a drop for a visit that is over needs no answer
            if message["do"] in answers:
                answers[message["do"]](message)

    def hello(self, _: Message) -> None:
        """The scripted environment and devices, or why there is no torch."""
        if "no_torch" in self.script:
            self.planner.send({"is": "failed", "message": self.script["no_torch"]})
            return
        environment = ENVIRONMENT | self.script.get("environment", {})
        self.planner.send(
            {
                "is": "hello",
                "protocol": protocol.VERSION,
                "environment": environment,
                "devices": self.script.get("devices", DEVICES),
            }
        )

    def configure(self, message: Message) -> None:
        """A seed of its own for every worker, so that rounds differ."""
        self.random = random.Random(f"{message['seed']} {os.getpid()}")

    def ceilings(self, message: Message) -> None:
        """A machine of round figures."""
        roofs = {f"flops_per_s_{dtype}": 1e11 for dtype in message["dtypes"]}
        roofs |= {f"bytes_per_s_{2**21}": 4e10, f"bytes_per_s_{2**29}": 1e10, "page_fault_s": 5e-7}
        identity = {"device": "cpu", "device_index": None, "threads_used": 2}
        self._done(
            message, {"status": "ok", "values": identity | {"roofs": roofs | self.script.get("roofs", {})}}
        )

    def survey(self, message: Message) -> None:
        """Facts that agree with the counts."""
        case = Case.from_message(message["case"])
        entry = self._entry(case)
        if "survey_fault" in entry:
            self._done(message, _faulty({"fault": entry["survey_fault"]}, self.planner) or {})
            return
        self._say(
            {"is": "progress", "id": message["id"], "stage": "survey"}
            | {"latency_s": entry.get("latency_s", 1e-3), "backend": "Stub"}
        )
        values = {
            "macs_fvcore": case.problem.macs,
            "error": 1.0 if entry.get("fault") == "incorrect" else 1e-8,
            "error_bound": 1e-6,
            "backend": "Stub",
            "primitives": [{"name": "stub:any", "role": "convolution", "calls": 1, "time_s": 9e-4}],
            "explained_share": 0.9,
        }
        output_bytes = case.setting.element_bytes * case.problem.batch * case.problem.out_channels
        values |= {"peak_bytes": 2 * output_bytes, "workspace_bytes": output_bytes} | entry.get("survey", {})
        self._done(message, {"status": "ok", "values": values})

    def visit(self, message: Message) -> None:
        """A visit that takes no time and states its cost; or the fault that its case has."""
        self._done(message, self._visited(message, alone=True))

    def _visited(self, message: Message, *, alone: bool) -> Message:
        began = time.monotonic()
        case = Case.from_message(message["case"])
        entry = self._entry(case)
        self.visits += 1
        if self.visits <= entry.get("after", 0):
            entry.pop("fault", None)
        if message.get("turns") and "turns_fault" in entry:
            entry["fault"] = entry["turns_fault"]
        if entry.get("fault") == "hang" and not alone:
            return {"status": "timeout", "message": "no answer, as scripted"}
        answer = _faulty(entry, self.planner) or {"status": "ok", "values": self._values(entry, message)}
        for left in reversed(range(message.get("turns", 0) if answer["status"] == "ok" else 0)):
            self._say(
                {
                    "is": "ready" if left == message["turns"] - 1 else "turned",
                    "id": message["id"],
                    "left": left + 1,
                }
            )
            turn, began_turn = self.planner.receive(), time.monotonic()
            while turn["do"] == "turn" and time.monotonic() - began_turn < TURN_S:
                pass  # a turn is work
            self._log(turn, began_turn)
            if turn["do"] == "drop":
                answer = {"status": "skipped", "message": f"{protocol.PARTNER}{turn.get('why', 'gone')}"}
                break
        self._log(message, began)
        return answer

    def visits_together(self, message: Message) -> None:
        """Visits whose blocks would be interleaved: one after the other, in one answer."""
        answers = [{**self._visited(visit, alone=False), "id": visit["id"]} for visit in message["visits"]]
        for answer in answers:
            answer.get("values", {})["turns"] = BLOCKS
        self._done(message, {"status": "ok", "visits": answers})

    def _values(self, entry: Message, message: Message) -> Message:
        turns = message.get("turns", 0)
        count = turns or BLOCKS
        centre = entry.get("latency_s", 1e-3) * self.random.lognormvariate(0, entry.get("spread", 0.01))
        samples = [centre * self.random.uniform(0.999, 1.001) for _ in range(count * BLOCK_SAMPLES)]
        ends = [BLOCK_SAMPLES * (i + 1) for i in range(count)]
        trust = entry["fault"] if entry.get("fault") in ("invalid", "noisy") else "ok"
        values: Message = {
            "process": f"stub-{os.getpid()}-{self.visits}",
            "threads_used": 2,
            "device_name": "stub",
            "samples_s": samples,
            "block_ends": ends,
            "calls_per_sample": 1,
            "turns": turns,
            "clock": "host",
            "clock_resolution_s": 1e-9,
            "stop_reason": "turns" if turns else "time",
            "wall_s": sum(samples),
            "warm_up_s": 0.0,
            "resident_bytes": 1000,
            "trust": trust,
            "trust_reasons": [] if trust == "ok" else ["load"],
            "run_queue_share": 0.0 if trust == "ok" else 0.5,
            "minor_faults_per_call": 0.0,
        }
        values |= stats.describe(samples, ends, 1e-9)
        values |= entry.get("values", {})
        return values

    def _entry(self, case: Case) -> Message:
        for entry in self.script.get("cases", []):
            if all(
                getattr(case.problem, name, getattr(case.setting, name, None)) == value
                for name, value in entry.get("match", {}).items()
            ):
                return dict(entry)
        return {}

    def _done(self, request: Message, answer: Message) -> None:
        self._say({**answer, "is": "done", "id": request["id"]})

    def _say(self, message: Message) -> None:
        self.planner.send(message)

    def _log(self, request: Message, began: float) -> None:
        if "log" in self.script:
            with open(self.script["log"], "a", encoding="utf-8") as file:
                file.write(
                    json.dumps(
                        {"pid": os.getpid(), "do": request["do"], "began": began, "ended": time.monotonic()}
                    )
                    + "\n"
                )


class Damaging(Channel):
    """A channel that damages some of what it is given: hostile, but of a process that still answers."""

    def __init__(self, read_fd: int, write_fd: int, seed: int) -> None:
        super().__init__(read_fd, write_fd)
        self.random = random.Random(
            f"{seed} {time.monotonic_ns()}"
        )  # each worker of a run damages other lines
        self.share = self.random.choice((0.02, 0.1, 0.5))

    def send(self, message: Message) -> None:
        """Write a message, or what becomes of it."""
        if self.random.random() > self.share:
            super().send(message)
            return
        line = json.dumps(self._altered(message)).encode()
        how = self.random.randrange(8)
        if how == 0:
            line = line[: self.random.randrange(len(line))]
        elif how == 1:
            line = b"\xff\x00 this is no message"
        elif how == 2:
            line = b"\n".join([b'{"is":"progress"}'] * 1000 + [line])
        elif how == 3:
            line = line + b"\n" + line
        os.write(self.write_fd, line + b"\n")

    def _altered(self, message: Message) -> Message:
        """With one field, at any depth, of another type, missing, or beyond what a column holds."""
        inner, altered = message, message
        while isinstance(inner, dict) and inner:
            altered, name = inner, self.random.choice(list(inner))
            inner = inner[name]
            if isinstance(inner, list) and inner and isinstance(inner[0], dict):
                inner = self.random.choice(inner)
            if self.random.random() < 0.3:
                break
        if self.random.random() < 0.2:
            altered.pop(name, None)
        else:
            altered[name] = self.random.choice(HOSTILE)
        return message


def _faulty(entry: Message, planner: Channel) -> Message | None:
    """Answer with a status, or do not answer at all; None where the case has no such fault."""
    fault = entry.get("fault")
    if fault == "die":
        os.kill(os.getpid(), signal.SIGSEGV)
    if fault == "hang":
        _wait_for_the_end(planner)
    if fault == "garbage":
        os.write(planner.write_fd, b"this is no message\n")
        _wait_for_the_end(planner)
    if fault == "unsupported":
        return {"status": "skipped", "message": "not supported, as scripted"}
    if fault in ("error", "out_of_memory"):
        return {"status": fault, "error_type": "RuntimeError", "message": entry.get("message", "as scripted")}
    return {"status": "crashed", "message": "the process was killed by SIGSEGV"} if fault == "crash" else None


def _wait_for_the_end(planner: Channel) -> None:
    """Answer nothing until the planner is gone."""
    while True:
        planner.receive()


def main() -> None:
    """The stub as a process: its script is the first argument, the pipe its standard streams."""
    with open(sys.argv[1], encoding="utf-8") as file:
        script = json.load(file)
    channel = Damaging(0, 1, script["mutate"]) if "mutate" in script else Channel(0, 1)
    with suppress(ChannelClosed):
        StubWorker(script, channel).serve()
    os._exit(0)  # nothing is left to write, and to take an interpreter down is a tenth of its life
