"""Simulated runs: does the interval that a run states, its rounds included, hold the truth? And are two modes
between visits told?"""

from __future__ import annotations

import random
from collections.abc import Callable
from math import exp, log
from statistics import fmean, median

import pytest

from harness.analysis import case_estimate
from harness.core import stats
from harness.core.policy import Policy
from harness.run.rounds import Counted, wants_another

RUNS = 400
SAMPLES = 60
BLOCK_ENDS = list(range(5, SAMPLES + 1, 5))
RUN_SPREAD = 0.0  # simulated runs differ by their visits alone
Places = list[float]
Draw = random.Random


def visit(draw: Draw, sample: Callable[[Draw, float], float], correlation: float = 0.0) -> Places:
    """The figures of one simulated visit, a second or so: its own level, and samples around it that may
    remember each other."""
    level, noise, samples = exp(draw.gauss(0, 0.015)), 0.0, []
    for _ in range(SAMPLES):
        noise = correlation * noise + draw.gauss(0, 0.03)
        samples.append(level * sample(draw, noise))
    return stats.place_figures(samples, BLOCK_ENDS)


def run(figures: Callable[[], Places], policy: Policy) -> list[Places]:
    """The visits of a run that visits one case until its interval is tight."""
    visits: list[Counted] = []
    while wants_another(policy, len(visits), visits, RUN_SPREAD):
        visits.append(Counted(f"process {len(visits)}", tuple(figures())))
    return [list(visit.places_s) for visit in visits]


KINDS_OF_VISIT: dict[str, Callable[[Draw], Places]] = {
    "independent": lambda draw: visit(draw, lambda _, noise: 1 + noise),
    "correlated": lambda draw: visit(draw, lambda _, noise: 1 + noise, correlation=0.5),
    "quantised": lambda draw: visit(draw, lambda _, noise: round(50 * (1 + noise)) / 50),
    "two modes within": lambda draw: visit(
        draw, lambda draw, noise: (1.3 if draw.random() < 0.3 else 1.0) + noise
    ),
}


@pytest.mark.parametrize("share", [0.05, 0.4, 0.9])
def test_the_figure_holds_what_page_faults_cost_however_many_calls_fault(share: float) -> None:
    """Calls of 1 that by chance meet some 700 faults of 0.001 each: the figure is 1, less what a low quantile
    of noise is, and the mean's faults."""
    draw = random.Random(share)
    off = []
    for _ in range(100):
        faults = [draw.randint(645, 746) if draw.random() < share else 0 for _ in range(240)]
        noise = [1 + draw.gauss(0, 0.03) for _ in faults]
        ends = list(range(20, 241, 20))
        found, without = (
            stats.describe(samples, ends, 1e-9, counts)["latency_s"]
            for samples, counts in (
                ([one + 0.001 * count for one, count in zip(noise, faults, strict=True)], faults),
                (noise, ()),
            )
        )
        off.append(found - without - 0.001 * fmean(faults))
    assert abs(fmean(off)) < 0.01
    assert max(map(abs, off)) < 0.05


@pytest.mark.parametrize("name", KINDS_OF_VISIT)
def test_the_stated_interval_holds_the_truth_in_nine_of_ten_runs(name: str) -> None:
    draw = random.Random(name)
    figure = KINDS_OF_VISIT[name]
    others = [log(case_estimate.figure_s(run(lambda: figure(draw), Policy()))) for _ in range(RUNS)]
    truth = exp(median(others))
    held = 0
    for _ in range(RUNS):
        found = case_estimate.between(run(lambda: figure(draw), Policy()), RUN_SPREAD)
        held += found.low <= truth <= found.high
    assert held >= 0.85 * RUNS


def test_two_modes_between_visits_are_told_and_one_mode_is_not() -> None:
    draw = random.Random(7)

    def told(second_mode: float) -> float:
        runs = [
            [exp(draw.gauss(0, 0.015) + (second_mode if draw.random() < 0.5 else 0)) for _ in range(12)]
            for _ in range(RUNS)
        ]
        return fmean(map(stats.two_modes, runs))

    assert told(0.3) > 0.9
    assert told(0.0) < 0.01


def test_rounds_end_when_an_interval_is_within_its_target_and_never_after_the_most_that_were_asked() -> None:
    policy = Policy(rounds=3, max_rounds=5, target_width=0.03)

    def visits(latencies: list[float], processes: str = "abcde") -> list[Counted]:
        return [
            Counted(process, (latency_s,) * 4)
            for process, latency_s in zip(processes, latencies, strict=False)
        ]

    tight, wide = [1.0, 1.001, 1.002], [1.0, 1.1, 1.2]
    assert [wants_another(policy, n, visits([1.0] * n)) for n in range(4)] == [True, True, True, False]
    assert not wants_another(policy, 3, visits(tight))
    assert wants_another(policy, 3, visits(wide))
    assert wants_another(policy, 3, visits(tight, "aaa"))
    assert not wants_another(policy, 4, visits([1.0, 1.5, 1.001, 1.002]))
    assert not wants_another(policy, 5, visits(wide))
    assert not wants_another(policy, 5, visits(tight, "aaa"))
    assert not wants_another(Policy(rounds=1, max_rounds=1), 1, visits([1.0]))
