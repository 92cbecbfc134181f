"""Drives a run: a survey, then rounds of visits in random order under fresh workers, until every case is
tight or the time is up.

In: cases, a policy, an arm. Out: its rows. A case that fails, runs out of time or kills its process is a row,
and the run goes on. Every stop falls between visits, or between groups of them whose blocks are interleaved.
Not here: what a visit is (`worker/visit`), where rows are kept (`store/run_folder`), an A/B (`run/ab`).
"""

from __future__ import annotations

import os
import random
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import chain, zip_longest
from math import ceil, inf
from typing import TYPE_CHECKING, Any

from harness.analysis.case_estimate import FEWEST_VISITS, between
from harness.core.errors import InterpreterError
from harness.core.stats import RUN_SPREAD
from harness.plan.duration import ABREAST, call_s, rounds_s, visit_s
from harness.run.arm import Arm, by_worker
from harness.run.device_worker import DeviceWorker
from harness.run.worker_process import WorkerGone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from harness.core.case import Case
    from harness.core.columns import Row
    from harness.core.policy import Policy
    from harness.core.protocol import Message

GRACE_S = 5.0  # beyond a visit's own limit, before its worker is ended
MOST_REPEATS = 2  # of a visit that does not count, at the end of its round; none of disturbed slow calls
MOST_TOGETHER = 48  # cases whose blocks are interleaved, twenty seconds of visits ...
MOST_THREADS = 1024  # ... on so many threads, which a container may count ...
MEMORY_SHARE = 0.25  # ... while they take so much of the memory ...
MEMORY_BYTES = 2**32  # ... which is so much where nobody knows
ABREAST_FURTHER = 2  # workers come up at once for so many rounds that may follow


@dataclass(frozen=True, slots=True)
class Counted:
    """What is remembered of a visit that counts: its process and its `place_figures_s`. Its samples are not:
    a long run would fill the memory of the machine that it measures."""

    process: str
    places_s: tuple[float, ...]


def wants_another(
    policy: Policy, rounds: int, visits: Sequence[Counted], run_spread: float = RUN_SPREAD
) -> bool:
    """Whether a case is visited again after so many rounds: until `rounds`; then, up to `max_rounds` and
    never beyond, while fewer than three processes stand behind its figure or half of its interval is wider
    than `target_width`."""
    if rounds < policy.rounds:
        return True
    if rounds >= policy.max_rounds:
        return False
    if len({visit.process for visit in visits}) < FEWEST_VISITS:
        return True
    return between([visit.places_s for visit in visits], run_spread).half_width > policy.target_width


