"""What a figure and its interval are worth, on recorded campaigns: bounds with room, and no time is taken
here."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from harness.analysis import case_estimate

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def program(name: str) -> ModuleType:
    """One of benchmarks/, which are no package."""
    spec = spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


estimators = program("estimators")
CAMPAIGNS = {
    name: part
    for path in sorted((BENCHMARKS / "campaigns").glob("*.parquet"))
    for name, part in estimators.read(path).items()
}
# After four rounds: rms error, half of the interval in the median case, and how often it holds other runs'
# figures
BOUNDS = {
    "epyc-avx2-2-cores": (0.03, 0.05, 0.93),
    "xeon-amx-2-cores": (0.115, 0.5, 0.88),
    "xeon-amx-2-cores-morning": (0.155, 0.5, 0.8),
    "xeon-amx-2-cores-interleaved": (0.105, 0.27, 0.87),
    "xeon-amx-2-cores-in-turns, 24 turns": (0.075, 0.3, 0.9),
}
FALSE = 0.08  # of ordered pairs of runs, at most, in which some case is 5 % slower and past both intervals


@pytest.mark.parametrize("name", BOUNDS)
def test_a_figure_repeats_and_its_interval_holds_other_runs(name: str) -> None:
    error, width, covers = BOUNDS[name]
    campaign = CAMPAIGNS[name]
    assert rms_error(name) <= error
    found = estimators.interval(campaign, 4)
    assert found["half_width"] <= width
    assert found["covers"] >= covers
    assert found["false"] <= FALSE


def test_blocks_that_are_interleaved_repeat_better_than_blocks_in_one_go() -> None:
    """Rounds of both in one hour, in random order."""
    assert rms_error("xeon-amx-2-cores-in-turns, 24 turns") < 0.6 * rms_error(
        "xeon-amx-2-cores-in-turns, 0 turns"
    )


@pytest.mark.parametrize("name", ["xeon-amx-2-cores-interleaved", "xeon-amx-2-cores-in-turns, 24 turns"])
def test_two_cases_are_told_apart_better_in_the_moments_that_both_met(name: str) -> None:
    found = estimators.differences(CAMPAIGNS[name], 4)
    assert found["moments"] < 0.8 * found["figures"]
    assert found["holds"] >= 0.85


def rms_error(name: str) -> float:
    """Of the figure that is shown, after four rounds."""
    return float(estimators.judged(CAMPAIGNS[name], (4,), (estimators.SHOWN,))[4][estimators.SHOWN])


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_no_figure_lies_below_its_fastest_block_or_above_its_slowest(name: str) -> None:
    for _, visits in CAMPAIGNS[name].groupby(["run", "case_id"]):
        blocks, figure = (
            np.exp(estimators.blocks_of(visits, 0.0)),
            case_estimate.figure_s(np.exp(estimators.places_of(visits)).tolist()),
        )
        assert blocks.min() * 0.999 <= figure <= blocks.max()
