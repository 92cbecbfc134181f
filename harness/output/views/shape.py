"""The shape of a page: what its runs are, and so what their reader asks.

In: runs, points joined with the summary. Out: a `Shape`, and the sweep that the first picture is of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from harness.output.views.machines import machines
from harness.output.views.points import asked_cases
from harness.output.views.savings import savings_of
from harness.output.views.sweeps import FEWEST_PLACES, Sweep, networks, second_axis, sweeps

if TYPE_CHECKING:
    import pandas as pd

    from harness.store.results import Results

# from the question that is asked most pressingly
Name = Literal[
    "failed", "ab", "versus", "machines", "runs", "network", "plane", "sweep", "settings", "single"
]
MOST_MISSING = 0.5  # of the cases: with more of them without a figure, that is the news
FEW = 2  # cases that are told one by one


@dataclass(frozen=True, slots=True)
class Shape:
    """What a page is about. `leading`: the sweep of the first picture, where there is one; `networks` and
    `sweeps`: all there are, in the order of the suite."""

    name: Name
    leading: Sweep | None
    networks: tuple[Sweep, ...]  # whose layers make up a network
    ways: tuple[Sweep, ...]  # layers that are ways to have the same
    sweeps: tuple[Sweep, ...]


def shape_of(results: Results, points: pd.DataFrame, summary: pd.DataFrame) -> Shape:
    """Of all runs of a page together."""
    layered, swept = networks(points), sweeps(points)
    whole = tuple(sweep for sweep in layered if sweep.axis)
    ways = tuple(sweep for sweep in layered if not sweep.axis)
    name, leading = _named(results, points, summary, whole, swept)
    return Shape(name, leading, whole, ways, tuple(swept))


def _named(
    results: Results,
    points: pd.DataFrame,
    summary: pd.DataFrame,
    whole: tuple[Sweep, ...],
    swept: list[Sweep],
) -> tuple[Name, Sweep | None]:
    asked = len(asked_cases(points))
    measured = summary[summary["latency_s"].notna()]
    have = len(measured.drop_duplicates(["run_id", "asked_id"]))
    if have == 0 or have < MOST_MISSING * asked:
        return "failed", None
    if len(results.runs) > 1:
        return ("machines" if machines(results) else "runs"), None
    if len(results.arms) > 1:
        return "ab" if results.is_ab else "versus", None
    if whole:
        return "network", whole[0]
    if have <= FEW:
        return "single", None
    for sweep in swept:
        if second_axis(sweep) and savings_of(sweep):
            return "plane", sweep
    along = [sweep for sweep in swept if sweep.numeric and sweep.frame["x"].nunique() >= FEWEST_PLACES]
    if along:
        return "sweep", max(along, key=lambda sweep: (savings_of(sweep) is not None, len(sweep.frame)))
    return "settings", max(swept, key=lambda sweep: len(sweep.frame), default=None)
