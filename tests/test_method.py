"""Simulated runs: does the interval that a run states, its rounds included, hold the truth? And are two modes between visits told?"""

from __future__ import annotations

import random
from collections.abc import Callable
from math import exp, log
from statistics import fmean

import pytest

from harness import stats
from harness.policy import Policy
from harness.runner import Seen, wants_another

RUNS = 400
SAMPLES = 60
BLOCK_ENDS = list(range(6, SAMPLES + 1, 6))
Draw = random.Random


def visit(draw: Draw, sample: Callable[[Draw, float], float], correlation: float = 0.0) -> float:
    """The figure of one simulated visit, a second or so: its own level, and samples around it that may remember each other."""
    level, noise, samples = exp(draw.gauss(0, 0.015)), 0.0, []
    for _ in range(SAMPLES):
        noise = correlation * noise + draw.gauss(0, 0.03)
        samples.append(level * sample(draw, noise))
    figure = stats.describe(samples, BLOCK_ENDS, 1e-9)["latency_s"]
    assert figure is not None
    return figure


def run(figure: Callable[[], float], policy: Policy) -> list[float]:
    """The figures of a run that visits one case until its interval is tight."""
    visits: list[Seen] = []
    while wants_another(policy, len(visits), visits):
        visits.append(Seen(f"process {len(visits)}", figure()))
    return [visit.latency_s for visit in visits]


KINDS_OF_VISIT: dict[str, Callable[[Draw], float]] = {
    "independent": lambda draw: visit(draw, lambda _, noise: 1 + noise),
    "correlated": lambda draw: visit(draw, lambda _, noise: 1 + noise, correlation=0.5),
    "quantised": lambda draw: visit(draw, lambda _, noise: round(50 * (1 + noise)) / 50),
    "two modes within": lambda draw: visit(draw, lambda draw, noise: (1.3 if draw.random() < 0.3 else 1.0) + noise),
}


@pytest.mark.parametrize("share", [0.05, 0.4, 0.9])
def test_the_figure_holds_what_page_faults_cost_however_many_calls_fault(share: float) -> None:
    """Calls of 1 that by chance meet some 700 faults of 0.001 each: the figure is 1, less what a low quantile of noise is, and the mean's faults."""
    draw = random.Random(share)
    off = []
    for _ in range(100):
        faults = [draw.randint(645, 746) if draw.random() < share else 0 for _ in range(240)]
        noise = [1 + draw.gauss(0, 0.03) for _ in faults]
        ends = list(range(20, 241, 20))
        found, without = (
            stats.describe(samples, ends, 1e-9, counts)["latency_s"]
            for samples, counts in (([one + 0.001 * count for one, count in zip(noise, faults, strict=True)], faults), (noise, ()))
        )
        off.append(found - without - 0.001 * fmean(faults))
    assert abs(fmean(off)) < 0.01
    assert max(map(abs, off)) < 0.05


@pytest.mark.parametrize("name", KINDS_OF_VISIT)
def test_the_stated_interval_holds_the_truth_in_nine_of_ten_runs(name: str) -> None:
    draw = random.Random(name)
    figure = KINDS_OF_VISIT[name]
    truth = exp(fmean(log(figure(draw)) for _ in range(4000)))
    held = 0
    for _ in range(RUNS):
        found = stats.interval_between(run(lambda: figure(draw), Policy()))
        held += found.low_s <= truth <= found.high_s
    assert held >= 0.9 * RUNS


def test_two_modes_between_visits_are_told_and_one_mode_is_not() -> None:
    draw = random.Random(7)

    def told(second_mode: float) -> float:
        runs = [[exp(draw.gauss(0, 0.015) + (second_mode if draw.random() < 0.5 else 0)) for _ in range(12)] for _ in range(RUNS)]
        return fmean(map(stats.two_modes, runs))

    assert told(0.3) > 0.9
    assert told(0.0) < 0.01


def test_rounds_end_when_three_quiet_processes_agree_and_not_before() -> None:
    policy = Policy(rounds=3, max_rounds=5, target_width=0.03)

    def visits(latencies: list[float], processes: str = "abcde", slow: str = "") -> list[Seen]:
        return [Seen(process, latency_s, process in slow) for process, latency_s in zip(processes, latencies, strict=False)]

    tight, wide = [1.0, 1.001, 1.002], [1.0, 1.1, 1.2]
    assert [wants_another(policy, n, visits([1.0] * n)) for n in range(4)] == [True, True, True, False]
    assert not wants_another(policy, 3, visits(tight))
    assert wants_another(policy, 3, visits(wide))
    assert wants_another(policy, 3, visits(tight, "aaa"))
    assert wants_another(policy, 3, visits(tight, slow="b"))
    assert not wants_another(policy, 4, visits([1.0, 1.5, 1.001, 1.002], slow="b"))
    assert not wants_another(policy, 5, visits(wide))
    assert wants_another(policy, 9, visits(tight, slow="b"))
    assert not wants_another(policy, 10, visits(tight, slow="b"))
    assert not wants_another(policy, 5, visits(tight, "aaa"))
    assert not wants_another(Policy(rounds=1, max_rounds=1), 1, visits([1.0], slow="a"))
