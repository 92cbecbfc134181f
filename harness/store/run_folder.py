"""The folder of a run, written so that nothing measured is lost.

    results/<run_id>/   run.json              what was asked, of whom, and how it ended
                        points.parquet        the points of the suite
                        cases.parquet         what each arm runs for each case that is asked for
                        measurements.parquet  one row per visit (`core/columns`); see `visit_files`
                        run.lock              while a process writes it

In: rows as dicts by the names of the columns. Out: files, and what they say.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from harness.core.case import DEFAULTS, Case
from harness.core.columns import SCHEMA
from harness.core.errors import BusyError, ProblemError, StorageError, UsageError, nearest
from harness.core.problem import FIELDS
from harness.core.protocol import NotAMessage, parsed
from harness.core.units import visible
from harness.plan.points import distinct_cases
from harness.store.files import write_text
from harness.store.mirrors import fetched, is_elsewhere, mirror_of, upload_of
from harness.store.run_header import RUN_FILE, checked
from harness.store.run_lock import is_written, let_go, locked
from harness.store.visit_files import VisitLog, storing, write_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.core.columns import Row
    from harness.plan.points import Point


POINTS_FILE, CASES_FILE = "points.parquet", "cases.parquet"
POINTS_SCHEMA = pa.schema(
    [
        pa.field("sweep", pa.string(), False),
        pa.field("series", pa.string(), False),
        pa.field("point", pa.int32(), False),
        pa.field("x", pa.string()),
        pa.field("layer", pa.string()),
        pa.field("repeat", pa.int32(), False),
        *(pa.field(name, pa.string()) for name in ("kind", *FIELDS, *DEFAULTS)),
        pa.field("case_id", pa.string()),
        pa.field("skip_reason", pa.string()),
    ]
)


# a case as it crosses the pipe, in JSON
CASES_SCHEMA = pa.schema([pa.field(name, pa.string(), False) for name in ("arm", "asked", "executed")])
MAIN: dict[str, dict[str, Case]] = {"main": {}}


def new_run_id(suite: str, now: datetime | None = None) -> str:
    """A name that sorts by time, reads, and is not drawn twice: `20261124T095503-quickstart-4f1c`."""
    moment = (now or datetime.now(timezone.utc)).strftime("%Y%m%dT%H%M%S")
    return f"{moment}-{suite}-{secrets.token_hex(2)}"


class RunFolder:
    """A run while it is being written, by one process at a time. Raises StorageError where the folder cannot
    be made or written; then nothing is left behind."""

    def __init__(
        self,
        results: Path,
        header: dict[str, Any],
        points: Sequence[Point],
        executed: Mapping[str, Mapping[str, Case]] = MAIN,
    ) -> None:
        """`executed`: by arm and case_id of what is asked for, the case that it runs, where that is
        another."""
        self.path = results / header["run_id"]
        self.header = header
        made = False
        try:
            self.path.mkdir(parents=True)
            made = True
            self._lock = locked(self.path)
            self._upload = upload_of(self.path)
            if self._upload:
                self._upload.begin()
            self.write_header()
            write_rows(map(_point_row, points), POINTS_SCHEMA, self.path / POINTS_FILE)
            cases = distinct_cases(points)
            rows = (
                _case_row(arm, case, mine.get(case.case_id, case))
                for arm, mine in executed.items()
                for case in cases
            )
            write_rows(rows, CASES_SCHEMA, self.path / CASES_FILE)
            self._visits = VisitLog(self.path)
            self.send()
        except (OSError, ValueError, pa.ArrowException, StorageError) as error:
            if made:  # what was there before us is not ours
                shutil.rmtree(self.path, ignore_errors=True)
            reason = getattr(error, "strerror", None) or error
            raise StorageError(
                f"cannot be written: {reason}", where=str(results), hint="Name another folder with --results."
            ) from None

    @classmethod
    def reopen(cls, path: Path, resumed_at: Sequence[str]) -> RunFolder:
        """A run that goes on. Raises BusyError where another process writes it, or has gone on with it since
        it was read: `resumed_at` is what its header said then."""
        self = cls.__new__(cls)
        self.path = path
        with storing(path):
            self._lock = locked(path)
        try:
            if mirror := mirror_of(path):
                mirror.fetch(path, ours=True)
            self.header = read_header(path)
            if list(self.header.get("resumed_at") or ()) != list(resumed_at):
                raise BusyError("has gone on meanwhile", where=str(path), hint="Try again.")
            self._upload = upload_of(path)
            if self._upload:
                self._upload.begin()
            self._visits = VisitLog(path)
        except BaseException:
            self._release()
            raise
        return self

    def write_header(self, **changes: Any) -> None:
        """Write run.json anew, with changes."""
        self.header |= changes
        with storing(self.path):
            write_text(self.path / RUN_FILE, json.dumps(self.header, indent=1, allow_nan=False) + "\n")

    def send(self) -> None:
        """Send what has changed, where it follows a bucket. Raises StorageError."""
        if self._upload:
            self._upload.send()

    def add(self, row: Row) -> None:
        """Keep one visit: on disk when this returns."""
        self._visits.add(row)
        if self._upload:
            self._upload.now_and_then()

    def close(self, **changes: Any) -> None:
        """Make one file of all visits, write how it ended, and send it where it follows a bucket; each is
        tried whatever became of the one before."""
        with contextlib.ExitStack() as last:
            last.callback(self._release)
            if self._upload:
                last.callback(self._upload.finish)
            last.callback(self.write_header, **changes)
            self._visits.close()

    def _release(self) -> None:
        let_go(self.path, self._lock)


def run_folders(results: Path) -> list[Path]:
    """The runs in a folder, oldest first; empty where there is none. Of those that began in one second the
    last to be written is the latest."""
    files = sorted(
        results.glob(f"*/{RUN_FILE}"),
        key=lambda path: (path.parent.name.partition("-")[0], path.stat().st_mtime_ns),
    )
    return [path.parent for path in files]


def find_run(name: str, results: Path) -> Path:
    """The folder of a run, from a path, an id, a unique prefix or `last`, with all of its files. Raises
    UsageError with what there is."""
    if (Path(name) / RUN_FILE).is_file():
        return fetched(Path(name))
    folders = run_folders(results)
    if name == "last" and folders:
        return fetched(folders[-1])
    matches = [folder for folder in folders if folder.name.startswith(name)]
    if len(matches) == 1:
        return fetched(matches[0])
    if not folders:
        raise UsageError("there is no run yet", where=str(results), hint="Make one: convscope run quickstart")
    found = "more than one run begins so" if matches else "there is no such run"
    names = [folder.name for folder in folders]
    raise UsageError(
        found,
        where=name,
        hint=" ".join(path.name for path in matches) if matches else nearest(name, [*names[-8:], "last"]),
    )


def read_header(path: Path) -> dict[str, Any]:
    """run.json of a run. Raises StorageError where it cannot be read or is of a newer schema."""
    try:
        found = parsed((path / RUN_FILE).read_bytes())
        schema = int(found["schema"])
        header = checked(found) if schema <= SCHEMA else found
    except (OSError, NotAMessage, ValueError, KeyError, TypeError) as error:
        why = "not a JSON object" if isinstance(error, NotAMessage) else visible(str(error))
        raise StorageError(f"is no run that can be read: {why}", where=str(path / RUN_FILE)) from None
    if schema > SCHEMA:
        raise StorageError(
            f"was written with schema {schema}, this version knows {SCHEMA}",
            where=str(path),
            hint="Upgrade convscope.",
        )
    header["suite"] = {
        name: visible(value) if name != "text" and isinstance(value, str) else value
        for name, value in header["suite"].items()
    }
    if header["state"] == "running" and not is_written(path) and not is_elsewhere(path):
        header["state"] = "killed"
    return header


@dataclass(frozen=True, slots=True)
class KeptCases:
    """What a run is asked for, in the order of its suite, and by arm and case_id of that, what it runs."""

    asked: list[Case]
    executed: dict[str, dict[str, Case]]


def read_cases(path: Path) -> KeptCases:
    """The cases of a run. Raises StorageError, also for a run of a version that did not write them."""
    file = path / CASES_FILE
    if not file.is_file():
        raise StorageError("is missing; runs of older versions have none", where=str(file))
    asked: dict[str, Case] = {}
    executed: dict[str, dict[str, Case]] = {}
    try:
        for row in pq.read_table(
            file, columns=CASES_SCHEMA.names, page_checksum_verification=True
        ).to_pylist():
            case = Case.from_message(json.loads(row["asked"]))
            asked[case.case_id] = case
            mine = executed.setdefault(row["arm"], {})
            mine[case.case_id] = Case.from_message(json.loads(row["executed"]))
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException, ProblemError) as error:
        raise StorageError(f"cannot be read: {error}", where=str(file)) from None
    return KeptCases(list(asked.values()), executed)


def read_points(path: Path, run_id: str) -> pa.Table:
    try:
        table = pq.read_table(path / POINTS_FILE, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"cannot be read: {error}", where=str(path / POINTS_FILE)) from None
    for name in ("sweep", "series", "layer"):
        shown = [text if text is None else visible(text) for text in table.column(name).to_pylist()]
        table = table.set_column(table.column_names.index(name), name, pa.array(shown, pa.string()))
    return table.append_column("run_id", pa.array([run_id] * table.num_rows, pa.string()))


def _point_row(point: Point) -> Row:
    asked = {name: str(value) for name, value in point.asked.items()}
    return asked | {
        "sweep": point.sweep,
        "series": point.series,
        "point": point.index,
        "x": point.x,
        "layer": point.layer,
        "repeat": point.repeat,
        "case_id": point.case.case_id if point.case else None,
        "skip_reason": point.skip_reason,
    }


def _case_row(arm: str, asked: Case, executed: Case) -> Row:
    both = {"asked": asked, "executed": executed}
    return {"arm": arm} | {name: json.dumps(case.as_message()) for name, case in both.items()}
