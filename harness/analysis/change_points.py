"""Where a series of measurements changed its level, and by how much.

In: logarithms in the order of commits, with the standard error of each. Out: `Change`s, a place and an effect
each. Pure.

The windowed E-divisive method with Student's t: Matteson and James, A nonparametric approach for multiple
change point analysis of multivariate data, JASA 109 (2014), for where a window splits best; Daly et al., The
use of change point detection to identify software performance regressions in a continuous integration
system, ICPE 2020, who took it to commits; Fleming et al., Hunter: using change point detection to hunt for
performance regressions, ICPE 2023, for the windows, and for the t-test in the place of permutations. Ours
differs:

- a run counts by its error: less where it is wider than usual, never more, since few pairs agree by luck;
- a new level must be kept by two runs, and differ by `LEAST`;
- the spread is never taken to be less than what the runs themselves state;
- the place is an interval: all places that fit almost as well as the best one.

Apache Otava, Hunter's heir, cannot be installed beside us: 0.8.0 pins numpy 2.2, scipy below 1.17 and the
clients of two services. tests/data/otava_changes.json holds what it finds in some series.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log1p, sqrt
from typing import TYPE_CHECKING

import numpy as np

from harness.core.interval import Interval
from harness.core.stats import CONFIDENCE, student_t

if TYPE_CHECKING:
    from collections.abc import Iterator

    Array = np.ndarray

LEAST = 0.02  # of a change, a fraction
WINDOW = 30  # runs: Hunter's default, and as many at most stand for a level
FEWEST_BEFORE, FEWEST_AFTER = 3, 2  # runs of a level: a single one confirms nothing
WEAK = 10.0  # times the level, at which windows give candidates (Hunter)
LEAST_VARIANCE = 1e-8  # of logarithms: no clock tells less than 0.01 %
# in variances, how much worse than the best place another one may fit (`benchmarks/history.py`)
PLACE_FIT = 6.0
BATCH = 2000  # windows that are looked at together: 15 MB for each of their matrices


@dataclass(frozen=True, slots=True)
class Change:
    """A change of level. `index`: the first run of the new level, by what fits best; it is one from
    `earliest` to `latest`. `ratio`: the new level over the old one with its 95 % interval; `p`: of the
    t-test."""

    index: int
    earliest: int
    latest: int
    ratio: Interval
    p: float


@dataclass(frozen=True, slots=True)
class Series:
    """Logarithms in the order of commits, the standard error of each, and `joints`: the variance of the link
    by which each is set beside the first ones (0: by none). Links are errors that many runs share."""

    values: Array
    errors: Array
    joints: Array

    @classmethod
    def of(cls, values: Array, errors: Array, joints: Array | None = None) -> Series:
        """From anything that numpy takes for an array; without `joints` all runs have one anchor."""
        links = np.zeros(len(values)) if joints is None else joints
        return cls(np.asarray(values, float), np.asarray(errors, float), np.asarray(links, float))

    @property
    def weights(self) -> Array:
        """By run, up to 1: the usual variance over its own, where that is larger."""
        variances = np.maximum(self.errors**2, LEAST_VARIANCE)
        usual = np.median(variances) if len(variances) else 1.0
        return np.asarray(usual / np.maximum(variances, usual))


def find_changes(series: Series, level: float) -> list[Change]:
    """The changes of one series, in order. `level`: the p-value that makes a change."""
    weights = series.weights
    weak = WEAK * level
    places = sorted(
        {
            place
            for start in _promising(series.values, weights, weak)
            for place in _splits(series, weights, start, start + WINDOW, weak)
        }
    )
    return _kept(series, weights, places, level)


def window_starts(length: int) -> Array:
    """Where windows begin: every half of one."""
    return np.arange(0, max(length - FEWEST_AFTER, 1), WINDOW // 2)


def _promising(values: Array, weights: Array, level: float) -> Iterator[int]:
    """Starts of the windows that may hold a change: their best split, all windows at once, is within `level`.
    A window that is not full is always looked at."""
    starts = window_starts(len(values))
    full = starts[starts + WINDOW <= len(values)]
    yield from starts[len(full) :].tolist()
    for first in range(0, len(full), BATCH):
        chosen = full[first : first + BATCH]
        at = chosen[:, None] + np.arange(WINDOW)
        t = _largest_t(values[at], weights[at])
        # a look that is quick may be generous
        yield from chosen[t > student_t(1 - min(level, 0.5) / 2, WINDOW - 2) * 0.9].tolist()


def _largest_t(values: Array, weights: Array) -> Array:
    """By window, a row each, the t of its best split in two: no split, that of E-divisive least of all, has a
    larger one."""
    left = np.cumsum(weights, axis=1)[:, :-1]
    sums, squares = np.cumsum(weights * values, axis=1), (weights * values**2).sum(axis=1)[:, None]
    right = weights.sum(axis=1)[:, None] - left
    one, other = sums[:, :-1] / left, (sums[:, -1:] - sums[:, :-1]) / right
    within = np.maximum(squares - left * one**2 - right * other**2, LEAST_VARIANCE)
    spread = np.sqrt(within / (values.shape[1] - 2))
    t = np.abs(other - one) / (spread * np.sqrt(1 / left + 1 / right))
    return np.asarray(t[:, FEWEST_BEFORE - 1 : t.shape[1] - FEWEST_AFTER + 1].max(axis=1))


def _splits(series: Series, weights: Array, start: int, end: int, level: float) -> Iterator[int]:
    """Where these runs split, and each part again, as long as the two sides of a split differ."""
    end = min(end, len(series.values))
    if end - start < FEWEST_BEFORE + FEWEST_AFTER:
        return
    place = start + best_split(series.values[start:end], weights[start:end])
    if _compared(series, weights, start, place, end).p > level:
        return
    yield from _splits(series, weights, start, place, level)
    yield place
    yield from _splits(series, weights, place, end, level)


def best_split(values: Array, weights: Array) -> int:
    """The first of the later ones, where the weighted energy statistic between both sides is largest
    (Matteson and James, equation 5, with exponent 1; the later side is the whole rest of the window)."""
    pairs = np.outer(weights, weights)
    distances = pairs * np.abs(values[:, None] - values[None, :])
    places = np.arange(FEWEST_BEFORE, len(values) - FEWEST_AFTER + 1)
    inner = _corner_sums(distances)[places], _corner_sums(distances[::-1, ::-1])[len(values) - places]
    total = distances.sum() / 2
    sums = np.concatenate([[0.0], np.cumsum(weights)])
    squares = np.concatenate([[0.0], np.cumsum(weights**2)])
    left, right = sums[places], sums[-1] - sums[places]
    within_left = inner[0] / np.maximum((left**2 - squares[places]) / 2, 1e-300)
    within_right = inner[1] / np.maximum((right**2 - (squares[-1] - squares[places])) / 2, 1e-300)
    between = (total - inner[0] - inner[1]) / (left * right)
    energy = left * right / (left + right) * (2 * between - within_left - within_right)
    return int(places[np.argmax(energy)])


def _corner_sums(distances: Array) -> Array:
    """By number of first runs, the sum of the distances between them, each pair once."""
    upper = np.triu(distances, 1).sum(axis=0)
    return np.concatenate([[0.0], np.cumsum(upper)])


@dataclass(frozen=True, slots=True)
class _Step:
    """Two sides of a place compared: the difference of their levels, its error, degrees of freedom, p."""

    difference: float
    error: float
    degrees: int
    variance: float
    p: float


def _compared(series: Series, weights: Array, start: int, place: int, end: int) -> _Step:
    """Student's t-test of two weighted means; at most a window on either side counts."""
    from scipy.special import stdtr  # of scipy.stats, which takes a second to import

    start, end = max(start, place - WINDOW), min(end, place + WINDOW)
    sides = slice(start, place), slice(place, end)
    means = [np.average(series.values[side], weights=weights[side]) for side in sides]
    strayed = sum(
        float((weights[side] * (series.values[side] - mean) ** 2).sum())
        for side, mean in zip(sides, means, strict=True)
    )
    degrees = end - start - 2
    stated = float(np.median(series.errors[start:end])) ** 2
    variance = max(strayed / degrees, stated, LEAST_VARIANCE)
    joints = series.joints[start:end]
    shared = float(joints.max() - joints.min())
    error = sqrt(variance * sum(1 / float(weights[side].sum()) for side in sides) + shared)
    difference = float(means[1] - means[0])
    return _Step(difference, error, degrees, variance, 2 * float(stdtr(degrees, -abs(difference) / error)))


