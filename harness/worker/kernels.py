"""What torch itself runs in a call that oneDNN has no part in: operators on a CPU, kernels on a GPU, as its profiler times them.

In: a workload. Out: name, role, calls, seconds a call, as of oneDNN's primitives. What a profiler costs is in its times, so that operators say
how a call is shared out and not how much of it they explain. What only passes a call on is `other`; of a GPU's call the host's part is no
kernel, and not among them. Never in a process that times.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import torch
from torch._C._autograd import DeviceType
from torch.autograd.profiler import profile  # torch.profiler, which stands on it, imports torch's compiler when it starts

from harness.worker.clocks import waited_s
from harness.worker.primitives import Line, of_one_call

if TYPE_CHECKING:
    from torch.autograd.profiler_util import FunctionEvent

    from harness.worker.workload import Workload

CALLS_S = 0.1  # of calls are looked at ...
MOST_CALLS = {"cpu": 10, "cuda": 100}  # ... so many at most
OPERATORS = re.compile(r"aten::(_?slow_conv|thnn_conv|_?conv_depthwise|_nnpack|im2col|(add)?mm$|(badd)?bmm$|_?convolution_backward$)")
CONVERTS = {
    "cpu": re.compile(r"aten::(copy_|contiguous|clone)$"),
    "cuda": re.compile(r"nchw_?to_?nhwc|nhwc_?to_?nchw|convert_?tensor|transpose", re.IGNORECASE),
}
BESIDE = re.compile(r"elementwise|fill|bias|memcpy|memset", re.IGNORECASE)  # kernels that do not convolve


def native(workload: Workload) -> list[dict[str, Any]]:
    """The `primitives` of a call; none where the profiler saw nothing, or calls that differ."""
    device = workload.device
    calls = min(max(round(CALLS_S / _call_s(workload)), 1), MOST_CALLS[device.type])
    with profile(use_kineto=True, use_device="cuda" if device.type == "cuda" else None) as profiler:
        for _ in range(calls):
            workload.call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    events = sorted(profiler.function_events or (), key=lambda event: event.time_range.start)
    lines = [line for event in events if (line := _line(event, device.type))]
    return of_one_call(lines, [calls], workload.case.problem)


def _call_s(workload: Workload) -> float:
    """Seconds a call; on a GPU the least of a tenth of a second of them, since one that had nothing to do has lowered its clock."""
    device, found = workload.device.type, list[float]()
    end = time.perf_counter() + (CALLS_S if device == "cuda" else 0)
    while not found or time.perf_counter() < end:
        found.append(waited_s(workload.call, device))
    return min(found)


def _line(event: FunctionEvent, device: str) -> Line | None:
    """An event as a line of one primitive; None for one of the other side."""
    if device == "cuda":
        seen, time_us = event.device_type == DeviceType.CUDA, event.self_device_time_total
    else:
        seen, time_us = event.device_type == DeviceType.CPU and event.name.startswith("aten::"), event.self_cpu_time_total
    return Line(_kind(event.name, device), event.name, (), (), time_us / 1e6) if seen else None


def _kind(name: str, device: str) -> str:
    """As oneDNN would call it."""
    if CONVERTS[device].search(name):
        return "reorder"
    convolves = not BESIDE.search(name) if device == "cuda" else OPERATORS.match(name)
    return "convolution" if convolves else "other"
