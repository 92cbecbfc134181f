"""What a run says, in sentences: each rule looks for one thing in the summary, and says it with its figures,
or says nothing.

In: the summary of a run with its moments (`case_ratio`). Out: `Finding`s, strongest first. Of times only
differences above a tenth and past their own interval are spoken of, in either direction; of several cases the
one that shows it most is named, and how many others there are. Two cases are compared in the moments that
both met (`interleaved_ratio`), or else by their figures. Rules on settings are in `setting_findings`.
Where to add one: a rule below, and its name in `RULES`.
Why five standard errors: a run is asked hundreds of questions, and three visits agree by luck now and then,
so that two intervals lie apart where nothing differs. The error of a case alone is therefore never taken
smaller than that of the run's usual case.
"""

from __future__ import annotations

from math import exp, hypot
from typing import TYPE_CHECKING, Any, cast

import pandas as pd

from harness.analysis.case_ratio import SURE, is_clear
from harness.analysis.cliffs import steps
from harness.analysis.differences import NOTABLE
from harness.analysis.finding import KERNEL, PROBLEM, Finding, cases_of, factor_of, similar, times_in_words
from harness.analysis.labels import kind_name, labels, sentence, words
from harness.analysis.setting_findings import dtypes, graphs, layout, page_faults
from harness.analysis.summary_row import cells
from harness.core import units
from harness.core.case import DEFAULTS
from harness.core.problem import SAME_CONNECTIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.analysis.cliffs import Step
    from harness.analysis.finding import NamedRow, Pair

    Rule = Callable[[list[NamedRow]], Finding | None]

# axes along which cliffs are looked for
CURVES = ("in_channels", "out_channels", "height", "batch", "kernel_height", "groups")
ONE_LAYER = ("standard", "grouped", "depthwise")  # kinds that differ by the number of groups alone
# settings whose two values a sentence names itself
CONTRASTED = ("allocator", "memory_format", "dtype", "mode")
SAVED_WORK = "Fewer FLOPs, more time"
SEPARABLE = "Depthwise separable"
CAVEAT = "Wide intervals"
CURVE = 4  # places, at least: fewer are no curve


def findings(summary: pd.DataFrame) -> list[Finding]:
    """What all rules say of a run, from its summary `with_moments`: first what is known less well than asked,
    then the strongest."""
    measured = summary[summary["latency_s"].notna()].reset_index(drop=True)
    if measured.empty:
        return []
    aside = [map(sentence, labels(measured, without=[axis])) for axis in CONTRASTED]
    named = measured.assign(
        label=list(map(sentence, labels(measured))),
        aside=pd.Series([dict(zip(CONTRASTED, texts, strict=True)) for texts in zip(*aside, strict=True)]),
        stated_groups=measured["groups"].where(measured["kind"] == "grouped", 0),
    )
    rows = cast("list[NamedRow]", named.to_dict("records"))
    said = [finding for rule in RULES if (finding := rule(rows))]
    return sorted(said, key=lambda finding: (finding.rule != CAVEAT, -finding.strength))


def separable(rows: list[NamedRow]) -> Finding | None:
    """What depthwise separable gives in place of standard, where that has the most work. Only these two are
    ranked: the other kinds compute less (`SAME_CONNECTIONS`)."""
    pairs = []
    for alike in similar((row for row in rows if row["kind"] in SAME_CONNECTIONS), (*PROBLEM, *DEFAULTS)):
        pairs += [
            (standard, other)
            for standard in alike
            for other in alike
            if standard["kind"] == "standard"
            and _beside(standard, other)
            and (is_clear(standard, other) or is_clear(other, standard))
        ]
    if not pairs:
        return None
    standard, other = max(pairs, key=lambda pair: (pair[0]["flops"], factor_of(pair)))
    fast = other["latency_s"] < standard["latency_s"]
    how_much = times_in_words(standard, other, " as fast" if fast else " as long")
    text = (
        f"{units.capitalized(other['label'])} takes {units.seconds(other['latency_s'])}, standard "
        f"{units.seconds(standard['latency_s'])}: {how_much}, "
        f"with 1/{units.significant(standard['flops'] / other['flops'], 2)} of the FLOPs."
    )
    return Finding(SEPARABLE, text, cases_of([(other, standard)]), factor_of((standard, other)))


