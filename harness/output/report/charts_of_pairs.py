"""Charts of two figures of one case: both allocators, and later runs or arms against the first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import seaborn as sns

from harness.analysis.differences import PAST, allocator_pairs, side_pairs
from harness.analysis.labels import highest, labels, sentence
from harness.core import units
from harness.output.report.chart import Chart, Panel, described, ordered, slug
from harness.output.report.drawing import (
    MUTED,
    canvas,
    look,
    name_rows,
    set_scale,
    set_ticks,
    style_of,
    time_unit,
    to_svg,
    wide,
)
from harness.output.report.tables import Cell, number, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup
    from matplotlib.axes import Axes

    from harness.output.report.tables import Column

MOST_ROWS = 24  # a chart shows the pairs that differ most; its table has them all


def allocators(summary: pd.DataFrame) -> Chart | None:
    """Latency under the retained and the default allocator, a row a case, with the page faults that tell them
    apart."""
    pairs = allocator_pairs(summary)
    if pairs.empty:
        return None
    pairs["label"] = labels(pairs, without=["allocator"])
    unit = time_unit([*pairs["base_s"], *pairs["other_s"]])
    caption = _allocators_caption(pairs)
    alt = (
        f"Latency in {unit[1]} of {len(pairs)} cases under both allocators, a row a case, "
        "with page faults per call under the default one"
    )
    shown = pairs.head(MOST_ROWS)
    panel = Panel("", _allocator_panel(shown, unit, "allocators", alt))
    columns: list[Column] = [
        ("Case", lambda r: Cell(r["label"])),
        ("Retained (µs)", lambda r: number(r["base_s"], 1e-6)),
        ("Default (µs)", lambda r: number(r["other_s"], 1e-6)),
        ("Ratio", lambda r: number(r["ratio"])),
        ("Faults per call, retained", lambda r: Cell(_faults(r["base_faults"]), r["base_faults"])),
        ("Faults per call, default", lambda r: Cell(_faults(r["other_faults"]), r["other_faults"])),
        ("Default measured in", lambda r: Cell("survey" if r["surveyed"] else "visits")),
    ]
    numbers = table(pairs.to_dict("records"), columns, {name for name, _ in columns[1:6]})
    some = f"The {len(shown)} of {len(pairs)} cases that differ most. " if len(shown) < len(pairs) else ""
    note = (
        f"{some}Full mark: retained. Hollow: default. On the right: "
        "minor page faults per call under the default allocator."
    )
    return Chart(
        "allocators", "What page faults cost", caption, alt, (panel,), numbers, ordered(pairs["kind"]), note
    )


def _allocators_caption(pairs: pd.DataFrame) -> str:
    """How many cases are clearly slower and the worst of them; of what one short loop saw, only what it
    saw."""
    visited = pairs[~pairs["surveyed"].astype(bool)]
    if visited.empty:
        worst = highest(pairs, "ratio")
        return (
            "A short loop per case, without an interval, found the most under the default allocator in "
            f"{_faults_sentence(worst)}"
        )
    clear = visited[visited["clear"].astype(bool) & (visited["ratio"] > 1)]
    caption = f"{len(clear)} of {len(visited)} cases are slower under the default allocator, {PAST}."
    return f"{caption} Most of all {_faults_sentence(highest(clear, 'ratio'))}" if len(clear) else caption


def _faults_sentence(pair: Any) -> str:
    return (
        f"{sentence(pair['label'])}: {units.seconds(pair['other_s'])} against "
        f"{units.seconds(pair['base_s'])}, "
        f"{units.significant(pair['ratio'], 2)} times as long, "
        f"with {_faults(pair['other_faults'])} page faults per call against {_faults(pair['base_faults'])}."
    )


def sides(summary: pd.DataFrame) -> list[Chart]:
    """Each later run or arm against the first: the ratio of latencies, a row a case that both have."""
    return [_side(base, other, pairs) for base, other, pairs in side_pairs(summary)]


def _side(base: str, other: str, pairs: pd.DataFrame) -> Chart:
    pairs["label"] = labels(pairs, without=["run", "run_id", "arm"])
    moved = pairs[pairs["clear"]]
    slower = int((moved["ratio"] > 1).sum())
    caption = (
        f"Of {len(pairs)} cases that both measured, {slower} are slower in {other} "
        f"and {len(moved) - slower} faster, {PAST}."
    )
    if (pairs["within"]).all():
        caption = (
            f"{len(pairs)} cases are in both. On fewer than three processes a case no difference is stated."
        )
    if len(moved):
        most = moved.iloc[0]
        caption += (
            f" Most of all {sentence(most['label'])}: {units.seconds(most['base_s'])}, "
            f"then {units.seconds(most['other_s'])}."
        )
    identity = f"sides-{slug(base)}-{slug(other)}"
    alt = f"Latency in {other} over latency in {base}, a row a case"
    shown = pairs.head(MOST_ROWS)
    columns: list[Column] = [
        ("Case", lambda r: Cell(r["label"])),
        (f"{base} (µs)", lambda r: number(r["base_s"], 1e-6)),
        (f"{other} (µs)", lambda r: number(r["other_s"], 1e-6)),
        ("Ratio", lambda r: number(r["ratio"])),
        ("Lower end", lambda r: number(r["ratio_low"])),
        ("Upper end", lambda r: number(r["ratio_high"])),
    ]
    numbers = table(pairs.to_dict("records"), columns, {name for name, _ in columns[1:]})
    some = f"The {len(shown)} of {len(pairs)} cases that differ most. " if len(shown) < len(pairs) else ""
    note = (
        f"{some}Whiskers are 95 % intervals of the ratio. This is no verdict: "
        "two runs also differ by the machine's other load."
    )
    panel = Panel("", _ratio_panel(shown, f"{other} over {base}", identity, described(alt, "")))
    return Chart(
        identity,
        f"{other} against {base}".capitalize(),
        caption,
        alt,
        (panel,),
        numbers,
        ordered(pairs["kind"]),
        note,
    )


def _allocator_panel(pairs: pd.DataFrame, unit: tuple[float, str], prefix: str, label: str) -> Markup:
    scale = unit[0]
    with canvas(8.6, 0.24 * len(pairs) + 1.0) as (figure, ax):
        xs = [
            value / scale
            for name in ("base_s", "other_s", "base_low_s", "other_high_s")
            for value in pairs[name].dropna()
        ]
        set_scale(ax, "x", xs, log=wide(xs))
        for i, row in enumerate(pairs.to_dict("records")):
            style = style_of(row["kind"])
            ax.plot(
                [row["base_s"] / scale, row["other_s"] / scale],
                [i, i],
                color=style.color,
                linewidth=2.2,
                alpha=0.4,
                zorder=2,
            )
        _marks(ax, pairs, pairs["base_s"] / scale, hollow=False)
        _marks(ax, pairs, pairs["other_s"] / scale, hollow=True)
        name_rows(ax, list(pairs["label"]))
        _right_texts(
            ax,
            [_faults(value) for value in pairs["other_faults"]],
            "Page faults per call (default allocator)",
        )
        ax.set(xlabel=f"Latency ({unit[1]})", ylabel="")
        return to_svg(figure, prefix=prefix, label=label)


def _ratio_panel(pairs: pd.DataFrame, what: str, prefix: str, label: str) -> Markup:
    with canvas(8.6, 0.24 * len(pairs) + 1.0) as (figure, ax):
        xs = [1.0, *pairs["ratio"], *pairs["ratio_low"].dropna(), *pairs["ratio_high"].dropna()]
        set_scale(ax, "x", xs, log=wide(xs), zero=False)
        ax.axvline(1.0, color=MUTED, linewidth=1.2, zorder=1)
        for i, row in enumerate(pairs.to_dict("records")):
            ax.plot(
                [row["ratio_low"], row["ratio_high"]],
                [i, i],
                color=style_of(row["kind"]).color,
                linewidth=1.4,
                zorder=2,
            )
        _marks(ax, pairs, pairs["ratio"], hollow=False)
        name_rows(ax, list(pairs["label"]))
        ax.set(xlabel=f"Latency, {what} (ratio)", ylabel="")
        return to_svg(figure, prefix=prefix, label=label)


def _marks(ax: Axes, pairs: pd.DataFrame, x: pd.Series[float], *, hollow: bool) -> None:
    rows = pd.Series(range(len(pairs)), index=pairs.index)
    for kind in ordered(pairs["kind"]):
        mine = pairs["kind"] == kind
        sns.scatterplot(x=x[mine], y=rows[mine], ax=ax, legend=False, **look(style_of(kind), hollow=hollow))


def _right_texts(ax: Axes, texts: Sequence[str], title: str) -> None:
    """A text at the right of each row."""
    right = ax.twinx()
    right.set_ylim(ax.get_ylim())
    set_ticks(right, "y", range(len(texts)), texts)
    right.tick_params(axis="y", length=0)
    right.grid(visible=False)
    right.spines["right"].set_visible(False)
    right.set_ylabel(title, labelpad=8)


def _faults(value: float) -> str:
    return "unknown" if pd.isna(value) else f"{value:,.0f}" if value >= 0.5 else "0"
