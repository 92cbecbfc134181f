"""What a call costs in joules, by a device's own counter.

The counter moves every 20 to 100 ms, so calls are repeated for a second and more; what the device takes while
it waits is measured in as long a pause and taken off. Power is averaged by the device, so a window should not
follow another load: one that is not counted comes first.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.worker.devices import Device

SETTLE_SHARE = 0.25  # of a window, before it
# of calls are queued before the host waits: little of a window, and much of what waiting takes
QUEUED_S = 0.01


def of_a_call(
    call: Callable[[], object],
    device: Device,
    joules: Callable[[], float | None],
    window_s: float,
    unrolled: int,
) -> float | None:
    """Joules a call above what the device takes idle, over `window_s` seconds each; None where it does not
    count them."""
    if joules() is None:
        return None
    _repeated(call, device, SETTLE_SHARE * window_s)
    began, before = time.perf_counter(), joules()
    calls = _repeated(call, device, window_s)
    busy_s, busy_j = time.perf_counter() - began, _difference(before, joules())
    time.sleep(SETTLE_SHARE * window_s)
    began, before = time.perf_counter(), joules()
    time.sleep(window_s)
    idle_s, idle_j = time.perf_counter() - began, _difference(before, joules())
    return (busy_j - idle_j * busy_s / idle_s) / (calls * unrolled)


def _difference(before: float | None, after: float | None) -> float:
    return (after or 0.0) - (before or 0.0)


def _repeated(call: Callable[[], object], device: Device, seconds: float) -> int:
    """How often it was called."""
    calls, batch, now = 0, 1, time.perf_counter()
    end = now + seconds
    while now < end:
        for _ in range(batch):
            call()
        device.synchronize()
        calls += batch
        if -now + (now := time.perf_counter()) < QUEUED_S:
            batch *= 2
    return calls
