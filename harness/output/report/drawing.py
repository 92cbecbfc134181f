"""The one way in which charts are drawn: colours, marks, units on axes, and SVG that follows the page.

In: frames and numbers. Out: SVG to be put into a page. Not here: what a chart shows (`charts`). matplotlib
draws with stand-in colours, which become CSS variables of the page, so that one drawing serves light, dark
and paper. Text stays text (it can be searched, copied, read aloud). The same data gives the same bytes: no
dates, no random ids.
"""

from __future__ import annotations

import io
import re
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from harness.core.problem import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes


@dataclass(frozen=True, slots=True)
class Style:
    """The colour and the mark of a kind, the same everywhere. `color` is a stand-in; `path` is the mark for
    legends, in a box of 16."""

    name: str
    color: str
    marker: str
    grow: float  # marks of one nominal size do not look alike large
    path: str

    @property
    def variable(self) -> str:
        """Its CSS variable."""
        return variable_of(self.color)


# Stand-ins for CSS variables. Light and dark values stand in page.css; both were chosen so that any two
# differ by at least 25 (CIE76) for normal sight and for protan, deutan and tritan simulations (Machado 2009),
# with a contrast of 3:1 or more against the page.
_MARKS = (
    ("o", 1.0, "M8 3a5 5 0 1 0 0 10a5 5 0 1 0 0-10z"),
    ("s", 0.95, "M3.5 3.5h9v9h-9z"),
    ("^", 1.2, "M8 2.8l5.6 10h-11.2z"),
    ("D", 0.95, "M8 2l6 6l-6 6l-6-6z"),
    ("P", 1.3, "M6 2.5h4v3.5h3.5v4h-3.5v3.5h-4v-3.5h-3.5v-4h3.5z"),
)
STYLES = {
    kind: Style(kind, f"#0000{0x10 + i:02x}", *mark)
    for i, (kind, mark) in enumerate(zip(KINDS, _MARKS, strict=True))
}
OTHER = Style("unknown", "#000003", "X", 1.1, "M3 3l10 10M13 3l-10 10")
INK, MUTED, GRID, SURFACE = "#000001", "#000003", "#000005", "#000007"
GOOD, BAD = "#000009", "#00000b"  # faster and slower
# parts of a call; the convolution is grey, so that what could be saved stands out
REORDERS, FAULTS, DISPATCH = "#00000d", "#00000f", "#000021"
# settings, where they and not kinds differ within a panel
SETTING_STYLES = tuple(
    Style(f"setting-{i}", f"#0000{0x30 + i:02x}", *mark) for i, mark in enumerate(_MARKS[:4])
)
_VARIABLES = (
    {INK: "ink", MUTED: "muted", GRID: "grid", SURFACE: "surface", GOOD: "good", BAD: "bad"}
    | {REORDERS: "part-reorders", FAULTS: "part-faults", DISPATCH: "part-dispatch"}
    | {style.color: f"kind-{kind.replace('_', '-')}" for kind, style in STYLES.items()}
    | {style.color: style.name for style in SETTING_STYLES}
)
MARK = "mark"  # the gid of what says something when it is pointed at

_RC: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "convscope",
    # ships with matplotlib: the room that text takes is the same everywhere, and wider than what browsers use
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.labelsize": 9.5,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "text.parse_math": False,  # a name with a dollar sign is a name
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "figure.facecolor": "none",
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "lines.linewidth": 1.6,
    "lines.markersize": 6.5,
}

SPAN_FOR_LOG = 8.0  # largest over smallest: from here on a linear axis presses the small ones flat
POINTS_A_LABEL = 7.0  # width of a digit at our size of text, in points, with some air


def variable_of(color: str) -> str:
    """The CSS variable of a stand-in."""
    return _VARIABLES[color]


def style_of(kind: object) -> Style:
    """The style of a kind; a grey cross for anything else."""
    return STYLES.get(str(kind), OTHER)  # type: ignore[call-overload, no-any-return]


@contextmanager
def canvas(width: float, height: float) -> Iterator[tuple[Figure, Axes]]:
    """A figure of that many inches with one pair of axes, in our style; matplotlib's global state is left
    alone."""
    with mpl.rc_context(_RC):  # type: ignore[arg-type]  # the names are those of matplotlib 3.11; older ones lack the list
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.add_subplot()


def hover(artist: Artist, text: str, case_id: object = None) -> None:
    """Let a mark say `text` when it is pointed at, and lead to its row in the table of cases."""
    artist.set_gid(MARK)
    artist.set_label(text)
    if isinstance(case_id, str):
        artist.set_url(f"#{case_anchor(case_id)}")


def case_anchor(case_id: str) -> str:
    """The id of a case's row in the table of cases."""
    return f"case-{case_id[:8]}"


