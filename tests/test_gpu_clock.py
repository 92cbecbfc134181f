"""The clock of a CUDA device, for real, on a GPU in virtual time: what it says against what is true there."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.worker.clocks import BLOCKER_MOST_S, BLOCKER_TRIES, EVENT_SAMPLE_S, EVENT_STEP_S, QUEUE_LENGTH
from harness.worker.sampling import calls_per_sample
from harness.worker.tenants import lost
from tests.gpu_strategies import few, gpus, kernels, moments, quick
from tests.model_gpu import (
    BLOCK_HZ,
    NEAR,
    QUEUE_DEPTH,
    SECOND_NS,
    Gpu,
    Layer,
    Sm,
    busy_s,
    truth_s,
    within,
)


def was_covered(gpu: Gpu, calls: int) -> bool:
    """Whether the blocker of the last batch ended after the batch was launched, as the device has it."""
    return gpu.ran[-calls - 1].end_ns > gpu.ran[-1].launched_ns


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
