"""Several ways to run a layer, or a suite, measured in turns and ranked; kept in results/.

versus({"nchw": Side(), "nhwc": Side(axes={"memory_format": "channels_last"})}, "quickstart")
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from harness.analysis.arm_changes import changed_axes
from harness.analysis.ranking import rank
from harness.core.errors import UsageError
from harness.plan.axes import parse_override
from harness.plan.points import prepare
from harness.run.progress_events import SILENT, ProgressListener
from harness.run.versus import VersusRun
from harness.tasks.recorded_run import drive, finish
from harness.tasks.sides import Side, ready

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
        axis, values = parse_override(part)
        if len(values) != 1:
            raise UsageError(f"{part!r} has several values", where=f"--arm {text}", hint="An arm has one.")
        axes[axis] = values[0]
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
    asked = prepare(suite, axes or {}, time_limit_s=time_limit_s)
    with ready(
        asked,
        sides,
        axes or {},
        {"order": "turns"},
        results=results,
        quick=False,
        wait=wait,
        listener=listener,
    ) as made:
        run = VersusRun(made.arms, made.cases, pairs)
        state = drive(run, made.folder)
    return finish(run, made.folder, state, made.cases)


def ranked(run: Results) -> list[Ranking]:
    """A ranking of each case of such a run, by the order of its suite."""
    header = run.runs[0]
    return rank(run.visits, list(header["arms"]), changed_axes(header))
