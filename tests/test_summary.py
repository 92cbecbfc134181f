"""What slow reference probes do to a figure: quiet visits make it where there are enough."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pandas as pd
import tomllib

from harness.case import Case
from harness.points import distinct_cases, expand
from harness.results import load_results
from harness.suite import parse_suite
from tests.made_runs import KINDS_SUITE, cost, make_run

QUIET = {"reference_copy_s": 5e-5, "reference_compute_s": 9e-5}
SMALL = KINDS_SUITE.replace("[16, 64, 256]", "[16]")  # twenty cases


def beside(slowness: list[float]) -> Any:
    """For `make_run`: the probes of each case's visits were so much slower than quiet, and the visit with them by the power of 1.5."""
    chance = random.Random(1)

    def change(case: Case) -> dict[str, Any]:
        number = seen[case.case_id] = seen.get(case.case_id, -1) + 1
        factor = slowness[number]
        latency_s = cost(case) * factor**1.5 * chance.lognormvariate(0, 0.002)
        return {name: usual * factor for name, usual in QUIET.items()} | {"latency_s": latency_s}

    seen: dict[str, int] = {}
    return change


def summary_of(tmp_path: Path, slowness: list[float], **header: Any) -> tuple[pd.DataFrame, pd.Series]:
    """The summary of a run whose visits met so slow a machine, and each case's latency over the true one, less 1."""
    folder = make_run(tmp_path, SMALL, visits=len(slowness), change=beside(slowness), **header)
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


def test_a_run_without_a_quiet_minute_uses_what_it_has_and_says_so(tmp_path: Path) -> None:
    summary, off = summary_of(tmp_path, [1.1, 1.3, 1.5, 1.2], quiet={"4": QUIET})
    assert (summary["visits"] == 4).all()
    assert (summary["set_aside"] == 0).all()
    assert off.between(0.3, 0.5).all()
    assert (summary["trust"] == "noisy").all()
    assert summary["trust_reasons"].map(lambda reasons: reasons == ["neighbours"]).all()
