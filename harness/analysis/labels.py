"""Cases and their settings in a few words, for charts, findings and answers: what is the same everywhere is
left out.

In: rows of the summary. Out: text. Not here: numbers as text (`units`), a case's full label (`case`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.analysis.summary import FACTS
from harness.core import units
from harness.core.problem import KINDS
from harness.core.window import short_text

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping

    import pandas as pd

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
KIND_NAMES = {"depthwise_separable": "depthwise separable"}
SHARED = 1.1  # a median call so much slower than an undisturbed one had company
_WORDS = {
    "run": "run {}",
    "arm": "{}",
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


def words(axis: str, value: object) -> str:
    """A value as a few words that say of what: `2 threads`, `channels_last`."""
    if axis in ("autotune", "bias"):
        return axis if value else f"no {axis}"
    if axis == "kernel_size" and isinstance(value, int):
        value = f"{value}x{value}"
    text = _WORDS.get(axis, "{}").format(units.count(value) if isinstance(value, float) else value)
    return text.removesuffix("s") if text in ("1 threads", "1 groups") else text


def kind_name(kind: object) -> str:
    """A kind as people write it."""
    return KIND_NAMES.get(str(kind), str(kind))


def ordered(kinds: Iterable[object]) -> tuple[str, ...]:
    """Kinds in their fixed order, each once."""
    known: list[str] = list(KINDS)
    return tuple(
        sorted(
            dict.fromkeys(map(str, kinds)),
            key=lambda kind: known.index(kind) if kind in known else len(known),
        )
    )


def listed(words: Iterable[str]) -> str:
    """`a, b and c`."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def padding_by(implementation: str) -> str:
    """Who pads a case whose padding is uneven, and what of it is measured."""
    if implementation in ("onnxruntime", "openvino"):
        return f"{implementation} pads within its convolution"
    if implementation in ("torch", "native", "unfold"):
        return "torch.nn.functional.pad copies the input first, and a latency includes both"
    return f"{implementation} pads in its own way, and a latency includes it"


def in_words(value: object) -> str:
    """A word of a column as people read it; empty where there is none."""
    return "" if value is None or value != value else str(value).replace("_", " ")


def how_well(summary: pd.DataFrame, target: float) -> str:
    """How many cases are as well known as asked, half of an interval within `target`, and what the machine's
    other work cost: a call's median over what it takes undisturbed."""
    measured = summary[summary["latency_s"].notna()]
    if measured.empty:
        return "nothing measured"
    typical = float((measured["typical_s"] / measured["latency_s"]).median())
    known = (
        f"{int((measured['trust'] == 'ok').sum())} of {len(measured)} cases within ±{units.percent(target)}"
    )
    return (
        f"{known}; {'shared machine: ' * (typical > SHARED)}median call {units.significant(typical)} "
        "times the undisturbed latency"
    )


def lowest(frame: pd.DataFrame, name: str) -> pd.Series[Any]:
    """The row with the smallest value in a column, the first of equals."""
    return frame.sort_values(name, kind="stable").iloc[0]


def highest(frame: pd.DataFrame, name: str) -> pd.Series[Any]:
    """The row with the largest value in a column, the first of equals."""
    return frame.sort_values(name, ascending=False, kind="stable").iloc[0]


def labels(summary: pd.DataFrame, without: Iterable[str] = ()) -> list[str]:
    """A short name for each row: its kind, and of the rest only what differs between the rows."""
    kernels = summary[summary["kind"] != "pointwise"]
    skip = {*without, *([] if _several(kernels, "kernel") else _sides("kernel"))}
    if _several(summary, "kernel", "dilation"):
        skip |= {"padding"}  # goes with kernel and dilation, where it is not stated
    names = [name for name in (*FACTS, "padding", "run", "arm") if name in summary]
    told = summary[names]
    differs = {name for name in names if name not in skip and len(set(map(str, told[name]))) > 1}
    return [
        " · ".join([kind_name(row["kind"]), *_differing(row, differs)]) for row in told.to_dict("records")
    ]


def _sides(what: str) -> tuple[str, str]:
    """The columns of what has a height and a width."""
    return f"{what}_height", f"{what}_width"


def _several(summary: pd.DataFrame, *what: str) -> bool:
    return len(summary[[side for one in what for side in _sides(one)]].drop_duplicates()) > 1


def _side_by_side(row: Mapping[Hashable, Any], what: str) -> str:
    """`3` for a square, else `3x5`."""
    height, width = (row[side] for side in _sides(what))
    return f"{height}" if height == width else f"{height}x{width}"


def sentence(label: str) -> str:
    """A label within a sentence."""
    return label.replace(" · ", ", ")


def _differing(row: Mapping[Hashable, Any], differs: set[str]) -> list[str]:
    parts = []
    if differs & {"in_channels", "out_channels"}:
        parts.append(f"{row['in_channels']}→{row['out_channels']}")
    if differs & {"height", "width"}:
        parts.append(f"{row['height']}×{row['width']} px")
    if differs & {*_sides("kernel")} and row["kind"] != "pointwise":
        parts.append(f"k{_side_by_side(row, 'kernel')}")
    if "groups" in differs and row["kind"] == "grouped":
        parts.append(f"g{row['groups']}")
    parts += [words("batch", row["batch"])] * ("batch" in differs)
    parts += [
        words(name, _side_by_side(row, name)) for name in ("stride", "dilation") if differs & {*_sides(name)}
    ]
    parts += [words("padding", short_text(row["padding"]))] * ("padding" in differs)
    return parts + [words(name, row[name]) for name in ("bias", *SETTINGS, "run", "arm") if name in differs]
