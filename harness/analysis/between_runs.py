"""Two runs that were measured apart, case by case: what all their cases share, and what each has of its own.

In: valid visits of either run. Out: the shift that the cases share, and a row a case with mean, error,
degrees and count of what is left. Pure.

A machine that is shared is slower in one minute and faster in the next, for all cases alike: runs of equal
code differ by 2 to 14 % so, and their cases, once that is taken off, by 2 to 5 %. Both spreads are in the
runs themselves. How far the rounds of a run lie apart tells how far whole runs do; how far a case strays from
what its round shares, and how far the cases of the two runs stray from their shift, tells what is left to
chance. docs/gate.md says how often that was right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from harness.analysis.blocks import uninterrupted
from harness.analysis.pair_effects import map_values
from harness.core.gate import SIDES
from harness.core.stats import middle_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

FEWEST_VISITS = 3
FEWEST_SHARING = 6  # cases: fewer do not tell what they share from what one of them has
# standard deviation of logarithms by which a case differs between runs at least, beyond its visits
CASES_APART = 0.005
TO_DEVIATION = 1.4826  # standard deviations in a median absolute deviation of a normal distribution
LEAST_VARIANCE = 1e-8  # of logarithms: no clock tells less than 0.01 %
MOST_DEGREES = 1e6


@dataclass(frozen=True, slots=True)
class Shift:
    """What head takes longer than base, a logarithm that all cases have in common, with its standard error
    and degrees of freedom."""

    mean: float
    error: float
    degrees: float
    cases: int
    rounds: int


def split(base: pd.DataFrame, head: pd.DataFrame, run_spread: float) -> tuple[Shift | None, pd.DataFrame]:
    """The shift, and the effects without it; of fewer than six cases that both have by three visits no shift,
    and the effects as they are.

    `base` and `head`: valid visits with match_id, round, latency_s and, where blocks are known,
    block_figures_s. `run_spread`: what runs of this machine differ by beyond their visits, a standard
    deviation of logarithms. Effects are by match_id, with columns mean, error, degrees and count.
    """
    runs = {side: _by_round(visits) for side, visits in zip(SIDES, (base, head), strict=True)}
    both = runs["base"].index.intersection(runs["head"].index)
    fewest = pd.concat([run.loc[both].count(axis=1) for run in runs.values()], axis=1).min(axis=1)
    enough = both[fewest >= FEWEST_VISITS]
    runs = {side: run.loc[enough].dropna(axis=1, how="all") for side, run in runs.items()}
    if len(enough) < FEWEST_SHARING:
        return None, _whole(runs, run_spread)
    shares = {side: _shared(run) for side, run in runs.items()}
    steady = {side: runs[side].sub(shares[side], axis=1) for side in SIDES}
    means = steady["head"].mean(axis=1) - steady["base"].mean(axis=1)
    shift, own = float(means.median()), means - means.median()
    return _shift(shift, shares, len(enough), run_spread), _own(own, steady, min(run_spread, CASES_APART))


def level(visits: pd.DataFrame) -> pd.Series[float]:
    """What a call took in a visit, as a logarithm of seconds: the mean of the middle half of its blocks that
    were not interrupted. It varies less from run to run than the low quantile that is a case's latency, once
    what the round shares is taken off; without blocks it is the latency."""
    found = map_values(np.log, visits["latency_s"])
    known = visits[visits["block_figures_s"].notna()]
    calm = [np.log(figures[~np.isnan(figures)]) for figures in uninterrupted(known)]
    found.update(
        pd.Series([middle_mean(figures.tolist()) for figures in calm], index=known.index, dtype=float)
    )
    return found


def _by_round(visits: pd.DataFrame) -> pd.DataFrame:
    """A row a case, a column a round."""
    return visits.assign(level=level(visits)).pivot_table(
        index="match_id", columns="round", values="level", aggfunc="mean", dropna=False
    )


def _shared(run: pd.DataFrame) -> pd.Series[float]:
    """By round, by how much it was slower than the others for all cases; 0 where few were measured."""
    strayed = run.sub(run.mean(axis=1), axis=0)
    return strayed.median().where(strayed.count() >= FEWEST_SHARING, 0.0)


def _shift(mean: float, shares: Mapping[str, pd.Series[float]], cases: int, run_spread: float) -> Shift:
    """A run as a whole moves as its rounds do, and does not get steadier by having more of them: they are
    minutes of the same hour."""
    variances = {side: max(float(shared.var()), LEAST_VARIANCE) for side, shared in shares.items()}
    variance = sum(variances.values()) + 2 * run_spread**2
    uncertain = sum(variances[side] ** 2 / (len(shared) - 1) for side, shared in shares.items())
    return Shift(mean, variance**0.5, variance**2 / uncertain, cases, min(map(len, shares.values())))


def _own(own: pd.Series[float], steady: Mapping[str, pd.DataFrame], least: float) -> pd.DataFrame:
    """Errors from what cases stray within their runs, `moderated`, and from what they stray between them:
    after DerSimonian and Laird (1986), with the median absolute deviation for the spread, since a few cases
    may have changed."""
    counts = {side: run.count(axis=1) for side, run in steady.items()}
    degrees = counts["base"] + counts["head"] - 2
    pooled = sum((counts[side] - 1) * steady[side].var(axis=1) for side in SIDES) / degrees
    variances, known = moderated(pooled, degrees.astype(float))
    within = variances * sum(1 / count for count in counts.values())
    apart = (TO_DEVIATION * float(own.abs().median())) ** 2 - float(within.median())
    variance = within + max(2 * least**2, apart)
    return pd.DataFrame(
        {
            "mean": own,
            "error": np.sqrt(variance),
            "degrees": known * (variance / within) ** 2,
            "count": pd.concat(counts, axis=1).min(axis=1),
        }
    )


def _whole(runs: Mapping[str, pd.DataFrame], run_spread: float) -> pd.DataFrame:
    """Of few cases, whose shift nobody knows: each moves from run to run as it does from round to round."""
    variances = {side: run.var(axis=1).clip(lower=LEAST_VARIANCE) for side, run in runs.items()}
    counts = {side: run.count(axis=1) for side, run in runs.items()}
    variance = sum(variances.values()) + 2 * run_spread**2
    uncertain = sum(variances[side] ** 2 / (counts[side] - 1) for side in SIDES)
    mean = runs["head"].mean(axis=1) - runs["base"].mean(axis=1)
    columns = {
        "mean": mean,
        "error": np.sqrt(variance),
        "degrees": variance**2 / uncertain,
        "count": pd.concat(counts, axis=1).min(axis=1),
    }
    return pd.DataFrame(columns)


def moderated(
    variances: pd.Series[float], degrees: pd.Series[float]
) -> tuple[pd.Series[float], pd.Series[float]]:
    """The cases' variances drawn towards the one that they have in common, the more so the less they differ,
    and their degrees of freedom.

    Smyth, Linear models and empirical Bayes methods, Statistical Applications in Genetics and Molecular
    Biology 3 (2004), section 6.2: three or four visits tell little of a case's spread, and many cases of one
    run much.
    """
    from scipy.optimize import brentq
    from scipy.special import digamma, polygamma

    kept = variances.clip(lower=LEAST_VARIANCE)
    strayed = map_values(np.log, kept) - digamma(degrees / 2) + map_values(np.log, degrees / 2)
    beyond = float(strayed.var() - polygamma(1, degrees / 2).mean())
    most = MOST_DEGREES
    prior = (
        most
        if beyond <= polygamma(1, most / 2)
        else 2 * brentq(lambda half: polygamma(1, half) - beyond, 1e-3, most / 2)
    )
    common = float(np.exp(strayed.mean() + digamma(prior / 2) - np.log(prior / 2)))
    return (prior * common + degrees * kept) / (prior + degrees), prior + degrees
