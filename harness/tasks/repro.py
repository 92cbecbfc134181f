"""A case as a program of its own: a script that needs torch alone, a line for benchdnn, and the environment,
to paste into a bug report.

In: a case, and where it was measured a row of its summary and the facts of the environment. Out: text. The
script does what a visit does, in one process: glibc told as the case says, input and weights mapped past
malloc, warm-up, and twelve blocks between which they and the heap move.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from harness.core import stats, units
from harness.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.core.case import Case
    from harness.core.problem import Problem

TYPES = {"float64": "f64", "float32": "f32", "float16": "f16", "bfloat16": "bf16"}
# contiguous tensors are reordered to what oneDNN likes best
TAGS = {"contiguous": "any", "channels_last": "acdb"}
FACTS = (
    "torch",
    "onednn",
    "python",
    "system",
    "kernel",
    "libc",
    "cpu",
    "instruction_set",
    "threads_available",
    "transparent_hugepages",
)

SCRIPT = '''\
"""{title}

{facts}
"""
from __future__ import annotations

import ctypes, itertools, mmap, random, time
from itertools import pairwise
from math import ceil
from statistics import fmean, geometric_mean, stdev

import torch

{method}

{threads}{precision}{heap}
def mapped(like):
    """Room past malloc for a tensor in the layout of `like`, somewhere within 16 pages."""
    start = 64 * random.randrange(1024)
    bytes_ = mmap.mmap(-1, start + like.numel() * like.element_size())
    room = torch.frombuffer(bytes_, dtype=torch.uint8)[start:].view(like.dtype)
    return room.as_strided(like.shape, like.stride())

torch.manual_seed(0)
layer = {layer}
layer = layer.to(dtype=torch.{dtype}, memory_format=torch.{memory_format}).eval()
for weight in layer.parameters():
    weight.data = mapped(weight).normal_(0, (weight[0].numel() if weight.dim() > 1 else 1) ** -0.5)
x = mapped(torch.empty({shape}, dtype=torch.{dtype}).contiguous(memory_format=torch.{memory_format})).normal_()
{wrap}
{call}

blocks, ahead, steps = [], [], itertools.cycle((0, 16, 32, 48))
with torch.{guard}:
    end = time.perf_counter() + 0.2
    while time.perf_counter() < end:
        call()
    began = time.perf_counter()
    call()
    calls = max(1, round(1e-4 / (time.perf_counter() - began)))
{room}    for _ in range(12):
        for tensor in (x, *layer.parameters()):
            tensor.data = mapped(tensor).copy_(tensor.data)
{move}        call()
        blocks.append([])
        end = time.perf_counter() + 0.03
        while time.perf_counter() < end or len(blocks[-1]) < 2:
{before}            began = time.perf_counter()
            for _ in range(calls):
                call()
            took = (time.perf_counter() - began) / calls
            blocks[-1].append({sample})
ends = list(itertools.accumulate(map(len, blocks)))
samples = list(itertools.chain(*blocks))
{adjust}figures = place_figures(samples, ends)
print(f"{{geometric_mean(figures) * 1e6:.1f}} us per call (mean of the 10th percentiles of {{len(figures)}} ways to lie{said})")
'''
COUNT = """\
try:
    import resource
    faulted = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt  # pages, so far
except ImportError:
    faulted = lambda: 0
"""
BEFORE = """\
            before = faulted()
"""
# the method of a visit, by its own text: what makes a latency of samples, and what evens page faults out
METHOD = (stats.place_figures, stats.places_of, stats.low_quantile, stats.blocks_of)
METHOD_OF_FAULTS = (stats.at_mean_faults, stats.fault_cost_s)
CONSTANTS = ("FIGURE_SHARE", "PLACES")
CONSTANTS_OF_FAULTS = ("FAULTS_APART", "SEARCH_STEPS")
ADJUST = """\
samples, faults = zip(*samples)
samples = at_mean_faults(samples, faults)
"""
KEEP = """\
mallopt = ctypes.CDLL(None).mallopt  # glibc keeps what is freed, or every call faults its pages in again
assert mallopt(-4, 0) and mallopt(-1, -1)  # M_MMAP_MAX, M_TRIM_THRESHOLD
"""
ROOM = """\
    ahead += [torch.empty(2**17, dtype=torch.uint8) for _ in range(8)]  # fills what is free in the heap; then one call beyond all later ones
    farthest = torch.zeros(12 * 3 * 2**16, dtype=torch.uint8)
    call()
    del farthest
"""
MOVE = """\
        far = 2**17 + 64 * random.randrange(2**10) + next(steps)  # glibc's blocks lie at multiples of 16, torch asks for 64
        ahead.append(torch.empty(far, dtype=torch.uint8))  # moves what a call allocates up
