"""What a kind saves against its reference at each place of a sweep: MACs, which are counted, and time, which
is measured.

In: a `Sweep`. Out: `Saving`s. The reference is standard at the same place; in a sweep over groups alone, the
fewest groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.analysis import case_ratio
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
        """Those of a kind under one setting, in the order of the places."""
        return [one for one in self.found if (one.kind, one.panel) == (kind, panel)]


def savings_of(sweep: Sweep) -> Savings | None:
    """None where nothing in this sweep can stand for a reference."""
    kinds = set(sweep.frame["series"])
    if REFERENCE in kinds and len(kinds) > 1:
        found = [
            one for title, part in panels(sweep) for one in _against_standard(part.to_dict("records"), title)
        ]
        name = REFERENCE
    elif sweep.axis == "groups" and sweep.numeric:
        found = [
            one for title, part in panels(sweep) for one in _against_fewest(part.to_dict("records"), title)
        ]
        name = words("groups", min(sweep.frame["x"]))
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


def _against_fewest(rows: Sequence[Mapping[Any, Any]], title: str) -> list[Saving]:
    found = []
    for kind in ordered(row["series"] for row in rows):
        mine = sorted((row for row in rows if row["series"] == kind), key=lambda row: row["x"])
        found += [_saving(row, mine[0], title) for row in mine[1:]]
    return found


def _saving(row: Mapping[Any, Any], base: Mapping[Any, Any], title: str) -> Saving:
    speed = case_ratio.times(row, base)
    return Saving(row["x"], row["series"], title, speed, base["macs"] / row["macs"], row, base)


def told(found: Savings) -> tuple[str, Saving]:
    """The sentence that says what a sweep shows, and the place that it speaks of: of the kinds that can stand
    for the reference the first, in the middle of the axis, under the setting with most defaults."""
    panel, _ = reference(found.sweep)
    kinds = sorted(found.kinds, key=lambda kind: (kind not in SAME_CONNECTIONS, kind in PARTS_OF_SEPARABLE))
    here = [kind for kind in kinds if found.of(kind, panel)]
    ones = found.of(here[0], panel) if here else list(found.found)
    one = ones[len(ones) // 2]
    where = place(found.sweep, one.x) if found.sweep.axis else ""
    fewer = units.significant(one.fewer_macs)
    said = f"{speed_in_words(one.speed, found.reference)}, with {fewer} times fewer MACs"
    if found.reference == REFERENCE:
        return f"{f'At {where}' if where else 'Here'} {kind_name(one.kind)} {said}", one
    return f"{where} {said.replace('is ', 'are ', 1).replace('takes ', 'take ', 1)}", one


def speed_in_words(speed: Interval, than: str) -> str:
    """`is 4.1 times as fast as standard (3.9 to 4.3)`, or how many times as long it takes."""
    if speed.low <= 1 <= speed.high:
        ends = f"{units.significant(speed.low, 2)} to {units.significant(speed.high, 2)} times"
        return f"is as fast as {than} ({ends})"
    if speed.value > 1:
        return f"is {units.times(speed, f' as fast as {than}')}"
    return f"takes {units.times(speed.inverse, f' as long as {than}')}"
