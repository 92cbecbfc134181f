"""Drives a run: a survey, then rounds of visits in random order under fresh workers, until every case is tight or the time is up.

In: cases, a policy, an arm. Out: its rows. A case that fails, runs out of time or kills its process is a row, and the run goes on. Every
stop falls between visits. Not here: what a visit is (`worker/visit`), where rows are kept (`results`), an A/B (`pairs`).
"""

from __future__ import annotations

import random
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import chain
from typing import TYPE_CHECKING, Any

from harness.arm import Arm, by_worker
from harness.bridge import WorkerGone
from harness.errors import InterpreterError
from harness.estimates import FEWEST_VISITS, between
from harness.policy import guess_call_s
from harness.station import Station
from harness.stats import RUN_SPREAD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from harness.arm import Row
    from harness.case import Case
    from harness.policy import Policy
    from harness.protocol import Message

GRACE_S = 5.0  # beyond a visit's own limit, before its worker is ended
SURVEY_S = 0.25  # of a case: what it took on two quiet cores
MOST_REPEATS = 2  # of an invalid visit, at the end of its round
ABREAST = 3  # workers that come up at once, of rounds that are certain: importing torch takes each of them seconds ...
ABREAST_FURTHER = 2  # ... and of rounds that may follow


def estimate_s(policy: Policy, cases: Iterable[Case]) -> float:
    """What a survey and the certain rounds of cases will take, in seconds, from guesses of each call."""
    return sum(SURVEY_S + policy.rounds * policy.visit_estimate_s(guess_s(case)) for case in cases)


def guess_s(case: Case) -> float:
    """A call of a case before anything is measured, in seconds."""
    return guess_call_s(case.problem.macs, case.problem.minimum_bytes(case.setting.element_bytes), case.setting.device)


@dataclass(frozen=True, slots=True)
class Counted:
    """What is remembered of a visit that counts: its process and its `place_figures_s`. Its samples are not: a long run would fill the memory of the
    machine that it measures."""

    process: str
    places_s: tuple[float, ...]


def wants_another(policy: Policy, rounds: int, visits: Sequence[Counted], run_spread: float = RUN_SPREAD) -> bool:
    """Whether a case is visited again after so many rounds: until `rounds`; then, up to `max_rounds` and never beyond, while fewer than three
    processes stand behind its figure or half of its interval is wider than `target_width`."""
    if rounds < policy.rounds:
        return True
    if rounds >= policy.max_rounds:
        return False
    if len({visit.process for visit in visits}) < FEWEST_VISITS:
        return True
    return between([visit.places_s for visit in visits], run_spread).half_width > policy.target_width


