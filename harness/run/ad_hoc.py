"""A device that is held and an interpreter that is connected, to measure cases of which no file is kept.

In: cases, and a policy each time. Out: the summary of what was measured.
`tasks.measure`, `advise` and the search for cliffs stand on it.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, cast

import pandas as pd

from harness.analysis.case_ratio import with_moments
from harness.analysis.roofline import with_roofline
from harness.analysis.summary import summarize
from harness.core.errors import DeviceError
from harness.core.policy import Policy
from harness.plan.duration import call_s, rounds_s
from harness.run import locks
from harness.run.arm import Arm, Surveyed
from harness.run.context import RunContext
from harness.run.device_worker import DeviceWorker, connect, device_name, require_devices
from harness.run.rounds import RoundsRun
from harness.store import machine_cache

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.analysis.summary_row import PairedRow
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
        self._surveyed = Surveyed()
        self._guessed: dict[str, float] = {}
        self._roofs: list[dict[str, Any]] = []

    def look(self, cases: Sequence[Case], policy: Policy) -> dict[str, float]:
        """Survey cases, which are not looked at again when they are measured: about how many seconds a call
        takes, by case_id, of those that could be called. The listener hears of slow ones what they cost by
        this policy."""
        self._guessed |= {case.case_id: call_s(case) for case in cases}
        self._arm(self._context(policy), []).survey(cases, inf)
        return {
            case.case_id: self._surveyed.call_s[case.case_id]
            for case in cases
            if case.case_id in self._surveyed.call_s
        }

    def measure(self, cases: Sequence[Case], policy: Policy, *, roofs: bool = True) -> pd.DataFrame:
        """One row a case, by the names of the summary; without `roofs` it is set under none. Those of a
        processor are measured where the machine does not remember them."""
        visits = self.visits(cases, policy, roofs=roofs)
        return self._summary(visits, policy, self._roofs if roofs else [])

    def visits(
        self,
        cases: Sequence[Case],
        policy: Policy,
        *,
        survey: bool = True,
        roofs: bool = True,
        repeats: bool = True,
    ) -> pd.DataFrame:
        """One row a visit; without a `survey` its columns are empty, without `repeats` a disturbed one is not
        made again."""
        rows: list[Row] = []
        measured: list[Row] = []
        known = self._known_roofs(cases) if roofs else []
        wanted = roofs and not known
        arm = self._arm(self._context(policy), rows)
        RoundsRun(arm, cases, measured.extend if wanted else None, survey=survey, repeats=repeats).go()
        if measured:
            known = machine_cache.best_ceilings(self._connection.environment_id, measured)
        self._roofs = known or self._roofs
        return pd.DataFrame(rows)

    def paired(self, visits: pd.DataFrame, policy: Policy) -> list[PairedRow]:
        """One row a case of all these visits, to be compared with each other (`case_ratio`)."""
        summary = with_moments(self._summary(visits, policy, self._roofs), visits)
        return cast("list[PairedRow]", summary.to_dict("records"))

    def _summary(self, visits: pd.DataFrame, policy: Policy, roofs: list[dict[str, Any]]) -> pd.DataFrame:
        header = {"policy": policy.as_message(), "run_spread": self._context(policy).run_spread}
        return with_roofline(summarize(visits, {NAME: header}), {NAME: roofs})

    def _arm(self, context: RunContext, rows: list[Row]) -> Arm:
        return Arm("main", context, self._connection, rows.append, self._listener, surveyed=self._surveyed)

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

    def cost_s(self, cases: Sequence[Case], policy: Policy) -> float:
        """About how long it takes to measure cases. Those that were not looked at are guessed, as far off as
        those were that were."""
        known = self._surveyed.call_s
        off = max((known[one] / guess for one, guess in self._guessed.items() if one in known), default=1.0)
        calls_s = {case.case_id: known.get(case.case_id, off * call_s(case)) for case in cases}
        return rounds_s(policy, cases, calls_s)

    def tenants(self, seconds: float) -> Tenants:
        """What others take of the device, over so many seconds. Raises DeviceError where that cannot be
        told."""
        with DeviceWorker(self._connection.python, self._device, 0, Policy()) as worker:
            answer = worker.ask({"do": "tenants", "id": 0, "seconds": seconds}, seconds + TENANTS_LIMIT_S)
        if answer["status"] != "ok":
            raise DeviceError(str(answer.get("message")), where=self._device)
        values = answer["values"]
        return Tenants(values["batches"], values["slowed_share"], values["lost_share"])

    def _context(self, policy: Policy) -> RunContext:
        spread = machine_cache.run_spread(self._connection.environment_id)
        return RunContext(
            run_id=NAME,
            policy=policy,
            seed=time.time_ns() % 2**31,
            placement=self._placement,
            run_spread=spread,
        )
