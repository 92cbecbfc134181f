"""One case made ready to be called: module, inputs, and where their numbers lie in memory.

In: a case, a seed for its numbers and one for its places. Out: a `Workload` whose `call()` is what a sample
times, and whose `place()` moves every tensor into a fresh allocation at a random offset, so that page colour
and alignment show as spread between blocks and not as a hidden constant of a process.
What may surprise: on a CPU inputs and weights are mapped straight from the kernel, past malloc. glibc moves
its thresholds whenever a large block is freed, so tensors moved by malloc would switch off the very page
faults that `allocator = default` is there to show (seen: 157 instead of 1,144 faults a call). Only what the
convolution itself allocates reaches glibc. Where glibc keeps its heap, that moves too. Its blocks begin at
multiples of 16 bytes and torch asks for multiples of 64, so where a process's heap happens to begin decides
whether the output fits where a buffer of the same call was freed, or lies behind it: a depthwise layer took
116 or 131 us by that alone, another 206 or 240, with every case of a worker alike.
"""

from __future__ import annotations

import mmap
import random
import time
from collections import deque
from itertools import accumulate, cycle
from math import ceil, prod
from typing import TYPE_CHECKING

import torch
from torch import nn

from harness.core.policy import TURNS
from harness.worker import devices
from harness.worker.clocks import waited_s
from harness.worker.conv_modules import build
from harness.worker.environment import NotSupported

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.core.case import Case
    from harness.worker.devices import Device

MEMORY_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
# before each tensor lies a gap of up to 16 pages, a multiple of what torch's own allocations are aligned to
OFFSET_PAGES = 16
MAPPING = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
HEAP_BYTES = 128 * 2**10  # what a call allocates is moved up by so much, by up to half of it more ...
# ... and then to each of these in turn, as glibc's blocks may lie to torch's alignment
HEAP_STEPS = range(0, devices.CPU_ALIGNMENT, 16)
HEAP_PLUGS = 8  # before the first move: what torch's import left free in the heap is filled
HEAP_ROOM = TURNS * 3 * HEAP_BYTES // 2  # as far as the blocks of a visit go
HEAP_MOVES = 48  # then what lies ahead is given back, and it begins again: nine megabytes by then
CACHES = 2.0  # rotating copies fill the last-level cache so many times over
MOST_COPIES = 256
GRAPH_S = 2e-3  # of calls are captured in one graph, since each replay costs the gap of a launch ...
CAPTURE_TRIES = 5
MOST_CAPTURED = 20  # ... so many at most, or as many as rotate