class Run:
    """The state of one run: what each case has come to so far. `tell` takes the ceilings of its devices, which are measured before anything else;
    None: they are not wanted."""

    def __init__(self, arm: Arm, cases: Sequence[Case], tell: Callable[[list[Row]], None] | None) -> None:
        self.arm, self.cases, self.policy, self.watcher, self.tell = arm, list(cases), arm.order.policy, arm.watcher, tell
        self.valid: dict[str, list[Counted]] = defaultdict(list)
        self.call_s = {case.case_id: guess_s(case) for case in self.cases}
        self.rounds = 0
        self.timed_s = 0.0
        self._ready: dict[str, list[Station]] = defaultdict(list)  # by device, for rounds to come
        self._random = random.Random(arm.order.seed)
        self._began = time.monotonic()

    def go(self) -> str:
        """Do all of it; why it ended: `complete` or `time_limit`."""
        self.watcher.begin(len(self.cases), estimate_s(self.policy, self.cases), "cases that are not tight by then are visited again")
        if self.tell:
            self.tell(self.arm.ceilings(self.cases))
        self.arm.survey(self.cases, lambda case: not self._time_is_up(case))
        try:
            while cases := self._due():
                self.rounds += 1
                if not self._round(cases):
                    return "time_limit"
        finally:
            for station in chain.from_iterable(self._ready.values()):
                station.end()
        return "complete"

    @property
    def visits(self) -> int:
        """How many rows there are."""
        return self.arm.kept

    @property
    def failed(self) -> list[Case]:
        """The cases that should have a figure and have none."""
        return [case for case in self.cases if not self.valid[case.case_id] and case.case_id not in self.arm.skipped]

    def _live(self) -> list[Case]:
        return [case for case in self.cases if case.case_id not in self.arm.over]

    def _due(self) -> list[Case]:
        """The cases of the next round."""
        spread = self.arm.order.run_spread.get(self.arm.greeted.environment_id, RUN_SPREAD)
        return [case for case in self._live() if wants_another(self.policy, self.rounds, self.valid[case.case_id], spread)]

    def _round(self, cases: list[Case]) -> bool:
        """Every case once, in random order, under fresh workers, invalid visits again at the end. False when the time is up."""
        for device, _, mine in by_worker(cases, self.arm.order.placement):
            waiting = self._random.sample(mine, len(mine))
            repeats: dict[str, int] = defaultdict(int)
            self.watcher.visiting(waiting[0], f"round {self.rounds}", self._left_s(waiting))
            with self._fresh(device) as station:
                for position, case in enumerate(waiting):  # grows while it is walked
                    if self._time_is_up(case):
                        return False
                    self.watcher.visiting(case, f"round {self.rounds}", self._left_s(waiting[position:]))
                    row = self._visit(station, case, position)
                    if row["trust"] == "invalid" and repeats[case.case_id] < MOST_REPEATS:
                        repeats[case.case_id] += 1
                        waiting.append(case)
        return True

    def _fresh(self, device: str) -> Station:
        """A station whose worker has measured nothing yet. Workers of several rounds come up at once, beside no measurement; where there is a time
        limit no other round is certain, and on a CPU they would take its cores. One that does not come up is started again when its round comes."""
        if self.policy.time_limit_s is not None and device == "cpu":
            return self.arm.station(device)
        ready = self._ready[device]
        if not ready:
            certain = self.policy.rounds - self.rounds + 1
            ready += [self.arm.station(device) for _ in range(min(certain, ABREAST) if certain > 0 else ABREAST_FURTHER)]
            for bring_up in (Station.start, Station.open):
                for station in ready:
                    with suppress(InterpreterError, WorkerGone):
                        bring_up(station)
        return ready.pop()

    def _visit(self, station: Station, case: Case, position: int) -> Row:
        def tell(message: Message) -> None:
            self.call_s[case.case_id] = message["latency_s"]
            self.watcher.progress(case, message["latency_s"])

        started = datetime.now(timezone.utc)
        answer = station.ask(self.arm.request("visit", case), self.policy.visit_limit_s + GRACE_S, tell)
        row = self.arm.record(case, answer, round=self.rounds, position=position, started=started)
        if row["status"] == "ok":
            self._count(case, row)
        return row

    def _count(self, case: Case, row: Row) -> None:
        """What a visit with a figure means for its case."""
        self.call_s[case.case_id] = row["latency_s"]
        self.timed_s += timed_s(row)
        if row["trust"] != "invalid":
            self.valid[case.case_id].append(Counted(row["process"], tuple(row["place_figures_s"])))

    def _visit_s(self, case: Case) -> float:
        return self.policy.visit_estimate_s(self.call_s[case.case_id])

    def _left_s(self, waiting: Iterable[Case]) -> float:
        """What is left of the rounds that are certain."""
        rounds = max(self.policy.rounds - self.rounds, 0)
        return rounds * sum(map(self._visit_s, self._live())) + sum(map(self._visit_s, waiting))

    def _time_is_up(self, case: Case) -> bool:
        limit = self.policy.time_limit_s
        return limit is not None and time.monotonic() - self._began + self._visit_s(case) > limit


def timed_s(row: Mapping[str, Any]) -> float:
    """The timed seconds of a visit that has samples."""
    return float(sum(row["samples_s"]) * row["calls_per_sample"])
