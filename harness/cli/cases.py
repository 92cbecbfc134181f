"""The commands about cases and shapes: `measure`, `explain`, `advise`, `repro`. They translate,
call and print, as those of `main`."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from harness.cli.options import (
    json_option,
    kind_argument,
    problem_options,
    python_option,
    results_option,
    setting_of,
    setting_options,
    split_device,
    wait_option,
    write,
)
from harness.core.errors import CasesFailed, UsageError
from harness.core.problem import DEFINITIONS, FIELDS, KINDS, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.core.case import Case
    from harness.tasks.measure import Measurement

CASE_ID = re.compile(r"[0-9a-f]{4,16}")
UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}
SCALES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}


class Duration(click.ParamType[float]):
    """`200us`, `1.5ms`: seconds."""

    name = "time"

    def convert(self, value: Any, _param: click.Parameter | None, _ctx: click.Context | None) -> float:
        """Raises UsageError."""
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?(ns|us|µs|ms|s)", str(value))
        if not found or not float(found[1]):
            raise UsageError(
                f"{value!r} is no time", where="--budget-latency", hint="Write 200us, 1.5ms or 1s."
            )
        return float(found[1]) * UNITS[found[2]]


class Count(click.ParamType[int]):
    """`500000`, `500k`."""

    name = "number"

    def convert(self, value: Any, _param: click.Parameter | None, _ctx: click.Context | None) -> int:
        """Raises UsageError."""
        found = re.fullmatch(r"([0-9]+)([kMG]?)", str(value))
        if not found:
            raise UsageError(
                f"{value!r} is no number", where="--budget-params", hint="Write 500000, 500k or 2M."
            )
        return int(found[1]) * SCALES[found[2]]


what_argument = click.argument(
    "what",
    metavar="KIND|CASE",
    shell_complete=lambda _c, _p, text: [kind for kind in KINDS if kind.startswith(text)],
)


def _problem(kind: str, arguments: Mapping[str, Any]) -> Problem:
    return Problem(kind, **{name: arguments[name] for name in (*FIELDS, "size")})


def _measured(problem: Problem, arguments: Mapping[str, Any], python: str | None, wait: bool) -> Measurement:
    from harness.output.progress_bar import RunProgress
    from harness.tasks.measure import measure as measure_case

    _, index = split_device(arguments["device"])
    with RunProgress() as progress:
        return measure_case(
            problem, setting_of(arguments), device_index=index, python=python, wait=wait, listener=progress
        )


def _numbers(problem: Problem) -> dict[str, Any]:
    names = ("kind", "input_shape", "weight_shapes", "output_shape", "parameters", "macs", "flops")
    return {name: getattr(problem, name) for name in names} | {
        "minimum_bytes": problem.minimum_bytes(4),
        "ratio_to_standard": problem.ratio_to_standard,
    }


@click.command()
@kind_argument
@problem_options()
@setting_options()
@python_option
@wait_option
@json_option
def measure(kind: str, python: str | None, wait: bool, as_json: bool, **arguments: Any) -> None:
    """Measure one case now: latency with its confidence interval, memory, trust, both allocators. Writes no
    file.

    \b
    Examples:  convscope measure depthwise --in 128
               convscope measure standard --in 64 --out 128 --stride 2 --memory-format channels_last
    """
    problem = _problem(kind, arguments)
    measured = _measured(problem, arguments, python, wait)
    if as_json:
        print(json.dumps(measured.as_json()))
    else:
        from harness.output import answers, terminal

        answers.measurement(measured.case, measured.row, measured.other)
        print(f"Next: convscope explain {terminal.as_arguments(problem, measured.case.setting)} --measure")
    _require_figure(measured.row)


def _require_figure(row: Mapping[str, Any]) -> None:
    if row["status"] not in ("ok", "skipped"):
        sys.exit(CasesFailed.code)


@click.command()
@what_argument
@problem_options()
@setting_options()
@click.option("--measure", "wanted", is_flag=True, help="Measure it too, and show where its time goes.")
@python_option
@wait_option
@results_option
@json_option
def explain(
    what: str, wanted: bool, python: str | None, wait: bool, results: Path, as_json: bool, **arguments: Any
) -> None:
    """Explain a kind: shapes, parameters and MACs of a problem; or show everything known about a case in
    results/, by its id.

    \b
    Examples:  convscope explain depthwise_separable --in 64 --out 128
               convscope explain grouped --in 64 --out 128 --groups 4 --measure
               convscope explain ca9784bd
    """
    measured: Measurement | None = None
    if CASE_ID.fullmatch(what):
        from harness.tasks.measure import Measurement

        case, row, other, _ = _kept(what, results, {**arguments, "wanted": wanted})
        problem, measured = case.problem, Measurement(case, row, other)
    else:
        problem = _problem(what, arguments)
        measured = _measured(problem, arguments, python, wait) if wanted else None
    if as_json:
        print(json.dumps(_numbers(problem) | ({} if measured is None else {"measured": measured.as_json()})))
    else:
        _explain(problem, measured, kept=what if CASE_ID.fullmatch(what) else None)
    if measured:
        _require_figure(measured.row)


def _explain(problem: Problem, measured: Measurement | None, *, kept: str | None) -> None:
    """The kind in numbers, and what it costs where that is known. `kept`: the id of a case in results/, whose
    script carries its figure."""
    from harness.output import terminal

    if measured is None:
        terminal.explanation(problem, DEFINITIONS[problem.kind])
        print(f"\nNext: convscope explain {terminal.as_arguments(problem)} --measure")
        return
    from harness.output import answers

    answers.measurement(measured.case, measured.row, measured.other, in_full=True)
    print()
    terminal.explanation(problem, DEFINITIONS[problem.kind])
    print(f"Next: convscope repro {kept or terminal.as_arguments(problem, measured.case.setting)}")


def _kept(
    identity: str, results: Path, arguments: Mapping[str, Any]
) -> tuple[Case, dict[str, Any], dict[str, Any] | None, dict[str, Any]]:
    """A case of the newest run that has it: case, row, the row under the other allocator where that was a
    case too, and its environment.

    Raises UsageError where there is none, and for `arguments` that were stated beside it.
    """
    from harness.core.case import Case

    context = click.get_current_context()
    flags = {option.name: option.opts[0] for option in context.command.params}
    stated = [
        flags[name] for name in arguments if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    if stated:
        what = "a measured case already has its shape and setting"
        raise UsageError(what, where=stated[0], hint="Give a kind in its place, or leave the option out.")
    from harness.store.results import as_json_values, find_case

    run, row = find_case(identity, results)
    case = Case.from_row(row)
    rest = run.summary[(run.summary["arm"] == row["arm"]) & (run.summary["allocator"] != row["allocator"])]
    others = [
        other
        for other in rest.to_dict("records")
        if Case.from_row(other | {"allocator": row["allocator"]}) == case
    ]
    environment = run.runs[0]["environments"][row["environment_id"]]
    return case, as_json_values(row), as_json_values(others[0]) if others else None, environment


@click.command()
@what_argument
@problem_options()
@setting_options()
@click.option(
    "--file", "out", type=click.Path(path_type=Path, dir_okay=False), help="File to write.  [default: stdout]"
)
@results_option
@json_option
def repro(what: str, out: Path | None, results: Path, as_json: bool, **arguments: Any) -> None:
    """Write a case as a script that needs only torch, for a bug report. For a case in results/ it includes
    the latency and environment.

    \b
    Examples:  convscope repro depthwise --in 128 --file repro.py
               convscope repro ca9784bd
    """
    from harness.core.case import Case
    from harness.tasks.repro import benchdnn, script

    if CASE_ID.fullmatch(what):
        case, row, _, environment = _kept(what, results, arguments)
        text = script(case, row, environment)
    else:
        case = Case(_problem(what, arguments), setting_of(arguments))
        text = script(case, None, None)
    if out is not None:
        write(out, text)
    if as_json:
        print(
            json.dumps(
                {"script": text, "benchdnn": benchdnn(case), "path": None if out is None else str(out)}
            )
        )
    elif out is None:
        print(text, end="")
    else:
        print(f"{case.label} is written to {out}. It needs only torch.\nNext: python {out}")


@click.command()
@problem_options("groups")
@setting_options("memory_format", "implementation", "allocator")
@click.option("--budget-params", "most_parameters", type=Count(), help="Maximum number of parameters: 500k.")
@click.option(
    "--budget-latency",
    "most_s",
    type=Duration(),
    help="Maximum latency: 200us. Recommends the candidate with most parameters that fits.",
)
@python_option
@wait_option
@json_option
def advise(
    most_parameters: int | None,
    most_s: float | None,
    python: str | None,
    wait: bool,
    as_json: bool,
    **arguments: Any,
) -> None:
    """Recommend a kind for a shape: measures the five kinds in both layouts now. Writes no file.

    Takes 10 to 20 s for calls of milliseconds.

    \b
    Examples:  convscope advise --in 128 --out 256 --size 56 --kernel 3
               convscope advise --in 64 --size 112 --stride 2 --budget-latency 300us
    """
    from harness.output import answers
    from harness.output.progress_bar import RunProgress
    from harness.run.ad_hoc import ad_hoc_session
    from harness.run.worker_process import default_python
    from harness.tasks.advise import advise as advised
    from harness.tasks.advise import candidates

    shape = {name: arguments[name] for name in (*FIELDS, "size") if name in arguments}
    cases, left = candidates(shape, setting_of(arguments))
    with (
        RunProgress() as progress,
        ad_hoc_session(
            *split_device(arguments["device"]), python or default_python(), wait=wait, listener=progress
        ) as ready,
    ):
        advice = advised(ready, cases, left, most_parameters=most_parameters, most_s=most_s)
    if as_json:
        print(json.dumps(answers.advice_as_json(advice)))
    else:
        answers.advice(advice)
    if advice.failed:
        sys.exit(CasesFailed.code)


COMMANDS = (measure, explain, advise, repro)
