"""The charts of the page, each a function: a table in; figure, caption, alt text and the same numbers as a
table out.

In: the joined points and the summary (`tables`). Out: `Chart`s in the order of the page; none where there is
nothing to draw. Kinds keep their colour and mark everywhere; panels of one chart share their axes, so that
they can be read against each other.
Here: latency over a sweep. In `charts_of_cases`: work, memory, networks; in `charts_of_causes`: where time
goes; in `charts_of_pairs`: allocators, runs. A chart is added to `all_charts`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import seaborn as sns

from harness.analysis.differences import PAST, clearly_slower
from harness.analysis.labels import highest, kind_name, lowest
from harness.core import units
from harness.output.report.chart import (
    ALONE,
    BESIDE,
    INTERVALS,
    Chart,
    Panel,
    axis_title,
    described,
    listed,
    ordered,
    slug,
    whiskers,
)
from harness.output.report.charts_of_cases import memory, network, work
from harness.output.report.charts_of_causes import causes
from harness.output.report.charts_of_pairs import allocators, sides
from harness.output.report.drawing import (
    SURFACE,
    canvas,
    look,
    set_scale,
    set_ticks,
    spaced,
    style_of,
    time_unit,
    to_svg,
    wide,
)
from harness.output.report.sweeps import Sweep, fullest, missing, networks, panels, place, reference, sweeps
from harness.output.report.tables import Cell, Table, in_words, number, table

if TYPE_CHECKING:
    import pandas as pd
    from markupsafe import Markup
    from matplotlib.axes import Axes

    from harness.output.report.tables import Column


def all_charts(points: pd.DataFrame, summary: pd.DataFrame) -> list[Chart]:
    """Every chart that these results have data for: sweeps, work, causes, allocators, memory, networks,
    runs."""
    found = sweeps(points)
    charts = [latency(sweep) for sweep in found]
    charts += [chart for chart in (work(summary), causes(summary), allocators(summary)) if chart]
    charts += [chart for chart in map(memory, found) if chart]
    charts += [network(sweep) for sweep in networks(points)]
    return charts + sides(summary)


def latency(sweep: Sweep) -> Chart:
    """Latency against the axis of the sweep, a line a kind; without an axis, a dot a kind."""
    unit = time_unit(list(sweep.frame["latency_s"]))
    parts = panels(sweep)
    identity = f"latency-{slug(sweep.name)}"
    what = (axis_title(sweep.axis) if sweep.axis else "Kind").partition(" (")[0].lower()
    kinds = ordered(sweep.frame["series"])
    alt = f"Latency in {unit[1]} against {what}, for {listed(map(kind_name, kinds))}"
    draw = _lines if sweep.axis else _dots
    drawn = [
        Panel(title, draw(sweep, part, unit, f"{identity}-{i}", described(alt, title)))
        for i, (title, part) in enumerate(parts)
    ]
    flat = ordered(sweep.frame.loc[sweep.frame["flat"], "series"])
    level = (
        f" Hollow and dotted: {listed(map(kind_name, flat))} without this axis, "
        "one case drawn at every value."
        if flat
        else ""
    )
    note = f"{INTERVALS}{level}{missing(sweep)}"
    rows = _rows(sweep, parts)
    return Chart(
        identity,
        f"Latency against {what} · {sweep.name}",
        _finding(sweep),
        alt,
        tuple(drawn),
        rows,
        kinds if sweep.axis else (),
        note,
    )


def _finding(sweep: Sweep) -> str:
    """Who is fastest and slowest where most kinds can be compared, in the panel with the most defaults, and
    whether that is past the intervals."""
    title, frame = reference(sweep)
    at, rows = fullest(frame)
    where = " ".join(
        filter(None, [f"At {place(sweep, at)}" if sweep.axis else "Here", f"({title})" if title else ""])
    )
    fast, slow = lowest(rows, "latency_s"), highest(rows, "latency_s")
    if len(rows) < 2:
        low, high = lowest(frame, "latency_s"), highest(frame, "latency_s")
        span = (
            f", over the sweep {units.seconds(low['latency_s'])} to {units.seconds(high['latency_s'])}"
            if len(frame) > 1
            else ""
        )
        return f"{where} {kind_name(fast['series'])} takes {units.seconds(fast['latency_s'])}{span}."
    rough = (rows["interval"] != "between").any()
    ratio = units.significant(slow["latency_s"] / fast["latency_s"], 2)
    said = (
        f"{kind_name(fast['series'])} takes {units.seconds(fast['latency_s'])}, "
        f"{kind_name(slow['series'])} {units.seconds(slow['latency_s'])}"
    )
    if rough:
        return f"{where} {said}: about {ratio} times as long, from fewer than three processes."
    if not clearly_slower(slow, fast):
        return f"{where} no two kinds differ {PAST}: {said}."
    return f"{where} {said}: {ratio} times as long."


def _lines(sweep: Sweep, part: pd.DataFrame, unit: tuple[float, str], prefix: str, label: str) -> Markup:
    whole, scale = sweep.frame, unit[0]
    values = list(dict.fromkeys(whole["x"]))
    places = {value: float(value) if sweep.numeric else float(i) for i, value in enumerate(values)}
    span = sorted(places.values())
    log = sweep.numeric and wide(span)
    kinds = ordered(whole["series"])
    with canvas(*(BESIDE if sweep.panels else ALONE)) as (figure, ax):
        ys = [
            value / scale
            for name in ("latency_low_s", "latency_high_s", "latency_s")
            for value in whole[name].dropna()
        ]
        set_scale(ax, "y", ys, log=wide(ys))
        _set_x(ax, places, log=log, numeric=sweep.numeric)
        for i, kind in enumerate(kinds):
            # marks at one value of x stand side by side, or their whiskers hide each other
            step = (i - (len(kinds) - 1) / 2) * (0.007 if sweep.numeric else 0.12)
            line = part[part["series"] == kind].assign(at=lambda f: f["x"].map(places)).sort_values("at")
            if line.empty:
                continue
            at = (
                line["at"] * (span[-1] / span[0]) ** step
                if log
                else line["at"] + step * ((span[-1] - span[0]) if sweep.numeric else 1)
            )
            y, style, flat = line["latency_s"] / scale, style_of(kind), bool(line["flat"].all())
            whiskers(ax, at, y, line["latency_low_s"] / scale, line["latency_high_s"] / scale, style.color)
            drawn: dict[str, Any] = {
                "linestyle": ":" if flat else "-" if sweep.numeric else "none",
                "markerfacecolor": SURFACE if flat else style.color,
            }
            drawn |= {
                "color": style.color,
                "marker": style.marker,
                "markersize": 6.2 * style.grow,
                "markeredgecolor": style.color,
                "markeredgewidth": 1.2,
            }
            sns.lineplot(x=at, y=y, ax=ax, estimator=None, errorbar=None, legend=False, **drawn)
        ax.set(xlabel=axis_title(str(sweep.axis)), ylabel=f"Latency ({unit[1]})")
        return to_svg(figure, prefix=prefix, label=label)


def _set_x(ax: Axes, places: dict[Any, float], *, log: bool, numeric: bool) -> None:
    """Ticks at the values that were measured, as many as have room."""
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


def _dots(sweep: Sweep, part: pd.DataFrame, unit: tuple[float, str], prefix: str, label: str) -> Markup:
    whole, scale = sweep.frame, unit[0]
    kinds = ordered(whole["series"])
    with canvas((BESIDE if sweep.panels else ALONE)[0], 0.36 * len(kinds) + 0.8) as (figure, ax):
        xs = [
            value / scale
            for name in ("latency_low_s", "latency_high_s", "latency_s")
            for value in whole[name].dropna()
        ]
        set_scale(ax, "x", xs, log=wide(xs))
        for i, kind in enumerate(kinds):
            line, style = part[part["series"] == kind], style_of(kind)
            at = line["latency_s"] * 0 + i
            whiskers(
                ax,
                at,
                line["latency_s"] / scale,
                line["latency_low_s"] / scale,
                line["latency_high_s"] / scale,
                style.color,
                across=True,
            )
            sns.scatterplot(
                x=line["latency_s"] / scale, y=at, ax=ax, legend=False, **look(style, hollow=False)
            )
        set_ticks(ax, "y", range(len(kinds)), [kind_name(kind) for kind in kinds])
        ax.set_ylim(len(kinds) - 0.5, -0.5)
        ax.set(xlabel=f"Latency ({unit[1]})", ylabel="")
        return to_svg(figure, prefix=prefix, label=label)


def _rows(sweep: Sweep, parts: list[tuple[str, pd.DataFrame]]) -> Table:
    rows = [row | {"panel_title": title} for title, part in parts for row in part.to_dict("records")]
    columns: list[Column] = [("Setting", lambda r: Cell(r["panel_title"]))] if sweep.panels else []
    columns += [("Kind", lambda r: Cell(kind_name(r["series"])))]
    if sweep.axis:
        columns += [
            (axis_title(sweep.axis), lambda r: number(r["x"]) if sweep.numeric else Cell(str(r["x"])))
        ]
    columns += [
        ("Latency (µs)", lambda r: number(r["latency_s"], 1e-6)),
        ("Lower end (µs)", lambda r: number(r["latency_low_s"], 1e-6)),
        ("Upper end (µs)", lambda r: number(r["latency_high_s"], 1e-6)),
        ("Visits", lambda r: number(r["visits"])),
        ("Trust", lambda r: Cell(in_words(r["trust"]))),
    ]
    numeric = {
        "Latency (µs)",
        "Lower end (µs)",
        "Upper end (µs)",
        "Visits",
        *([axis_title(str(sweep.axis))] if sweep.numeric else []),
    }
    return table(rows, columns, numeric)
