"""The figure of a case: low, within what was measured, with an interval and a word for how well it
is known."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis import case_estimate
from harness.analysis.summary import COMPUTED, summarize
from harness.analysis.summary_row import SummaryRow
from harness.core import stats
from harness.core.case import Case
from harness.core.columns import COLUMNS
from harness.store.results import load_results
from tests.made_runs import KINDS_SUITE, make_run
from tests.visits import case, visit

SMALL = KINDS_SUITE.replace("[16, 64, 256]", "[16]")  # twenty cases
PLACES = st.lists(st.lists(st.floats(1e-6, 1.0), min_size=4, max_size=4), min_size=1, max_size=12)


def summary_of(*visits: list[float], **header: Any) -> pd.Series[Any]:
    """Of one case, from the medians of the blocks of each visit."""
    rows = [
        visit("main", case(), None, blocks) | {"process": f"p{number}", "environment_id": "e"}
        for number, blocks in enumerate(visits)
    ]
    return summarize(pd.DataFrame(rows), {"r": header}).iloc[0]


@given(PLACES)
def test_a_figure_lies_within_what_was_measured(places: list[list[float]]) -> None:
    figures = np.array(places)
    lowest, highest = figures.min() * (1 - 1e-9), figures.max() * (1 + 1e-9)
    assert lowest <= case_estimate.figure_s(places) <= highest


def test_bursts_move_the_typical_time_and_not_the_figure() -> None:
    quiet, disturbed = [1.0] * 12, [1.0] * 4 + [1.8] * 8
    alone, beside = summary_of(*[quiet] * 4), summary_of(quiet, disturbed, [1.9] * 12, quiet)
    assert beside["latency_s"] == pytest.approx(alone["latency_s"], rel=1e-6)
    assert beside["typical_s"] > 1.2 * alone["typical_s"]


def test_every_way_of_lying_counts_alike() -> None:
    """Of four ways one is fast: the figure is their mean, though the fast one alone would be the lowest."""
    blocks = [0.5, 1.0, 1.0, 1.0] * 3
    found = summary_of(*[blocks] * 3)["latency_s"]
    # of samples at 0.9, 1.0 and 1.2 of each the low quantile is the first
    assert found == pytest.approx(0.9 * 0.5**0.25, rel=1e-6)


def test_three_visits_within_the_target_are_ok_and_wider_ones_wide() -> None:
    tight, loose = ([[level] * 12 for level in levels] for levels in ((1.0, 1.001, 1.002), (1.0, 1.2, 1.5)))
    assert summary_of(*tight)["trust"] == "ok"
    assert summary_of(*loose)["trust"] == "wide"
    assert summary_of(*tight, policy={"target_width": 1e-4})["trust"] == "wide"
    assert summary_of(*tight[:2])["trust"] == "wide"
    assert summary_of(*tight[:2])["interval"] == "within"


def test_what_runs_of_the_machine_differ_by_widens_the_interval() -> None:
    visits = [[level] * 12 for level in (1.0, 1.001, 1.002)]
    widths = [
        (row["latency_high_s"] - row["latency_low_s"]) / row["latency_s"]
        for row in (summary_of(*visits, run_spread={"e": spread}) for spread in (0.002, 0.02))
    ]
    assert widths[1] > 5 * widths[0]
    assert widths[1] == pytest.approx(2 * 1.96 * 0.02, rel=0.05)


def test_reasons_of_visits_are_told_and_do_not_decide(tmp_path: Path) -> None:
    def change(_: Case) -> dict[str, Any]:
        return {"trust": "noisy", "trust_reasons": ["load"]}

    summary = load_results(make_run(tmp_path, SMALL, change=change, spread=0.001)).summary
    assert (summary["trust"] == "ok").all()
    assert summary["trust_reasons"].map(lambda reasons: reasons == ["load"]).all()


@pytest.mark.parametrize("samples", [2, 4, 16, 200])
def test_a_figure_means_the_same_for_few_slow_calls_and_for_many_fast_ones(samples: int) -> None:
    """Samples of one distribution, 3 % wide: three visits of twelve blocks lie within half of that of 200
    samples a block."""
    draw = random.Random(samples)

    def figure(count: int) -> float:
        ends = [count * (block + 1) for block in range(12)]
        visits = [
            stats.place_figures([draw.lognormvariate(0, 0.03) for _ in range(12 * count)], ends)
            for _ in range(3)
        ]
        return case_estimate.figure_s(visits)

    found, many = (np.mean([np.log(figure(count)) for _ in range(60)]) for count in (samples, 200))
    assert abs(found - many) < 0.015


def test_the_type_of_a_row_names_every_column_and_its_type(tmp_path: Path) -> None:
    hints = get_type_hints(SummaryRow)
    assert set(hints) == set(load_results(make_run(tmp_path, SMALL)).summary.columns)
    types: dict[str, Any] = {
        **dict.fromkeys(("int16", "int32", "int64"), int),
        **dict.fromkeys(("string", "dictionary"), str),
        "double": float,
        "bool": bool,
    }
    stored = [column for column in COLUMNS if column.name in hints and column.name not in COMPUTED]
    for column in stored:
        assert hints[column.name] == (Any if column.nullable else types[column.type]), column.name
