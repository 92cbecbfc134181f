"""How things look in a terminal: progress while a run goes on, and answers as tables. Talk goes to stderr, data to stdout.

In: cases, rows, summaries. Out: text. rich draws, and knows NO_COLOR, FORCE_COLOR and terminals that can do nothing. Where stderr
is no terminal there is no bar, but a line a visit.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from harness import units, verdicts
from harness.arm import Watcher
from harness.case import Case, Setting, written
from harness.errors import ProblemError
from harness.problem import same_padding

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from harness.comparison import Comparison
    from harness.problem import Problem
    from harness.results import Results

DEFAULT = Setting()
MOST_ROWS = 60
LINES_APART = 20  # cases of a survey, where there is no bar
MOST_FINDINGS = 4  # the report has all of them
STATE_SIGNS = {"ok": "ok", "warning": "! warning", "unknown": "? unknown"}
ENDINGS = {"interrupted": ", stopped by Ctrl-C", "time_limit": ", ended by its time limit"}
TRUST_SIGNS = {"ok": "ok", "wide": "~ wide", "invalid": "! invalid"}


class RunProgress(Watcher):
    """A watcher that draws: a bar with the case, its latest figure and the time left, or a line a visit.

    It draws when it is told something and never by itself: between two tidings someone measures.
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._drawn = self._console.is_terminal and not self._console.is_dumb_terminal
        columns = (TextColumn("{task.fields[stage]:<9}"), BarColumn(24), TextColumn("{task.fields[case]}"), TextColumn("{task.fields[figure]}"))
        self._progress = Progress(*columns, TextColumn("{task.fields[left]}", style="dim"), console=self._console, transient=True, auto_refresh=False)
        self._task = self._progress.add_task("run", total=1, stage="survey", case="", figure="", left="")
        self._estimated_s = 1.0
        self.run: Path | None = None

    def __enter__(self) -> RunProgress:
        if self._drawn:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def waiting(self, device: str) -> None:
        """Another measurement holds the device."""
        self.say(f"Another measurement holds {device}: waiting until it ends (--no-wait fails instead).")

    def started(self, run: Path) -> None:
        """The run's folder is there."""
        self.run = run

    def begin(self, cases: int, estimated_s: float, then: str) -> None:
        """Say how long it will take before it starts."""
        self._estimated_s = estimated_s
        kept = " Ctrl-C keeps what is done." if self.run else ""
        self.say(f"{cases} case{'s' * (cases > 1)}, about {units.clock(estimated_s)}; {then}.{kept}")

    def surveying(self, case: Case, number: int, of: int) -> None:
        """A case is looked at before any timing."""
        self._show(stage="survey", case=case.label, figure=f"{number} of {of}", left="", completed=number, total=of)
        if not self._drawn and (number - 1) % LINES_APART == 0:
            self.say(f"survey {number} of {of}  {case.label}")

    def unsurveyed(self, cases: int, of: int) -> None:
        """The survey's share of a time limit is over."""
        self.say(f"{cases} of {of} cases are measured without a survey: its share of the time limit is over, and they have no facts.")

    def visiting(self, case: Case, stage: str, left_s: float) -> None:
        """A visit begins."""
        done = max(self._estimated_s - left_s, 0)
        self._show(stage=stage, case=case.label, figure="", left=f"{units.clock(left_s)} left", completed=done, total=self._estimated_s)

    def turned(self, cases: Sequence[Case], stage: str, turn: int, of: int, left_s: float) -> None:
        """Cases that are measured together have done one more block each."""
        done, left = max(self._estimated_s - left_s, 0), f"{units.clock(left_s)} left"
        blocks = f"block {turn} of {of}"
        self._show(stage=stage, case=f"{len(cases)} cases", figure=blocks, left=left, completed=done, total=self._estimated_s)

    def progress(self, case: Case, latency_s: float) -> None:
        """The latest figure of the visit that is going on."""
        self._show(case=case.label, figure=units.seconds(latency_s))

    def visited(self, case: Case, row: dict[str, Any]) -> None:
        """A visit is over."""
        arm = "" if row["arm"] == "main" else f"{row['arm']}  "
        if row["status"] != "ok":
            self.say(f"{arm}{case.label}: {row['status']}, {row['message']}")
        elif not self._drawn:
            self.say(f"round {row['round']}  {arm}{case.label}: {units.seconds(row['latency_s'])}  {row['trust']}")

    def say_machine(self) -> None:
        """One line on whether this machine is fit to measure on."""
        from harness.doctor import examine, in_short

        self.say(f"This machine: {in_short(examine())}. `convscope doctor` tells more.")

    def say(self, text: str) -> None:
        """A line of talk, above the bar."""
        self._console.print(text, markup=False, soft_wrap=True)

    def _show(self, **fields: Any) -> None:
        if self._drawn:
            self._progress.update(self._task, **fields, refresh=True)


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
        table(["id", "case", "latency ", "95 % interval ", "faults a call ", "trust"], cells)
    if len(summary) > len(shown):
        print(f"... the fastest {len(shown)} of {len(summary)} cases; all of them are in the report")
    marks = ", a quick run: one visit a case, never a baseline" if run["quick"] else ""
    ended = ENDINGS.get(run["state"], "")
    from harness.findings import findings  # pandas, which commands that only tell do without
    from harness.labels import how_well

    known = how_well(summary, run["policy"]["target_width"])
    for finding in findings(summary, visits)[:MOST_FINDINGS]:
        print(f"\n{finding.rule}. {finding.text}")
    print(f"\n{len(summary)} cases, {len(visits)} visits in {units.clock(run['wall_s'])}{ended}{marks}; {known}.")
    print(f"Next: convscope report {folder}")


