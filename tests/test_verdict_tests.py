"""Verdicts from effects: literal pairs, simulated ones. What the gate promises in numbers stands in
test_gates."""

from __future__ import annotations

from math import log, log1p

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

from harness.analysis import verdict_tests
from harness.analysis.pair_effects import paired_effects
from harness.core.gate import Gate

TOLERANCE = 0.02
GATE = Gate()


def ratios(case: str, values: list[float], stage: str = "screen") -> pd.DataFrame:
    return pd.DataFrame({"match_id": case, "stage": stage, "pair": range(len(values)), "ratio": values})


def decide(*frames: pd.DataFrame, tolerance: float = TOLERANCE) -> pd.DataFrame:
    pairs = pd.concat(frames)
    screening, confirming = (pairs[pairs["stage"] == stage] for stage in ("screen", "confirm"))
    alone = screening[~screening["match_id"].isin(confirming["match_id"])]
    return verdict_tests.decide(
        alone, confirming, pd.Series(log1p(tolerance), index=pairs["match_id"].unique())
    )


def around(centre: float, spread: float, count: int) -> list[float]:
    """So many values with just this mean and standard deviation."""
    steps = np.linspace(-1, 1, count)
    return list(centre + spread * steps / steps.std(ddof=1))


def test_screening_clears_what_lies_within_the_tolerance_and_accuses_nobody_that_may_be_chance() -> None:
    found = decide(ratios("quiet", around(0, 0.005, 5)), ratios("slow", around(log(1.1), 0.005, 5)))
    assert found["verdict"].to_dict() == {"quiet": "same", "slow": "inconclusive"}


def test_what_is_beyond_doubt_is_named_without_confirming() -> None:
    found = decide(
        ratios("far", around(log(3.0), 0.05, 5)),
        ratios("fast", around(-log(3.0), 0.05, 5)),
        ratios("unsteady", around(log(1.3), 0.1, 5)),
    )
    assert found["verdict"].to_dict() == {"far": "regressed", "fast": "improved", "unsteady": "inconclusive"}
    assert (found["stage"] == "screen").all()


def test_confirming_pairs_alone_judge_a_case_that_has_them() -> None:
    slow, quiet = around(log(1.1), 0.005, 5), around(0, 0.005, 8)
    found = decide(
        ratios("a", slow),
        ratios("a", quiet, "confirm"),
        ratios("b", slow),
        ratios("b", around(log(1.05), 0.01, 8), "confirm"),
    )
    assert found["verdict"].to_dict() == {"a": "same", "b": "regressed"}
    assert (found["stage"] == "confirm").all()


def test_a_case_that_got_faster_is_named_too() -> None:
    assert decide(ratios("a", around(-0.08, 0.005, 6), "confirm"))["verdict"].tolist() == ["improved"]


def test_a_difference_near_the_tolerance_is_neither_named_nor_cleared() -> None:
    assert decide(ratios("a", around(log1p(TOLERANCE), 0.01, 6), "confirm"))["verdict"].tolist() == [
        "inconclusive"
    ]


def test_the_one_test_is_a_shifted_t_test() -> None:
    """Against scipy's own."""
    from scipy.stats import ttest_1samp

    values = around(log(1.04), 0.012, 7)
    row = decide(ratios("a", values, "confirm")).iloc[0]
    assert row["p_slower"] == pytest.approx(
        ttest_1samp(values, log1p(TOLERANCE), alternative="greater").pvalue
    )
    low, high = student.interval(0.9, 6, np.mean(values), np.std(values, ddof=1) / np.sqrt(7))
    assert (row["low"], row["high"]) == pytest.approx((low, high))


def planned(centre: float, spread: float) -> tuple[int, bool]:
    effects = paired_effects(ratios("a", around(centre, spread, 5)))
    row = verdict_tests.planned(effects, pd.Series({"a": log1p(TOLERANCE)}), GATE).iloc[0]
    return int(row["pairs"]), bool(row["short"])


def test_pairs_are_planned_from_the_spread_between_the_gates_bounds() -> None:
    assert planned(0, 0.001) == (8, False)
    wanted = (0.02 * 2 * student.ppf(0.95, 4) / log(1.05 / 1.02)) ** 2
    assert planned(0, 0.02) == (int(np.ceil(wanted)), False)
    assert planned(0, 0.2) == (20, True)


def test_what_is_plainly_apart_needs_no_more_than_the_fewest() -> None:
    assert planned(log(3), 0.2) == (8, False)
    assert planned(-log(3), 0.2) == (8, False)


def test_the_smallest_effect_is_found_four_times_in_five() -> None:
    """Simulated: 20,000 single cases with a slowdown of just that size."""
    spread, pairs = 0.01, 8
    limit = pd.Series([log1p(TOLERANCE)])
    smallest = float(
        verdict_tests.smallest_effects(
            pd.Series([spread / np.sqrt(pairs)]), pd.Series([pairs - 1]), limit, 1
        )[0]
    )
    draws = np.random.default_rng(0).normal(log1p(smallest), spread, (20_000, pairs))
    statistic = (draws.mean(1) - limit[0]) / (draws.std(1, ddof=1) / np.sqrt(pairs))
    assert (student.sf(statistic, pairs - 1) <= 0.05).mean() == pytest.approx(0.8, abs=0.02)


def test_a_common_factor_is_one_finding() -> None:
    moved = verdict_tests.common_factor([log(1.08) + 0.003 * i for i in range(-5, 6)], log1p(TOLERANCE))
    assert moved is not None
    assert moved.ratio.value == pytest.approx(1.08)
    assert moved.ratio.low < 1.08 < moved.ratio.high
    assert verdict_tests.common_factor([0.001 * i for i in range(-5, 6)], log1p(TOLERANCE)) is None
    assert verdict_tests.common_factor([log(1.08)] * 5, log1p(TOLERANCE)) is None, (
        "five cases have no 95 % interval of a median"
    )


def test_the_interval_of_a_median_is_that_of_the_sign_test_for_many_cases_too() -> None:
    """Of 10,000: ranks 4,902 and 5,099 by the normal approximation, 5,000 -+ 1.96 * 50."""
    many = verdict_tests.common_factor([log(1.08) + 1e-6 * i for i in range(10_000)], log1p(TOLERANCE))
    assert many is not None
    assert (log(many.ratio.low / 1.08) * 1e6, log(many.ratio.high / 1.08) * 1e6) == (
        pytest.approx(4_901, abs=1),
        pytest.approx(5_098, abs=1),
    )
