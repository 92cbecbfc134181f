"""What a chart is, and what all charts share: names of axes, order of kinds, marks with whiskers.

A `Chart` is made by a module in `charts`, and set by the page's template.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from harness.analysis.labels import kind_name
from harness.output.report.drawing import SURFACE, hover, style_of

if TYPE_CHECKING:
    from collections.abc import Iterable

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

    @property
    def svg(self) -> Markup:
        """All panels, one after the other."""
        return Markup("\n").join(panel.svg for panel in self.panels)


def slug(text: str) -> str:
    """Text as part of an id."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "x"


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
