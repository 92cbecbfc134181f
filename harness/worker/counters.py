"""Counters of the system, read around what is timed: waiting threads, page faults, stolen time."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.core.stats import WAITED
from harness.worker.affinity import processors

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

try:
    import resource
except ImportError:  # Windows has no such counters
    resource = None  # type: ignore[assignment]  # its absence is a value here


@dataclass(frozen=True, slots=True)
class Reading:
    """Counters of this process at one moment, in seconds and counts; None where the system does not tell.
    `run_queue_s`: of each thread."""

    run_queue_s: tuple[float, ...] | None
    wall_s: float
    system_s: float | None
    faults: int | None
    switches: int | None


def minor_faults() -> int:
    """Page faults of this process so far that needed no I/O; 0 where the system does not count them."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt if resource else 0


SUMMED = ("wall_s", "system_s", "faults", "switches")


class Counters:
    """Reads the kernel's counters for the threads that there are now. Files stay open, which halves what a
    reading takes."""

    def __init__(self, *, every_thread: bool) -> None:
        threads = _threads() if every_thread else _launching_threads()
        self._threads = _opened(f"/proc/self/task/{thread}/schedstat" for thread in threads)

    def read(self) -> Reading:
        """Every counter now."""
        usage = resource.getrusage(resource.RUSAGE_SELF) if resource else None
        return Reading(
            run_queue_s=_run_queue_s(self._threads) if self._threads else None,
            wall_s=time.perf_counter(),
            system_s=usage.ru_stime if usage else None,
            faults=usage.ru_minflt if usage else None,
            switches=usage.ru_nivcsw if usage else None,
        )

    def close(self) -> None:
        """Close the files."""
        for fd in self._threads:
            os.close(fd)


class Meter:
    """Adds up what the counters gained while samples were taken, and only then. Made once the case is warm:
    its threads are there by then.

    Time stolen comes in ticks of 10 ms, so it is read at both ends alone, over all that lies between them.
    `every_thread`: else those alone that launch work on an accelerator, and no driver's.
    """

    def __init__(self, *, every_thread: bool = True) -> None:
        self._sums: dict[str, float | None] = dict.fromkeys(SUMMED, 0.0)
        self._began_s, self._stolen_s = time.perf_counter(), _steal_s()
        self._counters = Counters(every_thread=every_thread)
        self._start = self._counters.read()
        self._waited_s = None if self._start.run_queue_s is None else [0.0] * len(self._start.run_queue_s)

    def __enter__(self) -> Meter:
        self._start = self._counters.read()
        return self

    def __exit__(self, *_: object) -> None:
        end = self._counters.read()
        for name, total in self._sums.items():
            first, last = getattr(self._start, name), getattr(end, name)
            self._sums[name] = (
                None if total is None or first is None or last is None else total + last - first
            )
        before, after = self._start.run_queue_s, end.run_queue_s
        if self._waited_s is None or before is None or after is None:
            self._waited_s = None
        else:
            self._waited_s = [
                waited + last - first
                for waited, first, last in zip(self._waited_s, before, after, strict=True)
            ]

    def waits(self) -> bool:
        """Whether a thread waited for a processor for a good part of the time, since the meter was opened."""
        now = self._counters.read()
        if now.run_queue_s is None or self._start.run_queue_s is None:
            return False
        pairs = zip(self._start.run_queue_s, now.run_queue_s, strict=True)
        return max(last - first for first, last in pairs) > WAITED * (now.wall_s - self._start.wall_s)

    def columns(self, calls: int) -> dict[str, float | int | None]:
        """The columns over `calls` timed calls. Ends the counting."""
        stolen_s, lasted_s = _steal_s(), time.perf_counter() - self._began_s
        self._counters.close()
        wall = self._sums["wall_s"] or 0.0

        def share(name: str) -> float | None:
            value = self._sums[name]
            return None if value is None or not wall else value / wall

        switches, faults = self._sums["switches"], self._sums["faults"]
        return {
            "run_queue_share": max(self._waited_s) / wall if self._waited_s and wall else None,
            "system_share": share("system_s"),
            "steal_share": _most_gained(self._stolen_s, stolen_s) / lasted_s
            if self._stolen_s and stolen_s
            else None,
            "context_switches": None if switches is None else int(switches),
            "minor_faults_per_call": None if faults is None or not calls else faults / calls,
        }


def _threads() -> list[str]:
    try:
        return os.listdir("/proc/self/task")
    except OSError:
        return []


def _launching_threads() -> list[str]:
    """The main thread, and those that autograd starts for backward passes."""
    return [
        thread
        for thread in _threads()
        if thread == str(os.getpid()) or _name(thread).startswith("pt_autograd")
    ]


def _name(thread: str) -> str:
    try:
        with open(f"/proc/self/task/{thread}/comm", encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _opened(paths: Iterable[str]) -> list[int]:
    """The files that can be opened, all of them or none."""
    opened: list[int] = []
    try:
        for path in paths:
            opened.append(os.open(path, os.O_RDONLY))  # noqa: PERF401  # what was opened must be known when one fails
    except OSError:
        for fd in opened:
            os.close(fd)
        return []
    return opened


def _run_queue_s(threads: Iterable[int]) -> tuple[float, ...] | None:
    """Time that each thread was runnable and not running: the second number of its schedstat, in ns. A kernel
    that does not count has zeros, also for the first, the time that it ran."""
    try:
        read = [os.pread(fd, 100, 0).split() for fd in threads]
        return (
            tuple(int(counts[1]) / 1e9 for counts in read) if any(int(counts[0]) for counts in read) else None
        )
    except (OSError, IndexError, ValueError):  # a thread has ended
        return None


def _steal_s() -> dict[str, float] | None:
    """Time that the hypervisor took of each processor that we may use: the eighth number of its line in
    /proc/stat, in ticks."""
    try:
        ours = {f"cpu{number}" for number in processors()}
        with open("/proc/stat", encoding="ascii") as stat:
            lines = [line.split() for line in stat if line.startswith("cpu")]
        return {line[0]: int(line[8]) / os.sysconf("SC_CLK_TCK") for line in lines if line[0] in ours}
    except (OSError, IndexError, ValueError):
        return None


def _most_gained(before: Mapping[str, float], after: Mapping[str, float]) -> float:
    """Of one processor."""
    return max(after[name] - count for name, count in before.items() if name in after)
