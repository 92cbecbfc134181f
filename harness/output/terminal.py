"""How things look in a terminal: progress while a run goes on, and answers as tables. Talk goes to stderr,
data to stdout.

In: cases, rows, summaries. Out: text. rich draws, and knows NO_COLOR, FORCE_COLOR and terminals that can do
nothing. Where stderr is no terminal there is no bar, but a line a visit.
"""

from __future__ import annotations

import os
import sys
import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from harness.core import units
from harness.core.case import Setting, written
from harness.core.gate import TOLERANCES
from harness.core.window import centred_padding
from harness.output import verdict_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.analysis.comparison import Comparison
    from harness.analysis.history import History
    from harness.analysis.ranking import Ranking
    from harness.core.problem import Problem

DEFAULT = Setting()
MOST_ROWS = 60
SHORT_KINDS = {"depthwise_separable": "separable"}
ROOMY = 120  # columns, from which on a comparison has its latencies beside it
# where a line has no room for a case's words
SHORT_WORDS = SHORT_KINDS | {"channels_last": "nhwc", "allocator=default": "default"}
DEFAULT_TOLERANCE = TOLERANCES["latency_s"]
GAUGE, GAUGE_REACH = 17, 4.0  # letters of a gauge, and the tolerances that it reaches to
STATE_SIGNS = {"ok": "ok", "warning": "! warning", "unknown": "? unknown"}
ENDINGS = {
    "interrupted": ", stopped by Ctrl-C",
    "time_limit": ", stopped by its time limit",
    "killed": ", killed",
    "failed": ", ended by an error",
}
TRUST_SIGNS = {"ok": "ok", "wide": "~ wide", "invalid": "! invalid"}


def comparison(found: Comparison) -> None:
    """The answer of `compare` and `ab`: what came out, then sentences, a row a case, worst first, and what
    the exit code says."""
    prose(f"{verdict_text.headline(found)}.")
    for sentence in verdict_text.sentences(found):
        prose(sentence)
    print()
    rows = verdict_text.visible_rows(found)
    names, shared = verdict_text.short_names(rows)
    if shared:
        prose(f"all: {shared}")
    _comparison_rows(rows[:MOST_ROWS], names)
    if len(rows) > MOST_ROWS:
        print(f"... the first {MOST_ROWS} of {len(rows)} rows; --json has all of them")
    print()
    prose(_conclusion(found))


def rankings(found: Sequence[Ranking], about: Iterable[str], reference: str | None = None) -> None:
    """The answer of `versus`: who is fastest, then the arms of each case."""
    from harness.output import ranking_text  # with pandas, which takes longer than all that only tells

    prose(ranking_text.headline(found, reference))
    for sentence in about:
        prose(sentence)
    for one in found:
        print()
        prose(one.label)
        table(ranking_text.headings(reference), ranking_text.lines(one, reference))
    print()
    prose(ranking_text.METHOD)


def history(found: History, stale: Sequence[str] = ()) -> None:
    """The answer of `history`: what counts, every finding, a row a case by machine, worst first. `stale`:
    what is to be said of baselines."""
    from harness.output import history_text  # with numpy, as above

    prose(history_text.headline(found))
    for text in stale:
        prose(text)
    for finding in found.findings[:MOST_ROWS]:
        print()
        prose(history_text.sentence(finding))
    places = {one.history.place: history_text.machine(one.history) for one in found.standings}
    for place, name in places.items():
        mine = [one for one in found.standings if one.history.place == place]
        runs = max(len(one.history.runs) for one in mine)
        print()
        names, shared = history_text.short_names([one.history.label for one in mine])
        prose(f"{name}: {history_text.counted(runs, 'run')}{f'; all: {shared}' if shared else ''}")
        table(history_text.HEADINGS, history_text.lines(mine[:MOST_ROWS], names[:MOST_ROWS]))
        if len(mine) > MOST_ROWS:
            print(f"... the first {MOST_ROWS} of {len(mine)} rows; --json has all of them")
    counting = [finding for finding in found.findings if finding.counts]
    if counting:
        print()
        prose(f"To accept one: convscope history bless {counting[0].id} --why REASON")


