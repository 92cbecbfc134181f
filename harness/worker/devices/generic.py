"""Any other accelerator, as far as torch.accelerator knows it: Intel's GPUs (xpu), Apple's (mps), and what
brings a back end of its own (npu).

What torch gives no common form is null or NotSupported here, never a guess: device time apart from the
host's, graphs, the size of caches, clocks and heat, kernels.
"""

from __future__ import annotations

import contextlib
import gc
import sys
from typing import TYPE_CHECKING, Any

import torch

from harness.worker.clocks import WaitingClock
from harness.worker.environment import NotSupported, cpu_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CURRENT, PEAK = "requested_bytes.all.current", "requested_bytes.all.peak"


class Generic:
    """One device of a type, by torch's index."""

    forks = False  # what a driver keeps in a process does not survive it
    alignment = 512  # as torch's caching allocators round up

    def __init__(self, kind: str, index: int) -> None:
        self.kind, self.index = kind, index
        self.torch_device = torch.device(kind, index)

    def select(self) -> dict[str, Any]:
        """Make it the current one."""
        torch.accelerator.set_device_index(self.index)
        return {"device_index": self.index, "device_name": _name(self.kind, self.index)}

    def synchronize(self) -> None:
        """Wait for all that is queued."""
        torch.accelerator.synchronize(self.index)

    def block(self, seconds: float) -> None:
        """Nothing that idles can be queued."""

    def clock(self, unrolled: int, *, flushed: bool) -> WaitingClock:
        """The host's, which waits for the device."""
        if flushed:
            raise NotSupported(f"cache flushed is not supported on {self.kind}: no device time can be taken")
        return WaitingClock(self.synchronize)

    def cache_bytes(self) -> int | None:
        """Not known."""
        return None

    def peak_bytes(self, call: Callable[[], object]) -> tuple[int | None, int | None]:
        """By what was requested of the type's caching allocator, where it counts that."""
        before = self._memory_stats()
        if CURRENT not in before:
            return None, None
        torch.accelerator.reset_peak_memory_stats(self.index)
        call()
        self.synchronize()
        peak = self._memory_stats()[PEAK] - before[CURRENT]
        return peak, torch.accelerator.memory_reserved(self.index)

    def captured(self, calls: Sequence[Callable[[], Any]]) -> tuple[Callable[[], object], Any]:
        """Nothing can be captured."""
        raise NotSupported("mode cuda_graph needs a CUDA device")

    def monitor(self) -> None:
        """Nobody tells."""

    def release(self) -> None:
        """Free blocks of the caching allocator, where there is one; what torch.compile knows of earlier
        cases."""
        if "torch._dynamo" in sys.modules:
            torch.compiler.reset()
        gc.collect()
        if empty := getattr(torch.get_device_module(self.kind), "empty_cache", None):
            with contextlib.suppress(RuntimeError):  # of the device stays; the planner ends this worker
                empty()

    def _memory_stats(self) -> dict[str, Any]:
        self.synchronize()
        try:
            return dict(torch.accelerator.memory_stats(self.index))
        except (AttributeError, RuntimeError):  # before torch 2.9; a type without a caching allocator
            return {}


def listed() -> list[dict[str, Any]]:
    """Every device of the type that torch takes for this machine's accelerator, if it is none of CUDA's."""
    accelerator = getattr(torch, "accelerator", None)  # torch 2.6 and later
    current = accelerator.current_accelerator() if accelerator and accelerator.is_available() else None
    if current is None or current.type == "cuda":
        return []
    count = torch.accelerator.device_count()
    return [
        {"type": current.type, "index": index, "name": _name(current.type, index)} for index in range(count)
    ]


def _name(kind: str, index: int) -> str:
    """As the type's module calls it; else by the processor beside it, with which Apple's is one."""
    name = getattr(torch.get_device_module(kind), "get_device_name", None)
    return str(name(index)) if name else f"{kind}:{index} of {cpu_name()}"
