"""Delivered savings over two numeric axes: a map a kind, how many times as fast as standard at each place."""

from __future__ import annotations

from math import log2
from typing import TYPE_CHECKING

from matplotlib.patches import Rectangle

from harness.analysis.labels import kind_name, listed
from harness.core import units
from harness.core.problem import PARTS_OF_SEPARABLE
from harness.output.report.chart import ALONE, Chart, Panel, axis_name, axis_title, described, slug
from harness.output.report.drawing import BAD, canvas, hover, name_rows, set_ticks, style_of, to_svg
from harness.output.report.tables import Cell, number, table
from harness.output.views.savings import of_one_setting, plane_headline, savings_of
from harness.output.views.sweeps import missing, second_axis

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup

    from harness.output.report.tables import Column
    from harness.output.views.savings import Saving
    from harness.output.views.sweeps import Sweep

FULL = 4.0  # doublings at which a colour is full
PALEST, DARKEST = 0.06, 0.62  # of a colour: the printed values stay readable on it


def heat_maps(sweep: Sweep) -> Chart | None:
    """None where the sweep has no second numeric axis, or no kind a reference."""
    across, found = second_axis(sweep), savings_of(sweep)
    if across is None or found is None:
        return None
    ones, setting = of_one_setting(found, across)
    identity = f"plane-{slug(sweep.name)}"
    axes = f"{axis_name(str(sweep.axis))} and {axis_name(across)}"
    alt = f"Times as fast as {found.reference} over {axes}, for {listed(map(kind_name, found.kinds))}"
    drawn = [
        Panel(
            f"{kind_name(kind)}{' (part of a layer)' if kind in PARTS_OF_SEPARABLE else ''}",
            _panel(
                [one for one in ones if one.kind == kind],
                (str(sweep.axis), across),
                f"{identity}-{i}",
                described(alt, kind_name(kind)),
                alone=len(found.kinds) == 1,
            ),
        )
        for i, kind in enumerate(found.kinds)
    ]
    columns: list[Column] = [
        ("Kind", lambda r: Cell(kind_name(r.kind))),
        (axis_title(str(sweep.axis)), lambda r: number(r.x)),
        (axis_title(across), lambda r: number(r.row[f"at_{across}"])),
        ("Times as fast", lambda r: number(r.speed.value)),
        ("Lower end", lambda r: number(r.speed.low)),
        ("Upper end", lambda r: number(r.speed.high)),
        ("MACs saved (ratio)", lambda r: number(r.fewer_macs)),
    ]
    numbers = table(ones, columns, {name for name, _ in columns[1:]})
    usual = f"; {setting}" if setting else ""
    subtitle = f"Times as fast as {found.reference}, over {axes}; red where it is slower{usual}"
    title = plane_headline(found, across)
    return Chart(identity, title, subtitle, alt, tuple(drawn), numbers, (), missing(sweep).strip())


def _panel(ones: Sequence[Saving], axes: tuple[str, str], prefix: str, label: str, *, alone: bool) -> Markup:
    columns = sorted({one.x for one in ones})
    rows = sorted({one.row[f"at_{axes[1]}"] for one in ones}, reverse=True)
    with canvas(max(0.62 * len(columns) + 1.2, ALONE[0] if alone else 0.0), 0.36 * len(rows) + 0.9) as (
        figure,
        ax,
    ):
        for one in ones:
            x, y = columns.index(one.x), rows.index(one.row[f"at_{axes[1]}"])
            doublings = log2(one.speed.value)
            color = style_of(one.kind).color if doublings >= 0 else BAD
            depth = PALEST + (DARKEST - PALEST) * min(abs(doublings) / FULL, 1.0)
            cell = ax.add_patch(
                Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=color, alpha=depth, linewidth=0)
            )
            hover(cell, _hover_text(one, axes[1]), one.row["case_id"])
            ax.text(x, y, units.significant(one.speed.value, 2), ha="center", va="center", fontsize=8.5)
        name_rows(ax, [f"{value:,}" for value in rows])
        set_ticks(ax, "x", range(len(columns)), [f"{value:,}" for value in columns])
        ax.set_xlim(-0.5, len(columns) - 0.5)
        ax.tick_params(axis="x", length=0)
        ax.grid(visible=False)
        for side in ("left", "bottom"):
            ax.spines[side].set_visible(False)
        ax.set(xlabel=axis_title(axes[0]), ylabel=axis_title(axes[1]))
        return to_svg(figure, prefix=prefix, label=label)


def _hover_text(one: Saving, across: str) -> str:
    return (
        f"{kind_name(one.kind)}, {one.x:,} by {one.row[f'at_{across}']:,}: "
        f"{units.times(one.speed, ' as fast')}, "
        f"{units.seconds(one.row['latency_s'])} against {units.seconds(one.base['latency_s'])}"
    )
