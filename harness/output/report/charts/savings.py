"""Delivered savings: how many times as fast as its reference each kind is, against how many times fewer MACs
it computes."""

from __future__ import annotations

from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any

from harness.analysis.labels import kind_name, listed
from harness.core import units
from harness.core.problem import PARTS_OF_SEPARABLE
from harness.output.report.chart import (
    ALONE,
    FEWEST_MARKS,
    Chart,
    Panel,
    axis_name,
    axis_title,
    described,
    draw_interval,
    draw_mark,
    set_places,
    slug,
)
from harness.output.report.drawing import INK, MUTED, canvas, hover, set_scale, style_of, to_svg, wide
from harness.output.report.tables import Cell, number, table
from harness.output.views.points import primitive_of
from harness.output.views.savings import factor, headline, savings_of, typical
from harness.output.views.sweeps import FEWEST_PLACES, missing, panels, reference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup
    from matplotlib.axes import Axes

    from harness.output.report.tables import Column
    from harness.output.views.savings import Saving, Savings
    from harness.output.views.sweeps import Sweep

MOST_SETTINGS = 2  # drawn in one panel, the second dashed
RIBBON = (1.02, 1.06)  # above the axes, in parts of their height
NAMED = 0.16  # of the width: a stretch of the ribbon with room for its name


def savings(sweep: Sweep) -> Chart | None:
    """None where no kind has a reference, or the axis has too few places or is not of numbers."""
    found = savings_of(sweep)
    if found is None or not sweep.numeric or sweep.frame["x"].nunique() < FEWEST_PLACES:
        return None
    settings = _settings(found)
    if sum(one.panel in settings for one in found.found) < FEWEST_MARKS:
        return None
    identity = f"savings-{slug(sweep.name)}"
    alt = (
        f"Times as fast as {found.reference} and times fewer MACs against {axis_name(str(sweep.axis))}, "
        f"for {listed(map(kind_name, found.kinds))}"
    )
    drawn = [
        Panel(
            f"{kind_name(kind)}{' (part of a layer)' if kind in PARTS_OF_SEPARABLE else ''}",
            _panel(found, kind, settings, f"{identity}-{i}", described(alt, kind_name(kind))),
        )
        for i, kind in enumerate(found.kinds)
    ]
    title = headline(found)
    shown = f"; {_lines(settings)}" if any(settings) else ""
    subtitle = (
        f"Delivered savings: times as fast as {found.reference} (marks, 95 % intervals), and what the saved "
        f"MACs alone would give (dotted), against {axis_name(str(sweep.axis))}{shown}"
    )
    columns: list[Column] = [("Setting", lambda r: Cell(r.panel))] if sweep.panels else []
    columns += [
        ("Kind", lambda r: Cell(kind_name(r.kind))),
        (axis_title(str(sweep.axis)), lambda r: number(r.x)),
        ("Times as fast", lambda r: number(r.speed.value)),
        ("Lower end", lambda r: number(r.speed.low)),
        ("Upper end", lambda r: number(r.speed.high)),
        ("MACs saved (ratio)", lambda r: number(r.fewer_macs)),
        ("Primitive", lambda r: Cell(primitive_of(r.row))),
    ]
    numbers = table(found.found, columns, {name for name, _ in columns[-6:-1]})
    more = len(panels(sweep)) - len(settings)
    others = f"{more} more setting{'s are' if more > 1 else ' is'} in the table." if more > 0 else ""
    second = " Hollow: the second setting." if len(settings) > 1 else ""
    note = f"The band above a panel names the kernel that ran.{second} {others}{missing(sweep)}".strip()
    return Chart(identity, title, subtitle, alt, tuple(drawn), numbers, (), note)


def _settings(found: Savings) -> list[str]:
    """The panels that are drawn: the one with most defaults, and one that differs from it by the layout, or
    else by anything."""
    usual, first = reference(found.sweep)
    others = [title for title, _ in panels(found.sweep) if title != usual]
    alike = [dim for dim in found.sweep.panels if dim != "memory_format"]
    where = {title: part.iloc[0] for title, part in panels(found.sweep)}
    near = [
        title for title in others if all(where[title][f"at_{d}"] == first.iloc[0][f"at_{d}"] for d in alike)
    ]
    return [usual, *(near or others)][:MOST_SETTINGS]


def _lines(settings: Sequence[str]) -> str:
    return settings[0] if len(settings) == 1 else f"solid: {settings[0]}; dashed: {settings[1]}"


