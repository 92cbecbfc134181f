"""Forest: the change of every case with its interval, sorted, over the band that counts as the same."""

from __future__ import annotations

from collections import Counter
from math import log
from typing import TYPE_CHECKING, Any

from harness.core.gate import ALL_CASES
from harness.output import verdict_text
from harness.output.report.chart import FEWEST_MARKS, Chart, Key, Panel, slug
from harness.output.report.drawing import (
    BAD,
    GOOD,
    INK,
    MUTED,
    SURFACE,
    canvas,
    hover,
    linear_ticks,
    set_ticks,
    to_svg,
)
from harness.output.report.tables import Cell, number, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from harness.analysis.comparison import Comparison
    from harness.output.report.tables import Column

    Row = dict[Any, Any]

MOST_ROWS = 40  # beyond them only what moved and what is most undecided has a row; the others share one
FEW_ROWS = 12
BEYOND_BAND = 5.0  # times the tolerance: the axis reaches so far, and farther ends are cut with an arrow
DECIDED = ("regressed", "improved", "same")
DOT = "M8 3a5 5 0 1 0 0 10a5 5 0 1 0 0-10z"


def forest(found: Comparison, name: str) -> Chart | None:
    """Of the cases whose latency was judged; None where they are too few. `name` tells charts of one page
    apart."""
    verdicts = found.verdicts
    known = (verdicts["metric"] == "latency_s") & verdicts["ratio"].notna()
    judged = verdicts[known & verdicts["verdict"].isin(verdict_text.JUDGED)].to_dict("records")
    if len(judged) < FEWEST_MARKS:
        return None
    short, shared = verdict_text.short_names(judged)
    judged = [row | {"short": name} for row, name in zip(judged, short, strict=True)]
    rows = sorted(judged, key=lambda row: (row["match_id"] != ALL_CASES, -row["ratio"]))
    shown, rest = rows, list[dict[Any, Any]]()
    if len(rows) > MOST_ROWS:
        folds = sorted((row for row in rows if not _has_row(row)), key=lambda row: -abs(log(row["ratio"])))
        undecided = [row for row in folds if row["verdict"] == "inconclusive"][:FEW_ROWS]
        rest = [row for row in folds if row not in undecided]
        shown = [row for row in rows if row not in rest]
    identity = f"forest-{slug(name)}"
    alt = f"Change from {found.names[0]} to {found.names[1]} in percent, a row a case, over the tolerance"
    svg = _draw(shown, rest, identity, alt)
    columns: list[Column] = [
        ("Case", lambda r: Cell(r["short"])),
        ("Change (%)", lambda r: number(r["ratio"] - 1, 0.01)),
        ("Lower end (%)", lambda r: number(r["ratio_low"] - 1, 0.01)),
        ("Upper end (%)", lambda r: number(r["ratio_high"] - 1, 0.01)),
        ("Pairs", lambda r: Cell(verdict_text.counted(r), r["pairs"])),
        ("Verdict", lambda r: Cell(r["verdict"])),
    ]
    numbers = table(rows, columns, {name for name, _ in columns[1:-1]})
    keys = (
        Key(DOT, "bad", "regressed"),
        Key(DOT, "good", "improved"),
        Key(DOT, "ink", "same"),
        Key("M8 3a5 5 0 1 0 0 10a5 5 0 1 0 0-10zM8 5a3 3 0 1 1 0 6a3 3 0 1 1 0-6z", "muted", "inconclusive"),
    )
    note = "An arrow: the interval goes on."
    subtitle = (
        f"Forest: change of latency from {found.names[0]} to {found.names[1]} (%), 90 % intervals; "
        f"the band is the tolerance{f'; all: {shared}' if shared else ''}"
    )
    return Chart(
        identity, verdict_text.headline(found), subtitle, alt, (Panel("", svg),), numbers, keys, note
    )


