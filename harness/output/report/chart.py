"""What a chart is, and what all charts share: names of axes, order of kinds, marks with whiskers.

A `Chart` is made by a module in `charts`, and set by the page's template.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from zlib import crc32

from harness.analysis.labels import kind_name
from harness.output.report.drawing import SURFACE, hover, set_ticks, spaced, style_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from markupsafe import Markup
    from matplotlib.axes import Axes

    from harness.core.interval import Interval
    from harness.output.report.drawing import Style
    from harness.output.report.tables import Table

AXIS_TITLES = {
    "in_channels": "Input channels",
    "out_channels": "Output channels",
    "groups": "Groups",
    "threads": "Threads",
    "batch": "Batch (images)",
    "kernel_size": "Kernel size (px)",
    "height": "Height of the input (px)",
    "width": "Width of the input (px)",
    "stride": "Stride (px)",
    "dilation": "Dilation (px)",
    "padding": "Padding (px)",
}
# inches of a panel that has the row to itself, and of one that shares it
ALONE, BESIDE = (7.6, 4.0), (5.0, 3.5)
BOX = "M2 3h12v10h-12z"  # the mark of a part of a bar
FEWEST_MARKS = 3  # a chart of fewer says no more than a sentence


@dataclass(frozen=True, slots=True)
class Panel:
    """One drawing of a chart, and what tells it from its neighbours."""

    title: str
    svg: Markup


@dataclass(frozen=True, slots=True)
class Key:
    """An entry of a legend: a mark by its path in a box of 16, its colour as a CSS variable, and a word."""

    path: str
    variable: str
    word: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure of the page. `title` states the finding, `subtitle` what is drawn and its unit, `alt` the same
    for a screen reader; `table` holds the numbers drawn."""

    id: str
    title: str
    subtitle: str
    alt: str
    panels: tuple[Panel, ...]
    table: Table
    keys: tuple[Key, ...] = ()
    note: str = ""


def slug(text: str) -> str:
    """Text as part of an id, another one for every text."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", text)
    return plain if plain == text else f"{plain.strip('-')}-{crc32(text.encode()):08x}"


def kind_keys(kinds: Iterable[str]) -> tuple[Key, ...]:
    """The legend of these kinds."""
    return tuple(Key(style_of(kind).path, style_of(kind).variable, kind_name(kind)) for kind in kinds)


def axis_title(axis: str) -> str:
    """What stands at an axis, with its unit."""
    return AXIS_TITLES.get(axis, axis.replace("_", " ").capitalize())


def axis_name(axis: str) -> str:
    """The same in a sentence, without its unit."""
    return axis_title(axis).partition(" (")[0].lower()


def described(alt: str, title: str) -> str:
    """What one panel of a chart is called by a screen reader."""
    return f"{alt}: {title}" if title else alt


def set_places(ax: Axes, places: dict[Any, float], *, log: bool, numeric: bool) -> None:
    """Ticks along x at the values that were measured, as many as have room."""
    by_place = sorted(places.items(), key=lambda item: item[1])
    at, texts = [p for _, p in by_place], [f"{v:,}" if numeric else str(v) for v, _ in by_place]
    kept = spaced(at, texts, log=log, points=72 * 4.0) if numeric else range(len(at))
    if log:
        ax.set_xscale("log")
        margin = (at[-1] / at[0]) ** 0.06
        ax.set_xlim(at[0] / margin, at[-1] * margin)
    else:
        margin = 0.06 * (at[-1] - at[0]) if numeric else 0.5
        ax.set_xlim(at[0] - margin, at[-1] + margin)
    set_ticks(ax, "x", [at[i] for i in kept], [texts[i] for i in kept])
    if not numeric:
        ax.grid(visible=False, axis="x")


def draw_interval(ax: Axes, at: float, ends: Interval, color: str, *, across: bool = False) -> None:
    """The whisker of a mark at `at`; `across`: figures run along x."""
    line: dict[str, Any] = {"color": color, "linewidth": 1.2, "zorder": 2, "solid_capstyle": "butt"}
    if across:
        ax.plot([ends.low, ends.high], [at, at], **line)
    else:
        ax.plot([at, at], [ends.low, ends.high], **line)


def draw_mark(
    ax: Axes, x: float, y: float, style: Style, text: str, case_id: object = None, *, hollow: bool = False
) -> None:
    """One mark that says `text` when pointed at, and leads to its row in the table of cases."""
    (mark,) = ax.plot(
        [x],
        [y],
        linestyle="none",
        marker=style.marker,
        markersize=6.4 * style.grow,
        markerfacecolor=SURFACE if hollow else style.color,
        markeredgecolor=style.color,
        markeredgewidth=1.3,
        zorder=4,
    )
    hover(mark, text, case_id)
