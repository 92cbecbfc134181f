"""The first sentences of the page: what a reader should know before any chart, each with its figures and its
chart.

In: the sweeps, the summary, the charts that were drawn. Out: a few `Lead`s, fewer where the data say less.
Only differences past both intervals and above 10 % are spoken of. Not here: the rules that find them
(`findings`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.analysis.differences import NOTABLE, clearly_slower
from harness.analysis.findings import FASTEST, SAVED_WORK, findings
from harness.analysis.labels import highest, kind_name, lowest
from harness.core import units
from harness.output.report.chart import listed, slug
from harness.output.report.sweeps import Sweep, fullest, place, reference, sweeps

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from harness.output.report.chart import Chart


@dataclass(frozen=True, slots=True)
class Lead:
    """A sentence, the few words before it, and the chart that shows it, if one does."""

    head: str
    text: str
    chart: str | None


CHARTS = {"Page faults": "allocators", SAVED_WORK: "work"}  # of a finding's rule, where a chart shows it
MOST_FINDINGS = 6


def leads(
    points: pd.DataFrame, summary: pd.DataFrame, visits: pd.DataFrame, charts: Sequence[Chart]
) -> list[Lead]:
    """What these results say first: the fastest kind, what was found, work against time, and what moved
    between runs."""
    swept = [sweep for sweep in sweeps(points) if sweep.frame["series"].nunique() > 1]
    swept.sort(key=lambda sweep: sweep.axis != "in_channels")
    drawn = {chart.id for chart in charts}
    first = fastest(swept[0]) if swept else None
    said = [first]
    found = [finding for finding in findings(summary, visits) if not (first and finding.rule == FASTEST)][
        :MOST_FINDINGS
    ]
    said += [Lead(finding.rule, finding.text, CHARTS.get(finding.rule)) for finding in found]
    if swept and all(finding.rule != SAVED_WORK for finding in found):
        said.append(work(swept[0]))
    said += [
        Lead("Between runs", chart.caption, chart.id) for chart in charts if chart.id.startswith("sides-")
    ]
    return [lead if lead.chart in drawn else replace(lead, chart=None) for lead in said if lead]


def fastest(sweep: Sweep) -> Lead | None:
    """The kinds that no other beats, where most kinds stand side by side; None where all are too close to
    tell apart."""
    title, frame = reference(sweep)
    at, rows = fullest(frame)
    rows = rows.sort_values("latency_s", kind="stable")
    first = rows.iloc[0]
    behind = [row for _, row in rows.iterrows() if clearly_slower(row, first)]
    ahead = rows[: len(rows) - len(behind)]
    if not behind or set(ahead["case_id"]) & {row["case_id"] for row in behind}:
        return None
    names = listed(
        f"{kind_name(kind)} ({units.seconds(value)})"
        for kind, value in zip(ahead["series"], ahead["latency_s"], strict=True)
    )
    verb = "is" if len(ahead) == 1 else "are"
    others = [behind[0], *(row for row in behind[1:] if row["series"] == "standard")]
    times = listed(
        f"{kind_name(row['series'])} takes {units.significant(row['latency_s'] / first['latency_s'], 2)} "
        "times as long"
        for row in others
    )
    where = ", ".join(filter(None, [place(sweep, at) if sweep.axis else "", title]))
    said = f"{names} {verb} fastest; {times}."
    return Lead(
        FASTEST,
        f"At {where}, {said}" if where else f"{said[:1].upper()}{said[1:]}",
        f"latency-{slug(sweep.name)}",
    )


def work(sweep: Sweep) -> Lead | None:
    """How far time falls behind work, where most kinds stand side by side."""
    _, frame = reference(sweep)
    _, rows = fullest(frame)
    most, least = highest(rows, "flops"), lowest(rows, "flops")
    fewer, faster = most["flops"] / least["flops"], most["latency_s"] / least["latency_s"]
    if not clearly_slower(most, least) or max(fewer / faster, faster / fewer) < NOTABLE:
        return None
    names = (
        f"{kind_name(least['series']).capitalize()} does {units.significant(fewer)} times fewer FLOPs "
        f"than {kind_name(most['series'])}"
    )
    text = f"{names} and is {units.significant(faster, 2)} times as fast."
    return Lead("FLOPs are not time", text, "work")
