"""Drives a run: surveys, then rounds of visits in random order under fresh workers, until every case is tight or the time is up.

In: points and a policy, an interpreter, somewhere to put rows. Out: rows in the record's names, one a visit, whatever became of
it: a case that fails, runs out of time or kills its process is a row, and the run goes on. Every stop falls between visits.
Not here: what a visit is (`worker/visit`), where rows are kept (`results`), how progress looks (`terminal`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from harness.bridge import Hello, WorkerGone, WorkerProcess, WorkerTimeout
from harness.errors import DeviceError
from harness.policy import guess_call_s
from harness.probes import PROBES, beside_neighbours, quiet_level
from harness.record import BY_NAME, MEASURED, SCHEMA, SURVEYED, case_columns
from harness.stats import FEWEST_VISITS, interval_between

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from harness.case import Case
    from harness.policy import Policy
    from harness.protocol import Message

    Row = dict[str, Any]

GRACE_S = 5.0  # beyond a visit's own limit, before its worker is ended
SURVEY_LIMIT_S = 60.0  # beyond a visit's limit: the survey traces, profiles and checks besides
SURVEY_S = 0.2  # of a case: what it took on two quiet cores
MOST_REPEATS = 2  # of an invalid visit, at the end of its round
PATIENCE = 2  # noisy minutes end: rounds for want of quiet may be so many times as many
EMPTY_ROW: dict[str, Any] = dict.fromkeys(BY_NAME)


class Watcher:
    """What a run tells while it goes on; one that draws overrides these. `waiting` for a lock and `started` come before `begin`."""

    def waiting(self, device: str) -> None: ...
    def started(self, run: Path) -> None: ...
    def begin(self, cases: int, estimated_s: float) -> None: ...
    def surveying(self, case: Case, number: int, of: int) -> None: ...
    def visiting(self, case: Case, round_number: int, left_s: float) -> None: ...
    def progress(self, case: Case, latency_s: float) -> None: ...
    def visited(self, case: Case, row: Row) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a run is asked to do. `placement`: device type to index; `quiet`: what probes take on this machine when it is quiet, by threads."""

    run_id: str
    python: str
    policy: Policy
    seed: int
    placement: dict[str, int] = field(default_factory=dict)
    quiet: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Greeted:
    """A worker that has said what it is; it serves for the survey and no longer."""

    worker: WorkerProcess
    hello: Hello

    @property
    def environment_id(self) -> str:
        """First 12 hex digits of SHA-256 over the environment's facts."""
        return hashlib.sha256(json.dumps(self.hello.environment, sort_keys=True).encode()).hexdigest()[:12]


@contextlib.contextmanager
def greet(python: str) -> Iterator[Greeted]:
    """Start an interpreter and ask what it is and which devices it has. Raises InterpreterError."""
    worker = WorkerProcess(python)
    try:
        yield Greeted(worker, worker.hello())
    finally:
        worker.kill()


def require_devices(hello: Hello, asked: Iterable[str], placement: dict[str, int]) -> None:
    """Raises DeviceError for a type or an index that is not there."""
    have = [device["type"] if device["index"] is None else f"{device['type']}:{device['index']}" for device in hello.devices]
    for kind in asked:
        wanted = f"{kind}:{placement[kind]}" if kind in placement else kind
        if wanted not in have and wanted not in hello.device_types:
            raise DeviceError(f"{wanted} is not there", where="device", hint=f"This interpreter's torch sees {', '.join(have)}.")


def estimate_s(policy: Policy, cases: Iterable[Case]) -> float:
    """What a survey and the certain rounds of cases will take, in seconds, from guesses of each call."""
    return sum(SURVEY_S + policy.rounds * policy.visit_estimate_s(_guess_s(case)) for case in cases)


def _guess_s(case: Case) -> float:
    return guess_call_s(case.problem.macs, case.problem.minimum_bytes(case.setting.element_bytes))


@dataclass(frozen=True, slots=True)
class Seen:
    """A valid visit as the rounds look at it: its process, its latency in seconds, and whether its reference probes were slow."""

    process: str
    latency_s: float
    slow: bool = False


def wants_another(policy: Policy, rounds: int, visits: Sequence[Seen]) -> bool:
    """Whether a case is visited again after so many rounds.

    Always until `rounds`. After that while fewer than three processes on a quiet machine stand behind the figure, up to `PATIENCE` times
    `max_rounds`, or while half of the interval between these is wider than `target_width`, up to `max_rounds`.
    """
    if rounds < policy.rounds:
        return True
    quiet = [visit for visit in visits if not visit.slow]
    if len({visit.process for visit in quiet}) < FEWEST_VISITS:
        patient = len(quiet) < len(visits) and policy.max_rounds >= FEWEST_VISITS
        return rounds < policy.max_rounds * (PATIENCE if patient else 1)
    return rounds < policy.max_rounds and interval_between([visit.latency_s for visit in quiet]).half_width > policy.target_width


