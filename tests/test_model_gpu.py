"""The clock, the rules and the visit of a CUDA device, for real, on a GPU in virtual time: what they say
against what is true there."""

from __future__ import annotations

import contextlib
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from math import inf
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.case import Case, Setting
from harness.core.policy import Policy
from harness.core.problem import Problem
from harness.run.arm import by_worker
from harness.worker import visit
from harness.worker.clocks import BLOCKER_MOST_S, BLOCKER_TRIES, EVENT_SAMPLE_S, EVENT_STEP_S, QUEUE_LENGTH
from harness.worker.devices.cuda import Cuda
from harness.worker.sampling import BLOCKS, calls_per_sample
from harness.worker.tenants import lost
from harness.worker.throttle import FIRST_PAUSE_S, LONGEST_PAUSE_S, Heat, pause_s
from tests import strategies
from tests.model_gpu import (
    APPLICATIONS_CLOCKS,
    BLOCK_HZ,
    HARDWARE_SLOWDOWN,
    MIB,
    POWER_CAP,
    QUEUE_DEPTH,
    SOFTWARE_THERMAL,
    Allocator,
    Gpu,
    HostTime,
    Layer,
    Limit,
    Plans,
    Sm,
)

NEAR = 0.01  # a hundredth
SECOND_NS = 10**9
quick = settings(max_examples=60, deadline=None)
few = settings(max_examples=20, deadline=None)
launches = st.integers(500, 60_000)  # ns; a convolution of eager torch takes some 10,000
kernels = st.floats(500, 500_000)
gaps = st.floats(300, 3_000)
moments = st.integers(0, SECOND_NS)  # events are rounded down, so it matters when they come
clocks_hz = st.floats(0.3e9, 2.5e9)


@st.composite
def gpus(draw: st.DrawFn) -> Gpu:
    """Any with a steady clock."""
    hz = draw(clocks_hz)
    sm = Sm(default_hz=hz, boost_hz=hz)
    return Gpu(
        launch_ns=draw(launches),
        gap_ns=draw(gaps),
        record_ns=draw(st.integers(100, 1_000)),
        now_ns=draw(moments),
        sm=sm,
    )


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


def was_covered(gpu: Gpu, calls: int) -> bool:
    """Whether the blocker of the last batch ended after the batch was launched, as the device has it."""
    return gpu.ran[-calls - 1].end_ns > gpu.ran[-1].launched_ns


# What a clock says


@quick
@given(gpus(), kernels)
def test_a_sample_is_the_larger_of_what_the_host_and_what_the_device_needs(
    gpu: Gpu, kernel_ns: float
) -> None:
    call_s = truth_s(gpu, kernel_ns)
    calls = calls_per_sample(call_s, EVENT_SAMPLE_S)
    assert within(gpu.clock().sample(Layer(gpu, (kernel_ns,)), calls), call_s, calls, gpu)


@few
@given(gpus(), kernels)
def test_a_sample_longer_than_the_queue_is_no_other(gpu: Gpu, kernel_ns: float) -> None:
    calls = 2 * QUEUE_DEPTH
    assert within(gpu.clock().sample(Layer(gpu, (kernel_ns,)), calls), truth_s(gpu, kernel_ns), calls, gpu)


@quick
@given(gpus(), kernels)
def test_device_and_dispatch_are_told_apart_whatever_a_launch_takes(gpu: Gpu, kernel_ns: float) -> None:
    call_s = truth_s(gpu, kernel_ns)
    calls = calls_per_sample(call_s, EVENT_SAMPLE_S)
    batch = gpu.clock().blocked(Layer(gpu, (kernel_ns,)), calls, call_s)
    assert batch.covered
    assert within(batch.device_s, busy_s(gpu, kernel_ns), calls, gpu)
    assert batch.dispatch_s == pytest.approx(gpu.launch_ns / 1e9)
    assert gpu.launches == 1 + calls  # the first blocker was long enough


@quick
@given(gpus(), kernels, st.integers(1, QUEUE_LENGTH), st.floats(0.01, 2.0))
def test_a_batch_is_covered_exactly_where_its_blocker_outlasted_the_launches(
    gpu: Gpu, kernel_ns: float, calls: int, known: float
) -> None:
    """Of a call of which too little is known, the first blockers are too short. A batch that was not covered
    never shows less than the truth."""
    batch = gpu.clock().blocked(Layer(gpu, (kernel_ns,)), calls, known * truth_s(gpu, kernel_ns))
    assert batch.covered == was_covered(gpu, calls)
    true_s = busy_s(gpu, kernel_ns)
    assert batch.device_s >= true_s * (1 - NEAR) - gpu.step_ns / 1e9 / calls
    assert within(batch.device_s, true_s, calls, gpu) or not batch.covered


