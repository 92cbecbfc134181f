"""One side of a run: a greeted interpreter, what its survey found of each case, and the rows that its answers become.

In: cases, answers. Out: rows in the record's names, one a visit, whatever became of it. A run has one arm, `main`; an A/B has two,
`base` and `head`, which may also differ in the implementation of their cases.
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from harness.record import BY_NAME, MEASURED, SCHEMA, SURVEYED, WRONG, case_columns
from harness.station import Greeted, Station, device_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from harness.case import Case
    from harness.policy import Policy
    from harness.protocol import Message

    Row = dict[str, Any]

SURVEY_LIMIT_S = 60.0  # beyond a visit's limit: the survey traces, profiles and checks besides
CEILINGS_LIMIT_S = 120.0  # large products on one slow core in a dtype that it emulates
EMPTY_ROW: dict[str, Any] = dict.fromkeys(BY_NAME)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a run is asked to do. `placement`: device type to index; `run_spread`: by how much runs of this machine differ, by environment."""

    run_id: str
    policy: Policy
    seed: int
    placement: dict[str, int] = field(default_factory=dict)
    run_spread: dict[str, float] = field(default_factory=dict)


class Watcher:
    """What a run tells while it goes on; one that draws overrides these. `waiting` for a lock and `started` come before `begin`."""

    def waiting(self, device: str) -> None: ...
    def started(self, run: Path) -> None: ...
    def begin(self, cases: int, estimated_s: float, then: str) -> None: ...
    def surveying(self, case: Case, number: int, of: int) -> None: ...
    def unsurveyed(self, cases: int, of: int) -> None: ...
    def visiting(self, case: Case, stage: str, left_s: float) -> None: ...
    def progress(self, case: Case, latency_s: float) -> None: ...
    def turned(self, cases: Sequence[Case], stage: str, turn: int, of: int, left_s: float) -> None: ...
    def visited(self, case: Case, row: Row) -> None: ...


