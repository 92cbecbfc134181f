"""A sweep over a cluster in virtual time: how much of its devices' time is measuring, and what the driver
needs.

    python -m tests.virtual_cluster                     100 devices, 100,000 cases
    python -m tests.virtual_cluster --devices 1000

The driver is the real one, files and all; only the devices and the clock are not. A shard costs what the
planner says that it does, with starts of workers, times a factor of its own (0.7 to 1.6, a machine is never
what is planned). Efficiency is the time that devices measure over the time that they are there.
"""

from __future__ import annotations

import argparse
import heapq
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from harness.cluster.cluster_run import ClusterRun, Group
from harness.cluster.members import Member
from harness.cluster.shards import cases_a_shard
from harness.core.case import Case, Setting
from harness.core.columns import BY_NAME, SCHEMA, case_columns
from harness.core.policy import Policy
from harness.core.problem import Problem
from harness.plan.duration import rounds_s
from harness.plan.points import Point
from harness.run.context import RunContext
from harness.run.device_worker import Interpreter
from harness.run.progress_events import SILENT
from harness.store.run_folder import RunFolder

LEAST_EFFICIENCY, MOST_BYTES = 0.95, 500e6
ENVIRONMENT = "0123456789ab"
BEGAN = datetime(2026, 1, 1, tzinfo=timezone.utc)
EMPTY = dict.fromkeys(BY_NAME)


class VirtualCluster:
    """Devices that measure in no time: events in the order of a clock of their own."""

    def __init__(self, policy: Policy, seed: int) -> None:
        self.now_s = self.busy_s = 0.0
        self._policy, self._random = policy, random.Random(seed)
        self._due: list[tuple[float, str, dict[str, Any]]] = []

    def begin(self, name: str, order: dict[str, Any]) -> None:
        cases = [Case.from_message(case) for case in order["cases"]]
        took_s = rounds_s(self._policy, cases) * self._random.uniform(0.7, 1.6)
        self.busy_s += took_s
        heapq.heappush(self._due, (self.now_s + took_s, name, order))

    def wait(self, limit_s: float) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
        self.now_s, name, order = heapq.heappop(self._due)
        began = BEGAN + timedelta(seconds=self.now_s)
        rows = [
            ("row", visit(Case.from_message(case), number, place, began, name, order["run_id"]))
            for number in range(1, self._policy.rounds + 1)
            for place, case in enumerate(order["cases"])
        ]
        yield name, [*rows, ("end", {"state": "complete", "timed_s": 0.0, "rounds": self._policy.rounds})]

    def release(self, name: str) -> None:
        pass


def visit(case: Case, number: int, place: int, began: datetime, member: str, run_id: str) -> dict[str, Any]:
    """A visit with a figure and as many samples as a real one."""
    samples = [1e-3] * 40
    return (
        EMPTY
        | case_columns(case)
        | {
            "schema": SCHEMA,
            "run_id": run_id,
            "arm": "main",
            "environment_id": ENVIRONMENT,
            "round": number,
            "position": place,
            "started_at": began + timedelta(seconds=number),
            "asked_id": case.case_id,
            "process": f"{member}-{number}-{place}-{began.timestamp()}",
            "status": "ok",
            "trust": "ok",
            "trust_reasons": [],
            "turns": 0,
            "samples_s": samples,
            "calls_per_sample": 1,
            "latency_s": 1e-3,
            "place_figures_s": [1e-3] * 4,
        }
    )


def cases_of(count: int) -> list[Case]:
    """Different cases, of some tenths of a millisecond to some milliseconds."""
    kinds = ("standard", "depthwise", "pointwise", "depthwise_separable")
    return [
        Case(Problem(kinds[number % 4], in_channels=8 + number // 40, size=7 + number % 40 // 4), Setting())
        for number in range(count)
    ]


def simulate(devices: int, count: int, folder: Path) -> tuple[float, float, int]:
    """Efficiency, the driver's seconds a visit, visits."""
    policy, cases = Policy(), cases_of(count)
    interpreter = Interpreter("python", ENVIRONMENT, {}, [])
    members = [
        Member(f"machine-{number}/cpu", f"machine-{number}", "", "cpu", interpreter)
        for number in range(devices)
    ]
    header = {
        "run_id": "virtual",
        "ceilings": [],
        "wall_s": None,
        "cluster": {"cases_a_shard": cases_a_shard(count, devices), "finished": []},
    }
    points = [
        Point("all", number, case.problem.kind, None, {}, case=case) for number, case in enumerate(cases)
    ]
    context = RunContext(run_id="virtual", policy=policy, seed=1)
    group = Group(members, cases, context, RunFolder(folder, header, points))
    cluster = VirtualCluster(policy, 1)
    began = time.process_time()
    ClusterRun(cluster, [group], SILENT).go()
    used_s = time.process_time() - began
    visits = group.visits
    group.close("complete", 0.0)
    assert not group.failed and not group.left
    return cluster.busy_s / (devices * cluster.now_s), used_s / visits, visits


def main() -> int:
    """Whether the bounds hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--devices", type=int, default=100)
    parser.add_argument("--cases", type=int, default=100_000)
    asked = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        efficiency, visit_s, visits = simulate(asked.devices, asked.cases, Path(folder))
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        f"{asked.devices} devices, {asked.cases} cases, {visits} visits: efficiency {efficiency:.1%}, driver "
        f"{1e3 * visit_s:.2f} ms of the processor a visit, {used / 1e6:.0f} MB, "
        f"{time.monotonic() - began:.0f} s"
    )
    return int(efficiency < LEAST_EFFICIENCY or used > MOST_BYTES)


if __name__ == "__main__":
    sys.exit(main())
