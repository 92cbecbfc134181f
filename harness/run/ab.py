"""Drives an A/B: two arms measured as pairs in one run, a screening of all cases, then fresh pairs for those
that it did not clear.

In: two arms, cases, a gate, an order of measuring. Out: rows, two a pair. The unit is the pair: two fresh
processes (on a CPU) under two workers that each round starts anew. Three orders, so that they can be
compared:

    turns           both processes are ready, then each measures a block while the other waits:
                    what disturbs one disturbs the other
    back-to-back    one whole visit, then the other
    rounds          every case of one arm, then every case of the other

While a turn runs the planner waits at a pipe and does nothing else. Stops fall between pairs.
"""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import datetime, timezone
from math import inf, log1p
from typing import TYPE_CHECKING

import pandas as pd

from harness.analysis.comparison import judge_pairs
from harness.analysis.pair_effects import match_ids, pair_ratios, paired_effects
from harness.analysis.verdict_tests import planned
from harness.plan.duration import call_s, pair_s, screening_pairs, screening_s
from harness.run.arm import by_worker
from harness.run.rounds import GRACE_S, MOST_REPEATS, timed_s
from harness.run.turns import alternate, open_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from harness.core.case import Case
    from harness.core.columns import Row
    from harness.core.gate import Gate
    from harness.core.protocol import Message
    from harness.run.arm import Arm
    from harness.run.device_worker import DeviceWorker

# of a time limit, which screening leaves to confirming: on a noisy machine it would take all, and nothing
# could be named
RESERVED = 0.25
FEWEST_CONFIRMING = 5  # pairs, where the time holds no more: fewer find little


@dataclass(frozen=True, slots=True)
class Confirming:
    """Fixed before the first confirming pair: how many each case gets, by case_id; those cut short for their
    spread; those left for want of time."""

    pairs: dict[str, int]
    short: list[str]
    left: list[str]
    # what the pairs that each case wanted would have taken beyond the time that there was
    lacking_s: float = 0.0


def plan_confirming(
    visits: pd.DataFrame, gate: Gate, pair_s: Callable[[str], float], start_s: float, left_s: float | None
) -> Confirming:
    """Who gets how many fresh pairs, from the screening: worst first, as many as wanted or as `left_s`
    seconds hold (None: no limit).

    `pair_s`: what a pair of a case_id takes, in seconds; `start_s`: what the two workers of a round take to
    come up.
    """

    def takes_s(identity: str, count: int) -> float:
        return count * pair_s(identity) + max(count - rounds, 0) * start_s

    found = judge_pairs(visits, gate).verdicts
    undecided = found[
        (found["metric"] == "latency_s") & (found["verdict"] == "inconclusive") & (found["stage"] == "screen")
    ]
    undecided = undecided.sort_values("p_slower").set_index("match_id")
    effects = paired_effects(pair_ratios(visits.assign(match_id=match_ids(visits))))
    wanted = planned(effects.loc[undecided.index], undecided["tolerance"].map(log1p), gate)
    pairs: dict[str, int] = {}
    short, left, rounds, lacking_s = [], [], 0, 0.0
    time_s = inf if left_s is None else left_s
    for identity, most, cut in zip(
        undecided["case_id"], map(int, wanted["pairs"]), wanted["short"], strict=True
    ):
        count = next(
            (
                count
                for count in range(most, min(most, FEWEST_CONFIRMING) - 1, -1)
                if takes_s(identity, count) <= time_s
            ),
            0,
        )
        spent_s = takes_s(identity, count)
        lacking_s += takes_s(identity, most) - spent_s
        if not count:
            left.append(identity)
            continue
        time_s -= spent_s
        rounds, pairs[identity] = max(rounds, count), count
        short += [identity] * bool(cut)
    return Confirming(pairs, short, left, lacking_s)


