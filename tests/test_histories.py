"""What a history promises, held against recorded pairs of identical code: `virtual_histories` says how, and
prints the whole table."""

from __future__ import annotations

from statistics import fmean

import numpy as np
import pytest

from tests import virtual_histories
from tests.virtual_histories import WAYS, Recorded

DRAWS, HISTORIES = 200, 3
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def recorded() -> Recorded:
    return virtual_histories.load()


@pytest.mark.parametrize(("step", "least"), [(0.03, 0.8), (0.05, 0.95)])
def test_a_step_is_found_within_three_commits(recorded: Recorded, step: float, least: float) -> None:
    random = np.random.default_rng(1)
    assert virtual_histories.power(recorded, WAYS[0], step, DRAWS, random) >= least


def test_at_most_one_change_in_three_hundred_commits_is_none(recorded: Recorded) -> None:
    random = np.random.default_rng(2)
    false = [virtual_histories.false_changes(recorded, WAYS[0], random, every=5) for _ in range(HISTORIES)]
    assert fmean(false) <= 1


def test_without_the_anchor_far_less_is_found(recorded: Recorded) -> None:
    """Which is why there is one."""
    random = np.random.default_rng(1)
    assert virtual_histories.power(recorded, WAYS[2], 0.05, DRAWS, random) < 0.5
