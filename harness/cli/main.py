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
import sys
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import click

from harness import __version__
from harness.cli import cases, cliffs, compare, history, machines, networks, plan, run, runs, versus
from harness.core.errors import (
    CasesFailed,
    ConvscopeError,
    InternalError,
    Stopped,
    StorageError,
    UsageError,
    nearest,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


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
    convscope run quickstart              measure, about 90 s
    convscope report last                 the page with charts
    convscope advise --in 128 --out 256   which kind for this shape, in 10 to 20 s
    convscope measure depthwise --in 128  one case now
    convscope explain pointwise           what a kind is, in numbers
    convscope ab regression --head-python PATH    did it regress?
    convscope ab channels --head dtype=bfloat16   does a setting help?
    convscope history --store history     what changed over many runs?
    """


for module in (plan, run, runs, machines, cases, cliffs, compare, versus, networks, history):
    for command in module.COMMANDS:
        main.add_command(command)
