"""The doors for Python: measure one case, or run a suite. The command line stands on the same functions.

measure(Problem("depthwise", in_channels=128, size=56))        one case now, no file
sweep("quickstart", axes={"in_channels": (64, 128)})           a suite, kept in results/
ab("regression", base_python="old/bin/python")                 two interpreters or implementations, in pairs, kept in results/
compare("last")                                                what came of it, as verdicts
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from math import expm1
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from harness import __version__, baselines, environments, judging, locks, machine, units
from harness.arm import Arm, Order, Watcher
from harness.case import Case, Setting
from harness.errors import CasesFailed, NoBaseline, NotComparable, Stopped, UsageError, nearest
from harness.gate import ORDERS, Gate
from harness.pairs import PairedRun
from harness.points import distinct_cases, expand, prepare, without_devices
from harness.policy import Policy
from harness.record import SCHEMA
from harness.results import RUN_FILE, Results, RunFolder, as_json_values, find_run, load_results, new_run_id, run_folders
from harness.runner import Run
from harness.station import device_name, greet, require_devices
from harness.summary import mark_neighbours, summarize

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from harness.axes import Value
    from harness.bridge import Hello
    from harness.judging import Comparison
    from harness.pairs import Confirming
    from harness.points import Point
    from harness.problem import Problem
    from harness.station import Greeted
    from harness.suite import Suite

MEASURE_POLICY = Policy(rounds=3, max_rounds=6)
SILENT = Watcher()


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
    order = Order(
        run_id="measure",
        policy=policy,
        seed=time.time_ns() % 2**31,
        placement={} if device_index is None else {setting.device: device_index},
    )
    case = Case(problem, setting)
    cases = [case]
    if setting.device == "cpu":
        cases.append(Case(problem, replace(setting, allocator="default" if setting.allocator == "retained" else "retained")))
    rows: list[dict[str, Any]] = []
    device = device_name(setting.device, order.placement)
    with locks.hold([device], wait=wait, on_wait=watcher.waiting), greet(default_python() if python is None else python) as greeted:
        order = replace(order, quiet=machine.quiet(greeted.environment_id))
        require_devices(greeted.hello, [setting.device], order.placement)
        Run(Arm("main", order, greeted, rows.append, watcher), cases).go()
    visits = mark_neighbours(pd.DataFrame(rows), {order.run_id: order.quiet})
    summary = {row["case_id"]: as_json_values(row) for row in summarize(visits).to_dict("records")}
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
        order = replace(order, quiet=machine.quiet(greeted.environment_id))
        points = _present(asked, points, greeted.hello, named="device" in (axes or {}))
        cases = distinct_cases(points)
        folder = RunFolder(Path(results), _header(asked, order, {"main": (greeted, None)}, quick), points)
        watcher.started(folder.path)
        run = Run(Arm("main", order, greeted, folder.add, watcher), cases)
        state = _driven(run, folder)
    return _ended(run, folder, state, cases)


def ab(
    suite: str | Path | Suite = "",
    *,
    base_python: str | None = None,
    head_python: str | None = None,
    base_implementation: str | None = None,
    head_implementation: str | None = None,
    how: str = "turns",
    axes: Mapping[str, tuple[Value, ...]] | None = None,
    results: str | Path = "results",
    quick: bool = False,
    time_limit_s: float | None = None,
    wait: bool = True,
    watcher: Watcher = SILENT,
) -> Results:
    """Measure a suite in two interpreters, or with two implementations, as pairs in one run; `compare` judges what came of it.

    `how` is one of `gate.ORDERS`. Where one side's implementation is given, the other's is torch unless it is given too; where none is, both
    have the suite's own. Raises what `sweep` raises.
    """
    if how not in ORDERS:
        raise UsageError(f"{how!r} is no order", where="how", hint=nearest(how, ORDERS))
    axes = dict(axes or {})
    implementations = base_implementation, head_implementation
    if any(implementations):
        if "implementation" in axes:
            raise UsageError("is given twice", where="implementation", hint="Give it for base and head, or as an axis of both.")
        implementations = base_implementation or "torch", head_implementation or "torch"
        axes["implementation"] = (implementations[0],)
    asked = prepare(suite, axes, quick=quick, time_limit_s=time_limit_s)
    points = expand(asked)
    order = _order(asked)
    pythons = [python or default_python() for python in (base_python, head_python)]
    with locks.hold(_devices(points, order), wait=wait, on_wait=watcher.waiting), greet(pythons[0]) as base, greet(pythons[1]) as head:
        order = replace(order, quiet=machine.quiet(base.environment_id))
        for greeted in (base, head):
            points = _present(asked, points, greeted.hello, named="device" in axes)
        cases = distinct_cases(points)
        header = _header(asked, order, {"base": (base, implementations[0]), "head": (head, implementations[1])}, quick)
        folder = RunFolder(Path(results), header | {"order": how, "confirming": None}, points)
        watcher.started(folder.path)
        arms = [
            Arm(name, order, greeted, folder.add, watcher, implementation)
            for name, greeted, implementation in zip(("base", "head"), (base, head), implementations, strict=True)
        ]

        def tell(confirming: Confirming) -> None:
            folder.write_header(confirming=asdict(confirming))

        run = PairedRun(arms[0], arms[1], cases, asked.gate, how, quick=quick, tell=tell)
        state = _driven(run, folder)
    return _ended(run, folder, state, cases)


def compare(
    base: str | Path,
    head: str | Path | None = None,
    *,
    results: str | Path = "results",
    tolerance: float | None = None,
    metric: str | None = None,
    create: bool = False,
) -> Comparison:
    """Judge the arms of one A/B run (`base` alone), or a run against another or against a baseline's name.

    The gate is that of the head's suite; `tolerance` replaces its latency's, `metric` leaves the others out. With `create`, a run that no
    baseline fits becomes it, and is compared with itself. Raises NotComparable by the name of the fields that differ, UsageError, StorageError.
    """
    folder = Path(results)
    own = load_results(base, results=folder) if head is None else load_results(head, results=folder, samples=False)
    gate = _gate(own) if tolerance is None else _gate(own).with_latency(tolerance)
    if head is None:
        return _narrowed(judge(own, gate), metric)
    for run in (own, known := _known(str(base), str(head), own, folder, create=create)):
        if run.arms != {"main"}:
            raise UsageError("is an A/B, which holds both of its sides", where=run.runs[0]["run_id"], hint="Give it alone: convscope compare RUN")
    return _narrowed(_judged_runs(known, own, gate), metric)


def _gate(run: Results) -> Gate:
    return Gate.from_json(run.runs[0].get("gate") or {})


def _known(name: str, head_name: str, head: Results, folder: Path, *, create: bool) -> Results:
    """What a run is compared with: a baseline of this name where there is one, else a run. With `create`, the run itself where nothing fits."""
    if not baselines.exists(name, folder):
        begins_so = [path for path in run_folders(folder) if path.name.startswith(name)]
        if name == "last" or (Path(name) / RUN_FILE).is_file() or (name and begins_so):
            return load_results(name, results=folder, samples=False)
    try:
        return baselines.fitting(name, head, folder)
    except (NotComparable, NoBaseline):
        if not create:
            raise
        baselines.save(name, head, find_run(head_name, folder), folder)
        return head


def judge(run: Results, gate: Gate | None = None) -> Comparison:
    """Judge the two arms of one A/B run, by its suite's gate unless another is given. Raises UsageError for a run of one arm."""
    header = run.runs[0]
    if run.arms != {"base", "head"}:
        hint = "Give a base before it: convscope compare BASE HEAD"
        raise UsageError("has one arm, and nothing to compare it with", where=header["run_id"], hint=hint)
    short = run.visits["case_id"].isin((header.get("confirming") or {}).get("short", ()))
    manner = judging.Manner(
        quick=header["quick"], timed_out=header["state"] != "complete", short=judging.match_ids(run.visits)[short].unique().tolist()
    )
    arms, how = header["arms"], header.get("order", "turns")
    notes = [] if how == "turns" else [f"The arms were measured in the order {how}, not in turns: their figures differ more so."]
    if how == "turns" and (apart := run.visits.loc[run.visits["turns"] == 0, "pair"].nunique()):
        notes = [f"{apart} pairs did not take turns, since the device does not hold both arms: their figures differ more so."]
    names = [f"{arm} ({arms[arm]['implementation']})" if arms[arm].get("implementation") else arm for arm in judging.SIDES]
    return replace(
        judging.judge_pairs(run.visits, gate or _gate(run), manner),
        names=(names[0], names[1]),
        differences=environments.informative(*(environments.facts(header, arm) for arm in judging.SIDES)),
        notes=notes,
    )


