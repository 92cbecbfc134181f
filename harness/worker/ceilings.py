"""The roofs of a device: how fast it computes, moves bytes, and hands out pages, at best, as seen and not as
a datasheet says.

In: dtypes, a number of threads as a setting has it. Out: device, device_index, threads_used, and `roofs`,
each null where it cannot be had:

    flops_per_s_<dtype>      of large matrix products, 2 FLOPs a multiply-accumulate
    bytes_per_s_<bytes>      of a copy that touches so many bytes, what is read and what is written counted
    page_fault_s             seconds for a page that glibc hands back to the kernel and gets anew (CPU)

The best of several tries counts: what disturbs only makes slower. For a process of its own, since the choice
of an allocator cannot be undone.
"""

from __future__ import annotations

import time
from math import ceil
from typing import TYPE_CHECKING, Any

import torch

from harness.worker import affinity, allocator, counters, environment, sampling
from harness.worker.clocks import EventClock, WaitingClock, waited_s

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from harness.worker.devices import Device

# the best size differs by library and number of threads
CPU_PRODUCT_SIZES, GPU_PRODUCT_SIZES = (512, 1024, 2048), (4096, 8192)
# of source and target: every cache, then memory
CPU_COPIED_BYTES = (2**21, 2**23, 2**25, 2**27, 2**29)
GPU_COPIED_BYTES = (2**23, 2**25, 2**26, 2**27, 2**28, 2**31)
DRAWN_BYTES = 2**20  # random, repeated
TRY_S = 0.1  # each roof is tried for so long, and three times at least
FEWEST_TRIES = 3
# a try on a GPU holds so much of calls, queued before the first begins: a small copy takes less than its
# launch
BATCH_S = 1e-3
FAULTING_BYTES = (2**20, 2 * 2**20, 4 * 2**20)  # as large as the outputs of common layers
PAGE_BYTES = 4096
STARTING_SIZE = 512


def measure(dtypes: Iterable[str], threads: str, device: Device) -> dict[str, Any]:
    """Every roof of a device, of products in full float32. Raises NotSupported for more threads than there
    are."""
    used = environment.use_threads(threads)
    environment.set_precision(device.kind, "ieee")
    device.select()
    on_cpu = device.kind == "cpu"
    copied = CPU_COPIED_BYTES if on_cpu else GPU_COPIED_BYTES
    if on_cpu:
        torch.mm(*torch.ones(2, STARTING_SIZE, STARTING_SIZE))  # then its threads are there
    with torch.inference_mode(), affinity.a_processor_each(used if on_cpu else 0):
        roofs = {"page_fault_s": _page_fault_s() if on_cpu else None}
        allocator.keep_freed_memory()
        roofs |= {f"flops_per_s_{dtype}": _flops_per_s(getattr(torch, dtype), device) for dtype in dtypes}
        roofs |= {f"bytes_per_s_{size}": _copied_per_s(size, device) for size in copied}
    return {
        "device": device.kind,
        "device_index": device.torch_device.index,
        "threads_used": used,
        "roofs": roofs,
    }


def _flops_per_s(dtype: torch.dtype, device: Device) -> float | None:
    """Of the best square product; None for a dtype that the device does not multiply. A size that takes
    longer than a roof is tried is the last.

    Of random numbers: equal ones switch fewer transistors, and where power is what limits, a product of zeros
    ran 13 % faster than one of random numbers (H200, bfloat16).
    """
    best = 0.0
    for size in CPU_PRODUCT_SIZES if device.kind == "cpu" else GPU_PRODUCT_SIZES:
        try:
            one, two, out = (
                torch.empty((size, size), dtype=dtype, device=device.torch_device).normal_() for _ in range(3)
            )
            took_s = _least_s(lambda one=one, two=two, out=out: torch.mm(one, two, out=out), device)  # type: ignore[misc]
        except (RuntimeError, TypeError):  # not every device has every dtype, and multiplies what it has
            return None
        best = max(best, 2 * size**3 / took_s)
        if took_s > TRY_S:
            break
    return best


def _copied_per_s(size: int, device: Device) -> float:
    """Bytes a second, read and written, of a copy that touches `size` of them."""
    drawn = torch.empty(DRAWN_BYTES, dtype=torch.uint8, device=device.torch_device).random_()
    source, target = (drawn.repeat(size // 2 // DRAWN_BYTES) for _ in range(2))
    return size / _least_s(lambda: target.copy_(source), device)


def _page_fault_s() -> float | None:
    """What a fault costs, by writing fresh memory as a layer writes its output: with what is freed given
    back, and with the heap kept.

    The difference holds all that goes with a fault: the kernel's entry, the page that it clears, and giving
    it back.
    """

    def loop(tries: int) -> tuple[float, float]:
        """(seconds, faults) a try of all sizes."""
        meter = counters.Meter()
        with meter:
            began = time.perf_counter()
            for _ in range(tries):
                for size in FAULTING_BYTES:
                    torch.empty(size, dtype=torch.uint8).fill_(1)
            took_s = time.perf_counter() - began
        return took_s / tries, meter.columns(tries)["minor_faults_per_call"] or 0.0

    if not allocator.give_back_freed_memory():
        return None
    loop(2)
    faulting = min(loop(5) for _ in range(FEWEST_TRIES))
    allocator.keep_freed_memory()
    loop(2)
    kept = min(loop(5) for _ in range(FEWEST_TRIES))
    faults, cost_s = faulting[1] - kept[1], faulting[0] - kept[0]
    return cost_s / faults if faults > 0.5 * sum(FAULTING_BYTES) / PAGE_BYTES and cost_s > 0 else None


def _least_s(call: Callable[[], object], device: Device) -> float:
    """Seconds a call, of the fastest of several tries; on a GPU in batches, queued before they begin where it
    can be made to wait."""
    clock, tries = device.clock(1, flushed=False), list[float]()
    call()
    call_s = waited_s(call, device)
    batch = ceil(BATCH_S / call_s)
    if isinstance(clock, WaitingClock):  # of which the wait is no part that is seen
        batch = sampling.calls_per_sample(clock.sample(call, batch), clock.least_sample_s)
    end = time.perf_counter() + TRY_S
    while time.perf_counter() < end or len(tries) < FEWEST_TRIES:
        tries.append(
            clock.blocked(call, batch, call_s).device_s
            if isinstance(clock, EventClock)
            else clock.sample(call, 1 if device.kind == "cpu" else batch)
        )
    return min(tries)
