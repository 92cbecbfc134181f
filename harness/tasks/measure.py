"""One case, measured now; nothing is written.

measure(Problem("depthwise", in_channels=128, size=56))
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from harness.core import units
from harness.core.case import Case, Setting
from harness.core.policy import Policy
from harness.run.ad_hoc import ad_hoc_session
from harness.run.progress_events import SILENT, ProgressListener
from harness.run.worker_process import default_python
from harness.store.results import as_json_values

if TYPE_CHECKING:
    from harness.core.problem import Problem

MEASURE_POLICY = Policy(rounds=3, max_rounds=3)
# slower calls are measured under one allocator: the survey's short loop tells of the other
OTHER_MOST_S = 0.5


@dataclass(frozen=True)
class Measurement:
    """What one case came to. `row` is its summary, by the names of the columns; figures are None where it has
    none."""

    case: Case
    row: dict[str, Any]
    other: dict[str, Any] | None  # the same under the other allocator, where there is one

    @property
    def latency_s(self) -> float | None:
        """Seconds a call: the centre of its visits."""
        return self.row["latency_s"]  # type: ignore[no-any-return]  # a row's values are what the columns say

    @property
    def interval_s(self) -> tuple[float | None, float | None]:
        """The 95 % interval between its visits, in seconds."""
        return self.row["latency_low_s"], self.row["latency_high_s"]

    def as_json(self) -> dict[str, Any]:
        """The row by the columns' names, `label` and `other_allocator` beside it."""
        return {"label": self.case.label} | self.row | {"other_allocator": self.other}

    def __repr__(self) -> str:
        row = self.row
        if row["status"] != "ok":
            return f"{self.case.label}: {row['status']}, {row['message']}"
        interval = f"{units.seconds(row['latency_low_s'])} to {units.seconds(row['latency_high_s'])}"
        return (
            f"{self.case.label}: {units.seconds(row['latency_s'])} ({interval}, {row['visits']} visits, "
            f"{row['trust']})"
        )


def measure(
    problem: Problem,
    setting: Setting | None = None,
    *,
    device_index: int | None = None,
    python: str | None = None,
    policy: Policy = MEASURE_POLICY,
    wait: bool = True,
    listener: ProgressListener = SILENT,
) -> Measurement:
    """Measure one case now, in a few visits that alternate with the other allocator's (on a CPU, unless calls
    are slow); nothing is written.

    Raises InterpreterError, DeviceError, BusyError.
    """
    setting = setting or Setting()
    case = Case(problem, setting)
    other = "default" if setting.allocator == "retained" else "retained"
    with ad_hoc_session(
        setting.device,
        device_index,
        default_python() if python is None else python,
        wait=wait,
        listener=listener,
    ) as ready:
        call_s = ready.look([case], policy).get(case.case_id, 0.0)
        both = setting.device == "cpu" and call_s < OTHER_MOST_S
        cases = [case, Case(problem, replace(setting, allocator=other))] if both else [case]
        found = ready.measure(cases, policy)
    summary = {row["case_id"]: as_json_values(row) for row in found.to_dict("records")}
    own = summary.pop(case.case_id)
    return Measurement(case, own, next(iter(summary.values()), None))