def _comparison_rows(rows: Sequence[Mapping[Any, Any]], names: Sequence[str]) -> None:
    """One line a row. On a wide terminal with both latencies and the interval in figures."""
    width = Output(width=_width()).width
    roomy = width >= ROOMY
    tolerances = [row["tolerance"] for row in rows if row["tolerance"] == row["tolerance"]]
    reach = GAUGE_REACH * (max(tolerances, default=0.0) or DEFAULT_TOLERANCE)
    half = GAUGE // 2
    scale = f"{f'-{100 * reach:.0f} %':<{half}}0{f'+{100 * reach:.0f} %':>{half}}"
    heading = ["", scale, "change", *(["base", "head"] if roomy else []), "pairs", "why"]
    lines = [heading]
    for row in rows:
        change, reason = verdict_text.change(row), str(row["reason"] or row["verdict"])
        lines.append(
            [
                verdict_text.SIGNS[row["verdict"]],
                verdict_text.gauge(row, reach, GAUGE),
                change if roomy else change.partition(" (")[0],
                *((verdict_text.amount(row, side) for side in ("base", "head")) if roomy else ()),
                verdict_text.counted(row),
                reason if roomy else reason.partition(":")[0],
            ]
        )
    widths = [max(len(line[i]) for line in lines) for i in range(len(heading))]
    # a long reason may go beyond the line, and must not take the names their room
    reason_width = min(widths[-1], 16)
    room = max(width - sum(widths[:-1]) - reason_width - 2 * len(widths), 12)
    labels = ["case", *_fitted(rows, names, room)]
    longest = max(map(len, labels))
    for (sign, gauge, *figures, why), label in zip(lines, labels, strict=True):
        numbers = (figure.rjust(size) for figure, size in zip(figures, widths[2:-1], strict=True))
        print("  ".join([f"{sign:<1} {label:<{longest}}", f"{gauge:<{GAUGE}}", *numbers, why]).rstrip())


def _fitted(rows: Sequence[Mapping[Any, Any]], names: Sequence[str], room: int) -> list[str]:
    """The cases' names in so many letters: long words as short ones in all of them, and what is still too
    long is cut."""
    latencies = [row["metric"] == "latency_s" for row in rows]
    ends = ["" if latency else f" {verdict_text.METRICS['peak_bytes']}" for latency in latencies]
    texts = [f"{name}{end}" for name, end in zip(names, ends, strict=False)]
    if max(map(len, texts), default=0) > room:
        texts = [" ".join(SHORT_WORDS.get(word, word) for word in text.split(" ")) for text in texts]
    return [text if len(text) <= room else f"{text[: room - 1]}…" for text in texts]


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
    undecided = found.undecided
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
    Output(highlight=False, width=_width(), markup=False).print(drawn)


def _width() -> int | None:
    """Columns of stdout: the terminal's, or what COLUMNS says; wide where neither says anything, since a
    table in a file needs no folding."""
    return None if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit() else 200


def prose(text: str) -> None:
    """A sentence or more on stdout, broken between words where a line ends."""
    Output(highlight=False, width=_width(), markup=False).print(text)


def print_fields(rows: Iterable[tuple[str, str]]) -> None:
    """Names and what they are, on stdout; a text that is too long goes on below its beginning."""
    listed = list(rows)
    width = max([17, *(len(name) + 2 for name, _ in listed)])
    columns = Output(width=_width()).width
    for name, text in listed:
        first, *more = textwrap.wrap(text, max(columns - width - 2, 20), drop_whitespace=False) or [""]
        print(f"  {name:<{width}}{first}".rstrip())
        for line in more:
            print(" " * (width + 2) + line.strip())


def explanation(problem: Problem, definition: str) -> None:
    """A problem as numbers, for people."""
    prose(f"{problem.kind.replace('_', ' ')}: {definition}.")
    ratio = problem.ratio_to_standard
    comparison = "the same as" if ratio == 1 else f"1/{units.significant(1 / ratio)} of"
    print_fields(
        [
            ("input", f"{_shape(problem.input_shape)}   (batch, channels, height, width)"),
            *(
                (
                    "weight",
                    f"{_shape(shape)}   (out, in / groups, kernel height, width)",
                )
                for shape in problem.weight_shapes
            ),
            ("output", _shape(problem.output_shape)),
            *padding_line(problem, "torch"),
            ("parameters", f"{problem.parameters:,}"),
            ("MACs", f"{problem.macs:,}   ({problem.flops:,} FLOPs; bias is not counted)"),
            ("minimum traffic", f"{problem.minimum_bytes(4):,} bytes in float32"),
            (
                "against standard",
                (
                    f"{comparison} the MACs of a "
                    f"{'x'.join(map(str, problem.standard.kernel_size))} standard convolution"
                ),
            ),
        ]
    )


def padding_line(problem: Problem, implementation: str) -> list[tuple[str, str]]:
    """What is padded, and by whom, where it is uneven."""
    if len(problem.padding) == 2:
        return []
    left, right, top, bottom = problem.pads
    sides = f"{top} above, {bottom} below, {left} left, {right} right"
    from harness.analysis.labels import padding_by  # with pandas, as above

    return [("padding", f"{sides}   ({padding_by(implementation)})")]


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def as_arguments(problem: Problem, setting: Setting = DEFAULT) -> str:
    """A problem and a setting as the arguments of `explain` and `measure` that state them; what is default is
    left out."""
    side = 1 if problem.kind == "pointwise" else 3
    odd = all(k % 2 for k in problem.kernel_size)  # an even kernel has no default
    usual = {
        "kernel_size": (side, side),
        "stride": (1, 1),
        "padding": centred_padding(problem.kernel_size, problem.dilation) if odd else None,
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
        square = problem.height == problem.width
        stated.append(
            f"--size {problem.height}" if square else f"--height {problem.height} --width {problem.width}"
        )
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
