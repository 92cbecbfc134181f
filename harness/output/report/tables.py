"""What charts and tables are made from: points joined with the summary, and cells that sort by their raw
value.

In: `Results`. Out: frames with a row a point or a case, and `Table`s of text. Not here: which points make a
chart (`sweeps`). A point's axes are text, as asked, and become `asked_*`; beside them stand the columns of
the summary, as resolved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from harness.analysis.roofline import STANDING
from harness.analysis.summary import FACTS, KEYS
from harness.core import units
from harness.core.case import DEFAULTS, Case
from harness.core.problem import FIELDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from harness.store.results import Results

    # its heading, and what makes a cell from a row
    Column = tuple[str, Callable[[Any], "Cell"]]

ASKED = ("kind", *FIELDS, *DEFAULTS)
EXPECTED = (
    *KEYS,
    "visits",
    "status",
    "message",
    "trust",
    "trust_reasons",
    "latency_s",
    "latency_low_s",
    "latency_high_s",
    "interval",
    *STANDING,
)
NUMBERS = (
    "latency_s",
    "latency_low_s",
    "latency_high_s",
    "minor_faults_per_call",
    "peak_bytes",
    "workspace_bytes",
    "resident_bytes",
    "other_allocator_s",
    "roofline_fraction",
    "attainable_s",
)


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar in a cell, and a tick at its roof, both as parts of the longest one."""

    share: float
    roof: float | None


@dataclass(frozen=True, slots=True)
class Cell:
    """What is read, and what it is sorted by: seconds and bytes, not their text."""

    text: str
    order: float | None = None
    bar: Bar | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """Headings, and rows of cells; a column of numbers is one whose heading is in `numeric`. `ids`: of the
    rows that a link leads to, in the order of the rows; empty where none does."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numeric: frozenset[str] = frozenset()
    ids: tuple[str | None, ...] = ()


def run_names(results: Results) -> dict[str, str]:
    """A letter for each run, in order of loading; `A` alone where there is one."""
    return {run["run_id"]: chr(ord("A") + i) if i < 26 else str(i + 1) for i, run in enumerate(results.runs)}


def summary_of(results: Results) -> pd.DataFrame:
    """The summary in the order of the points, with every column that is read here, the run's short name, and
    `asked_id`, the case_id in the points.

    A column of numbers is one even where no case has any.
    """
    summary = results.summary
    summary = summary.reindex(columns=list(dict.fromkeys([*summary.columns, *EXPECTED, *FACTS, *NUMBERS])))
    for name in NUMBERS:
        summary[name] = pd.to_numeric(summary[name], errors="coerce").astype("float64")
    summary["run"] = summary["run_id"].map(run_names(results))
    summary["asked_id"] = _asked_ids(results, summary)
    first = results.points.dropna(subset=["case_id"]).groupby(["run_id", "case_id"])["point"].min().to_dict()
    order = [first.get(key, len(first)) for key in zip(summary["run_id"], summary["asked_id"], strict=True)]
    return summary.assign(order=order).sort_values(["run", "order"], kind="stable", ignore_index=True)


def _asked_ids(results: Results, summary: pd.DataFrame) -> list[str]:
    """The case_id under which each row was asked for: an A/B of implementations asks for its base's, and its
    head has another."""
    asked = {
        run["run_id"]: run["arms"]["base"]["implementation"] for run in results.runs if "base" in run["arms"]
    }
    found = []
    for row in summary.to_dict("records"):
        implementation = asked.get(row["run_id"])
        found.append(
            Case.from_row(row | {"implementation": implementation}).case_id
            if implementation
            else row["case_id"]
        )
    return found


def joined(results: Results, summary: pd.DataFrame) -> pd.DataFrame:
    """A row a point and arm, with what its case came to; points without a case or without a visit keep empty
    figures."""
    points = results.points.rename(columns={name: f"asked_{name}" for name in ASKED})
    figures = summary.drop(columns=["run", "order", "case_id"]).rename(columns={"asked_id": "case_id"})
    return points.merge(figures, how="left", on=["run_id", "case_id"]).assign(
        run=lambda f: f["run_id"].map(run_names(results))
    )


def in_words(value: object) -> str:
    """A word of a column as people read it; empty where there is none."""
    return "" if value is None or value != value else str(value).replace("_", " ")


def table(rows: Sequence[Any], columns: Sequence[Column], numeric: Iterable[str] = ()) -> Table:
    """A table from rows and, for each column, its heading and the function that makes its cell."""
    made = tuple(tuple(make(row) for _, make in columns) for row in rows)
    return Table(tuple(heading for heading, _ in columns), made, frozenset(numeric))


def number(value: Any, scale: float = 1.0) -> Cell:
    """A number in a unit of `scale`; empty where there is none. It sorts by the value itself."""
    if value is None or pd.isna(value):
        return Cell("")
    return Cell(
        units.significant(float(value) / scale) if scale != 1 or float(value) % 1 else f"{int(value):,}",
        float(value),
    )
