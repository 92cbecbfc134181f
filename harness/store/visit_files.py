"""The rows of a run on disk, a row a visit.

    journal.jsonl           a line a visit while it is measured, on disk before the next one begins
    part-0001.parquet ...   what the journal held, each time that it has `PART_ROWS` lines
    measurements.parquet    all of them, once the run has ended

A visit is never in none of them: a file takes its name when it is whole and on disk, and only then is what it
replaces removed. One that is in two of them is read once.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harness.core.columns import BY_NAME, COLUMNS, MOST_FIGURE, SCHEMA, STRUCTS, fits, lacking
from harness.core.errors import StorageError
from harness.store.files import sync_folder, whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from harness.core.columns import Row

JOURNAL_FILE, MEASUREMENTS_FILE, PARTS = "journal.jsonl", "measurements.parquet", "part-*.parquet"
PART_ROWS = 1000
BATCH_ROWS = 1000  # of a table as rows of Python's objects, samples and all
VISIT_KEY = ("arm", "started_at", "case_id", "position")
ROW_GROUP = 10_000  # rows that are written at a time
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


@dataclass(frozen=True, slots=True)
class Visits:
    """The rows of a run, and how many lines of its journal are none that can be read."""

    table: pa.Table
    torn: int = 0


class VisitLog:
    """The rows of a run while they are written. Raises StorageError where they cannot be."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with storing(folder):
            self._journal = (folder / JOURNAL_FILE).open("ab", buffering=0)
        self._rows = 0
        if self._journal.tell():  # of a run that was killed; its last line may be torn
            self._start_part()

    def add(self, row: Row) -> None:
        """Keep one visit: on disk when this returns."""
        line = json.dumps(row, allow_nan=False, default=_as_text).encode() + b"\n"
        with storing(self._folder):
            self._append(line)
            os.fsync(self._journal.fileno())
        self._rows += 1
        if self._rows >= PART_ROWS:
            self._start_part()

    def _append(self, line: bytes) -> None:
        """Write a line; where it finds no room, none of it stays, and the next one begins afresh."""
        begins = self._journal.seek(0, os.SEEK_END)
        try:
            while line:
                line = line[self._journal.write(line) :]
        except OSError:
            with contextlib.suppress(OSError):
                self._journal.truncate(begins)
            raise

    def _start_part(self) -> None:
        """Move what the journal holds into a file of its own."""
        with storing(self._folder):
            rows, _ = _journal_rows(self._folder / JOURNAL_FILE)
            if rows:
                parts = len(list(self._folder.glob(PARTS)))
                table = pa.Table.from_pylist(rows, VISITS_SCHEMA)
                write_table(table, self._folder / PARTS.replace("*", f"{parts + 1:04d}"))
                sync_folder(self._folder)  # the new name is on disk before the journal is not
            self._journal.truncate(0)
        self._rows = 0

    def close(self) -> None:
        """Make one file of all. Where that cannot be, all of them stay."""
        try:
            self._start_part()
            parts = sorted(self._folder.glob(PARTS))
            if not parts and (self._folder / MEASUREMENTS_FILE).is_file():
                return
            with storing(self._folder):
                _merge(self._folder)
                sync_folder(self._folder)
                for part in parts:
                    part.unlink()
        finally:
            self._journal.close()


def _merge(folder: Path) -> None:
    """All rows into measurements.parquet, a file's at a time: a long run is larger than the memory it may
    take."""
    with (
        whole(folder / MEASUREMENTS_FILE, "wb") as file,
        pq.ParquetWriter(file, VISITS_SCHEMA, compression="zstd", write_page_checksum=True) as writer,
    ):
        for table in _distinct(_tables(folder, samples=True)):
            writer.write_table(table)


def read_visits(folder: Path, *, samples: bool = True) -> Visits:
    """Everything kept of a run. Without `samples` these are null. Raises StorageError."""
    rows, torn = _journal_rows(folder / JOURNAL_FILE)
    if not samples:
        rows = [row | {"samples_s": None} for row in rows]
    tables = [*_tables(folder, samples=samples), pa.Table.from_pylist(rows, VISITS_SCHEMA)]
    return Visits(pa.concat_tables(_distinct(tables), promote_options="permissive"), torn)


