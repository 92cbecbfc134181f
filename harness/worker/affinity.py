"""A processor for each thread, while calls are timed.

With as many threads as processors there is one placement that has no two threads on one processor. Beside
other work the kernel takes long to find it, above all when a process was stopped: its threads come back
together on the idle processor, and each spins at a barrier until the other one's slice comes. Bound, they
share processors with the other work alone, and between its slices calls are undisturbed (docs/method.md,
section 8).
"""

from __future__ import annotations

import contextlib
import os
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@lru_cache
def processors() -> frozenset[int]:
    """Those that this process may use, as they were before any thread was bound; none where the system does
    not tell."""
    return frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else frozenset()


@contextlib.contextmanager
def a_processor_each(threads: int) -> Iterator[bool]:
    """Bind the threads that compute in this process to a processor each; whether that was done. It is not
    where a case computes with another number of threads than there are processors, or with one."""
    team = _busiest(threads) if threads == len(processors()) > 1 else []
    bound = bool(team) and _bound(team)
    if team and not bound:
        _release()
    try:
        yield bound
    finally:
        if bound:
            _release()


def _release() -> None:
    """Every thread: one that was started meanwhile is bound as the one that started it."""
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError):  # it has ended
            os.sched_setaffinity(int(thread), processors())


def _busiest(count: int) -> list[int]:
    """The threads of this process that ran longest so far; none where there are fewer, or nothing tells."""
    ran_ns: dict[int, int] = {}
    for thread in os.listdir("/proc/self/task") if os.path.isdir("/proc/self/task") else ():
        with (
            contextlib.suppress(OSError, ValueError, IndexError),  # it has ended, or nothing is told
            open(f"/proc/self/task/{thread}/schedstat", encoding="ascii") as file,
        ):
            ran_ns[int(thread)] = int(file.read().split()[0])
    busiest = sorted(ran_ns, key=lambda thread: -ran_ns[thread])[:count]
    return busiest if len(busiest) == count and all(ran_ns[thread] for thread in busiest) else []


def _bound(threads: Sequence[int]) -> bool:
    """Each to the processor where it ran last, where no other has that; False where one could not be."""
    left = set(processors())
    try:
        for thread in threads:
            last = _last_processor(thread)
            processor = last if last in left else min(left)
            os.sched_setaffinity(thread, {processor})
            left.remove(processor)
    except (OSError, ValueError, IndexError):
        return False
    return True


def _last_processor(thread: int) -> int:
    """Where a thread ran last: the 39th field of its stat, after a name that may hold spaces."""
    with open(f"/proc/self/task/{thread}/stat", encoding="ascii", errors="replace") as file:
        return int(file.read().rpartition(")")[2].split()[36])
