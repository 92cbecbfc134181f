"""A finding, and what rules find their sentences with: the rows that are alike, and how far two lie apart.

In: the rows of a summary. Out: a `Finding` is made of them by the rules in `findings` and `setting_findings`,
and by `networks`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.analysis.case_ratio import ratio, times
from harness.analysis.summary_row import PairedRow, cells
from harness.core import units

if TYPE_CHECKING:
    from collections.abc import Iterable

    Pair = tuple["NamedRow", "NamedRow"]


PROBLEM = (
    "batch",
    "bias",
    "in_channels",
    "out_channels",
    "height",
    "width",
    *(f"{p}_{s}" for p in ("stride", "dilation") for s in ("height", "width")),
)
KERNEL = ("kernel_height", "kernel_width", "padding")
SIDE = ("run_id", "arm")


class NamedRow(PairedRow):
    """A case with its name in a sentence; the same by setting, without the word for that setting; and the
    groups that it states, 0 where its kind says them."""

    label: str
    aside: dict[str, str]
    stated_groups: int


@dataclass(frozen=True, slots=True)
class Finding:
    """A sentence after a few words, the cases that it rests on, the one that shows it most first, and its
    strength: how many times as long, or as large, the worse side is."""

    rule: str
    text: str
    cases: tuple[str, ...]
    strength: float
    headline: str = ""  # the same in one line, where a rule has one


def times_in_words(base: NamedRow, other: NamedRow, what: str = "") -> str:
    """`5.2 times as long (4.9 to 5.6)`, or the inverse where other is the faster."""
    found = times(base, other)
    return units.times(found if found.value >= 1 else found.inverse, what)


def similar(rows: Iterable[NamedRow], names: Iterable[str]) -> list[list[NamedRow]]:
    """The rows of one run and arm that agree in all of these columns, where there are two or more."""
    columns, groups = (*SIDE, *names), defaultdict[tuple[object, ...], list["NamedRow"]](list)
    for row in rows:
        groups[cells(row, columns)].append(row)
    return [group for group in groups.values() if len(group) > 1]


def factor_of(pair: Pair) -> float:
    return ratio(*pair).upward.value


def cases_of(pairs: Iterable[Pair]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(row["case_id"] for pair in pairs for row in pair))
