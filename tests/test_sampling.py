"""The rules of warming up, of blocks and of stopping, fed with literal sequences; and blocks under a fake
clock."""

from __future__ import annotations

import time

import pytest

from harness.core.policy import Policy
from harness.testing import FakeClock
from harness.worker.sampling import (
    BLOCKS,
    Plan,
    Steadiness,
    calls_per_sample,
    settle,
    stop_reason,
    take_block,
    warm_up,
)


def feed(steadiness: Steadiness, samples: list[float], took_s: float) -> int:
    """How many samples it takes to be warm; -1 where it never is."""
    return next((i for i, sample in enumerate(samples, 1) if steadiness.feed(sample, took_s)), -1)


def test_a_steady_case_is_warm_when_the_floor_is_reached() -> None:
    assert feed(Steadiness(0.1), [1e-3] * 200, 0.001) == 100


def test_a_case_that_still_falls_is_warmed_on() -> None:
    falling = [1e-3 * 0.99**i for i in range(150)] + [1e-3 * 0.99**150] * 200
    warm = feed(Steadiness(0.1), falling, 0.001)
    assert 150 < warm < 220


def test_a_case_that_never_settles_is_measured_after_five_floors() -> None:
    jumping = [1e-3 if (i // 25) % 2 else 2e-3 for i in range(2000)]
    assert feed(Steadiness(0.1), jumping, 0.001) == 500


def test_a_call_longer_than_the_floor_is_warm_once_two_agree() -> None:
    assert feed(Steadiness(0.1), [0.2, 0.2], 0.2) == 2


def test_a_call_longer_than_five_floors_is_warm_after_one() -> None:
    assert feed(Steadiness(0.1), [2.0, 2.0], 2.0) == 1


def test_samples_hold_enough_calls_to_be_far_above_the_clock() -> None:
    assert calls_per_sample(30e-6, 100e-6) == 4
    assert calls_per_sample(100e-6, 100e-6) == 1
    assert calls_per_sample(1.0, 100e-6) == 1
    assert calls_per_sample(30e-6, 1e-3, unrolled=20) == 40


def test_a_visit_has_twelve_blocks_that_share_its_time_and_its_least_samples() -> None:
    plan = Plan.of_visit(Policy(visit_time_s=0.24, min_samples=25), 1, 1e-3, paired=False)
    assert (plan.blocks, plan.block_s, plan.block_samples, plan.calls) == (12, 0.02, 3, 1)


def test_turns_share_the_time_of_a_visit_after_calls_that_do_not_count() -> None:
    policy = Policy(visit_time_s=0.4)
    plan = Plan.of_visit(policy, 10, 1e-3, policy.turns, paired=True)
    assert (plan.blocks, plan.block_s, plan.block_samples, plan.calls) == (24, 0.4 / 24, 1, 10)
    assert plan.settle_s > 0


@pytest.mark.parametrize(
    ("call_s", "blocks", "samples"), [(0.1, 24, 1), (0.15, 16, 1), (0.3, 8, 1), (1.6, 4, 1), (99.0, 4, 1)]
)
def test_slow_calls_are_measured_in_fewer_turns_as_often_in_each_place(
    call_s: float, blocks: int, samples: int
) -> None:
    plan = Plan.of_visit(Policy(), 1, call_s, 24, paired=False)
    assert (plan.blocks, plan.block_samples) == (blocks, samples)


def test_pairs_and_who_asks_for_more_samples_get_them_all_the_same() -> None:
    assert Plan.of_visit(Policy(), 1, 1.6, 24, paired=True).blocks == 24
    assert Plan.of_visit(Policy(min_samples=48), 1, 1.6, 24, paired=False).block_samples == 2


def test_a_block_of_slow_calls_still_has_its_least_samples() -> None:
    clock = FakeClock([0.5])
    block = take_block(lambda: None, clock, Plan(BLOCKS, 0.0, 4, 3))
    assert block == [0.5] * 4
    assert clock.taken == [3] * 4


def test_a_block_ends_before_a_sample_that_would_pass_the_limit() -> None:
    clock = FakeClock([10.0])
    block = take_block(lambda: None, clock, Plan(BLOCKS, 0.0, 4, 1), deadline_s=time.perf_counter() + 5)
    assert block == [10.0]


def test_the_first_call_after_a_new_place_is_counted_as_discarded() -> None:
    clock = FakeClock([1.0])
    assert settle(lambda: None, clock, Plan(BLOCKS, 0.0, 1, 7)) == 1
    assert clock.taken == [1]


def test_warming_up_chooses_calls_from_the_samples_and_tells_the_last_estimate() -> None:
    clock = FakeClock([50e-6, 25e-6])
    assert warm_up(lambda: None, clock, 0.001) == pytest.approx(25e-6)
    assert clock.taken[:3] == [1, 2, 4]


@pytest.mark.parametrize(
    ("counts", "turns", "reason"),
    [
        ([2] * 10, False, "samples"),
        ([2] * 9 + [3], False, "time"),
        ([2] * 4, False, "limit"),
        ([2] * 9 + [1], False, "limit"),
        ([9] * 10, True, "turns"),
    ],
)
def test_why_sampling_ended(counts: list[int], turns: bool, reason: str) -> None:
    assert stop_reason(Plan(10, 0.02, 2, 1), counts, turns=turns) == reason