@quick
@given(gpus(), kernels, st.floats(0.2, 1.0))
def test_a_blocker_that_was_too_short_is_tried_again_until_one_is_not(
    gpu: Gpu, kernel_ns: float, known: float
) -> None:
    """The longest of four is sixteen times what the calls were thought to take; a clock faster than a blocker
    reckons with costs it a fifth."""
    calls = calls_per_sample(truth_s(gpu, kernel_ns), EVENT_SAMPLE_S)
    assert gpu.clock().blocked(Layer(gpu, (kernel_ns,)), calls, known * truth_s(gpu, kernel_ns)).covered


STALLING = Gpu()  # and 40 calls of 5 us behind a blocker for twice as long as they take
BLOCKER_NS = 2 * 40 * STALLING.launch_ns * BLOCK_HZ / STALLING.sm.default_hz
SLACK_NS = int(BLOCKER_NS) - STALLING.record_ns - 40 * STALLING.launch_ns


@quick
@given(st.integers(0, 40), st.one_of(st.integers(0, SECOND_NS), st.integers(SLACK_NS - 200, SLACK_NS + 200)))
def test_a_host_that_stalls_once_costs_one_more_try_where_it_stalls_past_the_blocker(
    at: int, stall_ns: int
) -> None:
    """Before launch 0, which is the blocker's own, it costs nothing."""
    gpu = Gpu()
    clock = gpu.clock()
    gpu.stalls[at] = stall_ns
    batch = clock.blocked(Layer(gpu, (2_000,)), 40, gpu.launch_ns / 1e9)
    assert batch.covered
    assert within(batch.device_s, busy_s(gpu, 2_000), 40, gpu)
    assert gpu.launches == (82 if at > 0 and stall_ns > SLACK_NS else 41)


def test_a_host_that_stalls_in_every_batch_has_no_device_time() -> None:
    gpu = Gpu()
    layer = Layer(gpu, (2_000,))

    def stalling() -> None:
        gpu.stalls[gpu.launches] = 100_000_000
        layer()

    batch = gpu.clock().blocked(stalling, 4, 10e-6)
    assert not batch.covered
    assert batch.dispatch_s > 0.1
    assert gpu.launches == BLOCKER_TRIES * 5


@quick
@given(gpus(), kernels, st.integers(1, 50))
def test_a_call_that_waits_for_its_device_is_never_covered_and_said_so(
    gpu: Gpu, kernel_ns: float, calls: int
) -> None:
    batch = gpu.clock().blocked(Layer(gpu, (kernel_ns,), synchronises=True), calls, truth_s(gpu, kernel_ns))
    assert not batch.covered
    assert gpu.launches <= BLOCKER_TRIES * (calls + 1)


def test_a_call_whose_launch_outlasts_the_longest_blocker_has_no_device_time() -> None:
    gpu = Gpu(launch_ns=2 * int(BLOCKER_MOST_S * SECOND_NS))
    assert not gpu.clock().blocked(Layer(gpu, (2_000,)), 1, gpu.launch_ns / 1e9).covered
    assert gpu.launches == 2


@pytest.mark.parametrize(("parts", "covered"), [(1, True), (2, True), (3, False)])
def test_dispatch_is_what_a_launch_takes_until_the_queue_is_full(parts: int, covered: bool) -> None:
    """Where a call has more launches than there is room for, its host waits for the blocker, and that is no
    time of dispatch."""
    gpu = Gpu(launch_ns=5_000)
    batch = gpu.clock().blocked(Layer(gpu, (2_000,) * parts), 2 * QUEUE_LENGTH, parts * 5e-6)
    assert batch.covered == covered
    assert (batch.dispatch_s == pytest.approx(parts * 5e-6)) == covered


