"""Whether devices that say the same of themselves are alike, from the cases that two of them measured."""

from __future__ import annotations

import pandas as pd
import pytest

from harness.analysis.likeness import likeness, sentences
from harness.core.case import Case, Setting
from harness.core.problem import Problem
from tests.virtual_cluster import BEGAN, visit

CASES = [Case(Problem("pointwise", in_channels=8 * number, size=7), Setting()) for number in range(1, 6)]


def visits(member: str, latency_s: float, cases: list[Case] = CASES) -> pd.DataFrame:
    rows = [
        visit(case, number, place, BEGAN, member, "run")
        | {"member": member, "latency_s": latency_s, "place_figures_s": [latency_s * (1 + number / 1000)] * 4}
        for number in range(3)
        for place, case in enumerate(cases)
    ]
    return pd.DataFrame(rows)


def test_devices_are_alike_within_a_twentieth() -> None:
    (found,) = likeness(visits("a/cpu", 1e-3), visits("b/cpu", 1.02e-3))
    assert (found["measured"], found["checked"], found["cases"], found["alike"]) == (
        "a/cpu",
        "b/cpu",
        5,
        True,
    )
    assert found["ratio"] == pytest.approx(1.02)
    assert "5 cases were checked by a second device: alike" in sentences([found])[0]


def test_a_slower_device_is_told() -> None:
    (found,) = likeness(visits("a/cpu", 1e-3), visits("b/cpu", 1.2e-3))
    assert not found["alike"]
    assert found["apart"] == 5
    assert "b/cpu takes 1.20 times as long as a/cpu" in sentences([found])[0]


def test_each_pair_is_told_apart_and_a_case_of_two_devices_is_left_out() -> None:
    measured = pd.concat([visits("a/cpu", 1e-3, CASES[:2]), visits("b/cpu", 1e-3, CASES[2:])])
    checks = pd.concat([visits("b/cpu", 1e-3, CASES[:2]), visits("a/cpu", 1e-3, CASES[2:])])
    assert [one["cases"] for one in likeness(measured, checks)] == [2, 3]
    both = pd.concat([measured, visits("c/cpu", 1e-3, CASES[:1])])
    assert [one["cases"] for one in likeness(both, checks)] == [1, 3]
    assert likeness(measured, checks.iloc[:0]) == []
    assert sentences([]) == []