def _kept(series: Series, weights: Array, places: list[int], level: float) -> list[Change]:
    """What remains of the candidates when the weakest is left out again and again, until all hold (Hunter's
    merge)."""
    while places:
        bounds = list(zip([0, *places[:-1]], places, [*places[1:], len(series.values)], strict=True))
        steps = [_compared(series, weights, *three) for three in bounds]
        faults = [
            _fault(series, step, place, end, level)
            for step, (_, place, end) in zip(steps, bounds, strict=True)
        ]
        if max(faults) <= 0:
            return [_change(series, weights, *three, step) for three, step in zip(bounds, steps, strict=True)]
        del places[int(np.argmax(faults))]
    return []


def _fault(series: Series, step: _Step, place: int, end: int, level: float) -> float:
    """How far a step is from holding, 0 where it holds: not significant, not confirmed, or small."""
    if step.p > level:
        return 2 + step.p
    middle = float(np.average(series.values[place:end])) - step.difference / 2
    beyond = (series.values[place : min(end, place + WINDOW)] - middle) * np.sign(step.difference) > 0
    if beyond.sum() < FEWEST_AFTER:
        return 2.0
    return max(log1p(LEAST) - abs(step.difference), 0.0)


def _change(series: Series, weights: Array, start: int, place: int, end: int, step: _Step) -> Change:
    """With its place: where two constant levels fit best, and all places that fit almost as well."""
    start, end = max(start, place - WINDOW), min(end, place + WINDOW)
    values, own = series.values[start:end], weights[start:end]
    left, sums = np.cumsum(own)[:-1], np.cumsum(own * values)
    fit = sums[:-1] ** 2 / left + (sums[-1] - sums[:-1]) ** 2 / (own.sum() - left)
    within = slice(FEWEST_BEFORE - 1, len(fit) - FEWEST_AFTER + 1)
    best = start + FEWEST_BEFORE + int(np.argmax(fit[within]))
    good = start + 1 + np.flatnonzero(fit >= fit[within].max() - PLACE_FIT * step.variance)
    half = student_t((1 + CONFIDENCE) / 2, step.degrees) * step.error
    ratio = Interval.around(step.difference, half)
    return Change(best, min(best, int(good.min())), max(best, int(good.max())), ratio, step.p)
