"""The folder of a run that was made of others.

In: a header, and the folders of runs. Out: a folder with the points, cases and visits of all of them.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from harness.core.errors import StorageError
from harness.store.files import sync_folder, whole, write_text
from harness.store.migrations import migrated
from harness.store.mirrors import sent, unsent
from harness.store.run_folder import CASES_FILE, POINTS_FILE, POINTS_SCHEMA, read_points
from harness.store.run_header import RUN_FILE
from harness.store.visit_files import MEASUREMENTS_FILE, VISITS_SCHEMA, read_visits, storing, write_table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def write_merged(results: Path, header: dict[str, Any], parts: Sequence[Path]) -> Path:
    """Write it, and return its folder. run.json comes last, so that a folder without it is no run. Raises
    StorageError; then nothing is left behind."""
    path: Path = results / header["run_id"]
    try:
        with storing(path):
            path.mkdir()
            unsent(path)
            write_table(_points(parts), path / POINTS_FILE)
            write_table(_cases(parts), path / CASES_FILE)
            _write_visits(path, header["run_id"], parts)
            write_text(path / RUN_FILE, json.dumps(header, indent=1, allow_nan=False) + "\n")
            sync_folder(path)
    except StorageError:
        shutil.rmtree(path, ignore_errors=True)
        raise
    return sent(path)


def _points(parts: Sequence[Path]) -> pa.Table:
    """The points of all, each once, numbered anew."""
    tables = [read_points(part, "").select(POINTS_SCHEMA.names) for part in parts]
    rows = pa.concat_tables(tables, promote_options="permissive").to_pylist()
    distinct = {tuple(value for name, value in row.items() if name != "point"): row for row in rows}
    return pa.Table.from_pylist(
        [row | {"point": number} for number, row in enumerate(distinct.values())], POINTS_SCHEMA
    )


def _cases(parts: Sequence[Path]) -> pa.Table:
    """What is asked for in all of them, each case once."""
    try:
        tables = [pq.read_table(part / CASES_FILE, page_checksum_verification=True) for part in parts]
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"cannot be read: {error}", where=CASES_FILE) from None
    rows = {json.dumps(row): row for table in tables for row in table.to_pylist()}
    return pa.Table.from_pylist(list(rows.values()), tables[0].schema)


def _write_visits(path: Path, run_id: str, parts: Sequence[Path]) -> None:
    """The visits of all under the new name, a run in memory at a time."""
    place = VISITS_SCHEMA.get_field_index("run_id")
    with (
        whole(path / MEASUREMENTS_FILE, "wb") as file,
        pq.ParquetWriter(file, VISITS_SCHEMA, compression="zstd", write_page_checksum=True) as writer,
    ):
        for part in parts:
            table = migrated(read_visits(part).table).select(VISITS_SCHEMA.names).cast(VISITS_SCHEMA)
            named = pa.array([run_id] * table.num_rows, pa.string()).dictionary_encode()
            writer.write_table(table.set_column(place, VISITS_SCHEMA.field(place), named))