class Arm:
    """An interpreter's part in a run. `over` are cases that failed or cannot be done here; `skipped`, of these, what it does not support."""

    def __init__(self, name: str, order: Order, greeted: Greeted, keep: Callable[[Row], None], watcher: Watcher, implementation: str | None = None):
        self.name, self.order, self.greeted, self.watcher, self.implementation = name, order, greeted, watcher, implementation
        self.over: set[str] = set()
        self.skipped: set[str] = set()
        self.kept = 0  # rows
        self._keep = keep
        self._facts: dict[str, Row] = {}
        self._lookers: dict[tuple[str, str], Station] = {}  # by device and what sets its worker apart
        self._requests = 0

    def own(self, case: Case) -> Case:
        """The case as this arm executes it."""
        return replace(case, setting=replace(case.setting, implementation=self.implementation)) if self.implementation else case

    def station(self, device: str, borrowed: Any = None) -> Station:
        """A worker of this arm for a device."""
        return Station(self.greeted.python, device, self.order.seed, self.order.policy, borrowed)

    def request(self, what: str, case: Case, **more: Any) -> Message:
        """A request for a case, with a number of its own."""
        self._requests += 1
        return {"do": what, "id": self._requests, "case": self.own(case).as_message(), **more}

    def ceilings(self, cases: Sequence[Case]) -> list[Row]:
        """The roofs of each device, for each number of threads and the dtypes that cases ask for: before the survey, in a worker of its own. What
        cannot be measured is left out."""
        dtypes: dict[tuple[str, str], set[str]] = defaultdict(set)
        for case in cases:
            dtypes[device_name(case.setting.device, self.order.placement), case.setting.threads].add(case.setting.dtype)
        found = []
        for (device, threads), wanted in sorted(dtypes.items()):
            self._requests += 1
            request = {"do": "ceilings", "id": self._requests, "threads": threads, "dtypes": sorted(wanted)}
            answer = self._looker(device, "").ask(request, CEILINGS_LIMIT_S)
            if answer["status"] == "ok":
                found.append({name: answer["values"][name] for name in ("device", "device_index", "threads_used", "roofs")})
        return found

    def _looker(self, device: str, apart: str) -> Station:
        """A worker that looks and times nothing, until the survey ends: on a CPU the one that was greeted; it has listed devices, so that no CUDA
        context of its own is left to it."""
        if (device, apart) not in self._lookers:
            self._lookers[device, apart] = self.station(device, self.greeted.worker if device == "cpu" else None)
        return self._lookers[device, apart]

    def survey(self, cases: Sequence[Case], limit_s: float) -> None:
        """The facts of every case, before any timing, as far as `limit_s` reaches; the workers that looked end here. Without facts a case is
        measured all the same."""
        ends = time.monotonic() + limit_s
        listed = [(device, apart, case) for device, apart, mine in by_worker(cases, self.order.placement) for case in mine]
        try:
            for number, (device, apart, case) in enumerate(listed):
                left_s = ends - time.monotonic()
                if left_s <= 0:
                    self.watcher.unsurveyed(len(listed) - number, len(listed))
                    break
                self.watcher.surveying(self.own(case), number + 1, len(listed))
                most_s = min(self.order.policy.visit_limit_s + SURVEY_LIMIT_S, left_s)
                self._look(case, self._looker(device, apart).ask(self.request("survey", case), most_s))
        finally:
            for station in self._lookers.values():
                station.end()
            self.greeted.worker.quit()

    def _look(self, case: Case, answer: Message) -> None:
        """Keep what a survey found of a case."""
        self._facts[case.case_id] = facts = _filled(answer, SURVEYED)
        if answer["status"] not in ("ok", "skipped"):
            facts["survey_message"] = f"{answer['status']}: {answer.get('message')}"
        if facts.get("error") is not None and facts["error"] > facts["error_bound"]:
            self._refuse(case, facts)

    def _refuse(self, case: Case, facts: Row) -> None:
        """A case that computes something else gets a row that says so, and no timing."""
        message = f"error {facts['error']:.2g} of the sum of magnitudes, rounding explains {facts['error_bound']:.2g}"
        if facts["error"] >= WRONG:
            message = "its output has another shape, holds what is no number, or changes when it is called again"
        self.record(case, {"status": "incorrect", "message": message}, position=0)

    def peak_bytes(self, case: Case) -> int:
        """What a call takes at its peak, beside its inputs and weights, as far as the survey saw it."""
        return int(self._facts.get(case.case_id, {}).get("peak_bytes") or 0)

    def record(self, case: Case, answer: Message, *, position: int, started: datetime | None = None, **more: Any) -> Row:
        """Make the row of an answer, keep it, and remember a case that is over. `more`: its round; pair and stage in an A/B."""
        row = EMPTY_ROW | {
            "schema": SCHEMA,
            "run_id": self.order.run_id,
            "arm": self.name,
            "environment_id": self.greeted.environment_id,
            "round": 1,
            "position": position,
            "started_at": started or datetime.now(timezone.utc),
            "process": f"none-{self.name}-{self.kept}",
            "turns": 0,
            "trust": "unknown",
        }
        row |= more | {"wall_s": answer.get("wall_s")} | case_columns(self.own(case)) | self._facts.get(case.case_id, {}) | _filled(answer, MEASURED)
        row |= {"status": answer["status"], "error_type": answer.get("error_type"), "message": answer.get("message")}
        self._keep(row)
        self.kept += 1
        if row["status"] != "ok":
            self.over.add(case.case_id)
            if row["status"] == "skipped":
                self.skipped.add(case.case_id)
        self.watcher.visited(self.own(case), row)
        return row


def by_worker(cases: Iterable[Case], placement: dict[str, int]) -> list[tuple[str, str, list[Case]]]:
    """(device, what sets them apart, cases): the cases that one worker may measure one after the other.

    On an accelerator it measures in its own process, for which torch keeps the algorithm that it chose for a convolution, whether it tried some
    (`autotune`) or not, and what it compiled. The first case would decide for the others, so those that differ in this have workers of their own.
    """
    grouped: dict[tuple[str, str], list[Case]] = defaultdict(list)
    for case in cases:
        setting = case.setting
        kept = ("autotune" * setting.autotune, "compile" * (setting.mode == "compile"))
        apart = "" if setting.device == "cpu" else " ".join(filter(None, kept))
        grouped[device_name(setting.device, placement), apart].append(case)
    return [(device, apart, mine) for (device, apart), mine in grouped.items()]


def _filled(answer: Message, allowed: frozenset[str]) -> Row:
    """The columns that a worker may fill, of what it sent."""
    return {name: value for name, value in answer.get("values", {}).items() if name in allowed}