def _panel(found: Savings, kind: str, settings: Sequence[str], prefix: str, label: str) -> Markup:
    drawn = [one for one in found.found if one.panel in settings]
    # a depthwise layer may save a thousandfold: on its axis the others would be flat
    alike = [one for one in drawn if (one.kind in PARTS_OF_SEPARABLE) == (kind in PARTS_OF_SEPARABLE)]
    places = {x: float(x) for x in dict.fromkeys(one.x for one in sorted(drawn, key=lambda one: one.x))}
    span = sorted(places.values())
    size = (4.8, 2.35) if len(found.kinds) > 1 else (ALONE[0], 3.2)
    with canvas(*size) as (figure, ax):
        ys = [1.0, *(end for one in alike for end in (one.speed.low, one.speed.high, one.fewer_macs))]
        set_scale(ax, "y", ys, log=True)
        set_places(ax, places, log=wide(span), numeric=True)
        ax.axhline(1.0, color=INK, linewidth=1.6, zorder=1)
        told = typical(found)
        for setting in reversed(settings):
            ones = found.of(kind, setting)
            if ones:
                _line(ax, ones, places, told, first=setting == settings[0])
        if found.of(kind, settings[0]):
            _ribbon(ax, found.of(kind, settings[0]), places)
        ax.set(xlabel=axis_title(str(found.sweep.axis)), ylabel=f"Times as fast as {found.reference} (ratio)")
        return to_svg(figure, prefix=prefix, label=label)


def _line(ax: Axes, ones: Sequence[Saving], places: dict[Any, float], told: Saving, *, first: bool) -> None:
    """`told`: the place that the headline speaks of."""
    style = style_of(ones[0].kind)
    at = [places[one.x] for one in ones]
    speeds, ideal = [one.speed.value for one in ones], [one.fewer_macs for one in ones]
    ax.plot(at, speeds, color=style.color, linestyle="-" if first else (0, (5, 2)), zorder=3)
    if first:
        ax.plot(at, ideal, color=MUTED, linestyle=":", linewidth=1.4, zorder=2)
        ax.fill_between(at, speeds, ideal, color=style.color, alpha=0.08, linewidth=0)
    for x, one in zip(at, ones, strict=True):
        draw_interval(ax, x, one.speed, style.color)
        draw_mark(ax, x, one.speed.value, style, _hover_text(one), one.row["case_id"], hollow=not first)
    if first:
        last = ones[-1]
        ends = f"{units.significant(last.speed.value, 2)}× of {factor(last.fewer_macs)}×"
        _label(ax, at[-1], last.speed.value, ends, beside=True)
        for x, one in zip(at[:-1], ones[:-1], strict=True):
            if one is told:
                _label(ax, x, one.speed.value, f"{units.significant(one.speed.value, 2)}×", beside=False)


def _label(ax: Axes, x: float, y: float, text: str, *, beside: bool) -> None:
    """A figure at a mark: beside the last of a line, above another."""
    ax.annotate(
        text,
        (x, y),
        xytext=(7, 0) if beside else (0, 7),
        textcoords="offset points",
        ha="left" if beside else "center",
        va="center" if beside else "bottom",
        fontsize=8.5,
        annotation_clip=False,
    )


def _hover_text(one: Saving) -> str:
    return (
        f"{kind_name(one.kind)}, {one.x:,}{', ' + one.panel if one.panel else ''}: "
        f"{units.times(one.speed, ' as fast')}, {units.seconds(one.row['latency_s'])} against "
        f"{units.seconds(one.base['latency_s'])}; {factor(one.fewer_macs)} times fewer MACs; "
        f"{primitive_of(one.row)}"
    )


def _ribbon(ax: Axes, ones: Sequence[Saving], places: dict[Any, float]) -> None:
    """What ran below torch, a stretch for each stretch of places: jumps explain themselves."""
    left, right = ax.get_xlim()
    logarithmic = ax.get_xscale() == "log"
    at = [places[one.x] for one in ones]
    middles = [(a * b) ** 0.5 if logarithmic else (a + b) / 2 for a, b in pairwise(at)]
    edges = [left, *middles, right]
    start = 0
    for number_of, (name, stretch) in enumerate(groupby(ones, key=lambda one: primitive_of(one.row))):
        end = start + len(list(stretch))
        low, high = edges[start], edges[end]
        bar = ax.fill_between(
            [low, high],
            *RIBBON,
            transform=ax.get_xaxis_transform(),
            color=MUTED,
            alpha=0.25 + 0.35 * (number_of % 2),
            linewidth=0,
            clip_on=False,
        )
        hover(bar, f"{ones[start].x:,} to {ones[end - 1].x:,}: {name}")
        share = ax.transAxes.inverted().transform(ax.transData.transform([(high, 1), (low, 1)]))[:, 0]
        if share[0] - share[1] > max(NAMED, 0.018 * len(name)):
            middle = (low * high) ** 0.5 if logarithmic else (low + high) / 2
            ax.text(
                middle,
                RIBBON[1] + 0.015,
                name,
                transform=ax.get_xaxis_transform(),
                ha="center",
                va="bottom",
                fontsize=7.5,
                color=MUTED,
            )
        start = end