class RoundsRun:
    """The state of one run: what each case has come to so far. `tell` takes the ceilings of its devices,
    which are measured before anything else;
    None: they are not wanted. Without a `survey` a case has no facts of it; without `repeats` a disturbed
    visit is not made again."""

    def __init__(
        self,
        arm: Arm,
        cases: Sequence[Case],
        tell: Callable[[list[Row]], None] | None,
        *,
        survey: bool = True,
        repeats: bool = True,
    ) -> None:
        self._survey, self._repeats = survey, repeats
        self.arm, self.cases, self.policy, self.listener, self.tell = (
            arm,
            list(cases),
            arm.context.policy,
            arm.listener,
            tell,
        )
        self.valid: dict[str, list[Counted]] = defaultdict(list)
        self.call_s = {case.case_id: call_s(case) for case in self.cases} | arm.surveyed.call_s
        self.rounds = 0
        self._done: set[str] = set()  # cases that have had their visit of the round that comes next
        self.timed_s = 0.0
        self._ready: dict[str, list[DeviceWorker]] = defaultdict(list)  # by device, for rounds to come
        self._began = time.monotonic()

    def recall(self, rows: Iterable[Row]) -> None:
        """Go on after these visits, in the order in which they were kept: a round that was cut short is
        finished first."""
        cases = {case.case_id: case for case in self.cases}
        for row in rows:
            self.arm.recall(row)
            if row["round"] != self.rounds:
                self.rounds = row["round"]
                self._done = set()
            if row["status"] == "ok":
                self._count(cases[row["asked_id"]], row)
            if counts(row):
                self._done.add(row["asked_id"])
        self.rounds = max(self.rounds - 1, 0)

    def go(self) -> str:
        """Do all of it; why it ended: `complete` or `time_limit`."""
        self.listener.begin(
            len(self.cases),
            self._left_s(()) if self.arm.kept else rounds_s(self.policy, self.cases, self.call_s),
            "cases with a wide confidence interval are measured again",
        )
        if self.tell:
            self.tell(self.arm.ceilings(self.cases))
        if self._survey:
            self.arm.survey(self.cases, self._began + self.policy.survey_limit_s - time.monotonic())
        self.arm.skip_too_large(self.cases)  # of which more is known now
        self.call_s |= self.arm.surveyed.call_s
        if self._survey:  # else it may look at cases later
            self.arm.connection.worker.quit()
        try:
            while cases := self._due():
                self.rounds += 1
                if not self._round(cases):
                    return "time_limit"
                self._done = set()
        finally:
            for worker in chain.from_iterable(self._ready.values()):
                worker.end()
        return "complete"

    @property
    def visits(self) -> int:
        """How many rows there are."""
        return self.arm.kept

    @property
    def failed(self) -> list[Case]:
        """The cases that should have a figure and have none."""
        return [
            case
            for case in self.cases
            if not self.valid[case.case_id] and case.case_id not in self.arm.skipped
        ]

    @property
    def _stage(self) -> str:
        return f"round {self.rounds}"

    def _live(self) -> list[Case]:
        return [case for case in self.cases if case.case_id not in self.arm.dropped]

    def _due(self) -> list[Case]:
        """The cases of the next round."""
        spread = self.arm.context.run_spread.get(self.arm.connection.environment_id, RUN_SPREAD)
        return [
            case
            for case in self._live()
            if wants_another(self.policy, self.rounds, self.valid[case.case_id], spread)
        ]

    def _round(self, cases: list[Case]) -> bool:
        """Every case once, in random order, under fresh workers, invalid visits again at the end. False when
        the time is up."""
        order = random.Random(f"{self.arm.context.seed} round {self.rounds}")
        for device, _, mine in by_worker(cases, self.arm.context.placement):
            waiting = [case for case in self._shuffled(mine, order) if case.case_id not in self._done]
            if not waiting:
                continue
            repeats: dict[str, int] = defaultdict(int)
            position = 0
            self.listener.visiting(waiting[0], self._stage, self._left_s(waiting))
            with self._fresh(device) as worker:
                while waiting:
                    together = self._together(waiting)
                    if not together:
                        return False
                    visited = list(self._visits(worker, together, position, self._left_s(waiting)))
                    for case, row in visited:
                        again = not counts(row) and case.case_id not in self.arm.dropped
                        if again and repeats[case.case_id] < self._most_repeats(case, row):
                            repeats[case.case_id] += 1
                            waiting.append(case)
                    if len(visited) < len(together):
                        return False
                    position += len(together)
                    del waiting[: len(together)]
        return True

    def _shuffled(self, cases: Sequence[Case], order: random.Random) -> list[Case]:
        """In random order, but those that the suite has side by side stay together: what is compared with
        each other meets the same moments. Those that are measured alone come last."""
        some, alone = (
            [case for case in cases if _interleaves(case)],
            [case for case in cases if not _interleaves(case)],
        )
        size = ceil(len(some) / ceil(len(some) / self._most_together)) if some else 1
        groups = [some[start : start + size] for start in range(0, len(some), size)]
        shuffled = [
            case for group in order.sample(groups, len(groups)) for case in order.sample(group, len(group))
        ]
        return shuffled + order.sample(alone, len(alone))

    @property
    def _most_together(self) -> int:
        threads: int = self.arm.connection.hello.environment["threads_available"]
        return min(MOST_TOGETHER, max(MOST_THREADS // threads, 1))

    def _together(self, waiting: Sequence[Case]) -> list[Case]:
        """The next of them whose blocks are interleaved: as many as the time and the memory hold; none when
        the time is up."""
        together: list[Case] = []
        facts = self.arm.connection.hello.environment
        bytes_left = (facts.get("memory_bytes") or MEMORY_BYTES) * MEMORY_SHARE
        seconds_left = self._time_left_s()
        for case in waiting:
            seconds_left -= self._visit_s(case)
            bytes_left -= self.arm.needed_bytes(case)
            if seconds_left < 0 or (
                together
                and (bytes_left < 0 or len(together) == self._most_together or not _interleaves(case))
            ):
                break
            together.append(case)
            if not _interleaves(case):
                break
        return together

    def _fresh(self, device: str) -> DeviceWorker:
        """A worker whose worker has measured nothing yet. Workers of several rounds come up at once, beside
        no measurement; where there is a time limit no other round is certain, and on a CPU they would take
        its cores. One that does not come up is started again when its round comes."""
        if self.policy.time_limit_s is not None and device == "cpu":
            return self.arm.worker(device)
        ready = self._ready[device]
        if not ready:
            certain = self.policy.rounds - self.rounds + 1
            ready += [
                self.arm.worker(device)
                for _ in range(min(certain, ABREAST) if certain > 0 else ABREAST_FURTHER)
            ]
            for bring_up in (DeviceWorker.start, DeviceWorker.open):
                for worker in ready:
                    with suppress(InterpreterError, WorkerGone):
                        bring_up(worker)
        return ready.pop()

    def _visits(
        self, worker: DeviceWorker, cases: Sequence[Case], position: int, left_s: float
    ) -> Iterator[tuple[Case, Row]]:
        """A visit each: together, or in one go where there is one alone or where they cost their worker its
        life, while there is time."""
        started = datetime.now(timezone.utc)
        answers = self._interleaved(worker, cases, left_s) if len(cases) > 1 else []
        for number, (case, answer) in enumerate(zip_longest(cases, answers)):
            if answer is not None:
                yield case, self._keep(case, answer, position + number, started)
            elif self._visit_s(case) <= self._time_left_s():
                self.listener.visiting(case, self._stage, left_s)
                yield case, self._visit(worker, case, position + number)

    def _interleaved(
        self, worker: DeviceWorker, cases: Sequence[Case], left_s: float
    ) -> list[Message | None]:
        """What the visits of cases came to whose blocks were interleaved; None where one came to nothing.
        They pass a time limit by one visit's limit at most, like a visit alone."""

        def tell(message: Message) -> None:
            if message.get("turn") and message.get("of"):  # where there is no fork, visits tell of themselves
                self.listener.turned(cases, self._stage, message["turn"], message["of"], left_s)

        visits = [self.arm.request("visit", case) for case in cases]
        limit_s = self.policy.visit_limit_s + GRACE_S
        self.listener.visiting(cases[0], self._stage, left_s)
        together_s = min(self._time_left_s() + limit_s, len(cases) * limit_s)
        request = {
            "do": "visits",
            "id": visits[0]["id"],
            "visits": visits,
            "limit_s": limit_s,
            "together_s": together_s,
        }
        answer = worker.ask(request, together_s + GRACE_S, tell)
        answers = {one["id"]: one for one in answer.get("visits", ())}
        return [answers.get(visit["id"]) for visit in visits]

    def _visit(self, worker: DeviceWorker, case: Case, position: int) -> Row:
        def tell(message: Message) -> None:
            latency_s = message.get("latency_s")
            if latency_s and 0 < latency_s < self.policy.visit_limit_s:
                self.call_s[case.case_id] = latency_s
                self.listener.progress(case, latency_s)

        started = datetime.now(timezone.utc)
        answer = worker.ask(self.arm.request("visit", case), self.policy.visit_limit_s + GRACE_S, tell)
        return self._keep(case, answer, position, started)

    def _keep(self, case: Case, answer: Message, position: int, started: datetime) -> Row:
        row = self.arm.keep_row(case, answer, round=self.rounds, position=position, started=started)
        if row["status"] == "ok":
            self._count(case, row)
        return row

    def _count(self, case: Case, row: Row) -> None:
        """What a visit with a figure means for its case."""
        self.call_s[case.case_id] = row["latency_s"]
        self.timed_s += timed_s(row)
        if row["trust"] != "invalid":
            self.valid[case.case_id].append(Counted(row["process"], tuple(row["place_figures_s"])))

    def _most_repeats(self, case: Case, row: Row) -> int:
        disturbed = row["trust"] == "invalid"
        if disturbed and not self._repeats:
            return 0
        return 0 if disturbed and self.policy.is_slow(self.call_s[case.case_id]) else MOST_REPEATS

    def _visit_s(self, case: Case) -> float:
        return visit_s(self.policy, self.call_s[case.case_id])

    def _left_s(self, waiting: Iterable[Case]) -> float:
        """What is left of the rounds that are certain."""
        rounds = max(self.policy.rounds - self.rounds, 0)
        return rounds * sum(map(self._visit_s, self._live())) + sum(map(self._visit_s, waiting))

    def _time_left_s(self) -> float:
        limit_s = self.policy.time_limit_s
        return inf if limit_s is None else limit_s - (time.monotonic() - self._began)


def _interleaves(case: Case) -> bool:
    """Whether its blocks may lie between those of others: where a process each measures, and none fills the
    memory with copies."""
    return hasattr(os, "fork") and case.setting.device == "cpu" and case.setting.cache == "hot"


def counts(row: Row) -> bool:
    """Whether a visit need not be repeated: it was not disturbed, nor its process killed."""
    return bool(row["trust"] != "invalid" and row["status"] != "crashed")


def timed_s(row: Mapping[str, Any]) -> float:
    """The timed seconds of a visit that has samples."""
    return float(sum(row["samples_s"]) * row["calls_per_sample"])
