"""What the gate promises, held against recorded pairs of identical code: `virtual_gates` says how, and prints
the whole table."""

from __future__ import annotations

from statistics import fmean

import numpy as np
import pandas as pd
import pytest

from tests import virtual_gates

GATES = 200
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return virtual_gates.load()


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


def test_identical_code_is_accused_in_at_most_one_gate_of_a_hundred(
    table: pd.DataFrame, random: np.random.Generator
) -> None:
    assert virtual_gates.false_alarms(table, GATES, random) <= 0.01


def test_five_percent_on_one_case_of_all_is_found(table: pd.DataFrame, random: np.random.Generator) -> None:
    assert virtual_gates.power(table, 0.05, GATES, random) >= 0.95


def test_the_smallest_effect_stated_is_what_is_found_four_times_in_five(
    table: pd.DataFrame, random: np.random.Generator
) -> None:
    stated = fmean(
        virtual_gates.run(table, start, random).smallest_effect
        for start in range(0, table.shape[1] - virtual_gates.LONGEST, 5)
    )
    low, a = 0.0, 0.0
    for high in (0.025, 0.03, 0.035, 0.04, 0.05):
        b = virtual_gates.power(table, high, GATES // 2, random)
        if b >= 0.8:
            break
        low, a = high, b
    eighty = low + (high - low) * (0.8 - a) / (b - a)
    assert stated == pytest.approx(eighty, rel=0.3)
