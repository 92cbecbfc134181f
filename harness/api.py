"""The doors for Python that measure: one case, a suite, two sides of a suite. The command line stands on the same functions.

measure(Problem("depthwise", in_channels=128, size=56))        one case now, no file
sweep("quickstart", axes={"in_channels": (64, 128)})           a suite, kept in results/
ab("regression", Side("old/bin/python"), Side())               two interpreters or implementations, in pairs, kept in results/

What came of it, as verdicts: `comparing.compare`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import __version__, locks, machine, units
from harness.arm import Arm, Order, Watcher
from harness.bench import bench
from harness.case import Case, Setting
from harness.checks import Check
from harness.errors import CasesFailed, DeviceError, Stopped, UsageError, nearest
from harness.gate import ORDERS
from harness.pairs import PairedRun
from harness.points import distinct_cases, expand, prepare, without_devices
from harness.policy import Policy
from harness.record import METHOD, SCHEMA
from harness.results import Results, RunFolder, as_json_values, load_results, new_run_id
from harness.runner import Run
from harness.station import device_name, greet, require_devices

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from harness.axes import Value
    from harness.bridge import Hello
    from harness.pairs import Confirming
    from harness.points import Point
    from harness.problem import Problem
    from harness.station import Greeted
    from harness.suite import Suite

MEASURE_POLICY = Policy(rounds=3, max_rounds=3)
SILENT = Watcher()
PROBE_S = 2.0
LOST_SHARE = 0.1  # of a GPU's time: clocks that fall under a long load take less


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
    watcher: Watcher = SILENT,
) -> Measurement:
    """Measure one case now, in a few visits that alternate with the other allocator's (on a CPU); nothing is written.

    Raises InterpreterError, DeviceError, BusyError.
    """
    setting = setting or Setting()
    case = Case(problem, setting)
    cases = [case]
    if setting.device == "cpu":
        cases.append(Case(problem, replace(setting, allocator="default" if setting.allocator == "retained" else "retained")))
    with bench(setting.device, device_index, default_python() if python is None else python, wait=wait, watcher=watcher) as ready:
        found = ready.measure(cases, policy)
    summary = {row["case_id"]: as_json_values(row) for row in found.to_dict("records")}
    own = summary.pop(case.case_id)
    return Measurement(case, own, next(iter(summary.values()), None))


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
    watcher: Watcher = SILENT,
) -> Results:
    """Run a suite, a name or a file, and load what came of it. `axes` replaces or narrows axes, or is the whole sweep; `only` names the
    case_ids to measure (None: all); `quick` takes one round.

    Raises SuiteError, InterpreterError, DeviceError, BusyError, StorageError before anything is written; Stopped after Ctrl-C and
    CasesFailed where cases have no figure, both with everything measured kept; their `where` is the run's folder.
    """
    asked = prepare(suite, axes or {}, quick=quick, time_limit_s=time_limit_s)
    points = _selected(expand(asked), only)
    order = _order(asked)
    with locks.hold(_devices(points, order), wait=wait, on_wait=watcher.waiting), greet(default_python() if python is None else python) as greeted:
        order = replace(order, run_spread=machine.run_spread(greeted.environment_id))
        points = _present(asked, points, greeted.hello, named="device" in (axes or {}))
        cases = distinct_cases(points)
        folder = RunFolder(Path(results), _header(asked, order, {"main": (greeted, None)}, quick), points)
        watcher.started(folder.path)

        def tell(ceilings: list[dict[str, Any]]) -> None:
            folder.write_header(ceilings=machine.best_ceilings(greeted.environment_id, ceilings))

        run = Run(Arm("main", order, greeted, folder.add, watcher), cases, tell)
        state = _driven(run, folder)
    return _ended(run, folder, state, cases)


@dataclass(frozen=True, slots=True)
class Side:
    """A side of an A/B: an interpreter (None: `default_python`), and what computes its cases there (None: as the suite says)."""

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
    watcher: Watcher = SILENT,
) -> Results:
    """Measure a suite on two sides, as pairs in one run; `comparing.compare` judges what came of it.

    `how` is one of `gate.ORDERS`. Where one side names an implementation, the other's is torch unless it names one too. Raises what `sweep`
    raises.
    """
    if how not in ORDERS:
        raise UsageError(f"{how!r} is no order", where="how", hint=nearest(how, ORDERS))
    sides, axes = _implemented({"base": base, "head": head}, dict(axes or {}))
    asked = prepare(suite, axes, quick=quick, time_limit_s=time_limit_s)
    points = expand(asked)
    order = _order(asked)
    with locks.hold(_devices(points, order), wait=wait, on_wait=watcher.waiting), ExitStack() as stack:
        greeted = {name: stack.enter_context(greet(side.python or default_python())) for name, side in sides.items()}
        order = replace(order, run_spread=machine.run_spread(*(one.environment_id for one in greeted.values())))
        _require_alike({name: one.hello.device_types for name, one in greeted.items()}, points)
        for one in greeted.values():
            points = _present(asked, points, one.hello, named="device" in axes)
        cases = distinct_cases(points)
        header = _header(asked, order, {name: (greeted[name], side.implementation) for name, side in sides.items()}, quick)
        folder = RunFolder(Path(results), header | {"order": how, "confirming": None}, points)
        watcher.started(folder.path)
        arms = [Arm(name, order, greeted[name], folder.add, watcher, side.implementation) for name, side in sides.items()]

        def tell(confirming: Confirming) -> None:
            folder.write_header(confirming=asdict(confirming))

        run = PairedRun(arms[0], arms[1], cases, asked.gate, how, quick=quick, tell=tell)
        state = _driven(run, folder)
    return _ended(run, folder, state, cases)


def _implemented(sides: dict[str, Side], axes: dict[str, tuple[Value, ...]]) -> tuple[dict[str, Side], dict[str, tuple[Value, ...]]]:
    """Both sides with an implementation where one names its own, and the axes with the base's. Raises UsageError where axes have one too."""
    if not any(side.implementation for side in sides.values()):
        return sides, axes
    if "implementation" in axes:
        raise UsageError("is given twice", where="implementation", hint="Give it for base and head, or as an axis of both.")
    named = {name: side.implementation or "torch" for name, side in sides.items()}
    return {name: replace(side, implementation=named[name]) for name, side in sides.items()}, axes | {"implementation": (named["base"],)}


