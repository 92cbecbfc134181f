"""The answers of commands about cases: one in full, candidates, networks. Text on stdout.

In: rows of the summary. Out: what a person reads. Not here: progress and tables (`terminal`), what is
decided; the search for cliffs (`cliffs_text`).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from harness.analysis.differences import beyond_intervals
from harness.analysis.labels import kind_name
from harness.core import units
from harness.core.case import Case
from harness.core.problem import SAME_CONNECTIONS
from harness.output.terminal import (
    SHORT_KINDS,
    TRUST_SIGNS,
    as_arguments,
    interval_text,
    padding_line,
    print_fields,
    prose,
    table,
)
from harness.store.results import as_json_values
from harness.tasks.advise import FIRST, ties

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from harness.analysis.networks import Network
    from harness.core.interval import Interval
    from harness.tasks.advise import Advice

BAR = 28  # characters that stand for a whole call
SHOWN = 3  # primitives of a case that has no figure


def measurement(
    case: Case, row: Mapping[Any, Any], other: Mapping[Any, Any] | None, *, in_full: bool = False
) -> None:
    """The answer of `measure`; in full with what a call's time goes into drawn, and what was seen of its
    health."""
    print(f"{case.label}   ({case.case_id})")
    if row["status"] != "ok":
        print(f"\n{row['status']}: {row['message']}")
        print_fields(_surveyed(row))
        return
    if in_full and row["split"] is not None:
        print("\nTime of one call by part:")
        print_fields(_bars(row))
        print()
    print_fields(
        [
            (
                "latency",
                f"{units.seconds(row['latency_s'])}   ({interval_text(row)}: 95 % interval, {_visits(row)})",
            ),
            ("typical", f"{units.seconds(row['typical_s'])}   (median on this machine, other load included)"),
            ("MACs", f"{row['macs']:,}   ({units.count(row['flops'] / row['latency_s'])}FLOP/s)"),
            (
                "memory",
                (
                    f"{_size(row['resident_bytes'])} of input and weights, "
                    f"plus {_size(row['peak_bytes'])} at the peak of a call"
                ),
            ),
            *padding_line(case.problem, case.setting.implementation),
            ("back end", row["backend"] or "unknown"),
            *_bound(row, drawn=in_full),
            *(_health(row) if in_full else ()),
            ("trust", ", ".join([TRUST_SIGNS[row["trust"]], *row["trust_reasons"]])),
            *_allocators(case, row, other),
        ]
    )
    print()
    prose(_allocator_answer(case, row, other))


def _surveyed(row: Mapping[Any, Any]) -> list[tuple[str, str]]:
    """Of a case without a figure, what the survey saw that it runs, slowest first."""
    runs = sorted(
        () if row["primitives"] is None else row["primitives"], key=lambda one: -float(one["time_s"])
    )
    said = [f"{one['name']} {units.seconds(one['time_s'])}" for one in runs[:SHOWN]]
    known = {"back end": row["backend"], "a call runs": ", ".join(said)}
    return [(name, text) for name, text in known.items() if text]


def _allocators(case: Case, row: Mapping[Any, Any], other: Mapping[Any, Any] | None) -> list[tuple[str, str]]:
    """Latency and page faults under both; of a slow call, what the survey saw of the other."""
    if not other and row["other_allocator_s"]:
        name = "default malloc" if case.setting.allocator == "retained" else "heap kept"
        return [(name, f"about {units.seconds(row['other_allocator_s'])}, from a first look alone")]
    if not other or other["status"] != "ok":
        return []
    seen = {case.setting.allocator: row, other["allocator"]: other}
    said = {
        name: f"{units.seconds(one['latency_s'])}, {one['minor_faults_per_call']:,.1f} page faults per call"
        for name, one in seen.items()
    }
    return [("heap kept", said["retained"]), ("default malloc", said["default"])]


def _health(row: Mapping[Any, Any]) -> list[tuple[str, str]]:
    """What might have disturbed it, as far as it was seen."""
    shares = {"waited for a processor": row["run_queue_share"], "in the kernel": row["system_share"]}
    known = [f"{units.percent(share)} {what}" for what, share in shares.items() if share is not None]
    visits = f"{row['visits']} repetitions used, {row['invalid']} not used because disturbed"
    return [("health", ", ".join([*known, visits]))]


def _bars(row: Mapping[Any, Any]) -> list[tuple[str, str]]:
    """A bar for each part of a call that takes a hundredth of it or more, the primitives that it is made of
    beside it."""
    names: dict[str, list[str]] = {}
    for one in row["primitives"] if row["primitives"] is not None else ():
        names.setdefault(one["role"], []).append(one["name"])
    lines = []
    for part, time_s in row["split"].items():
        share = time_s / row["latency_s"]
        if share >= 0.01:
            made_of = f"   {', '.join(names[part])}" if part in names else ""
            bar = "\N{FULL BLOCK}" * max(round(share * BAR), 1)
            lines.append(
                (
                    part.replace("_", " "),
                    f"{bar:<{BAR}} {units.percent(share):>6}  {units.seconds(time_s)}{made_of}",
                )
            )
    return lines


def _bound(row: Mapping[Any, Any], *, drawn: bool) -> list[tuple[str, str]]:
    """What binds a case, and, unless they are drawn, the parts of a call that take a twentieth of it or more;
    what is not known is left out."""
    if row["bound"] is None:
        return []
    reached = (
        f"{units.percent(row['roofline_fraction'])} of the roofline, {units.seconds(row['attainable_s'])}"
    )
    bound = ("bottleneck", f"{row['bound']}   ({reached})")
    if drawn or row["split"] is None:
        return [bound]
    parts = {part.replace("_", " "): time_s / row["latency_s"] for part, time_s in row["split"].items()}
    largest = sorted((share, part) for part, share in parts.items() if share >= 0.05)[::-1]
    shares = ", ".join(f"{part} {units.percent(share)}" for share, part in largest)
    return [bound, ("a call's time", shares)]


def _allocator_answer(case: Case, row: Mapping[Any, Any], other: Mapping[Any, Any] | None) -> str:
    """One sentence: the latency, and what keeping the heap gives where that is past both intervals and a
    tenth."""
    figure = f"{units.seconds(row['latency_s'])} per call"
    if not other or other["status"] != "ok":
        return figure + "."
    kept, plain = (row, other) if case.setting.allocator == "retained" else (other, row)
    gain = plain["latency_s"] / kept["latency_s"]
    if not beyond_intervals(plain, kept):
        return f"{figure}; no measurable difference between the allocators."
    return (
        f"{figure}; with default glibc malloc a call takes {units.significant(gain)} times as "
        "long. To retain freed memory in your own program:\n"
        "  export MALLOC_TRIM_THRESHOLD_=1073741824\n"
        "  export MALLOC_MMAP_THRESHOLD_=1073741824\n"
        "  export MALLOC_TOP_PAD_=67108864"
    )


def _visits(row: Mapping[Any, Any]) -> str:
    if row["interval"] == "between":
        return f"from {row['visits']} processes"
    counted = f"{row['visits']} repetition{'s' * (row['visits'] != 1)}"
    return f"within {counted}, since fewer than three processes count"


def _size(value: float | None) -> str:
    return "unknown" if value is None or value != value else units.size(value)


def advice(found: Advice) -> None:
    """The answer of `advise`: the question, what to do, then the ranking: what stands for a whole layer, and
    parts of one."""
    first = Case.from_row(found.rows[0])
    print(f"{_question(found.rows)}\n")
    for text in found.sentences:
        prose(text)
    tied = ties(found.ratios)
    whole = [row for row in found.rows if row["kind"] in SAME_CONNECTIONS]
    parts = [row for row in found.rows if row["kind"] not in SAME_CONNECTIONS]
    groups = {"Same connections": whole, "Fewer connections: they compute less": parts}
    for title, rows in groups.items():
        if rows:
            print(f"\n{title}")
            _candidates(rows, tied, found.speedups)
    print()
    if tied:
        print("= may be as fast as the fastest: the interval of their ratio holds 1")
    if any(row["trust"] == "wide" for row in found.rows):
        print(f"~ interval wider than ±{units.percent(FIRST.target_width)}; ratios are known better")
    for what, why in (*found.left, *found.failed):
        prose(f"Not measured: {what} ({why}).")
    print(f"Next: convscope explain {as_arguments(first.problem, first.setting)} --measure")


def _question(rows: Sequence[Mapping[Any, Any]]) -> str:
    """The layer that was asked for, in a line; pointwise has no kernel to tell."""
    case = Case.from_row(next((row for row in rows if row["kind"] != "pointwise"), rows[0]))
    problem, setting = case.problem, case.setting
    threads = "all threads" if setting.threads == "all" else f"{setting.threads} threads"
    kernel = "x".join(map(str, problem.kernel_size))
    return (
        f"{problem.in_channels}->{problem.out_channels} {kernel} at {problem.height}x{problem.width}, "
        f"batch {problem.batch}, {setting.dtype}, {setting.device}, {threads}"
    )


def _candidates(
    rows: Sequence[Mapping[Any, Any]], tied: Container[str], speedups: Mapping[str, Interval]
) -> None:
    """One line a candidate, fastest first; `speedup`: standard's time over its own, by the ends of its
    interval."""

    def speedup(row: Mapping[Any, Any]) -> str:
        ratio = speedups.get(row["case_id"])
        if ratio is None:
            return "1" if speedups else ""
        return f"{units.significant(ratio.low, 2)} to {units.significant(ratio.high, 2)}"

    cells = (
        [
            f"{'=' if row['case_id'] in tied else ' '} {_short_kind(row)}",
            row["memory_format"],
            f"{units.seconds(row['latency_s'])}{'~' if row['trust'] == 'wide' else ' '}",
            speedup(row),
            units.count(row["parameters"]),
            row["bound"] or "",
        ]
        for row in rows
    )
    table(["  kind", "layout", "latency ", "speedup ", "params ", "bottleneck"], cells)


def _short_kind(row: Mapping[Any, Any]) -> str:
    groups = f" g{row['groups']}" if row["kind"] == "grouped" else ""
    return f"{SHORT_KINDS.get(row['kind'], row['kind'])}{groups}"


def advice_as_json(found: Advice) -> dict[str, Any]:
    """The same as an object."""
    return {
        "ranking": [
            as_json_values({name: value for name, value in row.items() if name != "moments"})
            for row in found.rows
        ],
        "ratios": {identity: asdict(ratio) for identity, ratio in found.ratios.items()},
        "ties": sorted(ties(found.ratios)),
        "speedups": {identity: asdict(ratio) for identity, ratio in found.speedups.items()},
        "chosen": found.chosen["case_id"] if found.chosen else None,
        "left": [{"candidate": what, "why": why} for what, why in found.left],
        "failed": [{"candidate": what, "why": why} for what, why in found.failed],
        "sentences": found.sentences,
    }


def networks(sides: list[Network], kept: list[tuple[str, str]]) -> None:
    """The answer of `whatif`: a network's sums before and after."""
    for network in sides:
        print(f"{network.name}")
        cells = (
            [
                kind_name(one.kind),
                f"{one.executed}",
                units.seconds(one.latency_s),
                f"± {units.seconds(one.half_s)}",
                units.count(one.macs),
                f"{one.parameters:,}",
            ]
            for one in (*network.kinds, network.whole)
        )
        table(["kind", "layers ", "latency ", "95 % ", "MACs ", "parameters "], cells)
        if network.unmeasured:
            prose(f"not included, because they have no latency: {', '.join(network.unmeasured)}")
        print()
    for layer, why in kept:
        prose(f"unchanged: {layer} ({why})")
    if any(network.unmeasured or not network.kinds for network in sides):
        print("The two sums cannot be compared: they do not include the same layers.")
        return
    before, after = (network.whole for network in sides)
    shares = [
        after.macs / before.macs,
        after.parameters / before.parameters,
        after.latency_s / before.latency_s,
    ]
    macs, parameters, latency = (f"{units.significant(100 * share)} %" for share in shares)
    prose(
        f"After the replacement: {macs} of the MACs, {parameters} of the parameters and {latency} of the "
        "total layer time."
    )
