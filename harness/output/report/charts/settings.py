"""Settings side by side: a row a kind and shape, a mark a setting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.analysis.labels import kind_name, ordered, words
from harness.core import units
from harness.core.interval import Interval
from harness.output.report.chart import (
    ALONE,
    FEWEST_MARKS,
    Chart,
    Key,
    Panel,
    draw_interval,
    draw_mark,
    kind_keys,
    slug,
)
from harness.output.report.drawing import (
    SETTING_STYLES,
    canvas,
    name_rows,
    set_scale,
    style_of,
    time_unit,
    to_svg,
    wide,
)
from harness.output.report.tables import Cell, number, table
from harness.output.views.sweeps import missing, place

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.output.report.tables import Column
    from harness.output.views.sweeps import Sweep

    Row = Mapping[Any, Any]

MOST_ROWS = 24


def settings(sweep: Sweep, title: str = "") -> Chart | None:
    """Latency of each kind and shape under each setting; None with too few marks. `title`: the finding that
    the page shows it for."""
    frame = sweep.frame
    if len(frame) < FEWEST_MARKS:
        return None
    colored, named = _roles(sweep)
    rows = frame.to_dict("records")
    combinations = list(dict.fromkeys(tuple(_at(row, sweep, dim) for dim in colored) for row in rows))
    styles = dict(zip(combinations, SETTING_STYLES, strict=False))
    names = list(
        dict.fromkeys(
            _row_key(row, sweep, named)
            for kind in ordered(frame["series"])
            for row in rows
            if row["series"] == kind
        )
    )
    shown = names[:MOST_ROWS]
    unit = time_unit(list(frame["latency_s"]))
    identity = f"settings-{slug(sweep.name)}"
    alt = f"Latency in {unit[1]} of {len(rows)} cases, a row a kind and shape, a mark a setting"
    with canvas(ALONE[0] + 1.0, 0.27 * len(shown) + 0.9) as (figure, ax):
        xs = [row[name] / unit[0] for row in rows for name in ("latency_low_s", "latency_high_s")]
        set_scale(ax, "x", xs, log=wide(xs))
        for row in rows:
            key = _row_key(row, sweep, named)
            if key not in shown:
                continue
            at = tuple(_at(row, sweep, dim) for dim in colored)
            style = styles[at] if colored else style_of(row["series"])
            ends = Interval(*(row[n] / unit[0] for n in ("latency_s", "latency_low_s", "latency_high_s")))
            i = shown.index(key)
            draw_interval(ax, i, ends, style.color, across=True)
            draw_mark(
                ax,
                ends.value,
                i,
                style,
                f"{key}, {_words(colored, at)}: {units.seconds(row['latency_s'])}",
                row["case_id"],
            )
        name_rows(ax, shown)
        ax.set(xlabel=f"Latency ({unit[1]})", ylabel="")
        svg = to_svg(figure, prefix=identity, label=alt)
    keys = (
        tuple(Key(style.path, style.variable, _words(colored, at)) for at, style in styles.items())
        if colored
        else kind_keys(ordered(frame["series"]))
    )
    columns: list[Column] = [
        ("Case", lambda r: Cell(_row_key(r, sweep, named))),
        ("Setting", lambda r: Cell(_words(colored, tuple(_at(r, sweep, dim) for dim in colored)))),
        ("Latency (µs)", lambda r: number(r["latency_s"], 1e-6)),
        ("Lower end (µs)", lambda r: number(r["latency_low_s"], 1e-6)),
        ("Upper end (µs)", lambda r: number(r["latency_high_s"], 1e-6)),
        ("Faults per call", lambda r: number(r["minor_faults_per_call"])),
    ]
    some = f"{len(shown)} of {len(names)} rows; the table has all. " if len(shown) < len(names) else ""
    return Chart(
        identity,
        title or _title(sweep),
        f"Latency ({unit[1]}), {sweep.name}; whiskers are 95 % intervals",
        alt,
        (Panel("", svg),),
        table(rows, columns, {name for name, _ in columns[2:]}),
        keys if len(keys) > 1 else (),
        f"{some}{missing(sweep)}".strip(),
    )


def _roles(sweep: Sweep) -> tuple[list[str], list[str]]:
    """Which settings are told by the mark, as many as there are marks for, and which by the row's name."""
    dims = [*([sweep.axis] if sweep.axis and not sweep.numeric else []), *sweep.panels]
    colored, count = list[str](), 1
    for dim in dims:
        values = sweep.frame["x" if dim == sweep.axis else f"at_{dim}"].nunique()
        if values > 1 and count * values <= len(SETTING_STYLES):
            colored.append(dim)
            count *= values
    return colored, [dim for dim in dims if dim not in colored]


def _at(row: Row, sweep: Sweep, dim: str) -> Any:
    return row["x" if dim == sweep.axis else f"at_{dim}"]


def _row_key(row: Row, sweep: Sweep, named: Sequence[str]) -> str:
    where = [place(sweep, row["x"])] if sweep.axis and sweep.numeric else []
    return ", ".join([kind_name(row["series"]), *where, *(words(dim, _at(row, sweep, dim)) for dim in named)])


def _words(dims: Sequence[str], values: tuple[Any, ...]) -> str:
    return ", ".join(words(dim, value) for dim, value in zip(dims, values, strict=True))


def _title(sweep: Sweep) -> str:
    rows = sweep.frame.sort_values("latency_s", kind="stable").to_dict("records")
    ends = [f"{units.seconds(row['latency_s'])} ({kind_name(row['series'])})" for row in (rows[0], rows[-1])]
    return f"From {ends[0]} to {ends[1]}"
