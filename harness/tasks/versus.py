"""Several ways to run a layer, or a suite, measured in turns and ranked; kept in results/.

versus({"nchw": Side(), "nhwc": Side(axes={"memory_format": "channels_last"})}, "quickstart")
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from harness.analysis.arm_changes import arm_name, changed_axes, changes_of
from harness.analysis.ranking import rank
from harness.core.errors import UsageError
from harness.plan.axes import parse_single
from harness.plan.changes import shared
from harness.plan.points import prepare
from harness.run.progress_events import SILENT, ProgressListener
from harness.run.versus import VersusRun
from harness.tasks.compare import skipped
from harness.tasks.sides import Side, measured

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.analysis.ranking import Ranking
    from harness.plan.axes import Value
    from harness.plan.suite import Suite
    from harness.store.results import Results

PAIRS = 12
SPEC = re.compile(r"(?:([\w.+-]+):)?(.*)", re.ASCII | re.DOTALL)


def parse_arm(text: str) -> tuple[str, Side]:
    """`name:axis=value,python=PATH`, in which the name, or all after it, may be missing. Raises
    UsageError."""
    hint = "For example: --arm nhwc:memory_format=channels_last,threads=1"
    found = SPEC.fullmatch(text)
    name, stated = (found[1], found[2]) if found else (None, "")
    python, axes = None, dict[str, "Value"]()
    for part in filter(None, stated.split(",")):
        word, equals, value = part.partition("=")
        if word == "python" and equals:
            python = value
            continue
        axis, axes_value = parse_single(part, "--arm")
        axes[axis] = axes_value
    if not (name or stated):
        raise UsageError("says nothing", where=f"--arm {text!r}", hint=hint)
    return name or stated, Side(python, axes=axes)


def versus(
    sides: Mapping[str, Side],
    suite: str | Path | Suite = "",
    *,
    pairs: int = PAIRS,
    axes: Mapping[str, tuple[Value, ...]] | None = None,
    results: str | Path = "results",
    time_limit_s: float | None = None,
    wait: bool = True,
    listener: ProgressListener = SILENT,
) -> Results:
    """Measure each case on all sides in turns, so many times; `ranked` says what came of it. Raises what
    `sweep` raises, and UsageError for fewer than two sides."""
    if len(sides) < 2:
        raise UsageError("takes two arms or more", where="versus", hint="Give --arm for each of them.")
    axes = dict(axes or {})
    all_state = shared({name: side.changes for name, side in sides.items()}, axes)
    return measured(
        prepare(suite, axes | all_state, time_limit_s=time_limit_s),
        sides,
        {"comparison": "versus", "order": "turns", "pairs": pairs},
        lambda made: VersusRun(made.arms, made.cases, pairs),
        named="device" in axes,
        results=results,
        quick=False,
        wait=wait,
        listener=listener,
    )


def ranked(run: Results) -> list[Ranking]:
    """A ranking of each case that such a run reached, in the order of its suite. Raises UsageError for a run
    of another sort."""
    header = run.runs[0]
    if not run.is_ranking:
        hint = "Show it: convscope compare RUN" if run.is_ab else "Make one: convscope versus SUITE --arm ..."
        raise UsageError("is no ranking of arms", where=header["run_id"], hint=hint)
    found = {one.asked_id: one for one in rank(run.visits, list(header["arms"]), changed_axes(header))}
    asked = run.points["case_id"].dropna().unique()
    return [found[identity] for identity in asked if identity in found]


def about(run: Results) -> list[str]:
    """What is to be said of such a run beside its rankings: what each arm changes, and cases without one."""
    header = run.runs[0]
    named = [arm_name(header, arm) for arm in header["arms"] if changes_of(header, arm)]
    unreached = run.points["case_id"].nunique() - run.visits["asked_id"].nunique()
    return [
        *([f"Arms: {', '.join(named)}."] if named else []),
        *skipped(run),
        *(
            [f"{unreached} cases were not reached ({header['state'].replace('_', ' ')})."]
            if unreached
            else []
        ),
    ]
