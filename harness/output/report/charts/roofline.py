"""Roofline of the machine: FLOPs a second against FLOPs a byte, every case under the roofs that were measured
in its run (Williams, Waterman and Patterson 2009)."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from harness.analysis.labels import (
    highest,
    in_words,
    kind_name,
    labels,
    listed,
    lowest,
    ordered,
    sentence,
)
from harness.analysis.roofline import roofs_of
from harness.core import units
from harness.output.report.chart import ALONE, FEWEST_MARKS, Chart, Panel, described, draw_mark, kind_keys
from harness.output.report.drawing import INK, MUTED, canvas, set_scale, style_of, to_svg
from harness.output.report.tables import Cell, number, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from markupsafe import Markup
    from matplotlib.axes import Axes

    from harness.analysis.roofline import Roofs
    from harness.output.report.tables import Column

MOST_PANELS = 2  # devices, threads or dtypes
APART = 1.25  # two roofs closer than this are one
FAR = 0.25  # of the roof: below it a wedge is shaded
GIGA = 1e9


def roofline(cases: pd.DataFrame, ceilings: Mapping[str, Sequence[Mapping[Any, Any]]]) -> Chart | None:
    """Of the cases that have roofs, by device, threads and dtype; None where there are too few."""
    measured = cases[cases["latency_s"].notna() & (cases["flops"] > 0)]
    measured = measured.drop_duplicates(["run_id", "arm", "case_id"])
    if measured.empty:
        return None
    measured = measured.assign(
        label=labels(measured),
        rate=measured["flops"] / measured["latency_s"],
        intensity=measured["flops"] / measured["minimum_bytes"],
    )
    groups = defaultdict[tuple[Any, ...], list[tuple[dict[Any, Any], "Roofs"]]](list)
    for row in measured.to_dict("records"):
        roofs = roofs_of(row, ceilings.get(row["run_id"], ()))
        if roofs:
            key = (row["run"], row["device_name"], row["threads_used"], row["dtype"])
            groups[key].append((row, roofs))
    largest = sorted(groups.items(), key=lambda group: -len(group[1]))[:MOST_PANELS]
    largest = [group for group in largest if len(group[1]) >= FEWEST_MARKS]
    if not largest:
        return None
    drawn_rows = [row for _, group in largest for row, _ in group]
    kinds = ordered(row["kind"] for row in drawn_rows)
    alt = f"FLOP/s against FLOPs per byte under the roofs, for {listed(map(kind_name, kinds))}"
    panels = []
    for i, (key, group) in enumerate(largest):
        title = ", ".join(_which(key)) if len(largest) > 1 else ""
        panels.append(Panel(title, _panel(group, f"roofline-{i}", described(alt, title))))
    columns: list[Column] = [
        ("Case", lambda r: Cell(r["label"])),
        ("FLOPs per byte", lambda r: number(r["intensity"])),
        ("GFLOP/s", lambda r: number(r["rate"], GIGA)),
        ("Of the roofline (%)", lambda r: number(r["roofline_fraction"], 0.01)),
        ("Bottleneck", lambda r: Cell(in_words(r["bound"]))),
    ]
    numbers = table(drawn_rows, columns, {name for name, _ in columns[1:-1]})
    where = f" ({listed(_which(largest[0][0]))})" if len(largest) == 1 else ""
    return Chart(
        "roofline",
        _title(pd.DataFrame(drawn_rows)),
        f"FLOP/s against FLOPs per byte of input, weights and output{where}; lines: roofs of this run",
        alt,
        tuple(panels),
        numbers,
        kind_keys(kinds),
        "Grey: below a quarter of the roofline. A mark above its roof is no error: Winograd computes "
        "fewer MACs than are counted, and small cases stay in the cache.",
    )


def _which(key: tuple[Any, ...]) -> list[str]:
    _, device, threads, dtype = key
    return [str(device), *([f"{threads:.0f} threads"] if threads == threads and threads else []), str(dtype)]


def _title(cases: pd.DataFrame) -> str:
    """The highest rate and the lowest one."""
    best, worst = highest(cases, "rate"), lowest(cases, "rate")
    label = units.capitalized(sentence(best["label"]))
    return (
        f"{label} has the highest rate, {units.count(best['rate'])}FLOP/s; "
        f"{sentence(worst['label'])} the lowest, {units.count(worst['rate'])}FLOP/s"
    )


def _panel(group: Sequence[tuple[dict[Any, Any], Roofs]], prefix: str, label: str) -> Markup:
    rows, roofs = [row for row, _ in group], group[0][1]
    cache, memory = (roofs.bytes_per_s[pick(roofs.bytes_per_s)] for pick in (min, max))
    ridge = roofs.flops_per_s / memory
    xs = [*(row["intensity"] for row in rows), ridge / 2, 2 * ridge]
    ys = [*(row["rate"] / GIGA for row in rows), roofs.flops_per_s / GIGA]
    with canvas(ALONE[0], 4.4) as (figure, ax):
        set_scale(ax, "x", xs, log=True)
        set_scale(ax, "y", ys, log=True)
        _draw_roofs(ax, roofs.flops_per_s / GIGA, memory / GIGA, cache / GIGA)
        for row in rows:
            text = (
                f"{row['label']}: {units.count(row['rate'])}FLOP/s, "
                f"{units.percent(row['roofline_fraction'])} of the roofline, {in_words(row['bound'])}"
            )
            style = style_of(row["kind"])
            draw_mark(ax, row["intensity"], row["rate"] / GIGA, style, text, row["case_id"])
        ax.set(xlabel="Intensity (FLOPs per byte)", ylabel="Rate (GFLOP/s)")
        ax.grid(visible=False)
        return to_svg(figure, prefix=prefix, label=label)


def _draw_roofs(ax: Axes, peak: float, memory: float, cache: float) -> None:
    """The compute roof, that of memory, and that of the cache where it is another one; rates in GFLOP/s and
    GB/s."""
    (left, right), (bottom, _) = ax.get_xlim(), ax.get_ylim()
    x = np.geomspace(left, right, 200)
    roof = np.minimum(peak, memory * x)
    ax.fill_between(x, bottom, np.maximum(FAR * roof, bottom), color=MUTED, alpha=0.1, linewidth=0)
    ax.plot(x, roof, color=INK, linewidth=1.4, zorder=1)
    slopes = [("memory", memory)]
    if cache > APART * memory:
        ax.plot(x, np.minimum(peak, cache * x), color=INK, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1)
        slopes.append(("cache", cache))
    for name, rate in slopes:
        start = max(left, bottom / rate)
        ax.annotate(
            f"{name} {units.significant(rate)} GB/s",
            (start, start * rate),
            xytext=(12, -3),
            textcoords="offset points",
            va="top",
            fontsize=8,
            color=MUTED,
        )
    ax.annotate(
        f"{units.count(peak * GIGA)}FLOP/s",
        (right, peak),
        xytext=(-2, 4),
        textcoords="offset points",
        ha="right",
        fontsize=8,
        color=MUTED,
    )
