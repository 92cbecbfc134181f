"""Memory of one call of a processor, in bytes above the resident inputs and weights.

The running sum of the profiler's allocation events, and the kernel's high-water mark of resident memory.
Never in a process that times: a profiler leaves its hooks behind.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

# torch.profiler, which stands on it, imports torch's compiler when it starts
from torch.autograd.profiler import profile

if TYPE_CHECKING:
    from collections.abc import Callable


def peak_rss_bytes(call: Callable[[], object]) -> int | None:
    """Growth of the process's resident memory over a call that is its first, by resetting VmHWM (proc(5),
    clear_refs 5). Linux only."""
    try:
        before = _status_bytes("VmRSS")
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        call()
        return None
    call()
    return max(_status_bytes("VmHWM") - before, 0)


def peak_of_events(call: Callable[[], object]) -> int:
    """The highest sum of live allocations during a call."""
    with profile(use_kineto=True, profile_memory=True) as profiler:
        call()
    live = peak = 0
    for event in sorted(_memory_events(profiler), key=lambda event: event[0]):
        live += event[1]
        peak = max(peak, live)
    return peak


def _memory_events(profiler: profile) -> list[tuple[int, int]]:
    """(time in ns, bytes: negative when freed) of every allocation event."""
    events: list[Any] = profiler.kineto_results.events()  # type: ignore[union-attr]  # set once the profiler has stopped
    return [(event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]"]


def _status_bytes(name: str) -> int:
    with open("/proc/self/status", encoding="ascii") as file:
        match = re.search(rf"^{name}:\s+(\d+) kB", file.read(), re.MULTILINE)
    return int(match[1]) * 1024 if match else 0
