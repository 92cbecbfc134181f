"""What results are about: savings against a reference, at the right places and against the right one."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.analysis.case_ratio import with_moments
from harness.core.interval import Interval
from harness.output.views.points import joined, summary_of
from harness.output.views.savings import Savings, savings_of, speed_in_words
from harness.output.views.shape import Shape, shape_of
from harness.store.results import load_results
from tests.made_runs import (
    SUITES,
    failing,
    make_run,
)

HEAD = 'schema = 1\nname = "made"\n[problem]\nsize = 28\n'


def shape(run: Path) -> Shape:
    """What a run is about."""
    results = load_results(run)
    summary = with_moments(summary_of(results), results.visits)
    return shape_of(results, joined(results, summary), summary)


def savings(tmp_path: Path, sweep: str) -> Savings:
    """Of a run of one sweep."""
    leading = shape(make_run(tmp_path, HEAD + sweep)).leading
    assert leading is not None
    found = savings_of(leading)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("suite", "name"),
    [
        ("kinds", "sweep"),
        ("groups", "sweep"),
        ("plane", "plane"),
        ("settings", "settings"),
        ("network", "network"),
    ],
)
def test_the_shape_of_a_run_follows_from_what_it_has(tmp_path: Path, suite: str, name: str) -> None:
    assert shape(make_run(tmp_path, SUITES[suite])).name == name


def test_a_run_of_which_most_failed_is_about_that(tmp_path: Path) -> None:
    run = make_run(
        tmp_path, change=lambda case: failing("no room") if case.problem.kind != "standard" else {}
    )
    assert shape(run).name == "failed"


def test_places_lie_along_the_axis_however_a_suite_lists_them(tmp_path: Path) -> None:
    kinds = 'kind = ["standard", "depthwise_separable"]\n'
    found = savings(
        tmp_path, f'[[sweep]]\nname = "mixed"\nx = "in_channels"\n{kinds}in_channels = [256, 64, 128]\n'
    )
    assert [one.x for one in found.of("depthwise_separable", "")] == [64, 128, 256]
    # 9 C / (9 + C) for a 3x3 kernel and as many channels out as in
    assert [one.fewer_macs for one in found.of("depthwise_separable", "")] == pytest.approx(
        [9 * c / (9 + c) for c in (64, 128, 256)]
    )


def test_a_kind_without_groups_saves_nothing_against_itself(tmp_path: Path) -> None:
    kinds = 'kind = ["grouped", "depthwise"]\nin_channels = 64\n'
    found = savings(tmp_path, f'[[sweep]]\nname = "groups"\nx = "groups"\n{kinds}groups = [1, 2, 4, 8]\n')
    assert found.kinds == ("grouped",)
    assert found.reference == "1 group"
    assert [one.fewer_macs for one in found.of("grouped", "")] == [2, 4, 8]


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ((4.1, 3.9, 4.3), "is 4.1 times as fast as standard (3.9 to 4.3)"),
        ((0.5, 0.49, 0.51), "takes 2.0 times as long as standard (2.0 to 2.0)"),
        ((1.0, 0.98, 1.02), "is as fast as standard (0.98 to 1.0 times as fast)"),
        ((1.9, 0.6, 5.0), "cannot be told from standard (0.60 to 5.0 times as fast)"),
        ((4.0, 2.0, 8.0), "is more than 2.0 times as fast as standard"),
    ],
)
def test_a_speed_is_told_with_what_is_known_of_it(ends: tuple[float, float, float], words: str) -> None:
    assert speed_in_words(Interval(*ends), "standard") == words
