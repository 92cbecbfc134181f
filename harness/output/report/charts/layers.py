"""A network's layers: strips of equal length, time over MACs over parameters, with one for the network after
a replacement; and ways to have one layer."""

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
from harness.output.report.charts.strips import Piece, Strip, draw, macs_text, parameters_text
from harness.output.report.drawing import (
    canvas,
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
    from collections.abc import Callable, Sequence

    from markupsafe import Markup

    from harness.analysis.networks import Layer
    from harness.output.report.tables import Column, Table
    from harness.output.views.networks import Measured
    from harness.output.views.sweeps import Sweep


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
    alt = (
        "Layers in the network's order, as wide as their share of the time, of the MACs and of the parameters"
    )
    svg = _strips(ones, identity, alt)
    rest = [one for _, *others in settings for one in others]
    named = [f"{units.seconds(one.whole.whole.latency_s)} ({one.setting})" for one in rest]
    others = f"Other settings: {listed(named)}." if named else ""
    kinds = ordered(layer.row["series"] for one in ones for layer in one.layers)
    note = f"{others} A sum of layers leaves out what lies between them.{missing(sides[0])}".strip()
    subtitle = "Network strips: each layer as wide as its share, times its repeats"
    return Chart(identity, title, subtitle, alt, (Panel("", svg),), _table(ones), kind_keys(kinds), note)


def _strips(ones: Sequence[Measured], prefix: str, label: str) -> Markup:
    """Time, MACs and parameters of the first; time of the others on the same scale."""
    whole_s = max(one.whole.whole.latency_s for one in ones)
    first, *others = ones
    length = first.whole.whole.latency_s / whole_s
    name = f" {first.name}" if others else ""
    joined = [
        _strip(f"time{name}", first, lambda layer: layer.row["latency_s"], units.seconds, length),
        _strip("MACs", first, lambda layer: layer.row["macs"], macs_text, length),
        _strip("parameters", first, lambda layer: layer.row["parameters"], parameters_text, length),
    ]
    apart = [
        _strip(
            f"time {one.name}",
            one,
            lambda layer: layer.row["latency_s"],
            units.seconds,
            one.whole.whole.latency_s / whole_s,
        )
        for one in others
    ]
    return draw(joined, apart, prefix=prefix, label=label)


def _strip(
    name: str, one: Measured, of: Callable[[Layer], Any], amount: Callable[[float], str], length: float
) -> Strip:
    pieces = [
        Piece(layer.name, layer.repeat, layer.row["series"], layer.repeat * of(layer), layer.row["case_id"])
        for layer in one.layers
    ]
    return Strip(name, tuple(pieces), amount, length)


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
                    "macs": layer.repeat * layer.row["macs"] / one.whole.whole.macs,
                    "parameters": layer.repeat * layer.row["parameters"] / one.whole.whole.parameters,
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
        ("MACs (%)", lambda r: number(r["macs"], 0.01)),
        ("Parameters (%)", lambda r: number(r["parameters"], 0.01)),
        ("Bottleneck", lambda r: Cell(in_words(r["layer"].row["bound"]))),
        ("Primitive", lambda r: Cell(primitive_of(r["layer"].row))),
    ]
    text = {"Network", "Layer", "Kind", "Time and roofline", "Bottleneck", "Primitive"}
    return table(rows, columns, {heading for heading, _ in columns} - text)


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
