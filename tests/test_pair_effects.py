"""Effects from visits: literal pairs, and scipy's Welch."""

from __future__ import annotations

from math import log
from typing import Any

import pandas as pd
import pytest

from harness.analysis import pair_effects
from tests.visits import case, visit


def frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows).assign(match_id=lambda visits: visits["asked_id"])


def test_a_pairs_figure_is_the_mean_over_corresponding_blocks_without_the_extremes() -> None:
    blocks = [1e-3, 2e-3, 3e-3, 4e-3]
    rows = [visit("base", case(), 1, blocks), visit("head", case(), 1, [1.0e-3, 2.2e-3, 30e-3, 4.4e-3])]
    found = pair_effects.pair_ratios(frame(rows))
    assert found["ratio"].tolist() == pytest.approx([log(1.1)])


def test_blocks_that_other_work_interrupted_are_in_no_pairs_figure() -> None:
    """Two thirds of the head's blocks, by 15 ms: without a load the same blocks are slow by themselves, and
    in the middle half."""
    head = [1.1e-3] * 4 + [16e-3] * 8
    for waited, ratio in ((0.4, 1.1), (0.05, (1.1 * 16**5) ** (1 / 6))):
        rows = [
            visit("base", case(), 1, [1e-3] * 12),
            visit("head", case(), 1, head, trust="noisy", run_queue_share=waited),
        ]
        found = pair_effects.pair_ratios(frame(rows))
        assert found["ratio"].tolist() == pytest.approx([log(ratio)])


def test_a_pair_without_turns_is_the_ratio_of_its_latencies() -> None:
    rows = [
        visit("base", case(), 1, [1e-3] * 3, turns=0, latency_s=2e-3),
        visit("head", case(), 1, [1e-3] * 3, turns=0, latency_s=3e-3),
    ]
    assert pair_effects.pair_ratios(frame(rows))["ratio"].tolist() == pytest.approx([log(1.5)])


def test_a_pair_of_a_run_without_figures_of_blocks_is_compared_by_its_latencies() -> None:
    rows = [
        visit("base", case(), 1, [1e-3] * 3, block_figures_s=None),
        visit("head", case(), 1, [1.2e-3] * 3, block_figures_s=None),
    ]
    assert pair_effects.pair_ratios(frame(rows))["ratio"].tolist() == pytest.approx([log(1.2)])


def test_an_invalid_visit_takes_its_pair_along() -> None:
    rows = [visit("base", case(), 1, [1e-3] * 3, trust="invalid"), visit("head", case(), 1, [1e-3] * 3)]
    assert pair_effects.pair_ratios(frame(rows)).empty
