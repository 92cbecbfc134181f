"""Intervals: against scipy, against the definition, and against simulated truths."""

from __future__ import annotations

import math
import random
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from harness.analysis import case_estimate
from harness.core import stats
from harness.core.interval import Interval

durations = st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=60)


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 5, 9, 30, 199])
@pytest.mark.parametrize("probability", [0.6, 0.9, 0.95, 0.975, 0.995])
def test_quantiles_of_t_are_those_of_scipy(degrees: int, probability: float) -> None:
    assert stats.student_t(probability, degrees) == pytest.approx(
        scipy_stats.t.ppf(probability, degrees), rel=1e-9
    )


def test_a_quantile_lies_between_order_statistics() -> None:
    assert stats.quantile([4, 1, 3, 2], 0.5) == 2.5
    assert stats.quantile([10, 0], 0.1) == 1
    assert stats.quantile([7], 0.9) == 7


def test_lag1_of_a_sequence_that_alternates_is_near_minus_one() -> None:
    assert stats.lag1([1.0, 2.0] * 50) == pytest.approx(-0.99)
    assert stats.lag1([1.0, 1.0, 1.0]) == 0
    assert stats.lag1([1.0, 2.0]) is None


def test_drift_is_the_move_between_the_halves() -> None:
    assert stats.drift([1.0, 1.0, 1.1, 1.1]) == pytest.approx(0.1)
    assert stats.drift([1.0, 2.0, 3.0]) is None


@given(durations, st.floats(1e-9, 1e-6))
def test_an_interval_within_a_visit_holds_its_figure_and_is_never_narrower_than_the_clock(
    samples: list[float], resolution_s: float
) -> None:
    ends = [*range(3, len(samples), 3), len(samples)]
    found = stats.interval_within(samples, ends, resolution_s)
    assert found.low <= found.value <= found.high
    assert found.high - found.low >= min(resolution_s, found.value) * (1 - 1e-6)


def test_a_visits_figure_is_the_mean_over_the_ways_in_which_its_buffers_lie() -> None:
    """Eight blocks of three samples: blocks k and k + 4 lie alike, and of their six samples the lowest is the
    low quantile."""
    levels = [1.0, 2.0, 4.0, 8.0, 3.0, 2.5, 16.0, 9.0]
    samples = [level * step for level in levels for step in (1.0, 1.5, 2.0)]
    found = stats.describe(samples, list(range(3, 25, 3)), 1e-9)
    assert found["place_figures_s"] == pytest.approx([1.0, 2.0, 4.0, 8.0], rel=0.05)
    assert found["latency_s"] == pytest.approx(math.exp(np.mean(np.log(found["place_figures_s"]))))
    assert min(samples) <= found["latency_s"] <= max(samples)


@pytest.mark.parametrize("count", [6, 12, 60, 600])
def test_a_low_quantile_is_as_often_too_high_as_too_low_for_any_number_of_samples(count: int) -> None:
    draw, true = random.Random(count), -1.2816  # the normal distribution's 10th percentile
    above = sum(stats.low_quantile([draw.gauss(0, 1) for _ in range(count)]) > true for _ in range(600))
    assert 240 <= above <= 360


def by_turns(costs: dict[int, float], blocks: int = 12) -> tuple[list[float], list[int], list[int]]:
    """Samples, their faults and the ends of blocks: every block holds each number of faults twice, and one
    sample that was disturbed."""
    faults = [*costs, *costs, min(costs)]
    samples = [*costs.values(), *costs.values(), 9.0]
    return samples * blocks, faults * blocks, [len(faults) * (block + 1) for block in range(blocks)]


def figure(samples: list[float], ends: list[int], faults: list[int]) -> object:
    return stats.describe(samples, ends, 1e-9, faults)["latency_s"]


def test_the_figure_is_that_of_a_call_with_the_mean_number_of_faults() -> None:
    """As glibc's defaults have it: by turns calls fault and do not. A low quantile of all samples is of those
    that do not."""
    samples, faults, ends = by_turns({0: 1.0, 760: 2.0})
    found = stats.describe(samples, ends, 1e-9, faults)
    assert found["latency_s"] == pytest.approx(1 + np.mean(faults) / 760, rel=1e-3)
    assert found["block_figures_s"] == pytest.approx([found["latency_s"]] * 12)
    assert found["latency_p10_s"] == stats.describe(samples, ends, 1e-9)["latency_s"] == 1.0


def test_it_is_so_however_the_calls_that_fault_are_spread_over_blocks() -> None:
    mixed, of_blocks = [1.0, 2.0] * 60, [*[1.0] * 60, *[2.0] * 60]
    ends = list(range(10, 121, 10))
    for samples in (mixed, of_blocks):
        faults = [0 if sample == 1.0 else 760 for sample in samples]
        assert figure(samples, ends, faults) == pytest.approx(1.5)


def test_three_numbers_of_faults_lie_on_one_line() -> None:
    samples, faults, ends = by_turns({0: 1.0, 376: 1.5, 752: 2.0})
    assert figure(samples, ends, faults) == pytest.approx(1 + np.mean(faults) / 752, rel=1e-3)


@given(durations, st.integers(0, 7))
def test_a_few_faults_change_nothing(samples: list[float], most: int) -> None:
    assert stats.at_mean_faults(samples, [number % (most + 1) for number in range(len(samples))]) == samples


@given(
    durations.flatmap(
        lambda samples: st.tuples(
            st.just(samples), st.lists(st.integers(0, 2000), min_size=len(samples), max_size=len(samples))
        )
    )
)
def test_no_sample_becomes_faster_than_the_fastest(both: tuple[list[float], list[int]]) -> None:
    samples, faults = both
    steady = stats.at_mean_faults(samples, faults)
    assert len(steady) == len(samples)
    assert min(steady) >= min(samples)


def test_an_interval_between_visits_reaches_as_far_as_the_three_lowest_are_apart_and_runs_differ() -> None:
    found = case_estimate.between([[1.0] * 4, [1.1] * 4, [1.21] * 4, [9.0] * 4], 0.01)
    assert found.value == pytest.approx(1.0)
    assert math.log(found.high) == pytest.approx(
        math.hypot(case_estimate.LOWEST_TIMES * math.log(1.21), 1.96 * 0.01)
    )
    assert found.high / found.value == pytest.approx(found.value / found.low)
    assert case_estimate.between([[1.0] * 4] * 3, 0.01).half_width == pytest.approx(0.0196, rel=1e-2)


def test_blocks_cover_the_truth_where_correlated_samples_would_not() -> None:
    """AR(1) samples at 0.5, 10 blocks of 50: at least 90 % of the intervals hold what a thousand blocks come
    to."""
    draw = random.Random(5)

    def visit(blocks: int) -> Interval:
        noise = accumulate(
            (draw.gauss(0, 1) for _ in range(50 * blocks)), lambda before, step: 0.5 * before + step
        )
        return stats.interval_within([100 + x for x in noise], list(range(50, 50 * blocks + 1, 50)), 1e-9)

    truth = visit(1000).value
    found = [visit(10) for _ in range(300)]
    assert sum(one.low <= truth <= one.high for one in found) >= 270