def work(rows: list[NamedRow]) -> Finding | None:
    """FLOPs that were saved and bought no time: of two kinds at one place, the one that does fewer takes
    longer."""
    worse = []
    for alike in similar(rows, (*PROBLEM, *DEFAULTS)):
        for few in alike:
            worse += [
                (few, many)
                for many in alike
                if _beside(few, many) and many["flops"] > NOTABLE * few["flops"] and is_clear(many, few)
            ]
    if not worse:
        return None
    few, many = max(worse, key=factor_of)
    text = (
        f"{units.capitalized(few['label'])} does {units.count(few['flops'])}FLOPs and takes "
        f"{units.seconds(few['latency_s'])}; {many['label']} does {units.count(many['flops'])}FLOPs in "
        f"{units.seconds(many['latency_s'])}.{_others(worse, 'pair')}"
    )
    return Finding(SAVED_WORK, text, cases_of([(few, many), *worse]), factor_of((few, many)))


def group_counts(rows: list[NamedRow]) -> Finding | None:
    """The number of groups from which on more of them, which is less work, take more time."""
    falls = []
    for alike in similar((row for row in rows if row["kind"] in ONE_LAYER), (*PROBLEM, *KERNEL, *DEFAULTS)):
        ordered = sorted(alike, key=lambda row: row["groups"])
        falls += [
            (few, many) for i, few in enumerate(ordered) for many in ordered[i + 1 :] if is_clear(few, many)
        ]
    if not falls:
        return None
    few, many = max(falls, key=factor_of)
    fewer = words("groups", few["groups"])
    text = (
        f"{words('groups', many['groups'])} take {times_in_words(few, many, f' as long as {fewer}')}, "
        f"{units.seconds(many['latency_s'])} instead of {units.seconds(few['latency_s'])} "
        f"({few['label']}).{_others(falls, 'pair')}"
    )
    return Finding("Groups", text, cases_of([(many, few), *falls]), factor_of((few, many)))


def cliffs(rows: list[NamedRow]) -> Finding | None:
    """Where latency jumps along an axis by more than the work does, and what changes below torch there."""
    # channels in and out may move together, and are then one axis
    jumps: dict[tuple[str, str], tuple[str, Step]] = {}
    for axis in CURVES:
        for alike in _curves([row for row in rows if axis != "groups" or row["kind"] in ONE_LAYER], axis):
            curve = [{**row, "x": x} for row in alike for x in cells(row, [axis])]
            if len({place["x"] for place in curve}) == len(curve) >= CURVE:
                jumps |= {
                    (step.left["case_id"], step.right["case_id"]): (axis, step)
                    for step in steps(curve)
                    if _sure(step)
                }
    if not jumps:
        return None
    axis, worst = max(jumps.values(), key=lambda jump: abs(jump[1].beyond))
    ends = (worst.left, worst.right)
    values = f"{worst.left['x']:,} to {words(_axis(axis), worst.right['x'])}"
    text = (
        f"From {values}, {kind_name(worst.right['kind'])} goes from "
        f"{units.seconds(worst.left['latency_s'])} to {units.seconds(worst.right['latency_s'])}, "
        f"for {units.significant(worst.right['flops'] / worst.left['flops'], 2)} times the FLOPs; "
        f"{worst.change or 'the same kernel, as far as visible'} "
        f"({worst.right['label']}).{_others(list(jumps.values()), 'jump')}"
    )
    return Finding("Jumps", text, tuple(row["case_id"] for row in ends), exp(abs(worst.beyond)))


def _curves(rows: list[NamedRow], axis: str) -> list[list[NamedRow]]:
    """Rows that differ along an axis alone. Of sides: squares are a curve, and so are all of one width."""
    rest = [name for name in (*PROBLEM, *KERNEL, "kind", "stated_groups") if name not in _moves_with(axis)]
    if not axis.endswith("height"):
        return similar(rows, (*rest, *DEFAULTS))
    width = axis.replace("height", "width")
    squares = (row for row in rows if len(set(cells(row, [axis, width]))) == 1)
    return [*similar(squares, (*rest, *DEFAULTS)), *similar(rows, (*rest, width, *DEFAULTS))]


