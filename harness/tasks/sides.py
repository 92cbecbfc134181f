"""The sides of a comparison made ready: what each of them runs, the interpreters connected, the run's folder.

In: a suite, and sides by name. Out: arms (`run.arm`), the cases that all of them are asked for, the folder.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypedDict

from harness.core.errors import DeviceError
from harness.plan.changes import sides_of
from harness.plan.points import distinct_cases
from harness.run import locks
from harness.run.arm import Arm
from harness.run.device_worker import connect
from harness.run.worker_process import default_python
from harness.store import machine_cache
from harness.store.mirrors import results_folder
from harness.store.run_folder import RunFolder
from harness.tasks.recorded_run import devices_of, drive, finish, header_of, new_context, present_points

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from typing import Unpack

    from harness.core.case import Case
    from harness.plan.axes import Value
    from harness.plan.points import Point
    from harness.plan.suite import Suite
    from harness.run.device_worker import Connection
    from harness.run.paired_run import PairedRun
    from harness.run.progress_events import ProgressListener
    from harness.store.results import Results


@dataclass(frozen=True, slots=True)
class Side:
    """A side of a comparison: an interpreter (None: `default_python`), what computes its cases there, and
    values of axes that it has in place of the suite's, as memory_format or groups (None and none: as the
    suite says)."""

    python: str | None = None
    implementation: str | None = None
    axes: Mapping[str, Value] = field(default_factory=dict)

    @property
    def changes(self) -> dict[str, Value]:
        """What it makes of a case that is asked for, by axis."""
        return dict(self.axes) | ({"implementation": self.implementation} if self.implementation else {})


class How(TypedDict):
    """How sides are measured and where that is kept; `named`: whether the asker stated the devices."""

    named: bool
    results: str | Path
    quick: bool
    wait: bool
    listener: ProgressListener


@dataclass(frozen=True, slots=True)
class Ready:
    """What is measured by whom, and where it is kept."""

    arms: dict[str, Arm]
    cases: list[Case]
    folder: RunFolder


def measured(
    suite: Suite,
    sides: Mapping[str, Side],
    header: Mapping[str, Any],
    make: Callable[[Ready], PairedRun],
    **how: Unpack[How],
) -> Results:
    """Measure a suite on its sides by the run that `make` gives, and keep it. `header`: what else run.json
    says. Raises what `sweep` raises."""
    with _ready(suite, sides, header, **how) as made:
        run = make(made)
        state = drive(run, made.folder)
    return finish(run, made.folder, state, made.cases)


@contextmanager
def connected(pythons: Mapping[str, str]) -> Iterator[dict[str, Connection]]:
    """The interpreters of arms, by arm; each is started once."""
    with ExitStack() as stack:
        known = {python: stack.enter_context(connect(python)) for python in dict.fromkeys(pythons.values())}
        yield {name: known[python] for name, python in pythons.items()}


@contextmanager
def _ready(
    suite: Suite,
    sides: Mapping[str, Side],
    header: Mapping[str, Any],
    *,
    named: bool,
    results: str | Path,
    quick: bool,
    wait: bool,
    listener: ProgressListener,
) -> Iterator[Ready]:
    """Hold the devices, connect the interpreters and make the folder."""
    pythons = {name: side.python or default_python() for name, side in sides.items()}
    changes = {name: side.changes for name, side in sides.items()}
    asked = sides_of(suite, changes, one_interpreter=len(set(pythons.values())) == 1)
    points = asked.points
    context = new_context(suite)
    with (
        locks.hold(devices_of(points, context), wait=wait, on_wait=listener.waiting),
        connected(pythons) as connections,
    ):
        spread = machine_cache.run_spread(*{one.environment_id for one in connections.values()})
        context = replace(context, run_spread=spread)
        _require_alike(connections, points)
        for one in connections.values():
            points = present_points(suite, points, one.hello, named=named)
        told = {name: (connections[name].interpreter, mine) for name, mine in changes.items()}
        folder = RunFolder(
            results_folder(results),
            header_of(suite, context, told, quick) | dict(header),
            points,
            asked.cases,
        )
        listener.started(folder.path)
        arms = {
            name: Arm(name, context, connections[name], folder.add, listener, asked.cases[name])
            for name in sides
        }
        yield Ready(arms, distinct_cases(points), folder)


def _require_alike(connections: Mapping[str, Connection], points: list[Point]) -> None:
    """Raises DeviceError for a device that is asked for and that some sides alone have: what the others lost
    would go unnoticed."""
    asked = {case.setting.device for case in distinct_cases(points)}
    for kind in sorted(asked):
        lacking = [name for name, one in connections.items() if kind not in one.hello.device_types]
        if lacking and len(lacking) < len(connections):
            raise DeviceError(
                f"{kind} was not found for {lacking[0]}",
                where="device",
                hint="Give an interpreter that has it, or the others: -a device=cpu.",
            )
