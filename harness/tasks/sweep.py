"""A suite, measured and kept in results/.

sweep("quickstart", axes={"in_channels": (64, 128)})
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from harness.plan.points import distinct_cases, expand, prepare
from harness.run import locks
from harness.run.arm import Arm
from harness.run.device_worker import connect
from harness.run.progress_events import SILENT, ProgressListener
from harness.run.rounds import RoundsRun
from harness.run.worker_process import default_python
from harness.store import machine_cache
from harness.store.mirrors import results_folder
from harness.store.run_folder import RunFolder
from harness.tasks.recorded_run import devices_of, drive, finish, header_of, new_context, present_points

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping
    from pathlib import Path

    from harness.core.case import Case
    from harness.core.columns import Row
    from harness.plan.axes import Value
    from harness.plan.points import Point
    from harness.plan.suite import Suite
    from harness.run.context import RunContext
    from harness.run.device_worker import Connection
    from harness.store.results import Results


def sweep(
    suite: str | Path | Suite = "",
    *,
    axes: Mapping[str, tuple[Value, ...]] | None = None,
    only: Container[str] | None = None,
    results: str | Path = "results",
    python: str | None = None,
    quick: bool = False,
    time_limit_s: float | None = None,
    wait: bool = True,
    listener: ProgressListener = SILENT,
) -> Results:
    """Run a suite, a name or a file, and load what came of it. `axes` replaces or narrows axes, or is the
    whole sweep; `only` names the case_ids to measure (None: all); `quick` takes one round.

    Raises SuiteError, InterpreterError, DeviceError, BusyError, StorageError before anything is written;
    Stopped after Ctrl-C and CasesFailed where cases have no figure, both with everything measured kept; their
    `where` is the run's folder.
    """
    asked = prepare(suite, axes or {}, quick=quick, time_limit_s=time_limit_s)
    points = _selected(expand(asked), only)
    context = new_context(asked)
    with (
        locks.hold(devices_of(points, context), wait=wait, on_wait=listener.waiting),
        connect(default_python() if python is None else python) as connection,
    ):
        context = replace(context, run_spread=machine_cache.run_spread(connection.environment_id))
        points = present_points(asked, points, connection.hello, named="device" in (axes or {}))
        cases = distinct_cases(points)
        folder = RunFolder(
            results_folder(results),
            header_of(asked, context, {"main": (connection.interpreter, {})}, quick),
            points,
        )
        listener.started(folder.path)
        run, state = drive_sweep(folder, context, connection, cases, listener)
    return finish(run, folder, state, cases)


def drive_sweep(
    folder: RunFolder,
    context: RunContext,
    connection: Connection,
    cases: list[Case],
    listener: ProgressListener,
    before: Iterable[Row] = (),
) -> tuple[RoundsRun, str]:
    """Measure what is lacking after the visits `before`: the run, and how it ended."""

    def tell(ceilings: list[Row]) -> None:
        folder.write_header(ceilings=machine_cache.best_ceilings(connection.environment_id, ceilings))

    arm = Arm("main", context, connection, folder.add, listener)
    run = RoundsRun(arm, cases, tell if folder.header["ceilings"] is None else None)
    run.recall(before)
    return run, drive(run, folder)


def _selected(points: list[Point], only: Container[str] | None) -> list[Point]:
    if only is None:
        return points
    return [
        replace(point, case=None, skip_reason="not selected")
        if point.case and point.case.case_id not in only
        else point
        for point in points
    ]
