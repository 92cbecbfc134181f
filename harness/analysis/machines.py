"""The same layers on several machines: which kind is fastest on each, where they disagree, what a call costs.

In: a row a place of a sweep, with its run, its kind and its latency. Out: tables, and sentences.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import exp, log
from statistics import fmean
from typing import TYPE_CHECKING, Any

from harness.analysis.labels import kind_name, listed
from harness.core import units
from harness.core.interval import Interval
from harness.core.problem import KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

SEPARABLE, PARTS = "depthwise_separable", ("depthwise", "pointwise")  # which are no rivals of the whole
CALLS = 1e6  # that a price is given for
SECONDS_AN_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Fastest:
    """The fastest kind at a place on one machine; `latency`: of a call, in seconds. `others`: of each other
    kind its fastest setting there."""

    kind: str
    latency: Interval
    others: Mapping[str, Interval]

    @property
    def latencies(self) -> Mapping[str, Interval]:
        """Of every kind, the fastest first."""
        return {self.kind: self.latency, **self.others}

    def clearly_over(self, kind: str) -> bool:
        """Whether it is faster than another kind past both intervals."""
        return kind in self.others and self.latency.high < self.others[kind].low


@dataclass(frozen=True, slots=True)
class Place:
    """A layer that more than one machine measured, with at least two kinds on each: what is fastest, by
    machine."""

    name: str
    fastest: Mapping[str, Fastest]

    @property
    def disagree(self) -> bool:
        """Whether two machines each have a kind that is clearly faster there than the other's."""
        return self.apart is not None

    @property
    def apart(self) -> tuple[str, str] | None:
        """The first two machines of which that is so."""
        return next(
            (
                (machine, another)
                for (machine, one), (another, other) in combinations(self.fastest.items(), 2)
                if one.clearly_over(other.kind) and other.clearly_over(one.kind)
            ),
            None,
        )

    def faster(self, machine: str, than: str | None = None) -> str:
        """How many times as fast as another kind, or as the second, its fastest is there."""
        one = self.fastest[machine]
        than = than or min(one.others, key=lambda kind: one.others[kind].value)
        times = units.times(one.others[than].over(one.latency), f" as fast as {kind_name(than)}")
        return f"{kind_name(one.kind)} is {times} on {machine}"


def places(frame: pd.DataFrame) -> list[Place]:
    """The places that several machines measured, in their order. `frame`: columns machine, place, kind and
    those of a latency; several settings of a kind count by the fastest. Where a depthwise separable layer
    was measured, its parts are left out: alone they compute something else."""
    known = frame[frame["latency_s"].notna()]
    found = []
    for name, all_rows in known.groupby("place", sort=False):
        whole = SEPARABLE in set(all_rows["kind"])
        rows = all_rows[~all_rows["kind"].isin(PARTS)] if whole else all_rows
        best = rows.loc[rows.groupby(["machine", "kind"], sort=False)["latency_s"].idxmin()]
        fastest = {str(machine): _fastest(mine) for machine, mine in best.groupby("machine", sort=False)}
        fastest = {machine: one for machine, one in fastest.items() if one.others}
        if len(fastest) > 1:
            found.append(Place(str(name), fastest))
    return found


def _fastest(rows: pd.DataFrame) -> Fastest:
    latencies = {str(row["kind"]): Interval.of_latency(row) for row in rows.to_dict("records")}
    kind = min(latencies, key=lambda one: latencies[one].value)
    return Fastest(kind, latencies.pop(kind), latencies)


def ranking(found: Sequence[Place], machine: str) -> dict[str, float]:
    """By kind, how many times as long it takes as the fastest, the geometric mean over the places where it
    was measured, fastest first."""
    times: dict[str, list[float]] = {}
    for place in found:
        if machine in place.fastest:
            one = place.fastest[machine]
            for kind, latency in one.latencies.items():
                times.setdefault(kind, []).append(log(latency.value / one.latency.value))
    means = {kind: exp(fmean(mine)) for kind, mine in times.items()}
    return dict(sorted(means.items(), key=lambda item: (item[1], KINDS.index(item[0]))))


def names(found: Sequence[Place]) -> list[str]:
    """The machines of some places, in their order."""
    return list(dict.fromkeys(machine for place in found for machine in place.fastest))


def sentences(found: Sequence[Place]) -> list[str]:
    """Where machines disagree, a sentence a place; one sentence where they do nowhere."""
    apart = [place for place in found if place.disagree]
    return [f"At {place.name} {listed(_wins(place))}." for place in apart] or [f"{headline(found)}."]


def headline(found: Sequence[Place]) -> str:
    """The first place where machines disagree, and at how many they do."""
    apart = [(place, place.apart) for place in found if place.apart]
    layers = f"{len(found)} layers" if len(found) > 1 else "this layer"
    if not apart:
        machine = next(iter(found[0].fastest))
        first = f"at {found[0].name} {found[0].faster(machine)}"
        return f"No two machines disagree on the fastest kind of {layers}: {first}"
    place, (one, other) = apart[0]
    kinds = [place.fastest[machine].kind for machine in (one, other)]
    said = f"At {place.name} {place.faster(one, kinds[1])}, and {place.faster(other, kinds[0])}"
    return said if len(found) == 1 else f"{said}; machines disagree at {len(apart)} of {layers}"


def ranking_sentences(found: Sequence[Place]) -> list[str]:
    """How the kinds rank on each machine, a sentence a machine."""
    said = []
    for machine in names(found):
        (first, _), *rest = ranking(found, machine).items()
        others = [
            f"{kind_name(kind)} takes {units.significant(times, 2)} times as long" for kind, times in rest
        ]
        layers = sum(machine in place.fastest for place in found)
        mean = f" (mean of {layers} layers)" if layers > 1 else ""
        said.append(f"On {machine} {kind_name(first)} is fastest, {listed(others)}{mean}.")
    return said


def _wins(place: Place) -> list[str]:
    return [
        f"{kind_name(one.kind)} wins on {machine} ({units.seconds(one.latency.value)})"
        for machine, one in place.fastest.items()
    ]


def price(latency_s: float, an_hour: float) -> float:
    """What a million calls cost, one after the other, on a machine of this price an hour."""
    return CALLS * latency_s / SECONDS_AN_HOUR * an_hour


def as_json(found: Sequence[Place], prices: Mapping[str, float]) -> dict[str, Any]:
    """All of it: by machine its ranking; by place the fastest, and the price where one is given."""
    return {
        "machines": {machine: ranking(found, machine) for machine in names(found)},
        "places": [
            {
                "place": place.name,
                "disagree": place.disagree,
                "fastest": {
                    machine: {"kind": one.kind, "latency_s": one.latency.value}
                    | (
                        {"price_per_million_calls": price(one.latency.value, prices[machine])}
                        if machine in prices
                        else {}
                    )
                    for machine, one in place.fastest.items()
                },
            }
            for place in found
        ],
    }
