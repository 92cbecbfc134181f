"""How many times as long one case of a run takes as another, with an interval.

In: rows of the summary with what `with_moments` adds. Out: a `Ratio`, or an `Interval`. Two cases are
compared in the moments that both met (`interleaved_ratio`), or else by their figures.
"""

from __future__ import annotations

from math import hypot, log
from typing import TYPE_CHECKING, Any

import pandas as pd

from harness.analysis import interleaved_ratio
from harness.analysis.differences import NOTABLE, clearly_slower
from harness.analysis.interleaved_ratio import WITHIN_RUN, Ratio
from harness.analysis.summary import KEYS
from harness.core.interval import Interval

if TYPE_CHECKING:
    from collections.abc import Mapping

    Row = Mapping[Any, Any]

SURE = 5.0  # standard errors: of a million comparisons of equal cases not one
MEDIAN_SPREAD = 0.83  # of three normal figures: the median of their standard deviation over the true one


def with_moments(summary: pd.DataFrame, visits: pd.DataFrame) -> pd.DataFrame:
    """The summary with `standard_error`, that of each latency on logarithms, and `moments`, its blocks
    by the moment that they were measured in.

    The error of a case is that of its own spread or of the usual case of its run, whichever is larger: three
    visits agree by luck now and then. What all cases of a run share, the hour above all, is no part of it.
    """
    measured = summary["latency_s"].notna()  # a case without a latency is no usual one
    spread = pd.to_numeric(summary["between_cv"]).fillna(0.0).where(measured)
    usual = spread.groupby([summary["run_id"], summary["arm"]]).transform("median") / MEDIAN_SPREAD
    error = (spread.clip(lower=usual) ** 2 / summary["visits"] + WITHIN_RUN**2) ** 0.5
    met = interleaved_ratio.of_cases(visits)
    keys = zip(*(summary[name] for name in KEYS), strict=True)
    moments = pd.Series([met.get(key, {}) for key in keys], index=summary.index, dtype="object")
    return summary.assign(standard_error=error, moments=moments)


def ratio(base: Row, other: Row) -> Ratio:
    """How many times as long other takes."""
    paired = interleaved_ratio.ratio(base["moments"], other["moments"])
    error = hypot(base["standard_error"], other["standard_error"])
    return paired or Ratio(other["latency_s"] / base["latency_s"], error, paired=False)


def times(base: Row, other: Row) -> Interval:
    """How many times as long other takes, with a 95 % interval: in the moments that both met, else the
    quotient of their latencies."""
    paired = interleaved_ratio.ratio(base["moments"], other["moments"])
    if paired:
        return Interval(paired.value, paired.low, paired.high)
    return Interval.of_latency(other).over(Interval.of_latency(base))


def is_clear(fast: Row, slow: Row) -> bool:
    """Whether one case is slower than another, past a tenth and what luck can do, and past both intervals
    where they met no moments together."""
    found = ratio(fast, slow)
    return (
        found.value > NOTABLE
        and log(found.value) > SURE * found.error
        and (found.paired or clearly_slower(slow, fast))
    )
