"""A run that is kept, as a sweep and an A/B share it: what its run.json says, whom it measures, how it
ends."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING, Any

from harness import __version__
from harness.core.columns import METHOD, SCHEMA
from harness.core.errors import CasesFailed, Stopped, UsageError
from harness.core.gate import SIDES
from harness.plan.axes import ALL
from harness.plan.points import distinct_cases, without_devices
from harness.run.context import RunContext
from harness.run.device_worker import device_name, require_devices
from harness.store import machine_cache
from harness.store.results import Results, load_results
from harness.store.run_folder import RunFolder, new_run_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.core.case import Case
    from harness.plan.axes import Value
    from harness.plan.points import Point
    from harness.plan.suite import Suite
    from harness.run.device_worker import Interpreter
    from harness.run.paired_run import PairedRun
    from harness.run.rounds import RoundsRun
    from harness.run.worker_process import Hello


def new_context(suite: Suite) -> RunContext:
    """A run of a suite that begins now, with a name and a seed of its own. Raises UsageError for all devices
    of a type: one machine measures on one of them."""
    for kind, index in suite.placement.items():
        if index == ALL:
            hint = f"Name one, as {kind}:0, or measure a suite with convscope run --on local."
            raise UsageError(f"{kind}:all takes a cluster", where="device", hint=hint)
    return RunContext(
        run_id=new_run_id(suite.name),
        policy=suite.policy,
        seed=time.time_ns() % 2**31,
        placement=suite.placement,
    )


def devices_of(points: list[Point], context: RunContext) -> set[str]:
    """The devices to hold while these points are measured, as `cpu` or `cuda:0`."""
    return {device_name(case.setting.device, context.placement) for case in distinct_cases(points)}


def drive(run: RoundsRun | PairedRun, folder: RunFolder) -> str:
    """Let a run go on until it ends or is stopped, and close its folder: how it ended."""
    began, state = time.monotonic(), "failed"
    try:
        state = run.go()
    except KeyboardInterrupt:
        state = "interrupted"
    finally:
        wall_s = (folder.header["wall_s"] or 0.0) + time.monotonic() - began
        folder.close(state=state, wall_s=wall_s, timed_s=run.timed_s, rounds=run.rounds, visits=run.visits)
    return state


def finish(run: RoundsRun | PairedRun, folder: RunFolder, state: str, cases: list[Case]) -> Results:
    """What a run came to. Raises Stopped, CasesFailed."""
    found = load_results(folder.path)
    if found.arms == {"main"} and state in ("complete", "time_limit"):
        machine_cache.learn(found.summary)
    if state == "interrupted":
        raise Stopped(
            f"stopped; {run.visits} measurements are kept",
            where=str(folder.path),
            hint=(
                f"Go on: convscope {sort_of(folder.header)} --resume {folder.path}\n"
                f"Or look at it: convscope report {folder.path}"
            ),
        )
    if run.failed:
        raise CasesFailed(
            f"finished; {len(run.failed)} of {len(cases)} cases have no latency",
            where=str(folder.path),
            hint=f"convscope report {folder.path}",
        )
    return found


def sort_of(header: Mapping[str, Any]) -> str:
    """The command that makes runs like this one: `run`, `ab` or `versus`."""
    return str(header.get("comparison") or ("ab" if set(header["arms"]) == set(SIDES) else "run"))


def present_points(suite: Suite, points: list[Point], hello: Hello, *, named: bool) -> list[Point]:
    """The points on devices that are there. Raises DeviceError for a device named by the asker, or where none
    is left; UsageError without a case."""
    if not distinct_cases(points):
        reasons = "; ".join(sorted({point.skip_reason for point in points if point.skip_reason}))
        raise UsageError(f"none of its {len(points)} points can be measured", where=suite.name, hint=reasons)
    asked = {case.setting.device for case in distinct_cases(points)}
    if named or not asked & hello.device_types:
        require_devices(hello, asked, suite.placement)
    require_devices(hello, asked & hello.device_types, suite.placement)
    return without_devices(points, hello.device_types)


def header_of(
    suite: Suite, context: RunContext, arms: Mapping[str, tuple[Interpreter, dict[str, Value]]], quick: bool
) -> dict[str, Any]:
    """What run.json says before the first visit. `arms`: by name, who measures, and what it changes in the
    cases that are asked for, by axis."""
    return {
        "schema": SCHEMA,
        "run_id": context.run_id,
        "suite": {
            "name": suite.name,
            "title": suite.title,
            "text": suite.text,
            "sha256": suite.sha256,
            "source": suite.source,
        },
        "policy": suite.policy.as_message(),
        "placement": context.placement,
        "gate": suite.gate.as_json(),
        "quick": quick,
        "arms": {
            name: {
                "python": interpreter.python,
                "environment_id": interpreter.environment_id,
                "changes": changes,
            }
            for name, (interpreter, changes) in arms.items()
        },
        "environments": {
            interpreter.environment_id: interpreter.environment for interpreter, _ in arms.values()
        },
        "devices": next(iter(arms.values()))[0].devices,
        "method": METHOD,
        "run_spread": context.run_spread,
        "ceilings": None,
        "seed": context.seed,
        "git": _git_facts(),
        "version": __version__,
        "state": "running",
        "wall_s": None,
        "timed_s": None,
    }


def _git_facts() -> dict[str, Any] | None:
    """Commit with its date and tag, branch and whether files are changed, of the current folder; None outside
    a checkout."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        return {
            "commit": git("rev-parse", "HEAD"),
            "committed_at": git("show", "-s", "--format=%cI", "HEAD"),
            "tag": git("tag", "--points-at", "HEAD").partition("\n")[0] or None,
            "branch": git("rev-parse", "--abbrev-ref", "HEAD"),
            "changed": bool(git("status", "--porcelain")),
        }
    except (OSError, subprocess.SubprocessError):
        return None
