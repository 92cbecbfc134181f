"""Who writes a run: one process at a time, which holds a lock in its folder. The kernel frees the lock of one
that was killed."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from harness.core.errors import BusyError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK_FILE = "run.lock"


def locked(path: Path) -> FileLock:
    """The lock of who writes a run. Raises BusyError, OSError."""
    lock = FileLock(path / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise BusyError("is being written by another process", where=str(path)) from None
    return lock


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Whether nobody else writes a run; so long as the context lasts, nobody does."""
    try:
        lock = locked(path)
    except (BusyError, OSError):
        yield False
        return
    try:
        yield True
    finally:
        let_go(path, lock)


def let_go(path: Path, lock: FileLock) -> None:
    """Release a lock. Its file goes first: after it, it may be another's."""
    with suppress(OSError):  # Windows removes no open file
        (path / LOCK_FILE).unlink()
    lock.release()


def was_written(path: Path) -> bool:
    """Whether a process of this machine writes this run, or was killed when it did."""
    return (path / LOCK_FILE).is_file()


def is_written(path: Path) -> bool:
    """Whether a process of this machine writes this run now."""
    if not was_written(path):
        return False
    try:
        with FileLock(path / LOCK_FILE, timeout=0):
            return False
    except (Timeout, OSError):  # where it may not be tried, the run's own word stands
        return True
