"""A network's convolutions added up: what they take by kind, by layer and by part of a call.

In: rows of the summary, each with how often its layer runs. Out: a `Network`, or `Finding`s about one.
A sum of layers is not the network: it leaves out what lies between them, and every layer finds its weights in
the cache.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from math import hypot, log
from typing import TYPE_CHECKING, Any

from harness.analysis.case_estimate import SIDE
from harness.analysis.finding import Finding
from harness.analysis.labels import kind_name, listed
from harness.core import units
from harness.core.interval import Interval
from harness.core.problem import KINDS
from harness.core.stats import RUN_SPREAD

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Row = Mapping[Any, Any]

SLOWEST = 5  # layers whose share is told together
# what a kind could be replaced by, for the command that would measure it
SWAPS = {
    "standard": "depthwise_separable",
    "grouped": "depthwise_separable",
    "depthwise": "grouped:8",
    "pointwise": "grouped:4",
}


@dataclass(frozen=True, slots=True)
class Sum:
    """A kind's share of a network, or all of it: convolutions that run, MACs, parameters, and seconds with
    half of their 95 % interval."""

    kind: str
    executed: int
    macs: int
    parameters: int
    latency_s: float
    half_s: float


@dataclass(frozen=True, slots=True)
class Network:
    """A sum for each kind, then all of it; layers that have no figure are named, and counted nowhere."""

    name: str
    kinds: list[Sum]
    whole: Sum
    unmeasured: list[str]


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer that was measured: its name, how often the network runs it, and its row of the summary."""

    name: str
    repeat: int
    row: Row

    @property
    def total_s(self) -> float:
        """Seconds of all its runs."""
        return float(self.repeat * self.row["latency_s"])


def network(name: str, layers: Sequence[Layer], unmeasured: Sequence[str] = ()) -> Network:
    """Layers that have a figure, added up."""
    kinds = [_sum(kind, [one for one in layers if one.row["kind"] == kind]) for kind in KINDS]
    return Network(name, [one for one in kinds if one.executed], _sum("all", layers), list(unmeasured))


def _sum(kind: str, layers: Sequence[Layer]) -> Sum:
    """Of one kind. A case that stands for several layers errs alike in all of them; different cases err
    independently, and add in square. What runs differ by is common to all cases, and is no smaller for a
    sum."""
    executed: Counter[str] = Counter()
    for layer in layers:
        executed[layer.row["case_id"]] += layer.repeat
    distinct = {layer.row["case_id"]: layer.row for layer in layers}
    halves = [
        count * (distinct[case]["latency_high_s"] - distinct[case]["latency_low_s"]) / 2
        for case, count in executed.items()
    ]

    def total(name: str) -> Any:
        return sum(count * distinct[case][name] for case, count in executed.items())

    latency_s = total("latency_s")
    half_s = hypot(*halves, SIDE * RUN_SPREAD * latency_s)
    return Sum(kind, executed.total(), int(total("macs")), int(total("parameters")), latency_s, half_s)


def change(before: Sequence[Layer], after: Sequence[Layer]) -> Interval:
    """How many times as long the second takes as the first. A layer that both have errs in both, and by the
    law of propagation its error counts by how much its share differs."""
    sums = [sum(layer.total_s for layer in layers) for layers in (before, after)]
    shares, halves = defaultdict[str, float](float), dict[str, float]()
    for layers, whole_s, sign in ((before, sums[0], -1.0), (after, sums[1], 1.0)):
        for layer in layers:
            row = layer.row
            shares[row["case_id"]] += sign * layer.repeat / whole_s
            halves[row["case_id"]] = (row["latency_high_s"] - row["latency_low_s"]) / 2
    half = hypot(*(share * halves[case] for case, share in shares.items()))
    return Interval.around(log(sums[1] / sums[0]), half)


def findings(layers: Sequence[Layer]) -> list[Finding]:
    """What is to be said of a network beside its total: shares by kind, the slowest layers, equal layers, and
    the command that would measure another one."""
    whole = network("", layers)
    rules = (_by_kind(whole), _slowest(layers, whole.whole.latency_s), _equal(layers, whole.whole.latency_s))
    return [*(finding for finding in rules if finding), _swap(whole, layers)]


def outside_convolution(layers: Sequence[Layer]) -> float | None:
    """The share of the time that is not the convolution itself: reorders, page faults, dispatch. None where
    nobody saw what ran in a layer."""
    if any(not isinstance(layer.row["split"], dict) or layer.row["primitives"] is None for layer in layers):
        return None
    inside_s = sum(layer.repeat * layer.row["split"]["convolution"] for layer in layers)
    return float(1 - inside_s / sum(layer.total_s for layer in layers))


def _by_kind(whole: Network) -> Finding | None:
    if len(whole.kinds) < 2:
        return None
    most = sorted(whole.kinds, key=lambda one: -one.latency_s)
    said = [
        f"{kind_name(one.kind)} {units.percent(one.latency_s / whole.whole.latency_s)} "
        f"of the time ({units.percent(one.macs / whole.whole.macs)} of the MACs)"
        for one in most
    ]
    return Finding("By kind", f"{units.capitalized(listed(said))}.", (), 1.0)


def _slowest(layers: Sequence[Layer], whole_s: float) -> Finding | None:
    if len(layers) <= SLOWEST:
        return None
    most = sorted(layers, key=lambda layer: -layer.total_s)[:SLOWEST]
    share = sum(layer.total_s for layer in most) / whole_s
    text = (
        f"{_name(most[0])} is slowest: {units.seconds(most[0].total_s)}, "
        f"{units.percent(most[0].total_s / whole_s)}. The {SLOWEST} slowest take "
        f"{units.percent(share)}: {listed(_name(layer) for layer in most)}."
    )
    return Finding("Layers", text, tuple(layer.row["case_id"] for layer in most), 1.0)


def _equal(layers: Sequence[Layer], whole_s: float) -> Finding | None:
    """The case that takes most of those that several layers share, or one layer several times."""
    shared: dict[str, list[Layer]] = {}
    for layer in layers:
        shared.setdefault(layer.row["case_id"], []).append(layer)
    alike = [group for group in shared.values() if sum(layer.repeat for layer in group) > 1]
    if not alike:
        return None
    most = max(alike, key=lambda group: sum(layer.total_s for layer in group))
    count, total_s = sum(layer.repeat for layer in most), sum(layer.total_s for layer in most)
    names = most[0].name if len(most) == 1 else f"{most[0].name} … {most[-1].name}"
    text = f"{count} equal layers ({names}) take {units.percent(total_s / whole_s)} of the time."
    return Finding("Equal layers", text, (most[0].row["case_id"],), 1.0)


def _swap(whole: Network, layers: Sequence[Layer]) -> Finding:
    """Which replacement to measure: of the kind that takes most."""
    kind = max(whole.kinds, key=lambda one: one.latency_s).kind
    other = SWAPS.get(kind, "standard")
    most = max((layer for layer in layers if layer.row["kind"] == kind), key=lambda layer: layer.total_s)
    text = (
        f"To measure another network: convscope whatif LAYERS.csv --replace {kind}={other}, "
        "with the layer list of this suite."
    )
    return Finding("Replace a kind", text, (most.row["case_id"],), 1.0)


def _name(layer: Layer) -> str:
    return layer.name if layer.repeat == 1 else f"{layer.name} ×{layer.repeat}"
