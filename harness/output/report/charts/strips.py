"""Strips: the layers of a network in its order, each as wide as its share of something.

In: strips of pieces. Out: a drawing. The charts of measured networks and of models stand on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

from harness.analysis.labels import kind_name
from harness.core import units
from harness.output.report.drawing import (
    INK,
    MUTED,
    SURFACE,
    canvas,
    hover,
    name_rows,
    style_of,
    to_svg,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from markupsafe import Markup
    from matplotlib.axes import Axes

NAMED = 0.045  # of a strip: a layer with room for its name
CHARACTER = 0.0092  # of a strip
HEIGHT = 0.72


@dataclass(frozen=True, slots=True)
class Piece:
    """A layer's part of a strip: its amount is that of all its runs. `case_id` leads to a row of a table."""

    name: str
    repeat: int
    kind: str
    amount: float
    case_id: object = None


@dataclass(frozen=True, slots=True)
class Strip:
    """What it is of, its pieces in the network's order, an amount as text, and its length over the longest
    one's."""

    name: str
    pieces: tuple[Piece, ...]
    text: Callable[[float], str]
    length: float = 1.0

    @property
    def whole(self) -> float:
        """Of all its pieces."""
        return sum(piece.amount for piece in self.pieces)

    @property
    def ends(self) -> list[float]:
        """Where its pieces end."""
        return [self.length * end / self.whole for end in accumulate(piece.amount for piece in self.pieces)]


def macs_text(value: float) -> str:
    """`569 M MACs`."""
    return f"{units.count(value)} MACs"


def parameters_text(value: float) -> str:
    """`4.2 M`, and what it is of is the strip's name."""
    return units.count(value).strip()


def draw(joined: Sequence[Strip], apart: Sequence[Strip] = (), *, prefix: str, label: str) -> Markup:
    """Strips one below the other. Those that are `joined` have the same layers, with a line from each end of
    a layer to the next strip's."""
    strips = [*joined, *apart]
    with canvas(9.4, 0.62 * len(strips) + 0.5) as (figure, ax):
        for i, strip in enumerate(strips):
            _draw(ax, i, strip)
        for i, (upper, lower) in enumerate(pairwise(joined)):
            line: dict[str, Any] = {"color": MUTED, "linewidth": 0.5, "alpha": 0.6}
            for ends in zip(upper.ends, lower.ends, strict=True):
                ax.plot(ends, [i + HEIGHT / 2, i + 1 - HEIGHT / 2], **line)
        name_rows(ax, [strip.name for strip in strips])
        ax.set_xlim(0, 1.12)
        ax.set_xticks([])
        for side in ("left", "bottom"):
            ax.spines[side].set_visible(False)
        ax.grid(visible=False)
        return to_svg(figure, prefix=prefix, label=label)


def _draw(ax: Axes, i: int, strip: Strip) -> None:
    begun = 0.0
    for piece, end in zip(strip.pieces, strip.ends, strict=True):
        width = end - begun
        (bar,) = ax.barh(
            i,
            width,
            left=begun,
            height=HEIGHT,
            color=style_of(piece.kind).color,
            alpha=0.55,
            edgecolor=SURFACE,
            linewidth=0.8,
        )
        times = f" ×{piece.repeat}" if piece.repeat > 1 else ""
        share = units.percent(piece.amount / strip.whole)
        text = f"{piece.name}{times}, {kind_name(piece.kind)}: {strip.text(piece.amount)}, {share}"
        hover(bar, text, piece.case_id)
        if width > max(NAMED, CHARACTER * len(piece.name)):
            ax.text(begun + width / 2, i, piece.name, ha="center", va="center", fontsize=7.5)
        begun = end
    ax.annotate(
        strip.text(strip.whole),
        (begun, i),
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
        fontsize=9,
        color=INK,
    )
