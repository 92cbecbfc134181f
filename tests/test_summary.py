"""What slow reference probes do to a figure: quiet visits make it where there are enough."""

from __future__ import annotations

import random
from math import log, log1p
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd
import pytest
import tomllib

from harness.case import Case
from harness.points import distinct_cases, expand
from harness.results import load_results
from harness.suite import parse_suite
from tests.made_runs import KINDS_SUITE, cost, make_run

QUIET = {"reference_copy_s": 5e-5, "reference_compute_s": 9e-5}
SMALL = KINDS_SUITE.replace("[16, 64, 256]", "[16]")  # twenty cases


def beside(slowness: list[float], share: float) -> Any:
    """For `make_run`: the probes of each case's visits were so much slower than quiet, and the visit by a share of it, on logarithms."""
    chance = random.Random(1)

    def change(case: Case) -> dict[str, Any]:
        number = seen[case.case_id] = seen.get(case.case_id, -1) + 1
        factor = slowness[number]
        latency_s = cost(case) * factor**share * chance.lognormvariate(0, 0.002)
        return {name: usual * factor for name, usual in QUIET.items()} | {"latency_s": latency_s}

    seen: dict[str, int] = {}
    return change


def summary_of(tmp_path: Path, slowness: list[float], share: float = 1.5, **header: Any) -> tuple[pd.DataFrame, pd.Series]:
    """The summary of a run whose visits met so slow a machine, and each case's latency over the true one, less 1."""
    folder = make_run(tmp_path, SMALL, visits=len(slowness), change=beside(slowness, share), **header)
    summary = load_results(folder).summary
    cases = distinct_cases(expand(parse_suite(tomllib.loads(SMALL), text=SMALL, folder=tmp_path)))
    return summary, summary["latency_s"] / summary["case_id"].map({case.case_id: cost(case) for case in cases}) - 1


def test_three_quiet_visits_make_the_figure_and_the_others_are_set_aside(tmp_path: Path) -> None:
    summary, off = summary_of(tmp_path, [1.0, 1.4, 1.0, 1.5, 1.0])
    assert (summary["visits"] == 3).all()
    assert (summary["set_aside"] == 2).all()
    assert off.abs().max() < 0.01
    assert (summary["trust"] == "ok").all()
    assert summary["trust_reasons"].map(lambda reasons: reasons == ["neighbours"]).all()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_without_a_quiet_minute_half_of_what_neighbours_slowed_is_taken_off_and_the_interval_holds_all_and_none(tmp_path: Path, share: float) -> None:
    slowness = [1.1, 1.3, 1.5, 1.2]
    summary, off = summary_of(tmp_path, slowness, share, quiet={"e1": {"4": QUIET}})
    mean = fmean(map(log, slowness))
    assert off.map(log1p).sub((share - 0.5) * mean).abs().max() < 0.01
    true = summary["latency_s"] / (1 + off)
    assert ((summary["latency_low_s"] <= true) & (true <= summary["latency_high_s"])).all()
    assert summary["slowness"].sub(mean).abs().max() < 1e-9
    assert (summary["visits"] == 4).all()
    assert (summary["set_aside"] == 0).all()
    assert (summary["trust"] == "noisy").all()
    assert summary["trust_reasons"].map(lambda reasons: reasons == ["neighbours"]).all()


def test_probes_of_another_environment_are_measured_by_its_own(tmp_path: Path) -> None:
    """Another torch multiplies otherwise: its slower product is no neighbour."""
    summary, off = summary_of(tmp_path, [1.2] * 3, 0.0, quiet={"another": {"4": QUIET}})
    assert (summary["trust"] == "ok").all()
    assert off.abs().max() < 0.01


def test_probes_too_disturbed_for_a_figure_were_not_quiet(tmp_path: Path) -> None:
    seen: dict[str, int] = {}

    def change(case: Case) -> dict[str, Any]:
        seen[case.case_id] = seen.get(case.case_id, 0) + 1
        return QUIET | ({"reference_compute_s": None, "latency_s": 2 * cost(case)} if seen[case.case_id] == 1 else {"latency_s": cost(case)})

    summary = load_results(make_run(tmp_path, SMALL, visits=4, change=change)).summary
    assert (summary["set_aside"] == 1).all()
    assert (summary["latency_s"] / summary["latency_low_s"] < 1.05).all()


def test_where_nothing_is_quiet_such_probes_count_as_the_slowest(tmp_path: Path) -> None:
    slowness = [1.1, 1.3, 1.5, 1.2]
    slow = beside(slowness, 1.0)

    def change(case: Case) -> dict[str, Any]:
        values = slow(case)
        return values | ({"reference_copy_s": None} if values["reference_copy_s"] == QUIET["reference_copy_s"] * 1.1 else {})

    summary = load_results(make_run(tmp_path, SMALL, visits=4, change=change, quiet={"e1": {"4": QUIET}})).summary
    assert summary["slowness"].sub(fmean(map(log, [1.5, 1.3, 1.5, 1.2]))).abs().max() < 1e-9
