"""A device that is held and an interpreter that is connected, to measure cases of which no file is kept.

In: cases, and a policy each time. Out: the summary of what was measured, or ratios of cases that took turns.
`tasks.measure`, `advise` and the search for cliffs stand on it.
"""

from __future__ import annotations

import contextlib
import random
import time
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import pandas as pd

from harness.analysis.pair_effects import pair_ratios, paired_effects
from harness.analysis.roofline import with_roofline
from harness.analysis.summary import summarize
from harness.core.errors import DeviceError
from harness.core.gate import SIDES
from harness.core.interval import Interval
from harness.core.policy import Policy
from harness.core.stats import CONFIDENCE, student_t
from harness.plan.duration import pair_s
from harness.run import locks
from harness.run.arm import Arm
from harness.run.context import RunContext
from harness.run.device_worker import DeviceWorker, connect, device_name, require_devices
from harness.run.rounds import GRACE_S, RoundsRun
from harness.run.turns import alternate, open_all
from harness.store import machine_cache

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.core.case import Case
    from harness.core.columns import Row
    from harness.run.device_worker import Connection
    from harness.run.progress_events import ProgressListener

TENANTS_LIMIT_S = 30.0  # beyond the probe itself: a context, tensors, a clock that rises
NAME = "bench"  # in place of a run_id


@dataclass(frozen=True, slots=True)
class Tenants:
    """Of so many batches of work on a device: the share that took longer than it should, and the time that
    was taken over the time needed."""

    batches: int
    slowed_share: float
    lost_share: float


@contextlib.contextmanager
def ad_hoc_session(
    kind: str, index: int | None, python: str, *, wait: bool, listener: ProgressListener
) -> Iterator[AdHocSession]:
    """Hold a device of a kind (index None: the first) and connect an interpreter. Raises BusyError,
    InterpreterError, DeviceError."""
    placement = {} if index is None else {kind: index}
    with (
        locks.hold([device_name(kind, placement)], wait=wait, on_wait=listener.waiting),
        connect(python) as connection,
    ):
        require_devices(connection.hello, [kind], placement)
        yield AdHocSession(connection, kind, placement, listener)


class AdHocSession:
    """Measures, as often as it is asked; all cases are of its device."""

    def __init__(
        self, connection: Connection, kind: str, placement: dict[str, int], listener: ProgressListener
    ) -> None:
        self._connection, self._listener = connection, listener
        self._device, self._placement = device_name(kind, placement), placement

    def measure(self, cases: Sequence[Case], policy: Policy, *, roofs: bool = True) -> pd.DataFrame:
        """One row a case, by the names of the summary; without `roofs` it is set under none. Those of a
        processor are measured where the machine does not remember them."""
        rows: list[Row] = []
        measured: list[Row] = []
        context = self._context(policy)
        known = self._known_roofs(cases) if roofs else []
        RoundsRun(
            Arm("main", context, self._connection, rows.append, self._listener),
            cases,
            measured.extend if roofs and not known else None,
        ).go()
        best = known or (
            machine_cache.best_ceilings(self._connection.environment_id, measured) if measured else []
        )
        header = {"policy": policy.as_message(), "run_spread": context.run_spread}
        return with_roofline(summarize(pd.DataFrame(rows), {NAME: header}), {NAME: best})

    def _known_roofs(self, cases: Sequence[Case]) -> list[dict[str, Any]]:
        """Of cases that all run on a processor with as many threads."""
        threads = {case.setting.threads for case in cases}
        if self._device != "cpu" or len(threads) > 1:
            return []
        stated = threads.pop()
        count = self._connection.hello.environment["threads_available"] if stated == "all" else int(stated)
        return machine_cache.known_ceilings(
            self._connection.environment_id, count, {case.setting.dtype for case in cases}
        )

    def tenants(self, seconds: float) -> Tenants:
        """What others take of the device, over so many seconds. Raises DeviceError where that cannot be
        told."""
        with DeviceWorker(self._connection.python, self._device, 0, Policy()) as worker:
            answer = worker.ask({"do": "tenants", "id": 0, "seconds": seconds}, seconds + TENANTS_LIMIT_S)
        if answer["status"] != "ok":
            raise DeviceError(str(answer.get("message")), where=self._device)
        values = answer["values"]
        return Tenants(values["batches"], values["slowed_share"], values["lost_share"])

    def compare_in_turns(
        self, first: Case, others: Sequence[Case], policy: Policy, pairs: int
    ) -> dict[str, Interval]:
        """By how many times each other case takes as long as the first, with its interval over pairs that
        took turns, by case_id.

        All pairs are of fresh processes under two fresh workers. A case with fewer than two valid pairs is
        left out.
        """
        rows: list[Row] = []
        context = self._context(policy)
        arms = {side: Arm(side, context, self._connection, rows.append, self._listener) for side in SIDES}
        with arms["base"].worker(self._device) as base, arms["head"].worker(self._device) as head:
            workers = dict(zip(SIDES, (base, head), strict=True))
            open_all(workers.values())
            for pair, (number, other) in enumerate(product(range(pairs), others)):
                self._listener.visiting(other, "turns", (pairs - number) * len(others) * pair_s(policy, 0.0))
                cases = dict(zip(SIDES, (first, other), strict=True))
                visits = {
                    side: (workers[side], arms[side].request("visit", cases[side], turns=policy.turns))
                    for side in _tossed()
                }
                for side, answer in alternate(visits, policy.turns, policy.visit_limit_s + GRACE_S).items():
                    arms[side].keep_row(cases[side], answer, round=number + 1, position=pair, pair=pair)
        return _ratios(pd.DataFrame(rows))

    def _context(self, policy: Policy) -> RunContext:
        spread = machine_cache.run_spread(self._connection.environment_id)
        return RunContext(
            run_id=NAME,
            policy=policy,
            seed=time.time_ns() % 2**31,
            placement=self._placement,
            run_spread=spread,
        )


def _tossed() -> list[str]:
    return random.sample(SIDES, 2)


def _ratios(visits: pd.DataFrame) -> dict[str, Interval]:
    """By case_id of the head."""
    other = visits[visits["arm"] == "head"].set_index("pair")["case_id"]
    effects = paired_effects(pair_ratios(visits.assign(match_id=visits["pair"].map(other))))
    found = {}
    for identity, effect in effects[effects["count"] > 1].iterrows():
        half = student_t((1 + CONFIDENCE) / 2, int(effect["degrees"])) * effect["error"]
        found[str(identity)] = Interval.around(effect["mean"], half)
    return found
