"""The doors for Python: measure one case, or run a suite. The command line stands on the same functions.

measure(Problem("depthwise", in_channels=128, size=56))        one case now, no file
sweep("quickstart", axes={"in_channels": (64, 128)})           a suite, kept in results/
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from harness import __version__, locks, machine, runner, units
from harness.case import Case, Setting
from harness.errors import CasesFailed, Stopped, UsageError
from harness.points import distinct_cases, expand, prepare, without_devices
from harness.policy import Policy
from harness.record import SCHEMA
from harness.results import Results, RunFolder, as_json_values, load_results, new_run_id
from harness.summary import mark_neighbours, summarize

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.axes import Value
    from harness.bridge import Hello
    from harness.points import Point
    from harness.problem import Problem
    from harness.suite import Suite

MEASURE_POLICY = Policy(rounds=3, max_rounds=6)
SILENT = runner.Watcher()


def default_python() -> str:
    """The interpreter that is measured unless another is named: CONVSCOPE_PYTHON, else this one."""
    return os.environ.get("CONVSCOPE_PYTHON") or sys.executable


@dataclass(frozen=True)
class Measurement:
    """What one case came to. `row` is its summary, by the names of the record; figures are None where it has none."""

    case: Case
    row: dict[str, Any]
    other: dict[str, Any] | None  # the same under the other allocator, where there is one

    @property
    def latency_s(self) -> float | None:
        """Seconds a call: the centre of its visits."""
        return self.row["latency_s"]  # type: ignore[no-any-return]  # a row's values are what the record says

    @property
    def interval_s(self) -> tuple[float | None, float | None]:
        """The 95 % interval between its visits, in seconds."""
        return self.row["latency_low_s"], self.row["latency_high_s"]

    def as_json(self) -> dict[str, Any]:
        """The row by the record's names, `label` and `other_allocator` beside it."""
        return {"label": self.case.label} | self.row | {"other_allocator": self.other}

    def __repr__(self) -> str:
        row = self.row
        if row["status"] != "ok":
            return f"{self.case.label}: {row['status']}, {row['message']}"
        interval = f"{units.seconds(row['latency_low_s'])} to {units.seconds(row['latency_high_s'])}"
        return f"{self.case.label}: {units.seconds(row['latency_s'])} ({interval}, {row['visits']} visits, {row['trust']})"


def measure(
    problem: Problem,
    setting: Setting | None = None,
    *,
    device_index: int | None = None,
    python: str | None = None,
    policy: Policy = MEASURE_POLICY,
    wait: bool = True,
    watcher: runner.Watcher = SILENT,
) -> Measurement:
    """Measure one case now, in a few visits that alternate with the other allocator's (on a CPU); nothing is written.

    Raises InterpreterError, DeviceError, BusyError.
    """
    setting = setting or Setting()
    order = runner.Order(
        run_id="measure",
        python=default_python() if python is None else python,
        policy=policy,
        seed=time.time_ns() % 2**31,
        placement={} if device_index is None else {setting.device: device_index},
    )
    case = Case(problem, setting)
    cases = [case]
    if setting.device == "cpu":
        cases.append(Case(problem, replace(setting, allocator="default" if setting.allocator == "retained" else "retained")))
    rows: list[dict[str, Any]] = []
    device = runner.device_name(setting.device, order.placement)
    with locks.hold([device], wait=wait, on_wait=watcher.waiting), runner.greet(order.python) as greeted:
        order = replace(order, quiet=machine.quiet(greeted.environment_id))
        runner.require_devices(greeted.hello, [setting.device], order.placement)
        runner.Run(order, cases, greeted, rows.append, watcher).go()
    visits = mark_neighbours(pd.DataFrame(rows), {order.run_id: order.quiet})
    summary = {row["case_id"]: as_json_values(row) for row in summarize(visits).to_dict("records")}
    own = summary.pop(case.case_id)
    return Measurement(case, own, next(iter(summary.values()), None))