def rows_of(table: pa.Table) -> Iterator[Row]:
    """The rows of a table as dicts, a batch in memory at a time."""
    for batch in table.to_batches(max_chunksize=BATCH_ROWS):
        yield from batch.to_pylist()


def _tables(folder: Path, *, samples: bool) -> Iterator[pa.Table]:
    """measurements.parquet and the parts, the oldest first; what a file lacks is null. Raises
    StorageError."""
    for path in (folder / MEASUREMENTS_FILE, *sorted(folder.glob(PARTS))):
        if not path.is_file():
            continue
        try:
            names = [name for name in pq.read_schema(path).names if samples or name != "samples_s"]
            kept = pq.read_table(path, columns=names, partitioning=None, page_checksum_verification=True)
            table = pa.concat_tables([kept, VISITS_SCHEMA.empty_table()], promote_options="permissive")
            _require_latencies(table)
            yield table
        except (OSError, ValueError, pa.ArrowException) as error:
            raise StorageError(f"cannot be read: {error}", where=str(path)) from None


def _require_latencies(table: pa.Table) -> None:
    """Raises ValueError where a visit that succeeded has a latency that no call takes: a file that another
    program wrote."""
    latencies = table.filter(pc.equal(table["status"], "ok"))["latency_s"]
    if not pc.all(pc.and_(pc.greater(latencies, 0), pc.less(latencies, MOST_FIGURE)), min_count=0).as_py():
        raise ValueError("a latency is not above 0 s and below 1e9 s")


def _distinct(tables: Iterator[pa.Table] | list[pa.Table]) -> Iterator[pa.Table]:
    """The tables, each visit in the first of them that has it."""
    known: set[tuple[Any, ...]] = set()
    for table in tables:
        keys = list(zip(*(table.column(name).to_pylist() for name in VISIT_KEY), strict=True))
        fresh = [key not in known for key in keys]
        known.update(keys)
        yield table if all(fresh) else table.filter(pa.array(fresh, pa.bool_()))


def _journal_rows(path: Path) -> tuple[list[Row], int]:
    """The rows of a journal, and how many of its lines are none; what follows the last line's end is a visit
    that was not finished, or nothing."""
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise StorageError(f"cannot be read: {error.strerror}", where=str(path)) from None
    rows = [row for row in map(_as_row, lines) if row is not None]
    return rows, len(lines) - len(rows)


def _as_row(line: bytes) -> Row | None:
    """The row of a line of the journal; None where it is none that the columns can hold."""
    try:
        row = json.loads(line)
        row = dict.fromkeys(BY_NAME) | row | {"started_at": datetime.fromisoformat(row["started_at"])}
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    known = all(fits(column.type, row[column.name]) for column in COLUMNS)
    if known and row["status"] == "ok" and row["schema"] == SCHEMA:
        known = not lacking(row)
    return {name: row[name] for name in BY_NAME} if known else None


def _as_text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"a row may not hold {type(value).__name__}")


@contextlib.contextmanager
def storing(path: Path) -> Iterator[None]:
    """What the system says while a run is written, as our error."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot be written: {error.strerror or error}",
            where=str(path),
            hint="Finished measurements are kept.",
        ) from None


def write_rows(rows: Iterable[Row], schema: pa.Schema, path: Path) -> None:
    """Write rows as `write_table` does, a batch in memory at a time: a suite has up to 100,000 points. Raises
    OSError."""
    left = iter(rows)
    with (
        whole(path, "wb") as file,
        pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as writer,
    ):
        while batch := list(islice(left, ROW_GROUP)):
            writer.write_table(pa.Table.from_pylist(batch, schema))


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table as parquet, whole, with checksums: bytes that a disk has changed are told on reading.
    Raises OSError."""
    with whole(path, "wb") as file:
        pq.write_table(table, file, compression="zstd", write_page_checksum=True)