@quick
@given(gpus(), kernels, st.integers(2, 20), st.integers(1, 90))
def test_figures_of_a_graph_are_of_one_of_its_calls(
    gpu: Gpu, kernel_ns: float, unrolled: int, wanted: int
) -> None:
    """A sample is of whole replays, as many as hold the calls that are wanted."""
    replay, clock = Layer(gpu, (kernel_ns,) * unrolled, graph=True), gpu.clock(unrolled)
    replays = -(-wanted // unrolled)
    calls, call_s = replays * unrolled, max(gpu.launch_ns / 1e9 / unrolled, busy_s(gpu, kernel_ns))
    recorded_s = 2 * gpu.record_ns / 1e9 / calls  # which counts in a sample as short as some of these
    assert (
        abs(clock.sample(replay, wanted) - call_s) <= NEAR * call_s + recorded_s + gpu.step_ns / 1e9 / calls
    )
    assert gpu.launches == replays + 1
    batch = clock.blocked(replay, wanted, call_s)
    assert batch.covered
    assert gpu.launches == 2 * (replays + 1)  # the first blocker was long enough
    assert within(batch.device_s, busy_s(gpu, kernel_ns), calls, gpu)
    assert batch.dispatch_s == pytest.approx(gpu.launch_ns / 1e9 / unrolled)


@quick
@given(gpus(), kernels, st.floats(5_000, 100_000), st.integers(1, 30))
def test_flushed_calls_are_alone_each_and_on_a_cold_cache(
    gpu: Gpu, kernel_ns: float, cold_ns: float, calls: int
) -> None:
    """Whatever a launch takes, as long as the blocker of 50 us covers it."""
    gpu.launch_ns = min(gpu.launch_ns, 30_000)
    layer = Layer(gpu, (kernel_ns,), cold_ns=cold_ns)
    hot, cold = gpu.clock().sample(layer, calls), gpu.clock(flushed=True).sample(layer, calls)
    assert within(cold, busy_s(gpu, kernel_ns + cold_ns), 1, gpu)
    assert hot < cold or gpu.launch_ns > kernel_ns


def test_of_a_flushed_graph_too_the_figure_is_of_one_call() -> None:
    gpu = Gpu()
    replay = Layer(gpu, (3_000.0,) * 10, graph=True, cold_ns=20_000)
    assert gpu.clock(10, flushed=True).sample(replay, 20) == pytest.approx(6e-6, rel=NEAR)


@quick
@given(st.sampled_from([32, 100, 500, 1_000]), moments, st.data())
def test_the_resolution_is_the_step_of_the_devices_clock(
    step_ns: int, now_ns: int, data: st.DataObject
) -> None:
    """Unless every pair of events is as far apart: nothing is seen then. One pair may be far apart, where the
    host stalls."""
    record_ns = data.draw(
        st.integers(100, 2_000).filter(lambda ns: 0.05 * step_ns <= ns % step_ns <= 0.95 * step_ns)
    )
    gpu = Gpu(step_ns=step_ns, record_ns=record_ns, now_ns=now_ns, jitter=0.2)
    gpu.event_stalls[data.draw(st.integers(0, 399))] = 100_000
    assert gpu.clock().resolution_s == pytest.approx(step_ns / 1e9, rel=NEAR)


def test_the_resolution_is_what_cuda_promises_where_no_step_is_seen() -> None:
    assert Gpu(step_ns=500, record_ns=1_000).clock().resolution_s == EVENT_STEP_S


def test_a_clock_can_be_made_while_its_device_is_busy() -> None:
    gpu = Gpu()
    gpu.launch(5_000_000)
    assert gpu.clock().resolution_s == pytest.approx(EVENT_STEP_S)


def test_what_was_queued_before_a_batch_has_no_part_in_it() -> None:
    gpu = Gpu()
    clock, layer = gpu.clock(), Layer(gpu, (2_000,))
    for _ in range(QUEUE_DEPTH - 20):
        gpu.launch(1_000_000)
    batch = clock.blocked(layer, 40, 5e-6)
    assert batch.covered
    assert batch.dispatch_s == pytest.approx(5e-6)
    assert within(batch.device_s, busy_s(gpu, 2_000), 40, gpu)


@quick
@given(gpus(), st.integers(500, 500_000))
def test_the_sm_clock_is_found_whatever_a_launch_takes(gpu: Gpu, launch_ns: int) -> None:
    gpu.launch_ns = launch_ns
    assert gpu.clock().cycles_per_s() == pytest.approx(gpu.sm.boost_hz, rel=NEAR)


@quick
@given(st.integers(0, 3), st.integers(0, 40_000))
def test_a_host_that_stalls_for_less_than_a_blocker_does_not_move_the_sm_clock(
    at: int, stall_ns: int
) -> None:
    """Before one of two blockers, or of what they cover."""
    gpu = Gpu()
    clock = gpu.clock()
    gpu.stalls[at] = stall_ns
    assert clock.cycles_per_s() == pytest.approx(gpu.sm.boost_hz, rel=NEAR)


def test_the_sm_clock_is_that_under_which_a_block_was_timed_and_not_the_one_after_a_rest() -> None:
    gpu = Gpu(sm=Sm(ramp_ns=5e6))
    clock, layer = gpu.clock(), Layer(gpu, (20_000,))
    assert clock.cycles_per_s() < 0.5 * gpu.sm.boost_hz
    for _ in range(50):
        clock.sample(layer, 10)
    assert clock.cycles_per_s() == pytest.approx(gpu.sm.boost_hz, rel=NEAR)


# What a clock that is low, and heat, mean


def limited(hz: float, *bits: int) -> Gpu:
    """Held at so many Hz by a limit a bit."""
    return Gpu(sm=Sm(limits=[Limit(hz, bit) for bit in bits]))


shares = st.floats(0.2, 1.0)


@quick
@given(shares, st.sampled_from([(APPLICATIONS_CLOCKS,), (POWER_CAP,), (APPLICATIONS_CLOCKS, POWER_CAP)]))
def test_a_clock_that_was_asked_for_or_capped_by_power_alone_spoils_nothing(
    share: float, bits: tuple[int, ...]
) -> None:
    gpu = limited(share * 1.7e9, *bits)
    reading = gpu.monitor().read()
    assert reading.share == pytest.approx(share, rel=NEAR)
    assert not reading.low
    assert not Heat().feed(reading.reasons)


@quick
@given(
    shares.filter(lambda share: abs(share / 0.75 - 1) > 2 * NEAR),
    st.sampled_from([(0,), (SOFTWARE_THERMAL,), (SOFTWARE_THERMAL, POWER_CAP)]),
)
def test_a_clock_below_three_quarters_of_the_default_for_any_other_reason_or_for_none_is_low(
    share: float, bits: tuple[int, ...]
) -> None:
    assert limited(share * 1.7e9, *bits).monitor().read().low == (share < 0.75)


def test_a_boost_above_the_default_is_no_low_clock() -> None:
    reading = Gpu(sm=Sm(default_hz=1.1e9, boost_hz=1.7e9)).monitor().read()
    assert reading.share == pytest.approx(1.7 / 1.1, rel=NEAR)
    assert not reading.low


def heat_of(*bits: int) -> list[bool]:
    """What becomes of readings with these bits, one after the other."""
    gpu = Gpu()
    gpu.nvml.once += bits
    heat, monitor = Heat(), gpu.monitor()
    return [heat.feed(monitor.read().reasons) for _ in bits]


def test_heat_counts_at_once_and_a_slowdown_the_second_time_in_a_row() -> None:
    slowdown, thermal, capped = HARDWARE_SLOWDOWN, SOFTWARE_THERMAL, POWER_CAP
    assert heat_of(0, thermal, 0) == [False, True, False]
    assert heat_of(slowdown, 0, slowdown, capped, slowdown) == [False] * 5
    assert heat_of(slowdown, slowdown | capped, slowdown, 0, slowdown) == [False, True, True, False, False]


def test_pauses_grow_and_end() -> None:
    pauses = [pause_s(spoiled) for spoiled in range(1, 40)]
    assert pauses[0] == FIRST_PAUSE_S
    assert all(before < after or before == after == LONGEST_PAUSE_S for before, after in pairwise(pauses))
    assert pauses[-1] == LONGEST_PAUSE_S


# A visit, with its clock, its blocks, its readings and its verdict


class Quiet:
    """A meter on a host where nothing else runs."""

    def __init__(self, *, every_thread: bool) -> None:
        assert not every_thread

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def columns(self, calls: int) -> dict[str, float]:
        """None of it."""
        return dict.fromkeys(("run_queue_share", "system_share", "steal_share", "minor_faults_per_call"), 0.0)


class Link:
    """Whoever asked: hands over whenever it is this visit's turn."""

    def send(self, message: dict[str, Any]) -> None: ...

    def receive(self) -> dict[str, Any]:
        """A turn."""
        return {"do": "turn"}


QUICK = Policy(warm_up_s=0.01, visit_time_s=0.036, min_samples=24)


@contextlib.contextmanager
def visited(
    gpu: Gpu, layer: Layer, policy: Policy = QUICK, turns: int = 0
) -> Iterator[tuple[visit.Visit, HostTime]]:
    """A visit, and the host's time that it lives in. What torch does in it is the layer."""
    host = HostTime(gpu)
    workload = SimpleNamespace(
        call=layer, unrolled=1, copies=1, capturing_s=None, resident_bytes=0, place=lambda: None
    )
    with pytest.MonkeyPatch.context() as patch:
        for module in ("visit", "sampling", "clocks"):
            patch.setattr(f"harness.worker.{module}.time", host)
        patch.setattr("harness.worker.visit.Workload", lambda *_, **__: workload)
        patch.setattr(
            "harness.worker.environment.apply",
            lambda *_: {"threads_used": 1, "device_index": 0, "device_name": "model"},
        )
        patch.setattr("harness.worker.counters.Meter", Quiet)
        case = Case(Problem("standard", in_channels=8, size=8), Setting(device="cuda"))
        yield visit.Visit(case, policy, 7, Link(), request={"id": 1, "turns": turns}, device=gpu), host  # type: ignore[arg-type]


def verdict(gpu: Gpu, layer: Layer | None = None, policy: Policy = QUICK, turns: int = 0) -> dict[str, Any]:
    """The columns of one."""
    with visited(gpu, layer or Layer(gpu, (50_000,)), policy, turns) as (one, _):
        return one.measure()


@few
@given(launches, st.floats(2_000, 200_000), gaps)
def test_a_visit_tells_latency_device_time_and_dispatch_and_is_trusted(
    launch_ns: int, kernel_ns: float, gap_ns: float
) -> None:
    gpu = Gpu(launch_ns=launch_ns, gap_ns=gap_ns, jitter=0.005)
    values = verdict(gpu, Layer(gpu, (kernel_ns,)))
    assert (values["trust"], values["trust_reasons"]) == ("ok", [])
    assert within(values["latency_s"], truth_s(gpu, kernel_ns), values["calls_per_sample"], gpu, 2 * NEAR)
    assert within(values["device_s"], busy_s(gpu, kernel_ns), values["calls_per_sample"], gpu, 2 * NEAR)
    assert values["dispatch_s"] == pytest.approx(launch_ns / 1e9)
    assert values["sm_clock_hz"] == pytest.approx(gpu.sm.boost_hz, rel=2 * NEAR)
    assert len(values["block_ends"]) == BLOCKS


def test_a_visit_of_a_call_that_waits_for_its_device_has_no_device_time() -> None:
    gpu = Gpu()
    values = verdict(gpu, Layer(gpu, (50_000,), synchronises=True))
    assert values["device_s"] is None
    assert values["latency_s"] > 50e-6


@pytest.mark.parametrize(
    ("hz", "bits", "trust", "reasons"),
    [
        (0.8e9, APPLICATIONS_CLOCKS, "ok", []),
        (0.8e9, POWER_CAP, "ok", []),
        (1.7e9, POWER_CAP, "ok", []),
        (0.8e9, 0, "noisy", ["low_clock"]),
        (1.7e9, HARDWARE_SLOWDOWN, "invalid", ["throttled"]),
        (1.7e9, SOFTWARE_THERMAL, "invalid", ["throttled"]),
        (0.8e9, SOFTWARE_THERMAL, "invalid", ["low_clock", "throttled"]),
    ],
)
@pytest.mark.parametrize("turns", [0, 12])
def test_what_a_limit_that_stays_makes_of_a_visit(
    hz: float, bits: int, trust: str, reasons: list[str], turns: int
) -> None:
    gpu = limited(hz, bits)
    gpu.jitter = 0.005
    values = verdict(gpu, turns=turns)
    assert (values["trust"], values["trust_reasons"]) == (trust, reasons)
    assert len(values["block_ends"]) == BLOCKS
    assert values["latency_s"] == pytest.approx(50e-6 * 1.7e9 / hz + 1e-6, rel=NEAR)


def test_one_reading_of_a_slowdown_costs_no_block_and_two_in_a_row_cost_the_second() -> None:
    gpu, once, plain = Gpu(), Gpu(), Gpu()
    gpu.nvml.once += [0, HARDWARE_SLOWDOWN, HARDWARE_SLOWDOWN]
    once.nvml.once += [0, HARDWARE_SLOWDOWN, 0, HARDWARE_SLOWDOWN]
    blocks = []
    for one in (gpu, once, plain):
        values = verdict(one)
        assert values["trust"] == "ok"
        blocks.append(values["discarded_samples"])
    # it holds two samples at least, and a call after tensors were placed anew
    assert blocks[0] > blocks[1] + 2
    assert blocks[1] == blocks[2]


@few
@given(st.one_of(st.floats(0, 12), st.just(inf)), st.sampled_from([SOFTWARE_THERMAL, 0]))
def test_a_visit_waits_for_heat_or_a_low_clock_to_go_and_ends_however_long_it_lasts(
    lasts_s: float, bits: int
) -> None:
    """Twelve blocks are taken again at most, after pauses of 8.55 s in all."""
    gpu = Gpu(jitter=0.005, sm=Sm(limits=[Limit(0.5e9, bits, until_ns=lasts_s * 1e9)]))
    with visited(gpu, Layer(gpu, (50_000,))) as (one, host):
        values = one.measure()
    assert len(values["block_ends"]) == BLOCKS
    assert len(host.slept_s) <= BLOCKS
    assert min(lasts_s, 8.55) - 1 <= sum(host.slept_s) <= 8.55 + 1e-9
    if lasts_s < 8:
        assert (values["trust"], values["trust_reasons"]) == ("ok", [])
        assert values["latency_s"] == pytest.approx(51e-6, rel=NEAR)
        assert values["sm_clock_hz"] == pytest.approx(1.7e9, rel=NEAR)
    elif lasts_s > 10:
        assert values["trust"] == ("invalid" if bits else "noisy")
        assert values["throttle_reasons"] == ["software_thermal"] * bool(bits)


def test_a_visit_of_a_hot_device_keeps_its_limit() -> None:
    gpu = Gpu(sm=Sm(limits=[Limit(0.5e9, SOFTWARE_THERMAL)]))
    with (
        visited(gpu, Layer(gpu, (50_000,)), replace(QUICK, visit_limit_s=2)) as (one, host),
        pytest.raises(visit.OutOfTime),
    ):
        one.measure()
    assert host.perf_counter() == pytest.approx(2, abs=0.01)


# What a process keeps


sizes = st.integers(1, 40 * MIB)


def peaks(before: list[int], workspace: int, output: int) -> tuple[int, int]:
    """What the harness finds of a call that has a workspace and gives an output, and what the allocator's
    blocks would show, in bytes."""
    memory = Allocator()
    for kept in before:
        memory.allocate(kept)

    def call() -> None:
        scratch = memory.allocate(workspace)
        result = memory.allocate(output)
        memory.free(scratch)
        memory.free(result)

    beside = memory.allocate(MIB)
    call()  # with a higher peak, which is not this call's
    memory.free(beside)
    allocated = memory.allocated
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "synchronize", lambda _: None)
        patch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: memory.reset_peaks())
        patch.setattr(torch.cuda, "memory_reserved", lambda _: memory.reserved)
        patch.setattr(torch.cuda, "memory_stats", lambda _: stats_of(memory))
        found, reserved = Cuda(0).peak_bytes(call)
    assert reserved == memory.reserved
    return found, memory.allocated_peak - allocated


