"""Clocks, and nothing else: what a call costs, in seconds, as each device can tell it.

HostClock    perf_counter_ns around inner calls (CPU)
FaultClock   the same, and how many page faults each sample met
WaitingClock the same, until the device has done what was queued (an accelerator without a clock of its own)
EventClock   events around a batch; three figures with three definitions:
               sample     a call in a back-to-back eager loop:
                          the larger of what the host and what the device takes
               device     device time of a call: the batch waits behind a blocker until all of it is queued
               dispatch   host time of a call: how long issuing it takes while the device is blocked
             with `flush`, a sample is of calls each alone, behind a blocker, on a cache that was overwritten

Where the replay of a graph holds several calls in a row (`unrolled`), figures are of one, and so many as make
whole replays are timed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from itertools import pairwise, repeat
from math import ceil
from statistics import fmean, median
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.worker.devices import Device

    Call = Callable[[], object]

# A sample should be far above the clock: perf_counter_ns costs about 50 ns here, one part in 2,000; events
# resolve 0.5 us, one in 400.
HOST_SAMPLE_S = 100e-6
EVENT_SAMPLE_S = 200e-6
WAITING_SAMPLE_S = 2e-3  # where a device must be waited for, or ...
WAITS = 100.0  # ... so many times what an empty wait takes, which a sample holds once
EVENT_STEP_S = 0.5e-6  # of an event's clock, as CUDA's documentation has it, where none is seen
LEAST_STEP_S = 10e-9  # what is smaller is rounding: milliseconds come as float32
EVENT_PAIRS = 200  # whose elapsed times show the smallest step of the device's clock
# launches that fit the driver's queue (1,024 on current ones) with room for what a call adds
QUEUE_LENGTH = 500
BLOCKER_MOST_S = 0.02  # it need only cover the launches, and a batch of one long call has one
BLOCKER_TRIES = 4  # each waits twice as long as the one before
ISOLATED_BLOCKER_S = 50e-6  # covers the launch of a single call; remembered where it takes longer
SPIN_CYCLES = 500_000  # a quarter of a millisecond at the clock of a current device
SPIN_TRIES = 5  # of which the least tells what launching a spin adds


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
    """The host's clock, which keeps how many page faults each sample met. `count` tells those of the process
    so far; reading it is not timed."""

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


class WaitingClock(HostClock):
    """The host's clock, for a device that works through a queue: a sample ends when all of it is done."""

    def __init__(self, wait: Callable[[], object]) -> None:
        super().__init__()
        self._wait = wait
        wait()
        waits_s = [super(WaitingClock, self).sample(wait, 1) for _ in range(100)]
        self.least_sample_s = max(WAITING_SAMPLE_S, WAITS * median(waits_s))

    def sample(self, call: Call, calls: int) -> float:
        """Seconds a call over `calls` calls in a row, the wait for the last one included."""
        self._wait()
        start = time.perf_counter_ns()
        for _ in repeat(None, calls):
            call()
        self._wait()
        return (time.perf_counter_ns() - start) / 1e9 / calls


@dataclass(frozen=True, slots=True)
class Batch:
    """Calls behind a blocker: seconds a call on the device and on the host, and whether the blocker outlasted
    the launches. If not, the device waited for the host within the batch, and `device_s` is no time of the
    device."""

    device_s: float
    dispatch_s: float
    covered: bool


class Event(Protocol):
    """A moment in the order of what a device does, as torch.cuda.Event."""

    def record(self) -> None: ...
    def synchronize(self) -> None: ...
    def query(self) -> bool: ...
    def elapsed_time(self, end: Event) -> float: ...  # milliseconds


class Queue(Protocol):
    """A device that works through what the host queued, in order. `block` queues idling, for seconds; `spin`,
    for cycles of its clock."""

    def event(self) -> Event: ...
    def synchronize(self) -> None: ...
    def block(self, seconds: float) -> None: ...
    def spin(self, cycles: int) -> None: ...
    def host_ns(self) -> int: ...


