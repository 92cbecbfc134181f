"""Files that are there whole or not at all, and on disk when the call returns."""

from __future__ import annotations

import contextlib
import os
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def whole(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """A file to write that takes its name when all of it is on disk; until then what had the name before
    keeps it. Raises OSError."""
    # of two processes that write at once the later one wins
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open(mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write text, whole. Raises OSError."""
    with whole(path) as file:
        file.write(text)


def sync_folder(path: Path) -> None:
    """Have the names in a folder on disk; where a system cannot open folders, it does that when it likes."""
    with contextlib.suppress(OSError):
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
