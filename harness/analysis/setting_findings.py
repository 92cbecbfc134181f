"""Rules that hold one setting against another over all cases that were measured under both: the allocator,
the layout, the dtype, the mode. In and out as in `findings`, which asks them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.analysis.case_ratio import is_clear, times
from harness.analysis.finding import Finding, cases_of, factor_of, similar, times_in_words
from harness.analysis.summary_row import cells
from harness.core import units
from harness.core.case import DEFAULTS

if TYPE_CHECKING:
    from harness.analysis.finding import NamedRow, Pair


def page_faults(rows: list[NamedRow]) -> Finding | None:
    """What glibc's defaults cost, and so what keeping the heap gives."""
    pairs = _pairs(rows, "allocator", "retained", "default")
    slower = [(kept, plain) for kept, plain in pairs if is_clear(kept, plain)]
    if not slower:
        return None
    kept, plain = max(slower, key=factor_of)
    text = (
        f"With glibc's default allocator {kept['aside']['allocator']} takes "
        f"{units.seconds(plain['latency_s'])} instead of {units.seconds(kept['latency_s'])}, "
        f"{times_in_words(kept, plain, ' as long')}, "
        f"with {plain['minor_faults_per_call']:,.0f} page faults per call instead of "
        f"{kept['minor_faults_per_call']:,.0f}. "
        f"{len(slower)} of {len(pairs)} cases are slower by more than 10 % with it."
    )
    most = units.times(times(kept, plain), " as long")
    headline = f"With glibc's default allocator {kept['aside']['allocator']} takes {most}"
    return Finding(
        "Page faults", text, cases_of([(kept, plain), *slower]), factor_of((kept, plain)), headline
    )


def layout(rows: list[NamedRow]) -> Finding | None:
    """channels_last against contiguous."""
    return _gain(rows, "Layout", "memory_format", "contiguous", "channels_last")


def dtypes(rows: list[NamedRow]) -> Finding | None:
    """What each narrower dtype gives, and where none does."""
    found = [_gain(rows, "Dtype", "dtype", "float32", dtype) for dtype in ("bfloat16", "float16")]
    return _together("Dtype", found)


def graphs(rows: list[NamedRow]) -> Finding | None:
    """What torch.compile and CUDA graphs give."""
    return _together(
        "Mode", [_gain(rows, "Mode", "mode", "eager", mode) for mode in ("cuda_graph", "compile")]
    )


def _pairs(rows: list[NamedRow], axis: str, base: str, other: str) -> list[Pair]:
    """The cases that were measured under both values of a setting, and are alike in all others."""
    either = (row for row in rows if cells(row, [axis])[0] in (base, other))
    sides = [
        {cells(row, [axis])[0]: row for row in alike}
        for alike in similar(either, ("problem_id", *(name for name in DEFAULTS if name != axis)))
    ]
    return [(side[base], side[other]) for side in sides]


def _gain(rows: list[NamedRow], rule: str, axis: str, base: str, other: str) -> Finding | None:
    """One value of a setting against another over all cases that were measured under both: where it helps,
    where it costs, where neither."""
    pairs = _pairs(rows, axis, base, other)
    faster = [(one, two) for one, two in pairs if is_clear(two, one)]
    slower = [(one, two) for one, two in pairs if is_clear(one, two)]
    if not faster and not slower:
        return None
    said = (
        [f"{other} is faster than {base} for {len(faster)} of {len(pairs)} cases{_most(faster, axis)}"]
        if faster
        else []
    )
    said += (
        [f"{other} is slower than {base} for {len(slower)} of {len(pairs)} cases{_most(slower, axis)}"]
        if slower
        else []
    )
    most = max([*faster, *slower], key=factor_of)
    fast, slow = (base, other) if most in slower else (other, base)
    speed = times(*most) if most in slower else times(*most).inverse
    headline = f"{fast} is {units.times(speed, f' as fast as {slow}')} for {most[1]['aside'][axis]}"
    return Finding(rule, f"{'; '.join(said)}.", cases_of([most, *faster, *slower]), factor_of(most), headline)


def _most(pairs: list[Pair], axis: str) -> str:
    """The pair that differs most, in words."""
    if not pairs:
        return ""
    one, two = max(pairs, key=factor_of)
    return (
        f", most for {two['aside'][axis]} ({units.seconds(one['latency_s'])} to "
        f"{units.seconds(two['latency_s'])}, {times_in_words(one, two)})"
    )


def _together(rule: str, found: list[Finding | None]) -> Finding | None:
    said = [finding for finding in found if finding]
    if not said:
        return None
    cases = tuple(dict.fromkeys(case for finding in said for case in finding.cases))
    most = max(said, key=lambda finding: finding.strength)
    return Finding(rule, " ".join(finding.text for finding in said), cases, most.strength, most.headline)
