"""Settings side by side: a row a kind and shape, a mark a setting."""

from __future__ import annotations

from dataclasses import dataclass
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

    from markupsafe import Markup

    from harness.output.report.drawing import Style
    from harness.output.report.tables import Column
    from harness.output.views.sweeps import Sweep

    Row = Mapping[Any, Any]

MOST_ROWS = 24


@dataclass(frozen=True, slots=True)
class Roles:
    """Which settings are told by the mark and which by the row's name, and a style a combination."""

    sweep: Sweep
    marked: tuple[str, ...]
    named: tuple[str, ...]
    styles: Mapping[tuple[Any, ...], Style]

    def at(self, row: Row) -> tuple[Any, ...]:
        """The combination that a row's mark is of."""
        return tuple(_at(row, self.sweep, dim) for dim in self.marked)

    def words(self, at: tuple[Any, ...]) -> str:
        """A combination as a legend has it."""
        return ", ".join(words(dim, value) for dim, value in zip(self.marked, at, strict=True))

    def name(self, row: Row) -> str:
        """The row of the chart that a case stands in."""
        numeric = self.sweep.axis and self.sweep.numeric
        where = [place(self.sweep, row["x"])] if numeric else []
        rest = [words(dim, _at(row, self.sweep, dim)) for dim in self.named]
        return ", ".join([kind_name(row["series"]), *where, *rest])

    def style(self, row: Row) -> Style:
        """By the setting, or by the kind where settings do not differ."""
        return self.styles[self.at(row)] if self.marked else style_of(row["series"])


def settings(sweep: Sweep, title: str = "") -> Chart | None:
    """Latency of each kind and shape under each setting; None with too few marks. `title`: the finding that
    the page shows it for."""
    if len(sweep.frame) < FEWEST_MARKS:
        return None
    roles = _roles(sweep)
    kinds = ordered(sweep.frame["series"])
    rows = sorted(sweep.frame.to_dict("records"), key=lambda row: kinds.index(row["series"]))
    names = list(dict.fromkeys(map(roles.name, rows)))
    shown = names[:MOST_ROWS]
    unit = time_unit(list(sweep.frame["latency_s"]))
    identity = f"settings-{slug(sweep.name)}"
    alt = f"Latency in {unit[1]} of {len(rows)} cases, a row a kind and shape, a mark a setting"
    svg = _draw([row for row in rows if roles.name(row) in shown], shown, roles, unit, identity, alt)
    legend = tuple(Key(style.path, style.variable, roles.words(at)) for at, style in roles.styles.items())
    keys = legend if roles.marked else kind_keys(kinds)
    columns: list[Column] = [
        ("Case", lambda r: Cell(roles.name(r))),
        ("Setting", lambda r: Cell(roles.words(roles.at(r)))),
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


def _draw(
    rows: Sequence[Row],
    names: Sequence[str],
    roles: Roles,
    unit: tuple[float, str],
    prefix: str,
    label: str,
) -> Markup:
    with canvas(ALONE[0] + 1.0, 0.27 * len(names) + 0.9) as (figure, ax):
        xs = [row[name] / unit[0] for row in rows for name in ("latency_low_s", "latency_high_s")]
        set_scale(ax, "x", xs, log=wide(xs))
        for row in rows:
            style, name = roles.style(row), roles.name(row)
            ends = Interval.of_latency(row).scaled(1 / unit[0])
            i = names.index(name)
            draw_interval(ax, i, ends, style.color, across=True)
            text = f"{name}, {roles.words(roles.at(row))}: {units.seconds(row['latency_s'])}"
            draw_mark(ax, ends.value, i, style, text, row["case_id"])
        name_rows(ax, names)
        ax.set(xlabel=f"Latency ({unit[1]})", ylabel="")
        return to_svg(figure, prefix=prefix, label=label)


def _roles(sweep: Sweep) -> Roles:
    """By the mark as many settings as there are marks for, the others by the row's name."""
    dims = [*([sweep.axis] if sweep.axis and not sweep.numeric else []), *sweep.panels]
    marked, count = list[str](), 1
    for dim in dims:
        values = sweep.frame["x" if dim == sweep.axis else f"at_{dim}"].nunique()
        if values > 1 and count * values <= len(SETTING_STYLES):
            marked.append(dim)
            count *= values
    rows = sweep.frame.to_dict("records")
    combinations = dict.fromkeys(tuple(_at(row, sweep, dim) for dim in marked) for row in rows)
    named = tuple(dim for dim in dims if dim not in marked)
    return Roles(sweep, tuple(marked), named, dict(zip(combinations, SETTING_STYLES, strict=False)))


def _at(row: Row, sweep: Sweep, dim: str) -> Any:
    return row["x" if dim == sweep.axis else f"at_{dim}"]


def _title(sweep: Sweep) -> str:
    rows = sweep.frame.sort_values("latency_s", kind="stable").to_dict("records")
    ends = [f"{units.seconds(row['latency_s'])} ({kind_name(row['series'])})" for row in (rows[0], rows[-1])]
    return f"Latency ranges from {ends[0]} to {ends[1]}"
