"""A value with its interval, and quotients of two."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.interval import Interval

MEANS = st.floats(-10, 10)
HALVES = st.floats(0.001, 2)


@given(MEANS, HALVES, MEANS, HALVES)
def test_a_quotient_undone_is_the_value_and_no_narrower(
    mean: float, half: float, other_mean: float, other_half: float
) -> None:
    one, other = Interval.around(mean, half), Interval.around(other_mean, other_half)
    again = one.over(other).over(Interval.around(-other_mean, 1e-12))
    assert again.value == pytest.approx(one.value)
    assert log(again.high / again.low) >= log(one.high / one.low) - 1e-9


def test_the_interval_of_a_quotient_holds_that_of_independent_draws() -> None:
    random = np.random.default_rng(0)
    draws = random.normal(1, 0.1, 100_000) - random.normal(2, 0.2, 100_000)
    quotient = Interval.around(1, 1.96 * 0.1).over(Interval.around(2, 1.96 * 0.2))
    assert quotient.value == pytest.approx(exp(-1))
    assert np.mean((log(quotient.low) < draws) & (draws < log(quotient.high))) == pytest.approx(
        0.95, abs=0.005
    )


@pytest.mark.parametrize("ends", [(1.0, 2.0, 3.0), (1.0, 0.0, 2.0), (3.0, 1.0, 2.0)])
def test_what_is_no_interval_is_refused(ends: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="not an interval"):
        Interval(*ends)
