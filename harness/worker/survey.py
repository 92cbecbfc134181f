"""What does not vary from visit to visit, found once a case, before any timing and never in a process that
times.

In: a case. Out: the survey's columns: fvcore's MACs, correctness, memory, torch's choice of a
back end, the primitives that run below it, and the same case under the other allocator. Primitives are looked
at in whichever of the two processes keeps the heap.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import time
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from harness.core import stats
from harness.worker import (
    affinity,
    allocator,
    correctness,
    counters,
    devices,
    environment,
    memory,
    onednn,
    torch_ops,
)
from harness.worker.clocks import FaultClock, waited_s
from harness.worker.conv_modules import convolutions, torch_layer
from harness.worker.workload import Workload, guard

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.core.case import Case
    from harness.core.problem import Problem
    from harness.worker.devices import Device

SHORT_LOOP_S = 0.05  # enough calls to count their faults ...
SHORT_LOOP_CALLS = 5
SHORT_LOOP_MOST_S = 1.0  # ... but no further call after that
LONGEST_FAULT = 300  # characters of what an exception says


def prepare(mode: str) -> None:
    """Import, before children are forked, what each would import for itself: fvcore, and for a compiled case
    most of the compiler (2 s). What cannot be imported a child tries again, and says why."""
    for name in ("fvcore.nn", *["torch._inductor"] * (mode == "compile")):
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def survey(
    case: Case, seed: int, device: Device, tell: Callable[[float, str | None], None] = lambda *_: None
) -> dict[str, Any]:
    """The facts of a case. One that cannot be found costs no other, and `survey_message` says why it is not
    there. `tell` hears, before most of them are looked for, how many seconds a call takes and the back end.
    Raises NotSupported, whatever the case itself raises, and an error of the device, after which nothing more
    can be asked of it."""
    if case.setting.allocator == "retained" and case.setting.device == "cpu":
        allocator.keep_freed_memory()
    values = environment.apply(case.setting, device)
    # one copy is enough to look at, and the replay of a graph allocates nothing
    setting = replace(
        case.setting, cache="hot", mode="eager" if case.setting.mode == "cuda_graph" else case.setting.mode
    )

    def made(**changes: Any) -> Workload:
        return Workload(replace(case, setting=replace(setting, **changes)), seed, device=device)

    with guard(case.setting.computation):
        workload = made()
        if device.kind == "cpu":
            # its first call, before which least is resident
            values["peak_rss_bytes"] = memory.peak_rss_bytes(workload.call)
        else:
            workload.call()
        call_s = waited_s(workload.call, device)

    def primitives_of_a_call() -> dict[str, Any]:
        if case.setting.allocator != "retained":
            return {}
        return _below(made(cache="rotating") if case.setting.cache == "rotating" else workload)

    faults = _find(values, {"back end": lambda: {"backend": backend(workload.module, workload.input)}}, case)
    tell(call_s, values.get("backend"))
    facts: dict[str, Callable[[], dict[str, Any]]] = {
        "memory": lambda: _memory(case, workload),
        "correctness": lambda: correctness.check(
            made(mode="cuda_graph") if case.setting.mode == "cuda_graph" else workload, seed
        ),
        "primitives": primitives_of_a_call,
        "fvcore": lambda: {"macs_fvcore": macs_fvcore(case.problem)},
    }
    with affinity.a_processor_each(values["threads_used"] if device.kind == "cpu" else 0):
        faults += _find(values, facts, case)
    return values | {"survey_message": "; ".join(faults) or None}


def _find(values: dict[str, Any], facts: Mapping[str, Callable[[], dict[str, Any]]], case: Case) -> list[str]:
    """Add facts to `values`; why those that are missing could not be found. Raises as `survey` does."""
    faults = []
    for name, find in facts.items():
        try:
            with guard(case.setting.computation):
                values |= find()
        except environment.NotSupported:  # noqa: PERF203  # so the case is not, and its visits say why
            raise
        except Exception as error:  # a profiler, a selector or a counter that this torch has otherwise
            if is_lasting(error):
                raise
            faults.append(f"{name}: {type(error).__name__}: {error}"[:LONGEST_FAULT])
    return faults


def is_lasting(error: Exception) -> bool:
    """Whether an error is of a device and stays: every later call would raise it again, so the worker must be
    ended."""
    accelerator = getattr(torch, "AcceleratorError", torch.OutOfMemoryError)  # torch 2.8 and later
    return isinstance(error, (accelerator, torch.OutOfMemoryError)) or "CUDA error" in str(error)


def _memory(case: Case, workload: Workload) -> dict[str, Any]:
    peak, reserved = workload.device.peak_bytes(workload.call)
    output_bytes = case.setting.element_bytes * prod(case.problem.output_shape)
    # what is seen is not all, or nobody counts
    if peak is None or getattr(workload.module, "allocates_elsewhere", False):
        return {"reserved_bytes": reserved, "peak_bytes": None, "workspace_bytes": None}
    return {"reserved_bytes": reserved, "peak_bytes": peak, "workspace_bytes": max(peak - output_bytes, 0)}


def other_allocator(case: Case, seed: int) -> dict[str, Any]:
    """A short loop of the case under the allocator that it does not use; for a process of its own, since the
    choice cannot be undone."""
    if case.setting.allocator == "default":
        allocator.keep_freed_memory()
    device = devices.of(case.setting.device, None)
    threads = environment.apply(case.setting, device)["threads_used"]
    other = replace(case.setting, allocator="default" if case.setting.allocator == "retained" else "retained")
    with guard(case.setting.computation):
        workload = Workload(replace(case, setting=other), seed, device=device)
        workload.call()
        meter = counters.Meter()
        clock = FaultClock(counters.minor_faults)
        with affinity.a_processor_each(threads):
            with meter:
                samples = _short_loop(workload, clock)
            below = _below(workload) if case.setting.allocator == "default" else {}
        seen = meter.columns(len(samples))
    return below | {
        "other_allocator_s": stats.quantile(stats.at_mean_faults(samples, clock.faults), stats.FIGURE_SHARE),
        "other_allocator_faults": seen["minor_faults_per_call"],
        "other_allocator_system_share": seen["system_share"],
    }


def _short_loop(workload: Workload, clock: FaultClock) -> list[float]:
    """Seconds of a few calls, at least five unless they are slow."""
    samples: list[float] = []
    began, passed_s = time.perf_counter(), 0.0
    while passed_s < SHORT_LOOP_S or (len(samples) < SHORT_LOOP_CALLS and passed_s < SHORT_LOOP_MOST_S):
        samples.append(clock.sample(workload.call, 1))
        passed_s = time.perf_counter() - began
    return samples


def _below(workload: Workload) -> dict[str, Any]:
    """The primitives of a call, and how much of it they explain: oneDNN's, or where it has no part torch's
    own."""
    if workload.device.kind == "cpu" and "Mkldnn" in (backend(workload.module, workload.input) or ""):
        return onednn.onednn(workload)
    return torch_ops.native(workload)


def macs_fvcore(problem: Problem) -> int | None:
    """Forward MACs as fvcore counts them on torch's own module: at batch 1, times the batch. None where
    fvcore is absent."""
    if not importlib.util.find_spec("fvcore"):
        return None
    from fvcore.nn import FlopCountAnalysis

    logging.getLogger("fvcore").setLevel(logging.ERROR)
    _, channels, height, width = problem.input_shape
    counted = FlopCountAnalysis(
        torch_layer(problem), torch.zeros(1, channels, height, width)
    ).unsupported_ops_warnings(False)
    return problem.batch * int(counted.uncalled_modules_warnings(False).total())


def backend(module: nn.Module, x: torch.Tensor) -> str | None:
    """The back end that torch's selector picks for each convolution in a module, joined by +; None where
    there is none to ask about."""
    select = getattr(torch._C, "_select_conv_backend", None)
    if select is None or not convolutions(module):
        return None
    chosen = list[str]()
    layers = [layer for layer in module.modules() if isinstance(layer, (nn.ZeroPad2d, nn.Conv2d))]
    for number, layer in enumerate(layers):
        if number:
            x = layers[number - 1](x)
        if isinstance(layer, nn.ZeroPad2d):
            continue
        picked = select(
            x,
            layer.weight,
            layer.bias,
            layer.stride,
            layer.padding,
            layer.dilation,
            False,
            (0, 0),
            layer.groups,
        )
        chosen.append(picked.name)
    return "+".join(chosen)
