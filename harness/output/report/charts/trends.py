"""Cases over the runs of a history: the level against its first runs, with the changes between two commits,
releases and new versions as marks.

Runs are in the order of their commits, at equal distances. Where there are more than `POINTS`, a mark is the
median of several, and its whisker reaches from their lowest to their highest tenth.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import exp
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.analysis.change_points import LEAST, WINDOW
from harness.analysis.labels import kind_name
from harness.core import units
from harness.output import history_text
from harness.output.report.chart import BOX, Chart, Key, Panel, described
from harness.output.report.drawing import (
    BAD,
    GOOD,
    GRID,
    INK,
    MUTED,
    SURFACE,
    canvas,
    hover,
    linear_ticks,
    set_ticks,
    style_of,
    to_svg,
    variable_of,
)
from harness.output.report.tables import Cell, number, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from markupsafe import Markup
    from matplotlib.axes import Axes

    from harness.analysis.history import Finding, Standing, Step
    from harness.output.report.tables import Column

POINTS, POINTS_SMALL = 80, 60  # marks of a panel, and of one of many
LARGE, SMALL = (7.2, 2.5), (3.3, 1.35)  # inches
LEAST_REACH = 1.5 * LEAST  # of the axis on either side of 1: noise is not to fill a panel
LEAST_BAND = 0.008  # of all runs: a narrower band could not be seen
NAME_ROOM, HALFWAY = 0.35, 0.75  # of all runs: what a release's name takes, and where it changes its side
KEYS = (
    Key(BOX, variable_of(BAD), "slower, somewhere between these runs"),
    Key(BOX, variable_of(GOOD), "faster"),
    Key(BOX, variable_of(MUTED), "blessed, or undone since"),
)


@dataclass(frozen=True, slots=True)
class _Points:
    """Runs of a panel, or several of them as one: where they are, their level with its ends, their words."""

    at: list[float]
    level: list[float]
    low: list[float]
    high: list[float]
    words: list[str]


def trends(standings: Sequence[Standing], findings: Sequence[Finding]) -> Chart | None:
    """The cases with the largest changes, a panel each, large. None without one."""
    if not standings:
        return None
    alt = "Level of a case over its runs, in the order of commits, relative to its first runs"
    panels = [
        Panel(one.history.label, _panel(one, findings, f"trend-{i}", described(alt, one.history.label)))
        for i, one in enumerate(standings)
    ]
    subtitle = (
        "How many times as long as in the first runs, with 95 % intervals; a shaded band is where a change "
        "lies, dashed lines are releases and new versions"
    )
    title = "Where it changed" if any(one.steps for one in standings) else "The latest levels"
    return Chart("trends", title, subtitle, alt, tuple(panels), numbers_table(standings), KEYS)


def small_multiples(
    kind: str, standings: Sequence[Standing], findings: Sequence[Finding], place: int
) -> Chart:
    """Every case of a kind on the machine of this number, a small panel each, on axes of one scale."""
    alt = f"Level of each {kind_name(kind)} case over its runs, relative to its first runs"
    reach = max(_reach(one) for one in standings)
    names, shared = history_text.short_names([one.history.label for one in standings])
    panels = [
        Panel(
            name,
            _panel(one, findings, f"small-{kind}-{place}-{i}", described(alt, name), reach=reach),
        )
        for i, (one, name) in enumerate(zip(standings, names, strict=True))
    ]
    moved = sum(any(not step.over for step in one.steps) for one in standings)
    title = f"{kind_name(kind).capitalize()}: {moved} of {history_text.counted(len(panels), 'case')} moved"
    subtitle = "How many times as long as in the first runs; all panels have one scale"
    subtitle += f". All: {shared}" if shared else ""
    identity = f"kind-{kind.replace('_', '-')}-{place}"
    return Chart(identity, title, subtitle, alt, tuple(panels), numbers_table(standings))


def numbers_table(standings: Sequence[Standing]) -> Any:
    """What the panels show, in numbers."""
    columns: list[Column] = [
        ("Case", lambda r: Cell(r.history.label)),
        ("Runs", lambda r: number(len(r.history.runs))),
        ("Since the first runs (%)", lambda r: number(_percent(r.since_first))),
        ("Lower end (%)", lambda r: number(_percent(r.since_first, "low"))),
        ("Upper end (%)", lambda r: number(_percent(r.since_first, "high"))),
        ("Changes", lambda r: Cell("; ".join(_said(step) for step in r.steps))),
    ]
    return table(standings, columns, {name for name, _ in columns[1:-1]})


def _percent(ratio: Any, end: str = "value") -> float | None:
    return None if ratio is None else round(100 * (getattr(ratio, end) - 1), 2)


def _said(step: Step) -> str:
    before, after = (history_text.commit(run) or str(run["run_id"]) for run in (step.before, step.after))
    undone = ", undone since" * step.over
    return f"{history_text.change(step.change.ratio)} between {before} and {after}{undone}"


def _panel(
    one: Standing, findings: Sequence[Finding], prefix: str, label: str, *, reach: float | None = None
) -> Markup:
    """`reach`: of the axis, for a small panel."""
    small = reach is not None
    values = one.history.series.values
    first = float(np.median(values[: min(max(len(values) // 2, 1), WINDOW)]))
    with canvas(*(SMALL if small else LARGE)) as (figure, ax):
        for step in one.steps:
            _band(ax, step, _finding_of(step, findings))
        _releases(ax, one.history.runs, named=not small)
        color = style_of(one.history.kind).color
        points = _points(one.history.runs, values - first, POINTS_SMALL if small else POINTS)
        if small:
            (line,) = ax.plot(points.at, points.level, color=color, linewidth=1.1, zorder=3)
            hover(line, f"{one.history.label}; the last: {points.words[-1]}")
        else:
            _marks(ax, points, color)
        _levels(ax, one, first)
        _axes(ax, one.history.runs, reach or _reach(one), small=small)
        return to_svg(figure, prefix=prefix, label=label)


def _points(runs: pd.DataFrame, levels: np.ndarray, most: int) -> _Points:
    """Each run, or the median of equal parts of them."""
    found = _Points([], [], [], [], [])
    errors = runs["error"].to_numpy(float)
    for part in np.array_split(np.arange(len(levels)), min(most, len(levels))):
        mine = levels[part]
        alone = len(part) == 1
        half = 1.96 * errors[part[0]]
        ends = (mine[0] - half, mine[0] + half) if alone else np.quantile(mine, [0.1, 0.9])
        middle = float(np.median(mine))
        found.at.append(float(part.mean()))
        found.level.append(exp(middle))
        found.low.append(exp(ends[0]))
        found.high.append(exp(ends[1]))
        run = runs.iloc[part[-1]]
        name = " ".join(filter(None, [f"{run['at']:%Y-%m-%d}", history_text.commit(run)]))
        latency = "" if run["latency_s"] != run["latency_s"] else f", {units.seconds(run['latency_s'])}"
        several = "" if alone else f"{len(part)} runs up to "
        found.words.append(f"{several}{name}: {exp(middle):.3f}{latency}")
    return found


def _marks(ax: Axes, points: _Points, color: str) -> None:
    ax.vlines(points.at, points.low, points.high, color=color, linewidth=0.9, alpha=0.55, zorder=2)
    for at, level, words in zip(points.at, points.level, points.words, strict=True):
        (mark,) = ax.plot(
            [at],
            [level],
            linestyle="none",
            marker="o",
            markersize=3.6,
            markerfacecolor=color,
            markeredgecolor=SURFACE,
            markeredgewidth=0.5,
            zorder=4,
        )
        hover(mark, words)


def _levels(ax: Axes, one: Standing, first: float) -> None:
    """The level between two changes, a line."""
    values = one.history.series.values
    bounds = [0, *(step.change.index for step in one.steps), len(values)]
    for begin, end in pairwise(bounds):
        level = exp(float(np.median(values[begin:end])) - first)
        (line,) = ax.plot([begin - 0.4, end - 0.6], [level, level], color=INK, linewidth=1.3, zorder=5)
        since, until = one.history.runs["at"].iloc[[begin, end - 1]]
        said = f"{level:.3f} in {history_text.counted(end - begin, 'run')}"
        hover(line, f"{said}, {since:%Y-%m-%d} to {until:%Y-%m-%d}")


def _band(ax: Axes, step: Step, finding: Finding | None) -> None:
    """From the last run that surely has the old level to the first that surely has the new one."""
    settled = step.over or (finding is not None and finding.why is not None)
    color = MUTED if settled else BAD if step.change.ratio.value > 1 else GOOD
    begin, end = step.change.earliest - 1, step.change.latest
    pad = max(LEAST_BAND * len(step.history.runs) - (end - begin), 0) / 2
    band = ax.axvspan(begin - pad, end + pad, color=color, alpha=0.28, linewidth=0, zorder=1)
    hover(band, f"{finding.id}: {_said(step)}" if finding else _said(step))


def _finding_of(step: Step, findings: Sequence[Finding]) -> Finding | None:
    return next((one for one in findings if any(step is mine for mine in one.steps)), None)


def _releases(ax: Axes, runs: pd.DataFrame, *, named: bool) -> None:
    """Tags, other versions of torch and other anchors, as dashed lines."""
    marks: dict[int, str] = {}
    for name, said in (("tag", "{}"), ("torch", "torch {}"), ("anchor", "anchor {}")):
        column = runs[name].astype("object").tolist()
        for i in range(1, len(column)):
            known = isinstance(column[i], str) and column[i] != column[i - 1]
            if known and (name == "tag" or isinstance(column[i - 1], str)):
                marks[i] = said.format(column[i])
    for i in marks:
        ax.axvline(i - 0.5, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    for i in _with_room(sorted(marks), len(runs)) if named else ():
        beyond = i > HALFWAY * len(runs)  # its name stands to the left, or it would leave the panel
        ax.annotate(
            marks[i],
            (i - 0.5, 1),
            xycoords=("data", "axes fraction"),
            xytext=(-3 if beyond else 3, -1),
            textcoords="offset points",
            horizontalalignment="right" if beyond else "left",
            va="top",
            fontsize=7.5,
            color=MUTED,
        )


def _with_room(places: Sequence[int], runs: int) -> list[int]:
    """The releases that are named, the newest first: each so far from the next that both can be read."""
    kept: list[int] = []
    for place in reversed(places):
        if not kept or kept[-1] - place > NAME_ROOM * runs:
            kept.append(place)
    return kept


def _reach(one: Standing) -> float:
    """How far a panel's axis reaches from 1, on logarithms."""
    values = one.history.series.values
    first = float(np.median(values[: min(max(len(values) // 2, 1), WINDOW)]))
    return max(float(np.quantile(np.abs(values - first), 0.995)) * 1.25, LEAST_REACH)


def _axes(ax: Axes, runs: pd.DataFrame, reach: float, *, small: bool) -> None:
    low, high = exp(-reach), exp(reach)
    ax.set_ylim(low, high)
    ticks = [1.0] if small and reach <= 2 * LEAST_REACH else linear_ticks(low, high)
    ticks = [tick for tick in ticks if low <= tick <= high]
    if small:
        ticks = sorted({ticks[0], 1.0, ticks[-1]})
    set_ticks(ax, "y", ticks, [f"{tick:.2f}" for tick in ticks])
    last = len(runs) - 1
    ax.set_xlim(-0.8, last + 0.8)
    places = sorted({0, last}) if small else sorted({round(last * share / 4) for share in range(5)})
    set_ticks(ax, "x", places, [f"{runs['at'].iloc[i]:%Y-%m-%d}" for i in places])
    ax.tick_params(axis="both", labelsize=7.5 if small else 8.5)
    ax.axhline(1, color=GRID, linewidth=1, zorder=0)
    if small:  # the ends of the axis keep their dates within the panel
        first, *others = ax.get_xticklabels()
        first.set_horizontalalignment("left" if others else "center")
        for text in others:
            text.set_horizontalalignment("right")