class Run:
    """The state of one run: what each case has come to so far."""

    def __init__(self, order: Order, cases: Sequence[Case], greeted: Greeted, keep: Callable[[Row], None], watcher: Watcher) -> None:
        self.order, self.cases, self.greeted = order, list(cases), greeted
        self.keep, self.watcher = keep, watcher
        self.policy = order.policy
        self.facts: dict[str, Row] = {}
        self.valid: dict[str, list[Row]] = defaultdict(list)  # the visits that count
        self.probed: dict[int, list[tuple[float, ...]]] = defaultdict(list)  # by threads, what the probes beside them took
        self.over: set[str] = set()  # cases that failed or cannot be done here: they are not visited again
        self.skipped: set[str] = set()  # of these, the ones that this interpreter or device does not support
        self.call_s = {case.case_id: _guess_s(case) for case in self.cases}
        self.rounds = 0
        self.visits = 0
        self.timed_s = 0.0
        self._request = 0
        self._random = random.Random(order.seed)
        self._began = time.monotonic()

    def go(self) -> str:
        """Do all of it; why it ended: `complete` or `time_limit`."""
        self.watcher.begin(len(self.cases), estimate_s(self.policy, self.cases))
        self._survey()
        while cases := self._due():
            self.rounds += 1
            if not self._round(cases):
                return "time_limit"
        return "complete"

    @property
    def failed(self) -> list[Case]:
        """The cases that should have a figure and have none."""
        return [case for case in self.cases if not self.valid[case.case_id] and case.case_id not in self.skipped]

    def _due(self) -> list[Case]:
        """The cases of the next round."""
        live = [case for case in self.cases if case.case_id not in self.over]
        levels = {threads: quiet_level(self.order.quiet.get(str(threads)), probed) for threads, probed in self.probed.items()}
        return [case for case in live if wants_another(self.policy, self.rounds, [_seen(row, levels) for row in self.valid[case.case_id]])]

    def _survey(self) -> None:
        """The facts of every case, before any timing, in the worker that was greeted; it ends here. Without facts a case is measured all the same."""
        number = 0
        for device, cases in self._by_device(self.cases):
            # a CUDA context does not survive a fork, so what was greeted serves the CPU alone
            with _Station(self.order, device, self.greeted.worker if device == "cpu" else None) as station:
                for case in cases:
                    if self._time_is_up(case):
                        break
                    number += 1
                    self.watcher.surveying(case, number, len(self.cases))
                    answer = station.ask("survey", case, self._next(), self.policy.visit_limit_s + SURVEY_LIMIT_S)
                    self.facts[case.case_id] = facts = _measured(answer, SURVEYED)
                    if facts.get("error") is not None and facts["error"] > facts["error_bound"]:
                        self._refuse(case, facts)
        self.greeted.worker.quit()

    def _refuse(self, case: Case, facts: Row) -> None:
        """A case that computes something else gets a row that says so, and no timing."""
        message = f"error {facts['error']:.2g} of the sum of magnitudes, rounding explains {facts['error_bound']:.2g}"
        self._record(case, 0, {"status": "incorrect", "message": message})

    def _round(self, cases: list[Case]) -> bool:
        """Every case once, in random order, under a fresh worker; invalid visits again at its end. False when the time is up."""
        for device, mine in self._by_device(cases):
            waiting = self._random.sample(mine, len(mine))
            repeats: dict[str, int] = defaultdict(int)
            with _Station(self.order, device) as station:
                for position, case in enumerate(waiting):  # grows while it is walked
                    if self._time_is_up(case):
                        return False
                    self.watcher.visiting(case, self.rounds, self._left_s(waiting[position:]))
                    row = self._visit(station, case, position)
                    if row["trust"] == "invalid" and repeats[case.case_id] < MOST_REPEATS:
                        repeats[case.case_id] += 1
                        waiting.append(case)
        return True

    def _visit(self, station: _Station, case: Case, position: int) -> Row:
        def tell(message: Message) -> None:
            self.call_s[case.case_id] = message["latency_s"]
            self.watcher.progress(case, message["latency_s"])

        started = datetime.now(timezone.utc)
        answer = station.ask("visit", case, self._next(), self.policy.visit_limit_s + GRACE_S, tell)
        return self._record(case, position, answer, started)

    def _record(self, case: Case, position: int, answer: Message, started: datetime | None = None) -> Row:
        """Make the row, hand it on, and remember what it means for the case."""
        row = EMPTY_ROW | {
            "schema": SCHEMA,
            "run_id": self.order.run_id,
            "arm": "main",
            "environment_id": self.greeted.environment_id,
            "round": max(self.rounds, 1),
            "position": position,
            "started_at": started or datetime.now(timezone.utc),
            "process": f"none-{self._request}",
            "turns": 0,
            "trust": "unknown",
        }
        row |= {"wall_s": answer.get("wall_s")} | case_columns(case) | self.facts.get(case.case_id, {}) | _measured(answer, MEASURED)
        row |= {"status": answer["status"], "error_type": answer.get("error_type"), "message": answer.get("message")}
        self.keep(row)
        self.visits += 1
        if row["status"] != "ok":
            self.over.add(case.case_id)
            if row["status"] == "skipped":
                self.skipped.add(case.case_id)
        else:
            self.call_s[case.case_id] = row["latency_s"]
            self.timed_s += sum(row["samples_s"]) * row["calls_per_sample"]
            if row["trust"] != "invalid":
                self.valid[case.case_id].append(row)
                if all(row[probe] is not None for probe in PROBES):
                    self.probed[row["threads_used"]].append(tuple(row[probe] for probe in PROBES))
        self.watcher.visited(case, row)
        return row

    def _by_device(self, cases: Iterable[Case]) -> list[tuple[str, list[Case]]]:
        grouped: dict[str, list[Case]] = defaultdict(list)
        for case in cases:
            if case.case_id not in self.over:
                grouped[device_name(case.setting.device, self.order.placement)].append(case)
        return list(grouped.items())

    def _visit_s(self, case: Case) -> float:
        return self.policy.visit_estimate_s(self.call_s[case.case_id])

    def _left_s(self, waiting: Iterable[Case]) -> float:
        """What is left of the rounds that are certain."""
        rounds = max(self.policy.rounds - self.rounds, 0)
        later = sum(self._visit_s(case) for case in self.cases if case.case_id not in self.over) * rounds
        return later + sum(map(self._visit_s, waiting))

    def _time_is_up(self, case: Case) -> bool:
        limit = self.policy.time_limit_s
        return limit is not None and time.monotonic() - self._began + self._visit_s(case) > limit

    def _next(self) -> int:
        self._request += 1
        return self._request