class EventClock:
    """Events on a device's queue."""

    name = "event"
    least_sample_s = EVENT_SAMPLE_S

    def __init__(self, queue: Queue, unrolled: int = 1, flush: Callable[[], None] | None = None) -> None:
        self._queue, self._unrolled, self._flush = queue, unrolled, flush
        self._start, self._end = queue.event(), queue.event()
        self._isolated_wait_s = ISOLATED_BLOCKER_S
        self._spin_launch_s: float | None = None
        self.resolution_s = self._resolution_s()

    def sample(self, call: Call, calls: int) -> float:
        """Seconds a call in a back-to-back eager loop: one call ahead keeps the device from waiting for the
        first."""
        replays = ceil(calls / self._unrolled)
        if self._flush:
            return fmean(self._isolated_s(call, self._flush) for _ in range(replays))
        call()
        self._start.record()
        for _ in repeat(None, replays):
            call()
        self._end.record()
        self._end.synchronize()
        return self._elapsed_s() / (replays * self._unrolled)

    def blocked(self, call: Call, calls: int, call_s: float) -> Batch:
        """A batch that waits behind a blocker until all of it is queued; tried again behind a longer one
        where that was not so.

        `call_s`: seconds of a call as far as known. Whether a blocker was long enough shows for free: the
        event behind it has not come yet when the last launch is queued.
        """
        replays = ceil(min(calls, QUEUE_LENGTH) / self._unrolled)
        wait_s = 2 * replays * self._unrolled * call_s
        for _ in range(BLOCKER_TRIES):
            batch = self._behind(call, replays, min(wait_s, BLOCKER_MOST_S))
            if batch.covered or wait_s > BLOCKER_MOST_S:
                break
            wait_s *= 2
        return replace(batch, device_s=self.sample(call, calls)) if self._flush else batch

    def cycles_per_s(self) -> float:
        """The clock of the device in Hz, by its own cycles in one spin, less what launching one adds: the
        time of a spin of one cycle.

        Not by the difference of two long spins, of which the later would see another clock where it changes.
        """
        if self._spin_launch_s is None:
            self._spin_launch_s = min(self._spun_s(1) for _ in range(SPIN_TRIES))
        return SPIN_CYCLES / (self._spun_s(SPIN_CYCLES) - self._spin_launch_s)

    def _behind(self, call: Call, replays: int, wait_s: float) -> Batch:
        self._queue.synchronize()
        self._queue.block(wait_s)
        self._start.record()
        began = self._queue.host_ns()
        for _ in repeat(None, replays):
            call()
        host_s = (self._queue.host_ns() - began) / 1e9
        covered = not self._start.query()
        self._end.record()
        self._end.synchronize()
        calls = replays * self._unrolled
        return Batch(self._elapsed_s() / calls, host_s / calls, covered)

    def _isolated_s(self, call: Call, flush: Callable[[], None]) -> float:
        return self._alone_s(call, flush) / self._unrolled

    def _spun_s(self, cycles: int) -> float:
        return self._alone_s(lambda: self._queue.spin(cycles), lambda: None)

    def _alone_s(self, call: Call, before: Callable[[], None]) -> float:
        """Seconds of one call that waits behind a blocker until it is queued, after what goes before it."""
        for _ in range(BLOCKER_TRIES):
            before()
            self._queue.block(self._isolated_wait_s)
            self._start.record()
            call()
            covered = not self._start.query()
            self._end.record()
            self._end.synchronize()
            if covered or self._isolated_wait_s > BLOCKER_MOST_S:
                break
            self._isolated_wait_s *= 2
        return self._elapsed_s()

    def _resolution_s(self) -> float:
        """Smallest step between elapsed times of events with nothing between them."""
        pairs = [(self._queue.event(), self._queue.event()) for _ in range(EVENT_PAIRS)]
        for start, end in pairs:
            start.record()
            end.record()
        self._queue.synchronize()
        seen = sorted({start.elapsed_time(end) for start, end in pairs})
        steps = [(after - before) / 1e3 for before, after in pairwise(seen)]
        return min((step for step in steps if step > LEAST_STEP_S), default=EVENT_STEP_S)

    def _elapsed_s(self) -> float:
        return float(self._start.elapsed_time(self._end)) / 1e3


def waited_s(call: Call, device: Device) -> float:
    """Seconds of one call on the host's clock, until its device is done: with all that a first call
    prepares."""
    device.synchronize()
    began = time.perf_counter_ns()
    call()
    device.synchronize()
    return (time.perf_counter_ns() - began) / 1e9


def describe(clock: Clock) -> dict[str, str | float]:
    """What a clock itself is worth, for the head of a run: its resolution, what a sample of one empty call
    shows, what each further call adds."""

    def nothing() -> None: ...

    return {
        "name": clock.name,
        "resolution_s": clock.resolution_s,
        "sample_s": median(clock.sample(nothing, 1) for _ in range(200)),
        "call_s": clock.sample(nothing, 10_000),
    }


def _host_resolution_s() -> float:
    """Smallest step seen between two readings: the clock's own resolution and the cost of reading it,
    whichever is larger."""
    steps = []
    for _ in range(100):
        first = time.perf_counter_ns()
        second = time.perf_counter_ns()
        while second == first:
            second = time.perf_counter_ns()
        steps.append(second - first)
    return min(steps) / 1e9
