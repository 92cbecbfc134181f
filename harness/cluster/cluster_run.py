"""Drives a sweep over a cluster: gives out shards, keeps the rows that come back, and gives what a lost
device had not finished to another.

In: groups of alike members, each with the folder of its run. Out: rows in those folders. A group's run is an
ordinary run, measured by several devices; the column `member` says which.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from math import inf
from typing import TYPE_CHECKING, Any, Protocol

from harness.cluster.shards import Schedule, Shard, cut
from harness.core.errors import ConvscopeError
from harness.plan.duration import rounds_s
from harness.store import machine_cache
from harness.store.visit_files import VisitLog, storing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from harness.cluster.agent import Event, Order
    from harness.cluster.members import Member
    from harness.core.case import Case
    from harness.core.columns import Row
    from harness.run.context import RunContext
    from harness.run.progress_events import ProgressListener
    from harness.store.run_folder import RunFolder

CHECK_FOLDER = "check"  # in the folder of a run: what a second device measured of its cases
ASK_S = 1.0  # seconds after which a driver that hears nothing looks at its clock


class Cluster(Protocol):
    """Where members are asked: `ray_cluster.RayCluster`, or one in virtual time."""

    def begin(self, name: str, order: Order) -> None: ...
    def wait(self, limit_s: float) -> Iterator[tuple[str, list[Event] | Exception]]: ...
    def release(self, name: str) -> None: ...


@dataclass
class Group:
    """Members that are alike, and their run: what it has come to so far."""

    members: list[Member]
    cases: list[Case]
    context: RunContext
    folder: RunFolder
    schedule: Schedule = field(init=False)
    valid: set[str] = field(default_factory=set)
    skipped: set[str] = field(default_factory=set)
    visits: int = 0
    rounds: int = 0
    timed_s: float = 0.0
    late: bool = False  # a shard ended by its time limit
    left_s: float = 0.0  # about what one device would take for the rest
    errors: list[str] = field(default_factory=list)
    checked: VisitLog | None = None
    _before: dict[int, list[Row]] = field(default_factory=dict)  # by shard, while it is not finished

    def __post_init__(self) -> None:
        facts = self.folder.header["cluster"]
        shards = cut(self.cases, facts["cases_a_shard"])
        self._seconds = {shard.number: rounds_s(self.context.policy, shard.cases) for shard in shards}
        self._finished = set(facts["finished"])
        self.left_s = sum(
            seconds for number, seconds in self._seconds.items() if number not in self._finished
        )
        members = {member.name: member.kind for member in self.members}
        self.schedule = Schedule(shards, members, self._seconds, self._finished)
        self._shard_of = {case.case_id: shard.number for shard in shards for case in shard.cases}

    def recall(self, rows: Iterable[Row]) -> None:
        """Take the rows of a run that goes on."""
        for row in rows:
            self._count(row)

    def order(self, shard: Shard, member: Member, limit_s: float) -> Order:
        """What a member is asked for."""
        policy = self.context.policy
        if limit_s < inf:
            policy = replace(policy, time_limit_s=limit_s)
        return {
            "run_id": self.context.run_id,
            "policy": policy.as_message(),
            "seed": self.context.seed + shard.number,
            "placement": member.placement,
            "run_spread": self.context.run_spread,
            "environment_id": member.interpreter.environment_id,
            "cases": [case.as_message() for case in shard.cases],
            "before": [] if shard.checks else self._before.get(shard.number, []),
            "ceilings": not shard.checks and self.folder.header["ceilings"] is None,
        }

    def keep(self, shard: Shard, member: Member, row: Row) -> Row:
        """Keep a visit, on disk when this returns; of a check, apart from the run's own."""
        row = row | {"member": member.name}
        if shard.checks is None:
            self.folder.add(row)
            self._count(row)
        else:
            self._check_log().add(row)
        return row

    def finish(self, member: Member, facts: dict[str, Any]) -> None:
        """A member has ended a shard."""
        self.rounds, self.timed_s = max(self.rounds, facts["rounds"]), self.timed_s + facts["timed_s"]
        if facts["state"] != "complete":
            self.late = True
            self.schedule.put_back(member.name)
            return
        shard = self.schedule.finish(member.name)
        if shard.checks is None:
            self._before.pop(shard.number, None)
            self._finished.add(shard.number)
            self.left_s -= self._seconds[shard.number]
            cluster = self.folder.header["cluster"] | {"finished": sorted(self._finished)}
            self.folder.write_header(cluster=cluster)

    def keep_ceilings(self, member: Member, ceilings: list[Row]) -> None:
        """Keep the roofs that one of the alike devices measured."""
        if self.folder.header["ceilings"] is None:
            self.folder.write_header(
                ceilings=machine_cache.best_ceilings(member.interpreter.environment_id, ceilings)
            )

    @property
    def failed(self) -> list[Case]:
        """The cases that should have a figure and have none."""
        done = self.valid | self.skipped
        return [case for case in self.cases if case.case_id not in done]

    @property
    def left(self) -> list[Shard]:
        """What nobody has finished."""
        return [*self.schedule.waiting, *self.schedule.running.values(), *self.schedule.given_up]

    def close(self, state: str, wall_s: float) -> None:
        """End the run's files."""
        try:
            if self.checked:
                self.checked.close()
        finally:
            self.folder.close(
                state=state, wall_s=wall_s, timed_s=self.timed_s, rounds=self.rounds, visits=self.visits
            )

    def _count(self, row: Row) -> None:
        self.visits += 1
        asked = row["asked_id"]
        if row["status"] == "ok" and row["trust"] != "invalid":
            self.valid.add(asked)
        if row["status"] == "skipped":
            self.skipped.add(asked)
        number = self._shard_of[asked]
        if number not in self._finished:
            self._before.setdefault(number, []).append(row)

    def _check_log(self) -> VisitLog:
        if self.checked is None:
            path = self.folder.path / CHECK_FOLDER
            with storing(path):
                path.mkdir(exist_ok=True)
            self.checked = VisitLog(path)
        return self.checked


