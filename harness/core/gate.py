"""What a comparison lets pass: the `[gate]` of a suite. Tolerances are fractions, `confirm_pairs` the least
and most fresh pairs of a case.

tolerance = { latency_s = 0.02, peak_bytes = 0.01, macs = 0, parameters = 0 }
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from harness.core.case import ALLOWED, written
from harness.core.columns import COLUMNS
from harness.core.errors import UsageError, nearest
from harness.core.problem import KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping

SIDES = ("base", "head")  # the arms of an A/B
ORDERS = ("turns", "back-to-back", "rounds")  # how the two arms of an A/B alternate
# as they are told: worst first
VERDICTS = ("regressed", "not comparable", "missing", "inconclusive", "improved", "new", "same")
ALL_CASES = "all"  # match_id of the row of what all cases share
TOLERANCES = {"latency_s": 0.02, "peak_bytes": 0.01, "macs": 0.0, "parameters": 0.0}
MATCHED_BY = tuple(column.name for column in COLUMNS if column.part == "case")
CHOICES = {"kind": KINDS, **{name: tuple(map(written, values)) for name, values in ALLOWED.items()}}
MOST_PAIRS = 1000


@dataclass(frozen=True, slots=True)
class Override:
    """Other tolerances for the cases whose columns agree with `match`."""

    match: Mapping[str, Any]
    tolerance: Mapping[str, float]

    def holds_for(self, row: Mapping[Any, Any]) -> bool:
        """Whether a row is meant."""
        return all(written(row[name]) == written(value) for name, value in self.match.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """When a difference counts. Raises UsageError for what cannot be meant."""

    confirm_pairs: tuple[int, int] = (8, 20)
    inconclusive: str = "pass"
    tolerance: Mapping[str, float] = field(default_factory=dict)
    overrides: tuple[Override, ...] = ()

    def __post_init__(self) -> None:
        least, most = self.confirm_pairs
        if not 3 <= least <= most <= MOST_PAIRS:
            raise UsageError(
                f"[{least}, {most}] is no least and most number of pairs",
                where="confirm_pairs",
                hint=f"Both from 3 to {MOST_PAIRS}, in order.",
            )
        if self.inconclusive not in ("pass", "fail"):
            raise UsageError(f"{self.inconclusive!r} is neither pass nor fail", where="inconclusive")
        for tolerance in (self.tolerance, *(override.tolerance for override in self.overrides)):
            _check_tolerance(tolerance)
        for name, value in (pair for override in self.overrides for pair in override.match.items()):
            if name not in MATCHED_BY:
                raise UsageError(
                    f"{name!r} is no column of a case",
                    where="override, match",
                    hint=nearest(name, MATCHED_BY),
                )
            if written(value) not in (allowed := CHOICES.get(name, (written(value),))):
                raise UsageError(
                    f"{name} is never {value!r}", where="override, match", hint=nearest(str(value), allowed)
                )

    def usual(self, metric: str) -> float:
        """The tolerance of a metric where no override holds."""
        return self.tolerance.get(metric, TOLERANCES[metric])

    def tolerance_of(self, metric: str, row: Mapping[Any, Any]) -> float:
        """The tolerance of a metric for a case, a row; the last override that holds wins."""
        held = [
            override.tolerance[metric]
            for override in self.overrides
            if metric in override.tolerance and override.holds_for(row)
        ]
        return [self.usual(metric), *held][-1]

    def with_latency(self, tolerance: float) -> Gate:
        """The same, with one tolerance for the latency of every case."""
        others = [
            Override(override.match, {m: t for m, t in override.tolerance.items() if m != "latency_s"})
            for override in self.overrides
        ]
        return replace(self, tolerance={**self.tolerance, "latency_s": tolerance}, overrides=tuple(others))

    def as_json(self) -> dict[str, Any]:
        """As it stands in run.json."""
        overrides = [
            {"match": dict(override.match), "tolerance": dict(override.tolerance)}
            for override in self.overrides
        ]
        return {
            "confirm_pairs": list(self.confirm_pairs),
            "inconclusive": self.inconclusive,
            "tolerance": {metric: self.usual(metric) for metric in TOLERANCES},
            "override": overrides,
        }

    @classmethod
    def from_json(cls, stated: Mapping[str, Any]) -> Gate:
        """The inverse of `as_json`, and of a suite's table: what is not stated is default."""
        known = {name: stated[name] for name in ("inconclusive", "tolerance") if name in stated}
        if "confirm_pairs" in stated:
            least, most = stated["confirm_pairs"]
            known["confirm_pairs"] = (least, most)
        return cls(
            **known,
            overrides=tuple(
                Override(entry["match"], entry["tolerance"]) for entry in stated.get("override", ())
            ),
        )


def _check_tolerance(tolerance: Mapping[str, float]) -> None:
    for name, value in tolerance.items():
        if name not in TOLERANCES:
            raise UsageError(f"{name!r} has no tolerance", where="tolerance", hint=nearest(name, TOLERANCES))
        if not 0 <= value < 1:
            raise UsageError(
                f"{name} = {value:g} is no fraction from 0 up to 1",
                where="tolerance",
                hint="0.02 stands for 2 %.",
            )
