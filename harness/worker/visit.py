"""A visit: one case measured once in one process. Read from top to bottom, it is the method.

In: a case, a policy, a link to whoever asked. Out: the visit's columns. With turns, other
processes measure while this one waits at the link, a block each: of the other arm where it is `paired`, else
of other cases.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from harness.core import stats
from harness.core.policy import BLOCKS
from harness.worker import (
    affinity,
    allocator,
    correctness,
    counters,
    energy,
    environment,
    sampling,
    throttle,
    trust,
)
from harness.worker.clocks import EventClock, FaultClock, waited_s
from harness.worker.workload import Workload, guard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.core.case import Case
    from harness.core.policy import Policy
    from harness.core.protocol import Channel, Message
    from harness.worker.clocks import HostClock
    from harness.worker.devices import Device

PROGRESS_S = 0.5
FIRST_CALLS_S = 0.005  # so long at the least, on a CPU
MORE_BLOCKS = 2  # of as many samples as a block has at least, added to one that other work disturbed
FEWEST_FOR_A_FIGURE = 3  # with fewer there is no figure, and the visit has run out of time


class OutOfTime(Exception):
    """The visit's limit came before three samples."""


class Dropped(Exception):
    """The partner of a pair is gone; the message says why."""


_BORN: dict[int, int] = {}


def _process() -> str:
    """A name for this process, the same for every visit that it makes; pids alone are used again."""
    return f"{os.getpid()}-{_BORN.setdefault(os.getpid(), time.time_ns()):x}"


