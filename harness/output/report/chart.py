"""What a chart is, and what all charts share: names of axes, order of kinds, whiskers.

A `Chart` is made by one function in `charts` or one of `charts_of_*`, and set by the page's template.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from harness.core.problem import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd
    from matplotlib.axes import Axes

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
INTERVALS = "Whiskers are 95 % intervals."
# inches of a panel that has the row to itself, and of one that shares it
ALONE, BESIDE = (7.6, 4.0), (5.0, 3.5)


@dataclass(frozen=True, slots=True)
class Panel:
    """One drawing of a chart, and what tells it from its neighbours."""

    title: str
    svg: Markup


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure of the page. `caption` states the finding with its figures, `alt` what is drawn; `table` holds
    the numbers drawn."""

    id: str
    title: str
    caption: str
    alt: str
    panels: tuple[Panel, ...]
    table: Table
    kinds: tuple[str, ...] = ()  # for the legend; empty where the chart names them itself
    note: str = ""

    @property
    def svg(self) -> Markup:
        """All panels, one after the other."""
        return Markup("\n").join(panel.svg for panel in self.panels)


def slug(text: str) -> str:
    """Text as part of an id."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "x"


def ordered(kinds: Iterable[object]) -> tuple[str, ...]:
    """Kinds in their fixed order, each once."""
    known: list[str] = list(KINDS)
    return tuple(
        sorted(
            dict.fromkeys(map(str, kinds)),
            key=lambda kind: known.index(kind) if kind in known else len(known),
        )
    )


def axis_title(axis: str) -> str:
    """What stands at an axis, with its unit."""
    return AXIS_TITLES.get(axis, axis.replace("_", " ").capitalize())


def listed(words: Iterable[str]) -> str:
    """`a, b and c`."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def described(alt: str, title: str) -> str:
    """What one panel of a chart is called by a screen reader."""
    return f"{alt}: {title}" if title else alt


def whiskers(
    ax: Axes,
    at: pd.Series[float],
    value: pd.Series[float],
    low: pd.Series[float],
    high: pd.Series[float],
    color: str,
    *,
    across: bool = False,
) -> None:
    """95 % intervals; where an end is missing there is none. `across`: figures run along x."""
    reach = [(value - low).clip(lower=0).fillna(0), (high - value).clip(lower=0).fillna(0)]
    look: dict[str, Any] = {
        "fmt": "none",
        "ecolor": color,
        "elinewidth": 1.1,
        "capsize": 2.5,
        "capthick": 1.1,
    }
    if across:
        ax.errorbar(value, at, xerr=reach, **look)
    else:
        ax.errorbar(at, value, yerr=reach, **look)
