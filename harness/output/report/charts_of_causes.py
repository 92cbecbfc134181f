"""Where the time of a call goes: a bar a case, cut into its parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.analysis.labels import labels, sentence
from harness.analysis.roofline import LAYOUT
from harness.core import units
from harness.output.report.chart import Chart, Panel, listed
from harness.output.report.drawing import INK, MUTED, SURFACE, canvas, name_rows, set_ticks, to_svg
from harness.output.report.tables import Cell, in_words, number, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from markupsafe import Markup

    from harness.output.report.tables import Column

MOST_ROWS = 24  # a chart shows the cases that spend least on the convolution; its table has them all
PARTS = {
    "convolution": ("convolution",),
    "reorders": LAYOUT,
    "page faults": ("page_faults",),
    "dispatch": ("dispatch",),
    "other": ("other",),
}
# told apart by texture, so that neither colour nor print matters
LOOKS: dict[str, dict[str, Any]] = {
    "convolution": {"facecolor": MUTED, "alpha": 0.55},
    "reorders": {"facecolor": SURFACE, "hatch": "////"},
    "page faults": {"facecolor": INK},
    "dispatch": {"facecolor": SURFACE, "hatch": "...."},
    "other": {"facecolor": SURFACE},
}


def causes(summary: pd.DataFrame) -> Chart | None:
    """Shares of a call, of every case whose split is known."""
    cases = summary[summary["split"].notna()]
    if cases.empty:
        return None
    cases = cases.assign(label=labels(cases))
    rows = [row | {"shares": _shares(row)} for row in cases.to_dict("records")]
    rows.sort(key=lambda row: row["shares"]["convolution"])
    shown = rows[:MOST_ROWS]
    drawn = [part for part in PARTS if any(row["shares"][part] >= 0.01 for row in shown)]
    alt = f"Shares of a call's time of {len(shown)} cases, a row a case: {listed(drawn)}"
    columns: list[Column] = [
        ("Case", lambda r: Cell(r["label"])),
        ("Latency (µs)", lambda r: number(r["latency_s"], 1e-6)),
    ]
    columns += [_column(part) for part in PARTS]
    columns += [("Bottleneck", lambda r: Cell(in_words(r["bound"])))]
    numbers = table(rows, columns, {name for name, _ in columns[1:-1]})
    some = (
        f"The {len(shown)} of {len(rows)} cases that spend least on the convolution itself. "
        if len(shown) < len(rows)
        else ""
    )
    note = f"{some}Parts of at least 1 % of a call, from the survey; docs/why.md explains how."
    return Chart(
        "causes",
        "Where the time of a call goes",
        _caption(rows),
        alt,
        (Panel("", _bars(shown, drawn, alt)),),
        numbers,
        (),
        note,
    )


def _column(part: str) -> Column:
    return f"{part.capitalize()} (%)", lambda row: number(row["shares"][part], 0.01)


def _shares(row: Mapping[Any, Any]) -> dict[str, float]:
    return {
        part: sum(row["split"][name] for name in names) / row["latency_s"] for part, names in PARTS.items()
    }


def _caption(rows: Sequence[Mapping[Any, Any]]) -> str:
    """In how many cases most of a call is not the convolution, and the case in which least of it is."""
    elsewhere = sum(row["shares"]["convolution"] < 0.5 for row in rows)
    worst = rows[0]
    parts = sorted(((share, part) for part, share in worst["shares"].items() if share >= 0.01), reverse=True)
    said = listed(f"{units.percent(share)} {part}" for share, part in parts)
    return (
        f"In {elsewhere} of {len(rows)} cases more than half of a call is not the convolution. "
        f"Least of it is in {sentence(worst['label'])}: {said}."
    )


def _bars(rows: Sequence[Mapping[Any, Any]], parts: Sequence[str], label: str) -> Markup:
    with canvas(7.6, 0.3 * len(rows) + 1.0) as (figure, ax):
        begun = [0.0] * len(rows)
        for part in parts:
            widths = [100 * row["shares"][part] for row in rows]
            ax.barh(
                range(len(rows)),
                widths,
                left=begun,
                height=0.62,
                edgecolor=MUTED,
                linewidth=0.6,
                label=part,
                **LOOKS[part],
            )
            begun = [left + width for left, width in zip(begun, widths, strict=True)]
        name_rows(ax, [str(row["label"]) for row in rows])
        ax.set_xlim(0, 100)
        set_ticks(ax, "x", range(0, 101, 25), [f"{tick}" for tick in range(0, 101, 25)])
        ax.set(xlabel="Share of a call (%)", ylabel="")
        figure.legend(
            loc="outside upper right",
            ncols=len(parts),
            frameon=False,
            fontsize=9,
            handlelength=1.4,
            columnspacing=1.2,
        )
        return to_svg(figure, prefix="causes", label=label)
