"""The commands that compare: `ab`, `compare`, `baseline`, `export`. They translate, call and print, as those
of `main` do."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.options import (
    add_to_history,
    add_to_option,
    anchor_options,
    axes_option,
    complete_runs,
    install_signal_handlers,
    json_option,
    measuring_options,
    require_alone,
    results_option,
    resume_option,
    store_option,
    suite_argument,
    write,
)
from harness.core.errors import CasesFailed, UsageError
from harness.core.gate import ORDERS, SIDES, VERDICTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.analysis.comparison import Comparison
    from harness.plan.axes import Value
    from harness.tasks.sides import Side


class SideAxis(click.ParamType[tuple[str, "Value"]]):
    """`axis=value`, of one side."""

    name = "axis=value"

    def convert(
        self, value: Any, param: click.Parameter | None, _ctx: click.Context | None
    ) -> tuple[str, Value]:
        """As `axes.parse_single` reads it."""
        from harness.plan.axes import parse_single

        return value if isinstance(value, tuple) else parse_single(value, param.opts[0] if param else "-a")


class Share(click.ParamType[float]):
    """A share of something: 3% or 0.03."""

    name = "3%"

    def convert(self, value: Any, _param: click.Parameter | None, _ctx: click.Context | None) -> float:
        """Raises UsageError for what is none."""
        text = str(value)
        try:
            share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            share = -1.0
        if not 0 <= share < 1:
            raise UsageError(
                f"{text!r} is no share from 0 up to 100 %", where="--tolerance", hint="Write 3% or 0.03."
            )
        return share


def _shown(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of how a comparison is shown."""
    for option in reversed(
        [
            click.option(
                "--only",
                type=click.Choice(VERDICTS),
                help="Show only these rows; the exit code does not change.",
            ),
            click.option("--md", "form", flag_value="md", default=None, help="Markdown, for a job summary."),
            click.option("--junit", "form", flag_value="junit", help="JUnit XML: a regression is a failure."),
            json_option,
        ]
    ):
        command = option(command)
    return command


def _sides(asked: dict[str, Any]) -> tuple[Side, Side]:
    """What is said of base and head, taken out of the options."""
    from harness.tasks.sides import Side

    base, head = (
        Side(
            asked.pop(f"{side}_python"), asked.pop(f"{side}_implementation"), dict(asked.pop(f"{side}_axes"))
        )
        for side in SIDES
    )
    return base, replace(head, python=head.python or base.python)


@click.command()
@suite_argument
@click.option(
    "--base-python",
    metavar="PATH",
    help="Interpreter of the base.  [default: CONVSCOPE_PYTHON, else this one]",
)
@click.option("--head-python", metavar="PATH", help="Interpreter of the head.  [default: the same]")
@click.option(
    "--base-implementation", metavar="NAME", help="torch, native, linear, ..., or module:attribute."
)
@click.option("--head-implementation", metavar="NAME", help="The same for the head.")
@click.option(
    "--base", "base_axes", multiple=True, type=SideAxis(), help="An axis of the base alone: dtype=float32."
)
@click.option("--head", "head_axes", multiple=True, type=SideAxis(), help="The same for the head.")
@click.option(
    "--order",
    "how",
    type=click.Choice(ORDERS),
    default="turns",
    show_default=True,
    help="How the two sides alternate.",
)
@axes_option
@resume_option
@measuring_options("python")
@add_to_option
@anchor_options
@_shown
def ab(
    suite: str,
    axes: tuple[tuple[str, tuple[Value, ...]], ...],
    resume: str | None,
    results: Path,
    only: str | None,
    form: str | None,
    as_json: bool,
    store: str | None,
    anchor: str | None,
    joins: str | None,
    **asked: Any,
) -> None:
    """Measure two interpreters, implementations or settings side by side and report regressions.

    Each pair is two fresh processes that take turns, so other load disturbs both alike. A case that looks
    different after five pairs is measured again before it is reported. --base and --head set any axis but
    the device; where one side alone sets it, the other has the suite's own value. If nothing differs, the
    answer shows what the machine does by itself. With --store the run joins a history, which follows the
    ratio to the base.

    \b
    Examples:  convscope ab regression --base-python old/bin/python --head-python new/bin/python
               convscope ab regression --head-implementation mykernels:depthwise -a kind=depthwise
               convscope ab channels --head memory_format=channels_last
               convscope ab -a kind=standard -a in_channels=128 -a size=56 --head groups=4
               convscope ab --resume last
    """
    from harness.output.progress_bar import RunProgress
    from harness.tasks.ab import ab as measure_ab
    from harness.tasks.compare import compare as compare_runs
    from harness.tasks.resume import resume as resume_run
    from harness.tasks.sides import Side

    base, head = _sides(asked)
    if resume:
        require_alone("--resume", suite, axes, base != Side(), head != Side(), asked["quick"])
    install_signal_handlers()
    with RunProgress() as progress:
        progress.say_machine()
        try:
            if resume:
                going_on = {name: asked[name] for name in ("wait", "time_limit_s")}
                resume_run(resume, sort="ab", results=results, listener=progress, **going_on)
            else:
                measure_ab(suite, base, head, axes=dict(axes), results=results, listener=progress, **asked)
        except CasesFailed as error:
            progress.say(str(error))
    assert progress.run is not None
    progress.say(f"Kept in {progress.run}.")
    if store:
        add_to_history(progress.run, store, anchor=anchor, joins=joins)
    _show(compare_runs(progress.run, results=results), only, "json" if as_json else form)


