"""What a kind saves against its reference at each place of a sweep: MACs, which are counted, and time, which
is measured.

In: a `Sweep`. Out: `Saving`s. The reference is standard at the same place; in a sweep over groups alone, the
fewest groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.analysis import case_ratio
from harness.analysis.differences import NOTABLE
from harness.analysis.labels import kind_name, ordered, words
from harness.core import units
from harness.core.problem import PARTS_OF_SEPARABLE, SAME_CONNECTIONS
from harness.output.views.sweeps import panels, place, reference

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.core.interval import Interval
    from harness.output.views.sweeps import Sweep

REFERENCE = "standard"


@dataclass(frozen=True, slots=True)
class Saving:
    """At one place: how many times as fast as its reference, with a 95 % interval, and how many times fewer
    MACs; the rows of both."""

    x: Any
    kind: str
    panel: str
    speed: Interval
    fewer_macs: float
    row: Mapping[Any, Any]
    base: Mapping[Any, Any]


@dataclass(frozen=True, slots=True)
class Savings:
    """Of one sweep, in the order of kinds and places; `reference` in words."""

    sweep: Sweep
    reference: str
    found: tuple[Saving, ...]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that have a reference: whole layers, then parts of one."""
        kinds = ordered(one.kind for one in self.found)
        return tuple(sorted(kinds, key=lambda kind: kind in PARTS_OF_SEPARABLE))

    def of(self, kind: str, panel: str) -> list[Saving]:
        """Those of a kind under one setting, along the axis, one a place."""
        ones = {one.x: one for one in self.found if (one.kind, one.panel) == (kind, panel)}
        return [ones[x] for x in sorted(ones)]


def savings_of(sweep: Sweep) -> Savings | None:
    """None where nothing in this sweep can stand for a reference."""
    kinds = set(sweep.frame["series"])
    if REFERENCE in kinds and len(kinds) > 1:
        found = [
            one for title, part in panels(sweep) for one in _against_standard(part.to_dict("records"), title)
        ]
        name = REFERENCE
    elif sweep.axis == "groups" and sweep.numeric:
        fewest = min(sweep.frame["x"])
        found = [
            one
            for title, part in panels(sweep)
            for one in _against_fewest(part.to_dict("records"), title, fewest)
        ]
        name = words("groups", fewest)
    else:
        return None
    return Savings(sweep, name, tuple(found)) if found else None


def _against_standard(rows: Sequence[Mapping[Any, Any]], title: str) -> list[Saving]:
    standard = {row["x"]: row for row in rows if row["series"] == REFERENCE}
    return [
        _saving(row, standard[row["x"]], title)
        for row in rows
        if row["series"] != REFERENCE and row["x"] in standard
    ]


def _against_fewest(rows: Sequence[Mapping[Any, Any]], title: str, fewest: Any) -> list[Saving]:
    """A kind that has no groups of its own stands at every place, and saves nothing against itself."""
    found = []
    for kind in ordered(row["series"] for row in rows):
        mine = {row["x"]: row for row in rows if row["series"] == kind and not row["flat"]}
        if fewest in mine:
            found += [_saving(row, mine[fewest], title) for x, row in mine.items() if x != fewest]
    return found


def _saving(row: Mapping[Any, Any], base: Mapping[Any, Any], title: str) -> Saving:
    speed = case_ratio.times(row, base)
    return Saving(row["x"], row["series"], title, speed, base["macs"] / row["macs"], row, base)


def of_one_setting(found: Savings, across: str) -> tuple[list[Saving], str]:
    """Those over the plane of x and another axis whose other settings are the usual ones, and these in
    words."""
    others = [dim for dim in found.sweep.panels if dim != across]
    first = reference(found.sweep)[1].iloc[0]
    usual = {f"at_{dim}": first[f"at_{dim}"] for dim in others}
    ones = [one for one in found.found if all(one.row[name] == value for name, value in usual.items())]
    return ones, ", ".join(words(dim, usual[f"at_{dim}"]) for dim in others)


def plane_headline(found: Savings, across: str) -> str:
    """The best place of the first kind with its interval, and at how many places it is slower."""
    ones, _ = of_one_setting(found, across)
    kind = next((kind for kind in found.kinds if kind == "depthwise_separable"), found.kinds[0])
    ones = sorted((one for one in ones if one.kind == kind), key=lambda one: one.speed.value)
    best = ones[-1]
    where = f"{place(found.sweep, best.x)}, {words(across, best.row[f'at_{across}'])}"
    slower = sum(one.speed.high < 1 for one in ones)
    tail = f"; slower at {slower} of {len(ones)} places" if slower else ""
    return f"At {where}, {kind_name(kind)} {speed_in_words(best.speed, found.reference)}{tail}"


def typical(found: Savings) -> Saving:
    """The place that the headline speaks of: of the kinds that can stand for the reference the first, in the
    middle of the axis, under the setting with most defaults."""
    panel, _ = reference(found.sweep)
    kinds = sorted(found.kinds, key=lambda kind: (kind not in SAME_CONNECTIONS, kind in PARTS_OF_SEPARABLE))
    here = [kind for kind in kinds if found.of(kind, panel)]
    ones = found.of(here[0], panel) if here else list(found.found)
    return ones[len(ones) // 2]


def headline(found: Savings) -> str:
    """What a sweep shows, at its `typical` place."""
    one = typical(found)
    where = place(found.sweep, one.x) if found.sweep.axis else ""
    fewer = f"with 1/{factor(one.fewer_macs)} of the MACs"
    if found.reference == REFERENCE:
        beginning = f"At {where}" if where else "Here"
        return f"{beginning} {kind_name(one.kind)} {speed_in_words(one.speed, REFERENCE)}, {fewer}"
    return f"{where} {speed_in_words(one.speed, found.reference, plural=True)}, {fewer}"


def factor(value: float) -> str:
    """A counted factor: whole where it is, else with three digits."""
    return f"{value:,.0f}" if value == round(value) else units.significant(value)


def speed_in_words(speed: Interval, than: str, *, plural: bool = False) -> str:
    """`is 4.1 times as fast as standard (3.9 to 4.3)`, or how many times as long it takes; where the interval
    holds 1, that either may be."""
    verb = "are" if plural else "is"
    if speed.low <= 1 <= speed.high:
        ends = f"({units.significant(speed.low, 2)} to {units.significant(speed.high, 2)} times as fast)"
        alike = speed.high / speed.low < NOTABLE
        return f"{verb} as fast as {than} {ends}" if alike else f"cannot be told from {than} {ends}"
    if speed.value > 1:
        return f"{verb} {units.times(speed, f' as fast as {than}')}"
    return f"{'take' if plural else 'takes'} {units.times(speed.inverse, f' as long as {than}')}"
