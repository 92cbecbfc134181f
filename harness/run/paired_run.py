"""Drives arms that are measured side by side: rounds in which every case is visited by all of them, under
workers that each round starts anew.

In: arms by name, cases, an order of measuring. Out: rows, one an arm and visit; those that belong together
share the number of their pair. Three orders, so that they can be compared:

    turns           the processes are ready, then each measures a block while the others wait:
                    what disturbs one disturbs all
    back-to-back    one whole visit after the other
    rounds          every case of one arm, then every case of the next

While a turn runs the planner waits at a pipe and does nothing else. Stops fall between pairs.
"""

from __future__ import annotations

import random
import time
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from contextlib import ExitStack
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from harness.core.protocol import PARTNER
from harness.plan.duration import call_s, pair_s
from harness.run.arm import by_worker
from harness.run.free_memory import free_bytes
from harness.run.rounds import GRACE_S, MOST_REPEATS, counts, timed_s
from harness.run.turns import alternate, open_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.core.case import Case
    from harness.core.columns import Row
    from harness.core.protocol import Message
    from harness.run.arm import Arm
    from harness.run.device_worker import DeviceWorker

    Workers = dict[str, DeviceWorker]


class PairedRun(ABC):
    """The state of such a run. All arms have one context, and so one policy, seed and listener."""

    def __init__(self, arms: Mapping[str, Arm], cases: Sequence[Case], how: str) -> None:
        self.arms, self.cases, self.how = dict(arms), list(cases), how
        first = next(iter(arms.values()))
        self.context, self.listener = first.context, first.listener
        self.policy = self.context.policy
        self.rows: list[Row] = []
        # of a pair, two arms or more; by asked_id, as all that follows
        self.pair_s = {case.case_id: len(arms) / 2 * pair_s(self.policy, call_s(case)) for case in self.cases}
        self.start_s = 0.0  # what the workers of a round took to come up
        self.stage = "screen"
        self.limit_s = self.policy.time_limit_s  # from the beginning; a stage may have less
        self.rounds = 0
        self.timed_s = 0.0
        self._spent_s: defaultdict[str, float] = defaultdict(float)  # on all of a case's pairs ...
        self._counted: Counter[str] = Counter()  # ... of which so many count
        self._apart: set[str] = set()  # cases whose arms do not fit the device together
        self._pair = 0
        # pairs that count and were kept before the run was resumed, by stage and asked_id
        self._recalled: Counter[tuple[str, str]] = Counter()
        self._random = random.Random(self.context.seed)
        self._began = time.monotonic()

    def recall(self, rows: Iterable[Row]) -> None:
        """Go on after these visits: what is lacking of each case's pairs is measured. A pair that was cut
        short does not count."""
        cases = {case.case_id: case for case in self.cases}
        pairs: dict[int, list[Row]] = defaultdict(list)
        for row in rows:
            self.arms[row["arm"]].recall(row)
            self._remember(row)
            if row["pair"] is not None:  # a case that the survey rejected was in none
                pairs[row["pair"]].append(row)
            self.rounds = max(self.rounds, row["round"])
        self._pair = max(pairs, default=0)
        self._random = random.Random(f"{self.context.seed} pair {self._pair}")
        for pair in pairs.values():
            case, took_s = cases[pair[0]["asked_id"]], max(row["wall_s"] or 0.0 for row in pair)
            good = len(pair) >= len(self.taking_part(case)) > 0 and _all_count(pair)
            self._note(case, took_s, good)
            self._recalled[pair[0]["stage"], case.case_id] += good

    @property
    def visits(self) -> int:
        """How many rows there are."""
        return sum(arm.kept for arm in self.arms.values())

    @property
    def failed(self) -> list[Case]:
        """The cases that an arm could not measure."""
        return [
            case
            for case in self.cases
            if any(case.case_id in arm.dropped - arm.skipped for arm in self.arms.values())
        ]

    @property
    def left_s(self) -> float | None:
        """Seconds until the limit; None without one."""
        return None if self.limit_s is None else self.limit_s - (time.monotonic() - self._began)

    @abstractmethod
    def go(self) -> str:
        """Do all of it; why it ended: `complete` or `time_limit`."""

    def survey(self) -> None:
        """The facts of all cases in all arms, before anything is timed."""
        for arm in self.arms.values():
            arm.survey(self.cases, self.policy.survey_limit_s / len(self.arms))
            arm.skip_too_large(self.cases)  # of which more is known now
        self._set_apart()
        for arm in self.arms.values():
            arm.connection.worker.quit()  # which several may share

    def _set_apart(self) -> None:
        """The cases whose arms do not fit this machine's memory together are measured one after the other."""
        free = min(free_bytes(arm.connection.hello.environment) for arm in self.arms.values())
        self._apart |= {
            case.case_id
            for case in self.cases
            if sum(self.arms[name].needed_bytes(case) for name in self.taking_part(case)) > free
        }

    def costs_s(self, identity: str) -> float:
        """What a pair that counts has taken, with those of its case that were disturbed."""
        counted = self._counted[identity]
        return self._spent_s[identity] / counted if counted else self.pair_s[identity]

    def taking_part(self, case: Case) -> list[str]:
        """The arms that can measure a case; none where only one can."""
        able = [name for name, arm in self.arms.items() if case.case_id not in arm.dropped]
        return able if len(able) > 1 else []

    def measure(self, wanted: Mapping[str, int], in_a_round: int = 1) -> bool:
        """Rounds, until each case has as many pairs as wanted, by asked_id, and so many under the same
        workers. False when the time is up."""
        for done in range(0, max(wanted.values(), default=0), in_a_round):
            lacking = {
                case.case_id: min(done + in_a_round, wanted.get(case.case_id, 0))
                - max(done, self._recalled[self.stage, case.case_id])
                for case in self.cases
                if self.taking_part(case)
            }
            waiting = [case for case in self.cases if lacking.get(case.case_id, 0) > 0]
            if not waiting:
                continue
            self.rounds += 1
            self.start_s = 0.0
            after_s = sum(
                max(wanted[case.case_id] - done - in_a_round, 0) * self.pair_s[case.case_id]
                for case in waiting
            )
            for device, _, mine in by_worker(waiting, self.context.placement):
                pairs = [case for case in mine for _ in range(lacking[case.case_id])]
                if not self._round(device, pairs, after_s):
                    return False
        return True

    def _round(self, device: str, cases: list[Case], after_s: float) -> bool:
        """A pair for each of these cases under fresh workers, in random order; what was disturbed again at
        its end. False when the time is up."""
        with ExitStack() as stack:
            workers = {name: stack.enter_context(arm.worker(device)) for name, arm in self.arms.items()}
            self._open(workers)
            live = cases
            for _ in range(1 + MOST_REPEATS):
                shuffled = self._random.sample(live, len(live))
                one_by_one = self._arm_by_arm if self.how == "rounds" else self._side_by_side
                disturbed, complete = one_by_one(workers, shuffled, after_s)
                if not complete:
                    return False
                live = [case for case in disturbed if self.taking_part(case)]
        return True

    def _open(self, workers: Workers) -> None:
        """All workers are up before any pair, whose time is noted."""
        began = time.monotonic()
        open_all(workers.values())
        self.start_s += time.monotonic() - began

    def _side_by_side(self, workers: Workers, cases: list[Case], after_s: float) -> tuple[list[Case], bool]:
        """Pair by pair; the cases whose pair was disturbed, and whether there was time for all."""
        disturbed: list[Case] = []
        for position, case in enumerate(cases):
            if not self.taking_part(case):
                continue
            if not self._may_go_on(case):
                return disturbed, False
            self._announce(case, cases[position:], after_s)
            began, self._pair = time.monotonic(), self._pair + 1
            if self.how == "turns" and case.case_id not in self._apart:
                rows = self._take_turns(workers, case, position)
            else:
                rows = [self._visit(workers, name, case, position, self._pair) for name in self._tossed(case)]
            good = _all_count(rows)
            self._note(case, time.monotonic() - began, good)
            if not good:
                disturbed.append(case)
        return disturbed, True

    def _arm_by_arm(self, workers: Workers, cases: list[Case], after_s: float) -> tuple[list[Case], bool]:
        """All cases of one arm, then all of the next."""
        pairs = {case.case_id: self._pair + number for number, case in enumerate(cases, 1)}
        self._pair += len(cases)
        disturbed: dict[str, Case] = {}
        for name in self._random.sample(list(self.arms), len(self.arms)):
            for position, case in enumerate(cases):
                if not self._may_go_on(case):
                    return [], False
                self._announce(case, cases[position:], after_s)
                row = self._visit(workers, name, case, position, pairs[case.case_id])
                self._note(case, len(self.arms) * (row["wall_s"] or 0.0), counts(row))
                if not counts(row):
                    disturbed[case.case_id] = case
        return list(disturbed.values()), True

    def _announce(self, case: Case, waiting: Iterable[Case], after_s: float) -> None:
        left_s = after_s + sum(self.pair_s[one.case_id] for one in waiting)
        self.listener.visiting(case, f"{self.stage} {self.rounds}", left_s)

    def _note(self, case: Case, took_s: float, counts: bool) -> None:
        """What a pair of a case takes: the least that was seen, since what disturbs adds."""
        identity = case.case_id
        self.pair_s[identity] = min(self.pair_s[identity], took_s) if self._spent_s[identity] else took_s
        self._spent_s[identity] += took_s
        self._counted[identity] += counts

    def _tossed(self, case: Case) -> list[str]:
        """The arms of a case, in the order that chance gives."""
        names = self.taking_part(case)
        return self._random.sample(names, len(names))

    def _visit(self, workers: Workers, name: str, case: Case, position: int, pair: int) -> Row:
        """A visit that has the device to itself."""
        started = datetime.now(timezone.utc)
        answer = workers[name].ask(
            self.arms[name].request("visit", case), self.policy.visit_limit_s + GRACE_S
        )
        return self._record(name, case, answer, position, pair, started)

    def _take_turns(self, workers: Workers, case: Case, position: int) -> list[Row]:
        """One pair in turns. Where the device's memory is too small for all arms, they are measured apart,
        from now on."""
        started = datetime.now(timezone.utc)
        visits = {
            name: (workers[name], self.arms[name].request("visit", case, turns=self.policy.turns))
            for name in self._tossed(case)
        }
        answers = alternate(visits, self.policy.turns, self.policy.visit_limit_s + GRACE_S)
        if case.setting.device != "cpu" and any(
            answer["status"] == "out_of_memory" for answer in answers.values()
        ):
            self._apart.add(case.case_id)
            for worker in workers.values():
                worker.end()  # what its allocator keeps would be in the others' way
            return [self._visit(workers, name, case, position, self._pair) for name in self._tossed(case)]
        return [
            self._record(name, case, answer, position, self._pair, started)
            for name, answer in answers.items()
        ]

    def _record(
        self, name: str, case: Case, answer: Message, position: int, pair: int, started: datetime
    ) -> Row:
        row = self.arms[name].keep_row(
            case, answer, round=self.rounds, position=position, started=started, pair=pair, stage=self.stage
        )
        self._remember(row)
        return row

    def _remember(self, row: Row) -> None:
        """What a visit adds to the run."""
        self.rows.append(row | {"samples_s": None})  # they stay in the run's folder alone
        if row["status"] == "ok":
            self.timed_s += timed_s(row)

    def _may_go_on(self, case: Case) -> bool:
        return self.left_s is None or self.pair_s[case.case_id] <= self.left_s


def _all_count(pair: Iterable[Row]) -> bool:
    """Whether none of a pair's visits is to be repeated, or was left by another that failed and is to be
    measured without it."""
    return all(counts(row) and not str(row["message"]).startswith(PARTNER) for row in pair)
