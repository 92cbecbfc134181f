"""A model that nobody has measured: where its convolutions' MACs and parameters are, layer by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.analysis.labels import kind_name, ordered
from harness.core import units
from harness.output.report.chart import Chart, Panel, kind_keys
from harness.output.report.charts.strips import Piece, Strip, draw, macs_text, parameters_text
from harness.output.report.tables import Bar, Cell, number, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.core.problem import Problem
    from harness.output.report.tables import Column, Table

    Layer = tuple[str, int, Problem]  # its name, how often it runs


def model(layers: Sequence[Layer]) -> Chart:
    """Two strips, MACs over parameters, and the layers as a table. Parameters count once a run, as those of
    equal layers, of which a list has one."""
    executed = sum(repeat for _, repeat, _ in layers)
    macs = sum(repeat * problem.macs for _, repeat, problem in layers)
    parameters = sum(repeat * problem.parameters for _, repeat, problem in layers)
    title = (
        f"{executed} convolution{'s' * (executed > 1)}: {macs_text(macs)}, "
        f"{units.count(parameters).strip()} parameters"
    )
    subtitle = "Network strips: each layer as wide as its share, times its repeats"
    alt = (
        "Layers in the model's order, as wide as their share of the MACs, over their share of the parameters"
    )
    strips = [
        Strip("MACs", _pieces(layers, "macs"), macs_text),
        Strip("parameters", _pieces(layers, "parameters"), parameters_text),
    ]
    svg = draw(strips, prefix="model", label=alt)
    kinds = ordered(problem.kind for _, _, problem in layers)
    found = _table(layers, macs, parameters)
    return Chart("model", title, subtitle, alt, (Panel("", svg),), found, kind_keys(kinds))


def _pieces(layers: Sequence[Layer], what: str) -> tuple[Piece, ...]:
    return tuple(
        Piece(name, repeat, problem.kind, repeat * getattr(problem, what)) for name, repeat, problem in layers
    )


def _table(layers: Sequence[Layer], macs: int, parameters: int) -> Table:
    most = max(repeat * problem.macs for _, repeat, problem in layers)
    columns: list[Column] = [
        ("Layer", lambda r: Cell(r[0])),
        ("Repeats", lambda r: number(r[1])),
        ("Kind", lambda r: Cell(kind_name(r[2].kind))),
        ("Convolution", lambda r: Cell(_shape(r[2]))),
        (
            "Output (px)",
            lambda r: Cell("×".join(map(str, r[2].output_shape[2:])), float(r[2].output_shape[2])),
        ),
        ("MACs (M)", lambda r: number(r[1] * r[2].macs, 1e6)),
        ("Share", lambda r: Cell("", bar=Bar(r[1] * r[2].macs / most, None))),
        ("MACs (%)", lambda r: _percent(r[1] * r[2].macs / macs)),
        ("Parameters", lambda r: number(r[1] * r[2].parameters)),
        ("Parameters (%)", lambda r: _percent(r[1] * r[2].parameters / parameters)),
    ]
    text = {"Layer", "Kind", "Convolution", "Share"}
    return table(list(layers), columns, {heading for heading, _ in columns} - text)


def _percent(share: float) -> Cell:
    return Cell(f"{100 * share:.2f}", share)


def _shape(problem: Problem) -> str:
    """Channels, kernel, and what is not usual: a stride as `/2`."""
    extras = [
        "×".join(map(str, problem.kernel_size)),
        f"/{problem.stride[0]}" if problem.stride != (1, 1) else "",
        f"dilation {problem.dilation[0]}" if problem.dilation != (1, 1) else "",
        f"g{problem.groups}" if problem.kind == "grouped" else "",
    ]
    return " ".join(filter(None, [f"{problem.in_channels}→{problem.out_channels}", *extras]))
