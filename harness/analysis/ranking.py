"""Arms that took turns, ranked case by case, with intervals that hold for all of their comparisons at once.

In: visits of two arms or more, whose rows of one pair share its number. Out: a `Ranking` a case. Pure.

The fastest arm is found in the same figures that it is compared with the others in, so each comparison of a
case is made at (1 - 0.95) / K, with K = N (N - 1) / 2 pairs of arms: Bonferroni's inequality, after Dunn,
*Multiple comparisons among means* (1961). With 95 % probability, all ratios of a case lie in their intervals.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.analysis.pair_effects import pair_ratios, paired_effects
from harness.analysis.summary import is_valid
from harness.core.case import Case
from harness.core.interval import Interval
from harness.core.protocol import PARTNER
from harness.core.stats import CONFIDENCE, student_t

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import pandas as pd

FEWEST = 3  # pairs that two arms share
NOTABLE_ERROR = 2.0  # times another: a numeric error that differs by less is not spoken of


@dataclass(frozen=True, slots=True)
class Place:
    """An arm in a ranking: its latency, by how many times it takes as long as the fastest, whether the two
    could not be told apart, and what else it differs in. `message`: why it has no latency."""

    arm: str
    latency_s: float | None
    over_fastest: Interval | None
    tied: bool
    pairs: int
    peak_bytes: float | None
    error: float | None
    message: str | None


@dataclass(frozen=True, slots=True)
class Ranking:
    """The arms of one case, fastest first, those without a latency last; and the ratio of any two, second
    over first, where they share enough pairs."""

    asked_id: str
    label: str
    places: tuple[Place, ...]
    ratios: dict[tuple[str, str], Interval]

    def over(self, base: str, other: str) -> Interval | None:
        """By how many times other takes as long as base."""
        if (base, other) in self.ratios:
            return self.ratios[base, other]
        found = self.ratios.get((other, base))
        return found.inverse if found else None

    @property
    def first(self) -> list[str]:
        """The fastest arm and those that cannot be told from it."""
        known = [place for place in self.places if place.latency_s is not None]
        return [place.arm for i, place in enumerate(known) if i == 0 or place.tied]


def rank(visits: pd.DataFrame, arms: Sequence[str], changed: Collection[str]) -> list[Ranking]:
    """A ranking of each case that was visited. `changed`: the axes that the arms have different values of,
    which a case's label leaves out; of a problem that they change, it is the first arm's."""
    marked = visits.assign(match_id=visits["asked_id"], order=visits["arm"].map(list(arms).index))
    level = 1 - (1 - CONFIDENCE) / max(comb(len(arms), 2), 1) / 2
    effects = {
        two: paired_effects(pair_ratios(marked, two)).query(f"count >= {FEWEST}")
        for two in combinations(arms, 2)
    }
    found = []
    for identity, mine in marked.sort_values("order", kind="stable").groupby("match_id", sort=False):
        ratios = {
            two: _interval(one.loc[[identity]].iloc[0], level)
            for two, one in effects.items()
            if identity in one.index
        }
        label = Case.from_row(mine.iloc[0].to_dict()).named(changed)
        found.append(_ranking(str(identity), label, mine, arms, ratios))
    return found


def _interval(effect: pd.Series[float], level: float) -> Interval:
    half = student_t(level, int(effect["degrees"])) * effect["error"]
    return Interval.around(effect["mean"], half)


def _ranking(
    identity: str,
    label: str,
    visits: pd.DataFrame,
    arms: Sequence[str],
    ratios: dict[tuple[str, str], Interval],
) -> Ranking:
    whole = Ranking(identity, label, (), ratios)
    ordered = _ordered([arm for arm in arms if any(arm in two for two in ratios)], ratios)
    places = [_place(arm, ordered[0], visits, whole) for arm in ordered]
    places += [_place(arm, None, visits, whole) for arm in arms if arm not in ordered]
    return Ranking(identity, label, tuple(places), ratios)


def _ordered(arms: Sequence[str], ratios: dict[tuple[str, str], Interval]) -> list[str]:
    """Fastest first, by the levels that the known ratios agree with best (least squares on logarithms): two
    arms may lack pairs with each other."""
    if not arms:
        return []
    equations = np.zeros((len(ratios), len(arms)))
    for row, (base, other) in enumerate(ratios):
        equations[row, arms.index(base)], equations[row, arms.index(other)] = -1.0, 1.0
    levels, *_ = np.linalg.lstsq(equations, np.log([ratio.value for ratio in ratios.values()]), rcond=None)
    return [arm for _, arm in sorted(zip(levels, arms, strict=True), key=lambda one: one[0])]


def _place(arm: str, fastest: str | None, visits: pd.DataFrame, whole: Ranking) -> Place:
    mine = visits[visits["arm"] == arm]
    valid = mine[is_valid(mine)]
    ratio = None
    if fastest is not None:
        ratio = Interval(1.0, 1.0, 1.0) if arm == fastest else whole.over(fastest, arm)
    return Place(
        arm,
        float(valid["latency_s"].median()) if ratio else None,
        ratio,
        ratio is not None and arm != fastest and ratio.low <= 1,
        len(valid),
        _known(mine, "peak_bytes"),
        _known(mine, "error"),
        None if ratio else _why(mine, visits),
    )


def _known(visits: pd.DataFrame, name: str) -> float | None:
    values = visits[name].dropna()
    return float(values.iloc[0]) if len(values) else None


def _why(mine: pd.DataFrame, visits: pd.DataFrame) -> str:
    """Why an arm has no place: it failed, nobody was left to compare it with, or it was disturbed."""
    failed, others = (_failures(some) for some in (mine, visits))
    if len(failed):
        row: dict[Any, Any] = failed.iloc[-1].to_dict()
        return f"{str(row['status']).replace('_', ' ')}: {row['message']}"
    if len(others):
        return f"nobody was left to compare it with: {' and '.join(dict.fromkeys(others['arm']))} failed"
    return f"fewer than {FEWEST} undisturbed pairs with the fastest"


def _failures(visits: pd.DataFrame) -> pd.DataFrame:
    left = visits["message"].fillna("").str.startswith(PARTNER)
    return visits[(visits["status"] != "ok") & ~left]
