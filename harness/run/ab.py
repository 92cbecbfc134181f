"""An A/B: a screening of all cases in pairs of base and head, then fresh pairs for those that it did not
clear.

In: two arms, cases, a gate, an order of measuring. Out: rows, two a pair (`paired_run`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf, log1p
from typing import TYPE_CHECKING

import pandas as pd

from harness.analysis.comparison import judge_pairs
from harness.analysis.pair_effects import pair_ratios, paired_effects
from harness.analysis.verdict_tests import planned
from harness.plan.duration import screening_pairs, screening_s
from harness.run.paired_run import PairedRun

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from harness.core.case import Case
    from harness.core.gate import Gate
    from harness.run.arm import Arm

# of a time limit, which screening leaves to confirming: on a noisy machine it would take all, and nothing
# could be named
RESERVED = 0.25
FEWEST_CONFIRMING = 5  # pairs, where the time holds no more: fewer find little


@dataclass(frozen=True, slots=True)
class Confirming:
    """Fixed before the first confirming pair: how many each case gets, by asked_id; those cut short for their
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

    `pair_s`: what a pair of an asked_id takes, in seconds; `start_s`: what the two workers of a round take to
    come up.
    """

    def takes_s(identity: str, count: int) -> float:
        return count * pair_s(identity) + max(count - rounds, 0) * start_s

    found = judge_pairs(visits, gate).verdicts
    undecided = found[
        (found["metric"] == "latency_s") & (found["verdict"] == "inconclusive") & (found["stage"] == "screen")
    ]
    undecided = undecided.sort_values("p_slower").set_index("match_id")
    effects = paired_effects(pair_ratios(visits.assign(match_id=visits["asked_id"])))
    wanted = planned(effects.loc[undecided.index], undecided["tolerance"].map(log1p), gate)
    pairs: dict[str, int] = {}
    short, left, rounds, lacking_s = [], [], 0, 0.0
    time_s = inf if left_s is None else left_s
    for identity, most, cut in zip(undecided.index, map(int, wanted["pairs"]), wanted["short"], strict=True):
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


class AbRun(PairedRun):
    """The state of one A/B. `tell` takes the plan before the first confirming pair."""

    def __init__(
        self,
        arms: Mapping[str, Arm],
        cases: Sequence[Case],
        gate: Gate,
        how: str,
        *,
        quick: bool,
        tell: Callable[[Confirming], None],
        confirming: Confirming | None = None,
    ) -> None:
        """`confirming`: as fixed before the run was resumed."""
        super().__init__(arms, cases, how)
        self.gate, self.quick, self.tell = gate, quick, tell
        self.confirming = confirming or Confirming({}, [], [])

    def go(self) -> str:
        """Do all of it; why it ended: `complete` or `time_limit`."""
        pairs = screening_pairs(self.policy, quick=self.quick)
        then = (
            "one pair is no verdict"
            if self.quick
            else "cases that look different are measured again in fresh pairs"
        )
        self.listener.begin(len(self.cases), screening_s(self.policy, self.cases, quick=self.quick), then)
        self.survey()
        whole_s = self.limit_s
        if whole_s is not None and not self.quick:
            self.limit_s = (1 - RESERVED) * whole_s
        screened = self.measure({case.case_id: pairs for case in self.cases})
        if self.quick or not any(map(self.taking_part, self.cases)) or not self.rows:
            return "complete" if screened else "time_limit"
        self.stage, self.limit_s = "confirm", whole_s
        plan = plan_confirming(pd.DataFrame(self.rows), self.gate, self.costs_s, self.start_s, self.left_s)
        # a number of pairs that was fixed once stays, whatever these have shown so far
        plan = self.confirming = replace(plan, pairs=plan.pairs | self.confirming.pairs)
        self.tell(plan)
        if undecided := len(plan.pairs) + len(plan.left):
            self.listener.confirming(len(plan.pairs), undecided, plan.lacking_s)
        complete = self.measure(plan.pairs)
        return "complete" if screened and complete and not plan.left else "time_limit"
