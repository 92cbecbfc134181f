"""Charts of what cases cost: work against time, memory, and the layers of a network."""

from __future__ import annotations

from math import ceil, floor, log, log10
from typing import TYPE_CHECKING, Any

import pandas as pd
import seaborn as sns

from harness.analysis.labels import highest, kind_name, labels, lowest, sentence, words
from harness.core import units
from harness.output.report.chart import (
    ALONE,
    BESIDE,
    INTERVALS,
    Chart,
    Panel,
    described,
    listed,
    ordered,
    slug,
    whiskers,
)
from harness.output.report.drawing import (
    MUTED,
    canvas,
    look,
    name_rows,
    set_scale,
    style_of,
    time_unit,
    to_svg,
)
from harness.output.report.sweeps import Sweep, fullest, missing, panels, place
from harness.output.report.tables import Cell, number, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup
    from matplotlib.axes import Axes

    from harness.output.report.tables import Column

BYTE_UNITS = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "B"))
FLOP_UNITS = ((1e12, "TFLOPs"), (1e9, "GFLOPs"), (1e6, "MFLOPs"), (1e3, "kFLOPs"), (1.0, "FLOPs"))


def work(summary: pd.DataFrame) -> Chart | None:
    """FLOPs of a call against its latency, every case a mark: how much of the time the work explains."""
    cases = summary[summary["latency_s"].notna() & (summary["flops"] > 0)]
    if cases.empty:
        return None
    cases = cases.assign(rate=cases["flops"] / cases["latency_s"], label=labels(cases))
    unit = time_unit(list(cases["latency_s"]))
    best, worst = highest(cases, "rate"), lowest(cases, "rate")
    ratio = units.significant(best["rate"] / worst["rate"], 2)
    caption = f"{_rate(best)}; {_rate(worst)}."
    if len(cases) > 1:
        caption = f"A FLOP can take {ratio} times as long: {_rate(best)}; {_rate(worst)}."
    alt = (
        f"Latency in {unit[1]} against FLOPs of a call, both logarithmic, {len(cases)} cases, "
        f"{listed(map(kind_name, ordered(cases['kind'])))}"
    )
    parts = (
        [(f"run {run}", part) for run, part in cases.groupby("run", sort=False)]
        if cases["run"].nunique() > 1
        else [("", cases)]
    )
    drawn = [
        Panel(title, _work_panel(cases, part, unit, f"work-{i}", described(alt, title), len(parts) < 2))
        for i, (title, part) in enumerate(parts)
    ]
    hollow = "Hollow: under the default allocator. " if (cases["allocator"] == "default").any() else ""
    columns: list[Column] = [
        ("Case", lambda r: Cell(r["label"])),
        ("FLOPs (M)", lambda r: number(r["flops"], 1e6)),
        ("Latency (µs)", lambda r: number(r["latency_s"], 1e-6)),
        ("Rate (GFLOP/s)", lambda r: number(r["rate"], 1e9)),
    ]
    numbers = table(cases.to_dict("records"), columns, {"FLOPs (M)", "Latency (µs)", "Rate (GFLOP/s)"})
    note = f"{hollow}Cases on one slanted line have equal FLOP/s."
    return Chart(
        "work", "FLOPs against latency", caption, alt, tuple(drawn), numbers, ordered(cases["kind"]), note
    )


def _rate(row: pd.Series[Any]) -> str:
    return (
        f"{sentence(row['label'])} reaches {units.count(row['rate'])}FLOP/s "
        f"({units.count(row['flops'])}FLOPs in {units.seconds(row['latency_s'])})"
    )


def _work_panel(
    whole: pd.DataFrame, part: pd.DataFrame, unit: tuple[float, str], prefix: str, label: str, alone: bool
) -> Markup:
    scale, name = _unit(whole["flops"].median(), FLOP_UNITS)
    with canvas(*((ALONE[0], 4.6) if alone else BESIDE)) as (figure, ax):
        set_scale(ax, "x", list(whole["flops"] / scale), log=True)
        set_scale(ax, "y", list(whole["latency_s"] / unit[0]), log=True)
        _same_rates(ax, scale, unit[0], whole["rate"])
        for kind in ordered(part["kind"]):
            style = style_of(kind)
            for hollow in (False, True):
                marks = part[(part["kind"] == kind) & ((part["allocator"] == "default") == hollow)]
                sns.scatterplot(
                    x=marks["flops"] / scale,
                    y=marks["latency_s"] / unit[0],
                    ax=ax,
                    legend=False,
                    **look(style, hollow=hollow),
                )
        ax.set(xlabel=f"Work per call ({name})", ylabel=f"Latency ({unit[1]})")
        return to_svg(figure, prefix=prefix, label=label)


