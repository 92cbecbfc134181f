"""Two sides of a suite, measured in pairs and kept in results/.

ab("regression", Side("old/bin/python"), Side())     two interpreters, or two implementations

What came of it, as verdicts: `tasks.compare`.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.core.errors import DeviceError, UsageError, nearest
from harness.core.gate import ORDERS
from harness.plan.points import distinct_cases, expand, prepare
from harness.run import locks
from harness.run.ab import AbRun
from harness.run.arm import Arm
from harness.run.device_worker import connect
from harness.run.progress_events import SILENT, ProgressListener
from harness.run.worker_process import default_python
from harness.store import machine_cache
from harness.store.run_folder import RunFolder
from harness.tasks.recorded_run import devices_of, drive, finish, header_of, new_context, present_points

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.plan.axes import Value
    from harness.plan.points import Point
    from harness.plan.suite import Suite
    from harness.run.ab import Confirming
    from harness.store.results import Results


@dataclass(frozen=True, slots=True)
class Side:
    """A side of an A/B: an interpreter (None: `default_python`), and what computes its cases there (None: as
    the suite says)."""

    python: str | None = None
    implementation: str | None = None


HERE = Side()


def ab(
    suite: str | Path | Suite = "",
    base: Side = HERE,
    head: Side = HERE,
    *,
    how: str = "turns",
    axes: Mapping[str, tuple[Value, ...]] | None = None,
    results: str | Path = "results",
    quick: bool = False,
    time_limit_s: float | None = None,
    wait: bool = True,
    listener: ProgressListener = SILENT,
) -> Results:
    """Measure a suite on two sides, as pairs in one run; `tasks.compare` judges what came of it.

    `how` is one of `gate.ORDERS`. Where one side names an implementation, the other's is torch unless it
    names one too. Raises what `sweep` raises.
    """
    if how not in ORDERS:
        raise UsageError(f"{how!r} is no order", where="how", hint=nearest(how, ORDERS))
    sides, axes = _implemented({"base": base, "head": head}, dict(axes or {}))
    asked = prepare(suite, axes, quick=quick, time_limit_s=time_limit_s)
    points = expand(asked)
    context = new_context(asked)
    with locks.hold(devices_of(points, context), wait=wait, on_wait=listener.waiting), ExitStack() as stack:
        connections = {
            name: stack.enter_context(connect(side.python or default_python()))
            for name, side in sides.items()
        }
        context = replace(
            context,
            run_spread=machine_cache.run_spread(*(one.environment_id for one in connections.values())),
        )
        _require_alike({name: one.hello.device_types for name, one in connections.items()}, points)
        for one in connections.values():
            points = present_points(asked, points, one.hello, named="device" in axes)
        cases = distinct_cases(points)
        header = header_of(
            asked,
            context,
            {name: (connections[name], side.implementation) for name, side in sides.items()},
            quick,
        )
        folder = RunFolder(Path(results), header | {"order": how, "confirming": None}, points)
        listener.started(folder.path)
        arms = [
            Arm(name, context, connections[name], folder.add, listener, side.implementation)
            for name, side in sides.items()
        ]

        def tell(confirming: Confirming) -> None:
            folder.write_header(confirming=asdict(confirming))

        run = AbRun(arms[0], arms[1], cases, asked.gate, how, quick=quick, tell=tell)
        state = drive(run, folder)
    return finish(run, folder, state, cases)


def _implemented(
    sides: dict[str, Side], axes: dict[str, tuple[Value, ...]]
) -> tuple[dict[str, Side], dict[str, tuple[Value, ...]]]:
    """Both sides with an implementation where one names its own, and the axes with the base's. Raises
    UsageError where axes have one too."""
    if not any(side.implementation for side in sides.values()):
        return sides, axes
    if "implementation" in axes:
        raise UsageError(
            "is given twice", where="implementation", hint="Give it for base and head, or as an axis of both."
        )
    named = {name: side.implementation or "torch" for name, side in sides.items()}
    return {name: replace(side, implementation=named[name]) for name, side in sides.items()}, axes | {
        "implementation": (named["base"],)
    }


def _require_alike(present: dict[str, set[str]], points: list[Point]) -> None:
    """Raises DeviceError for a device that is asked for and that one side alone has: what it lost would go
    unnoticed."""
    asked = {case.setting.device for case in distinct_cases(points)}
    for kind in sorted(asked & (present["base"] ^ present["head"])):
        side = "head" if kind in present["base"] else "base"
        raise DeviceError(
            f"{kind} was not found for {side}",
            where="device",
            hint="Give an interpreter that has it, or the others: -a device=cpu.",
        )
