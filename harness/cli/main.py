"""The command `convscope`: it translates arguments, calls, and prints; nothing is decided here.

Every command imports what it needs when it runs, so that `--help` and `plan` stay quick. stdout is data,
stderr is talk; with --json an answer is one JSON value on stdout, and an error an object. Exit codes: 0 fine,
1 regressed, 2 usage, 3 not comparable, 4 finished but some cases failed, 70 an error of ours, 75 the device
is busy, 130 after Ctrl-C, 141 where nobody reads what it prints. Python and click end with 1 for whatever
they do not know, so `ConvscopeGroup` lets nothing of that kind reach them.
"""

from __future__ import annotations

import errno
import io
import json
import os
import shlex
import sys
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from harness import __version__
from harness.cli import cases, compare, networks
from harness.cli.options import (
    axes_option,
    complete_runs,
    install_signal_handlers,
    json_option,
    python_option,
    quick_option,
    results_option,
    split_device,
    suite_argument,
    time_limit_option,
    wait_option,
)
from harness.core.errors import (
    CasesFailed,
    ConvscopeError,
    InternalError,
    Stopped,
    StorageError,
    SuiteError,
    UsageError,
    nearest,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.plan.axes import Value

EPILOG = (
    "Exit codes: 0 fine, 1 regressed, 2 usage, 3 not comparable, 4 finished but some cases failed, "
    "70 an error of convscope itself, 75 the device is busy, 130 after Ctrl-C, 141 closed pipe."
)
CLOSED_PIPE = 141  # as a shell tells SIGPIPE


class ConvscopeGroup(click.Group):
    """Turns our errors into messages and exit codes, and gives the nearest name for a command that there is
    not."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """As click does; where a sign, as µ, cannot be written, its number is. A stream that was closed
        beforehand takes all and keeps nothing."""
        sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # as stderr has it
        return super().main(*args, **extra)

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **extra: Any) -> click.Context:
        """As click does, ending as a command ends: --help and --version print here."""
        with _ending("--json" in args):
            return super().make_context(info_name, args, *rest, **extra)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does, remembering whether errors are to be objects."""
        ctx.obj = "--json" in args
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; whatever is raised ends with its code and, with --json, as an object."""
        with _ending(bool(ctx.obj)):
            return super().invoke(ctx)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """As click does, with a suggestion."""
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise click.UsageError(
                f"No such command {args[0]!r}. {nearest(args[0], self.list_commands(ctx))}", ctx
            )
        return super().resolve_command(ctx, args)


@contextmanager
def _ending(as_json: bool) -> Iterator[None]:
    """Makes whatever is raised an exit code.

    What was printed is written before the code is given: the interpreter would write it last, and where it
    cannot, end with a code of its own.
    """
    try:
        try:
            yield
        except (click.exceptions.Exit, SystemExit):
            sys.stdout.flush()
            raise
        sys.stdout.flush()
    except (click.exceptions.Exit, SystemExit) as ended:
        if not isinstance(ended.__context__, BrokenPipeError):
            raise
        code = CLOSED_PIPE  # rich would end with 1
    except (Exception, KeyboardInterrupt) as error:
        code = _told(error, as_json)
    else:
        return
    for stream in (sys.stdout, sys.stderr):
        _write_or_drop(stream)
    raise click.exceptions.Exit(code)


def _write_or_drop(stream: TextIO) -> None:
    """Write what a stream holds back; where that cannot be, it goes nowhere, as the documentation of Python's
    signal module advises."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _told(error: BaseException, as_json: bool) -> int:
    """Say what went wrong. Returns the exit code."""
    # stdout or stderr: a worker's pipe has an error of its own, ChannelClosed
    if isinstance(error, BrokenPipeError):
        return CLOSED_PIPE
    shown = _as_ours(error)
    try:
        if isinstance(error, click.UsageError) and not as_json:
            error.show()
        else:
            if isinstance(shown, InternalError):
                traceback.print_exception(error)
            _show_error(shown, as_json)
        sys.stdout.flush()
    except OSError as fault:
        return CLOSED_PIPE if isinstance(fault, BrokenPipeError) else shown.code
    except KeyboardInterrupt:  # a second one
        return Stopped.code
    return shown.code


def _as_ours(error: BaseException) -> ConvscopeError:
    """The error of ours that tells of an error; what none of them tells of is a fault of ours."""
    if isinstance(error, ConvscopeError):
        return error
    if isinstance(error, click.ClickException):
        context = error.ctx if isinstance(error, click.UsageError) else None
        return UsageError(error.format_message(), where=context.command_path if context else "")
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        return Stopped("stopped")
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return StorageError("no space left on the device", where=str(error.filename or ""))
    return InternalError("".join(traceback.format_exception_only(error)).strip())


def _show_error(error: ConvscopeError, as_json: bool) -> None:
    if as_json:
        print(json.dumps(error.as_json()))
        return
    prefix = "" if isinstance(error, (CasesFailed, Stopped)) else "Error: "
    print(prefix + str(error), file=sys.stderr)


def _word(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _versions(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        torch = version("torch")
    except PackageNotFoundError:
        torch = "not installed"
    print(f"convscope {__version__} (torch {torch}, Python {sys.version.partition(' ')[0]})")
    ctx.exit()


@click.group(cls=ConvscopeGroup, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EPILOG)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_versions,
    help="Versions of convscope and torch.",
)
def main() -> None:
    """Measure what the five kinds of 2-D convolution cost on your device, and why.

    \b
    convscope run quickstart              measure, about two minutes
    convscope report last                 the page with charts
    convscope advise --in 128 --out 256   which kind for this shape, in half a minute
    convscope measure depthwise --in 128  one case now
    convscope explain pointwise           what a kind is, in numbers
    convscope ab regression --head-python PATH    did it regress?
    """


for command in (*cases.COMMANDS, *compare.COMMANDS, *networks.COMMANDS):
    main.add_command(command)


@main.command()
@json_option
def suites(as_json: bool) -> None:
    """List the shipped suites and those in ./suites.

    \b
    Example:  convscope suites
    """
    from harness.plan.duration import RUN_START_S, rounds_s
    from harness.plan.points import distinct_cases, expand
    from harness.plan.suite import read_suite, shipped_suites

    rows: list[dict[str, Any]] = []
    for path in shipped_suites():
        try:
            suite = read_suite(path)
            cases = distinct_cases(expand(suite))
            known = {
                "title": suite.title,
                "cases": len(cases),
                "estimated_s": RUN_START_S + rounds_s(suite.policy, cases),
            }
        except UsageError as error:  # one broken suite must not hide the others
            fault = error.faults[0] if isinstance(error, SuiteError) else error.what
            known = {"title": f"unreadable: {fault}", "cases": None, "estimated_s": None}
        rows.append({"name": path.stem, **known, "path": str(path)})
    if as_json:
        print(json.dumps(rows))
        return
    from harness.core import units
    from harness.output import terminal

    counts = [
        ("", "") if r["cases"] is None else (str(r["cases"]), units.duration(r["estimated_s"])) for r in rows
    ]
    terminal.table(
        ["suite", "cases ", "about ", "what it shows"],
        ([r["name"], *c, r["title"]] for r, c in zip(rows, counts, strict=True)),
    )
    print("\nNext: convscope plan NAME, or convscope run NAME")


@main.command()
@suite_argument
@axes_option
@quick_option
@json_option
def plan(suite: str, axes: tuple[tuple[str, tuple[Value, ...]], ...], quick: bool, as_json: bool) -> None:
    """Show what a suite would measure, without measuring: points, cases, skipped points with reasons, time.

    \b
    Examples:  convscope plan channels
               convscope plan channels -a kind=depthwise -a in_channels=32:512:x2
               convscope plan -a kind=standard,depthwise -a in_channels=64 -a size=7,14,28,56
    """
    from collections import Counter

    from harness.plan.duration import RUN_START_S, rounds_s
    from harness.plan.points import distinct_cases, expand, prepare

    asked = prepare(suite, dict(axes), quick=quick)
    points = expand(asked)
    cases = distinct_cases(points)
    reasons = Counter(point.skip_reason for point in points if point.skip_reason)
    estimated_s = RUN_START_S + rounds_s(asked.policy, cases)
    if as_json:
        answer = {
            "suite": asked.name,
            "points": len(points),
            "cases": len(cases),
            "skipped": reasons.total(),
            "reasons": dict(reasons),
        }
        print(json.dumps(answer | {"estimated_s": estimated_s}))
        return
    from harness.core import units
    from harness.output import terminal

    print(asked.title)
    devices = Counter(case.setting.device for case in cases)
    terminal.print_fields(
        [
            ("points", str(len(points))),
            (
                "cases",
                (
                    f"{len(cases)}, each repeated {asked.policy.rounds} to {asked.policy.max_rounds} times "
                    f"for {asked.policy.visit_time_s:g} s"
                ),
            ),
            *(
                (f"on {device}", f"{number} cases" + ("" if device == "cpu" else ", if present"))
                for device, number in devices.items()
            ),
            ("skipped", str(reasons.total())),
            *(("", f"{number} x {reason}") for reason, number in reasons.most_common()),
            (
                "time",
                (
                    f"about {units.duration(estimated_s)}, a survey and {asked.policy.rounds} rounds; "
                    "longer if intervals stay wide"
                ),
            ),
        ]
    )
    stated = [word for name, values in axes for word in ("-a", f"{name}={','.join(map(_word, values))}")]
    print(
        "\nNext: "
        + shlex.join(
            ["convscope", "run", *([suite] if suite else []), *stated, *(["--quick"] if quick else [])]
        )
    )


@main.command()
@suite_argument
@axes_option
@python_option
@results_option
@quick_option
@wait_option
@time_limit_option
@json_option
def run(
    suite: str,
    axes: tuple[tuple[str, tuple[Value, ...]], ...],
    python: str | None,
    results: Path,
    quick: bool,
    wait: bool,
    time_limit_s: float | None,
    as_json: bool,
) -> None:
    """Measure a suite (a name, a file, or axes alone) and keep everything in results/.

    \b
    Examples:  convscope run quickstart
               convscope run mysuite.toml --python ~/cuda/bin/python
               convscope run channels -a device=cuda:1 --time-limit 600
               convscope run -a kind=depthwise,standard -a in_channels=32:512:x2 -a size=56
    """
    from harness.output import terminal
    from harness.output.progress_bar import RunProgress
    from harness.store.results import load_results
    from harness.tasks.sweep import sweep

    install_signal_handlers()
    progress = RunProgress()
    progress.say_machine()
    try:
        with progress:
            done = sweep(
                suite,
                axes=dict(axes),
                results=results,
                python=python,
                quick=quick,
                time_limit_s=time_limit_s,
                wait=wait,
                listener=progress,
            )
    except (CasesFailed, Stopped) as error:
        if progress.run is None:
            raise
        if as_json:
            print(json.dumps(_run_answer(progress.run)))
            sys.exit(error.code)
        terminal.run_summary(load_results(progress.run), progress.run)
        raise
    if as_json:
        print(json.dumps(_run_answer(progress.run)))
        return
    assert progress.run is not None
    terminal.run_summary(done, progress.run)


def _run_answer(path: Path | None) -> dict[str, Any]:
    """What `run --json` answers: how it ended, how many cases came to what, and what was found."""
    from dataclasses import asdict

    from harness.analysis.findings import findings
    from harness.store.results import load_results

    assert path is not None
    loaded = load_results(path, samples=False)
    header = loaded.runs[0]
    answer = {
        "run_id": header["run_id"],
        "path": str(path),
        "state": header["state"],
        "quick": header["quick"],
        "visits": len(loaded.visits),
    }
    cases = {str(status): int(count) for status, count in loaded.summary["status"].value_counts().items()}
    return answer | {
        "cases": cases,
        "findings": [asdict(finding) for finding in findings(loaded.summary, loaded.visits)],
    }


@main.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", shell_complete=complete_runs)
@results_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write.  [default: reports/<run_id>.html]",
)
@json_option
def report(runs: tuple[str, ...], results: Path, out: Path | None, as_json: bool) -> None:
    """Write an HTML report of one or several runs, each an id, a unique prefix, a path, or last.

    \b
    Examples:  convscope report last
               convscope report 20261124T095503 --out five-kinds.html
    """
    from harness.output.report import write_report
    from harness.store.results import load_results

    loaded = load_results(*runs, results=results)
    path = write_report(
        loaded,
        out
        if out is not None
        else Path("reports") / f"{'-and-'.join(run['run_id'] for run in loaded.runs[:3])}.html",
    )
    if as_json:
        print(json.dumps({"path": str(path), "runs": [run["run_id"] for run in loaded.runs]}))
        return
    print(f"Report written to {path}. Open it in a browser.")


@main.command(name="results")
@results_option
@json_option
def list_results(results: Path, as_json: bool) -> None:
    """List the runs in results/, oldest first.

    \b
    Example:  convscope results
    """
    from harness.store.run_folder import read_header, run_folders

    rows = []
    for path in run_folders(results):
        try:
            header = read_header(path)
            rows.append(
                {
                    "run_id": header["run_id"],
                    "suite": header["suite"]["name"],
                    "state": header["state"],
                    "quick": header["quick"],
                }
            )
        except StorageError as error:  # one broken run must not hide the others
            rows.append(
                {"run_id": path.name, "suite": None, "state": f"unreadable: {error.what}", "quick": False}
            )
        rows[-1]["path"] = str(path)
    if as_json:
        print(json.dumps(rows))
        return
    if not rows:
        print(f"No run in {results} yet.\nNext: convscope run quickstart")
        return
    from harness.output import terminal

    terminal.table(
        ["run", "suite", "state"],
        ([r["run_id"], r["suite"] or "?", r["state"] + (", quick" if r["quick"] else "")] for r in rows),
    )
    print(f"\nNext: convscope report {rows[-1]['run_id']}")


@main.command()
@click.option("--strict", is_flag=True, help="Exit with code 4 if there is a warning, for CI.")
@click.option("--probe", metavar="DEVICE", help="Use a GPU (cuda:0) for two seconds to detect other users.")
@python_option
@json_option
def doctor(strict: bool, probe: str | None, python: str | None, as_json: bool) -> None:
    """Check whether this machine is fit to measure on: what disturbs measurements, and how to fix it.

    \b
    Examples:  convscope doctor
               convscope doctor --strict
               convscope doctor --probe cuda:0
    """
    from dataclasses import asdict

    from harness.run.doctor import examine, in_short

    checks = examine()
    if probe:
        from harness.tasks.gpu_tenants import tenants

        checks.append(tenants(*split_device(probe), python))
    if as_json:
        print(json.dumps([asdict(check) for check in checks]))
    else:
        from harness.output import terminal

        terminal.table(
            ["check", "state", "found", "what to do"],
            ([c.name, terminal.STATE_SIGNS[c.state], c.found, c.advice] for c in checks),
        )
        print(f"\n{in_short(checks)}\nNext: convscope run quickstart")
    if strict and any(check.state == "warning" for check in checks):
        sys.exit(CasesFailed.code)
