"""A positive quantity with its confidence interval, and the quotient of two. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, hypot, log
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Interval:
    """A value between the ends of its interval, in any unit. Raises ValueError unless 0 < low <= value <=
    high."""

    value: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.value <= self.high:
            raise ValueError(f"not an interval around its value: {self}")

    @classmethod
    def around(cls, mean: float, half: float) -> Interval:
        """From a mean of logarithms and half of their interval."""
        return cls(exp(mean), exp(mean - half), exp(mean + half))

    @classmethod
    def of_latency(cls, row: Mapping[Any, Any]) -> Interval:
        """The latency of a row of the summary, in seconds."""
        return cls(row["latency_s"], row["latency_low_s"], row["latency_high_s"])

    @property
    def half_width(self) -> float:
        """Half of it over the value, a fraction."""
        return (self.high - self.low) / (2 * self.value)

    @property
    def inverse(self) -> Interval:
        """One over it."""
        return Interval(1 / self.value, 1 / self.high, 1 / self.low)

    def scaled(self, factor: float) -> Interval:
        """So many times it."""
        return Interval(factor * self.value, factor * self.low, factor * self.high)

    def over(self, other: Interval) -> Interval:
        """The quotient, where the two are independent: half of its interval, on logarithms, is the root of
        the sum of squares."""
        half = hypot(*(log(one.high / one.low) / 2 for one in (self, other)))
        return self.around(log(self.value / other.value), half)
