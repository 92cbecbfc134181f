"""Files written whole or not at all, and on disk when the call returns."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from harness.core.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def storing(path: Path) -> Iterator[None]:
    """What the system says while a run is written, as our error."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot be written: {error.strerror}", where=str(path), hint="What was measured before this is kept.") from None


def write_table(table: pa.Table, path: Path) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        pq.write_table(table, file, compression="zstd")
        os.fsync(file.fileno())
    partial.replace(path)


def write_text(path: Path, text: str) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def sync_folder(path: Path) -> None:
    """Have the names in a folder on disk; where a system cannot open folders, it does that when it likes."""
    with contextlib.suppress(OSError):
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
