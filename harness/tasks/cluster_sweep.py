"""A suite, measured by all devices of a cluster and kept in results/: machines that are alike share a run,
others have one each.

cluster_sweep("channels", on="ray://head:10001")
cluster_resume("last", on="ray://head:10001")
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.analysis.likeness import likeness
from harness.cluster.cluster_run import CHECK_FOLDER, ClusterRun, Group
from harness.cluster.members import groups
from harness.cluster.ray_cluster import RayCluster
from harness.cluster.shards import CHECKED, cases_a_shard
from harness.core.errors import CasesFailed, NotComparable, Stopped, UsageError
from harness.plan.axes import ALL
from harness.plan.duration import rounds_s
from harness.plan.points import distinct_cases, expand, prepare, without_devices
from harness.run.progress_events import SILENT
from harness.store import machine_cache
from harness.store.mirrors import results_folder, sent, unsent
from harness.store.results import load_results
from harness.store.run_folder import RunFolder
from harness.store.visit_files import read_visits, rows_of
from harness.tasks.recorded_run import header_of, new_context
from harness.tasks.resume import kept_run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from harness.cluster.members import Member
    from harness.core.case import Case
    from harness.plan.axes import Value
    from harness.plan.points import Point
    from harness.plan.suite import Suite
    from harness.run.progress_events import ProgressListener
    from harness.store.results import Results


@dataclass(frozen=True, slots=True)
class Share:
    """Devices that are alike, and what they measure together. `seconds`: about how long it takes them."""

    members: list[Member]
    cases: list[Case]
    seconds: float


def cluster_plan(
    suite: str | Path | Suite = "",
    *,
    on: str,
    axes: Mapping[str, tuple[Value, ...]] | None = None,
    each: bool = False,
    python: str | None = None,
    quick: bool = False,
) -> list[Share]:
    """What each kind of device of a cluster would measure of a suite. Raises UsageError."""
    asked, points = _asked(suite, axes, quick=quick)
    with RayCluster(on) as cluster:
        alike = _alike(cluster, asked, points, python, each=each)
    return [
        Share(mine, cases, _seconds(asked, cases, mine))
        for mine in alike
        if (cases := _cases_of(points, mine))
    ]


def _seconds(asked: Suite, cases: Sequence[Case], members: Sequence[Member]) -> float:
    """Of the types of device the one that takes longest: each shares its cases, and several check a tenth."""
    found = []
    for kind in {case.setting.device for case in cases}:
        count = sum(member.kind == kind for member in members)
        alone_s = rounds_s(asked.policy, [case for case in cases if case.setting.device == kind])
        found.append(alone_s * (1 + (count > 1) / CHECKED) / count)
    return max(found)


def cluster_sweep(
    suite: str | Path | Suite = "",
    *,
    on: str,
    axes: Mapping[str, tuple[Value, ...]] | None = None,
    each: bool = False,
    results: str | Path = "results",
    python: str | None = None,
    quick: bool = False,
    time_limit_s: float | None = None,
    listener: ProgressListener = SILENT,
) -> list[Results]:
    """Run a suite on every device of a cluster, and load what came of it, a run for each kind of machine.
    `on`: the address of a Ray cluster, or `local` for all devices of this machine; `each`: every device
    measures all.

    Raises UsageError before anything is written; Stopped after Ctrl-C and CasesFailed where cases have no
    figure, with everything measured kept.
    """
    asked, points = _asked(suite, axes, quick=quick, time_limit_s=time_limit_s)
    folder = results_folder(results)
    with RayCluster(on) as cluster:
        alike = _alike(cluster, asked, points, python, each=each)
        made = [_group(asked, points, mine, folder, on, quick=quick) for mine in alike]
        for group in made:
            listener.started(group.folder.path)
        return _measured(ClusterRun(cluster, made, listener))


def cluster_resume(
    run: str | Path,
    *,
    on: str,
    results: str | Path = "results",
    python: str | None = None,
    time_limit_s: float | None = None,
    listener: ProgressListener = SILENT,
) -> list[Results]:
    """Measure what a run of a cluster lacks, on the machines of a cluster that are alike to those of before.

    Raises UsageError for a run that is complete, NotComparable where no such machine is there, and what
    `cluster_sweep` raises.
    """
    kept = kept_run(run, results, time_limit_s, sort="run")
    if "cluster" not in kept.header:
        hint = f"Go on: convscope run --resume {kept.path}"
        raise UsageError("was measured by one machine, without --on", where=kept.header["run_id"], hint=hint)
    arm = kept.header["arms"]["main"]
    kinds = {case.setting.device for case in kept.cases.asked}
    with RayCluster(on) as cluster:
        members = [
            member
            for member in cluster.members(kinds, kept.context.placement, python or arm["python"])
            if member.interpreter.environment_id == arm["environment_id"]
        ]
        if not members:
            raise NotComparable(
                "no machine of the cluster is like those that began it",
                where=kept.header["run_id"],
                hint="Start a new run; what was measured is kept.",
            )
        group = Group(members, kept.cases.asked, kept.context, kept.reopen({}))
        group.recall(rows_of(kept.visits))
        listener.started(group.folder.path)
        return _measured(ClusterRun(cluster, [group], listener))


def _asked(
    suite: str | Path | Suite,
    axes: Mapping[str, tuple[Value, ...]] | None,
    *,
    quick: bool,
    time_limit_s: float | None = None,
) -> tuple[Suite, list[Point]]:
    """A suite as it will be run, without the indices that mean every device. Raises UsageError."""
    asked = prepare(suite, axes or {}, quick=quick, time_limit_s=time_limit_s)
    points = expand(asked)
    if not distinct_cases(points):
        raise UsageError(f"none of its {len(points)} points can be measured", where=asked.name)
    placement = {kind: index for kind, index in asked.placement.items() if index != ALL}
    return replace(asked, placement=placement), points


def _alike(
    cluster: RayCluster, asked: Suite, points: Sequence[Point], python: str | None, *, each: bool
) -> list[list[Member]]:
    """The devices that a suite asks for, those that are alike together."""
    kinds = {case.setting.device for case in distinct_cases(points)}
    return groups(cluster.members(kinds, asked.placement, python), each=each)


def _cases_of(points: Sequence[Point], members: Sequence[Member]) -> list[Case]:
    return distinct_cases(without_devices(points, {member.kind for member in members}))


def _group(
    asked: Suite,
    points: Sequence[Point],
    members: list[Member],
    results: Path,
    on: str,
    *,
    quick: bool,
) -> Group:
    """Alike members, and the folder of the run that they share."""
    first = members[0].interpreter
    points = without_devices(points, {member.kind for member in members})
    cases = distinct_cases(points)
    context = replace(new_context(asked), run_spread=machine_cache.run_spread(first.environment_id))
    header = header_of(asked, context, {"main": (first, {})}, quick)
    header["cluster"] = {
        "address": on,
        "members": [{"name": one.name, "machine": one.machine, "device": one.device} for one in members],
        "cases_a_shard": cases_a_shard(len(cases), len(members)),
        "finished": [],
        "likeness": None,
    }
    return Group(members, cases, context, RunFolder(results, header, list(points)))


def _measured(run: ClusterRun) -> list[Results]:
    """Let it go on until it ends or is stopped, and close its folders. Raises Stopped, CasesFailed."""
    began, stopped, ended = time.monotonic(), False, False
    try:
        run.go()
        ended = True
    except KeyboardInterrupt:
        stopped = True
    finally:
        with ExitStack() as closing:  # each, whatever becomes of another
            for group in run.groups:
                wall_s = (group.folder.header["wall_s"] or 0.0) + time.monotonic() - began
                closing.callback(group.close, _state(group, stopped=stopped, ended=ended), wall_s)
    found = [load_results(group.folder.path) for group in run.groups]
    for group, results in zip(run.groups, found, strict=True):
        _learn(group, results)
    where = " ".join(str(group.folder.path) for group in run.groups)
    if stopped:
        visits = sum(group.visits for group in run.groups)
        raise Stopped(f"stopped; {visits} measurements are kept", where=where, hint=_resuming(run.groups))
    failed = sum(len(group.failed) for group in run.groups)
    if failed:
        of = sum(len(group.cases) for group in run.groups)
        lost = [error for group in run.groups for error in group.errors]
        hint = "\n".join([*lost, _resuming(run.groups) or f"convscope report {where}"])
        raise CasesFailed(f"finished; {failed} of {of} cases have no latency", where=where, hint=hint)
    return found


def _state(group: Group, *, stopped: bool, ended: bool) -> str:
    if stopped:
        return "interrupted"
    if not ended or (group.left and not group.late):
        return "failed"
    return "time_limit" if group.left else "complete"


def _resuming(groups: Sequence[Group]) -> str:
    return "\n".join(
        f"Go on: convscope run --resume {group.folder.path} --on {group.folder.header['cluster']['address']}"
        for group in groups
        if group.left
    )


def _learn(group: Group, results: Results) -> None:
    """What a finished run teaches: how far figures repeat, and whether its machines are alike."""
    if group.left:
        return
    machine_cache.learn(results.summary)
    folder = group.folder.path / CHECK_FOLDER
    if folder.is_dir():
        found = likeness(results.visits, read_visits(folder).table.to_pandas())
        unsent(group.folder.path)
        group.folder.write_header(cluster=group.folder.header["cluster"] | {"likeness": found})
        sent(group.folder.path)
