"""What torch itself runs in a call that oneDNN has no part in: operators on a CPU, kernels on a GPU, as its
profiler times them.

In: a workload. Out: name, role, calls, seconds a call, as of oneDNN's primitives. What a profiler costs is in
its times, so that operators say how a call is shared out and not how much of it they explain. What only
passes a call on is `other`; of a GPU's call the host's part is no kernel, and not among them. Never in a
process that times.
"""

from __future__ import annotations

import re
import time
from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING, Any

from torch._C._autograd import DeviceType

# torch.profiler, which stands on it, imports torch's compiler when it starts
from torch.autograd.profiler import profile

from harness.worker.clocks import waited_s
from harness.worker.onednn import Line, of_one_call

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.autograd.profiler_util import FunctionEvent

    from harness.worker.workload import Workload

CALLS_S = {"cpu": 0.1, "cuda": 0.02}  # of calls are looked at at a time ...
MOST_CALLS = {"cpu": 10, "cuda": 20}  # ... so many at most
PLACES = 4  # ways that tensors lie, on a GPU
BLOCKER_TIMES = 6.0  # launching takes so many times as long beside the profiler, at most
BLOCKER_MOST_S = 0.05
BLOCKER = re.compile(r"spin_kernel")  # what `_sleep` runs
OPERATORS = re.compile(
    r"aten::(_?slow_conv|thnn_conv|_?conv_depthwise|_nnpack|im2col|(add)?mm$|(badd)?bmm$|_?convolution_backward$)"
)
CONVERTS = {
    "cpu": re.compile(r"aten::(copy_|contiguous|clone)$"),
    "cuda": re.compile(
        r"nchw_?to_?nhwc|nhwc_?to_?nchw|convert_?tensor|transpose|^triton_\w*(clone|copy)", re.IGNORECASE
    ),
}
PAD = "aten::constant_pad_nd"
# kernels that do not convolve
BESIDE = re.compile(r"elementwise|fill|bias|memcpy|memset|^triton_(poi|red|per)_", re.IGNORECASE)


def native(workload: Workload) -> dict[str, Any]:
    """`primitives` of a call, and of a CUDA GPU's call `launches`, `kernel_s` and `span_s`; empty where the
    profiler saw nothing, or calls that differ, or does not know the device."""
    if workload.device.kind == "cpu":
        return {"primitives": _operators(workload)}
    return _kernels(workload) if workload.device.kind == "cuda" else {}


def _operators(workload: Workload) -> list[dict[str, Any]]:
    """What torch ran on a processor."""
    calls = _calls(waited_s(workload.call, workload.device), "cpu")
    with profile(use_kineto=True) as profiler:
        for _ in range(calls):
            workload.call()
    events = _in_order(profiler, DeviceType.CPU)
    lines = [
        Line(
            "other" if _pads(event) else _kind(event.name, "cpu"),
            event.name,
            (),
            (),
            event.self_cpu_time_total / 1e6,
        )
        for event in events
        if event.name.startswith("aten::")
    ]
    return of_one_call(lines, [calls], workload.case.problem)


def _pads(event: FunctionEvent | None) -> bool:
    """Whether an operator belongs to a padding, whose copy changes no memory format."""
    return event is not None and (event.name == PAD or _pads(event.cpu_parent))


def _kernels(workload: Workload) -> dict[str, Any]:
    """What ran on a GPU, as its own clock has it, in calls that wait behind a blocker until all of them are
    queued, in several places.

    `span_s`, from the first kernel's start to the last one's end, over the calls, is what events around them
    should say; `kernel_s`, the kernels' own time, leaves out the gaps between them, and counts twice what
    runs side by side. The profiler adds a microsecond or two to each.
    """
    call_s = _least_waited_s(workload)
    calls = _calls(call_s, "cuda")
    with profile(use_kineto=True, use_device="cuda") as profiler:
        for _ in range(PLACES):
            workload.place()
            workload.call()
            workload.device.synchronize()
            workload.device.block(min(BLOCKER_TIMES * calls * call_s, BLOCKER_MOST_S))
            for _ in range(calls):
                workload.call()
            workload.device.synchronize()
    batches = _behind_blockers(_in_order(profiler, DeviceType.CUDA), calls)
    lines = [
        Line(_kind(event.name, "cuda"), event.name, (), (), event.self_device_time_total / 1e6)
        for batch in batches
        for event in batch
    ]
    if not lines:
        return {}
    return {
        "primitives": of_one_call(lines, [calls] * len(batches), workload.case.problem),
        "launches": len(lines) / (calls * len(batches)),
        "kernel_s": sum(line.time_s for line in lines) / (calls * len(batches)),
        "span_s": fmean(
            max(event.time_range.end for event in batch) - batch[0].time_range.start for batch in batches
        )
        / 1e6
        / calls,
    }


def _behind_blockers(events: Sequence[FunctionEvent], calls: int) -> list[list[FunctionEvent]]:
    """The events of each batch: so many behind a blocker as divide by its calls, before the next place is
    taken."""
    starts = [i for i, event in enumerate(events) if BLOCKER.search(event.name)]
    found = [list(events[start + 1 : end]) for start, end in pairwise([*starts, len(events)])]
    if not found:
        return []
    each = len(found[-1]) // calls  # nothing comes after the last
    return [batch[: each * calls] for batch in found if each and len(batch) >= each * calls]


def _in_order(profiler: profile, device: DeviceType) -> list[FunctionEvent]:
    """A device's events, by their start."""
    seen = [event for event in profiler.function_events or () if event.device_type == device]
    return sorted(seen, key=lambda event: event.time_range.start)


def _calls(call_s: float, device: str) -> int:
    return min(max(round(CALLS_S[device] / call_s), 1), MOST_CALLS[device])


def _least_waited_s(workload: Workload) -> float:
    """Seconds a call, the least of some: a GPU that had nothing to do has lowered its clock."""
    found, end = list[float](), time.perf_counter() + CALLS_S["cuda"]
    while not found or time.perf_counter() < end:
        found.append(waited_s(workload.call, workload.device))
    return min(found)


def _kind(name: str, device: str) -> str:
    """As oneDNN would call it."""
    if CONVERTS[device].search(name):
        return "reorder"
    convolves = not BESIDE.search(name) if device == "cuda" else OPERATORS.match(name)
    return "convolution" if convolves else "other"
