"""Arms that took turns, each over each: a matrix a case, by how many times the row takes as long as the
column."""

from __future__ import annotations

from math import log2
from typing import TYPE_CHECKING

from matplotlib.patches import Rectangle

from harness.core import units
from harness.output import ranking_text
from harness.output.report.chart import Chart, Panel, described
from harness.output.report.drawing import BAD, GOOD, canvas, hover, name_rows, set_ticks, to_svg
from harness.output.report.tables import Cell, number, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup

    from harness.analysis.ranking import Place, Ranking
    from harness.output.report.tables import Column

MOST_PANELS = 6  # of cases; the table has them all
FULL = 1.0  # doublings at which a colour is full
PALEST, DARKEST = 0.08, 0.55  # of a colour: the printed values stay readable on it
LETTER_IN = 0.085  # inches of a letter of an arm's name


def ranking(found: Sequence[Ranking]) -> Chart | None:
    """None where no case has two arms with a latency."""
    known = [one for one in found if one.ratios]
    if not known:
        return None
    alt = "Matrix of arms: by how many times the row takes as long as the column"
    panels = [
        Panel(one.label if len(known) > 1 else "", _panel(one, f"ranking-{i}", described(alt, one.label)))
        for i, one in enumerate(known[:MOST_PANELS])
    ]
    rows = [(one, place) for one in found for place in one.places]
    columns: list[Column] = [
        ("Case", lambda r: Cell(r[0].label)),
        ("Arm", lambda r: Cell(r[1].arm)),
        ("Latency (µs)", lambda r: number(r[1].latency_s, 1e-6)),
        ("Times the fastest", lambda r: number(_ratio(r[1], "value"))),
        ("Lower end", lambda r: number(_ratio(r[1], "low"))),
        ("Upper end", lambda r: number(_ratio(r[1], "high"))),
        ("Pairs", lambda r: number(r[1].pairs)),
        ("Peak (KiB)", lambda r: number(r[1].peak_bytes, 1024)),
        ("Numeric error", lambda r: Cell("" if r[1].error is None else f"{r[1].error:.1e}", r[1].error)),
        ("Why not", lambda r: Cell(r[1].message or "")),
    ]
    numbers = table(rows, columns, {name for name, _ in columns[2:-1]})
    some = f"{len(panels)} of {len(known)} cases; the table has all. " if len(panels) < len(known) else ""
    subtitle = (
        "By how many times the row takes as long as the column; without colour where they are not told apart"
    )
    note = f"{some}{ranking_text.METHOD}"
    return Chart(
        "ranking",
        ranking_text.headline(found).removesuffix("."),
        subtitle,
        alt,
        tuple(panels),
        numbers,
        (),
        note,
    )


def _ratio(place: Place, end: str) -> float | None:
    return None if place.over_fastest is None else float(getattr(place.over_fastest, end))


def _panel(one: Ranking, prefix: str, label: str) -> Markup:
    arms = [place.arm for place in one.places if place.latency_s is not None]
    room = LETTER_IN * max(map(len, arms))
    side = max(0.75, room)
    with canvas(side * len(arms) + room + 1.0, 0.4 * len(arms) + 0.7) as (figure, ax):
        for y, row in enumerate(arms):
            for x, column in enumerate(arms):
                ratio = one.over(column, row)
                if ratio is None:
                    continue
                told = not ratio.low <= 1 <= ratio.high
                depth = min(abs(log2(ratio.value)) / FULL, 1.0)
                cell = ax.add_patch(
                    Rectangle(
                        (x - 0.5, y - 0.5),
                        1,
                        1,
                        facecolor=BAD if ratio.value > 1 else GOOD,
                        alpha=PALEST + (DARKEST - PALEST) * depth if told else 0.0,
                        linewidth=0,
                    )
                )
                hover(cell, f"{row} takes {ranking_text.times(ratio)} as long as {column}")
                ax.text(x, y, units.significant(ratio.value), ha="center", va="center", fontsize=8.5)
        name_rows(ax, arms)
        set_ticks(ax, "x", range(len(arms)), arms)
        ax.set_xlim(-0.5, len(arms) - 0.5)
        ax.tick_params(axis="x", length=0)
        ax.grid(visible=False)
        for edge in ("left", "bottom"):
            ax.spines[edge].set_visible(False)
        return to_svg(figure, prefix=prefix, label=label)
