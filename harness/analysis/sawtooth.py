"""Whether a curve's cliffs come again and again at equal distances, as where a kernel works on blocks of 16
channels.

In: places of a curve, and the values that it may be measured at. Out: `Sawtooth`s, or the values that would
tell. Pure.
A period is not guessed from where cliffs were seen, as the search looks at few values: it is tried. If a
cliff of the same direction is exactly one period from another, the period holds, and its half and its third
are tried, as long as they hold. The first that is tried is what the distances of three cliffs have in common,
or a power of two.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from math import gcd, log
from typing import TYPE_CHECKING

from harness.analysis.cliffs import steps
from harness.analysis.differences import NOTABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.analysis.cliffs import Place, Step

LONGEST_TRIED = 32  # values: the widest block of a kernel on a CPU, or a multiple of it
LEAST_PERIODS = 3  # within the values, for a period to be one
FEWEST_TO_DIVIDE = 3  # cliffs whose distances have something in common
FEWEST_TEETH = 3


@dataclass(frozen=True, slots=True)
class Sawtooth:
    """Cliffs of one direction, `period` apart. `teeth`: those that were measured, each from the value before
    it; `deepest`: the largest part of their logarithms that work does not explain."""

    period: int
    teeth: tuple[Step, ...]
    deepest: float

    def largest(self, count: int) -> tuple[Step, ...]:
        """So many of its teeth, in their order."""
        large = sorted(self.teeth, key=lambda step: -abs(step.beyond))[:count]
        return tuple(step for step in self.teeth if step in large)

    def of(self, teeth: Sequence[Step]) -> Sawtooth:
        """The same with these teeth, as they were measured anew."""
        return replace(self, teeth=tuple(teeth))

    def explains(self, step: Step) -> bool:
        """Whether a step holds one of its teeth, measured or not, and is no larger than they are."""
        remainder = self.teeth[0].right["x"] % self.period
        first = step.left["x"] + 1
        tooth = first + (remainder - first) % self.period
        return bool(tooth <= step.right["x"] and abs(step.beyond) <= self.deepest + log(NOTABLE))


def sawteeth(curve: Sequence[Place], values: Sequence[int]) -> tuple[list[Sawtooth], set[int]]:
    """Those that were found, and the values that are to be measured for others to be. None of values that are
    not equally far apart."""
    gaps = {right - left for left, right in pairwise(values)}
    if len(gaps) != 1:
        return [], set()
    gap = gaps.pop()
    cliffs = [step for step in steps(curve) if step.is_cliff and step.right["x"] - step.left["x"] == gap]
    found, wanted = [], set[int]()
    for upward in (True, False):
        teeth = {step.right["x"]: step for step in cliffs if (step.beyond > 0) == upward}
        comb = _Comb(
            tuple(sorted(teeth)), gap, values[0], values[-1], frozenset(place["x"] for place in curve)
        )
        period, missing = comb.period()
        wanted |= missing
        if period:
            kept = tuple(teeth[x] for x in comb.alike(period))
            found.append(Sawtooth(period, kept, max(abs(step.beyond) for step in kept)))
    return found, wanted


@dataclass(frozen=True, slots=True)
class _Comb:
    """Places of cliffs of one direction, among the values from `first` to `last`, a `gap` apart, of which
    some were `measured`."""

    teeth: tuple[int, ...]
    gap: int
    first: int
    last: int
    measured: frozenset[int]

    def period(self) -> tuple[int | None, set[int]]:
        """The shortest period that holds, or the values that would tell."""
        for longest in self._first_tried():
            found, tried = None, [longest]
            while tried:
                period = tried.pop(0)
                holds = self._holds(period)
                if isinstance(holds, set):
                    return None, holds
                if holds:
                    found, tried = period, [period // part for part in (2, 3) if not period % part]
            if found:
                return self._with_a_third(found)
        return None, set()

    def alike(self, period: int) -> list[int]:
        """The teeth of the remainder that most of them have."""
        remainders = [x % period for x in self.teeth]
        return [x for x in self.teeth if x % period == max(remainders, key=remainders.count)]

    def _first_tried(self) -> list[int]:
        """What the distances of the cliffs have in common, and a power of two; a period fits several times
        between the values."""
        if not self.teeth:
            return []
        longest = (self.last - self.first) // LEAST_PERIODS
        if longest < self.gap:
            return []
        tried = [self.gap * min(LONGEST_TRIED, 1 << (longest // self.gap).bit_length() - 1)]
        if len(self.teeth) >= FEWEST_TO_DIVIDE:
            tried.insert(0, gcd(*(right - left for left, right in pairwise(self.teeth))))
        return [period for period in tried if period <= longest]

    def _holds(self, period: int) -> bool | set[int]:
        """Whether two teeth are so far apart, or what is to be measured to tell: a value that is so far from
        the first one, and the value before it. No period is shorter than two gaps."""
        if period < 2 * self.gap or period % self.gap:
            return False
        if any(right - left == period for left, right in combinations(self.teeth, 2)):
            return True
        for other in (self.teeth[0] + period, self.teeth[0] - period):
            if self._can_be(other):
                return self._missing(other) or False
        return False

    def _with_a_third(self, period: int) -> tuple[int | None, set[int]]:
        """Two cliffs may be so far apart by chance: the period once there is a third, or what would tell."""
        alike = self.alike(period)
        if len(alike) >= FEWEST_TEETH:
            return period, set()
        for other in (alike[0] - period, alike[-1] + period):
            if self._can_be(other) and (missing := self._missing(other)):
                return None, missing
        return None, set()

    def _can_be(self, tooth: int) -> bool:
        return self.first + self.gap <= tooth <= self.last

    def _missing(self, tooth: int) -> set[int]:
        return {tooth - self.gap, tooth} - self.measured
