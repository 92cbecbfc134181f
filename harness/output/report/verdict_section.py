"""What an A/B run came to, for the page: its sentences and its verdicts, worst first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.analysis.pair_effects import SIDES
from harness.output import verdict_text
from harness.output.report.tables import Cell, table
from harness.tasks.compare import judge

if TYPE_CHECKING:
    from harness.output.report.tables import Column, Table
    from harness.store.results import Results

COLUMNS: list[Column] = [
    ("Verdict", lambda r: Cell(f"{verdict_text.SIGNS[r['verdict']]} {r['verdict']}")),
    ("Case", lambda r: Cell(verdict_text.subject(r))),
    ("Base", lambda r: Cell(verdict_text.amount(r, "base"), r["base"])),
    ("Head", lambda r: Cell(verdict_text.amount(r, "head"), r["head"])),
    ("Change (90 % interval)", lambda r: Cell(verdict_text.change(r), r["ratio"])),
    ("Pairs", lambda r: Cell(verdict_text.counted(r), r["pairs"])),
    ("Why", lambda r: Cell(r["reason"] or "")),
]


@dataclass(frozen=True, slots=True)
class Judged:
    """One A/B run: its id, what is said of it, its verdicts."""

    run_id: str
    sentences: list[str]
    table: Table


def judged_runs(results: Results) -> list[Judged]:
    """One for each A/B among the runs."""
    found = []
    for run in results.runs:
        visits, points = (
            frame[frame["run_id"] == run["run_id"]] for frame in (results.visits, results.points)
        )
        one = replace(results, runs=[run], visits=visits, points=points)
        if one.arms != set(SIDES):
            continue
        comparison = judge(one)
        rows = verdict_text.visible_rows(comparison)
        found.append(
            Judged(
                run["run_id"],
                verdict_text.sentences(comparison),
                table(rows, COLUMNS, {"Base", "Head", "Pairs"}),
            )
        )
    return found
