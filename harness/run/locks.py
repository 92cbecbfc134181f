"""One measurement a device: two at once spoil each other, whoever started them.

The locks lie in the machine's folder for temporary files, since they hold for every user and every results
folder. A lock whose process died is free again: the kernel holds it, not the file.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from harness.core.errors import BusyError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


@contextlib.contextmanager
def hold(devices: Iterable[str], *, wait: bool, on_wait: Callable[[str], None]) -> Iterator[None]:
    """Hold the locks of devices (`cpu`, `cuda:0`). Raises BusyError where one is held and `wait` is false;
    else tells `on_wait` and waits."""
    with contextlib.ExitStack() as stack:
        for device in sorted(devices):  # one order for all, so that two runs cannot wait for each other
            stack.enter_context(_one(device, wait, on_wait))
        yield


@contextlib.contextmanager
def _one(device: str, wait: bool, on_wait: Callable[[str], None]) -> Iterator[None]:
    path = Path(tempfile.gettempdir()) / f"convscope-{device.replace(':', '-')}.lock"
    lock = FileLock(path, mode=0o666)
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if not wait:
                raise BusyError(
                    "another measurement is running on it",
                    where=device,
                    hint="Try again later, or leave --no-wait out.",
                ) from None
            on_wait(device)
            lock.acquire()
    except OSError as error:
        raise StorageError(f"the lock cannot be taken: {error.strerror}", where=str(path)) from None
    try:
        yield
    finally:
        lock.release()