def _same_rates(ax: Axes, flops: float, seconds: float, rates: pd.Series[float]) -> None:
    """A line for each decade of FLOPs a second around the `rates` seen, named where it leaves the axes: above
    them, or to their right."""
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    for exponent in range(floor(log10(rates.min())), ceil(log10(rates.max())) + 1):
        rate = 10.0**exponent * seconds / flops  # in the units of the axes
        if not left / top < rate < right / bottom:
            continue
        ax.plot(
            [left, right],
            [left / rate, right / rate],
            color=MUTED,
            alpha=0.4,
            linewidth=0.8,
            linestyle=(0, (4, 3)),
            zorder=1,
            scalex=False,
            scaley=False,
        )
        text = f"{units.count(10.0**exponent)}FLOP/s".replace("1.00", "1").replace("10.0", "10")
        if right / rate <= top:
            ax.annotate(
                text,
                (right, right / rate),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                color=MUTED,
                fontsize=8,
                annotation_clip=False,
            )
        elif log(top * rate / left) > 0.06 * log(right / left):
            ax.annotate(
                text,
                (top * rate, top),
                xytext=(0, 3),
                textcoords="offset points",
                ha="center",
                color=MUTED,
                fontsize=8,
                annotation_clip=False,
            )
    ax.grid(visible=False)


def memory(sweep: Sweep) -> Chart | None:
    """Memory per call above its inputs, output and workspace apart, a bar a kind, where most kinds have a
    figure."""
    frame = sweep.frame[sweep.frame["peak_bytes"].notna() & sweep.frame["workspace_bytes"].notna()]
    if frame.empty or not (frame["peak_bytes"] > 0).any():
        return None
    at, _ = fullest(frame)
    frame = frame[frame["x"] == at].sort_values("allocator", key=lambda a: a != "retained", kind="stable")
    dims = [
        name for name in sweep.panels if name not in ("allocator", "threads", "run")
    ]  # what memory does not depend on, and runs that only repeat it
    titles = [", ".join(words(d, row[f"at_{d}"]) for d in dims) for row in frame.to_dict("records")]
    frame = frame.assign(panel=titles).drop_duplicates(["panel", "series"])
    parts = list(frame.groupby("panel", sort=False))
    most = highest(frame, "workspace_bytes")
    where = f" at {place(sweep, at)}" if sweep.axis else ""
    setting = f" ({most['panel']})" if most["panel"] else ""
    output = units.size(most["peak_bytes"] - most["workspace_bytes"])
    caption = (
        f"Most workspace{where}: {kind_name(most['series'])}{setting}, "
        f"{units.size(most['workspace_bytes'])} beside an output of {output}."
    )
    identity = f"memory-{slug(sweep.name)}"
    alt = f"Bytes that a call allocates above its inputs{where}, a bar a kind, cut into output and workspace"
    drawn = [
        Panel(str(title), _memory_panel(frame, part, f"{identity}-{i}", described(alt, str(title))))
        for i, (title, part) in enumerate(parts)
    ]
    columns: list[Column] = [("Setting", lambda r: Cell(r["panel"]))] if dims else []
    columns += [
        ("Kind", lambda r: Cell(kind_name(r["series"]))),
        ("Peak above inputs (KiB)", lambda r: number(r["peak_bytes"], 1024)),
        ("Workspace (KiB)", lambda r: number(r["workspace_bytes"], 1024)),
        ("Inputs and weights (KiB)", lambda r: number(r["resident_bytes"], 1024)),
    ]
    numbers = table(
        frame.to_dict("records"), columns, {name for name, _ in columns if name.endswith("(KiB)")}
    )
    return Chart(
        identity,
        f"Memory per call · {sweep.name}",
        caption,
        alt,
        tuple(drawn),
        numbers,
        (),
        "Pale: output. Full: workspace. The figure is their sum.",
    )