def _sure(step: Step) -> bool:
    error = hypot(*(place["standard_error"] for place in (step.left, step.right)))
    return step.is_cliff and abs(step.beyond) > SURE * error


def launches(rows: list[NamedRow]) -> Finding | None:
    """Cases whose time is mostly that of the host, which tells the device what to do."""
    bound = [
        row
        for row in rows
        if row["mode"] == "eager" and (row["dispatch_s"] or 0) > NOTABLE * (row["device_s"] or float("inf"))
    ]
    if not bound:
        return None
    worst = max(bound, key=lambda row: row["dispatch_s"] / row["device_s"])
    text = (
        f"{len(bound)} of {len(rows)} cases wait for the host: "
        f"{worst['label']} keeps the device busy for {units.seconds(worst['device_s'])} of "
        f"the {units.seconds(worst['dispatch_s'])} that the host needs to launch it."
    )
    return Finding(
        "Launches", text, tuple(row["case_id"] for row in bound), worst["dispatch_s"] / worst["device_s"]
    )


def memory(rows: list[NamedRow]) -> Finding | None:
    """Memory that a kind takes or saves against standard at the same place, at the peak of a call."""
    pairs = []
    for alike in similar((row for row in rows if (row["peak_bytes"] or 0) > 0), (*PROBLEM, *DEFAULTS)):
        standard = next((row for row in alike if row["kind"] == "standard"), None)
        if standard:
            pairs += [(standard, row) for row in alike if _beside(standard, row)]

    def factor(pair: Pair) -> float:
        sizes = [row["peak_bytes"] + row["resident_bytes"] for row in pair]
        return float(max(sizes) / min(sizes))

    apart = [pair for pair in pairs if factor(pair) > NOTABLE]
    if not apart:
        return None
    standard, other = max(apart, key=factor)
    needed, usual = (row["peak_bytes"] + row["resident_bytes"] for row in (other, standard))
    text = (
        f"{units.capitalized(other['label'])} needs {units.percent(abs(needed / usual - 1))} "
        f"{'less' if needed < usual else 'more'} memory than standard, inputs and weights included: "
        f"{units.size(needed)} against {units.size(usual)}.{_others(apart, 'pair')}"
    )
    return Finding("Memory", text, cases_of([(other, standard), *apart]), factor((standard, other)))


def untrusted(rows: list[NamedRow]) -> Finding | None:
    """Cases whose interval is wider than asked for, and what was seen beside them."""
    doubtful = [row for row in rows if row["trust"] == "wide"]
    if not doubtful:
        return None
    reasons = sorted({reason for row in doubtful for reason in row["trust_reasons"]})
    seen = f" Causes seen: {', '.join(reasons).replace('_', ' ')}." * bool(reasons)
    text = f"The intervals of {len(doubtful)} of {len(rows)} cases are wider than asked for.{seen}"
    return Finding(CAVEAT, text, tuple(row["case_id"] for row in doubtful), 1.0)


RULES: tuple[Rule, ...] = (
    separable,
    page_faults,
    work,
    layout,
    group_counts,
    cliffs,
    dtypes,
    graphs,
    launches,
    memory,
    untrusted,
)


def _beside(one: NamedRow, other: NamedRow) -> bool:
    """Whether two rows are different kinds with one kernel; pointwise has its own."""
    kernels = [cells(row, KERNEL) for row in (one, other)]
    return bool(
        one["kind"] != other["kind"]
        and ("pointwise" in (one["kind"], other["kind"]) or kernels[0] == kernels[1])
    )


def _others(found: list[Any], what: str) -> str:
    """That there are more than the one that was named."""
    more = len(found) - 1
    return "" if not more else f" {more} other {what}{'s' * (more > 1)} like it."


def _moves_with(axis: str) -> set[str]:
    """The columns that go along with an axis in a sweep: channels with channels, a square's sides, padding
    with its kernel."""
    for together in (
        {"in_channels", "out_channels"},
        {"height", "width"},
        {*KERNEL},
        {"groups", "stated_groups", "kind"},
    ):
        if axis in together:
            return together
    return {axis}


def _axis(column: str) -> str:
    return "kernel_size" if column == "kernel_height" else column
