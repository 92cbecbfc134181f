"""Where a curve jumps, and where two curves cross: what is found on one, and where to look next.

In: places, rows of the summary along a numeric axis, each with its value as `x`. Out: `Step`s and
`Crossing`s. Pure.
What work explains: from one place to the next latency may grow by anything between nothing and as much as
FLOPs or least bytes do, whichever grow more (or shrink likewise). What lies beyond that, past the interval
and by more than a tenth, is a cliff.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from math import exp, log
from typing import TYPE_CHECKING, Any

from harness.analysis.differences import NOTABLE, clearly_slower
from harness.core.interval import Interval

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Place = Mapping[Any, Any]

FIRST_PLACES = (9, 5, 3)  # of a curve, before anything is known of it: as many as there is time for
LOOKS = 4  # steps of a curve that are looked into at a time
HINT = log(NOTABLE) / 2  # a step that is so far out of line is looked into


@dataclass(frozen=True, slots=True)
class Step:
    """From one place of a curve to the next. `growth`: latency on the right over the left; `beyond`: the part
    of its logarithm that work does not explain."""

    left: Place
    right: Place
    growth: Interval
    beyond: float

    @property
    def half(self) -> float:
        """Half of the interval of its growth, on logarithms."""
        return log(self.growth.high / self.growth.low) / 2

    @property
    def is_cliff(self) -> bool:
        """Whether work does not explain it, past the interval and by more than a tenth."""
        between = self.left["interval"] == self.right["interval"] == "between"
        return between and abs(self.beyond) > max(self.half, log(NOTABLE))

    @property
    def change(self) -> str | None:
        """What changed below torch, where both ends are known and differ."""
        ends = (self.left, self.right)
        backends = [place["backend"] for place in ends]
        if all(isinstance(backend, str) for backend in backends) and backends[0] != backends[1]:
            return f"torch's back end changes from {backends[0]} to {backends[1]}"
        one, other = (" and ".join(convolving(place)) for place in ends)
        return f"what convolves changes from {one} to {other}" if one and other and one != other else None


@dataclass(frozen=True, slots=True)
class Crossing:
    """Between two places the faster of two curves changes: `before` up to `left`, `after` from `right` on."""

    before: str
    after: str
    left: int
    right: int


def convolving(place: Place) -> list[str]:
    """The primitives that convolve there, by name; none where nobody looked."""
    primitives = place["primitives"]
    return (
        [one["name"] for one in primitives if one["role"] == "convolution"]
        if isinstance(primitives, Iterable)
        else []
    )


def steps(curve: Sequence[Place]) -> list[Step]:
    """From each place with a figure to the next one."""
    measured = sorted(
        (place for place in curve if (place["latency_s"] or 0) > 0), key=lambda place: place["x"]
    )
    return [_step(left, right) for left, right in pairwise(measured)]


def _step(left: Place, right: Place) -> Step:
    growth = Interval.of_latency(right).over(Interval.of_latency(left))
    grew = log(growth.value)
    work = [0.0, *(log(right[name] / left[name]) for name in ("flops", "minimum_bytes"))]
    beyond = grew - min(max(grew, min(work)), max(work))
    return Step(left, right, growth, beyond)


def crossings(name: str, curve: Sequence[Place], other: str, against: Sequence[Place]) -> list[Crossing]:
    """Where of two curves the one that is clearly faster changes; what lies between could not be told
    apart."""
    beside = {place["x"]: place for place in against}
    faster: list[tuple[int, str]] = []
    for place in sorted(curve, key=lambda place: place["x"]):
        if place["x"] in beside:
            if clearly_slower(beside[place["x"]], place):
                faster.append((place["x"], name))
            elif clearly_slower(place, beside[place["x"]]):
                faster.append((place["x"], other))
    return [
        Crossing(before, after, left, right)
        for (left, before), (right, after) in pairwise(faster)
        if before != after
    ]


def first_places(values: Sequence[int], count: int) -> list[int]:
    """So many values of many, both ends among them, evenly apart on a logarithmic scale."""
    if len(values) <= count:
        return list(values)
    low, high = log(values[0]), log(values[-1])
    wanted = [exp(low + (high - low) * i / (count - 1)) for i in range(count)]
    return sorted({min(values, key=lambda value: abs(value - want)) for want in wanted})


def to_look_into(
    curve: Sequence[Place], values: Sequence[int], explained: Callable[[Step], bool] = lambda _: False
) -> set[int]:
    """The middle value of every step that hides something and has values between: its ends differ below
    torch, or it is out of line by more than its interval; but not of those that are `explained` already."""
    found = steps(curve)
    if not found:  # fewer than two places have a figure
        return set()
    bends = [0.0, *(_bend(before, after) for before, after in pairwise(found)), 0.0]
    hidden = []
    for step, sides in zip(found, pairwise(bends), strict=True):
        out_of_line = max(abs(step.beyond), *map(abs, sides)) > max(HINT, step.half)
        if (step.change or out_of_line) and not explained(step):
            hidden.append(step)
    # the narrowest first: what is found there may explain the others
    narrow = sorted(hidden, key=lambda step: step.right["x"] / step.left["x"])
    middles = [middle(values, step.left["x"], step.right["x"]) for step in narrow]
    return set().union(*[found for found in middles if found][:LOOKS])


def _bend(before: Step, after: Step) -> float:
    """By how much, on logarithms, a step is off what the slope of the one before it foretells, taken over the
    shorter of the two."""
    spans = [log(step.right["x"] / step.left["x"]) for step in (before, after)]
    return (log(after.growth.value) / spans[1] - log(before.growth.value) / spans[0]) * min(spans)


def middle(values: Sequence[int], left: int, right: int) -> set[int]:
    """The value in the middle between two; none where there is none between."""
    between = [value for value in values if left < value < right]
    return {between[len(between) // 2]} if between else set()
