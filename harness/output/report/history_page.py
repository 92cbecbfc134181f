"""The page over many runs: what changed, every case by kind, and an index of the runs.

In: a `History`. Out: HTML as text. It stays small however many runs there are: the cases that changed most
are drawn in detail, the others small, and the index has the newest runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from harness.analysis.case_histories import SHARED
from harness.analysis.labels import ordered
from harness.output import history_text
from harness.output.report.charts.trends import small_multiples, trends
from harness.output.report.tables import Cell, number, table
from harness.output.report.templating import filled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.analysis.history import History, Standing
    from harness.output.report.chart import Chart
    from harness.output.report.tables import Column, Table

MOST_DETAILED = 4  # cases that are drawn large
MOST_SMALL = 60  # cases of a kind and machine that are drawn
MOST_FINDINGS = 8  # on the first screen; more are folded
MOST_RUNS = 400  # of the index, the newest


def render(found: History, reports: Mapping[str, str]) -> str:
    """The whole page. `reports`: by run_id, where the page of that run is."""
    places = list(dict.fromkeys(one.history.place for one in found.standings))
    machines = [_machine(found, place, i) for i, place in enumerate(places)]
    runs = _runs(found)
    newest = runs.iloc[::-1][:MOST_RUNS]
    counting = [finding for finding in found.findings if finding.counts]
    return filled(
        "history.html.j2",
        headline=history_text.headline(found).removesuffix("."),
        meta=_meta(runs),
        badge=("invalid", f"{history_text.counted(len(counting), 'change')} for the worse")
        if counting
        else ("ok", "no unblessed change for the worse"),
        picture=trends(_worst(found), found.findings),
        findings=found.findings[:MOST_FINDINGS],
        more=found.findings[MOST_FINDINGS:],
        sentence=history_text.sentence,
        machines=machines,
        runs=_index(newest, reports),
        left=len(runs) - len(newest),
    )


def _meta(runs: pd.DataFrame) -> str:
    first, last = runs["started_at"].min(), runs["started_at"].max()
    return f"{history_text.counted(len(runs), 'run')} from {first:%Y-%m-%d} to {last:%Y-%m-%d}"


def _worst(found: History) -> list[Standing]:
    """The cases of the findings that come first, one a finding; without findings the first of all."""
    by_history = {one.history: one for one in found.standings}
    wanted = [by_history[finding.steps[0].history] for finding in found.findings]
    return list(dict.fromkeys(wanted))[:MOST_DETAILED] or list(found.standings[:1])


def _machine(found: History, place: tuple[Any, ...], i: int) -> tuple[str, list[Chart], Table]:
    """A heading, the small multiples by kind, and a row a case."""
    mine = [one for one in found.standings if one.history.place == place]
    kinds = ordered(one.history.kind for one in mine)
    charts = [
        small_multiples(kind, of_kind[:MOST_SMALL], found.findings, i)
        for kind in kinds
        if kind != SHARED and (of_kind := [one for one in mine if one.history.kind == kind])
    ]
    number_of = len({run for one in mine for run in one.history.runs["run_id"]})
    return (
        f"{history_text.machine(mine[0].history)}: {history_text.counted(number_of, 'run')}",
        charts,
        _cases(mine),
    )


def _cases(standings: Sequence[Standing]) -> Table:
    columns: list[Column] = [
        ("Verdict", lambda r: Cell(history_text.sign(r))),
        ("Case", lambda r: Cell(r.history.label)),
        ("Latency (µs)", lambda r: number(_last_latency(r), 1e-6)),
        ("Since the first runs (%)", lambda r: _since(r)),
        ("Level", lambda r: Cell(history_text.sparkline(r.history.series.values))),
        ("Runs", lambda r: number(len(r.history.runs))),
        ("Last change", lambda r: Cell(history_text.last_change(r))),
    ]
    return table(standings, columns, {"Latency (µs)", "Since the first runs (%)", "Runs"})


def _last_latency(standing: Standing) -> Any:
    return standing.history.runs["latency_s"].iloc[-1]


def _since(standing: Standing) -> Cell:
    if standing.since_first is None:
        return Cell("")
    percent = 100 * (standing.since_first.value - 1)
    return Cell(f"{percent:+.1f}", percent)


def _runs(found: History) -> pd.DataFrame:
    """A row a run, in the order of commits: what it is, how many cases it has, and their median level."""
    columns = ["run_id", "at", "started_at", "commit", "tag", "suite", "torch", "cpu", "anchor"]
    parts = [
        one.history.runs[columns].assign(
            level=one.history.series.values - np.median(one.history.series.values)
        )
        for one in found.standings
        if one.history.case_id != SHARED
    ]
    rows = pd.concat(parts, ignore_index=True)
    for name in columns:
        if isinstance(rows[name].dtype, pd.CategoricalDtype):
            rows[name] = rows[name].astype("object")
    grouped = rows.groupby("run_id", sort=False)
    runs = grouped[columns[1:]].first()
    counts = grouped["level"].agg(cases="count", level="median")
    return runs.join(counts).reset_index().sort_values(["at", "started_at"], kind="stable")


def _index(runs: pd.DataFrame, reports: Mapping[str, str]) -> tuple[list[dict[str, Any]], Table]:
    """The runs as links where their pages are, and as a table of the rest."""
    columns: list[Column] = [
        ("Run", lambda r: Cell(r["run_id"])),
        ("Commit", lambda r: Cell(history_text.commit(r))),
        ("Release", lambda r: _word(r["tag"])),
        ("Suite", lambda r: _word(r["suite"])),
        ("torch", lambda r: _word(r["torch"])),
        ("CPU", lambda r: _word(r["cpu"])),
        ("Against", lambda r: _word(r["anchor"])),
        ("Cases", lambda r: number(r["cases"])),
        ("Median level (%)", lambda r: Cell(f"{100 * r['level']:+.1f}", float(r["level"]))),
    ]
    rows = runs.to_dict("records")
    linked = [
        {"name": row["run_id"], "target": reports[row["run_id"]]} for row in rows if row["run_id"] in reports
    ]
    return linked, table(rows, columns, {"Cases", "Median level (%)"})


def _word(value: Any) -> Cell:
    return Cell(value if isinstance(value, str) else "")
