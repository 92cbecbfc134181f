"""How things look in a terminal: progress while a run goes on, and answers as tables. Talk goes to stderr,
data to stdout.

In: cases, rows, summaries. Out: text. rich draws, and knows NO_COLOR, FORCE_COLOR and terminals that can do
nothing. Where stderr is no terminal there is no bar, but a line a visit.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from harness.core import units
from harness.core.case import Case, Setting, written
from harness.core.errors import ProblemError
from harness.core.problem import same_padding
from harness.output import verdict_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from harness.analysis.comparison import Comparison
    from harness.core.problem import Problem
    from harness.store.results import Results

DEFAULT = Setting()
MOST_ROWS = 60
MOST_FINDINGS = 4  # the report has all of them
STATE_SIGNS = {"ok": "ok", "warning": "! warning", "unknown": "? unknown"}
ENDINGS = {"interrupted": ", stopped by Ctrl-C", "time_limit": ", stopped by its time limit"}
TRUST_SIGNS = {"ok": "ok", "wide": "~ wide", "invalid": "! invalid"}


def run_summary(results: Results, folder: Path) -> None:
    """The answer of a run: its cases, then a line that says what came out, then what to type next."""
    summary, visits, run = results.summary, results.visits, results.runs[0]
    shown = summary.sort_values("latency_s").head(MOST_ROWS)
    cells = (
        [
            row["case_id"][:8],
            _label(row),
            units.seconds(row["latency_s"]),
            interval_text(row),
            f"{row['minor_faults_per_call']:,.1f}",
            TRUST_SIGNS[row["trust"]],
        ]
        for row in shown.to_dict("records")
        if row["status"] == "ok"
    )
    if len(shown):
        table(["id", "case", "latency ", "95 % interval ", "faults per call ", "trust"], cells)
    if len(summary) > len(shown):
        print(f"... the fastest {len(shown)} of {len(summary)} cases; all of them are in the report")
    marks = ", quick run: one repetition per case, never a baseline" if run["quick"] else ""
    ended = ENDINGS.get(run["state"], "")
    from harness.analysis.findings import findings  # pandas, which commands that only tell do without
    from harness.analysis.labels import how_well

    known = how_well(summary, run["policy"]["target_width"])
    for finding in findings(summary, visits)[:MOST_FINDINGS]:
        print(f"\n{finding.rule}. {finding.text}")
    print(
        f"\n{len(summary)} cases, {len(visits)} visits in {units.duration(run['wall_s'])}{ended}{marks}; "
        f"{known}."
    )
    print(f"Next: convscope report {folder}")


def comparison(found: Comparison) -> None:
    """The answer of `compare` and `ab`: sentences, then the rows, worst first, then what the exit code
    says."""
    for sentence in verdict_text.sentences(found):
        print(sentence)
    rows = verdict_text.visible_rows(found)
    cells = (
        [
            *(
                f"{verdict_text.SIGNS[row['verdict']]} {row['verdict']}",
                verdict_text.subject(row),
                verdict_text.amount(row, "base"),
                verdict_text.amount(row, "head"),
            ),
            *(verdict_text.change(row), verdict_text.counted(row), row["reason"] or ""),
        ]
        for row in rows[:MOST_ROWS]
    )
    print()
    table(["verdict", "case", "base ", "head ", "change (90 % interval)", "pairs ", "why"], cells)
    if len(rows) > MOST_ROWS:
        print(f"... the first {MOST_ROWS} of {len(rows)} rows; --json has all of them")
    print(f"\n{_conclusion(found)}")


def _conclusion(found: Comparison) -> str:
    """One line, the last: what the exit code says."""
    names = {
        0: "Nothing regressed",
        1: "Regressed",
        3: "Some cases cannot be compared",
        4: "Some cases failed",
    }
    slower = found.verdicts[found.verdicts["verdict"] == "regressed"].to_dict("records")
    if found.code == 1 and not slower:
        return 'Failed: there are inconclusive cases, and this gate sets inconclusive = "fail".'
    worst = f": {verdict_text.subject(slower[0])}, {verdict_text.change(slower[0])}" if slower else ""
    undecided = found.counts.get("inconclusive", 0)
    beyond = found.unconfirmed.to_dict("records")
    if found.code == 0 and beyond:
        return (
            f"Slower, not confirmed: {verdict_text.subject(beyond[0])}, "
            f"{verdict_text.change(beyond[0])}. {undecided} inconclusive."
        )
    if (
        found.code == 0
        and undecided
        and not {"same", "improved"}
        & set(found.verdicts.loc[found.verdicts["metric"] == "latency_s", "verdict"])
    ):
        return f"No verdict on any latency: {undecided} inconclusive. No regression was found."
    return f"{names[found.code]}{worst}." + (
        f" Warning: {undecided} inconclusive." if undecided and found.code != 1 else ""
    )


def _label(row: Mapping[Any, Any]) -> str:
    """A case's label from its descriptor's columns."""
    return Case.from_row(row).label


def interval_text(row: Mapping[Any, Any]) -> str:
    """`158 µs to 166 µs`."""
    return f"{units.seconds(row['latency_low_s'])} to {units.seconds(row['latency_high_s'])}"


class Output(Console):
    """stdout, whose closing is the caller's matter: rich would end the process with 1, which means that
    something regressed."""

    def on_broken_pipe(self) -> None:
        """Leave it to the door of the command."""
        raise BrokenPipeError


def table(headers: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """A plain table on stdout; columns whose header ends in a space are aligned to the right."""
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for header in headers:
        drawn.add_column(
            header.strip(),
            justify="right" if header.endswith(" ") else "left",
            overflow="fold",
            no_wrap=False,
        )
    for row in rows:
        drawn.add_row(*row)
    width = None if sys.stdout.isatty() else 200
    Output(highlight=False, width=width, markup=False).print(drawn)


def print_fields(rows: Iterable[tuple[str, str]]) -> None:
    """Names and what they are, on stdout."""
    listed = list(rows)
    width = max(17, *(len(name) + 2 for name, _ in listed))
    for name, text in listed:
        print(f"  {name:<{width}}{text}")


def explanation(problem: Problem, definition: str) -> None:
    """A problem as numbers, for people."""
    print(f"{problem.kind.replace('_', ' ')}: {definition}.")
    ratio = problem.ratio_to_standard
    comparison = "the same as" if ratio == 1 else f"{units.significant(ratio, 4)} of"
    print_fields(
        [
            ("input", f"{_shape(problem.input_shape)}   (batch, in_channels, height, width)"),
            *(
                (
                    "weight",
                    f"{_shape(shape)}   (out_channels, in_channels / groups, kernel height, kernel width)",
                )
                for shape in problem.weight_shapes
            ),
            ("output", _shape(problem.output_shape)),
            ("parameters", f"{problem.parameters:,}"),
            ("MACs", f"{problem.macs:,}   ({problem.flops:,} FLOPs; bias is not counted)"),
            ("least bytes", f"{problem.minimum_bytes(4):,} in float32"),
            (
                "against standard",
                (
                    f"{comparison} the MACs of a "
                    f"{'x'.join(map(str, problem.standard.kernel_size))} standard convolution"
                ),
            ),
        ]
    )


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def as_arguments(problem: Problem, setting: Setting = DEFAULT) -> str:
    """A problem and a setting as the arguments of `explain` and `measure` that state them; what is default is
    left out."""
    side = 1 if problem.kind == "pointwise" else 3
    usual = {
        "kernel_size": (side, side),
        "stride": (1, 1),
        "padding": _usual_padding(problem),
        "dilation": (1, 1),
        "batch": 1,
    }
    flags = {"kernel_size": "--kernel"} | {name: f"--{name}" for name in usual if name != "kernel_size"}
    stated = [
        f"{flags[name]} {written(getattr(problem, name))}"
        for name, value in usual.items()
        if getattr(problem, name) != value
    ]
    if problem.kind == "grouped":
        stated.append(f"--groups {problem.groups}")
    if (problem.height, problem.width) != (56, 56):
        stated.append(f"--height {problem.height} --width {problem.width}")
    for name, value in asdict(setting).items():
        if value != getattr(DEFAULT, name):
            stated.append(f"--{name.replace('_', '-')}" + ("" if value is True else f" {value}"))
    return " ".join(
        [
            problem.kind,
            f"--in {problem.in_channels} --out {problem.out_channels}",
            *["--bias"] * problem.bias,
            *stated,
        ]
    )


def _usual_padding(problem: Problem) -> tuple[int, int] | None:
    """What `same` comes to; None for an even kernel, whose padding must be stated."""
    try:
        return same_padding(problem.kernel_size, problem.dilation)
    except ProblemError:
        return None
