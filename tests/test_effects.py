"""Effects from visits: literal pairs, and scipy's Welch."""

from __future__ import annotations

from math import log
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness import effects
from harness.effects import RUNS_APART
from tests.visits import case, visit


def frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows).assign(match_id=lambda visits: effects.match_ids(visits))


def test_a_pairs_figure_is_the_mean_over_corresponding_blocks_without_the_extremes() -> None:
    blocks = [1e-3, 2e-3, 3e-3, 4e-3]
    rows = [visit("base", case(), 1, blocks), visit("head", case(), 1, [1.0e-3, 2.2e-3, 30e-3, 4.4e-3])]
    found = effects.pair_ratios(frame(rows))
    assert found["ratio"].tolist() == pytest.approx([log(1.1)])


def test_a_pair_without_turns_is_the_ratio_of_its_latencies() -> None:
    rows = [visit("base", case(), 1, [1e-3] * 3, turns=0, latency_s=2e-3), visit("head", case(), 1, [1e-3] * 3, turns=0, latency_s=3e-3)]
    assert effects.pair_ratios(frame(rows))["ratio"].tolist() == pytest.approx([log(1.5)])


def test_a_pair_of_a_run_without_figures_of_blocks_is_compared_by_its_latencies() -> None:
    rows = [visit("base", case(), 1, [1e-3] * 3, block_figures_s=None), visit("head", case(), 1, [1.2e-3] * 3, block_figures_s=None)]
    assert effects.pair_ratios(frame(rows))["ratio"].tolist() == pytest.approx([log(1.2)])


def test_an_invalid_visit_takes_its_pair_along() -> None:
    rows = [visit("base", case(), 1, [1e-3] * 3, trust="invalid"), visit("head", case(), 1, [1e-3] * 3)]
    assert effects.pair_ratios(frame(rows)).empty


def unpaired(base: list[float], head: list[float]) -> pd.Series[float]:
    return effects.unpaired_effects(*(pd.DataFrame({"match_id": "a", "latency_s": values}) for values in (base, head))).iloc[0]


def test_welch_is_scipys_but_for_what_runs_differ_by() -> None:
    from scipy.stats import ttest_ind

    base, head = [1.0, 1.02, 0.99, 1.01], [1.05, 1.1, 1.06]
    row = unpaired(base, head)
    theirs = ttest_ind(np.log(head), np.log(base), equal_var=False)
    own_error = np.sqrt(row["error"] ** 2 - 2 * RUNS_APART**2)
    assert row["mean"] / own_error == pytest.approx(theirs.statistic)
    assert row["degrees"] == pytest.approx(theirs.df * (row["error"] / own_error) ** 4), "what is known takes no degrees"


def test_three_visits_that_agree_are_as_sure_as_what_runs_differ_by() -> None:
    row = unpaired([1.0, 1.0001, 1.0], [1.0, 1.0, 1.003])
    assert row["error"] == pytest.approx(np.sqrt(2) * RUNS_APART, rel=0.05)
    assert row["degrees"] > 100
