"""A visit on a CUDA device, for real, on a GPU in virtual time: its blocks, its readings of clocks and heat,
and its verdict."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from math import inf
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.case import Case, Setting
from harness.core.policy import Policy
from harness.core.problem import Problem
from harness.worker import visit
from harness.worker.sampling import BLOCKS
from harness.worker.throttle import FIRST_PAUSE_S, LONGEST_PAUSE_S, Heat, pause_s
from tests.gpu_strategies import few, gaps, launches, quick
from tests.model_gpu import (
    APPLICATIONS_CLOCKS,
    HARDWARE_SLOWDOWN,
    NEAR,
    POWER_CAP,
    SOFTWARE_THERMAL,
    Gpu,
    HostTime,
    Layer,
    Limit,
    Sm,
    busy_s,
    limited,
    truth_s,
    within,
)

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