def sweep(
    suite: str | Path | Suite = "",
    *,
    axes: Mapping[str, tuple[Value, ...]] | None = None,
    results: str | Path = "results",
    python: str | None = None,
    quick: bool = False,
    time_limit_s: float | None = None,
    wait: bool = True,
    watcher: runner.Watcher = SILENT,
) -> Results:
    """Run a suite, a name or a file, and load what came of it. `axes` replaces or narrows axes, or is the whole sweep; `quick` takes one round.

    Raises SuiteError, InterpreterError, DeviceError, BusyError, StorageError before anything is written; Stopped after Ctrl-C and
    CasesFailed where cases have no figure, both with everything measured kept; their `where` is the run's folder.
    """
    asked = prepare(suite, axes or {}, quick=quick, time_limit_s=time_limit_s)
    order = runner.Order(
        run_id=new_run_id(asked.name),
        python=default_python() if python is None else python,
        policy=asked.policy,
        seed=time.time_ns() % 2**31,
        placement=asked.placement,
    )
    devices = {runner.device_name(case.setting.device, order.placement) for case in distinct_cases(expand(asked))}
    with locks.hold(devices, wait=wait, on_wait=watcher.waiting), runner.greet(order.python) as greeted:
        order = replace(order, quiet=machine.quiet(greeted.environment_id))
        points = _present(asked, greeted.hello, named="device" in (axes or {}))
        cases = distinct_cases(points)
        folder = RunFolder(Path(results), _header(asked, order, greeted, quick), points)
        watcher.started(folder.path)
        run = runner.Run(order, cases, greeted, folder.add, watcher)
        began, state = time.monotonic(), "failed"
        try:
            state = run.go()
        except KeyboardInterrupt:
            state = "interrupted"
        finally:
            folder.close(state=state, wall_s=time.monotonic() - began, timed_s=run.timed_s, rounds=run.rounds)
    found = load_results(folder.path)
    machine.learn(found.visits)
    if state == "interrupted":
        raise Stopped(f"stopped; {run.visits} visits are kept", where=str(folder.path), hint=f"convscope report {folder.path}")
    if run.failed:
        raise CasesFailed(
            f"finished; {len(run.failed)} of {len(cases)} cases have no figure", where=str(folder.path), hint=f"convscope report {folder.path}"
        )
    return found


def _present(suite: Suite, hello: Hello, *, named: bool) -> list[Point]:
    """The points on devices that are there. Raises DeviceError for a device named by the asker, or where none is left; UsageError without a case."""
    points = expand(suite)
    if not distinct_cases(points):
        reasons = "; ".join(sorted({point.skip_reason for point in points if point.skip_reason}))
        raise UsageError(f"none of its {len(points)} points can be measured", where=suite.name, hint=reasons)
    asked = {case.setting.device for case in distinct_cases(points)}
    if named or not asked & hello.device_types:
        runner.require_devices(hello, asked, suite.placement)
    runner.require_devices(hello, asked & hello.device_types, suite.placement)
    return without_devices(points, hello.device_types)


def _header(suite: Suite, order: runner.Order, greeted: runner.Greeted, quick: bool) -> dict[str, Any]:
    """What run.json says before the first visit."""
    return {
        "schema": SCHEMA,
        "run_id": order.run_id,
        "suite": {"name": suite.name, "title": suite.title, "text": suite.text, "sha256": suite.sha256, "source": suite.source},
        "policy": suite.policy.as_message(),
        "quick": quick,
        "arms": {"main": {"python": order.python, "environment_id": greeted.environment_id}},
        "environments": {greeted.environment_id: greeted.hello.environment},
        "devices": greeted.hello.devices,
        "quiet": order.quiet,
        "ceilings": None,
        "seed": order.seed,
        "git": _git_facts(),
        "version": __version__,
        "state": "running",
        "wall_s": None,
        "timed_s": None,
    }


def _git_facts() -> dict[str, Any] | None:
    """Commit, branch and whether files are changed, of the current folder; None outside a checkout."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "branch": git("rev-parse", "--abbrev-ref", "HEAD"), "changed": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None
