"""The answer of `cliffs`: the curves, then each jump, sawtooth and crossing with its latencies.

In: what a search found. Out: text on stdout, or an object for JSON.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict
from math import exp
from typing import TYPE_CHECKING, Any

from harness.analysis.labels import kind_name, listed
from harness.core import units
from harness.core.case import Case
from harness.output.terminal import as_arguments, interval_text, prose, table
from harness.store.results import as_json_values
from harness.tasks.cliff_search import MOST_CROSSINGS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.analysis.cliffs import Crossing, Step
    from harness.analysis.sawtooth import Sawtooth
    from harness.tasks.cliff_search import Found

NAMED = 4  # teeth of a sawtooth
AXES = {"in_channels": "channels", "out_channels": "output channels", "batch": "images"}
PIXELS = ("size", "height", "width")


def search(found: Found) -> None:
    """Print the answer."""
    axis = found.axis.replace("_", " ")
    limit = f"the next step would take about {units.duration(found.lacking_s)}; raise --time-limit."
    if not found.places:
        print(f"Nothing was measured within the time limit: {limit}")
        return
    for curve, places in found.places.items():
        print(f"{_name(curve)}, {len(places)} places")
        _table(axis, [row for row in places if row["latency_s"]])
        print()
    for curve, saw in found.sawteeth:
        prose(f"Sawtooth: {_name(curve)}: {_comb(found.axis, saw)}.")
    for curve, step in found.cliffs:
        prose(f"Cliff: {_jump(curve, axis, step)}.")
    for curve, step in found.changes:
        prose(f"Implementation change without a jump in latency: {_jump(curve, axis, step)}.")
    for text in _crossings(axis, found.crossings):
        prose(text)
    if not found.cliffs and not found.crossings and not found.sawteeth:
        print(
            f"No cliff{'' if found.complete else ' so far'}: no step in latency exceeds the step in work "
            "by more than 10 %."
        )
    if not found.complete:
        print(f"The time limit ended the search early: {limit}")
    jumps = [step for _, step in found.cliffs] + [saw.teeth[0] for _, saw in found.sawteeth]
    case = Case.from_row(jumps[0].right if jumps else places[-1])
    print(f"\nNext: convscope explain {as_arguments(case.problem, case.setting)} --measure")


def _table(axis: str, places: Sequence[dict[Any, Any]]) -> None:
    kinds = len({row["kind"] for row in places}) > 1  # along groups
    cells = (
        [
            f"{row['x']:,}",
            units.seconds(row["latency_s"]),
            interval_text(row),
            row["backend"] or "unknown",
            *([kind_name(row["kind"])] if kinds else []),
        ]
        for row in places
    )
    table([f"{axis} ", "latency ", "95 % interval ", "back end", *(["kind"] if kinds else [])], cells)


def _name(curve: str) -> str:
    """A curve for people: its kind, and its layout where there are several."""
    kind, _, layout = curve.partition(" ")
    return f"{kind_name(kind)}, {layout}" if layout else kind_name(kind)


def _comb(axis: str, saw: Sawtooth) -> str:
    """What comes again and again, with the teeth that were measured."""
    unit = "pixels" if axis in PIXELS else AXES.get(axis, axis.replace("_", " "))
    growths = sorted(step.growth.value for step in saw.teeth)
    low, high = (units.significant(value) for value in (growths[0], growths[-1]))
    times = low if low == high else f"{low} to {high}"
    places = listed(f"{step.left['x']:,} to {step.right['x']:,}" for step in saw.teeth[:NAMED])
    changes = {step.change for step in saw.teeth}
    change = f"; {changes.pop()}" if len(changes) == 1 and None not in changes else ""
    more = ", ..." if len(saw.teeth) > NAMED else ""
    return f"every {saw.period} {unit} latency goes to {times} times, measured from {places}{more}{change}"


def _jump(curve: str, axis: str, step: Step) -> str:
    ratio, low, high = (
        units.significant(value) for value in (step.growth.value, step.growth.low, step.growth.high)
    )
    work = units.significant(step.right["flops"] / step.left["flops"])
    figures = (
        f"{units.seconds(step.left['latency_s'])} to {units.seconds(step.right['latency_s'])}, "
        f"{ratio} times ({low} to {high})"
    )
    change = step.change or "the same kernel, as far as visible"
    return (
        f"{_name(curve)}, {axis} {step.left['x']:,} to {step.right['x']:,}: {figures}, "
        f"FLOPs {work} times; {change}"
    )


def _crossings(axis: str, found: Sequence[Crossing]) -> list[str]:
    """A sentence for each; one for all of two curves that cross again and again."""
    pairs = defaultdict[frozenset[str], list["Crossing"]](list)
    for crossing in found:
        pairs[frozenset((crossing.before, crossing.after))].append(crossing)
    said = []
    for crossings in pairs.values():
        first, last = crossings[0], crossings[-1]
        before, after = _name(first.before), _name(first.after)
        if len(crossings) > MOST_CROSSINGS:
            said.append(
                f"{units.capitalized(before)} and {after} cross {len(crossings)} times between {axis} "
                f"{first.left:,} and {last.right:,}; {_name(last.after)} is faster from there on."
            )
            continue
        said += [
            f"Crossing: {_name(one.before)} is faster up to {axis} {one.left:,}, "
            f"{_name(one.after)} from {one.right:,} on."
            for one in crossings
        ]
    return said


def search_as_json(found: Found) -> dict[str, Any]:
    """The same as an object."""

    def jump(curve: str, step: Step) -> dict[str, Any]:
        return {
            "curve": curve,
            "kind": step.right["kind"],
            "memory_format": step.right["memory_format"],
            "left": step.left["x"],
            "right": step.right["x"],
            "ratio": step.growth.value,
            "ratio_low": step.growth.low,
            "ratio_high": step.growth.high,
            "beyond_work": exp(step.beyond),
            "change": step.change,
        }

    return {
        "axis": found.axis,
        "cliffs": [jump(curve, step) for curve, step in found.cliffs],
        "sawteeth": [
            {"curve": curve, "period": saw.period, "teeth": [jump(curve, step) for step in saw.teeth]}
            for curve, saw in found.sawteeth
        ],
        "changes": [jump(curve, step) for curve, step in found.changes],
        "crossings": [asdict(crossing) for crossing in found.crossings],
        "complete": found.complete,
        "places": {curve: [as_json_values(row) for row in places] for curve, places in found.places.items()},
    }
