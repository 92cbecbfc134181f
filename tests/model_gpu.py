"""A GPU in virtual time, for tests of what times one: no torch, no hardware, the same answer every time.

In: what a launch, a gap and a kernel take. Out: an `EventClock`'s queue, a `Monitor`'s NVML, a `time` module
for the steps of a visit; and what torch keeps for a process, its allocator and its plans. Times are
nanoseconds of one axis that host and device share, clocks are in Hz, sizes in bytes. A kernel takes as long
as it is said to at the SM's default clock, and longer or shorter at another.
What may surprise: this holds our arithmetic and our rules to account, and not torch's API. An event costs the
host time, but takes no place in the queue.
"""

from __future__ import annotations

import random
import struct
from collections import deque
from dataclasses import dataclass, field, replace
from math import ceil, inf
from typing import Any, NamedTuple

from harness.core.case import Case
from harness.worker.clocks import EventClock
from harness.worker.throttle import Monitor

QUEUE_DEPTH = 1024  # launches: the host waits while so many have not ended
BLOCK_HZ = 2.0e9  # a blocker counts cycles as if they came at this clock, like devices/cuda.py
IDLE, APPLICATIONS_CLOCKS, POWER_CAP, HARDWARE_SLOWDOWN, SOFTWARE_THERMAL = 0x1, 0x2, 0x4, 0x8, 0x20  # nvml.h
MIB = 2**20
NEAR = 0.01  # a hundredth
SECOND_NS = 10**9


@dataclass(frozen=True)
class Limit:
    """What holds the SM's clock at so many Hz or less until a moment, and NVML's bits for it: 0 for none."""

    hz: float
    bits: int
    until_ns: float = inf


@dataclass
class Sm:
    """The SM's clock: as fast as limits let it be, but that it climbs from `idle_hz` when it has rested."""

    default_hz: float = 1.7e9
    boost_hz: float = 1.7e9
    idle_hz: float = 0.3e9
    ramp_ns: float = 0.0
    rests_after_ns: float = 10e6
    limits: list[Limit] = field(default_factory=list)
    _woke_ns: float = -inf
    _busy_until_ns: float = -inf

    def start(self, at_ns: float) -> float:
        """A kernel starts: the clock in Hz."""
        if at_ns - self._busy_until_ns > self.rests_after_ns:
            self._woke_ns = at_ns
        held_hz = min([self.boost_hz, *(limit.hz for limit in self.limits if at_ns < limit.until_ns)])
        since_ns = at_ns - self._woke_ns
        if since_ns >= self.ramp_ns:
            return held_hz
        return min(held_hz, self.idle_hz + (held_hz - self.idle_hz) * since_ns / self.ramp_ns)

    def end(self, at_ns: float) -> None:
        """It ends."""
        self._busy_until_ns = at_ns

    def bits(self, at_ns: float) -> int:
        """Why the clock is where it is, as NVML tells it."""
        found = IDLE if at_ns >= self._busy_until_ns else 0
        for limit in self.limits:
            found |= limit.bits if at_ns < limit.until_ns else 0
        return found


class Ran(NamedTuple):
    """A kernel as it came: when the host had launched it, when it started, when it ended."""

    launched_ns: float
    start_ns: float
    end_ns: float


