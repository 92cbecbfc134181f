"""Latency over a sweep, a line a kind; over categories, a mark a kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import seaborn as sns

from harness.analysis.labels import highest, in_words, kind_name, listed, lowest, ordered
from harness.core import units
from harness.core.interval import Interval
from harness.output.report.chart import (
    ALONE,
    BESIDE,
    FEWEST_MARKS,
    Chart,
    Panel,
    axis_name,
    axis_title,
    described,
    draw_interval,
    draw_mark,
    kind_keys,
    set_places,
    slug,
)
from harness.output.report.drawing import (
    canvas,
    set_scale,
    style_of,
    time_unit,
    to_svg,
    wide,
)
from harness.output.report.tables import Cell, number, table
from harness.output.views.sweeps import missing, panels, place, reference

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from markupsafe import Markup
    from matplotlib.axes import Axes

    from harness.output.report.tables import Column, Table
    from harness.output.views.sweeps import Sweep


def latency(sweep: Sweep) -> Chart | None:
    """Latency against the axis of the sweep. None without an axis, or with too few marks."""
    if sweep.axis is None or len(sweep.frame) < FEWEST_MARKS:
        return None
    unit = time_unit(list(sweep.frame["latency_s"]))
    parts = panels(sweep)
    identity = f"latency-{slug(sweep.name)}"
    kinds = ordered(sweep.frame["series"])
    alt = f"Latency in {unit[1]} against {axis_name(sweep.axis)}, for {listed(map(kind_name, kinds))}"
    drawn = [
        Panel(title, _panel(sweep, part, unit, f"{identity}-{i}", described(alt, title)))
        for i, (title, part) in enumerate(parts)
    ]
    flat = ordered(sweep.frame.loc[sweep.frame["flat"], "series"])
    level = (
        f" Hollow: {listed(map(kind_name, flat))} do not depend on this axis; "
        "one case is drawn at every value."
        if flat
        else ""
    )
    return Chart(
        identity,
        _title(sweep),
        f"Latency ({unit[1]}) against {axis_name(sweep.axis)}, {sweep.name}; whiskers are 95 % intervals",
        alt,
        tuple(drawn),
        _rows(sweep, parts),
        kind_keys(kinds),
        f"{level}{missing(sweep)}".strip(),
    )


def _title(sweep: Sweep) -> str:
    """From where to where latency goes, by the kind that takes most."""
    title, frame = reference(sweep)
    slow = frame[frame["series"] == highest(frame, "latency_s")["series"]]
    low, high = lowest(slow, "latency_s"), highest(slow, "latency_s")
    ends = [f"{units.seconds(row['latency_s'])} at {place(sweep, row['x'])}" for row in (low, high)]
    where = f" ({title})" if title else ""
    return f"{kind_name(high['series']).capitalize()}: {', '.join(dict.fromkeys(ends))}{where}"


def _panel(sweep: Sweep, part: pd.DataFrame, unit: tuple[float, str], prefix: str, label: str) -> Markup:
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
        set_places(ax, places, log=log, numeric=sweep.numeric)
        for i, kind in enumerate(kinds):
            # marks at one value of x stand side by side, or their whiskers hide each other
            step = (i - (len(kinds) - 1) / 2) * (0.007 if sweep.numeric else 0.12)
            line = part[part["series"] == kind].assign(at=lambda f: f["x"].map(places)).sort_values("at")
            if line.empty:
                continue
            line["at"] = (
                line["at"] * (span[-1] / span[0]) ** step
                if log
                else line["at"] + step * ((span[-1] - span[0]) if sweep.numeric else 1)
            )
            _line(ax, line, scale, kind, joined=sweep.numeric)
        ax.set(xlabel=axis_title(str(sweep.axis)), ylabel=f"Latency ({unit[1]})")
        return to_svg(figure, prefix=prefix, label=label)


def _line(ax: Axes, line: pd.DataFrame, scale: float, kind: str, *, joined: bool) -> None:
    style, flat = style_of(kind), bool(line["flat"].all())
    if joined:
        look: dict[str, Any] = {"linestyle": ":" if flat else "-", "color": style.color}
        at, values = line["at"], line["latency_s"] / scale
        sns.lineplot(x=at, y=values, ax=ax, estimator=None, errorbar=None, legend=False, **look)
    for row in line.to_dict("records"):
        ends = Interval.of_latency(row).scaled(1 / scale)
        draw_interval(ax, row["at"], ends, style.color)
        draw_mark(ax, row["at"], ends.value, style, _hover_text(row), row["case_id"], hollow=flat)


def _hover_text(row: Mapping[Any, Any]) -> str:
    """What a mark of a case says when it is pointed at."""
    where = "" if row.get("x") in (None, 0) else f", {row['x']}"
    ends = f"{units.seconds(row['latency_low_s'])} to {units.seconds(row['latency_high_s'])}"
    return f"{kind_name(row['kind'])}{where}: {units.seconds(row['latency_s'])} ({ends})"


def _rows(sweep: Sweep, parts: list[tuple[str, pd.DataFrame]]) -> Table:
    rows = [row | {"panel_title": title} for title, part in parts for row in part.to_dict("records")]
    columns: list[Column] = [("Setting", lambda r: Cell(r["panel_title"]))] if sweep.panels else []
    axis = axis_title(str(sweep.axis))
    columns += [
        ("Kind", lambda r: Cell(kind_name(r["series"]))),
        (axis, lambda r: number(r["x"]) if sweep.numeric else Cell(str(r["x"]))),
        ("Latency (µs)", lambda r: number(r["latency_s"], 1e-6)),
        ("Lower end (µs)", lambda r: number(r["latency_low_s"], 1e-6)),
        ("Upper end (µs)", lambda r: number(r["latency_high_s"], 1e-6)),
        ("Repetitions", lambda r: number(r["visits"])),
        ("Trust", lambda r: Cell(in_words(r["trust"]))),
    ]
    numeric = {"Latency (µs)", "Lower end (µs)", "Upper end (µs)", "Repetitions"}
    return table(rows, columns, numeric | ({axis} if sweep.numeric else set()))
