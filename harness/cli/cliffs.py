"""The command `cliffs`. It translates, calls and prints, as those of `main`."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from harness.cli.options import (
    json_option,
    problem_options,
    python_option,
    setting_of,
    setting_options,
    split_device,
    wait_option,
)
from harness.core.case import ALLOWED
from harness.core.errors import UsageError
from harness.core.problem import FIELDS, KINDS

LARGEST = 65_536  # of a range: every value of it is a case that may be measured


class Range(click.ParamType["range"]):
    """`32:512` or `32:512:16`, both ends included."""

    name = "first:last"

    def convert(self, value: Any, _param: click.Parameter | None, _ctx: click.Context | None) -> range:
        """Raises UsageError."""
        parts = [int(part) if part.isdecimal() else 0 for part in str(value).split(":")]
        if len(parts) not in (2, 3) or min(parts) < 1 or not parts[0] < parts[1] <= LARGEST:
            raise UsageError(
                f"{value!r} is no range",
                where="--range",
                hint=f"Write first:last or first:last:step, up to {LARGEST:,}: 32:512:16.",
            )
        return range(parts[0], parts[1] + 1, *parts[2:])


@click.command()
@click.option(
    "--axis",
    default="in_channels",
    show_default=True,
    help="Axis to search: in_channels, size, batch, groups, ...",
)
@click.option(
    "--range",
    "values",
    type=Range(),
    default="32:512",
    show_default=True,
    help="First value, last value and an optional step.",
)
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice(KINDS),
    default=("standard",),
    show_default=True,
    help="One or several.",
)
@problem_options()
@setting_options("memory_format")
@click.option(
    "--memory-format",
    "layouts",
    multiple=True,
    type=click.Choice(ALLOWED["memory_format"]),
    default=("contiguous",),
    show_default=True,
    help="One or both: with both each kind is searched in each.",
)
@click.option(
    "--time-limit",
    "time_limit_s",
    type=float,
    default=180.0,
    show_default=True,
    metavar="SECONDS",
    help="Start no new step after this many seconds.",
)
@python_option
@wait_option
@json_option
def cliffs(
    axis: str,
    values: range,
    kinds: tuple[str, ...],
    layouts: tuple[str, ...],
    time_limit_s: float,
    python: str | None,
    wait: bool,
    as_json: bool,
    **arguments: Any,
) -> None:
    """Search an axis for jumps in latency, or for the point where two kinds or layouts cross, and name the
    cause. Writes no file.

    \b
    Examples:  convscope cliffs --axis in_channels --range 32:512
               convscope cliffs --axis batch --range 1:32 --kind pointwise --in 64 --size 28 --threads 1
               convscope cliffs --axis in_channels --range 16:256:8 --kind standard --kind depthwise_separable
               convscope cliffs --axis groups --range 1:128 --in 128 --memory-format contiguous \\
                   --memory-format channels_last
    """
    from harness.output import cliffs_text
    from harness.output.progress_bar import RunProgress
    from harness.run.ad_hoc import ad_hoc_session
    from harness.run.worker_process import default_python
    from harness.tasks.cliff_search import POLICY, curves, search

    fields = {name: arguments[name] for name in (*FIELDS, "size")}
    asked = curves(
        kinds, axis, values, fields, setting_of({**arguments, "memory_format": layouts[0]}), layouts
    )
    ends = time.monotonic() + time_limit_s
    with (
        RunProgress() as progress,
        ad_hoc_session(
            *split_device(arguments["device"]), python or default_python(), wait=wait, listener=progress
        ) as ready,
    ):
        ready.look([cases[max(cases)] for cases in asked.values()], POLICY)
        found = search(
            axis,
            asked,
            lambda cases: ready.measure(cases, POLICY, roofs=False),
            lambda cases: ready.cost_s(cases, POLICY),
            lambda: ends - time.monotonic(),
        )
    if as_json:
        print(json.dumps(cliffs_text.search_as_json(found)))
    else:
        cliffs_text.search(found)


COMMANDS = (cliffs,)
