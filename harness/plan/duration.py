"""How long a run will take, from guesses of each call: to plan with before anything is measured. Never shown
as a figure of a case."""

from __future__ import annotations

import os
from math import ceil
from types import MappingProxyType
from typing import TYPE_CHECKING

from harness.core.policy import TURN_SETTLE_S

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.core.case import Case
    from harness.core.policy import Policy

# MACs a second, bytes a second, seconds a call at the least
PROCESSOR, GPU = (30e9, 10e9, 10e-6), (5e12, 1e12, 20e-6)
RUN_START_S = 5.0  # an interpreter says what it is, roofs are measured
WORKERS_START_S = 3.0  # workers that come up at once, each importing torch
PAIR_OF_WORKERS_START_S = 1.0  # the same for the two workers of a round of pairs, on two quiet cores
ABREAST = 3  # workers come up at once for so many rounds
SURVEY_S = 0.3  # per case, on two cores ...
SURVEY_CALLS = 9  # ... and calls of it
VISIT_FIXED_S = 0.07  # a fork, tensors, an end
PLACE_S = 0.0016  # per block, to place its tensors anew
WARM_UPS = 1.4  # a case is steady after so many times `warm_up_s`, in the mean
ENERGY_WINDOWS = 2.5  # of calls, of a pause, and a quarter before each
SCREENING_PAIRS = 5  # per case


def call_s(case: Case) -> float:
    """A guess of one call: by its MACs, its bytes, or the overhead."""
    device, threads = case.setting.device, case.setting.threads
    processors = (os.cpu_count() or 1 if threads == "all" else int(threads)) if device == "cpu" else 1
    moved = case.problem.minimum_bytes(case.setting.element_bytes)
    macs_per_s, bytes_per_s, overhead_s = PROCESSOR if device == "cpu" else GPU
    return max(case.problem.macs / (macs_per_s * processors), moved / bytes_per_s, overhead_s)


def visit_s(policy: Policy, call_s: float) -> float:
    """A visit of a case whose calls take `call_s` seconds, start of its process included."""
    turns = policy.visit_turns
    timed_s = max(policy.visit_time_s, turns * ceil(policy.min_samples / turns) * call_s)
    settling_s = turns * (PLACE_S + max(TURN_SETTLE_S, call_s))
    if policy.is_slow(call_s):
        timed_s, settling_s = policy.blocks(turns, call_s) * call_s, 0.0
    return (
        VISIT_FIXED_S
        + _warm_up_s(policy, call_s)
        + settling_s
        + timed_s
        + ENERGY_WINDOWS * (policy.energy_time_s or 0.0)
    )


def pair_s(policy: Policy, call_s: float) -> float:
    """A pair that takes turns, starts of its two processes included."""
    samples = policy.turns * ceil(policy.min_samples / policy.turns)
    timed_s = max(policy.visit_time_s, samples * call_s)
    settling_s = policy.turns * (PLACE_S + max(TURN_SETTLE_S, call_s))
    return 2 * (VISIT_FIXED_S + _warm_up_s(policy, call_s) + settling_s + timed_s)


def _warm_up_s(policy: Policy, call_s: float) -> float:
    return max(WARM_UPS * policy.warm_up_s, 3 * call_s)


def rounds_s(
    policy: Policy, cases: Iterable[Case], calls_s: Mapping[str, float] = MappingProxyType({})
) -> float:
    """A survey and the certain rounds of cases, with the starts of workers. `calls_s`: seconds a call of
    those that were called before, by case_id."""
    starts = policy.rounds if policy.time_limit_s is not None else ceil(policy.rounds / ABREAST)
    return starts * WORKERS_START_S + sum(
        SURVEY_S + SURVEY_CALLS * one_s + policy.rounds * visit_s(policy, one_s)
        for one_s in (calls_s.get(case.case_id) or call_s(case) for case in cases)
    )


def screening_pairs(policy: Policy, *, quick: bool) -> int:
    """How many pairs each case of an A/B gets at first."""
    return 1 if quick else max(SCREENING_PAIRS, policy.rounds)


def screening_s(policy: Policy, cases: Sequence[Case], *, quick: bool) -> float:
    """Surveys and screening of an A/B; confirming comes on top."""
    pairs = screening_pairs(policy, quick=quick)
    return pairs * PAIR_OF_WORKERS_START_S + sum(
        2 * SURVEY_S + pairs * pair_s(policy, call_s(case)) for case in cases
    )
