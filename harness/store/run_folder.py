"""The folder of a run, written so that nothing measured is lost.

    results/<run_id>/   run.json              what was asked, of whom, and how it ended
                        points.parquet        the points of the suite
                        journal.jsonl         a line per visit while running, flushed and synced;
                                              a torn last line is the only damage possible
                        measurements.parquet  one row per visit (`core/columns`), folded from the journal

In: rows as dicts by the names of the columns. Out: files, and their tables.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from harness.core.case import DEFAULTS
from harness.core.columns import COLUMNS, SCHEMA, STRUCTS
from harness.core.errors import StorageError, UsageError, nearest
from harness.core.problem import FIELDS
from harness.store.files import sync_folder, whole, write_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.core.columns import Row
    from harness.plan.points import Point


RUN_FILE, POINTS_FILE, JOURNAL_FILE, MEASUREMENTS_FILE = (
    "run.json",
    "points.parquet",
    "journal.jsonl",
    "measurements.parquet",
)
FOLD_EVERY = 1000
VISIT_KEY = ("arm", "started_at", "case_id", "position")
_ARROW = {
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "double": pa.float64(),
    "bool": pa.bool_(),
    "string": pa.string(),
    "dictionary": pa.dictionary(pa.int32(), pa.string()),
    "timestamp": pa.timestamp("us", tz="UTC"),
}


def _arrow_type(name: str) -> pa.DataType:
    base = name.rstrip("?")
    if base.startswith("list<"):
        return pa.list_(_arrow_type(base[5:-1]))
    if base in STRUCTS:
        return pa.struct({field: _arrow_type(kind) for field, kind in STRUCTS[base].items()})
    return _ARROW[base]


VISITS_SCHEMA = pa.schema(
    [
        pa.field(c.name, _arrow_type(c.type), c.nullable, {"unit": c.unit, "meaning": c.meaning})
        for c in COLUMNS
    ],
    {"convscope_schema": str(SCHEMA)},
)
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


def new_run_id(suite: str, now: datetime | None = None) -> str:
    """A name that sorts by time, reads, and is not drawn twice: `20261124T095503-quickstart-4f1c`."""
    moment = (now or datetime.now(timezone.utc)).strftime("%Y%m%dT%H%M%S")
    return f"{moment}-{suite}-{secrets.token_hex(2)}"


class RunFolder:
    """A run while it is being written. Raises StorageError where the folder cannot be made or written; then
    nothing is left behind."""

    def __init__(self, results: Path, header: dict[str, Any], points: Sequence[Point]) -> None:
        self.path = results / header["run_id"]
        self.header = header
        self._journaled = 0
        made = False
        try:
            self.path.mkdir(parents=True)
            made = True
            self.write_header()
            write_table(
                pa.Table.from_pylist([_point_row(point) for point in points], POINTS_SCHEMA),
                self.path / POINTS_FILE,
            )
            self._journal = (self.path / JOURNAL_FILE).open("a", encoding="utf-8")
        except (OSError, ValueError, pa.ArrowException) as error:
            if made:  # what was there before us is not ours
                shutil.rmtree(self.path, ignore_errors=True)
            reason = getattr(error, "strerror", None) or error
            raise StorageError(
                f"cannot be written: {reason}", where=str(results), hint="Name another folder with --results."
            ) from None

    def write_header(self, **changes: Any) -> None:
        """Write run.json anew, with changes."""
        self.header |= changes
        write_text(self.path / RUN_FILE, json.dumps(self.header, indent=1, allow_nan=False) + "\n")

    def add(self, row: Row) -> None:
        """Keep one visit: on disk when this returns. Raises StorageError where it cannot be."""
        with _storing(self.path):
            self._journal.write(json.dumps(row, allow_nan=False, default=_as_text) + "\n")
            self._journal.flush()
            os.fsync(self._journal.fileno())
        self._journaled += 1
        if self._journaled >= FOLD_EVERY:
            self.fold()

    def fold(self) -> None:
        """Move the journal's rows into measurements.parquet. Raises StorageError where it cannot be written;
        the journal stays then."""
        with _storing(self.path):
            write_table(read_visits(self.path), self.path / MEASUREMENTS_FILE)
            sync_folder(self.path)  # the new name is on disk before the journal is not
            self._journal.truncate(0)
        self._journaled = 0

    def close(self, **changes: Any) -> None:
        """Fold, and write how it ended."""
        self.fold()
        with _storing(self.path):
            self._journal.close()
            self.write_header(**changes)


def run_folders(results: Path) -> list[Path]:
    """The runs in a folder, oldest first; empty where there is none. Of those that began in one second the
    last to be written is the latest."""
    files = sorted(
        results.glob(f"*/{RUN_FILE}"),
        key=lambda path: (path.parent.name.partition("-")[0], path.stat().st_mtime_ns),
    )
    return [path.parent for path in files]


def find_run(name: str, results: Path) -> Path:
    """The folder of a run, from a path, an id, a unique prefix or `last`. Raises UsageError with what there
    is."""
    if (Path(name) / RUN_FILE).is_file():
        return Path(name)
    folders = run_folders(results)
    if name == "last" and folders:
        return folders[-1]
    matches = [folder for folder in folders if folder.name.startswith(name)]
    if len(matches) == 1:
        return matches[0]
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
        header: dict[str, Any] = json.loads((path / RUN_FILE).read_text(encoding="utf-8"))
        schema = int(header["schema"])
        _ = (
            header["run_id"],
            header["suite"]["name"],
            header["state"],
            header["quick"],
            header["arms"],
            header["environments"],
            header["devices"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(f"is no run that can be read: {error}", where=str(path / RUN_FILE)) from None
    if schema > SCHEMA:
        raise StorageError(
            f"was written with schema {schema}, this version knows {SCHEMA}",
            where=str(path),
            hint="Upgrade convscope.",
        )
    return {"method": 1} | header  # the first did not say


def read_visits(path: Path, *, samples: bool = True) -> pa.Table:
    """Everything kept of a run: its parquet, and after it the whole lines of its journal. Without `samples`
    these are null."""
    rows = []
    journal = path / JOURNAL_FILE
    if journal.is_file():
        try:
            lines = journal.read_text(encoding="utf-8").split("\n")
            # what follows the last line's end is torn, or nothing
            rows = [_row_from_journal(json.loads(line)) for line in lines[:-1]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StorageError(f"cannot be read: {error}", where=str(journal)) from None
    if not samples:
        rows = [row | {"samples_s": None} for row in rows]
    folded = path / MEASUREMENTS_FILE
    if not folded.is_file():
        return pa.Table.from_pylist(rows, VISITS_SCHEMA)
    try:
        wanted = None if samples else [name for name in pq.read_schema(folded).names if name != "samples_s"]
        kept = pa.concat_tables(
            [pq.read_table(folded, columns=wanted), VISITS_SCHEMA.empty_table()], promote_options="permissive"
        )
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"cannot be read: {error}", where=str(folded)) from None
    known = set(zip(*(kept.column(name).to_pylist() for name in VISIT_KEY), strict=True)) if rows else set()
    fresh = [row for row in rows if tuple(row[name] for name in VISIT_KEY) not in known]
    return (
        pa.concat_tables([kept, pa.Table.from_pylist(fresh, VISITS_SCHEMA)], promote_options="permissive")
        if fresh
        else kept
    )


def _row_from_journal(row: Row) -> Row:
    return row | {"started_at": datetime.fromisoformat(row["started_at"])}


def read_points(path: Path, run_id: str) -> pa.Table:
    try:
        table = pq.read_table(path / POINTS_FILE)
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"cannot be read: {error}", where=str(path / POINTS_FILE)) from None
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


def _as_text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"a row may not hold {type(value).__name__}")


@contextlib.contextmanager
def _storing(path: Path) -> Iterator[None]:
    """What the system says while a run is written, as our error."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot be written: {error.strerror}", where=str(path), hint="Finished measurements are kept."
        ) from None


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table as parquet, whole. Raises OSError."""
    with whole(path, "wb") as file:
        pq.write_table(table, file, compression="zstd")
