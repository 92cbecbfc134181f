"""Whether somebody else works on a GPU, told by what is taken from one's own work.

A GPU gives the kernels of two processes slices of its time, one after the other. Work that is shorter than a
slice meets nobody, work that is longer waits for the other's slices in between. No driver shows that where
the other sits in another container or virtual machine. In: a device and seconds. Out: how much longer a call
takes in long batches than in short ones, for two works that need different parts of the device.
"""

from __future__ import annotations

import time
from math import ceil
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch

from harness.core.stats import quantile
from harness.worker.clocks import EventClock, waited_s
from harness.worker.environment import NotSupported

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.worker.devices import Device

SHORT_S = 0.5e-3  # lies within a slice of a GPU's time, which are of some two milliseconds ...
LONG_S = 20e-3  # ... and this spans several
WARM_UP_S = 0.3  # until a clock that had nothing to do has risen
UNDISTURBED_SHARE = 0.1  # this quantile of short batches met nobody
SLOWED = 1.2  # times that; clocks that fall under a long load stay below
COPIED_BYTES = 2**28
PRODUCT_SIZE = 4096


def probe(device: Device, seconds: float) -> dict[str, Any]:
    """`batches`, `slowed_share` of them, and `lost_share`: the time that was taken, over the time that the
    works need. Raises NotSupported."""
    device.select()
    clock = device.clock(1, flushed=False)
    if not isinstance(clock, EventClock):
        raise NotSupported("others are looked for on CUDA devices alone; of a processor its run queue tells")
    with torch.inference_mode():
        works = [(work, _call_s(work, device)) for work in _works(device)]
        times: list[tuple[list[float], list[float]]] = [([], []) for _ in works]
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            for (work, call_s), found in zip(works, times, strict=True):
                for batch_s, seen in zip((SHORT_S, LONG_S), found, strict=True):
                    seen.append(clock.blocked(work, ceil(batch_s / call_s), call_s).device_s)
    return lost(times)


def lost(times: Sequence[tuple[Sequence[float], Sequence[float]]]) -> dict[str, Any]:
    """Of each work its short and its long batches, in seconds a call."""
    ratios = [one / quantile(short, UNDISTURBED_SHARE) for short, long in times for one in long]
    return {
        "batches": len(ratios),
        "slowed_share": sum(ratio > SLOWED for ratio in ratios) / len(ratios),
        "lost_share": fmean(max(ratio - 1, 0.0) for ratio in ratios),
    }


def _works(device: Device) -> list[Callable[[], object]]:
    """A copy through memory, and a product of the matrix units."""
    source, target = (
        torch.zeros(COPIED_BYTES // 2, dtype=torch.uint8, device=device.torch_device) for _ in range(2)
    )
    size, dtype = (PRODUCT_SIZE, PRODUCT_SIZE), torch.bfloat16
    one, two, product = (
        torch.empty(size, dtype=dtype, device=device.torch_device).normal_() for _ in range(3)
    )
    return [lambda: target.copy_(source), lambda: torch.mm(one, two, out=product)]


def _call_s(work: Callable[[], object], device: Device) -> float:
    """Seconds a call, once the device's clock has risen."""
    found, end = list[float](), time.perf_counter() + WARM_UP_S
    while time.perf_counter() < end:
        found.append(waited_s(work, device))
    return min(found)
