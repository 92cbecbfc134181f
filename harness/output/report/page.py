"""The page: everything that stands on it, in order, handed to one template.

In: `Results`. Out: HTML as text, the same for the same results. Style, script and DataTables are inlined from
the files beside this one; text from outside (titles, messages, names of layers) is escaped by Jinja.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from harness.analysis.labels import SETTINGS, kind_name, words
from harness.core.problem import KINDS
from harness.output.report.chart import axis_title
from harness.output.report.charts import all_charts
from harness.output.report.drawing import STYLES
from harness.output.report.headlines import leads
from harness.output.report.kinds_section import EXAMPLE_GROUPS, EXAMPLE_SIZE, kind_rows
from harness.output.report.run_header import disagreements, environment_table, policy_table, run_cards
from harness.output.report.tables import Cell, Table, in_words, joined, number, summary_of, table
from harness.output.report.verdict_section import judged_runs

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from harness.output.report.tables import Column
    from harness.store.results import Results

_HERE = Path(__file__).parent
VARYING = ("run", "arm", "batch", "stride_height", "dilation_height", "bias", *SETTINGS)


def render(results: Results) -> str:
    """The whole page. Needs at least one run."""
    summary = summary_of(results)
    points = joined(results, summary)
    charts = all_charts(points, summary)
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["kind_name"] = kind_name
    return environment.get_template("page.html.j2").render(
        cards=run_cards(results, summary),
        judged=judged_runs(results),
        leads=leads(points, summary, results.visits, charts),
        kinds=kind_rows(),
        example={"size": EXAMPLE_SIZE, "groups": EXAMPLE_GROUPS},
        charts=charts,
        marks=STYLES,
        environment=environment_table(results),
        policy=policy_table(results),
        cases=cases_table(summary, points),
        same=what_is_same(summary),
        disagree=len(disagreements(summary)),
        css=_inlined("templates/page.css"),
        script=_inlined("templates/page.js"),
        datatables=_inlined("vendor/datatables.min.js"),
    )


def cases_table(summary: pd.DataFrame, points: pd.DataFrame) -> Table:
    """Every case, and every place that has none with the reason why; settings that never vary are left to
    `what_is_same`."""
    varying = [name for name in VARYING if summary[name].map(str).nunique() > 1]
    columns: list[Column] = [
        (
            "Kind",
            lambda r: Cell(
                kind_name(r["kind"]), float(KINDS.index(r["kind"])) if r["kind"] in KINDS else None
            ),
        ),
        ("In", lambda r: number(r["in_channels"])),
        ("Out", lambda r: number(r["out_channels"])),
        ("Size (px)", lambda r: _pair(r["height"], r["width"])),
        ("Kernel (px)", lambda r: _pair(r["kernel_height"], r["kernel_width"])),
        ("Groups", lambda r: number(r["groups"])),
        *((_heading(name), lambda r, name=name: _setting(r[name])) for name in varying),
        ("Latency (µs)", lambda r: number(r["latency_s"], 1e-6)),
        ("± (%)", lambda r: number(_half_width(r), 0.01)),
        ("Visits", lambda r: number(r["visits"])),
        ("Outcome", lambda r: Cell(_outcome(r))),
        ("Bottleneck", lambda r: Cell(in_words(r["bound"]))),
        ("Of the roofs (%)", lambda r: number(r["roofline_fraction"], 0.01)),
        ("MACs (M)", lambda r: number(r["macs"], 1e6)),
        ("GFLOP/s", lambda r: number(r["flops"] / r["latency_s"] if r["latency_s"] else None, 1e9)),
        ("Faults per call", lambda r: _rounded(r["minor_faults_per_call"])),
        ("Peak (KiB)", lambda r: number(r["peak_bytes"], 1024)),
        ("Workspace (KiB)", lambda r: number(r["workspace_bytes"], 1024)),
    ]
    if len(disagreements(summary)):
        columns.append(("MACs by fvcore (M)", lambda r: number(r["macs_fvcore"], 1e6)))
    columns.append(("Case", lambda r: Cell("" if pd.isna(r["case_id"]) else str(r["case_id"])[:8])))
    text = {"Kind", "Outcome", "Bottleneck", "Case", *map(_heading, varying)} - {_heading("batch")}
    rows = summary.to_dict("records") + _without_figures(summary, points)
    return table(rows, columns, {heading for heading, _ in columns} - text)


def what_is_same(summary: pd.DataFrame) -> str:
    """The settings that all cases share, in words."""
    names = (*(name for name in SETTINGS if name != "autotune"), "batch")
    shared = [
        words(name, summary[name].dropna().iloc[0])
        for name in names
        if summary[name].map(str).nunique() == 1 and summary[name].notna().all()
    ]
    return ", ".join(shared)


def _without_figures(summary: pd.DataFrame, points: pd.DataFrame) -> list[Mapping[Hashable, Any]]:
    """A row for each place that was skipped, and for each case that was asked for and never visited."""
    visited = set(zip(summary["run_id"], summary["asked_id"], strict=True))
    empty: dict[Hashable, Any] = dict.fromkeys(summary.columns)
    rows: dict[str, Mapping[Hashable, Any]] = {}
    for point in points.to_dict("records"):
        asked = {
            name.removeprefix("asked_"): value
            for key, value in point.items()
            if (name := str(key)).startswith("asked_") and not pd.isna(value)
        }
        skipped = not pd.isna(point["skip_reason"])
        if not skipped and (point["run_id"], point["case_id"]) in visited:
            continue
        kernel = dict(
            zip(
                ("kernel_height", "kernel_width"),
                str(asked.pop("kernel_size", "")).split("x") * 2,
                strict=False,
            )
        )
        asked = {name: _whole(value) for name, value in (asked | kernel).items()}
        ended = (
            {"status": "skipped", "message": point["skip_reason"]}
            if skipped
            else {"status": "not reached", "message": "the run ended before"}
        )
        row = empty | asked | ended | {"run": point["run"], "kind": point["series"], "visits": 0}
        rows.setdefault(str(row), row)
    return list(rows.values())


def _whole(value: object) -> object:
    return int(text) if (text := str(value)).isdecimal() else None if text == "" else value


def _pair(height: Any, width: Any) -> Cell:
    if height is None or pd.isna(height):
        return Cell("")
    return Cell(f"{height}×{width}", float(height) if isinstance(height, (int, float)) else None)


def _heading(name: str) -> str:
    return axis_title(name.removesuffix("_height"))


def _setting(value: Any) -> Cell:
    if value is None or value != value:
        return Cell("")
    return (
        Cell(f"{value:,}", float(value))
        if isinstance(value, int) and not isinstance(value, bool)
        else Cell(str(value))
    )


def _half_width(row: Mapping[Hashable, Any]) -> float | None:
    return (
        (row["latency_high_s"] - row["latency_low_s"]) / (2 * row["latency_s"]) if row["latency_s"] else None
    )


def _outcome(row: Mapping[Hashable, Any]) -> str:
    """How far its figure can be trusted, and why not further; without a figure what became of it; the last
    message that a visit left."""
    reasons = row["trust_reasons"] if isinstance(row["trust_reasons"], list) else []
    word = row["trust"] if row["status"] == "ok" else row["status"]
    said = [
        ", ".join(map(in_words, reasons)) if row["status"] == "ok" else "",
        row["message"] if isinstance(row["message"], str) else "",
    ]
    return ": ".join(filter(None, [in_words(word), *said]))


def _rounded(value: Any) -> Cell:
    return Cell("") if value is None or pd.isna(value) else Cell(f"{value:,.0f}", float(value))


def _inlined(name: str) -> Markup:
    """A file of ours as part of the page. The script of a page ends at the first closing tag, wherever it
    stands: there is none."""
    text = (_HERE / name).read_text(encoding="utf-8")
    assert "</script" not in text and "</style" not in text
    return Markup(text)  # noqa: S704  # ours, or vendored