class Workload:
    """A case's module and input on its device, with what it takes to call, place and count them.

    `call` runs `unrolled` layers, 1 but for a graph. `capturing_s`: seconds that capturing it took; None
    where there is none.
    """

    def __init__(self, case: Case, seed: int, *, places: int = 0, device: Device | None = None) -> None:
        setting = case.setting
        self.case = case
        self.device = device or devices.of(setting.device, None)
        self.unrolled = 1
        self.capturing_s: float | None = None
        self._output: torch.Tensor | None = None  # where a graph writes it
        self._offsets = random.Random(places)
        self._steps = cycle(HEAP_STEPS)
        self._ahead: list[torch.Tensor] = []  # lie in the heap before what a call allocates
        self._copies = [self._copy(seed) for _ in range(self._copies_needed())]
        # kept while copies rotate, or every call would write where the last one did
        self._results: deque[object] = deque(maxlen=self.copies)
        self.module, self.input = self._copies[0]
        self._forwards = [
            _compiled(module) if setting.mode == "compile" else module for module, _ in self._copies
        ]
        self.call = self._make_call()

    def forward(self) -> torch.Tensor:
        """The output of the forward pass as it is executed: compiled or replayed where the case is."""
        if self._output is not None:
            self.call()
            return self._output.clone()  # the next replay writes there
        output: torch.Tensor = self._forwards[0](self.input)
        return output

    @property
    def copies(self) -> int:
        """How many modules and inputs rotate; 1 where the cache is hot."""
        return len(self._copies)

    @property
    def tensors(self) -> list[torch.Tensor]:
        """The inputs and weights of every copy: what is resident while nothing runs."""
        return [tensor for module, x in self._copies for tensor in (x, *module.parameters())]

    @property
    def resident_bytes(self) -> int:
        """Bytes of inputs and weights, of all rotating copies."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors)

    def redraw(self, seed: int) -> None:
        """Other numbers into the same input, where it lies."""
        self.input.data.normal_(0, 1, generator=torch.Generator(self.device.torch_device).manual_seed(seed))

    def place(self, step: int | None = None) -> None:
        """Move inputs and weights into fresh allocations at random offsets, and what a call allocates
        likewise; values, shapes and strides stay.

        `step`: one of `HEAP_STEPS`, else the next in turn. Not under a CUDA graph, which was captured with
        the addresses of its tensors. glibc's heap with its defaults is left alone: moving it would move
        glibc's thresholds.
        """
        if self.case.setting.mode == "cuda_graph":
            return
        self._results.clear()
        if self.device.kind == "cpu" and self.case.setting.allocator == "retained":
            self._move_heap(next(self._steps) if step is None else step)
        tensors = self.tensors
        rooms = self._rooms([tensor.numel() for tensor in tensors], tensors[0].dtype)
        for tensor, room in zip(tensors, rooms, strict=True):
            tensor.data = room.as_strided(tensor.shape, tensor.stride()).copy_(tensor.data)

    def _move_heap(self, step: int) -> None:
        """Have what a call allocates lie further up. What was put ahead of it before stays there: given back,
        it would be a gap into which now one and now another of a call's buffers falls, and their order
        decides what a call takes."""
        if len(self._ahead) == HEAP_PLUGS + HEAP_MOVES:
            del self._ahead[HEAP_PLUGS:]
        if not self._ahead:
            self._ahead = [torch.empty(HEAP_BYTES, dtype=torch.uint8) for _ in range(HEAP_PLUGS)]
            farthest = torch.zeros(HEAP_ROOM, dtype=torch.uint8)
            self.call()  # beyond it, so that no later call of a visit is the first to touch a page
            del farthest
        far = HEAP_BYTES + self._offsets.randrange(0, HEAP_BYTES // 2, self.device.alignment)
        self._ahead.append(torch.empty(far + step, dtype=torch.uint8))

    def _rooms(self, elements: Sequence[int], dtype: torch.dtype) -> list[torch.Tensor]:
        """So many elements in a row each, somewhere in one fresh allocation, each after a gap of random
        length."""
        unit = self.device.alignment
        gaps = [self._offsets.randrange(0, OFFSET_PAGES * 4096, unit) for _ in elements]
        sizes = [-(-count * dtype.itemsize // unit) * unit for count in elements]
        total = sum(gaps) + sum(sizes)
        if self.device.kind == "cpu":
            memory = torch.frombuffer(mmap.mmap(-1, total, **MAPPING), dtype=torch.uint8)
        else:
            memory = torch.empty(total, dtype=torch.uint8, device=self.device.torch_device)
        ends = accumulate(gap + size for gap, size in zip(gaps, sizes, strict=True))
        starts = (end - size for end, size in zip(ends, sizes, strict=True))
        return [
            memory[start : start + count * dtype.itemsize].view(dtype)
            for start, count in zip(starts, elements, strict=True)
        ]

    def _copy(self, seed: int) -> tuple[nn.Module, torch.Tensor]:
        """One module and input on the device, filled with seeded normal numbers; weights scaled by their
        fan-in, so that halves do not overflow."""
        setting, problem = self.case.setting, self.case.problem
        memory_format, dtype = MEMORY_FORMATS[setting.memory_format], getattr(torch, setting.dtype)
        generator = torch.Generator(self.device.torch_device).manual_seed(seed)

        def drawn(like: torch.Tensor, scale: float) -> torch.Tensor:
            (room,) = self._rooms([like.numel()], dtype)
            return room.normal_(0, scale, generator=generator).as_strided(like.shape, like.stride())

        module = build(self.case).to(dtype=dtype, memory_format=memory_format)  # type: ignore[call-overload]  # torch's stubs lack the keyword
        if setting.implementation != "torch":
            # buffers too; torch's own layers have none, and no storage yet
            module = module.to(self.device.torch_device)
        for owner in module.modules():
            for name, parameter in list(owner.named_parameters(recurse=False)):
                fan_in = parameter[0].numel() if parameter.dim() > 1 else 1
                owner.register_parameter(name, nn.Parameter(drawn(parameter, fan_in**-0.5)))
        x = drawn(
            torch.empty(problem.input_shape, dtype=dtype, device="meta", memory_format=memory_format), 1.0
        )
        return module, x.requires_grad_(setting.computation == "training")

    def _copies_needed(self) -> int:
        if self.case.setting.cache != "rotating":
            return 1
        cache = self.device.cache_bytes()
        if not cache:
            raise NotSupported(
                "the size of the last-level cache is not known, so nothing larger than it can be rotated"
            )
        problem = self.case.problem
        one = self.case.setting.element_bytes * (
            prod(problem.input_shape) + sum(map(prod, problem.weight_shapes))
        )
        copies = int(CACHES * cache / one) + 2
        if copies > MOST_COPIES:
            raise NotSupported(
                f"{copies} copies would be needed to leave a cache of {cache} bytes, "
                f"{MOST_COPIES} is the most"
            )
        return copies

    def _make_call(self) -> Callable[[], object]:
        calls = [
            self._call_of(forward, module, x)
            for forward, (module, x) in zip(self._forwards, self._copies, strict=True)
        ]
        if self.case.setting.mode == "cuda_graph":
            return self._captured(calls)
        if len(calls) == 1:
            return calls[0]
        following = cycle(calls).__next__
        if self.device.kind == "cpu" and self.case.setting.allocator == "default":
            return lambda: following()()  # what is freed at once is what this allocator is there to show
        return lambda: self._results.append(following()())

    def _captured(self, calls: list[Callable[[], object]]) -> Callable[[], object]:
        """All copies in one graph, or one call several times over."""
        began = time.perf_counter()
        calls[0]()  # whatever a first call prepares
        call_s = min(waited_s(calls[0], self.device) for _ in range(CAPTURE_TRIES))
        times = min(max(int(GRAPH_S / call_s), 1), MOST_CAPTURED)
        calls = calls * ceil(times / len(calls))
        replay, output = self.device.captured(calls)
        self.unrolled = len(calls)
        self.capturing_s = time.perf_counter() - began
        self._output = output if isinstance(output, torch.Tensor) else None
        return replay

    def _call_of(
        self, forward: Callable[[torch.Tensor], torch.Tensor], module: nn.Module, x: torch.Tensor
    ) -> Callable[[], object]:
        if self.case.setting.computation != "training":
            return lambda: forward(x)
        wanted = [x, *module.parameters()]
        memory_format = MEMORY_FORMATS[self.case.setting.memory_format]
        gradient = torch.ones(
            self.case.problem.output_shape, dtype=x.dtype, device=self.device.torch_device
        ).contiguous(memory_format=memory_format)
        return lambda: torch.autograd.grad(forward(x), wanted, gradient)


def guard(computation: str) -> torch.inference_mode | torch.enable_grad:
    """The grad mode in which a computation runs: inference without autograd, forward and training with its
    graph."""
    return torch.inference_mode() if computation == "inference" else torch.enable_grad()


def _compiled(module: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """A module compiled for its own shapes, and whole: torch would else run what it cannot compile, or
    compiled too often, eagerly and not say so."""
    compiled: Callable[[torch.Tensor], torch.Tensor] = torch.compile(module, dynamic=False, fullgraph=True)
    return compiled
