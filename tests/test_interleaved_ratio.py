"""Cases of one run against each other in the moments that both met: what disturbed both is in neither."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.analysis import interleaved_ratio
from harness.analysis.summary import KEYS
from tests.visits import case, visit

BEGAN = datetime(2026, 11, 28, tzinfo=timezone.utc)


def visits_of(kind: str, blocks: np.ndarray, **values: Any) -> list[dict[str, Any]]:
    """A visit a row of `blocks`, in seconds, each of a group of its own that began a minute after the one
    before."""
    made = []
    for number, row in enumerate(blocks):
        began = {"turns": len(row), "started_at": BEGAN + timedelta(minutes=number)}
        made.append(visit("main", case(kind), None, list(row)) | began | values)
    return made


def ratio_of(*made: list[dict[str, Any]]) -> interleaved_ratio.Ratio | None:
    """The second case over the first."""
    frame = pd.DataFrame([row for rows in made for row in rows])
    met = interleaved_ratio.of_cases(frame)
    base, other = (tuple(rows[0][name] for name in KEYS) for rows in made)
    return interleaved_ratio.ratio(met.get(base, {}), met.get(other, {}))


def test_what_disturbs_both_is_in_neither() -> None:
    """Both are slowed by up to twice, a fifth more apart than their noise; the difference of 5 % is seen."""
    chance = np.random.default_rng(3)
    slowed = 1 + chance.exponential(0.5, (3, 24))
    found = ratio_of(
        visits_of("depthwise", 1e-3 * slowed * chance.lognormal(0, 0.01, slowed.shape)),
        visits_of("pointwise", 1.05e-3 * slowed * chance.lognormal(0, 0.01, slowed.shape)),
    )
    assert found
    assert found.paired
    assert found.value == pytest.approx(1.05, abs=0.01)
    assert 1 < found.low < 1.05 < found.high < 1.1


def test_a_burst_that_meets_one_of_them_moves_the_ratio_little() -> None:
    blocks = np.full((3, 24), 1e-3)
    burst = blocks.copy()
    burst[1, 4:12] *= 10
    found = ratio_of(visits_of("depthwise", blocks), visits_of("pointwise", burst))
    assert found
    assert found.value == pytest.approx(1.0)


def test_blocks_that_other_work_interrupted_are_no_moments_that_both_met() -> None:
    """Two thirds of the blocks of one and a quarter of the other's, each by 15 ms."""
    blocks, others = np.full((2, 24), 1e-3), np.full((2, 24), 1.2e-3)
    blocks[:, ::4] += 15e-3
    others[:, :16] += 15e-3
    loaded = {"trust": "noisy", "run_queue_share": 0.4}
    found = ratio_of(visits_of("depthwise", blocks, **loaded), visits_of("pointwise", others, **loaded))
    assert found
    assert found.value == pytest.approx(1.2)


def test_too_few_uninterrupted_moments_are_no_ratio() -> None:
    blocks = np.full((1, 24), 1e-3)
    blocks[:, 5:] += 15e-3
    loaded = {"trust": "noisy", "run_queue_share": 0.4}
    assert (
        ratio_of(visits_of("depthwise", blocks, **loaded), visits_of("pointwise", blocks, **loaded)) is None
    )


def test_cases_that_met_no_moment_together_have_no_ratio_of_their_own() -> None:
    blocks = np.full((3, 24), 1e-3)
    base, other = visits_of("depthwise", blocks), visits_of("pointwise", blocks)
    assert (
        ratio_of(base, [row | {"started_at": row["started_at"] + timedelta(seconds=1)} for row in other])
        is None
    )
    assert ratio_of(base, [row | {"trust": "invalid"} for row in other]) is None
    assert ratio_of(base, [row | {"turns": 0} for row in other]) is None


def test_a_ratio_of_one_process_is_known_as_well_as_processes_agree() -> None:
    blocks = np.full((3, 24), 1e-3)
    found = ratio_of(visits_of("depthwise", blocks), visits_of("pointwise", blocks)[:1])
    assert found
    assert found.error >= interleaved_ratio.ONE_PROCESS
