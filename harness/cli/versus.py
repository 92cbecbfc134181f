"""The command that ranks several arms."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from harness.cli.options import (
    axes_option,
    complete_runs,
    install_signal_handlers,
    json_option,
    measuring_options,
    require_alone,
    resume_option,
    suite_argument,
)
from harness.core.errors import CasesFailed, NotComparable, UsageError, nearest

if TYPE_CHECKING:
    from collections.abc import Collection

    from harness.plan.axes import Value
    from harness.store.results import Results
    from harness.tasks.sides import Side


class ArmOption(click.ParamType[tuple[str, "Side"]]):
    """An arm, as `versus.parse_arm` reads it."""

    name = "name:axis=value,..."

    def convert(
        self, value: Any, _param: click.Parameter | None, _ctx: click.Context | None
    ) -> tuple[str, Side]:
        """Raises UsageError."""
        from harness.tasks.versus import parse_arm

        return value if isinstance(value, tuple) else parse_arm(value)


@click.command()
@suite_argument
@click.option(
    "--arm",
    "arms",
    multiple=True,
    type=ArmOption(),
    help="An arm: nhwc:memory_format=channels_last, old:python=PATH, usual: for the suite as it is.",
)
@click.option("--reference", metavar="ARM", help="Tell ratios to this arm, in place of the fastest.")
@click.option(
    "--pairs",
    type=click.IntRange(3),
    default=12,
    show_default=True,
    help="Times that all arms measure a case.",
)
@axes_option
@resume_option
@click.option("--of", "run", metavar="RUN", shell_complete=complete_runs, help="Rank a kept run again.")
@measuring_options("python", "quick")
@json_option
def versus(
    suite: str,
    arms: tuple[tuple[str, Side], ...],
    reference: str | None,
    axes: tuple[tuple[str, tuple[Value, ...]], ...],
    resume: str | None,
    run: str | None,
    as_json: bool,
    **asked: Any,
) -> None:
    """Measure several interpreters, implementations or settings in turns and rank them, case by case.

    An arm has a name, and any axes but the device; `python=PATH` is its interpreter. All arms take turns, so
    other load disturbs them alike. Without a suite, -a states the layer.

    \b
    Examples:  convscope versus -a kind=depthwise -a in_channels=128 -a size=56 --arm nchw:
                   --arm nhwc:memory_format=channels_last --arm bf16:dtype=bfloat16
               convscope versus regression --arm old:python=old/bin/python --arm new:python=new/bin/python
               convscope versus --resume last
               convscope versus --of last --json
    """
    from harness.output import ranking_text, terminal
    from harness.store.results import load_results
    from harness.tasks.versus import about, ranked

    sides = dict(arms)
    if len(sides) < len(arms):
        raise UsageError("two arms have one name", where="--arm", hint="Write name: before the axes.")
    if resume:
        require_alone("--resume", suite, arms, axes, run)
    if run is None:
        if not resume:
            _require_arm(reference, sides)
        found, failed = _measured(sides, suite, dict(axes), resume, asked)
        _require_arm(reference, found.runs[0]["arms"])
    elif suite or arms or axes:
        raise UsageError(
            "shows a run that is kept, and measures nothing", where="--of", hint="Give it alone."
        )
    else:
        found, failed = load_results(run, results=asked["results"], samples=False), False
        _require_arm(reference, found.runs[0]["arms"])
    rankings = ranked(found)
    if as_json:
        print(json.dumps(ranking_text.as_json(found.runs[0], rankings)))
    else:
        terminal.rankings(rankings, about(found), reference)
    if failed or not rankings:
        sys.exit(CasesFailed.code if failed else NotComparable.code)


def _require_arm(reference: str | None, arms: Collection[str]) -> None:
    if reference is not None and reference not in arms:
        hint = nearest(reference, arms)
        raise UsageError(f"there is no arm {reference!r}", where="--reference", hint=hint)


def _measured(
    sides: dict[str, Side],
    suite: str,
    axes: dict[str, tuple[Value, ...]],
    resume: str | None,
    asked: dict[str, Any],
) -> tuple[Results, bool]:
    """A run that is made now, or goes on now, and whether a case failed in it."""
    from harness.output.progress_bar import RunProgress
    from harness.store.results import load_results
    from harness.tasks.resume import resume as resume_run
    from harness.tasks.versus import versus as measure

    install_signal_handlers()
    failed = False
    with RunProgress() as progress:
        progress.say_machine()
        try:
            if resume:
                going_on = {name: value for name, value in asked.items() if name != "pairs"}
                found = resume_run(resume, sort="versus", listener=progress, **going_on)
            else:
                found = measure(sides, suite, axes=axes, listener=progress, **asked)
        except CasesFailed as error:
            progress.say(str(error))
            found, failed = load_results(error.where), True
    progress.say(f"Kept in {progress.run}.")
    return found, failed


COMMANDS = (versus,)
