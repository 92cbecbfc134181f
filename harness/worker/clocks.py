"""Clocks, and nothing else: what a call costs, in seconds, as each device can tell it.

HostClock    perf_counter_ns around inner calls (CPU)
FaultClock   the same, and how many page faults each sample met
EventClock   CUDA events around a batch; three figures with three definitions:
               sample     a call in a back-to-back eager loop: the larger of what the host and what the device takes
               device     device time of a call: the batch waits behind a blocker until all of it is queued
               dispatch   host time of a call: how long issuing it takes while the device is blocked
"""

from __future__ import annotations

import time
from itertools import repeat
from statistics import median
from typing import TYPE_CHECKING, Protocol

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    Call = Callable[[], object]

# A sample should be far above the clock: perf_counter_ns costs about 50 ns here, one part in 2,000; events resolve 0.5 us, one in 400.
HOST_SAMPLE_S = 100e-6
EVENT_SAMPLE_S = 200e-6
EVENT_RESOLUTION_S = 0.5e-6
QUEUE_LENGTH = 500  # launches that fit the driver's queue (1,024 on current ones) with room for what a call adds
BLOCKER_HZ = 2.0e9  # _sleep counts cycles, at the boost clock of a current device; what is off, the factor 2 on the batch covers
BLOCKER_MOST_S = 0.02  # it need only cover the launches, and a batch of one long call has one


class Clock(Protocol):
    """A way to time calls. `sample` gives seconds a call, over `calls` calls in a row."""

    name: str
    resolution_s: float
    least_sample_s: float

    def sample(self, call: Call, calls: int) -> float: ...


class HostClock:
    """The host's monotonic clock, for devices that are done when the call returns."""

    name = "host"
    least_sample_s = HOST_SAMPLE_S

    def __init__(self) -> None:
        self.resolution_s = _host_resolution_s()

    def sample(self, call: Call, calls: int) -> float:
        """Seconds a call over `calls` calls in a row."""
        start = time.perf_counter_ns()
        for _ in repeat(None, calls):
            call()
        return (time.perf_counter_ns() - start) / 1e9 / calls


class FaultClock(HostClock):
    """The host's clock, which keeps how many page faults each sample met. `count` tells those of the process so far; reading it is not timed."""

    def __init__(self, count: Callable[[], int]) -> None:
        super().__init__()
        self._count = count
        self.faults: list[int] = []

    def sample(self, call: Call, calls: int) -> float:
        """Seconds a call over `calls` calls in a row."""
        before = self._count()
        call_s = super().sample(call, calls)
        self.faults.append(self._count() - before)
        return call_s


class EventClock:
    """CUDA events on the current stream."""

    name = "event"
    least_sample_s = EVENT_SAMPLE_S
    resolution_s = EVENT_RESOLUTION_S

    def __init__(self) -> None:
        self._start = torch.cuda.Event(enable_timing=True)
        self._end = torch.cuda.Event(enable_timing=True)

    def sample(self, call: Call, calls: int) -> float:
        """Seconds a call in a back-to-back eager loop: one call ahead keeps the device from waiting for the first."""
        call()
        self._start.record()
        for _ in repeat(None, calls):
            call()
        self._end.record()
        self._end.synchronize()
        return self._elapsed_s() / calls

    def device_and_dispatch(self, call: Call, calls: int, latency_s: float) -> tuple[float, float]:
        """(device, dispatch) seconds a call, of a batch that waits behind a blocker until all of it is queued."""
        calls = min(calls, QUEUE_LENGTH)
        torch.cuda.synchronize()
        torch.cuda._sleep(int(min(2 * calls * latency_s, BLOCKER_MOST_S) * BLOCKER_HZ))
        self._start.record()
        began = time.perf_counter_ns()
        for _ in repeat(None, calls):
            call()
        dispatch_s = (time.perf_counter_ns() - began) / 1e9 / calls
        self._end.record()
        self._end.synchronize()
        return self._elapsed_s() / calls, dispatch_s

    def _elapsed_s(self) -> float:
        return float(self._start.elapsed_time(self._end)) / 1e3


def waited_s(call: Call, device: str) -> float:
    """Seconds of one call on the host's clock, until its device is done: with all that a first call prepares."""
    if device == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter_ns()
    call()
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter_ns() - began) / 1e9


def clock_of(device: str) -> HostClock | EventClock:
    """The clock that fits a device."""
    return EventClock() if device == "cuda" else HostClock()


def describe(clock: Clock) -> dict[str, str | float]:
    """What a clock itself is worth, for the head of a run: its resolution, what a sample of one empty call shows, what each further call adds."""

    def nothing() -> None: ...

    return {
        "name": clock.name,
        "resolution_s": clock.resolution_s,
        "sample_s": median(clock.sample(nothing, 1) for _ in range(200)),
        "call_s": clock.sample(nothing, 10_000),
    }


def _host_resolution_s() -> float:
    """Smallest step seen between two readings: the clock's own resolution and the cost of reading it, whichever is larger."""
    steps = []
    for _ in range(100):
        first = time.perf_counter_ns()
        second = time.perf_counter_ns()
        while second == first:
            second = time.perf_counter_ns()
        steps.append(second - first)
    return min(steps) / 1e9
