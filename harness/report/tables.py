"""What charts and tables are made from: points joined with the summary, and cells that sort by their raw value.

In: `Results`. Out: frames with a row a point or a case, and `Table`s of text. Not here: which points make a chart (`sweeps`).
A point's axes are text, as asked, and become `asked_*`; beside them stand the columns of the summary, as resolved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from harness import units
from harness.case import DEFAULTS
from harness.problem import FIELDS
from harness.summary import FACTS, KEYS

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

    from harness.results import Results

    Column = tuple[str, Callable[[Mapping[Hashable, Any]], "Cell"]]  # its heading, and what makes a cell from a row

ASKED = ("kind", *FIELDS, *DEFAULTS)
RESOLVED = {
    "kernel_size": "kernel_height",
    "stride": "stride_height",
    "dilation": "dilation_height",
    "padding": "padding_height",
    "threads": "threads_used",
}
SETTINGS = (
    "device",
    "dtype",
    "memory_format",
    "threads",
    "computation",
    "mode",
    "cache",
    "fp32_precision",
    "autotune",
    "implementation",
    "allocator",
)
EXPECTED = (*KEYS, "visits", "status", "message", "trust", "trust_reasons", "latency_s", "latency_low_s", "latency_high_s", "interval")
NUMBERS = (
    "latency_s",
    "latency_low_s",
    "latency_high_s",
    "minor_faults_per_call",
    "peak_bytes",
    "workspace_bytes",
    "resident_bytes",
    "other_allocator_s",
)

KIND_NAMES = {"depthwise_separable": "depthwise separable"}
_WORDS = {
    "run": "run {}",
    "arm": "arm {}",
    "allocator": "{} allocator",
    "threads": "{} threads",
    "cache": "{} cache",
    "fp32_precision": "{} precision",
    "in_channels": "{} channels in",
    "out_channels": "{} channels out",
    "batch": "batch {}",
    "groups": "{} groups",
    "kernel_size": "{} kernel",
    "height": "{} px high",
    "width": "{} px wide",
    "stride": "stride {}",
    "padding": "padding {}",
    "dilation": "dilation {}",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """What is read, and what it is sorted by: seconds and bytes, not their text."""

    text: str
    order: float | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """Headings, and rows of cells; a column of numbers is one whose heading is in `numeric`."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numeric: frozenset[str] = frozenset()


def words(axis: str, value: object) -> str:
    """A value as a few words that say of what: `2 threads`, `channels_last`."""
    if axis in ("autotune", "bias"):
        return axis if value else f"no {axis}"
    text = _WORDS.get(axis, "{}").format(units.count(value) if isinstance(value, float) else value)
    return text.removesuffix("s") if text in ("1 threads", "1 groups") else text


def kind_name(kind: object) -> str:
    """A kind as people write it."""
    return KIND_NAMES.get(str(kind), str(kind))


def run_names(results: Results) -> dict[str, str]:
    """A letter for each run, in order of loading; `A` alone where there is one."""
    return {run["run_id"]: chr(ord("A") + i) if i < 26 else str(i + 1) for i, run in enumerate(results.runs)}


def summary_of(results: Results) -> pd.DataFrame:
    """The summary in the order of the points, with every column that is read here and the run's short name.

    A column of numbers is one even where no case has any.
    """
    summary = results.summary
    summary = summary.reindex(columns=list(dict.fromkeys([*summary.columns, *EXPECTED, *FACTS, *NUMBERS])))
    for name in NUMBERS:
        summary[name] = pd.to_numeric(summary[name], errors="coerce").astype("float64")
    summary["run"] = summary["run_id"].map(run_names(results))
    first = results.points.dropna(subset=["case_id"]).groupby(["run_id", "case_id"])["point"].min().to_dict()
    order = [first.get(key, len(first)) for key in zip(summary["run_id"], summary["case_id"], strict=True)]
    return summary.assign(order=order).sort_values(["run", "order"], kind="stable", ignore_index=True)


def joined(results: Results, summary: pd.DataFrame) -> pd.DataFrame:
    """A row a point and arm, with what its case came to; points without a case or without a visit keep empty figures."""
    points = results.points.rename(columns={name: f"asked_{name}" for name in ASKED})
    return points.merge(summary.drop(columns=["run", "order"]), how="left", on=["run_id", "case_id"]).assign(
        run=lambda f: f["run_id"].map(run_names(results))
    )


def in_words(value: object) -> str:
    """A word of the record as people read it; empty where there is none."""
    return "" if value is None or value != value else str(value).replace("_", " ")


def lowest(frame: pd.DataFrame, name: str) -> pd.Series[Any]:
    """The row with the smallest value in a column, the first of equals."""
    return frame.sort_values(name, kind="stable").iloc[0]


def highest(frame: pd.DataFrame, name: str) -> pd.Series[Any]:
    """The row with the largest value in a column, the first of equals."""
    return frame.sort_values(name, ascending=False, kind="stable").iloc[0]


def labels(summary: pd.DataFrame, without: Iterable[str] = ()) -> list[str]:
    """A short name for each row: its kind, and of the rest only what differs between the rows."""
    kernels = summary[summary["kind"] != "pointwise"]
    skip = {*without, *([] if kernels["kernel_height"].nunique() > 1 else ["kernel_height"])}
    if summary[["kernel_height", "dilation_height"]].drop_duplicates().shape[0] > 1:
        skip.add("padding_height")  # goes with kernel and dilation, where it is "same"
    names = [name for name in (*FACTS, "run", "arm") if name in summary and name not in skip]
    differs = {name for name in names if summary[name].map(str).nunique() > 1}
    return [" · ".join([kind_name(row["kind"]), *_differing(row, differs)]) for row in summary.to_dict("records")]


def sentence(label: str) -> str:
    """A label within a sentence."""
    return label.replace(" · ", ", ")


def _differing(row: Mapping[Hashable, Any], differs: set[str]) -> list[str]:
    parts = []
    if differs & {"in_channels", "out_channels"}:
        parts.append(f"{row['in_channels']}→{row['out_channels']}")
    if differs & {"height", "width"}:
        parts.append(f"{row['height']}×{row['width']} px")
    if "kernel_height" in differs and row["kind"] != "pointwise":
        parts.append(f"k{row['kernel_height']}")
    if "groups" in differs and row["kind"] == "grouped":
        parts.append(f"g{row['groups']}")
    names = ("batch", "stride", "dilation", "padding", "bias", *SETTINGS, "run", "arm")
    columns = {name: name if name == "threads" else RESOLVED.get(name, name) for name in names}
    return parts + [words(name, row[column]) for name, column in columns.items() if column in differs]


def table(rows: Sequence[Mapping[Hashable, Any]], columns: Sequence[Column], numeric: Iterable[str] = ()) -> Table:
    """A table from rows and, for each column, its heading and the function that makes its cell."""
    made = tuple(tuple(make(row) for _, make in columns) for row in rows)
    return Table(tuple(heading for heading, _ in columns), made, frozenset(numeric))


def number(value: Any, scale: float = 1.0) -> Cell:
    """A number in a unit of `scale`; empty where there is none. It sorts by the value itself."""
    if value is None or pd.isna(value):
        return Cell("")
    return Cell(units.significant(float(value) / scale) if scale != 1 or float(value) % 1 else f"{int(value):,}", float(value))