@dataclass
class Gpu:
    """The host's clock, and a device that works through what was launched, in order. The truth stands in
    `ran`."""

    launch_ns: int = 5_000  # what the host needs for a launch
    gap_ns: float = 1_000  # between two kernels
    record_ns: int = 300  # what the host needs for an event
    step_ns: float = 500  # of an event's clock
    now_ns: int = 0
    jitter: float = 0.0  # of kernels and of events, as a share of what they take
    sm: Sm = field(default_factory=Sm)

    kind = "cuda"

    def __post_init__(self) -> None:
        self.end_ns = -inf  # of all that was launched
        self.launches = 0
        self.events = 0  # recorded
        # ns for which the host stands still before a launch, by its number ...
        self.stalls: dict[int, int] = {}
        self.event_stalls: dict[int, int] = {}  # ... and before an event
        self.cold = False
        self.nvml = Nvml(self)
        self.ran: deque[Ran] = deque(maxlen=4 * QUEUE_DEPTH)
        self._outstanding: deque[float] = deque()
        self._random = random.Random(7)

    def launch(self, *kernels_ns: float) -> None:
        """Queue kernels of so long each: one, as eager code does, or those of a graph."""
        while self._outstanding and self._outstanding[0] <= self.now_ns:
            self._outstanding.popleft()
        if len(self._outstanding) == QUEUE_DEPTH:
            self.wait(self._outstanding.popleft())
        self.now_ns += self.launch_ns + self.stalls.pop(self.launches, 0)
        self.launches += 1
        for kernel_ns in kernels_ns:
            start_ns = max(self.end_ns + self.gap_ns, self.now_ns)
            slowed = self.sm.default_hz / self.sm.start(start_ns)
            self.end_ns = start_ns + self.jittered(kernel_ns * slowed)
            self.sm.end(self.end_ns)
            self.ran.append(Ran(self.now_ns, start_ns, self.end_ns))
        self._outstanding.append(self.end_ns)

    def jittered(self, takes_ns: float) -> float:
        """What takes so long, this time."""
        return takes_ns * (1 + self._random.uniform(-self.jitter, self.jitter))

    def wait(self, until_ns: float) -> None:
        """The host does nothing until a moment."""
        self.now_ns = max(self.now_ns, ceil(max(until_ns, 0)))

    def event(self) -> Any:
        """One that was not recorded yet."""
        return Event(self)

    def synchronize(self) -> None:
        """Until the device is done."""
        self.wait(self.end_ns)

    def block(self, seconds: float) -> None:
        """Idle for so long, or longer where the clock is below `BLOCK_HZ`."""
        self.spin(int(seconds * BLOCK_HZ))

    def spin(self, cycles: int) -> None:
        """A kernel of so many cycles of the SM's clock."""
        self.launch(cycles / self.sm.default_hz * 1e9)

    def flush(self) -> None:
        """A kernel after which the next call finds nothing in the cache."""
        self.launch(20_000)
        self.cold = True

    def host_ns(self) -> int:
        """The host's clock."""
        return self.now_ns

    def clock(self, unrolled: int = 1, *, flushed: bool = False) -> EventClock:
        """The real one, on this device."""
        return EventClock(self, unrolled, flush=self.flush if flushed else None)

    def monitor(self) -> Monitor:
        """The real one, on this device."""
        return Monitor(self.nvml, EventClock(self).cycles_per_s)  # type: ignore[arg-type]  # it answers as NVML does


class Event:
    """A moment on the device, told as CUDA does: rounded down to the step of the device's clock, and as
    float32."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu, self._at_ns = gpu, -inf

    def record(self) -> None:
        """When all that was launched before is done."""
        gpu = self._gpu
        gpu.now_ns += round(gpu.jittered(gpu.record_ns)) + gpu.event_stalls.pop(gpu.events, 0)
        gpu.events += 1
        self._at_ns = max(gpu.end_ns, gpu.now_ns)

    def synchronize(self) -> None:
        """Until it has come."""
        self._gpu.wait(self._at_ns)

    def query(self) -> bool:
        """Whether it has come."""
        return self._at_ns <= self._gpu.now_ns

    def elapsed_time(self, end: Event) -> float:
        """Milliseconds. Raises RuntimeError unless both were recorded and have come, as CUDA does."""
        if -inf in (self._at_ns, end._at_ns) or not (self.query() and end.query()):
            raise RuntimeError("CUDA error: device not ready")
        return float(struct.unpack("f", struct.pack("f", (end._stamp_ns() - self._stamp_ns()) / 1e6))[0])

    def _stamp_ns(self) -> float:
        return self._at_ns // self._gpu.step_ns * self._gpu.step_ns


class Nvml:
    """What the driver says of a GPU. `once`: bits that stand in the next reading, in the one after it, and so
    on."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        self.once: list[int] = []

    def default_clock_hz(self) -> float:
        """Of the SM."""
        return self._gpu.sm.default_hz

    def event_reasons(self) -> int:
        """Bits of nvmlClocksEventReasons."""
        return self._gpu.sm.bits(self._gpu.now_ns) | (self.once.pop(0) if self.once else 0)