def tenants(kind: str, index: int | None = None, python: str | None = None) -> Check:
    """Whether somebody else works on a GPU, by two seconds of work on it. Raises InterpreterError, DeviceError, BusyError."""
    device = device_name(kind, {} if index is None else {kind: index})
    with bench(kind, index, python or default_python(), wait=False, watcher=SILENT) as ready:
        seen = ready.tenants(PROBE_S)
    found = f"{units.percent(seen.lost_share)} of the time of {seen.batches} batches was taken"
    if seen.lost_share <= LOST_SHARE:
        return Check(f"{device} tenants", "ok", found)
    return Check(f"{device} tenants", "warning", found, "Somebody else works on it: wait, or choose another device.")


def _order(suite: Suite) -> Order:
    return Order(run_id=new_run_id(suite.name), policy=suite.policy, seed=time.time_ns() % 2**31, placement=suite.placement)


def _devices(points: list[Point], order: Order) -> set[str]:
    return {device_name(case.setting.device, order.placement) for case in distinct_cases(points)}


def _selected(points: list[Point], only: Container[str] | None) -> list[Point]:
    if only is None:
        return points
    return [replace(point, case=None, skip_reason="not selected") if point.case and point.case.case_id not in only else point for point in points]


def _driven(run: Run | PairedRun, folder: RunFolder) -> str:
    """Let a run go on until it ends or is stopped, and close its folder: how it ended."""
    began, state = time.monotonic(), "failed"
    try:
        state = run.go()
    except KeyboardInterrupt:
        state = "interrupted"
    finally:
        folder.close(state=state, wall_s=time.monotonic() - began, timed_s=run.timed_s, rounds=run.rounds)
    return state


def _ended(run: Run | PairedRun, folder: RunFolder, state: str, cases: list[Case]) -> Results:
    """What a run came to. Raises Stopped, CasesFailed."""
    found = load_results(folder.path)
    if found.arms == {"main"} and state in ("complete", "time_limit"):
        machine.learn(found.summary)
    if state == "interrupted":
        raise Stopped(f"stopped; {run.visits} visits are kept", where=str(folder.path), hint=f"convscope report {folder.path}")
    if run.failed:
        raise CasesFailed(
            f"finished; {len(run.failed)} of {len(cases)} cases have no figure", where=str(folder.path), hint=f"convscope report {folder.path}"
        )
    return found


def _present(suite: Suite, points: list[Point], hello: Hello, *, named: bool) -> list[Point]:
    """The points on devices that are there. Raises DeviceError for a device named by the asker, or where none is left; UsageError without a case."""
    if not distinct_cases(points):
        reasons = "; ".join(sorted({point.skip_reason for point in points if point.skip_reason}))
        raise UsageError(f"none of its {len(points)} points can be measured", where=suite.name, hint=reasons)
    asked = {case.setting.device for case in distinct_cases(points)}
    if named or not asked & hello.device_types:
        require_devices(hello, asked, suite.placement)
    require_devices(hello, asked & hello.device_types, suite.placement)
    return without_devices(points, hello.device_types)


def _require_alike(present: dict[str, set[str]], points: list[Point]) -> None:
    """Raises DeviceError for a device that is asked for and that one side alone has: what it lost would go unnoticed."""
    asked = {case.setting.device for case in distinct_cases(points)}
    for kind in sorted(asked & (present["base"] ^ present["head"])):
        side = "head" if kind in present["base"] else "base"
        raise DeviceError(f"{kind} is not there for {side}", where="device", hint="Give an interpreter that has it, or the others: -a device=cpu.")


def _header(suite: Suite, order: Order, arms: Mapping[str, tuple[Greeted, str | None]], quick: bool) -> dict[str, Any]:
    """What run.json says before the first visit. `arms`: by name, who measures, and the implementation that overrides the suite's."""
    return {
        "schema": SCHEMA,
        "run_id": order.run_id,
        "suite": {"name": suite.name, "title": suite.title, "text": suite.text, "sha256": suite.sha256, "source": suite.source},
        "policy": suite.policy.as_message(),
        "gate": suite.gate.as_json(),
        "quick": quick,
        "arms": {
            name: {"python": greeted.python, "environment_id": greeted.environment_id, "implementation": implementation}
            for name, (greeted, implementation) in arms.items()
        },
        "environments": {greeted.environment_id: greeted.hello.environment for greeted, _ in arms.values()},
        "devices": next(iter(arms.values()))[0].hello.devices,
        "method": METHOD,
        "run_spread": order.run_spread,
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
