"""A kept run that goes on: after a kill, a full disk, Ctrl-C or a time limit, or by more rounds than it had.

resume("last")                     what it lacks
resume("last", more_rounds=4)      a sweep that is complete, four rounds longer

Finished visits stay, also of the round that was cut short; its order, and those of the rounds that follow,
are what they would have been. The interpreters must be what they were.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from harness.analysis.case_estimate import FEWEST_VISITS
from harness.analysis.comparability import differing, in_words, informative
from harness.core.columns import METHOD, SCHEMA
from harness.core.errors import BusyError, NotComparable, StorageError, UsageError
from harness.core.gate import Gate
from harness.core.policy import Policy
from harness.run import locks
from harness.run.ab import AbRun, Confirming
from harness.run.arm import Arm
from harness.run.context import RunContext
from harness.run.device_worker import PASSING, device_name
from harness.run.progress_events import SILENT, ProgressListener
from harness.run.versus import VersusRun
from harness.store.mirrors import results_folder
from harness.store.run_folder import KeptCases, RunFolder, find_run, read_cases, read_header
from harness.store.visit_files import read_visits, rows_of
from harness.tasks.recorded_run import drive, finish, sort_of
from harness.tasks.sides import connected
from harness.tasks.sweep import drive_sweep

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pyarrow as pa

    from harness.run.device_worker import Connection
    from harness.run.paired_run import PairedRun
    from harness.run.rounds import RoundsRun
    from harness.store.results import Results

SORTS = {"run": "a run of a suite", "ab": "an A/B", "versus": "a ranking of arms"}


@dataclass(frozen=True, slots=True)
class Kept:
    """A run as it was left, and the context in which it goes on."""

    path: Path
    header: dict[str, Any]
    context: RunContext
    cases: KeptCases
    visits: pa.Table

    @property
    def devices(self) -> set[str]:
        """The devices to hold, as `cpu` or `cuda:0`."""
        return {device_name(case.setting.device, self.context.placement) for case in self.cases.asked}

    def reopen(self, connections: Mapping[str, Connection]) -> RunFolder:
        """Its folder, to write on. Raises NotComparable for an interpreter that is another than it was, and
        BusyError where another process writes it."""
        for name, connection in connections.items():
            _require_same(self.header, name, connection)
        resumed_at = self.header.get("resumed_at") or []
        folder = RunFolder.reopen(self.path, resumed_at)
        changes = {
            "state": "running",
            "policy": self.context.policy.as_message(),
            "quick": self.header["quick"] and self.context.policy.rounds < FEWEST_VISITS,
            "wall_s": _spent_s(self.header, self.visits),
            "resumed_at": [*resumed_at, datetime.now(timezone.utc).isoformat()],
        }
        before = {name: folder.header[name] for name in changes if name in folder.header}
        try:
            folder.write_header(**changes)
            folder.send()  # so that others see who goes on
        except StorageError:
            with suppress(StorageError):
                folder.close(**{"resumed_at": [], **before})
            raise
        return folder


def resume(
    run: str | Path,
    *,
    sort: str | None = None,
    more_rounds: int | None = None,
    python: str | None = None,
    results: str | Path = "results",
    time_limit_s: float | None = None,
    wait: bool = True,
    listener: ProgressListener = SILENT,
) -> Results:
    """Measure what a kept run lacks, and load it. `sort`: the one it must be, of `SORTS`; `python`: the
    interpreter of a sweep, where it lies elsewhere now; `time_limit_s` counts from now (None: the run's own).

    Raises UsageError for a run that is complete or of another sort, StorageError for one that cannot be read,
    BusyError for one that is being written, NotComparable where an interpreter has changed; and what `sweep`
    raises.
    """
    kept = kept_run(run, results, time_limit_s, sort=sort, more_rounds=more_rounds)
    if "cluster" in kept.header:
        raise UsageError(
            "was measured by a cluster",
            where=kept.header["run_id"],
            hint=f"Go on: convscope run --resume {kept.path} --on {kept.header['cluster']['address']}",
        )
    pythons = {name: arm["python"] for name, arm in kept.header["arms"].items()}
    if python is not None:
        pythons = dict.fromkeys(pythons, python)
    cases = kept.cases.asked
    paired = sort_of(kept.header) != "run"
    with locks.hold(kept.devices, wait=wait, on_wait=listener.waiting), connected(pythons) as connections:
        folder = kept.reopen(connections)
        listener.started(folder.path)
        driven: PairedRun | RoundsRun
        if paired:
            driven = _paired(kept, folder, connections, listener)
            state = drive(driven, folder)
        else:
            driven, state = drive_sweep(
                folder, kept.context, connections["main"], cases, listener, rows_of(kept.visits)
            )
    return finish(driven, folder, state, cases)


def _paired(
    kept: Kept, folder: RunFolder, connections: Mapping[str, Connection], listener: ProgressListener
) -> PairedRun:
    """An A/B or a ranking, as far as it was."""
    header, cases = kept.header, kept.cases
    arms = {
        name: Arm(name, kept.context, connection, folder.add, listener, cases.executed[name])
        for name, connection in connections.items()
    }
    run: PairedRun
    if sort_of(header) == "versus":
        run = VersusRun(arms, cases.asked, header["pairs"])
    else:

        def tell(confirming: Confirming) -> None:
            folder.write_header(confirming=asdict(confirming))

        run = AbRun(
            arms,
            cases.asked,
            Gate.from_json(header["gate"]),
            header["order"],
            quick=header["quick"],
            tell=tell,
            confirming=Confirming(**header["confirming"]) if header["confirming"] else None,
        )
    run.recall(rows_of(kept.visits))
    return run


def kept_run(
    run: str | Path,
    results: str | Path,
    time_limit_s: float | None,
    *,
    sort: str | None = None,
    more_rounds: int | None = None,
) -> Kept:
    """A run that may go on: by its name, of a sort, with more rounds. Raises UsageError, BusyError,
    StorageError."""
    path = find_run(str(run), results_folder(results))
    header = read_header(path)
    found, name = sort_of(header), header["run_id"]
    if sort is not None and found != sort:
        hint = f"Go on: convscope {found} --resume {name}"
        raise UsageError(f"is {SORTS[found]}, not {SORTS[sort]}", where=name, hint=hint)
    if header["state"] == "running":
        raise BusyError("is still running", where=name, hint="Wait until it ends.")
    if (header["schema"], header["method"]) != (SCHEMA, METHOD):
        raise UsageError("was measured by another version", where=name, hint="Start a new run.")
    if more_rounds is None and header["state"] == "complete":
        hint = f"Add rounds: convscope run --extend {name} --rounds 3" if found == "run" else ""
        raise UsageError("is complete; nothing is lacking", where=name, hint=hint)
    if more_rounds is not None and found != "run":
        # pairs that are added once their result is seen would find more differences than there are
        raise UsageError(f"is {SORTS[found]}, which cannot be extended", where=name, hint="Start a new one.")
    policy = Policy(**header["policy"])
    if time_limit_s is not None:
        policy = replace(policy, time_limit_s=time_limit_s)
    visits = read_visits(path).table
    if more_rounds is not None:
        rounds = max(visits.column("round").to_pylist(), default=0) + more_rounds
        policy = replace(policy, rounds=rounds, max_rounds=max(rounds, policy.max_rounds))
    context = RunContext(
        run_id=name,
        policy=policy,
        seed=header["seed"],
        placement=header.get("placement") or {},
        run_spread=header["run_spread"],
    )
    return Kept(path, header, context, read_cases(path), visits)


def _require_same(header: Mapping[str, Any], arm: str, connection: Connection) -> None:
    """Raises NotComparable with the facts in which an interpreter is another than it was."""
    before = header["arms"][arm]["environment_id"]
    if connection.environment_id == before:
        return
    facts = [
        {name: value for name, value in one.items() if name not in PASSING}
        for one in (header["environments"][before], connection.hello.environment)
    ]
    changed = informative(*facts) or differing(*facts)
    told = in_words(changed) or "its devices are others"
    raise NotComparable(
        f"{connection.python} has changed since: {told}",
        where=header["run_id"],
        hint="Start a new run; what was measured is kept.",
    )


def _spent_s(header: Mapping[str, Any], visits: pa.Table) -> float:
    """Seconds that a run has taken; of one that was killed, from its first visit to its last."""
    if header["wall_s"] is not None:
        return float(header["wall_s"])
    started = visits.column("started_at").to_pylist()
    return (max(started) - min(started)).total_seconds() if started else 0.0