def stats_of(memory: Allocator) -> dict[str, int]:
    """As torch tells them."""
    return {
        "requested_bytes.all.current": memory.requested,
        "requested_bytes.all.peak": memory.requested_peak,
        "allocated_bytes.all.current": memory.allocated,
        "allocated_bytes.all.peak": memory.allocated_peak,
    }


@quick
@given(st.lists(sizes, max_size=3), sizes, sizes)
def test_the_peak_is_what_a_call_asked_for_whatever_blocks_the_allocator_gave_it(
    before: list[int], workspace: int, output: int
) -> None:
    found, blocks = peaks(before, workspace, output)
    assert found == workspace + output
    assert 0 <= blocks - found <= 2 * (MIB + 511)


def test_an_output_of_eleven_and_a_half_mebibytes_has_a_block_of_twelve() -> None:
    assert peaks([], 512, 23 * MIB // 2) == (512 + 23 * MIB // 2, 512 + 12 * MIB)


def cases_of(device: str) -> st.SearchStrategy[list[Case]]:
    """Of two layers, in any setting, on one type of device."""
    layers = st.sampled_from(
        [Problem("standard", in_channels=8, size=8), Problem("depthwise", in_channels=8, size=8)]
    )
    one = st.builds(Case, layers, strategies.settings.map(lambda setting: replace(setting, device=device)))
    autotuned = one.map(
        lambda case: replace(case, setting=replace(case.setting, autotune=not case.setting.autotune))
    )
    return st.lists(st.one_of(one, autotuned), min_size=1, max_size=8).flatmap(
        lambda cases: st.permutations(
            cases + [replace(case, setting=replace(case.setting, autotune=True)) for case in cases]
        )
    )


@quick
@given(cases_of("cuda"))
def test_on_a_gpu_cases_with_and_without_autotune_never_share_a_worker_and_each_has_its_own_plan(
    cases: list[Case],
) -> None:
    groups = by_worker(cases, {})
    for device, _, mine in groups:
        plans = Plans()
        assert device == "cuda:0"
        assert len({(case.setting.autotune, case.setting.mode == "compile") for case in mine}) == 1
        assert all(plans.of(case) == Plans().of(case) for case in mine)
    assert sorted(case.case_id for _, _, mine in groups for case in mine) == sorted(
        case.case_id for case in cases
    )
    assert len({apart for _, apart, _ in groups}) == len(groups) <= 4


@quick
@given(cases_of("cpu"))
def test_on_a_processor_all_cases_share_a_worker_whose_children_measure(cases: list[Case]) -> None:
    assert by_worker(cases, {}) == [("cpu", "", cases)]


def test_were_they_to_share_one_the_first_would_choose_the_plan_of_the_other() -> None:
    plain = Case(Problem("standard", in_channels=8, size=8), Setting(device="cuda"))
    tuned = replace(plain, setting=replace(plain.setting, autotune=True))
    for first, second in ((plain, tuned), (tuned, plain)):
        plans = Plans()
        assert plans.of(first) == Plans().of(first)
        assert plans.of(second) != Plans().of(second)


# What a real one said: batches of benchmarks/gpu.py, part probe


def recorded(kind: str, in_channels: int) -> dict[int, float]:
    """Of a layer on an H200: seconds a call on the device, the median of five batches, by the calls of a
    batch."""
    (case,) = [
        case
        for case in json.loads(
            (Path(__file__).parent / "data" / "h200_batches.json").read_text(encoding="utf-8")
        )["cases"]
        if f"kind={kind};" in case["descriptor"] and f"in_channels={in_channels};" in case["descriptor"]
    ]
    found = defaultdict(list)
    for calls, device_s, _dispatch_s, covered in case["batches"]:
        assert covered
        found[calls].append(device_s)
    return {calls: median(times) for calls, times in found.items()}


@pytest.mark.parametrize(
    ("kind", "in_channels"), [("depthwise", 32), ("depthwise", 64), ("depthwise", 256), ("pointwise", 128)]
)
def test_a_batch_of_sixteen_tells_what_one_of_64_does_as_it_would_of_a_model_with_the_same_gap(
    kind: str, in_channels: int
) -> None:
    real = recorded(kind, in_channels)
    gpu = Gpu(launch_ns=20_000, gap_ns=950, step_ns=32)
    layer = Layer(gpu, (round(real[64] * 1e9) - 950,))
    modelled = gpu.clock().blocked(layer, 16, real[64]).device_s
    assert real[16] == pytest.approx(real[64], rel=0.025)
    assert modelled == pytest.approx(real[16], rel=0.03)


def test_what_long_batches_take_beyond_short_ones_is_lost_to_another() -> None:
    alone = lost([([1e-4, 1.01e-4] * 5, [1e-4] * 5), ([2e-4] * 10, [2.04e-4] * 5)])
    assert alone == {"batches": 10, "slowed_share": 0.0, "lost_share": pytest.approx(0.01, abs=1e-3)}
    beside = lost([([1e-4] * 10, [2e-4] * 5), ([2e-4] * 10, [4e-4] * 5)])
    assert beside == {"batches": 10, "slowed_share": 1.0, "lost_share": pytest.approx(1.0)}
