"""What two runs share and what each case has of its own: literal runs, scipy's t, and recorded runs of equal
code."""

from __future__ import annotations

from itertools import permutations
from math import exp, log
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.analysis import between_runs

CAMPAIGN = Path(__file__).parents[1] / "benchmarks/campaigns/xeon-amx-2-cores-interleaved.parquet"


def run(table: np.ndarray) -> pd.DataFrame:
    """Visits of a run from a row a case and a column a round, of logarithms."""
    cells = [
        (f"case {case}", number + 1, exp(value))
        for case, row in enumerate(table)
        for number, value in enumerate(row)
    ]
    visits = pd.DataFrame(cells, columns=["match_id", "round", "latency_s"])
    return visits.assign(block_figures_s=[np.array([latency]) for latency in visits["latency_s"]])


def drawn(
    random: np.random.Generator, shift: float = 0.0, own: float = 0.01, rounds: float = 0.05
) -> pd.DataFrame:
    """Twelve cases and four rounds that differ for all cases alike."""
    return run(shift + random.normal(0, rounds, 4) + random.normal(0, own, (12, 4)) + np.arange(12)[:, None])


def test_two_runs_of_a_case_are_compared_by_welch() -> None:
    base, head = np.log([1.0, 1.02, 0.99, 1.01]), np.log([1.05, 1.1, 1.06])
    shift, effects = between_runs.split(run(base[None]), run(head[None]), run_spread=0.0)
    row = effects.iloc[0]
    assert shift is None
    assert row["mean"] == pytest.approx(head.mean() - base.mean())
    assert row["error"] ** 2 == pytest.approx(base.var(ddof=1) + head.var(ddof=1)), (
        "more rounds of one hour do not make it another"
    )
    spreads = {"base": (base.var(ddof=1), 3), "head": (head.var(ddof=1), 2)}
    uncertain = sum(variance**2 / degrees for variance, degrees in spreads.values())
    assert row["degrees"] == pytest.approx(row["error"] ** 4 / uncertain), "after Welch and Satterthwaite"


def test_what_all_cases_share_is_in_no_case() -> None:
    random = np.random.default_rng(0)
    shift, effects = between_runs.split(drawn(random), drawn(random, shift=0.3), run_spread=0.01)
    assert shift is not None
    assert shift.mean == pytest.approx(0.3, abs=2.5 * shift.error)
    assert effects["mean"].abs().max() < 0.03
    assert (effects["error"] < shift.error / 2).all(), "cases of a run are told apart better than runs"


def test_the_spread_of_a_case_is_drawn_towards_that_of_the_others() -> None:
    degrees = pd.Series(6.0, index=range(40))
    alike = pd.Series(np.random.default_rng(0).chisquare(6, 40) / 6 * 4e-4)
    found, known = between_runs.moderated(alike, degrees)
    assert found.to_numpy() == pytest.approx(4e-4, rel=0.25), "they differ by no more than chance"
    assert (known > 50).all()
    unlike = alike * np.geomspace(0.01, 100, 40)
    found, known = between_runs.moderated(unlike, degrees)
    assert (log(found.max() / found.min()), known.max()) == (
        pytest.approx(log(unlike.max() / unlike.min()), rel=0.4),
        pytest.approx(6.5, abs=1.0),
    )


def test_errors_are_what_recorded_runs_of_equal_code_differ_by() -> None:
    """Eight runs on a machine whose neighbours were never quiet; after four rounds."""
    kept = pd.read_parquet(CAMPAIGN)
    kept = kept[(kept["trust"] != "invalid") & (kept["round"] <= 4)].rename(columns={"case_id": "match_id"})
    kept["block_figures_s"] = [row.reshape(-1, 7)[:, 3] for row in kept["block_quantiles_s"]]
    runs = [visits for _, visits in kept.groupby("run")]
    cases, shifts = [], []
    for base, head in permutations(runs, 2):
        shift, effects = between_runs.split(base, head, run_spread=0.01)
        assert shift is not None
        cases += (effects["mean"] / effects["error"]).tolist()
        shifts.append(shift.mean / shift.error)
    assert 0.8 < np.sqrt(np.mean(np.square(cases))) < 1.2
    assert np.sqrt(np.mean(np.square(shifts))) < 1.2