@click.command()
@click.argument("base", metavar="BASE", shell_complete=complete_runs)
@click.argument("head", required=False, metavar="[HEAD]", shell_complete=complete_runs)
@results_option
@click.option("--metric", type=click.Choice(["latency_s", "peak_bytes"]), help="Judge only this metric.")
@click.option(
    "--tolerance",
    type=Share(),
    help="Slowdown that still counts as same: 3% or 0.03.  [default: from the suite's gate]",
)
@click.option("--create", is_flag=True, help="Save HEAD as this baseline if none matches.")
@click.option("--force", is_flag=True, help="Compare even if method or policy differ; the answer says so.")
@store_option
@_shown
def compare(
    base: str,
    head: str | None,
    results: Path,
    only: str | None,
    form: str | None,
    as_json: bool,
    **asked: Any,
) -> None:
    """Compare a run with another run or a baseline, or judge an A/B run again. Worst first.

    BASE is a baseline or a run, HEAD is a run. Give one A/B run alone.

    \b
    Examples:  convscope compare main last
               convscope compare main last --create --md
               convscope compare last --tolerance 3% --only regressed
    """
    from harness.tasks.compare import compare as compare_runs

    _show(compare_runs(base, head, results=results, **asked), only, "json" if as_json else form)


def _show(comparison: Comparison, only: str | None, form: str | None) -> None:
    """Print a comparison, and end with its exit code."""
    from harness.output import terminal, verdict_text
    from harness.output.exports import junit, markdown

    comparison = replace(comparison, only=only)
    if form == "json":
        print(json.dumps(verdict_text.as_json(comparison)))
    elif form:
        print(markdown.render(comparison) if form == "md" else junit.render(comparison), end="")
    else:
        terminal.comparison(comparison)
    sys.exit(comparison.code)


@click.group()
def baseline() -> None:
    """Runs with a name, to compare later ones with.

    \b
    Examples:  convscope baseline save main last
               convscope compare main last
    """


@baseline.command(name="save")
@click.argument("name")
@click.argument("run", default="last", shell_complete=complete_runs)
@results_option
@json_option
def save_baseline(name: str, run: str, results: Path, as_json: bool) -> None:
    """Save a run under a name. Keep one per environment; saving again adds a run and replaces none.

    \b
    Example:  convscope baseline save main last
    """
    from harness.store import baselines
    from harness.store.results import load_results
    from harness.store.run_folder import find_run

    path = baselines.save(name, load_results(run, results=results), find_run(run, results), results)
    if as_json:
        print(json.dumps({"name": name, "path": str(path)}))
        return
    print(f"Kept as {name}: {path}\nNext: convscope compare {name} RUN")


@baseline.command(name="list")
@results_option
@json_option
def list_baselines(results: Path, as_json: bool) -> None:
    """List the saved baselines.

    \b
    Example:  convscope baseline list
    """
    from harness.output import terminal
    from harness.store import baselines

    rows = baselines.saved(results)
    if as_json:
        print(json.dumps(rows))
    elif not rows:
        print(f"No baseline in {results} yet.\nNext: convscope baseline save main last")
    else:
        terminal.table(
            ["name", "run", "suite", "CPU", "torch"],
            ([str(r[n]) for n in ("name", "run_id", "suite", "cpu", "torch")] for r in rows),
        )


@baseline.command(name="show")
@click.argument("name")
@results_option
@json_option
def show_baseline(name: str, results: Path, as_json: bool) -> None:
    """Show the runs of a baseline and the environments they were measured in.

    \b
    Example:  convscope baseline show main
    """
    from harness.analysis.comparability import facts
    from harness.core.errors import nearest
    from harness.output import terminal
    from harness.store import baselines
    from harness.store.results import load_results

    rows = [row for row in baselines.saved(results) if row["name"] == name]
    if not rows:
        names = sorted({row["name"] for row in baselines.saved(results)})
        raise UsageError(
            "there is no such baseline",
            where=name,
            hint=nearest(name, names) if names else f"Make it: convscope baseline save {name} last",
        )
    runs = [load_results(row["path"]) for row in rows]
    if as_json:
        print(
            json.dumps(
                [
                    row | {"environment": facts(run.runs[0], "main"), "cases": len(run.summary)}
                    for row, run in zip(rows, runs, strict=True)
                ]
            )
        )
        return
    for row, run in zip(rows, runs, strict=True):
        print(f"{name}: {row['run_id']}, {len(run.summary)} cases of {row['suite']}")
        terminal.print_fields(
            (fact, str(value)) for fact, value in facts(run.runs[0], "main").items() if value is not None
        )


@click.command()
@click.argument("run", default="last", shell_complete=complete_runs)
@click.option(
    "--to",
    "form",
    type=click.Choice(["pytest-benchmark", "smaller-is-better"]),
    required=True,
    help="The format.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="File to write.  [default: stdout]"
)
@results_option
def export(run: str, form: str, out: Path | None, results: Path) -> None:
    """Write a run in another tool's format.

    \b
    Examples:  convscope export last --to pytest-benchmark --out bench.json
               convscope export last --to smaller-is-better
    """
    from harness.output.exports import pytest_benchmark, smaller_is_better
    from harness.store.results import load_results

    loaded = load_results(run, results=results)
    if loaded.arms != {"main"} or loaded.visits.empty:
        raise UsageError(
            "holds several arms, or no visit",
            where=loaded.runs[0]["run_id"],
            hint="Export a run of `convscope run`.",
        )
    text = (pytest_benchmark if form == "pytest-benchmark" else smaller_is_better).render(loaded)
    if out is None:
        print(text, end="")
        return
    write(out, text)
    print(f"Written to {out}.", file=sys.stderr)


COMMANDS = (ab, compare, baseline, export)