def _memory_panel(whole: pd.DataFrame, part: pd.DataFrame, prefix: str, label: str) -> Markup:
    scale, unit = _unit(whole["peak_bytes"].max() / 2, BYTE_UNITS)
    kinds = ordered(whole["series"])
    with canvas((ALONE if whole["panel"].nunique() == 1 else BESIDE)[0], 0.4 * len(kinds) + 0.8) as (
        figure,
        ax,
    ):
        set_scale(ax, "x", [0, 1.1 * whole["peak_bytes"].max() / scale], log=False)
        for i, kind in enumerate(kinds):
            for row in part[part["series"] == kind].to_dict("records"):
                output, color = (row["peak_bytes"] - row["workspace_bytes"]) / scale, style_of(kind).color
                ax.barh(i, output, height=0.56, color=color, alpha=0.32, linewidth=0)
                ax.barh(i, row["workspace_bytes"] / scale, left=output, height=0.56, color=color, linewidth=0)
                text = units.size(row["peak_bytes"])
                ax.annotate(
                    text,
                    (row["peak_bytes"] / scale, i),
                    xytext=(4, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=8.5,
                )
        name_rows(ax, [kind_name(kind) for kind in kinds])
        ax.set(xlabel=f"Allocated above the inputs ({unit})", ylabel="")
        return to_svg(figure, prefix=prefix, label=label)


def network(sweep: Sweep) -> Chart:
    """Latency of each layer times how often the network has it, in the network's order."""
    frame = sweep.frame.assign(
        **{
            f"total{end}_s": sweep.frame[f"latency{end}_s"] * sweep.frame["repeat"]
            for end in ("", "_low", "_high")
        }
    )
    parts = [(title, frame.loc[part.index]) for title, part in panels(sweep)]
    sums = sorted(((part["total_s"].sum(), title, part) for title, part in parts), key=lambda s: s[0])
    total, title, part = sums[0]
    if sweep.axis:
        shares = part.groupby("series")["total_s"].sum().sort_values(ascending=False) / total
        said = listed(f"{kind_name(kind)} {units.percent(share)}" for kind, share in shares.items())
        others = (
            f" Slowest of {len(sums)} settings: {units.seconds(sums[-1][0])} ({sums[-1][1]})."
            if len(sums) > 1
            else ""
        )
        caption = (
            f"{int(part['repeat'].sum())} convolutions take {units.seconds(total)} "
            f"in all{f' ({title})' if title else ''}: {said}.{others}"
        )
    else:
        ends = [
            f"{row['layer']} × {row['repeat']} {units.seconds(row['total_s'])}"
            for row in (lowest(part, "total_s"), highest(part, "total_s"))
        ]
        caption = f"Least: {ends[0]}. Most: {ends[1]}{f' ({title})' if title else ''}."
    unit = time_unit([frame["total_s"].max() / 3])
    identity = f"network-{slug(sweep.name)}"
    alt = (
        f"Latency in {unit[1]} of each layer of {sweep.name} times its repeats, "
        "a bar a layer in the network's order"
    )
    tops = [max(part["total_s"].max(), part["total_high_s"].max()) for _, part in parts]
    apart = max(tops) > 4 * min(tops)  # batch 1 beside batch 32: on one axis the smaller could not be read
    own = " Each panel has its own axis." if apart else ""
    sizes = tops if apart else [max(tops)] * len(tops)
    drawn = [
        Panel(t, _network_panel(top, p, unit, f"{identity}-{i}", described(alt, t), len(parts) < 2))
        for i, ((t, p), top) in enumerate(zip(parts, sizes, strict=True))
    ]
    rows = [row | {"title": title} for title, part in parts for row in part.to_dict("records")]
    columns: list[Column] = [("Setting", lambda r: Cell(r["title"]))] if sweep.panels else []
    columns += [
        ("Layer", lambda r: Cell(r["layer"])),
        ("Kind", lambda r: Cell(kind_name(r["series"]))),
        ("Repeats", lambda r: number(r["repeat"])),
        ("Latency of one (µs)", lambda r: number(r["latency_s"], 1e-6)),
        ("In all (µs)", lambda r: number(r["total_s"], 1e-6)),
    ]
    numbers = table(rows, columns, {"Repeats", "Latency of one (µs)", "In all (µs)"})
    return Chart(
        identity,
        f"Layer by layer · {sweep.name}",
        caption,
        alt,
        tuple(drawn),
        numbers,
        ordered(frame["series"]),
        f"{INTERVALS}{own}{missing(sweep)}",
    )


def _network_panel(
    top: float, part: pd.DataFrame, unit: tuple[float, str], prefix: str, label: str, alone: bool
) -> Markup:
    part = part.sort_values("point", kind="stable")
    names = [
        f"{layer} ×{repeat}" if repeat > 1 else layer
        for layer, repeat in zip(part["layer"], part["repeat"], strict=True)
    ]
    with canvas((ALONE if alone else BESIDE)[0], 0.2 * len(part) + 0.8) as (figure, ax):
        set_scale(ax, "x", [0, top / unit[0]], log=False)
        for i, row in enumerate(part.to_dict("records")):
            style, value = style_of(row["series"]), row["total_s"] / unit[0]
            ax.barh(i, value, height=0.5, color=style.color, alpha=0.32, linewidth=0)
            ax.plot(
                [value], [i], marker=style.marker, markersize=5.5 * style.grow, color=style.color, zorder=3
            )
        at = pd.Series(range(len(part)), index=part.index, dtype="float64")
        whiskers(
            ax,
            at,
            part["total_s"] / unit[0],
            part["total_low_s"] / unit[0],
            part["total_high_s"] / unit[0],
            MUTED,
            across=True,
        )
        name_rows(ax, names)
        ax.set(xlabel=f"Latency times repeats ({unit[1]})", ylabel="")
        return to_svg(figure, prefix=prefix, label=label)


def _unit(middle: float, choices: Sequence[tuple[float, str]]) -> tuple[float, str]:
    return next((choice for choice in choices if middle >= choice[0]), choices[-1])