class ClusterRun:
    """All groups at once."""

    def __init__(self, cluster: Cluster, groups: Sequence[Group], listener: ProgressListener) -> None:
        self.cluster, self.groups, self.listener = cluster, groups, listener
        self._of = {member.name: (group, member) for group in groups for member in group.members}
        self._cases = {case.case_id: case for group in groups for case in group.cases}
        self._began = time.monotonic()

    def go(self) -> None:
        """Until nothing is left that a member could do."""
        self.listener.begin(
            sum(len(group.cases) for group in self.groups),
            self._left_s(),
            f"on {len(self._of)} devices; a tenth is checked by a second one",
        )
        for name in list(self._of):
            self._give(name)
        while any(group.schedule.running for group in self.groups):
            for name, events in self.cluster.wait(ASK_S):
                self._hear(name, events)

    def _give(self, name: str) -> None:
        """Have a free member measure what comes next for it; one for which there is nothing is let go, and
        what it holds of its machine with it."""
        group, member = self._of[name]
        left_s = self._time_left_s(group)
        shard = group.schedule.take(name) if left_s > 0 else None
        if shard is not None:
            self.cluster.begin(name, group.order(shard, member, left_s))
        else:
            self.cluster.release(name)

    def _hear(self, name: str, events: list[Event] | Exception) -> None:
        group, member = self._of[name]
        if isinstance(events, Exception):
            self._lose(group, member, str(events))
            return
        shard = group.schedule.running[name]
        for word, what in events:
            if word == "row":
                row = group.keep(shard, member, what)
                self._show(row)
            elif word == "ceilings":
                group.keep_ceilings(member, what)
            elif word == "end":
                group.finish(member, what)
                self._give_all(group, name)
            else:
                self._lose(group, member, str(ConvscopeError(what["message"], hint=what.get("hint", ""))))

    def _lose(self, group: Group, member: Member, why: str) -> None:
        """A member is gone: the others take what it had."""
        shard = group.schedule.lose(member.name)
        del self._of[member.name]
        group.errors.append(f"{member.name}: {why}")
        self.cluster.release(member.name)
        self.listener.lost(member.name, why, 0 if shard is None else len(shard.cases))
        self._give_all(group)

    def _give_all(self, group: Group, first: str | None = None) -> None:
        """Give every free member of a group what there is: a shard that came back, or a check that may
        begin."""
        names = [member.name for member in group.members if member.name in self._of]
        for name in sorted(names, key=lambda name: name != first):
            if name not in group.schedule.running:
                self._give(name)

    def _show(self, row: Row) -> None:
        case = self._cases[row["asked_id"]]
        self.listener.visited(case, row)
        self.listener.visiting(case, row["member"], self._left_s())

    def _left_s(self) -> float:
        """About how long it will take, by what is left and how many there are to measure it."""
        return max(group.left_s / max(group.schedule.alive, 1) for group in self.groups)

    def _time_left_s(self, group: Group) -> float:
        limit_s = group.context.policy.time_limit_s
        return inf if limit_s is None else limit_s - (time.monotonic() - self._began)
