"""Who writes a run: one process at a time, which holds a lock in its folder. The kernel frees the lock of one
that was killed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from harness.core.errors import BusyError

if TYPE_CHECKING:
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