def _draw(shown: Sequence[Row], rest: Sequence[Row], prefix: str, label: str) -> Any:
    tolerance = max((row["tolerance"] for row in shown if row["tolerance"] == row["tolerance"]), default=0.02)
    values = [100 * (row["ratio"] - 1) for row in (*shown, *rest)]
    reach = max(100 * BEYOND_BAND * tolerance, 1.15 * max(map(abs, values)))
    ends = [100 * (row[end] - 1) for row in (*shown, *rest) for end in ("ratio_low", "ratio_high")]
    reach = min(
        reach, max(1.05 * max((abs(end) for end in ends if end == end), default=reach), 200 * tolerance)
    )
    count = len(shown) + bool(rest)
    with canvas(9.4, 0.235 * count + 0.95) as (figure, ax):
        for i in range(count):
            own = shown[i]["tolerance"] if i < len(shown) else tolerance
            ax.barh(i, 200 * own, left=-100 * own, height=1.0, color=MUTED, alpha=0.16, linewidth=0)
        ax.axvline(0.0, color=MUTED, linewidth=1.0, zorder=1)
        for i, row in enumerate(shown):
            _row(ax, i, row, reach)
        for row in rest:
            _dot(ax, len(shown), row)
        names = [str(row["short"]) for row in shown] + [_others(rest)] * bool(rest)
        set_ticks(ax, "y", range(count), names)
        ax.set_ylim(count - 0.5, -0.5)
        ax.set_xlim(-reach, reach)
        ticks = linear_ticks(-reach, reach)
        set_ticks(ax, "x", ticks, [f"{tick:+g}" if tick else "0" for tick in ticks])
        ax.tick_params(axis="y", length=0)
        ax.grid(visible=False, axis="y")
        ax.set(xlabel="Change of latency (%)", ylabel="")
        right = ax.twinx()
        right.set_ylim(ax.get_ylim())
        set_ticks(right, "y", range(len(shown)), [_said(row) for row in shown])
        right.tick_params(axis="y", length=0)
        right.grid(visible=False)
        right.spines["right"].set_visible(False)
        return to_svg(figure, prefix=prefix, label=label)


def _has_row(row: Row) -> bool:
    """What moved, and what all cases share, is never folded away."""
    return row["verdict"] in verdict_text.MOVED or row["match_id"] == ALL_CASES


def _others(rest: Sequence[Row]) -> str:
    """`31 others: 30 same, 1 inconclusive`."""
    counts = Counter(str(row["verdict"]) for row in rest)
    return f"{len(rest)} others: {', '.join(f'{count} {word}' for word, count in counts.most_common())}"


def _color(row: Row) -> str:
    return {"regressed": BAD, "improved": GOOD, "same": INK}.get(row["verdict"], MUTED)


def _said(row: Row) -> str:
    reason = (
        f": {str(row['reason']).partition(':')[0]}"
        if row["verdict"] == "inconclusive" and row["reason"]
        else ""
    )
    return f"  {verdict_text.percent(row['ratio'])}  {row['verdict']}{reason}"


def _row(ax: Axes, i: int, row: Row, reach: float) -> None:
    """Interval and mark; what lies beyond the axis ends in an arrow at its edge."""
    color = _color(row)
    low, high = (100 * (row[end] - 1) for end in ("ratio_low", "ratio_high"))
    if low == low:
        ax.plot([max(low, -reach), min(high, reach)], [i, i], color=color, linewidth=1.4, zorder=2)
        for end, edge, marker in ((low, -reach, "<"), (high, reach, ">")):
            if abs(end) > reach:
                ax.plot([edge], [i], marker=marker, color=color, markersize=5, clip_on=False, zorder=3)
    _dot(ax, i, row, limit=reach)


def _dot(ax: Axes, i: int, row: Row, limit: float = float("inf")) -> None:
    color = _color(row)
    value = min(max(100 * (row["ratio"] - 1), -limit), limit)
    (mark,) = ax.plot(
        [value],
        [i],
        marker="o",
        markersize=6,
        markerfacecolor=color if row["verdict"] in DECIDED else SURFACE,
        markeredgecolor=color,
        linestyle="none",
        zorder=4,
        clip_on=False,
    )
    pairs = verdict_text.counted(row)
    behind = f", {pairs} pairs" if pairs else ""
    hover(mark, f"{row['label']}: {verdict_text.change(row)}, {row['verdict']}{behind}", row["case_id"])
