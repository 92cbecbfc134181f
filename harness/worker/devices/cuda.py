"""NVIDIA GPUs, through torch.cuda: what every module of the worker asks of one stands here.

The caching allocator's own counters: `allocated` counts blocks, which may be up to 1 MiB larger than what was
asked for; `requested` counts what was asked for (torch/csrc/cuda: CUDACachingAllocator, should_split).
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch

from harness.worker.clocks import EventClock, describe
from harness.worker.devices.nvml import Nvml
from harness.worker.environment import NotSupported
from harness.worker.throttle import Monitor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Variables under which a figure is not the device's: every launch waits, cudaMalloc in every call, precision
# other than what is read back
SPOILING = ("CUDA_LAUNCH_BLOCKING", "PYTORCH_NO_CUDA_MEMORY_CACHING", "NVIDIA_TF32_OVERRIDE")
# `_sleep` counts cycles; at the boost clock of a current device, so that a spin lasts as long as asked or
# longer
SPIN_HZ = 2.0e9
FLUSHED_TIMES = 2.0  # the last-level cache is overwritten so many times over


class Cuda:
    """One GPU, by torch's index."""

    kind = "cuda"
    forks = False  # a context does not survive it, and takes seconds to make anew
    alignment = 512

    def __init__(self, index: int) -> None:
        self.index = index
        self.torch_device = torch.device("cuda", index)
        self._flushed: torch.Tensor | None = None

    def select(self) -> dict[str, Any]:
        """Make it the current one. A power limit below the default makes another device of it, and stands in
        its name."""
        for name in SPOILING:
            if os.environ.get(name, "0") not in ("", "0") or (
                name == "NVIDIA_TF32_OVERRIDE" and name in os.environ
            ):
                raise NotSupported(f"{name} is set, which changes what is measured: unset it")
        torch.cuda.set_device(self.index)
        return {"device_index": self.index, "device_name": _name(self.index)}

    def synchronize(self) -> None:
        """Wait for all streams."""
        torch.cuda.synchronize(self.index)

    def clock(self, unrolled: int, *, flushed: bool) -> EventClock:
        """Events on the current stream."""
        return EventClock(self, unrolled, flush=self.flush if flushed else None)

    def event(self) -> Any:
        """An event that can be timed."""
        return torch.cuda.Event(enable_timing=True)

    def host_ns(self) -> int:
        """The host's monotonic clock."""
        return time.perf_counter_ns()

    def spin(self, cycles: int) -> None:
        """Queue a kernel that does nothing for so many cycles of the device's clock."""
        torch.cuda._sleep(cycles)

    def block(self, seconds: float) -> None:
        """Queue a kernel that does nothing for so long, or longer."""
        self.spin(int(seconds * SPIN_HZ))

    def flush(self) -> None:
        """Queue a kernel that overwrites the cache."""
        if self._flushed is None:
            self._flushed = torch.empty(
                int(FLUSHED_TIMES * (self.cache_bytes() or 0)), dtype=torch.uint8, device=self.torch_device
            )
        self._flushed.zero_()

    def cache_bytes(self) -> int | None:
        """Of the second level."""
        return int(torch.cuda.get_device_properties(self.index).L2_cache_size) or None

    def peak_bytes(self, call: Callable[[], object]) -> tuple[int, int | None]:
        """By what was requested of the caching allocator."""
        self.synchronize()
        torch.cuda.reset_peak_memory_stats(self.index)
        before = torch.cuda.memory_stats(self.index)["requested_bytes.all.current"]
        call()
        self.synchronize()
        return torch.cuda.memory_stats(self.index)[
            "requested_bytes.all.peak"
        ] - before, torch.cuda.memory_reserved(self.index)

    def captured(self, calls: Sequence[Callable[[], Any]]) -> tuple[Callable[[], object], Any]:
        """Calls in a row as one CUDA graph: no dispatch is left between them."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):  # capture must find every lazy initialisation done
                for call in dict.fromkeys(calls):
                    call()
        self.synchronize()
        graph, rotate, kept = torch.cuda.CUDAGraph(), len(set(calls)) > 1, list[Any]()
        with torch.cuda.graph(graph):
            for call in calls:
                if not rotate:
                    # as in a loop, where a call writes what the one before it gave back; what rotates must
                    # not
                    kept.clear()
                kept.append(call())
        return graph.replay, kept[-1]

    def monitor(self) -> Monitor | None:
        """NVML and the device's own cycles."""
        nvml = Nvml.of(self.index)
        return Monitor(nvml, EventClock(self).cycles_per_s) if nvml else None

    def release(self) -> None:
        """The caching allocator's free blocks; what torch.compile knows of earlier cases, which would decide
        how the next is compiled."""
        self._flushed = None
        if "torch._dynamo" in sys.modules:
            torch.compiler.reset()
        gc.collect()
        with contextlib.suppress(RuntimeError):  # an error of the context stays; the planner ends this worker
            torch.cuda.empty_cache()


def listed() -> tuple[list[dict[str, Any]], list[str]]:
    """Every GPU with its facts and what its clock is worth, and why those that cannot be used cannot."""
    found, faults = list[dict[str, Any]](), list[str]()
    if not torch.cuda.is_available():
        return found, faults
    for index in range(torch.cuda.device_count()):
        try:
            torch.cuda.set_device(index)
            identity = {"type": "cuda", "index": index, "name": _name(index)}
            found.append(identity | {"facts": _facts(index), "clock": describe(EventClock(Cuda(index)))})
        # full, in another's exclusive use, broken: the others are there all the same
        except Exception as error:  # noqa: PERF203
            faults.append(f"cuda:{index}: {error}".splitlines()[0])
    return found, faults


@lru_cache
def _name(index: int) -> str:
    nvml = Nvml.of(index)
    limit = nvml.limited_w() if nvml else None
    return torch.cuda.get_device_name(index) + (f" at {limit:.0f} W" if limit else "")


def _facts(index: int) -> dict[str, Any]:
    """What makes this GPU another one: sizes in bytes, clocks in Hz, power in W."""
    properties = torch.cuda.get_device_properties(index)
    nvml = Nvml.of(index)
    return {
        "uuid": str(getattr(properties, "uuid", "")) or None,
        "capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "memory_bytes": properties.total_memory,
        "last_level_cache_bytes": int(properties.L2_cache_size),
    } | (nvml.facts() if nvml else {})
