"""Steps of measuring, in their order: warm up until steady, choose the calls of a sample, take blocks, stop.

In: a call, a clock, amounts in seconds. Out: samples in seconds a call, cut into blocks. The rules
(`Steadiness`, `Plan`, `more_blocks`) are fed numbers and know no clock, so that they can be tested with
literal sequences.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from harness.core.policy import BLOCKS, TURN_SETTLE_S

if TYPE_CHECKING:
    from harness.core.policy import Policy
    from harness.worker.clocks import Call, Clock

STEADY_WITHIN = 0.03  # two windows in a row this close are steady
# a case that never gets steady is measured all the same after so many floors; drift will tell
WARM_UP_CAP = 5


@dataclass(slots=True)
class Steadiness:
    """Whether a warm-up may end: `floor_s` have passed, and the last two windows of a quarter of it agree, or
    the cap is reached."""

    floor_s: float
    _elapsed_s: float = 0.0
    _window: list[float] = field(default_factory=list)
    _window_s: float = 0.0
    _medians: list[float] = field(default_factory=list)

    def feed(self, seconds_per_call: float, took_s: float) -> bool:
        """Take one sample; True when warm."""
        self._elapsed_s += took_s
        self._window_s += took_s
        self._window.append(seconds_per_call)
        if self._elapsed_s >= WARM_UP_CAP * self.floor_s:
            self._medians.append(median(self._window))
            return True
        if self._window_s >= self.floor_s / 4:
            self._medians.append(median(self._window))
            self._window, self._window_s = [], 0.0
        if self._elapsed_s < self.floor_s or len(self._medians) < 2:
            return False
        before, last = self._medians[-2:]
        return abs(last / before - 1) <= STEADY_WITHIN

    @property
    def latest_s(self) -> float:
        """The latest estimate of a call, in seconds."""
        return self._medians[-1] if self._medians else median(self._window)


@dataclass(frozen=True, slots=True)
class Plan:
    """How a visit spends its time: so many blocks of so many seconds and at least so many samples, of so many
    calls each, after calls that are not counted for at least `settle_s`; None: after no such call."""

    blocks: int
    block_s: float
    block_samples: int
    calls: int
    settle_s: float | None = 0.0

    @classmethod
    def of_visit(cls, policy: Policy, calls: int, call_s: float, turns: int = 0, *, paired: bool) -> Plan:
        """Of a visit in one go, or with a block a turn: other processes have measured since the last one.
        Where calls are slow there are fewer blocks of a sample each, unless they are `paired` with others:
        the caches and threads that a first call wakes are no matter then, and pages were touched before."""
        most = turns or BLOCKS
        blocks = most if paired else policy.blocks(most, call_s)
        samples = math.ceil(policy.min_samples / most) if blocks == most else 1
        settle_s = (TURN_SETTLE_S if turns else 0.0) if blocks == most else None
        return cls(blocks, policy.visit_time_s / blocks, samples, calls, settle_s)


def calls_per_sample(call_s: float, least_sample_s: float, unrolled: int = 1) -> int:
    """Inner calls that make a sample at least so long: whole replays, where a graph holds `unrolled` of
    them."""
    return unrolled * max(1, math.ceil(least_sample_s / (call_s * unrolled)))


def take_block(call: Call, clock: Clock, plan: Plan, *, deadline_s: float = math.inf) -> list[float]:
    """One block: its samples in seconds a call. Stops early, with what it has, when one more sample would
    pass `deadline_s` (perf_counter)."""
    samples: list[float] = []
    start = time.perf_counter()
    now = start
    while now - start < plan.block_s or len(samples) < plan.block_samples:
        if samples and now + samples[-1] * plan.calls > deadline_s:
            break
        samples.append(clock.sample(call, plan.calls))
        now = time.perf_counter()
    return samples


def settle(call: Call, clock: Clock, plan: Plan) -> int:
    """Calls after tensors were placed anew, not counted: one, and more until `plan.settle_s` have passed.
    Returns how many."""
    if plan.settle_s is None:
        return 0
    start, calls = time.perf_counter(), 0
    while not calls or time.perf_counter() - start < plan.settle_s:
        clock.sample(call, 1)
        calls += 1
    return calls


def warm_up(call: Call, clock: Clock, floor_s: float, deadline_s: float = math.inf) -> float:
    """Call until steady, at least `floor_s`; seconds a call at its end."""
    steadiness = Steadiness(floor_s)
    calls, now = 1, time.perf_counter()
    while True:
        began, sample = now, clock.sample(call, calls)
        now = time.perf_counter()
        if steadiness.feed(sample, now - began) or now >= deadline_s:
            return steadiness.latest_s
        calls = calls_per_sample(sample, clock.least_sample_s)


def stop_reason(plan: Plan, counts: list[int], *, turns: bool) -> str:
    """Why sampling ended: all turns taken, the time reached, the number of samples reached, or the visit's
    limit before that."""
    if len(counts) < plan.blocks or counts[-1] < plan.block_samples:
        return "limit"
    if turns:
        return "turns"
    return "samples" if all(count == plan.block_samples for count in counts) else "time"
