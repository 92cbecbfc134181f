"""Figures with their intervals, from samples that are not independent.

    samples  ->  blocks of one visit  ->  visits of one case
                 interval within          interval between

In: seconds. Out: an `Interval`, or plain numbers; `analysis/case_estimate` joins visits. Pure: no device, no
clock, no file, no torch; both sides of the pipe use it.
Why blocks: back-to-back samples of one process remember each other. With an autocorrelation of 0.9 an
interval from order statistics of the samples covers the truth in 31 % of simulations instead of 95 %; blocks
forget far more.
Why visits: processes differ by more than their samples tell (address layout, page colour, neighbours), so
what is shown is the figure of several processes, with the interval between them.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from math import ceil, cos, exp, log, pi, sin, sqrt, tan
from statistics import fmean, median, stdev
from typing import TYPE_CHECKING

from harness.core.interval import Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIDENCE = 0.95
# this quantile of samples, which a disturbance of the others does not reach (docs/method.md)
FIGURE_SHARE = 0.1
PLACES = 4  # ways in which buffers lie: block k lies as blocks k + 4 and k + 8 do (`worker/workload`)
# times the least of the same visit: what takes longer was interrupted, by other work on its processor
INTERRUPTED = 2.0
# of the time, that a thread waited for a processor: from there on it shows in figures
WAITED = 0.1
MIDDLE_CUT = 0.25  # on either side, for the mean of the middle half
# standard deviation of page faults a sample: less takes less than a tenth of the shortest sample
FAULTS_APART = 8.0
SEARCH_STEPS = 30  # each leaves two thirds of what is searched
# standard deviation between runs minutes apart, beyond that of their visits, where a machine's own is not
# known
RUN_SPREAD = 0.01
MODES_APART = 0.05  # two modes closer than this move a figure by less than an interval of usual width
MODES_SPREADS = 4.0


@lru_cache(maxsize=1024)
def student_t(probability: float, degrees: int) -> float:
    """Quantile of Student's t, for probabilities from 0.5 on: bisection over the closed forms of Abramowitz
    and Stegun, 26.7.3 and 26.7.4."""
    if not 0.5 <= probability < 1 or degrees < 1:
        raise ValueError(f"no quantile of t at probability {probability} with {degrees} degrees of freedom")
    low, high = 0.0, pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        if _central_share(middle, degrees) < 2 * probability - 1:
            low = middle
        else:
            high = middle
    return tan(low) * sqrt(degrees)


def _central_share(angle: float, degrees: int) -> float:
    """P(|T| < tan(angle) * sqrt(degrees)) for Student's T: a finite series in the cosine, for odd and for
    even degrees of freedom."""
    odd = degrees % 2
    term = cos(angle) if odd else 1.0
    total = term if degrees > 1 else 0.0
    for k in range(2 if odd else 1, degrees - 2, 2):
        term *= cos(angle) ** 2 * k / (k + 1)
        total += term
    return 2 / pi * (angle + sin(angle) * total) if odd else sin(angle) * total


def quantile(samples: Sequence[float], fraction: float) -> float:
    """Quantile with linear interpolation between order statistics (Hyndman and Fan, type 7: numpy's
    default)."""
    ordered = sorted(samples)
    position = fraction * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


def median_deviation(samples: Sequence[float]) -> float:
    """Median absolute deviation from the median, in the unit of the samples, unscaled."""
    centre = median(samples)
    return median([abs(x - centre) for x in samples])


def lag1(samples: Sequence[float]) -> float | None:
    """Correlation of each sample with the one before it (Box and Jenkins, chapter 2): near 0 for independent
    samples; None below three."""
    if len(samples) < 3:
        return None
    centre = fmean(samples)
    deviations = [x - centre for x in samples]
    spread = sum(d * d for d in deviations)
    return sum(a * b for a, b in pairwise(deviations)) / spread if spread else 0.0


def drift(samples: Sequence[float]) -> float | None:
    """Median of the second half over that of the first, less 1; None below four samples."""
    if len(samples) < 4:
        return None
    middle = len(samples) // 2
    return median(samples[middle:]) / median(samples[:middle]) - 1


def at_mean_faults(samples: Sequence[float], faults: Sequence[int]) -> Sequence[float]:
    """The samples of a visit as if each had met the visit's mean number of page faults; `faults`: those of
    each, empty where nobody counted.

    By glibc's defaults it is as if by chance whether a call faults, and a low quantile of the samples would
    be of those that do not. The number of faults is a control variate (Owen, Monte Carlo theory, methods and
    examples, section 8.9). Where numbers hardly differ, as with the heap kept, samples stay as they are.
    """
    if len(faults) < 2 or stdev(faults) < FAULTS_APART:
        return samples
    mean, cost_s, fastest = fmean(faults), fault_cost_s(samples, faults), min(samples)
    return [
        max(sample - cost_s * (count - mean), fastest) for sample, count in zip(samples, faults, strict=True)
    ]


def fault_cost_s(samples: Sequence[float], faults: Sequence[int]) -> float:
    """Seconds that a sample grows by with each page fault, 0 at least: the slope of the line below which a
    tenth of the samples lie (Koenker and Bassett, Regression quantiles, 1978), which a few disturbed samples
    do not turn. Its loss is convex in the slope. Needs two numbers of faults.
    """

    def loss(slope: float) -> float:
        rest = sorted(sample - slope * count for sample, count in zip(samples, faults, strict=True))
        base = rest[ceil(FIGURE_SHARE * len(rest)) - 1]
        return sum((FIGURE_SHARE if one >= base else FIGURE_SHARE - 1) * (one - base) for one in rest)

    low, high = 0.0, (max(samples) - min(samples)) / (max(faults) - min(faults))
    for _ in range(SEARCH_STEPS):
        third = (high - low) / 3
        low, high = (low, high - third) if loss(low + third) <= loss(high - third) else (low + third, high)
    return (low + high) / 2


def middle_mean(values: Sequence[float]) -> float:
    """The mean of the middle half: moved by few wild values as little as the median, and less by chance."""
    ordered = sorted(values)
    cut = int(MIDDLE_CUT * len(ordered))
    return fmean(ordered[cut : len(ordered) - cut])


def low_quantile(samples: Sequence[float]) -> float:
    """The 10th percentile, which leaves out what disturbed the others: about unbiased in the median from six
    samples on, so that it means the same for few slow calls and for many fast ones (Hyndman and Fan 1996,
    their eighth)."""
    ordered = sorted(samples)
    position = min(max(FIGURE_SHARE * (len(ordered) + 1 / 3) + 1 / 3, 1.0), float(len(ordered))) - 1
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


def block_figures(samples: Sequence[float], block_ends: Sequence[int]) -> list[float]:
    """The figure of each block, in seconds a call: what a pair of blocks that took turns is compared by."""
    return [quantile(block, FIGURE_SHARE) for block in blocks_of(samples, block_ends)]


def place_figures(samples: Sequence[float], block_ends: Sequence[int]) -> list[float]:
    """For each of the ways in which buffers lay, the low quantile of the samples of all blocks that lay so,
    in seconds a call."""
    return [low_quantile(place) for place in places_of(samples, block_ends)]


def places_of(samples: Sequence[float], block_ends: Sequence[int]) -> list[list[float]]:
    """The samples of all blocks that lie alike in memory, for each of the ways in which buffers lay."""
    blocks = blocks_of(samples, block_ends)
    return [
        [sample for block in blocks[place::PLACES] for sample in block]
        for place in range(min(PLACES, len(blocks)))
    ]


def blocks_of(samples: Sequence[float], block_ends: Sequence[int]) -> list[Sequence[float]]:
    """Samples cut into their blocks; `block_ends`: for each, how many samples there are up to its end."""
    return [samples[start:end] for start, end in pairwise([0, *block_ends]) if end > start]


def interval_within(samples: Sequence[float], block_ends: Sequence[int], resolution_s: float) -> Interval:
    """The figure of one visit, the mean of its `place_figures` on logarithms, with the t interval of its
    blocks'.

    No interval is narrower than the clock: each side is at least half of `resolution_s` (seconds a call)
    away. One block alone says nothing about spread; then the interval reaches from the smallest to the
    largest sample.
    """
    logs = [log(figure) for figure in block_figures(samples, block_ends)]
    value = exp(fmean(map(log, place_figures(samples, block_ends))))
    if len(logs) < 2:
        low, high = min(samples), max(samples)
    else:
        half = _half_width(logs)
        low, high = value * exp(-half), value * exp(half)
    floor = min(resolution_s / 2, value / 2)
    return Interval(value, min(low, value - floor), max(high, value + floor))


def spread_between(visits: Sequence[float]) -> float | None:
    """Standard deviation of the visits' logarithms: their coefficient of variation while it is small. None
    below two."""
    return stdev(map(log, visits)) if len(visits) > 1 else None


def two_modes(figures: Sequence[float]) -> bool:
    """Whether figures of visits lie in two groups of two or more, so that their centre is no visit's figure.
    Needs at least five.

    The widest gap between neighbours, on logarithms, must be above `MODES_APART` and `MODES_SPREADS` times
    the spread within the groups: of simulated visits of one mode under 1 % are so.
    """
    logs = sorted(map(log, figures))
    if len(logs) < 5:
        return False
    gap, cut = max((logs[i] - logs[i - 1], i) for i in range(2, len(logs) - 1))
    within = sqrt(
        sum((x - fmean(group)) ** 2 for group in (logs[:cut], logs[cut:]) for x in group) / (len(logs) - 2)
    )
    return gap > max(MODES_APART, MODES_SPREADS * within)


def _half_width(logs: Sequence[float]) -> float:
    """Of the t interval of their mean."""
    return student_t((1 + CONFIDENCE) / 2, len(logs) - 1) * stdev(logs) / sqrt(len(logs))


def describe(
    samples: Sequence[float], block_ends: Sequence[int], resolution_s: float, faults: Sequence[int] = ()
) -> dict[str, float | list[float] | None]:
    """The columns that follow from a visit's samples, in seconds a call, and the page faults of
    each. Needs at least one sample."""
    steady = at_mean_faults(samples, faults)
    within = interval_within(steady, block_ends, resolution_s)
    return {
        "block_figures_s": block_figures(steady, block_ends),
        "place_figures_s": place_figures(steady, block_ends),
        "latency_s": within.value,
        "latency_low_s": within.low,
        "latency_high_s": within.high,
        "latency_min_s": min(samples),
        "latency_p10_s": quantile(samples, FIGURE_SHARE),
        "latency_median_s": median(samples),
        "latency_mad_s": median_deviation(samples),
        "lag1": lag1(steady),
        "drift": drift(steady),
    }
