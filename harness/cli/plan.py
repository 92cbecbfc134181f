"""The command that plans a suite. It translates, calls and prints, as those of `main` do."""

from __future__ import annotations

import json
import shlex
import sys
from typing import TYPE_CHECKING, Any

import click

from harness.cli.options import (
    axes_option,
    each_option,
    json_option,
    on_option,
    python_option,
    quick_option,
    suite_argument,
)
from harness.core.errors import UsageError

if TYPE_CHECKING:
    from collections import Counter

    from harness.core.case import Case
    from harness.core.policy import Policy
    from harness.plan.axes import Value
    from harness.plan.points import Point
    from harness.tasks.cluster_sweep import Share


def _word(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@click.command()
@suite_argument
@axes_option
@on_option
@each_option
@python_option
@quick_option
@json_option
def plan(
    suite: str,
    axes: tuple[tuple[str, tuple[Value, ...]], ...],
    on: str | None,
    each: bool,
    python: str | None,
    quick: bool,
    as_json: bool,
) -> None:
    """Show what a suite would measure, without measuring: points, cases, skipped points with reasons, time;
    with --on, which devices share it.

    \b
    Examples:  convscope plan channels
               convscope plan channels -a kind=depthwise -a in_channels=32:512:x2
               convscope plan -a kind=standard,depthwise -a in_channels=64 -a size=7,14,28,56
               convscope plan channels --on ray://head:10001
    """
    from collections import Counter

    from harness.plan.duration import RUN_START_S, rounds_s
    from harness.plan.points import distinct_cases, expand, prepare

    asked = prepare(suite, dict(axes), quick=quick)
    points = expand(asked)
    cases = distinct_cases(points)
    reasons = Counter(point.skip_reason for point in points if point.skip_reason)
    estimated_s = RUN_START_S + rounds_s(asked.policy, cases)
    shares = _shares(suite, dict(axes), on, python, each=each, quick=quick)
    if shares:
        estimated_s = RUN_START_S + max(share.seconds for share in shares)
    if as_json:
        answer: dict[str, Any] = {"suite": asked.name, "points": len(points), "cases": len(cases)}
        answer |= {"skipped": reasons.total(), "reasons": dict(reasons), "estimated_s": estimated_s}
        together = {"shares": [_share_as_json(share) for share in shares]} if on else {}
        print(json.dumps(answer | together))
        sys.exit(0 if cases else UsageError.code)
    from harness.output import terminal

    print(asked.title)
    terminal.print_fields(_plan_fields(asked.policy, points, cases, reasons, estimated_s))
    for share in shares:
        print()
        terminal.print_fields(_share_fields(share))
    if not cases:
        raise UsageError(f"none of its {len(points)} points can be measured", where=asked.name)
    stated = [word for name, values in axes for word in ("-a", f"{name}={','.join(map(_word, values))}")]
    words = [suite] * bool(suite) + stated + ["--quick"] * quick + (["--on", on] if on else [])
    print(f"\nNext: {shlex.join(['convscope', 'run', *words, *(['--each'] * each)])}")


def _shares(
    suite: str,
    axes: dict[str, tuple[Value, ...]],
    on: str | None,
    python: str | None,
    *,
    each: bool,
    quick: bool,
) -> list[Share]:
    """What each kind of device of a cluster would measure; nothing where none is named."""
    if on is None:
        return []
    from harness.tasks.cluster_sweep import cluster_plan

    return cluster_plan(suite, on=on, axes=axes, each=each, python=python, quick=quick)


def _share_as_json(share: Share) -> dict[str, Any]:
    return {
        "devices": [member.name for member in share.members],
        "environment_id": share.members[0].interpreter.environment_id,
        "cases": len(share.cases),
        "estimated_s": share.seconds,
    }


def _share_fields(share: Share) -> list[tuple[str, str]]:
    """Devices that are alike, in three lines."""
    from harness.core import units

    count = len(share.members)
    how = f" shared by {count} that are alike, a tenth measured by two" if count > 1 else ""
    return [
        ("devices", ", ".join(member.name for member in share.members)),
        ("cases", f"{len(share.cases)}{how}"),
        ("about", units.duration(share.seconds)),
    ]


def _plan_fields(
    policy: Policy, points: list[Point], cases: list[Case], reasons: Counter[str], estimated_s: float
) -> list[tuple[str, str]]:
    """What `plan` says, a name and a text each."""
    from collections import Counter

    from harness.core import units

    devices = Counter(case.setting.device for case in cases)
    often = (
        f"{policy.rounds} to {policy.max_rounds}" if policy.max_rounds > policy.rounds else f"{policy.rounds}"
    )
    longer = "; longer if intervals stay wide" * (policy.max_rounds > policy.rounds)
    steps = f"a survey and {_counted(policy.rounds, 'round')}{longer}"
    return [
        ("points", str(len(points))),
        ("cases", f"{len(cases)}, {_counted(often, 'repetition')} of {policy.visit_time_s:g} s each"),
        *(
            (f"on {device}", f"{number} cases" + ("" if device == "cpu" else ", if present"))
            for device, number in devices.items()
        ),
        ("skipped", str(reasons.total())),
        *(("", f"{number} x {reason}") for reason, number in reasons.most_common()),
        ("time", f"about {units.duration(estimated_s)}, {steps}"),
    ]


def _counted(number: object, what: str) -> str:
    return f"{number} {what}{'' if str(number) == '1' else 's'}"


COMMANDS = (plan,)
