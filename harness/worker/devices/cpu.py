"""The processor: done when a call returns, and cheap to fork."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import torch

from harness.worker import environment, memory
from harness.worker.clocks import HostClock
from harness.worker.environment import NotSupported

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Cpu:
    """All processors that this process may use."""

    kind = "cpu"
    torch_device = torch.device("cpu")
    forks = hasattr(os, "fork")
    alignment = 64

    def select(self) -> dict[str, Any]:
        """There is one."""
        return {"device_index": None, "device_name": environment.cpu_name()}

    def synchronize(self) -> None:
        """Nothing is left to wait for."""

    def block(self, seconds: float) -> None:
        """Nothing is queued."""

    def clock(self, unrolled: int, *, flushed: bool) -> HostClock:
        """The host's."""
        if flushed:
            raise NotSupported("cache flushed needs a device that tells the time between two events")
        return HostClock()

    def cache_bytes(self) -> int | None:
        """Of the last-level caches that this process can use."""
        return environment.last_level_cache_bytes()

    def peak_bytes(self, call: Callable[[], object]) -> tuple[int, int | None]:
        """By the profiler's allocation events; no allocator of ours reserves anything."""
        return memory.peak_of_events(call), None

    def captured(self, calls: Sequence[Callable[[], Any]]) -> tuple[Callable[[], object], Any]:
        """Nothing can be captured."""
        raise NotSupported("mode cuda_graph needs a CUDA device")

    def monitor(self) -> None:
        """The kernel's counters tell (`counters`)."""

    def release(self) -> None:
        """A forked child gives everything back; where there is no fork, what torch.compile knows of earlier
        cases goes."""
        if "torch._dynamo" in sys.modules:
            torch.compiler.reset()