class Visit:
    """The steps of one visit, in the order in which `measure` calls them."""

    def __init__(
        self, case: Case, policy: Policy, seed: int, link: Channel, *, request: Message, device: Device
    ) -> None:
        self.case, self.policy, self.seed, self.link, self.device = case, policy, seed, link, device
        self.identity, self.turns = request["id"], request.get("turns", 0)
        self.paired = bool(self.turns) and request.get("paired", True)
        self.deadline_s = time.perf_counter() + policy.visit_limit_s
        self.values: dict[str, Any] = {"process": _process()}
        self.samples: list[float] = []
        self.faults: list[int] = []  # of each sample, where the clock tells
        self.counts: list[int] = []
        self.readings: list[throttle.GpuReading] = []  # of the counted blocks
        self.heat = throttle.Heat()
        self.hot = False  # in a counted block
        self.discarded = 0
        self.spoiled = 0
        self.metered = 0  # samples, those of spoiled blocks too

    def measure(self) -> dict[str, Any]:
        """All of it. Raises OutOfTime, Dropped, NotSupported, or whatever the case itself raises."""
        self._set_up()
        with guard(self.case.setting.computation):
            self._draw()
            self._first_calls()
            on_cpu = self.device.kind == "cpu"
            with affinity.a_processor_each(self.values["threads_used"] if on_cpu else 0) as bound:
                self.values["threads_bound"] = bound
                self._warm_up()
                if self.turns:
                    self._take_turns()
                else:
                    self._take_blocks()
            self._device_figures()
            self._consume()
        self._check()
        self._describe()
        return self.values

    def _set_up(self) -> None:
        """Every setting, explicitly, before the first tensor; read back."""
        setting = self.case.setting
        if setting.allocator == "retained" and setting.device == "cpu" and not allocator.keep_freed_memory():
            raise environment.NotSupported("this system's allocator cannot be told to keep freed memory")
        if setting.allocator == "default" and setting.device == "cpu" and allocator.Kept.told:
            raise environment.NotSupported(
                "this process was told to keep freed memory, and where there is no fork it measures all cases"
            )
        self.values |= environment.apply(setting, self.device)
        self.monitor = self.device.monitor()

    def _draw(self) -> None:
        """Inputs and weights, once a visit; and the clock for calls of them."""
        setting = self.case.setting
        self.workload = Workload(self.case, self.seed, places=self.seed ^ time.time_ns(), device=self.device)
        self.values["resident_bytes"] = self.workload.resident_bytes
        faults = setting.allocator == "default" and setting.device == "cpu"
        flushed = setting.cache == "flushed"
        self.clock: HostClock | EventClock = (
            FaultClock(counters.minor_faults)
            if faults
            else self.device.clock(self.workload.unrolled, flushed=flushed)
        )

    def _first_calls(self) -> None:
        """The first call, apart: threads are started, code is compiled and algorithms are tried in it. Then
        calls until 5 ms have passed in all, so that the threads that compute have run longest."""
        began = time.perf_counter()
        self.values["first_call_s"] = waited_s(self.workload.call, self.device)
        prepares = self.case.setting.mode == "compile" or self.case.setting.autotune
        self.values["compile_s"] = self.values["first_call_s"] if prepares else self.workload.capturing_s
        for _ in range(self.workload.unrolled, self.workload.copies):
            self.workload.call()
        while self.device.kind == "cpu" and time.perf_counter() - began < FIRST_CALLS_S:
            self.workload.call()
        self.values["warm_up_s"] = time.perf_counter() - began

    def _warm_up(self) -> None:
        """Until steady; then what follows from how long a call takes."""
        began = time.perf_counter()
        call_s = sampling.warm_up(self.workload.call, self.clock, self.policy.warm_up_s, self.deadline_s)
        self.values["warm_up_s"] += time.perf_counter() - began
        self.meter = counters.Meter(every_thread=self.device.kind == "cpu")
        calls = sampling.calls_per_sample(call_s, self.clock.least_sample_s, self.workload.unrolled)
        self.plan = sampling.Plan.of_visit(self.policy, calls, call_s, self.turns, paired=self.paired)
        self._tell("sampling", call_s)

    def _take_block(self) -> None:
        """Tensors placed anew, calls that are not counted, then one counted block. While it has few samples,
        and threads waited for a processor meanwhile, as many are added: that looks at no sample."""
        self.workload.place()
        self.discarded += sampling.settle(self.workload.call, self.clock, self.plan)
        with self.meter:
            block = self._samples()
            while self._wants_more(block) and self.meter.waits():
                block += self._samples()
        self.metered += len(block)
        if self.monitor:
            reading = self.monitor.read()
            hot = self.heat.feed(reading.reasons)
            if (hot or reading.low) and not self.turns and self.spoiled < self.plan.blocks:
                # another takes its place; in turns block i belongs to block i, so there it stays
                self.spoiled += 1
                self.discarded += len(block)
                time.sleep(min(throttle.pause_s(self.spoiled), max(self.deadline_s - time.perf_counter(), 0)))
                return
            self.readings.append(reading)
            self.hot = self.hot or hot
        self.samples += block
        self.faults += self.clock.faults[-len(block) :] if isinstance(self.clock, FaultClock) else []
        self.counts.append(len(block))

    def _wants_more(self, block: Sequence[float]) -> bool:
        """Not of slow calls, which other work does not interrupt but slows, nor on an accelerator."""
        short = self.device.kind == "cpu" and self.plan.settle_s is not None and not self._late()
        return short and len(block) <= MORE_BLOCKS * self.plan.block_samples

    def _samples(self) -> list[float]:
        return sampling.take_block(self.workload.call, self.clock, self.plan, deadline_s=self.deadline_s)

    def _take_blocks(self) -> None:
        """Blocks until the plan is done or the limit comes."""
        told = time.perf_counter()
        while len(self.counts) < self.plan.blocks and not self._late():
            self._take_block()
            if self.samples and time.perf_counter() - told > PROGRESS_S:
                told = time.perf_counter()
                self._tell("sampling", self.samples[-1])
        self._require_samples()

    def _require_samples(self) -> None:
        if len(self.samples) < FEWEST_FOR_A_FIGURE:
            raise OutOfTime(
                f"{len(self.samples)} samples within visit_limit_s = {self.policy.visit_limit_s:g}"
            )

    def _take_turns(self) -> None:
        """A block whenever the runner hands over. Waiting is not this visit's time."""
        waited = time.perf_counter()  # before it says so: it is stopped as soon as that is read
        self.link.send({"is": "ready", "id": self.identity})
        for left in reversed(range(self.plan.blocks)):
            message = self.link.receive()
            if message["do"] != "turn":
                raise Dropped(message.get("why", "partner gone"))
            self.deadline_s += time.perf_counter() - waited
            self._take_block()
            if self._late() and not self.paired:
                break
            if left:
                waited = time.perf_counter()
                self.link.send({"is": "turned", "id": self.identity, "left": left})
        self._require_samples()

    def _device_figures(self) -> None:
        """On an accelerator: device time and host time of a call, apart; no device time where its host did
        not keep up."""
        if isinstance(self.clock, EventClock):
            batches = [
                self.clock.blocked(self.workload.call, self.plan.calls, self.samples[-1])
                for _ in range(BLOCKS)
            ]
            covered = [batch.device_s for batch in batches if batch.covered]
            self.values["device_s"] = stats.quantile(covered, 0.5) if covered else None
            self.values["dispatch_s"] = stats.quantile([batch.dispatch_s for batch in batches], 0.5)

    def _consume(self) -> None:
        """Joules a call, where they are asked for and the device counts them."""
        if self.policy.energy_time_s and self.monitor and not self.turns:
            window_s = self.policy.energy_time_s
            self.values["energy_j"] = energy.of_a_call(
                self.workload.call, self.device, self.monitor.energy_j, window_s, self.workload.unrolled
            )

    def _check(self) -> None:
        """An implementation that is not torch's own again, now that it has been timed: it may have remembered
        an answer since the survey."""
        if self.case.setting.implementation == "torch":
            return
        checked = correctness.check(self.workload, self.seed + 2)
        error, bound = checked["error"], checked["error_bound"]
        if error is not None and bound is not None and error > bound:
            raise correctness.Incorrect(
                f"after it was timed: error {error:.2g} of the sum of magnitudes, "
                f"rounding explains {bound:.2g}"
            )

    def _describe(self) -> None:
        """The columns that follow from what was seen."""
        calls = self.plan.calls
        ends = [sum(self.counts[: i + 1]) for i in range(len(self.counts))]
        resolution_s = self.clock.resolution_s / calls
        reason = sampling.stop_reason(self.plan, self.counts, turns=bool(self.turns))
        self.values |= {
            "samples_s": self.samples,
            "calls_per_sample": calls,
            "block_ends": ends,
            "clock": self.clock.name,
            "clock_resolution_s": self.clock.resolution_s,
            "stop_reason": reason,
            "turns": len(self.counts) if self.turns else 0,
            "discarded_samples": self.discarded,
        }
        self.values |= stats.describe(self.samples, ends, resolution_s, self.faults) | self.meter.columns(
            calls * self.metered
        )
        if self.readings:
            self.values["sm_clock_hz"] = stats.quantile(
                [reading.sm_clock_hz for reading in self.readings], 0.5
            )
            self.values["throttle_reasons"] = sorted(
                frozenset().union(*(reading.reasons for reading in self.readings))
            )
        verdict, reasons = trust.judge(
            self.values,
            stats.at_mean_faults(self.samples, self.faults),
            allocator=self.case.setting.allocator,
            enough=reason != "limit",
            low_clock=any(reading.low for reading in self.readings),
            hot=self.hot,
            resolution_s=resolution_s,
        )
        if self.device.kind != "cpu" and self.monitor is None and verdict == "ok":
            verdict = "unknown"  # its clock and its heat are
        self.values |= {"trust": verdict, "trust_reasons": reasons}

    def _late(self) -> bool:
        return time.perf_counter() >= self.deadline_s

    def _tell(self, stage: str, latency_s: float) -> None:
        """Progress, but never in turns: while one arm measures, nobody may do anything else."""
        if not self.turns:
            self.link.send(
                {
                    "is": "progress",
                    "id": self.identity,
                    "stage": stage,
                    "samples": len(self.samples),
                    "latency_s": latency_s,
                }
            )
