"""One side of a run: a connected interpreter, what its survey found of each case, and the rows that its
answers become.

In: cases, answers. Out: rows by the columns' names, one a visit, whatever became of it. A run has one arm,
`main`; an A/B has two, `base` and `head`, a ranking more. Each may run other cases than are asked for.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Any

from harness.core.columns import BY_NAME, MEASURED, SCHEMA, SURVEYED, WRONG, case_columns, fits, lacking
from harness.core.protocol import PARTNER
from harness.core.roofs import are_roofs
from harness.core.units import size, visible
from harness.plan.duration import visit_s
from harness.run.device_worker import Connection, DeviceWorker, device_name
from harness.run.free_memory import free_bytes, needed_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from harness.core.case import Case
    from harness.core.columns import Row
    from harness.core.protocol import Message
    from harness.run.context import RunContext
    from harness.run.progress_events import ProgressListener


SURVEY_LIMIT_S = 60.0  # beyond a visit's limit: the survey traces, profiles and checks besides
MOST_CRASHES = 2  # of a case, before it is given up
CEILINGS_LIMIT_S = 120.0  # large products on one slow core in a dtype that it emulates
MOST_CHARACTERS = 300  # of a message
EMPTY_ROW: dict[str, Any] = dict.fromkeys(BY_NAME)


@dataclass(frozen=True, slots=True)
class Surveyed:
    """What surveys found, by case_id: the columns that they fill, and about how many seconds a call takes."""

    facts: dict[str, Row] = field(default_factory=dict)
    call_s: dict[str, float] = field(default_factory=dict)


class Arm:
    """An interpreter's part in a run. `executed`: by case_id of what is asked for, the case that it runs,
    where that is another. `dropped` are cases that failed or cannot be done here; `skipped`, of these, what
    it does not support. What `surveyed` holds is not looked at again."""

    def __init__(
        self,
        name: str,
        order: RunContext,
        connection: Connection,
        keep: Callable[[Row], None],
        listener: ProgressListener,
        executed: Mapping[str, Case] | None = None,
        surveyed: Surveyed | None = None,
    ):
        self.name, self.context, self.connection, self.listener = name, order, connection, listener
        self._executed = executed or {}
        self.dropped: set[str] = set()
        self.skipped: set[str] = set()
        self.kept = 0  # rows
        self._round = 1  # the last that was kept before the run was resumed
        self._crashes: Counter[str] = Counter()  # by asked_id
        self._keep = keep
        self.surveyed = surveyed or Surveyed()
        self._lookers: dict[tuple[str, str], DeviceWorker] = {}  # by device and what sets its worker apart
        self._requests = 0

    def as_executed(self, case: Case) -> Case:
        """The case as this arm executes it."""
        return self._executed.get(case.case_id, case)

    def worker(self, device: str, borrowed: Any = None) -> DeviceWorker:
        """A worker of this arm for a device."""
        return DeviceWorker(self.connection.python, device, self.context.seed, self.context.policy, borrowed)

    def request(self, what: str, case: Case, **more: Any) -> Message:
        """A request for a case, with a number of its own."""
        self._requests += 1
        return {"do": what, "id": self._requests, "case": self.as_executed(case).as_message(), **more}

    def ceilings(self, cases: Sequence[Case]) -> list[Row]:
        """The roofs of each device, for each number of threads and the dtypes that cases ask for: before the
        survey, in a worker of its own. What cannot be measured is left out."""
        dtypes: dict[tuple[str, str], set[str]] = defaultdict(set)
        for case in cases:
            dtypes[device_name(case.setting.device, self.context.placement), case.setting.threads].add(
                case.setting.dtype
            )
        found = []
        for (device, threads), wanted in sorted(dtypes.items()):
            self._requests += 1
            request = {"do": "ceilings", "id": self._requests, "threads": threads, "dtypes": sorted(wanted)}
            answer = self._looker(device, "").ask(request, CEILINGS_LIMIT_S)
            values = answer.get("values") or {}
            roofs = {name: values.get(name) for name in ("device", "device_index", "threads_used", "roofs")}
            if answer["status"] == "ok" and are_roofs(roofs):
                found.append(roofs)
        return found

    def _looker(self, device: str, apart: str) -> DeviceWorker:
        """A worker that looks and times nothing, until the survey ends. On a CPU it is the one that was asked
        what it is: it has listed devices, and has no CUDA context of its own left."""
        if (device, apart) not in self._lookers:
            self._lookers[device, apart] = self.worker(
                device, self.connection.worker if device == "cpu" else None
            )
        return self._lookers[device, apart]

    def survey(self, cases: Sequence[Case], limit_s: float) -> None:
        """The facts of every case, before any timing, as far as `limit_s` reaches; the workers that looked
        end here, but for the connection's own. Without facts a case is measured all the same."""
        self.skip_too_large(cases)
        ends = time.monotonic() + limit_s
        for case in cases:  # looked at before, by another arm of the same session
            if case.case_id in self.surveyed.facts and case.case_id not in self.dropped:
                self._judge(case, self.surveyed.facts[case.case_id])
        listed = [
            (device, apart, case)
            for device, apart, mine in by_worker(cases, self.context.placement)
            for case in mine
            if case.case_id not in self.surveyed.facts and case.case_id not in self.dropped
        ]
        try:
            for number, (device, apart, case) in enumerate(listed):
                left_s = ends - time.monotonic()
                if left_s <= 0:
                    self.listener.unsurveyed(len(listed) - number, len(listed))
                    break
                self.listener.surveying(self.as_executed(case), number + 1, len(listed))
                most_s = min(self.context.policy.visit_limit_s + SURVEY_LIMIT_S, left_s)
                request, hear = self.request("survey", case), partial(self._hear, case)
                self._look(case, self._looker(device, apart).ask(request, most_s, hear))
        finally:
            for worker in self._lookers.values():
                worker.__exit__(None)
            self._lookers.clear()

    def skip_too_large(self, cases: Iterable[Case]) -> None:
        """A row, and no try, for each case that needs more memory than is free now, as far as is known of it:
        the kernel would end its process, or another."""
        free = free_bytes(self.connection.hello.environment)
        for case in cases:
            needed = self.needed_bytes(case)
            if needed > free and case.case_id not in self.dropped:
                message = f"needs about {size(needed)} of memory, {size(free)} are free"
                self.keep_row(case, {"status": "skipped", "message": message}, position=0)

    def needed_bytes(self, case: Case) -> int:
        """About what measuring a case takes of this machine's memory, as far as its survey saw it; 0 on an
        accelerator, whose driver refuses what does not fit."""
        executed = self.as_executed(case)
        if executed.setting.device != "cpu":
            return 0
        facts = self.surveyed.facts.get(case.case_id, {})
        return needed_bytes(executed, int(facts.get("peak_bytes") or 0))

    def _hear(self, case: Case, message: Message) -> None:
        """What a survey tells of a call before it ends: where calls are so slow that a visit has fewer, the
        listener hears what the case costs."""
        call_s, policy = message.get("latency_s"), self.context.policy
        if not call_s or not 0 < call_s < policy.visit_limit_s + SURVEY_LIMIT_S:
            return
        self.surveyed.call_s[case.case_id] = call_s
        if policy.is_slow(call_s):
            seconds = policy.rounds * visit_s(policy, call_s)
            self.listener.slow(self.as_executed(case), call_s, visible(str(message.get("backend"))), seconds)

    def _look(self, case: Case, answer: Message) -> None:
        """Keep what a survey found of a case."""
        answer = _checked(answer)
        self.surveyed.facts[case.case_id] = facts = _filled(answer, SURVEYED)
        if answer["status"] not in ("ok", "skipped"):
            facts["survey_message"] = f"{answer['status']}: {answer.get('message')}"
        self._judge(case, facts)

    def _judge(self, case: Case, facts: Row) -> None:
        error, bound = facts.get("error"), facts.get("error_bound")
        if error is not None and bound is not None and error > bound:
            self._reject(case, facts)

    def _reject(self, case: Case, facts: Row) -> None:
        """A case that computes something else gets a row that says so, and no timing."""
        message = (
            f"error {facts['error']:.2g} of the sum of magnitudes, "
            f"rounding explains {facts['error_bound']:.2g}"
        )
        if facts["error"] >= WRONG:
            message = "its output holds what is no number, or is another when it is called again"
        self.keep_row(case, {"status": "incorrect", "message": message}, position=0)

    def recall(self, row: Row) -> None:
        """Take a row of this arm that was kept before the run was resumed."""
        self.kept += 1
        self._round = max(self._round, row["round"])
        if row["survey_message"] is not None or row["peak_bytes"] is not None:
            self.surveyed.facts.setdefault(row["asked_id"], {name: row[name] for name in SURVEYED})
        self._close_failed(row)

    def keep_row(
        self, case: Case, answer: Message, *, position: int, started: datetime | None = None, **more: Any
    ) -> Row:
        """Make the row of an answer, keep it, and remember a case that is over. `more`: its round; pair and
        stage in an A/B."""
        answer = _checked(answer, visit=True)
        row = EMPTY_ROW | {
            "schema": SCHEMA,
            "run_id": self.context.run_id,
            "arm": self.name,
            "environment_id": self.connection.environment_id,
            "round": self._round,
            "position": position,
            "started_at": started or datetime.now(timezone.utc),
            "process": f"none-{self.name}-{self.kept}",
            "turns": 0,
            "trust": "unknown",
        }
        row |= (
            more
            | {"wall_s": answer.get("wall_s")}
            | case_columns(self.as_executed(case))
            | {"asked_id": case.case_id}
            | self.surveyed.facts.get(case.case_id, {})
            | _filled(answer, MEASURED)
        )
        row |= {
            "status": answer["status"],
            "error_type": answer.get("error_type"),
            "message": visible(answer["message"][:MOST_CHARACTERS]) if answer.get("message") else None,
        }
        self._keep(row)
        self.kept += 1
        self._close_failed(row)
        self.listener.visited(self.as_executed(case), row)
        return row

    def _close_failed(self, row: Row) -> None:
        """A case that failed, or is not supported, is not measured again. A process that was killed may have
        been so by chance, as where other programs took the memory: that case has another try."""
        if row["status"] == "crashed":
            self._crashes[row["asked_id"]] += 1
            if self._crashes[row["asked_id"]] < MOST_CRASHES:
                return
        if row["status"] != "ok" and not str(row["message"]).startswith(PARTNER):
            self.dropped.add(row["asked_id"])
            if row["status"] == "skipped":
                self.skipped.add(row["asked_id"])


