"""What a figure and its interval are worth, on recorded campaigns: bounds with room, and no time is taken here."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from harness import estimates

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
CAMPAIGNS = {name: part for path in sorted((BENCHMARKS / "campaigns").glob("*.parquet")) for name, part in estimators.read(path).items()}
METHOD_1 = "shown by method 1, without its correction"
# After four rounds: rms error, half of the interval in the median case, and how often it holds other runs' figures
BOUNDS = {"epyc-avx2-2-cores": (0.03, 0.035, 0.9), "xeon-amx-2-cores": (0.115, 0.32, 0.82)}


@pytest.mark.parametrize("name", BOUNDS)
def test_a_figure_repeats_and_its_interval_holds_other_runs(name: str) -> None:
    error, width, covers = BOUNDS[name]
    campaign = CAMPAIGNS[name]
    rms = estimators.judged(campaign, (4,), (estimators.SHOWN, METHOD_1))[4]
    assert rms[estimators.SHOWN] <= error
    assert rms[estimators.SHOWN] < rms[METHOD_1]
    found = estimators.interval(campaign, 4)
    assert found["half_width"] <= width
    assert found["covers"] >= covers


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_no_figure_lies_below_its_fastest_block_or_above_its_slowest(name: str) -> None:
    for _, visits in CAMPAIGNS[name].groupby(["run", "case_id"]):
        blocks, figure = np.exp(estimators.blocks_of(visits, 0.0)), estimates.figure_s(np.exp(estimators.places_of(visits)).tolist())
        assert blocks.min() * 0.999 <= figure <= blocks.max()
