"""The page: everything that stands on it, in order, handed to one template.

In: `Results`. Out: HTML as text, the same for the same results.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from harness.analysis.case_ratio import with_moments
from harness.analysis.labels import SETTINGS, in_words, kind_name, listed, padding_by, words
from harness.core.problem import KINDS
from harness.output.report.chart import axis_title
from harness.output.report.drawing import STYLES, case_anchor
from harness.output.report.kinds_section import EXAMPLE_GROUPS, EXAMPLE_SIZE, kind_rows
from harness.output.report.story import story
from harness.output.report.tables import Cell, Table, number, table
from harness.output.report.templating import filled
from harness.output.report.trust import (
    badge,
    disagreements,
    environment_tables,
    policy_table,
    run_cards,
)
from harness.output.report.verdict_section import judged_sides
from harness.output.views.points import joined, summary_of
from harness.output.views.shape import MOST_MISSING, shape_of

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from harness.output.report.tables import Column
    from harness.store.results import Results

VARYING = ("run", "arm", "batch", "stride_height", "dilation_height", "bias", *SETTINGS)


def render(results: Results) -> str:
    """The whole page. Needs at least one run."""
    summary = with_moments(summary_of(results), results.visits)
    points = joined(results, summary)
    shape = shape_of(results, points, summary)
    judged = [one for one in judged_sides(results) if one.comparison or shape.name != "machines"]
    differing, same = environment_tables(results)
    return filled(
        "page.html.j2",
        cards=run_cards(results, summary),
        badge=badge(results, summary),
        shape=shape.name,
        story=story(results, points, summary, shape, judged),
        judged=judged,
        kinds=[row for row in kind_rows() if row.kind in set(summary["kind"])],
        example={"size": EXAMPLE_SIZE, "groups": EXAMPLE_GROUPS},
        marks=STYLES,
        differing=differing,
        environment=same,
        policy=policy_table(results),
        cases=cases_table(summary, points),
        same=what_is_same(summary),
        padded=how_padded(summary),
        disagree=len(disagreements(summary)),
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
        ("Bottleneck", lambda r: Cell(in_words(r["bound"]))),
        ("Of the roofline (%)", lambda r: number(r["roofline_fraction"], 0.01)),
        ("GFLOP/s", lambda r: number(_per_second(r, "flops"), 1e9)),
        ("GB/s", lambda r: number(_per_second(r, "minimum_bytes"), 1e9)),
        ("Outcome", lambda r: Cell(_outcome(r))),
        ("Repetitions", lambda r: number(r["visits"])),
        ("MACs (M)", lambda r: number(r["macs"], 1e6)),
        ("Faults per call", lambda r: _rounded(r["minor_faults_per_call"])),
        ("Peak above inputs (KiB)", lambda r: number(r["peak_bytes"], 1024)),
        ("Workspace (KiB)", lambda r: number(r["workspace_bytes"], 1024)),
    ]
    if len(disagreements(summary)):
        columns.append(("MACs by fvcore (M)", lambda r: number(r["macs_fvcore"], 1e6)))
    columns.append(("Case", lambda r: Cell("" if pd.isna(r["case_id"]) else str(r["case_id"])[:8])))
    rows = [*summary.to_dict("records"), *_without_figures(summary, points)]
    if summary["latency_s"].notna().mean() < MOST_MISSING:  # what failed is what is asked for
        rows.sort(key=lambda row: not pd.isna(row["latency_s"]))
        columns.insert(1, columns.pop([heading for heading, _ in columns].index("Outcome")))
    text = {"Kind", "Outcome", "Bottleneck", "Case", *map(_heading, varying)} - {_heading("batch")}
    found = table(rows, columns, {heading for heading, _ in columns} - text)
    return replace(found, ids=tuple(_anchors(rows)))


def _anchors(rows: list[Any]) -> list[str | None]:
    """The ids of rows, each once: of the same case in two runs or arms the first is what links lead to."""
    found, taken = list["str | None"](), set[str]()
    for row in rows:
        anchor = None if pd.isna(row["case_id"]) else case_anchor(str(row["case_id"]))
        found.append(None if anchor in taken else anchor)
        taken |= {anchor} if anchor else set()
    return found


def _per_second(row: Mapping[Hashable, Any], name: str) -> float | None:
    return row[name] / row["latency_s"] if row["latency_s"] else None


def what_is_same(summary: pd.DataFrame) -> str:
    """The settings that all cases share, in words."""
    names = (*(name for name in SETTINGS if name != "autotune"), "batch")
    shared = [
        words(name, summary[name].dropna().iloc[0])
        for name in names
        if summary[name].map(str).nunique() == 1 and summary[name].notna().all()
    ]
    return ", ".join(shared)


def how_padded(summary: pd.DataFrame) -> str:
    """What is measured of the cases that pad unevenly; empty where none does."""
    uneven = summary[summary["padding"].fillna("").str.contains("+", regex=False)]
    if uneven.empty:
        return ""
    by = listed(dict.fromkeys(map(padding_by, uneven["implementation"])))
    return f"{len(uneven)} of {len(summary)} cases pad unevenly (0+1: 0 before, 1 after): {by}."


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
            else {"status": "not reached", "message": "the run ended before this case"}
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