class AbRun:
    """The state of one A/B. `tell` takes the plan before the first confirming pair."""

    def __init__(
        self,
        base: Arm,
        head: Arm,
        cases: Sequence[Case],
        gate: Gate,
        how: str,
        *,
        quick: bool,
        tell: Callable[[Confirming], None],
    ) -> None:
        self.arms = {"base": base, "head": head}
        self.cases, self.gate, self.how, self.quick, self.tell = list(cases), gate, how, quick, tell
        self.context, self.listener = base.context, base.listener
        self.policy = self.context.policy
        self.rows: list[Row] = []
        self.pair_s = {case.case_id: pair_s(self.policy, call_s(case)) for case in self.cases}
        self._spent_s: defaultdict[str, float] = defaultdict(float)  # by case_id, on all of its pairs ...
        self._counted: Counter[str] = Counter()  # ... of which so many count
        self._start_s = 0.0  # what the two workers of a round took to come up
        self.apart: set[str] = set()  # cases whose two arms do not fit the device together
        self.confirming = Confirming({}, [], [])
        self.stage = "screen"
        self.rounds = 0
        self.timed_s = 0.0
        self._pair = 0
        self._random = random.Random(self.context.seed)
        self._began = time.monotonic()

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

    def go(self) -> str:
        """Do all of it; why it ended: `complete` or `time_limit`."""
        pairs = screening_pairs(self.policy, quick=self.quick)
        then = (
            "one pair is no verdict"
            if self.quick
            else "cases that look different are measured again in fresh pairs"
        )
        self.listener.begin(len(self.cases), screening_s(self.policy, self.cases, quick=self.quick), then)
        for arm in self.arms.values():  # both end before anything is timed
            arm.survey(self.cases, self.policy.survey_limit_s / len(self.arms))
        screened = self._rounds(dict.fromkeys(self.pair_s, pairs))
        if self.quick or not self._live() or not self.rows:
            return "complete" if screened else "time_limit"
        self.stage = "confirm"
        self.confirming = self._plan()
        self.tell(self.confirming)
        plan = self.confirming
        if undecided := len(plan.pairs) + len(plan.left):
            self.listener.confirming(len(plan.pairs), undecided, plan.lacking_s)
        complete = self._rounds(self.confirming.pairs)
        return "complete" if screened and complete and not self.confirming.left else "time_limit"

    def _plan(self) -> Confirming:
        """The plan, by the case_ids of the cases as asked: an arm's own may differ by its implementation."""
        asked = {
            arm.as_executed(case).case_id: case.case_id for arm in self.arms.values() for case in self.cases
        }
        plan = plan_confirming(
            pd.DataFrame(self.rows),
            self.gate,
            lambda identity: self._costs_s(asked[identity]),
            self._start_s,
            self._left_s(),
        )
        pairs = {asked[identity]: count for identity, count in plan.pairs.items()}
        short, left = ([asked[identity] for identity in some] for some in (plan.short, plan.left))
        return Confirming(pairs, short, left, plan.lacking_s)

    def _costs_s(self, identity: str) -> float:
        """What a pair that counts has taken, with those of its case that were disturbed."""
        return (
            self._spent_s[identity] / self._counted[identity]
            if self._counted[identity]
            else self.pair_s[identity]
        )

    def _live(self) -> list[Case]:
        return [
            case for case in self.cases if not any(case.case_id in arm.dropped for arm in self.arms.values())
        ]

    def _rounds(self, wanted: dict[str, int]) -> bool:
        """Rounds, until each case has had as many as wanted. False when the time is up."""
        for done in range(max(wanted.values(), default=0)):
            self.rounds += 1
            self._start_s = 0.0
            for device, _, mine in by_worker(
                [case for case in self._live() if done < wanted.get(case.case_id, 0)], self.context.placement
            ):
                if not self._round(device, mine):
                    return False
        return True

    def _round(self, device: str, cases: list[Case]) -> bool:
        """A pair a case under two fresh workers, in random order; what was disturbed again at its end. False
        when the time is up."""
        with self.arms["base"].worker(device) as base, self.arms["head"].worker(device) as head:
            workers, live = {"base": base, "head": head}, cases
            self._open(workers)
            for _ in range(1 + MOST_REPEATS):
                shuffled = self._random.sample(live, len(live))
                if self.how == "rounds":
                    disturbed, complete = self._one_after_the_other(workers, shuffled)
                else:
                    disturbed, complete = self._side_by_side(workers, shuffled)
                if not complete:
                    return False
                live = [case for case in disturbed if case in self._live()]
        return True

    def _open(self, workers: dict[str, DeviceWorker]) -> None:
        """Both workers are up before any pair, whose time is noted."""
        began = time.monotonic()
        open_all(workers.values())
        self._start_s += time.monotonic() - began

    def _side_by_side(self, workers: dict[str, DeviceWorker], cases: list[Case]) -> tuple[list[Case], bool]:
        """Pair by pair; the cases whose pair was disturbed, and whether there was time for all."""
        disturbed: list[Case] = []
        for position, case in enumerate(cases):
            if not self._may_go_on(case):
                return disturbed, False
            self.listener.visiting(case, f"{self.stage} {self.rounds}", self._planned_s(cases[position:]))
            began, self._pair = time.monotonic(), self._pair + 1
            if self.how == "turns" and case.case_id not in self.apart:
                rows = self._take_turns(workers, case, position)
            else:
                rows = [
                    self._visit(workers[name], name, case, position, self._pair) for name in self._tossed()
                ]
            counts = all(row["trust"] != "invalid" for row in rows)
            self._note(case, time.monotonic() - began, counts)
            if not counts:
                disturbed.append(case)
        return disturbed, True

    def _one_after_the_other(
        self, workers: dict[str, DeviceWorker], cases: list[Case]
    ) -> tuple[list[Case], bool]:
        """All cases of one arm, then all of the other."""
        pairs = {case.case_id: self._pair + number for number, case in enumerate(cases, 1)}
        self._pair += len(cases)
        disturbed: dict[str, Case] = {}
        for name in self._tossed():
            for position, case in enumerate(cases):
                if not self._may_go_on(case):
                    return [], False
                self.listener.visiting(case, f"{self.stage} {self.rounds}", self._planned_s(cases[position:]))
                row = self._visit(workers[name], name, case, position, pairs[case.case_id])
                self._note(case, 2 * (row["wall_s"] or 0.0), row["trust"] != "invalid")
                if row["trust"] == "invalid":
                    disturbed[case.case_id] = case
        return list(disturbed.values()), True

    def _note(self, case: Case, took_s: float, counts: bool) -> None:
        """What a pair of a case takes: the least that was seen, since what disturbs adds."""
        identity = case.case_id
        self.pair_s[identity] = min(self.pair_s[identity], took_s) if self._spent_s[identity] else took_s
        self._spent_s[identity] += took_s
        self._counted[identity] += counts

    def _tossed(self) -> list[str]:
        """The arms, in the order that a coin gives."""
        return self._random.sample(list(self.arms), 2)

    def _visit(self, worker: DeviceWorker, name: str, case: Case, position: int, pair: int) -> Row:
        """A visit that has the device to itself."""
        started = datetime.now(timezone.utc)
        answer = worker.ask(self.arms[name].request("visit", case), self.policy.visit_limit_s + GRACE_S)
        return self._record(name, case, answer, position, pair, started)

    def _take_turns(self, workers: dict[str, DeviceWorker], case: Case, position: int) -> list[Row]:
        """One pair in turns. Where the device's memory is too small for both arms, they are measured apart,
        from now on."""
        started = datetime.now(timezone.utc)
        visits = {
            name: (workers[name], self.arms[name].request("visit", case, turns=self.policy.turns))
            for name in self._tossed()
        }
        answers = alternate(visits, self.policy.turns, self.policy.visit_limit_s + GRACE_S)
        if case.setting.device != "cpu" and any(
            answer["status"] == "out_of_memory" for answer in answers.values()
        ):
            self.apart.add(case.case_id)
            for worker in workers.values():
                worker.end()  # what its allocator keeps would be in the other's way
            return [self._visit(workers[name], name, case, position, self._pair) for name in self._tossed()]
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
        self.rows.append(row | {"samples_s": None})  # they stay in the run's folder alone
        if row["status"] == "ok":
            self.timed_s += timed_s(row)
        return row

    def _planned_s(self, waiting: Iterable[Case]) -> float:
        """What is left of the stage's certain rounds."""
        certain = (
            screening_pairs(self.policy, quick=self.quick) - self.rounds if self.stage == "screen" else 0
        )
        return max(certain, 0) * sum(self.pair_s.values()) + sum(
            self.pair_s[case.case_id] for case in waiting
        )

    def _left_s(self) -> float | None:
        limit = self.policy.time_limit_s
        if limit is None:
            return None
        reserved = RESERVED if self.stage == "screen" and not self.quick else 0.0
        return (1 - reserved) * limit - (time.monotonic() - self._began)

    def _may_go_on(self, case: Case) -> bool:
        left_s = self._left_s()
        return left_s is None or self.pair_s[case.case_id] <= left_s
