"""Several machines on the terminal: how the kinds rank on each, where they disagree, what a call costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.analysis import machines
from harness.analysis.labels import kind_name
from harness.core import units
from harness.core.problem import KINDS
from harness.output.terminal import prose, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.analysis.machines import Place

MOST_PLACES = 30


def answer(found: Sequence[Place], prices: Mapping[str, float]) -> None:
    """Print it, where they disagree first."""
    for text in machines.sentences(found):
        prose(text)
    names = machines.names(found)
    print(f"\nHow many times as long a kind takes as the fastest, mean of {len(found)} layers")
    ranks = {machine: machines.ranking(found, machine) for machine in names}
    kinds = [kind for kind in KINDS if any(kind in rank for rank in ranks.values())]
    table(
        ["  kind", *(f"{machine} " for machine in names)],
        (
            [
                f"  {kind_name(kind)}",
                *(units.significant(ranks[name][kind], 2) if kind in ranks[name] else "" for name in names),
            ]
            for kind in kinds
        ),
    )
    print("\nThe fastest kind")
    table(
        ["  layer", *names],
        (
            [
                f"{'!' if place.disagree else ' '} {place.name}",
                *(_cell(place, machine, prices) for machine in names),
            ]
            for place in found[:MOST_PLACES]
        ),
    )
    if len(found) > MOST_PLACES:
        print(f"and {len(found) - MOST_PLACES} more; --json has all")
    if any(place.disagree for place in found):
        print("! machines disagree: on each its own kind is faster than the other's, past both intervals")
    if prices:
        print("Prices are of a million calls, one after the other.")


def _cell(place: Place, machine: str, prices: Mapping[str, float]) -> str:
    one = place.fastest.get(machine)
    if one is None:
        return ""
    text = f"{kind_name(one.kind)} {units.seconds(one.latency.value)}"
    if machine in prices:
        text += f", {units.significant(machines.price(one.latency.value, prices[machine]), 3)}"
    return text
