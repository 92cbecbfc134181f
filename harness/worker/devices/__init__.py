"""What differs from one type of device to another: a file each, which is all that a new type takes.

In: a type and an index, as a case and its placement say. Out: a `Device`. Nothing else in the worker asks
what type it measures on, but for what holds for processors alone: the heap, page faults, oneDNN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from harness.worker.devices.cpu import Cpu
from harness.worker.devices.cuda import Cuda
from harness.worker.devices.cuda import listed as listed_cuda
from harness.worker.devices.generic import Generic
from harness.worker.devices.generic import listed as listed_generic

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch

    from harness.worker.clocks import EventClock, HostClock
    from harness.worker.throttle import Monitor


class Device(Protocol):
    """One device, as the steps of a visit and of a survey need it. Sizes in bytes."""

    @property
    def kind(self) -> str:
        """Its type, as torch names it."""

    @property
    def torch_device(self) -> torch.device:
        """Where its tensors are made."""

    @property
    def forks(self) -> bool:
        """Whether a forked child can measure on it."""

    @property
    def alignment(self) -> int:
        """Of what torch allocates on it."""

    def select(self) -> dict[str, Any]:
        """Make it the current one; `device_index` and `device_name`. Raises NotSupported where it cannot be
        measured as it is set up."""

    def synchronize(self) -> None:
        """Wait until it has done what it was asked."""

    def block(self, seconds: float) -> None:
        """Have what is queued from now on wait for so long, or longer, where anything is queued."""

    def clock(self, unrolled: int, *, flushed: bool) -> HostClock | EventClock:
        """A clock for replays of `unrolled` calls each; `flushed`: its cache is overwritten before each.
        Raises NotSupported."""

    def cache_bytes(self) -> int | None:
        """Size of its last-level cache; None where that is not known."""

    def peak_bytes(self, call: Callable[[], object]) -> tuple[int | None, int | None]:
        """(peak, reserved): the highest sum of what a call has allocated at a time, and what the device's
        allocator holds for it; None where nobody counts."""

    def captured(self, calls: Sequence[Callable[[], Any]]) -> tuple[Callable[[], object], Any]:
        """(replay, output): calls in a row as one graph, and what its last call writes. Raises
        NotSupported."""

    def monitor(self) -> Monitor | None:
        """Who tells of its clock and its heat while it is timed; None where nobody does."""

    def release(self) -> None:
        """Give back what is kept for later: the next case, and another arm, need the room."""


CPU_ALIGNMENT = Cpu.alignment


def of(kind: str, index: int | None) -> Device:
    """The device of a type; without an index the first."""
    if kind == "cpu":
        return Cpu()
    return Cuda(index or 0) if kind == "cuda" else Generic(kind, index or 0)


def listed() -> dict[str, Any]:
    """`devices` besides the processor, and as `message` why one that is there cannot be used; for a process
    of its own: it may start CUDA."""
    found, faults = listed_cuda()
    return {"devices": found + listed_generic(), "message": "; ".join(faults)}