def _seen(row: Row, levels: Mapping[int, tuple[float, ...] | None]) -> Seen:
    """A visit as the rounds look at it, by what the probes take on the quiet machine, by threads, as far as that is known by now."""
    probes, level = tuple(row[probe] for probe in PROBES), levels.get(row["threads_used"])
    return Seen(row["process"], row["latency_s"], slow=level is not None and None not in probes and beside_neighbours(probes, level))


def device_name(kind: str, placement: dict[str, int]) -> str:
    """A device as torch and our locks name it: `cpu`, `cuda:0`."""
    return "cpu" if kind == "cpu" else f"{kind}:{placement.get(kind, 0)}"


class _Station:
    """A worker for one device: a borrowed one, or one started when it is first needed; and another after it was lost."""

    def __init__(self, order: Order, device: str, borrowed: WorkerProcess | None = None) -> None:
        self._order, self._device, self._borrowed = order, device, borrowed
        self._worker: WorkerProcess | None = None
        if borrowed and borrowed.alive:
            borrowed.configure(device, order.seed, order.policy)
            self._worker = borrowed

    def __enter__(self) -> _Station:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._worker and self._worker is not self._borrowed:
            self._worker.__exit__(kind)

    def ask(self, what: str, case: Case, identity: int, limit_s: float, on_progress: Callable[[Message], None] = lambda _: None) -> Message:
        """The answer of `done`; a worker that hangs or dies is an answer too."""
        began = time.monotonic()
        try:
            answer = self._ready().ask({"do": what, "id": identity, "case": case.as_message()}, limit_s, on_progress)
        except WorkerTimeout as error:
            answer = {"status": "timeout", "message": str(error)}
        except WorkerGone as error:
            answer = {"status": "crashed", "message": str(error)}
        if self._device != "cpu" and self._worker and answer["status"] not in ("ok", "skipped"):
            self._worker.kill()  # an error of a CUDA context stays: every later call would raise it again
        return {**answer, "wall_s": time.monotonic() - began}

    def _ready(self) -> WorkerProcess:
        if self._worker is None or not self._worker.alive:
            self._worker = WorkerProcess(self._order.python)
            self._worker.hello()
            self._worker.configure(self._device, self._order.seed, self._order.policy)
        return self._worker


def _measured(answer: Message, allowed: frozenset[str]) -> Row:
    """The columns that a worker may fill, of what it sent."""
    return {name: value for name, value in answer.get("values", {}).items() if name in allowed}
