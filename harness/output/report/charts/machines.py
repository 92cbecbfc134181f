"""The same layers on several machines: a panel a machine, a row a layer, a mark a kind, by how many times as
long as the fastest there it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.analysis import machines as ranks
from harness.analysis.labels import kind_name
from harness.core import units
from harness.core.problem import KINDS
from harness.output.report.chart import (
    BESIDE,
    Chart,
    Panel,
    described,
    draw_interval,
    draw_mark,
    kind_keys,
)
from harness.output.report.drawing import canvas, name_rows, set_scale, style_of, to_svg
from harness.output.report.tables import Cell, number, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup

    from harness.analysis.machines import Place
    from harness.output.report.tables import Column

MOST_ROWS = 16  # where machines disagree first; the table has them all
SPREAD = 1.05  # the axis goes on so far beyond the slowest


def machines(found: Sequence[Place]) -> Chart:
    """Of one place or more."""
    marks = [
        (place, machine, kind, latency)
        for place in found
        for machine, one in place.fastest.items()
        for kind, latency in one.latencies.items()
    ]
    names = ranks.names(found)
    shown = sorted(found, key=lambda place: not place.disagree)[:MOST_ROWS]
    most = max(
        latency.high / place.fastest[machine].latency.value
        for place, machine, _, latency in marks
        if place in shown
    )
    alt = "How many times as long each kind takes as the fastest, a row a layer"
    panels = tuple(
        Panel(machine, _panel(shown, machine, SPREAD * most, f"machines-{i}", described(alt, machine)))
        for i, machine in enumerate(names)
    )
    columns: list[Column] = [
        ("Layer", lambda r: Cell(r[0].name)),
        ("Machine", lambda r: Cell(r[1])),
        ("Kind", lambda r: Cell(kind_name(r[2]))),
        ("Latency (µs)", lambda r: number(r[3].value, 1e-6)),
        ("Lower end (µs)", lambda r: number(r[3].low, 1e-6)),
        ("Upper end (µs)", lambda r: number(r[3].high, 1e-6)),
        ("Times the fastest", lambda r: number(r[3].value / r[0].fastest[r[1]].latency.value)),
        ("Machines disagree", lambda r: Cell("yes" if r[0].disagree else "no")),
    ]
    kinds = [kind for kind in KINDS if any(mark[2] == kind for mark in marks)]
    some = f"{len(shown)} of {len(found)} layers; the table has all. " if len(shown) < len(found) else ""
    apart = "! marks a layer at which machines disagree." if any(place.disagree for place in found) else ""
    return Chart(
        "machines",
        ranks.headline(found),
        "How many times as long each kind takes as the fastest of that machine; whiskers are 95 % intervals",
        alt,
        panels,
        table(marks, columns, {name for name, _ in columns[3:-1]}),
        kind_keys(kinds),
        f"{some}{apart}".strip(),
    )


def _panel(shown: Sequence[Place], machine: str, most: float, prefix: str, label: str) -> Markup:
    with canvas(BESIDE[0] + 0.8, 0.3 * len(shown) + 0.9) as (figure, ax):
        set_scale(ax, "x", [1.0, most], log=True)
        for i, place in enumerate(shown):
            if (one := place.fastest.get(machine)) is None:
                continue
            for kind, latency in one.latencies.items():
                ratio = latency.scaled(1 / one.latency.value)
                draw_interval(ax, i, ratio, style_of(kind).color, across=True)
                said = f"{place.name}, {kind_name(kind)}: {units.seconds(latency.value)}"
                draw_mark(
                    ax, ratio.value, i, style_of(kind), f"{said}, {units.significant(ratio.value)} times"
                )
        name_rows(ax, [f"{'! ' if place.disagree else ''}{place.name}" for place in shown])
        ax.set(xlabel="Times as long as the fastest", ylabel="")
        return to_svg(figure, prefix=prefix, label=label)
