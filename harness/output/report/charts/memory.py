"""Memory of a call, a bar a kind, where kinds differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.analysis.differences import NOTABLE
from harness.analysis.labels import highest, kind_name, lowest, ordered
from harness.core import units
from harness.output.report.chart import ALONE, BOX, FEWEST_MARKS, Chart, Key, Panel, slug
from harness.output.report.drawing import INK, MUTED, SURFACE, canvas, hover, name_rows, set_scale, to_svg
from harness.output.report.tables import Cell, number, table
from harness.output.views.sweeps import fullest, place, reference

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from harness.output.report.tables import Column
    from harness.output.views.sweeps import Sweep

BYTE_UNITS = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "B"))
# parts of what a call holds, by the columns that they are made from
PARTS = ("inputs and weights", "output", "workspace")
LOOKS: dict[str, dict[str, Any]] = {
    "inputs and weights": {"facecolor": SURFACE},
    "output": {"facecolor": MUTED, "alpha": 0.5},
    "workspace": {"facecolor": INK, "hatch": "////"},
}
KEYS = (Key(BOX, "line", PARTS[0]), Key(BOX, "muted", PARTS[1]), Key(BOX, "ink", PARTS[2]))


def memory(sweep: Sweep) -> Chart | None:
    """Of the setting with most defaults, where most kinds have a figure; None where no kind needs
    a tenth more than another."""
    _, frame = reference(sweep)
    known = frame[
        (frame["peak_bytes"] > 0) & frame["workspace_bytes"].notna() & frame["resident_bytes"].notna()
    ]
    if known.empty:
        return None
    at, rows = fullest(known)
    rows = rows.assign(total=rows["peak_bytes"] + rows["resident_bytes"])
    most, least = highest(rows, "total"), lowest(rows, "total")
    if len(rows) < FEWEST_MARKS or most["total"] < NOTABLE * least["total"]:
        return None
    where = f" at {place(sweep, at)}" if sweep.axis else ""
    title = (
        f"{kind_name(most['series']).capitalize()} needs most memory{where}: {units.size(most['total'])}, "
        f"{units.size(most['workspace_bytes'])} of it workspace; {kind_name(least['series'])} least, "
        f"{units.size(least['total'])}"
    )
    identity = f"memory-{slug(sweep.name)}"
    alt = f"Bytes held at the peak of a call{where}, a bar a kind: {', '.join(PARTS)}"
    drawn = sorted(rows.to_dict("records"), key=lambda row: ordered(rows["series"]).index(row["series"]))
    columns: list[Column] = [
        ("Kind", lambda r: Cell(kind_name(r["series"]))),
        ("Inputs and weights (KiB)", lambda r: number(r["resident_bytes"], 1024)),
        ("Output (KiB)", lambda r: number(r["peak_bytes"] - r["workspace_bytes"], 1024)),
        ("Workspace (KiB)", lambda r: number(r["workspace_bytes"], 1024)),
        ("In all (KiB)", lambda r: number(r["total"], 1024)),
    ]
    numbers = table(drawn, columns, {name for name, _ in columns[1:]})
    subtitle = f"Memory held at the peak of a call{where}, {sweep.name}"
    svg = _draw(drawn, rows, identity, alt)
    return Chart(identity, title, subtitle, alt, (Panel("", svg),), numbers, KEYS)


def _draw(drawn: Sequence[dict[Any, Any]], rows: pd.DataFrame, prefix: str, label: str) -> Any:
    scale, unit = next(choice for choice in BYTE_UNITS if rows["total"].max() / 2 >= choice[0])
    with canvas(ALONE[0], 0.36 * len(drawn) + 0.8) as (figure, ax):
        set_scale(ax, "x", [0, 1.1 * rows["total"].max() / scale], log=False)
        for i, row in enumerate(drawn):
            sizes = (
                row["resident_bytes"],
                row["peak_bytes"] - row["workspace_bytes"],
                row["workspace_bytes"],
            )
            begun = 0.0
            for part, size in zip(PARTS, sizes, strict=True):
                (bar,) = ax.barh(
                    i, size / scale, left=begun, height=0.56, edgecolor=MUTED, linewidth=0.6, **LOOKS[part]
                )
                hover(bar, f"{kind_name(row['series'])}, {part}: {units.size(size)}", row["case_id"])
                begun += size / scale
            ax.annotate(
                units.size(row["total"]),
                (begun, i),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8.5,
            )
        name_rows(ax, [kind_name(row["series"]) for row in drawn])
        ax.set(xlabel=f"Held at the peak of a call ({unit})", ylabel="")
        return to_svg(figure, prefix=prefix, label=label)
