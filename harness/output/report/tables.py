"""Tables of the page: cells that sort by their raw value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from harness.core import units

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    # its heading, and what makes a cell from a row
    Column = tuple[str, Callable[[Any], "Cell"]]


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
