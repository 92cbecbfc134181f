"""What was judged, for the page: the arms of each A/B run, and each later run against the first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.core.errors import NotComparable
from harness.output import verdict_text
from harness.output.report.tables import Cell, table
from harness.output.views.points import run_names
from harness.tasks.compare import judge, judge_two

if TYPE_CHECKING:
    from harness.analysis.comparison import Comparison
    from harness.output.report.tables import Column, Table
    from harness.store.results import Results

COLUMNS: list[Column] = [
    ("Verdict", lambda r: Cell(f"{verdict_text.SIGNS[r['verdict']]} {r['verdict']}")),
    ("Case", lambda r: Cell(verdict_text.subject(r))),
    ("Change (90 % interval)", lambda r: Cell(verdict_text.change(r), r["ratio"])),
    ("Base", lambda r: Cell(verdict_text.amount(r, "base"), r["base"])),
    ("Head", lambda r: Cell(verdict_text.amount(r, "head"), r["head"])),
    ("Pairs", lambda r: Cell(verdict_text.counted(r), r["pairs"])),
    ("Why", lambda r: Cell(r["reason"] or "")),
]


@dataclass(frozen=True, slots=True)
class Judged:
    """Two sides: what tells them from others on the page, what came out, and its verdicts, worst first.
    `refusal`: why two runs could not be compared, and nothing else is there."""

    name: str
    comparison: Comparison | None
    sentences: list[str]
    table: Table | None
    refusal: str = ""


def judged_sides(results: Results) -> list[Judged]:
    """One for each A/B among the runs, and one for each later run of one arm against the first of them."""
    names = run_names(results)
    alone = [_only(results, run) for run in results.runs]
    found = [_judged(names[one.runs[0]["run_id"]], judge(one)) for one in alone if one.is_ab]
    runs = [one for one in alone if one.arms == {"main"}]
    for one in runs[1:]:
        first = runs[0]
        sides = [names[side.runs[0]["run_id"]] for side in (first, one)]
        name = f"{sides[1]} against {sides[0]}"
        try:
            comparison = replace(judge_two(first, one), names=(f"run {sides[0]}", f"run {sides[1]}"))
        except NotComparable as error:
            found.append(Judged(name, None, [], None, error.what))
        else:
            found.append(_judged(name, comparison))
    return found


def _only(results: Results, run: dict[str, object]) -> Results:
    """One of several runs."""
    visits, points = (frame[frame["run_id"] == run["run_id"]] for frame in (results.visits, results.points))
    return replace(results, runs=[run], visits=visits, points=points)


def _judged(name: str, comparison: Comparison) -> Judged:
    rows = verdict_text.visible_rows(comparison)
    numeric = {"Base", "Head", "Pairs"}
    return Judged(name, comparison, verdict_text.sentences(comparison), table(rows, COLUMNS, numeric))
