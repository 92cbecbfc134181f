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
BATCH = 2000  # windows that are looked at together: 6 MB for each of their matrices


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
    """Starts of the windows that may hold a change: some split of theirs is within `level`, all windows
    looked at together. A window that is not full is always looked at."""
    starts = window_starts(len(values))
    full = starts[starts + WINDOW <= len(values)]
    yield from starts[len(full) :].tolist()
    for first in range(0, len(full), BATCH):
        chosen = full[first : first + BATCH]
        at = chosen[:, None] + np.arange(WINDOW)
        yield from chosen[_any_split(values[at], weights[at], level)].tolist()


def _any_split(values: Array, weights: Array, level: float) -> Array:
    """By window, a row each, whether two neighbouring parts of it, the first of which begins it, differ by
    their t."""
    mass, sums, squares = (
        np.concatenate([np.zeros((len(values), 1)), np.cumsum(part, axis=1)], axis=1)
        for part in (weights, weights * values, weights * values**2)
    )
    place, end = _splits_of(values.shape[1])
    left, right = mass[:, place], mass[:, end] - mass[:, place]
    means = sums[:, place] / left, (sums[:, end] - sums[:, place]) / right
    within = squares[:, end] - left * means[0] ** 2 - right * means[1] ** 2
    spread = np.sqrt(np.maximum(within, LEAST_VARIANCE) / (end - 2) * (1 / left + 1 / right))
    least = np.array([student_t(1 - min(level, 0.5) / 2, int(last) - 2) for last in end])
    return np.asarray((np.abs(means[1] - means[0]) > least * spread).any(axis=1))


def _splits_of(length: int) -> tuple[Array, Array]:
    """Every first run of a second part, and every end of that, in a window of this length."""
    place, end = np.meshgrid(np.arange(length + 1), np.arange(length + 1), indexing="ij")
    allowed = (place >= FEWEST_BEFORE) & (end >= place + FEWEST_AFTER)
    return place[allowed], end[allowed]


def _splits(series: Series, weights: Array, start: int, end: int, level: float) -> Iterator[int]:
    """Where these runs split, and each part again, as long as the two sides of a split differ."""
    end = min(end, len(series.values))
    if end - start < FEWEST_BEFORE + FEWEST_AFTER:
        return
    split, until = best_split(series.values[start:end], weights[start:end])
    place = start + split
    if _compared(series, weights, start, place, start + until).p > level:
        return
    yield from _splits(series, weights, start, place, level)
    yield place
    yield from _splits(series, weights, place, end, level)


def best_split(values: Array, weights: Array) -> tuple[int, int]:
    """The first run of the later part, and the end of that, where the weighted energy statistic between
    both parts is largest (Matteson and James, equations 5 to 7, with exponent 1). The later part may end
    before the window does: what was undone within it is found too."""
    pairs = np.outer(weights, weights)
    distances = np.pad(pairs * np.abs(values[:, None] - values[None, :]), ((1, 0), (1, 0)))
    corner = distances.cumsum(axis=0).cumsum(axis=1)
    mass, squares = (np.concatenate([[0.0], np.cumsum(part)]) for part in (weights, weights**2))
    place, end = _splits_of(len(values))
    left, right = mass[place], mass[end] - mass[place]
    between = (corner[place, end] - corner[place, place]) / (left * right)
    within_left = corner[place, place] / (left**2 - squares[place])
    later = corner[end, end] - 2 * corner[place, end] + corner[place, place]
    within_right = later / (right**2 - squares[end] + squares[place])
    energy = left * right / (left + right) * (2 * between - within_left - within_right)
    best = int(np.argmax(energy))
    return int(place[best]), int(end[best])


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
    means, strayed, parts = [], 0.0, 0.0
    for first, last in ((start, place), (place, end)):
        values, own = series.values[first:last], weights[first:last]
        mass = float(own.sum())
        mean = float(own @ values) / mass
        means.append(mean)
        strayed += float(own @ (values - mean) ** 2)
        parts += 1 / mass
    degrees = max(end - start - 2, 1)  # of two runs, from windows that disagree by one, none is left
    stated = float(np.median(series.errors[start:end])) ** 2
    variance = max(strayed / degrees, stated, LEAST_VARIANCE)
    joints = series.joints[start:end]
    error = sqrt(variance * parts + float(joints.max() - joints.min()))
    difference = means[1] - means[0]
    return _Step(difference, error, degrees, variance, 2 * float(stdtr(degrees, -abs(difference) / error)))


def _kept(series: Series, weights: Array, places: list[int], level: float) -> list[Change]:
    """What remains of the candidates when the weakest is left out again and again, until all hold (Hunter's
    merge)."""
    bounds = [0, *places, len(series.values)]

    def judged(i: int) -> tuple[_Step, float]:
        start, place, end = bounds[i : i + 3]
        step = _compared(series, weights, start, place, end)
        return step, _fault(series, step, place, end, level)

    found = [judged(i) for i in range(len(places))]
    while found:
        worst = max(range(len(found)), key=lambda i: found[i][1])
        if found[worst][1] <= 0:
            break
        del bounds[worst + 1], found[worst]
        for i in range(max(worst - 1, 0), min(worst + 1, len(found))):  # what lies beside it is another now
            found[i] = judged(i)
    return [
        _change(series, weights, bounds[i], bounds[i + 1], bounds[i + 2], step)
        for i, (step, _) in enumerate(found)
    ]


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
