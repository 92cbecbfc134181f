"""Changes of level in series whose levels are known."""

from __future__ import annotations

import json
from math import log
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.change_points import Change, Series, best_split, find_changes

LEVEL = 1e-4
SPREAD = 0.004


def series(*parts: tuple[int, float], seed: int = 0, spread: float = SPREAD) -> Series:
    """So many runs at each level, a ratio, with normal noise that is known."""
    random = np.random.default_rng(seed)
    values = np.concatenate([log(level) + random.normal(0, spread, count) for count, level in parts])
    return Series.of(values, np.full(len(values), spread))


def found(*parts: tuple[int, float], seed: int = 0) -> list[Change]:
    return find_changes(series(*parts, seed=seed), LEVEL)


@pytest.mark.parametrize("before", [5, 17, 100, 301])
@pytest.mark.parametrize("after", [3, 12, 90])
@pytest.mark.parametrize("factor", [1.05, 0.95])
def test_a_step_of_five_percent_is_found_where_it_is(before: int, after: int, factor: float) -> None:
    (change,) = found((before, 1.0), (after, factor), seed=before + after)
    assert change.earliest <= before <= change.latest
    assert abs(change.index - before) <= 1
    assert change.ratio.value == pytest.approx(factor, rel=0.008)


def test_steps_that_follow_each_other_are_found_each() -> None:
    changes = found((40, 1.0), (12, 1.06), (50, 1.0), (33, 1.03))
    assert [change.index for change in changes] == [40, 52, 102]
    assert [change.ratio.value for change in changes] == pytest.approx([1.06, 1 / 1.06, 1.03], rel=0.005)


def test_less_than_two_percent_is_no_change() -> None:
    assert found((100, 1.0), (100, 1.015)) == []


def test_one_run_confirms_nothing() -> None:
    """However far off it is, at the end or amid the others."""
    assert found((40, 1.0), (1, 1.3)) == []
    assert found((40, 1.0), (1, 1.3), (20, 1.0)) == []
    assert [change.index for change in found((40, 1.0), (2, 1.3))] == [40]


def test_a_run_that_is_wide_counts_for_little() -> None:
    """Three runs of a bad day: at the usual error they would be a change."""
    plain = series((40, 1.0), (3, 1.04))
    errors = plain.errors.copy()
    errors[-3:] = 0.08
    assert find_changes(plain, LEVEL)
    assert find_changes(Series.of(plain.values, errors), LEVEL) == []


def test_what_two_anchors_were_joined_with_is_part_of_the_doubt() -> None:
    """A joint that is known within 3 % cannot prove a change of 4 % between its sides."""
    plain = series((30, 1.0), (30, 1.04))
    joints = np.repeat([0.0, 0.03**2], 30)
    assert find_changes(plain, LEVEL)
    assert find_changes(Series.of(plain.values, plain.errors, joints), LEVEL) == []


@given(st.integers(0, 6), st.integers(0, 2**32 - 1))
def test_short_series_have_no_change_and_no_fault(length: int, seed: int) -> None:
    assert found((length, 1.0), seed=seed) == []


@given(st.integers(5, 150), st.integers(0, 2**32 - 1))
def test_a_series_that_wanders_has_changes_in_order_and_no_fault(length: int, seed: int) -> None:
    """As a machine's latencies do, on which windows disagree."""
    random = np.random.default_rng(seed)
    values = np.cumsum(random.normal(0, 0.05, length))
    changes = find_changes(Series.of(values, np.full(length, SPREAD)), LEVEL)
    places = [change.index for change in changes]
    assert places == sorted(set(places))
    assert all(0 < change.earliest <= change.index <= change.latest < length for change in changes)


@given(
    st.lists(st.floats(-0.1, 0.1), min_size=5, max_size=20),
    st.lists(st.sampled_from([0.25, 0.5, 1.0]), min_size=20, max_size=20),
)
def test_the_best_split_is_that_of_the_definition(values: list[float], weights: list[float]) -> None:
    """The energy statistic summed pair by pair, as Matteson and James write it."""
    x, w = np.array(values), np.array(weights[: len(values)])

    def energy(place: int, end: int) -> float:
        sides = range(place), range(place, end)
        mass = [sum(w[i] for i in side) for side in sides]
        between = sum(w[i] * w[j] * abs(x[i] - x[j]) for i in sides[0] for j in sides[1]) / (
            mass[0] * mass[1]
        )
        within = 0.0
        for side in sides:
            pairs = [(i, j) for i in side for j in side if i < j]
            total = sum(w[i] * w[j] for i, j in pairs)
            within += sum(w[i] * w[j] * abs(x[i] - x[j]) for i, j in pairs) / total
        return float(mass[0] * mass[1] / (mass[0] + mass[1]) * (2 * between - within))

    place, end = best_split(x, w)
    every = [energy(i, j) for i in range(3, len(x) - 1) for j in range(i + 2, len(x) + 1)]
    assert energy(place, end) == pytest.approx(max(every), abs=1e-12)


def test_what_was_slow_for_four_runs_is_found_long_after() -> None:
    changes = found((40, 1.0), (4, 1.08), (60, 1.0))
    assert [change.index for change in changes] == [40, 44]


def test_the_changes_of_clear_series_are_those_that_otava_finds() -> None:
    """tests/data/otava_changes.json says how they were made."""
    recorded = json.loads((Path(__file__).parent / "data" / "otava_changes.json").read_text(encoding="utf-8"))
    assert len(recorded["series"]) >= 5
    for one in recorded["series"]:
        values = np.log(one["values"])
        ours = find_changes(Series.of(values, np.full(len(values), one["spread"])), recorded["max_pvalue"])
        assert [change.index for change in ours] == one["otava"], one["name"]
