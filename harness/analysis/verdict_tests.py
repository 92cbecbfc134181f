"""Judging: what effects prove, and how many pairs it takes to prove more. Pure.

The one test. A case is `regressed` when "ratio <= 1 + T" is rejected, `improved` when "ratio >= 1 / (1 + T)"
is, one-sided t on log ratios, with Benjamini and Hochberg's bound (1995) on the share of false ones among
those named; `same` when the 90 % interval lies within +-ln(1 + T) (two one-sided tests, Schuirmann 1987).
Everything else is `inconclusive`. The test is shifted by T, since to demand a difference from 0 and an
interval above T besides finds a slowdown of 5 % two times in a hundred.

Two stages. Screening clears, and names what is beyond doubt: the rest gets fresh pairs, so many as Stein's
rule (1945) takes from what the screening saw, and is judged on those alone. A case that only looked slow by
chance is measured again before it is accused.

`limits`, everywhere: ln(1 + T) by case.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from harness.analysis.pair_effects import map_values, paired_effects
from harness.core.interval import Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.analysis.between_runs import Shift
    from harness.core.gate import Gate

FALSE_SHARE = 0.05  # of those named regressed, and of those named improved
SAME_CONFIDENCE = 0.9
POWER = 0.8
FEWEST = 3  # pairs, or visits of an arm
FOUND_ABOVE = 0.03  # confirming pairs are planned to find a slowdown so far above the tolerance
LEAST_ERROR = 1e-9  # figures that do not vary at all would divide by nothing
# a case of the screening that is named at once: by its test, and by more than a tenth
CERTAIN, OBVIOUS = 1e-5, log(1.1)
SHIFT_FALSE = 0.01  # of runs of equal code so many may seem slower as a whole
FEWEST_COMMON = 6  # cases: with fewer no 95 % interval of their median exists


@dataclass(frozen=True, slots=True)
class Common:
    """A factor that all cases share, head over base: the median of so many cases with its 95 % interval."""

    ratio: Interval
    cases: int


def planned(screened: pd.DataFrame, limits: pd.Series[float], gate: Gate) -> pd.DataFrame:
    """By case, `pairs` that confirming it takes, and `short` where the gate allows fewer than its spread asks
    for.

    After Stein (1945), from the spread in the screening: so many that a slowdown of T + 3 % is told from T.
    What is plainly further off needs fewer: there the lower end of the effect's 90 % interval is to be told
    from T. `screened`: as `paired_effects` gives them.
    """
    from scipy.stats import t

    limit, quantile = limits.reindex(screened.index), t.ppf((1 + SAME_CONFIDENCE) / 2, screened["degrees"])
    least = screened["mean"].abs() - quantile * screened["error"]
    gap = least.clip(lower=map_values(np.log1p, map_values(np.expm1, limit) + FOUND_ABOVE)) - limit
    wanted = map_values(np.ceil, (screened["spread"] * 2 * quantile / gap) ** 2)
    fewest, most = gate.confirm_pairs
    return pd.DataFrame({"pairs": wanted.clip(fewest, most).astype(int), "short": wanted > most})


def tested(effects: pd.DataFrame, limits: pd.Series[float]) -> pd.DataFrame:
    """The effects that stand on enough, with tests against `limits`, ln(1 + T) by case: low and high (90 %),
    p_slower, p_faster, same."""
    from scipy.stats import t

    counted = effects[effects["count"] >= FEWEST]
    limit, error = limits.reindex(counted.index), counted["error"].clip(lower=LEAST_ERROR)
    half = t.ppf((1 + SAME_CONFIDENCE) / 2, counted["degrees"]) * error
    low, high = counted["mean"] - half, counted["mean"] + half
    return counted.assign(
        low=low,
        high=high,
        p_slower=t.sf((counted["mean"] - limit) / error, counted["degrees"]),
        p_faster=t.sf((-counted["mean"] - limit) / error, counted["degrees"]),
        same=(low >= -limit) & (high <= limit),
    )


def assign_verdicts(judged: pd.DataFrame) -> pd.DataFrame:
    """With verdicts; regressed and improved are families of their own, each with its bound on false ones."""
    from scipy.stats import false_discovery_control

    verdict = pd.Series(np.where(judged["same"], "same", "inconclusive"), index=judged.index, dtype="object")
    if len(judged):
        verdict[false_discovery_control(judged["p_slower"]) <= FALSE_SHARE] = "regressed"
        verdict[false_discovery_control(judged["p_faster"]) <= FALSE_SHARE] = "improved"
    return judged.assign(verdict=verdict)


def of_shift(shift: Shift, limit: float) -> pd.DataFrame:
    """One row, the verdict on what all cases share, by the same test at a level of its own: it is one test,
    and stands for all."""
    row = pd.DataFrame(
        {"mean": [shift.mean], "error": [shift.error], "degrees": [shift.degrees], "count": [shift.rounds]}
    )
    found = tested(row, pd.Series([limit]))
    choices = [found["p_slower"] <= SHIFT_FALSE, found["p_faster"] <= SHIFT_FALSE, found["same"]]
    return found.assign(verdict=np.select(choices, ["regressed", "improved", "same"], "inconclusive"))


def decide(screening: pd.DataFrame, confirming: pd.DataFrame, limits: pd.Series[float]) -> pd.DataFrame:
    """The verdicts of two stages, by match_id of pairs (as `pair_ratios` gives them): the tests' columns,
    stage and verdict.

    `screening` holds the pairs of cases that have no confirming ones: they are `same`, or `inconclusive`, or
    so far off that no chance of choosing them explains it, and nothing is to be confirmed. Cases with fewer
    than three pairs have no row.
    """
    screened = tested(paired_effects(screening), limits)
    slower = (screened["p_slower"] < CERTAIN) & (screened["mean"] > OBVIOUS)
    faster = (screened["p_faster"] < CERTAIN) & (screened["mean"] < -OBVIOUS)
    screened["verdict"] = np.select(
        [screened["same"], slower, faster], ["same", "regressed", "improved"], "inconclusive"
    )
    return pd.concat(
        [
            screened.assign(stage="screen"),
            assign_verdicts(tested(paired_effects(confirming), limits)).assign(stage="confirm"),
        ]
    )


def smallest_effects(
    error: pd.Series[float], degrees: pd.Series[float], limits: pd.Series[float], family: int
) -> pd.Series[float]:
    """By case, the slowdown that is found with 80 % power when it is the only one of a family of tests: a
    fraction.

    `error`: of the mean log ratio. The usual sum of two quantiles of t stands for the noncentral t, above
    ln(1 + T).
    """
    from scipy.stats import t

    reach = t.ppf(1 - FALSE_SHARE / max(family, 1), degrees) + t.ppf(POWER, degrees)
    return map_values(np.expm1, limits.reindex(error.index) + reach * error)


def smallest_of_two_stages(
    screened: pd.DataFrame, confirmed: pd.DataFrame, limits: pd.Series[float], gate: Gate
) -> pd.Series[float]:
    """A confirmed case's smallest effect, from its own pairs; another's from the pairs that it would have
    got. Both: `paired_effects`."""
    own = smallest_effects(confirmed["error"], confirmed["degrees"], limits, len(confirmed))
    others = screened[(screened["count"] >= FEWEST) & ~screened.index.isin(confirmed.index)]
    pairs = planned(others, limits, gate)["pairs"]
    return pd.concat(
        [own, smallest_effects(others["spread"] / np.sqrt(pairs), pairs - 1, limits, len(confirmed) + 1)]
    )


def common_factor(means: Sequence[float], limit: float) -> Common | None:
    """The median of the cases' log ratios, where its 95 % interval (order statistics, the sign test) lies
    wholly beyond `limit`."""
    from scipy.stats import binom

    ordered, count = sorted(means), len(means)
    if count < FEWEST_COMMON:
        return None
    below = int(binom.ppf(0.025, count, 0.5)) - 1  # so many of either end may be left out
    low, high = ordered[below], ordered[-1 - below]
    if not (low > limit or high < -limit):
        return None
    return Common(Interval(exp(float(np.median(ordered))), exp(low), exp(high)), count)