def comparison(found: Comparison) -> None:
    """The answer of `compare` and `ab`: sentences, then the rows, worst first, then what the exit code says."""
    for sentence in verdicts.sentences(found):
        print(sentence)
    rows = verdicts.told(found)
    cells = (
        [
            *(
                f"{verdicts.SIGNS[row['verdict']]} {row['verdict']}",
                verdicts.subject(row),
                verdicts.amount(row, "base"),
                verdicts.amount(row, "head"),
            ),
            *(verdicts.change(row), verdicts.counted(row), row["reason"] or ""),
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
    names = {0: "Nothing regressed", 1: "Regressed", 3: "Not all of it can be compared", 4: "Some cases failed"}
    slower = found.verdicts[found.verdicts["verdict"] == "regressed"].to_dict("records")
    if found.code == 1 and not slower:
        return "Inconclusive, and the gate says fail."
    worst = f": {verdicts.subject(slower[0])}, {verdicts.change(slower[0])}" if slower else ""
    undecided = found.counts.get("inconclusive", 0)
    beyond = found.unconfirmed.to_dict("records")
    if found.code == 0 and beyond:
        return f"Slower, not confirmed: {verdicts.subject(beyond[0])}, {verdicts.change(beyond[0])}. {undecided} inconclusive."
    if found.code == 0 and undecided and not {"same", "improved"} & set(found.verdicts.loc[found.verdicts["metric"] == "latency_s", "verdict"]):
        return f"No latency could be judged: {undecided} inconclusive. Nothing is known to have regressed."
    return f"{names[found.code]}{worst}." + (f" Warning: {undecided} inconclusive." if undecided and found.code != 1 else "")


def _label(row: Mapping[Any, Any]) -> str:
    """A case's label from its descriptor's columns."""
    return Case.from_row(row).label


def interval_text(row: Mapping[Any, Any]) -> str:
    """`158 µs to 166 µs`."""
    return f"{units.seconds(row['latency_low_s'])} to {units.seconds(row['latency_high_s'])}"


class Output(Console):
    """stdout, whose closing is the caller's matter: rich would end the process with 1, which means that something regressed."""

    def on_broken_pipe(self) -> None:
        """Leave it to the door of the command."""
        raise BrokenPipeError


def table(headers: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """A plain table on stdout; columns whose header ends in a space are aligned to the right."""
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for header in headers:
        drawn.add_column(header.strip(), justify="right" if header.endswith(" ") else "left", overflow="fold", no_wrap=False)
    for row in rows:
        drawn.add_row(*row)
    width = None if sys.stdout.isatty() else 200
    Output(highlight=False, width=width, markup=False).print(drawn)


def pairs(rows: Iterable[tuple[str, str]]) -> None:
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
    pairs(
        [
            ("input", f"{_shape(problem.input_shape)}   (batch, in_channels, height, width)"),
            *(("weight", f"{_shape(shape)}   (out_channels, in_channels / groups, kernel height, kernel width)") for shape in problem.weight_shapes),
            ("output", _shape(problem.output_shape)),
            ("parameters", f"{problem.parameters:,}"),
            ("MACs", f"{problem.macs:,}   ({problem.flops:,} FLOPs; bias is not counted)"),
            ("least bytes", f"{problem.minimum_bytes(4):,} in float32"),
            ("against standard", f"{comparison} the MACs of a {'x'.join(map(str, problem.standard.kernel_size))} standard convolution"),
        ]
    )


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def as_arguments(problem: Problem, setting: Setting = DEFAULT) -> str:
    """A problem and a setting as the arguments of `explain` and `measure` that state them; what is default is left out."""
    side = 1 if problem.kind == "pointwise" else 3
    usual = {"kernel_size": (side, side), "stride": (1, 1), "padding": _usual_padding(problem), "dilation": (1, 1), "batch": 1}
    flags = {"kernel_size": "--kernel"} | {name: f"--{name}" for name in usual if name != "kernel_size"}
    stated = [f"{flags[name]} {written(getattr(problem, name))}" for name, value in usual.items() if getattr(problem, name) != value]
    if problem.kind == "grouped":
        stated.append(f"--groups {problem.groups}")
    if (problem.height, problem.width) != (56, 56):
        stated.append(f"--height {problem.height} --width {problem.width}")
    for name, value in asdict(setting).items():
        if value != getattr(DEFAULT, name):
            stated.append(f"--{name.replace('_', '-')}" + ("" if value is True else f" {value}"))
    return " ".join([problem.kind, f"--in {problem.in_channels} --out {problem.out_channels}", *["--bias"] * problem.bias, *stated])


def _usual_padding(problem: Problem) -> tuple[int, int] | None:
    """What `same` comes to; None for an even kernel, whose padding must be stated."""
    try:
        return same_padding(problem.kernel_size, problem.dilation)
    except ProblemError:
        return None