def _judged_runs(base: Results, head: Results, gate: Gate) -> Comparison:
    headers = base.runs[0], head.runs[0]
    apart = environments.differing(*(environments.likeness(header, "main") for header in headers))
    apart |= _differing_by_case(base.visits, head.visits)
    if apart:
        raise NotComparable(f"were not measured alike: {environments.in_words(apart)}", where=f"{headers[0]['run_id']} and {headers[1]['run_id']}")
    judged = judging.judge_runs(
        base.visits,
        head.visits,
        gate,
        floor=(floor := baselines.known_floor(head)) or 0.0,
        asked={side: set(run.points["case_id"].dropna()) for side, run in zip(judging.SIDES, (base, head), strict=True)},
        quick=headers[0]["quick"] or headers[1]["quick"],
    )
    return replace(
        judged,
        names=(headers[0]["run_id"], headers[1]["run_id"]),
        differences=environments.informative(*(environments.facts(header, "main") for header in headers)),
        notes=[_how_apart(headers, floor)],
    )


def _how_apart(headers: tuple[dict[str, Any], dict[str, Any]], floor: float | None) -> str:
    """What is to be said of two runs that were measured one after the other."""
    if headers[0]["run_id"] == headers[1]["run_id"]:
        return "The run is its own baseline: there was none that fits, or it was named twice."
    if floor is None:
        known = f"How far identical code differs between runs here is not known: convscope floor {headers[1]['suite']['name']}."
    else:
        known = f"The tolerance is widened by the {units.percent(expm1(floor))} by which identical code differs between runs here."
    return f"The two were measured apart. {known} `convscope ab` tells smaller differences."


