"""Anatomy of a call: a bar a case, its parts one after the other in their own time, and a tick where the
roofs of the machine stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.analysis.labels import in_words, kind_name, labels, listed, ordered, sentence
from harness.analysis.roofline import LAYOUT
from harness.core import units
from harness.output.report.chart import BESIDE, BOX, FEWEST_MARKS, Chart, Key, Panel, described
from harness.output.report.drawing import (
    DISPATCH,
    FAULTS,
    INK,
    MUTED,
    REORDERS,
    SURFACE,
    canvas,
    hover,
    name_rows,
    set_scale,
    time_unit,
    to_svg,
    variable_of,
)
from harness.output.report.tables import Cell, number, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from markupsafe import Markup

    from harness.output.report.tables import Column

    Row = Mapping[Any, Any]

MOST_ROWS = 24  # of the cases that are drawn; the table has them all
BARS_IN, LETTER_IN = 2.6, 0.085  # inches that bars need at least, and a letter of a row's name
PARTS = {
    "convolution": ("convolution",),
    "reorders": LAYOUT,
    "page faults": ("page_faults",),
    "dispatch": ("dispatch",),
    "other": ("other",),
}
# by colour and by texture, so that neither colour nor print matters
LOOKS: dict[str, dict[str, Any]] = {
    "convolution": {"facecolor": MUTED, "alpha": 0.5},
    "reorders": {"facecolor": REORDERS, "hatch": "///"},
    "page faults": {"facecolor": FAULTS, "hatch": "\\\\\\"},
    "dispatch": {"facecolor": DISPATCH, "hatch": "|||"},
    "other": {"facecolor": SURFACE},
}
# what to do about a part that takes much
REMEDIES = {
    "reorders": "channels_last, or weights that are packed once, avoid them",
    "page faults": "retained memory avoids them (three variables, see the glossary below)",
    "dispatch": "larger batches, torch.compile or CUDA graphs amortize it",
    "convolution": "this is the kernel itself; convscope repro makes a script of it",
}


def anatomy(cases: pd.DataFrame) -> Chart | None:
    """Of the cases whose split is known, in their order; None where there are too few."""
    known = cases[cases["split"].notna()].drop_duplicates(["run_id", "arm", "case_id"])
    if len(known) < FEWEST_MARKS:
        return None
    known = known.assign(label=labels(known))
    rows = [row | {"parts": _parts_of(row)} for row in known.to_dict("records")]
    shown = rows[:MOST_ROWS]
    drawn = [part for part in PARTS if any(row["parts"][part] >= 0.01 * row["latency_s"] for row in shown)]
    alt = f"Parts of a call's time for {len(shown)} cases: {listed(drawn)}, with a tick at the roofline"
    panels = []
    for i, kind in enumerate(ordered(row["kind"] for row in shown)):
        mine = [row for row in shown if row["kind"] == kind]
        panels.append(Panel(kind_name(kind), _panel(mine, f"anatomy-{i}", described(alt, kind_name(kind)))))
    columns: list[Column] = [
        ("Case", lambda r: Cell(r["label"])),
        ("Latency (µs)", lambda r: number(r["latency_s"], 1e-6)),
        *(
            (f"{part.capitalize()} (µs)", lambda r, part=part: number(r["parts"][part], 1e-6))
            for part in PARTS
        ),
        ("Roofline (µs)", lambda r: number(r["attainable_s"], 1e-6)),
        ("Bottleneck", lambda r: Cell(in_words(r["bound"]))),
    ]
    numbers = table(rows, columns, {name for name, _ in columns[1:-1]})
    keys = (*(_key(part) for part in drawn), Key("M7 2h2v12h-2z", "ink", "roofline: what the machine allows"))
    some = f"{len(shown)} of {len(rows)} cases; the table has all. " if len(shown) < len(rows) else ""
    note = f"{some}Dotted tick: faster than the roofline, as Winograd computes fewer MACs than are counted."
    return Chart(
        "anatomy",
        _title(rows),
        "Anatomy: time of a call by part, each kind on its own axis; the tick is the roofline",
        alt,
        tuple(panels),
        numbers,
        keys,
        note,
    )


def _parts_of(row: Row) -> dict[str, float]:
    """Seconds of a call by `PARTS`."""
    return {part: sum(row["split"][name] for name in names) for part, names in PARTS.items()}


def _key(part: str) -> Key:
    return Key(BOX, variable_of(LOOKS[part]["facecolor"]), part)


def _title(rows: Sequence[Row]) -> str:
    """The case that is furthest from its roof, and by what."""
    far = max(rows, key=lambda row: row["latency_s"] / row["attainable_s"])
    parts = sorted(((time_s, part) for part, time_s in far["parts"].items()), reverse=True)
    time_s, part = parts[0]
    label = units.capitalized(sentence(far["label"]))
    return (
        f"{label} takes {_over_roofline(far)} times its roofline time; the largest part is "
        f"{part} ({units.percent(time_s / far['latency_s'])}): {REMEDIES.get(part, 'see the table')}"
    )


def _over_roofline(row: Row) -> str:
    return units.significant(row["latency_s"] / row["attainable_s"], 2)


def _panel(rows: Sequence[Row], prefix: str, label: str) -> Markup:
    most = max(max(row["latency_s"], row["attainable_s"]) for row in rows)
    scale, unit = time_unit([most / 2])
    names = [sentence(row["label"]).partition(", ")[2] or kind_name(row["kind"]) for row in rows]
    with canvas(max(BESIDE[0], BARS_IN + LETTER_IN * max(map(len, names))), 0.3 * len(rows) + 0.9) as (
        figure,
        ax,
    ):
        set_scale(ax, "x", [0.0, 1.16 * most / scale], log=False)
        for i, row in enumerate(rows):
            begun = 0.0
            for part, time_s in row["parts"].items():
                if time_s < 0.002 * most:
                    continue
                (bar,) = ax.barh(
                    i,
                    time_s / scale,
                    left=begun,
                    height=0.6,
                    edgecolor=MUTED if part == "other" else SURFACE,
                    linewidth=0.5,
                    **LOOKS[part],
                )
                share = units.percent(time_s / row["latency_s"])
                hover(bar, f"{part}: {units.seconds(time_s)}, {share} of {row['label']}", row["case_id"])
                begun += time_s / scale
            _roof(ax, row, i, scale)
        name_rows(ax, names)
        ax.set(xlabel=f"Time of a call ({unit})", ylabel="")
        return to_svg(figure, prefix=prefix, label=label)


def _roof(ax: Any, row: Row, i: int, scale: float) -> None:
    """A tick at what the roofs allow, dotted where the call is faster, and by how much it is slower."""
    at, beyond = row["attainable_s"] / scale, row["attainable_s"] > row["latency_s"]
    (tick,) = ax.plot(
        [at, at], [i - 0.42, i + 0.42], color=INK, linewidth=2, linestyle=":" if beyond else "-", zorder=4
    )
    hover(tick, f"roofline: {units.seconds(row['attainable_s'])}", row["case_id"])
    end = max(row["latency_s"], row["attainable_s"]) / scale
    ax.annotate(
        f"{_over_roofline(row)}× roofline",
        (end, i),
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
        fontsize=8.5,
    )