@dataclass
class Layer:
    """A call: kernels of so many ns, each with a launch of its own or all in that of a graph. The first takes
    `cold_ns` more where the cache was flushed."""

    gpu: Gpu
    kernels_ns: tuple[float, ...]
    graph: bool = False
    cold_ns: float = 0.0
    synchronises: bool = False

    def __call__(self) -> None:
        """Once."""
        first, *others = self.kernels_ns
        kernels = (first + self.cold_ns * self.gpu.cold, *others)
        self.gpu.cold = False
        for launched in [kernels] if self.graph else [(kernel,) for kernel in kernels]:
            self.gpu.launch(*launched)
        if self.synchronises:
            self.gpu.synchronize()


class HostTime:
    """Stands in for the module `time`: the host's clock, in its functions' own units."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        self.slept_s: list[float] = []

    def perf_counter(self) -> float:
        """Seconds."""
        return self._gpu.now_ns / 1e9

    def perf_counter_ns(self) -> int:
        """Nanoseconds."""
        return self._gpu.now_ns

    time_ns = perf_counter_ns

    def sleep(self, seconds: float) -> None:
        """The host does nothing, for so long."""
        self.slept_s.append(seconds)
        self._gpu.now_ns += round(seconds * 1e9)


@dataclass
class Block:
    """A piece of the device's memory, and how much of it was asked for; in bytes."""

    size: int
    small: bool  # of those that are kept for sizes up to 1 MiB
    requested: int = 0


class Allocator:
    """Torch's caching allocator. Sizes are multiples of 512 bytes; memory comes in segments of 2 and of 20
    MiB, or of whole 2 MiB; a large block is cut only where more than 1 MiB is left. What is freed stays as it
    was cut."""

    def __init__(self) -> None:
        self._free: list[Block] = []
        self.requested = self.allocated = self.requested_peak = self.allocated_peak = self.reserved = 0

    def allocate(self, asked: int) -> Block:
        """A block of so many bytes, or a larger one."""
        size = -(-asked // 512) * 512
        small = size <= MIB
        fitting = [block for block in self._free if block.small == small and block.size >= size]
        block = min(fitting, key=lambda free: free.size, default=None)
        if block:
            self._free.remove(block)
        else:
            large = 20 * MIB if size < 10 * MIB else -(-size // (2 * MIB)) * 2 * MIB
            block = Block(2 * MIB if small else large, small)
            self.reserved += block.size
        left = block.size - size
        if (left >= 512) if small else (left > MIB):
            self._free.append(Block(left, small))
            block.size = size
        block.requested = asked
        self._count(block, 1)
        return block

    def free(self, block: Block) -> None:
        """Keep it for what comes."""
        self._count(block, -1)
        self._free.append(block)

    def reset_peaks(self) -> None:
        """Count them from here."""
        self.requested_peak, self.allocated_peak = self.requested, self.allocated

    def _count(self, block: Block, sign: int) -> None:
        self.requested += sign * block.requested
        self.allocated += sign * block.size
        self.requested_peak = max(self.requested_peak, self.requested)
        self.allocated_peak = max(self.allocated_peak, self.allocated)


class Plans:
    """cuDNN's plans as torch keeps them for a process: by what tells convolutions apart, but not by
    `autotune`."""

    def __init__(self) -> None:
        self._kept: dict[Case, str] = {}

    def of(self, case: Case) -> str:
        """`tried` or `guessed`, as the first such case of the process had it."""
        key = replace(case, setting=replace(case.setting, autotune=False))
        return self._kept.setdefault(key, "tried" if case.setting.autotune else "guessed")


def busy_s(gpu: Gpu, kernel_ns: float) -> float:
    """What the device needs for a call of one kernel, in seconds."""
    return (kernel_ns + gpu.gap_ns) / 1e9


def truth_s(gpu: Gpu, kernel_ns: float) -> float:
    """What a call of one kernel takes in a loop of them, in seconds: the larger of what the host and what the
    device needs."""
    return max(gpu.launch_ns / 1e9, busy_s(gpu, kernel_ns))


def within(found_s: float, true_s: float, calls: int, gpu: Gpu, share: float = NEAR) -> bool:
    """A figure of so many calls is right to a share and a step of the clock."""
    return abs(found_s - true_s) <= share * true_s + gpu.step_ns / 1e9 / calls


def limited(hz: float, *bits: int) -> Gpu:
    """Held at so many Hz by a limit a bit."""
    return Gpu(sm=Sm(limits=[Limit(hz, bit) for bit in bits]))