def to_svg(figure: Figure, *, prefix: str, label: str) -> Markup:
    """The figure as an inline SVG element named `label`, its ids unique to `prefix`. Call it within
    `canvas`."""
    marks = figure.findobj(lambda artist: artist.get_gid() == MARK)
    for number, artist in enumerate(marks):
        artist.set_gid(f"{MARK}-{number}")
    buffer = io.StringIO()
    with warnings.catch_warnings():  # the browser has letters that this font lacks
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(buffer, format="svg", metadata=metadata)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(
        r"<!--.*?-->|<metadata>.*?</metadata>|<style type=\"text/css\">.*?</style>", "", text, flags=re.DOTALL
    )
    text = re.sub(r"<defs>\s*</defs>", "", text)
    text = re.sub(r">\s+<", "><", text)
    text = re.sub(r"; stroke-linejoin: (?:miter|round)|; stroke-linecap: (?:square|butt)", "", text)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', text)
    text = re.sub(r'xlink:href="(#case-[^"]+)" target="_blank"', r'href="\1" tabindex="-1"', text)
    text = re.sub(r'xlink:href="#([^"]+)"', rf'href="#{prefix}-\1"', text).replace("url(#", f"url(#{prefix}-")
    text = re.sub(
        # the title of a link stands in it, so that it has a name
        rf'<g id="{prefix}-{MARK}-(\d+)">((?:(?!<g id=).)*?<a [^>]*>)?',
        lambda found: f"<g>{found[2] or ''}<title>{escape(marks[int(found[1])].get_label())}</title>",
        text,
        flags=re.DOTALL,
    )
    text = re.sub(r'\bd="[^"]*"', lambda d: re.sub(r"(\.\d\d)\d+", r"\1", " ".join(d[0].split())), text)
    text = re.sub(r"font: [^;\"]*?([\d.]+)px[^;\"]*", r"font-size: \1px", text)
    for color, variable in _VARIABLES.items():
        text = text.replace(color, f"var(--{variable})")
    opening, rest = text.split(">", 1)
    box = re.search(r'viewBox="([^"]+)"', opening)
    assert box is not None
    name = escape(label)
    role = "group" if marks else "img"  # an image has no links in it
    look = f"min-width: {_least_width(box[1])}px"
    return Markup(  # noqa: S704
        f'<svg viewBox="{box[1]}" role="{role}" aria-label="{name}" style="{look}">{rest.strip()}'
    )  # made above, names escaped


def _least_width(box: str) -> int:
    """Below this the text would be too small to read, and the figure scrolls instead."""
    return round(min(float(box.split()[2]), 620) * 0.92)


def time_unit(values: Sequence[float]) -> tuple[float, str]:
    """The unit, and its seconds, in which these durations are read most easily: chosen at their geometric
    middle."""
    middle = (min(values) * max(values)) ** 0.5
    return next(
        ((scale, name) for scale, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")) if middle >= 0.3 * scale),
        (1e-9, "ns"),
    )


def wide(values: Sequence[float]) -> bool:
    """Whether these belong on a logarithmic axis."""
    return min(values) > 0 and max(values) / min(values) >= SPAN_FOR_LOG


def set_scale(
    ax: Axes,
    which: str,
    values: Sequence[float],
    *,
    log: bool,
    show: Callable[[float], str] | None = None,
    zero: bool = True,
) -> None:
    """Scale, limits, ticks and their text for axis "x" or "y" over `values`, already in the axis' unit."""
    low, high = min(values), max(values)
    if log:
        low, high = low / (high / low) ** 0.06 / 1.04, high * (high / low) ** 0.06 * 1.04
        ticks = log_ticks(low, high)
    else:
        pad = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
        low, high = (0.0 if zero else low - pad), high + pad
        ticks = linear_ticks(low, high)
    (ax.set_xscale if which == "x" else ax.set_yscale)("log" if log else "linear")
    (ax.set_xlim if which == "x" else ax.set_ylim)(low, high)
    set_ticks(ax, which, ticks, [(show or plain)(tick) for tick in ticks])


def set_ticks(ax: Axes, which: str, ticks: Sequence[float], texts: Sequence[str]) -> None:
    """Exactly these ticks, with these texts."""
    axis = ax.xaxis if which == "x" else ax.yaxis
    axis.set_major_locator(FixedLocator(list(ticks)))
    axis.set_major_formatter(FixedFormatter(list(texts)))
    axis.set_minor_locator(NullLocator())


def plain(value: float) -> str:
    """A round number without the zeros behind it: 0.05, 2, 1,000."""
    return f"{value:,.6f}".rstrip("0").rstrip(".")


def name_rows(ax: Axes, names: Sequence[str]) -> None:
    """Rows from top to bottom, named; lines of the grid only where values are read."""
    set_ticks(ax, "y", range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False, axis="y")


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers within a logarithmic range: 1, 2, 5 over short ranges, 1 and 3 over longer ones, then
    decades, each or every few."""
    decades = range(floor(log10(low)), ceil(log10(high)) + 1)
    for steps in ((1, 1.5, 2, 3, 4, 5, 7), (1, 2, 5), (1, 3), (1,)):
        ticks = [
            float(f"{step * 10.0**d:.6g}") for d in decades for step in steps if low <= step * 10.0**d <= high
        ]
        if len(ticks) <= 7:
            break
    if not ticks:  # a range of a few per cent may hold no round step
        return linear_ticks(low, high)
    return ticks[:: ceil(len(ticks) / 7)]


def linear_ticks(low: float, high: float) -> list[float]:
    """Round numbers within a linear range, about five."""
    raw = (high - low) / 5
    unit = 10.0 ** floor(log10(raw))
    step = next(s * unit for s in (1, 2, 2.5, 5, 10) if s * unit >= raw * 0.999)
    first = ceil(low / step - 1e-9)
    return [float(f"{i * step:.10g}") for i in range(first, floor(high / step + 1e-9) + 1)]


def spaced(values: Sequence[float], texts: Sequence[str], *, log: bool, points: float) -> list[int]:
    """Which of the sorted values keep their text on an axis of that many points: both ends, and between them
    whatever leaves room."""
    if len(values) < 2:
        return list(range(len(values)))
    at = [log10(v) if log else v for v in values]
    place = [points * (v - at[0]) / (at[-1] - at[0]) for v in at]
    half = [POINTS_A_LABEL * len(text) / 2 + 3 for text in texts]
    kept = [0]
    last = len(values) - 1
    for i in range(1, last):
        if (
            place[i] - place[kept[-1]] >= half[i] + half[kept[-1]]
            and place[last] - place[i] >= half[i] + half[last]
        ):
            kept.append(i)
    return [*kept, last]