"""


def script(case: Case, row: Mapping[Any, Any] | None, environment: Mapping[str, Any] | None) -> str:
    """The program. Raises UsageError for a setting that it cannot repeat: another device, implementation, or
    cache."""
    _require_plain(case)
    setting = case.setting
    threads = setting.threads if row is None or row["threads_used"] is None else f"{row['threads_used']:.0f}"
    kept = setting.allocator == "retained"
    training = setting.computation == "training"
    return SCRIPT.format(
        title=case.label,
        facts=_facts(case, row, environment),
        threads="" if threads == "all" else f"torch.set_num_threads({threads})\n",
        precision=""
        if setting.fp32_precision == "ieee"
        else f'torch.backends.mkldnn.conv.fp32_precision = "{setting.fp32_precision}"\n',
        heap=KEEP if kept else COUNT,
        layer=_layer(case.problem),
        dtype=setting.dtype,
        memory_format={"contiguous": "contiguous_format"}.get(setting.memory_format, setting.memory_format),
        shape=case.problem.input_shape,
        wrap="layer = torch.compile(layer)" if setting.mode == "compile" else "",
        call=_training() if training else "call = lambda: layer(x)",
        guard="inference_mode()" if setting.computation == "inference" else "enable_grad()",
        room=ROOM if kept else "",
        move=MOVE if kept else "",
        before="" if kept else BEFORE,
        sample="took" if kept else "(took, faulted() - before)",
        adjust="" if kept else ADJUST,
        method=_method(kept=kept),
        said="" if kept else ", at {fmean(faults) / calls:.0f} page faults per call",
    )


def _method(*, kept: bool) -> str:
    """Constants and functions of `core.stats`, as they are there."""
    names = CONSTANTS if kept else CONSTANTS + CONSTANTS_OF_FAULTS
    functions = METHOD if kept else METHOD + METHOD_OF_FAULTS
    constants = [f"{name} = {getattr(stats, name)!r}" for name in names]
    return (
        "\n\n\n".join(["\n".join(constants), *(inspect.getsource(one).rstrip() for one in functions)]) + "\n"
    )


def _require_plain(case: Case) -> None:
    for name, known in (
        ("device", ("cpu",)),
        ("implementation", ("torch",)),
        ("cache", ("hot",)),
        ("mode", ("eager", "compile")),
    ):
        value = getattr(case.setting, name)
        if value not in known:
            raise UsageError(
                f"{name} = {value} cannot be repeated in a plain script yet",
                where=case.label,
                hint=f"It knows {' and '.join(known)}.",
            )


def _training() -> str:
    return "\n".join(
        [
            "x.requires_grad_()",
            "gradient = torch.ones_like(layer(x))",
            "call = lambda: torch.autograd.grad(layer(x), [x, *layer.parameters()], gradient)",
        ]
    )


def _layer(problem: Problem) -> str:
    made = [f"torch.nn.ZeroPad2d({problem.padding})"] if len(problem.padding) == 4 else []
    for half in problem.parts:
        padding = (0, 0) if len(half.padding) == 4 else half.padding
        made.append(
            f"torch.nn.Conv2d({half.in_channels}, {half.out_channels}, {half.kernel_size}, stride={half.stride}, "
            f"padding={padding}, dilation={half.dilation}, groups={half.groups}, bias={half.bias})"
        )
    return made[0] if len(made) == 1 else f"torch.nn.Sequential({', '.join(made)})"


def _facts(case: Case, row: Mapping[Any, Any] | None, environment: Mapping[str, Any] | None) -> str:
    lines = [f"descriptor   {case.descriptor}"]
    if row is not None and row["status"] != "ok":
        lines += [f"came to      {row['status']}: {row['message']}"]
    if row is not None and row["latency_s"] is not None:
        interval = f"{units.seconds(row['latency_low_s'])} to {units.seconds(row['latency_high_s'])}"
        lines += [
            f"measured     {units.seconds(row['latency_s'])} a call ({interval}), {row['visits']} processes, {row['trust']}"
        ]
        lines += [f"back end     {row['backend']}"]
        lines += [
            f"primitive    {one['role']}: {one['name']}, {units.seconds(one['time_s'])}"
            for one in row["primitives"] or ()
        ]
    lines += [
        f"{name.replace('_', ' '):<12} {environment[name]}"
        for name in FACTS
        if environment and environment.get(name)
    ]
    return "\n".join([*lines, *(f"oneDNN alone {line}" for line in benchdnn(case))])


def benchdnn(case: Case) -> list[str]:
    """A line of oneDNN's own benchmark for each convolution of a forward pass: its arguments, then the
    problem as its driver writes it."""
    return [_benchdnn(half, case.setting.dtype, case.setting.memory_format) for half in case.problem.parts]


def _benchdnn(problem: Problem, dtype: str, memory_format: str) -> str:
    _, _, height, width = problem.output_shape
    left, _, top, _ = problem.pads  # what lies behind follows from the output
    parts = [f"g{problem.groups}mb{problem.batch}_ic{problem.in_channels}oc{problem.out_channels}"]
    for axis, size, output, i in (("h", problem.height, height, 0), ("w", problem.width, width, 1)):
        # benchdnn counts the gaps of a dilated kernel, which torch's 1 has none of
        sizes = f"i{axis}{size}o{axis}{output}k{axis}{problem.kernel_size[i]}s{axis}{problem.stride[i]}"
        parts.append(f"{sizes}d{axis}{problem.dilation[i] - 1}p{axis}{(top, left)[i]}")
    direction, tag = "FWD_B" if problem.bias else "FWD_D", TAGS[memory_format]
    return f"benchdnn --conv --mode=P --dir={direction} --dt={TYPES[dtype]} --stag={tag} --dtag={tag} {'_'.join(parts)}"