def by_worker(cases: Iterable[Case], placement: dict[str, int]) -> list[tuple[str, str, list[Case]]]:
    """(device, what sets them apart, cases): the cases that one worker may measure one after the other.

    On an accelerator it measures in its own process, for which torch keeps the algorithm that it chose for a
    convolution, whether it tried some (`autotune`) or not, and what it compiled. The first case would decide
    for the others, so those that differ in this have workers of their own.
    """
    grouped: dict[tuple[str, str], list[Case]] = defaultdict(list)
    for case in cases:
        setting = case.setting
        kept = ("autotune" * setting.autotune, "compile" * (setting.mode == "compile"))
        apart = "" if setting.device == "cpu" else " ".join(filter(None, kept))
        grouped[device_name(setting.device, placement), apart].append(case)
    return [(device, apart, mine) for (device, apart), mine in grouped.items()]


def _checked(answer: Message, *, visit: bool = False) -> Message:
    """An answer whose values have their columns' types, and of a visit that is `ok` its figures; another is
    an error, and its values are dropped: what cannot be stored would cost the whole run."""
    values = answer.get("values") or {}
    faults = [
        f"{name} = {str(value)[:40]!r}, which is no {BY_NAME[name].type}"
        for name, value in values.items()
        if name in MEASURED and not fits(BY_NAME[name].type, value)
    ]
    if visit and answer["status"] == "ok" and not faults:
        faults += [f"no {name}" for name in lacking(values)]
    if not faults:
        return answer
    error = {"status": "error", "error_type": "TypeError", "message": f"the worker sent {faults[0]}"}
    return {**answer, "values": {}, **error}


def _filled(answer: Message, allowed: frozenset[str]) -> Row:
    """The columns that a worker may fill, of what it sent."""
    return {name: value for name, value in (answer.get("values") or {}).items() if name in allowed}