def _differing_by_case(base: pd.DataFrame, head: pd.DataFrame) -> environments.Differences:
    """Of the cases that both have, the first whose threads or device differ."""
    names = ["threads_used", "device_name"]
    one, other = (visits[visits["status"] == "ok"].groupby("case_id")[names].first() for visits in (base, head))
    both = one.merge(other, left_index=True, right_index=True, suffixes=("_base", "_head"))
    found = {}
    for name in names:
        pair = both[[f"{name}_base", f"{name}_head"]].dropna()
        unlike = pair[pair.iloc[:, 0] != pair.iloc[:, 1]]
        if len(unlike):
            found[name] = (unlike.iloc[0, 0], unlike.iloc[0, 1])
    return found


def _narrowed(comparison: Comparison, metric: str | None) -> Comparison:
    """One metric alone; a case that has no figure to judge stays whatever the metric."""
    if metric is None:
        return comparison
    rows = comparison.verdicts
    kept = rows[(rows["metric"] == metric) | rows["verdict"].isin(["not comparable", "missing", "new"])]
    return replace(comparison, verdicts=kept, common=comparison.common if metric == "latency_s" else None)


def floor(
    suite: str | Path | Suite,
    *,
    runs: int = 3,
    results: str | Path = "results",
    python: str | None = None,
    wait: bool = True,
    watcher: Watcher = SILENT,
) -> float:
    """Run a suite several times and learn how far identical code differs between runs on this machine: a log ratio, kept in the user's cache."""
    found = [sweep(suite, results=results, python=python, wait=wait, watcher=watcher) for _ in range(runs)]
    measured = baselines.floor_between([run.summary for run in found])
    baselines.keep_floor(found[-1], measured)
    return measured


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
    machine.learn(found.visits)
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
