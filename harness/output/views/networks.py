"""A network as it was measured, under each setting, and what is to be said of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.analysis.networks import Layer, beside_convolution, network
from harness.core import units
from harness.core.interval import Interval
from harness.output.views.sweeps import panels

if TYPE_CHECKING:
    from harness.analysis.networks import Network
    from harness.output.views.sweeps import Sweep


@dataclass(frozen=True, slots=True)
class Measured:
    """A network under one setting: its layers in order, and their sum."""

    name: str
    setting: str
    layers: tuple[Layer, ...]
    whole: Network


def measured(sweep: Sweep) -> list[Measured]:
    """Under each setting, the fastest first."""
    found = []
    for title, part in panels(sweep):
        rows = part.sort_values("point", kind="stable").to_dict("records")
        layers = [Layer(str(row["layer"]), int(row["repeat"]), row) for row in rows]
        found.append(Measured(sweep.name, title, tuple(layers), network(sweep.name, layers)))
    return sorted(found, key=lambda one: one.whole.whole.latency_s)


def told(sweep: Sweep) -> str:
    """What the network's convolutions take, in the fastest setting."""
    first = measured(sweep)[0]
    whole = first.whole.whole
    low, high = (units.seconds(whole.latency_s + side * whole.half_s) for side in (-1, 1))
    beside = beside_convolution(first.layers)
    other = f", {units.percent(beside)} of it not convolution" if beside is not None else ""
    where = f" with {first.setting}" if first.setting else ""
    return (
        f"{whole.executed} convolutions{where} take {units.seconds(whole.latency_s)} ({low} to {high}){other}"
    )


def replaced(before: Measured, after: Measured) -> str:
    """What a replacement gives, with the interval of the quotient."""
    sums = [one.whole.whole for one in (before, after)]
    sides = [Interval(one.latency_s, one.latency_s - one.half_s, one.latency_s + one.half_s) for one in sums]
    ratio = sides[1].over(sides[0])
    faster = f"{units.times(ratio.inverse)} faster" if ratio.value < 1 else f"{units.times(ratio)} slower"
    macs = units.significant(sums[1].macs / sums[0].macs, 2)
    return (
        f"After the replacement the convolutions are {faster}: {units.seconds(sums[1].latency_s)} instead of "
        f"{units.seconds(sums[0].latency_s)}, with {macs} of the MACs"
    )
