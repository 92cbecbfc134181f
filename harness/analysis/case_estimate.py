"""What a case takes, from its visits, with the interval that other runs' figures should lie in.

In: of each visit its `place_figures_s`, low quantiles of its samples by the way in which buffers lay. Out: an
`Interval`. Pure.

Interference only adds time, and comes in bursts, so what repeats is low. In each way of lying the figure is
the same low quantile over the visits that it is over their samples, and the case's is the mean over the ways,
so that each counts alike. It lies within what was measured. Whether the machine was ever left alone the
case's own visits tell: where its three lowest agree, it was; where they are apart, nobody knows by how much
the next would be lower. docs/method.md has the data that chose both, and what was left.
"""

from __future__ import annotations

from itertools import zip_longest
from math import exp, hypot, log
from statistics import fmean
from typing import TYPE_CHECKING

from harness.core.interval import Interval
from harness.core.stats import low_quantile

if TYPE_CHECKING:
    from collections.abc import Sequence

SIDE = 1.96  # standard deviations to either side: 95 % of a normal distribution
FEWEST_VISITS = 3  # below this their spread says too little
# half of an interval is so many times the distance of the lowest and the third lowest visit: it then holds 90
# % of other runs
LOWEST_TIMES = 2.0


def figure_s(visits: Sequence[Sequence[float]]) -> float:
    """Of any number of visits, in seconds: for each place the low quantile over them, then the mean over the
    places, on logarithms."""
    places = [[one for one in place if one is not None] for place in zip_longest(*visits)]
    return exp(fmean(log(low_quantile(place)) for place in places))


def between(visits: Sequence[Sequence[float]], run_spread: float) -> Interval:
    """The interval of three visits or more, each a process; `run_spread`: what runs of the machine differ by
    beyond their visits, a standard deviation of logarithms."""
    value = figure_s(visits)
    lowest = sorted(fmean(map(log, places)) for places in visits)
    half = hypot(SIDE * run_spread, LOWEST_TIMES * (lowest[FEWEST_VISITS - 1] - lowest[0]))
    return Interval(value, value * exp(-half), value * exp(half))
