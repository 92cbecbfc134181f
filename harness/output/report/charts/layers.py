"""A network's layers: two strips of equal length, time over MACs, with a third for the network after a
replacement; and ways to have one layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.analysis import case_ratio
from harness.analysis.labels import in_words, kind_name, listed, ordered
from harness.core import units
from harness.core.interval import Interval
from harness.output.report.chart import (
    ALONE,
    FEWEST_MARKS,
    Chart,
    Panel,
    draw_interval,
    draw_mark,
    kind_keys,
    slug,
)
from harness.output.report.drawing import (
    INK,
    MUTED,
    SURFACE,
    canvas,
    hover,
    name_rows,
    set_scale,
    style_of,
    time_unit,
    to_svg,
)
from harness.output.report.tables import Bar, Cell, number, table
from harness.output.views.networks import headline, measured, replacement_headline
from harness.output.views.points import primitive_of
from harness.output.views.sweeps import missing
from harness.tasks.whatif import NETWORKS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup
    from matplotlib.axes import Axes

    from harness.output.report.tables import Column, Table
    from harness.output.views.networks import Measured
    from harness.output.views.sweeps import Sweep

NAMED = 0.045  # of a strip: a layer with room for its name
HEIGHT = 0.72


def strips(found: Sequence[Sweep]) -> Chart | None:
    """Of the first network; where the run is of a replacement, before and after on one scale. None with too
    few layers."""
    by_name = {sweep.name: sweep for sweep in found}
    sides = [by_name[name] for name in NETWORKS if name in by_name] or list(found[:1])
    settings = [measured(sweep) for sweep in sides]
    ones = [first for first, *_ in settings]
    if not ones or len(ones[0].layers) < FEWEST_MARKS:
        return None
    identity = f"network-{slug(ones[0].name)}"
    title = headline(ones[0]) if len(ones) < 2 else replacement_headline(ones[0], ones[1])
    alt = "Layers in the network's order, as wide as their share of the time, over their share of the MACs"
    svg = _strips(ones, identity, alt)
    rest = [one for _, *others in settings for one in others]
    named = [f"{units.seconds(one.whole.whole.latency_s)} ({one.setting})" for one in rest]
    others = f"Other settings: {listed(named)}." if named else ""
    kinds = ordered(layer.row["series"] for one in ones for layer in one.layers)
    note = f"{others} A sum of layers leaves out what lies between them.{missing(sides[0])}".strip()
    subtitle = "Network strips: each layer as wide as its share, times its repeats; time above, MACs below"
    return Chart(identity, title, subtitle, alt, (Panel("", svg),), _table(ones), kind_keys(kinds), note)


def _strips(ones: Sequence[Measured], prefix: str, label: str) -> Markup:
    whole_s = max(one.whole.whole.latency_s for one in ones)
    bars: list[tuple[str, Measured, bool, float]] = []
    for one in ones:
        name = f" {one.name}" if len(ones) > 1 else ""
        bars.append((f"time{name}", one, True, one.whole.whole.latency_s / whole_s))
    bars.insert(1, ("MACs", ones[0], False, ones[0].whole.whole.latency_s / whole_s))
    with canvas(9.4, 0.62 * len(bars) + 0.5) as (figure, ax):
        edges = []
        for i, (_, one, timed, length) in enumerate(bars):
            edges.append(_strip(ax, i, one, length, timed=timed))
        for upper, lower in zip(edges[0], edges[1], strict=True):
            line: dict[str, Any] = {"color": MUTED, "linewidth": 0.5, "alpha": 0.6}
            ax.plot([upper, lower], [HEIGHT / 2, 1 - HEIGHT / 2], **line)
        name_rows(ax, [name for name, *_ in bars])
        ax.set_xlim(0, 1.12)
        ax.set_xticks([])
        for side in ("left", "bottom"):
            ax.spines[side].set_visible(False)
        ax.grid(visible=False)
        return to_svg(figure, prefix=prefix, label=label)


def _strip(ax: Axes, i: int, one: Measured, length: float, *, timed: bool) -> list[float]:
    """One strip; where its layers end."""
    whole = one.whole.whole
    begun, edges = 0.0, []
    for layer in one.layers:
        macs = layer.repeat * layer.row["macs"]
        share = layer.total_s / whole.latency_s if timed else macs / whole.macs
        color = style_of(layer.row["series"]).color
        (bar,) = ax.barh(
            i,
            share * length,
            left=begun,
            height=HEIGHT,
            color=color,
            alpha=0.55,
            edgecolor=SURFACE,
            linewidth=0.8,
        )
        amount = units.seconds(layer.total_s) if timed else f"{units.count(macs)} MACs"
        times = f" ×{layer.repeat}" if layer.repeat > 1 else ""
        text = f"{layer.name}{times}, {kind_name(layer.row['kind'])}: {amount}, {units.percent(share)}"
        hover(bar, text, layer.row["case_id"])
        if share * length > max(NAMED, 0.0092 * len(layer.name)):
            ax.text(begun + share * length / 2, i, layer.name, ha="center", va="center", fontsize=7.5)
        begun += share * length
        edges.append(begun)
    amount = units.seconds(whole.latency_s) if timed else f"{units.count(whole.macs)} MACs"
    ax.annotate(
        amount, (begun, i), xytext=(5, 0), textcoords="offset points", va="center", fontsize=9, color=INK
    )
    return edges


def _table(ones: Sequence[Measured]) -> Table:
    """The layers in order, with a bar and its roof, their share and what they come to so far."""
    rows = []
    for one in ones:
        so_far_s, whole_s = 0.0, one.whole.whole.latency_s
        most_s = max(layer.total_s for layer in one.layers)
        for layer in one.layers:
            so_far_s += layer.total_s
            roof_s = layer.repeat * layer.row["attainable_s"]
            rows.append(
                {
                    "network": one.name,
                    "layer": layer,
                    "bar": Bar(layer.total_s / most_s, roof_s / most_s if roof_s == roof_s else None),
                    "share": layer.total_s / whole_s,
                    "so_far": so_far_s / whole_s,
                }
            )
    columns: list[Column] = [("Network", lambda r: Cell(r["network"]))] if len(ones) > 1 else []
    columns += [
        ("Layer", lambda r: Cell(r["layer"].name)),
        ("Repeats", lambda r: number(r["layer"].repeat)),
        ("Kind", lambda r: Cell(kind_name(r["layer"].row["series"]))),
        ("Total (µs)", lambda r: number(r["layer"].total_s, 1e-6)),
        ("Time and roofline", lambda r: Cell("", bar=r["bar"])),
        ("Share (%)", lambda r: number(r["share"], 0.01)),
        ("Cumulative (%)", lambda r: number(r["so_far"], 0.01)),
        ("Bottleneck", lambda r: Cell(in_words(r["layer"].row["bound"]))),
        ("Primitive", lambda r: Cell(primitive_of(r["layer"].row))),
    ]
    return table(rows, columns, {"Repeats", "Total (µs)", "Share (%)", "Cumulative (%)"})


def ways(sweep: Sweep) -> Chart | None:
    """Ways to have one layer, each times its repeats: which takes least."""
    first, *others = measured(sweep)
    rows = sorted(first.layers, key=lambda layer: layer.total_s)
    if len(rows) < FEWEST_MARKS:
        return None
    least, most = rows[0], rows[-1]
    ratio = case_ratio.times(least.row, most.row).scaled(most.repeat / least.repeat)
    title = (
        f"{most.name} ×{most.repeat} takes {units.times(ratio, f' as long as {least.name} ×{least.repeat}')}"
    )
    where = f" with {first.setting}" if first.setting else ""
    more = f"{len(others)} more settings are in the table of cases." if others else ""
    identity = f"ways-{slug(sweep.name)}"
    alt = f"Latency of each layer of {sweep.name} times its repeats"
    scale, unit = time_unit([rows[-1].total_s / 2])
    with canvas(ALONE[0], 0.3 * len(rows) + 0.8) as (figure, ax):
        set_scale(
            ax,
            "x",
            [0.0, max(layer.repeat * layer.row["latency_high_s"] for layer in rows) / scale],
            log=False,
        )
        for i, layer in enumerate(rows):
            ends = Interval.of_latency(layer.row).scaled(layer.repeat / scale)
            style = style_of(layer.row["series"])
            draw_interval(ax, i, ends, style.color, across=True)
            text = f"{layer.name} × {layer.repeat}: {units.seconds(layer.total_s)}"
            draw_mark(ax, ends.value, i, style, text, layer.row["case_id"])
        names = [
            ", ".join(filter(None, [f"{layer.name} ×{layer.repeat}", layer.row["panel"]])) for layer in rows
        ]
        name_rows(ax, names)
        ax.set(xlabel=f"Latency times repeats ({unit})", ylabel="")
        svg = to_svg(figure, prefix=identity, label=alt)
    columns: list[Column] = [
        ("Layer", lambda r: Cell(r.name)),
        ("Repeats", lambda r: number(r.repeat)),
        ("Latency of one (µs)", lambda r: number(r.row["latency_s"], 1e-6)),
        ("Total (µs)", lambda r: number(r.total_s, 1e-6)),
    ]
    return Chart(
        identity,
        title,
        f"Latency of each way, times its repeats, {sweep.name}{where}; whiskers are 95 % intervals",
        alt,
        (Panel("", svg),),
        table(rows, columns, {name for name, _ in columns[1:]}),
        kind_keys(ordered(layer.row["series"] for layer in rows)),
        f"{more}{missing(sweep)}".strip(),
    )
