"""A network as it was measured, under each setting, and what is to be said of it."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING

from harness.analysis.networks import Layer, change, network, outside_convolution
from harness.core import units
from harness.core.interval import Interval
from harness.output.views.sweeps import panels

if TYPE_CHECKING:
    from harness.analysis.networks import Network
    from harness.output.views.sweeps import Sweep


NAMED = 0.01  # a share below this is not spoken of


@dataclass(frozen=True, slots=True)
class Measured:
    """A network under one setting: its layers in order, and their sum."""

    name: str
    setting: str
    layers: tuple[Layer, ...]
    whole: Network
    lacking: int  # layers without a latency, which the sum leaves out


def measured(sweep: Sweep) -> list[Measured]:
    """Under each setting: whole ones first, then the smallest batch, then the fastest."""
    parts = panels(sweep)
    asked = round((len(sweep.frame) + sweep.missing) / len(parts))
    found = []
    for title, part in parts:
        rows = part.sort_values("point", kind="stable").to_dict("records")
        layers = tuple(Layer(str(row["layer"]), int(row["repeat"]), row) for row in rows)
        lacking = max(asked - len(layers), 0)
        found.append(Measured(sweep.name, title, layers, network(sweep.name, layers), lacking))
    return sorted(found, key=lambda one: (one.lacking, one.layers[0].row["batch"], one.whole.whole.latency_s))


def headline(first: Measured) -> str:
    """What the network's convolutions take, in the first of its settings."""
    whole = first.whole.whole
    half = whole.half_s / whole.latency_s
    total = Interval.around(log(whole.latency_s), half)
    ends = f"({units.seconds(total.low)} to {units.seconds(total.high)})"
    beside = outside_convolution(first.layers)
    other = f", {units.percent(beside)} of it outside the convolution" if beside and beside >= NAMED else ""
    where = f" with {first.setting}" if first.setting else ""
    lacking = f"; {_layers(first.lacking)} no latency" if first.lacking else ""
    return f"{whole.executed} convolutions{where} take {units.seconds(total.value)} {ends}{other}{lacking}"


def _layers(count: int) -> str:
    return "1 layer has" if count == 1 else f"{count} layers have"


def replacement_headline(before: Measured, after: Measured) -> str:
    """What a replacement gives, with the interval of the quotient; where a side lacks layers, that they
    cannot be compared."""
    lacking = before.lacking + after.lacking
    if lacking:
        return f"Before and after cannot be compared: {_layers(lacking)} no latency"
    sums = [one.whole.whole for one in (before, after)]
    ratio = change(before.layers, after.layers)
    figures = f"{units.seconds(sums[1].latency_s)} instead of {units.seconds(sums[0].latency_s)}"
    if ratio.low <= 1 <= ratio.high:
        said = "no difference that can be told"
    elif ratio.value < 1:
        said = units.times(ratio.inverse, " as fast")
    else:
        said = units.times(ratio, " as long")
    macs = units.percent(sums[1].macs / sums[0].macs)
    return f"After the replacement the convolutions take {figures}: {said}, with {macs} of the MACs"
