"""Every engine that cuDNN offers for a convolution's forward pass, checked and timed: is torch's pick best?

In: a workload on a CUDA device, and a way to time a call. Out: name, workspace and seconds a call of each,
fastest first; `against_best` says how far torch's own time is from the best. cuDNN's front end is an extra;
nothing else imports it. Not asked: engines that torch would not take either (its filterEngineConfigs, in
aten/src/ATen/native/cudnn/Conv_v8.cpp), which narrow their inputs or, for float32 without tf32, use tensor
cores.
What may surprise: bias is left out, since torch adds it by a kernel of its own; its time should be of a case
without one. Torch does not always ask cuDNN: many a depthwise convolution runs a kernel of torch's own. A
name holds an engine's choices, `eng62_k2=5_k13=1`, so that one engine may come several times. Some are
compiled when they are built, hence the limits; what these left out is listed too, with that as its error.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

from harness.worker.environment import NotSupported

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.core.case import Setting
    from harness.core.problem import Problem
    from harness.core.window import Pair
    from harness.worker.workload import Workload

    Call = Callable[[], object]
    Shape = tuple[int, int, int, int]
    Row = dict[str, Any]

IO_TYPES = {"float32": "FLOAT", "float16": "HALF", "bfloat16": "BFLOAT16"}  # as cuDNN calls them
MOST_ENGINES = 40  # cuDNN 9 offers some 10 to 80 on an H100, the best first as its heuristics have it
LIMIT_S = 5.0  # of building, checking and timing
BARRED = "Deselecting execution plan"  # how cuDNN's front end refuses to build what was deselected
# How far an output may be from torch's, as a fraction of its norm. To round both inputs to tf32 or float16
# moves it by 3e-4, to bfloat16 by 2e-3 (sums of 1,152 products of normal numbers); a wrong set-up, by 1.
TOLERANCES = {"float32": 1e-2, "float16": 1e-2, "bfloat16": 5e-2}
IEEE_TOLERANCE = 1e-4  # tf32 would show, while Winograd in float32, at some 1e-5, passes


@dataclass(frozen=True)
class Layout:
    """A tensor's shape, in torch's order of dimensions, and its strides in elements."""

    dim: Shape
    stride: Shape


@dataclass(frozen=True)
class Arguments:
    """A forward convolution as cuDNN takes it: without groups, which follow from the channels of x and w."""

    x: Layout
    w: Layout
    y: Layout
    padding: Pair
    stride: Pair
    dilation: Pair


class Plans(Protocol):
    """Engines to be tried, by their place in `names`."""

    @property
    def names(self) -> Sequence[str]:
        """As they are offered; one may come twice."""

    def build(self, index: int) -> int | None:
        """Make one ready; its workspace in bytes, or None where it is barred. Raises whatever hinders it."""

    def call_of(self, index: int) -> Call:
        """What runs one that is ready."""

    def right(self, call: Call) -> bool:
        """Run it once; whether it computes what torch computes."""


def engines(workload: Workload, time_s: Callable[[Call], float], *, limit_s: float = LIMIT_S) -> list[Row]:
    """Of every engine `name`, `workspace_bytes`, `time_s` (seconds a call) and `error` (None if all is well).

    `time_s` times a call, queued on torch's current stream. Only what has no error has a time. Raises
    NotSupported for two convolutions in one, and where `nvidia-cudnn-frontend` is not installed.
    """
    arguments = _asked(workload)
    cudnn = _front_end()
    if workload.device.kind != "cuda":
        raise NotSupported("cuDNN's engines run on a CUDA device")
    found, own = cudnn.backend_version(), torch.backends.cudnn.version()
    if found != own:
        raise NotSupported(f"cuDNN's front end found version {found} of it, while torch's is {own}")
    with torch.cuda.device(workload.input.device), torch.no_grad():
        handle = cudnn.create_handle()
        try:
            cudnn.set_stream(handle=handle, stream=torch.cuda.current_stream().cuda_stream)
            return tried(CudnnPlans(cudnn, handle, workload, arguments), time_s, limit_s=limit_s)
        finally:
            workload.device.synchronize()
            cudnn.destroy_handle(handle)


def against_best(rows: Sequence[Row], device_s: float) -> float | None:
    """How many times the best engine's time torch's own `device_s` is; None where no engine was timed."""
    times = [row["time_s"] for row in rows if row["time_s"] is not None]
    return device_s / min(times) if times else None


def tried(plans: Plans, time_s: Callable[[Call], float], *, limit_s: float = LIMIT_S) -> list[Row]:
    """A row an engine, fastest first, then those without a time, in the order in which they were offered.

    What is barred has none; but what the time did not suffice for was not asked whether it is.
    """
    rows: list[Row] = []
    began, count = time.perf_counter(), 0
    for name in dict.fromkeys(plans.names):
        late = time.perf_counter() - began >= limit_s
        if late or count == MOST_ENGINES:
            why = f"{limit_s:g} s were up" if late else f"{count} were tried"
            rows.append(_row(name, None, error=f"left out: {why}"))
        elif row := _try(plans, name, time_s):
            rows.append(row)
            count += 1
    return sorted(rows, key=lambda row: (row["time_s"] is None, row["time_s"] or 0.0))


def arguments_of(problem: Problem, memory_format: str) -> Arguments:
    """What cuDNN is told of a single convolution whose tensors lie in a memory format. Raises NotSupported
    for uneven padding: torch asks cuDNN about the padded copy."""
    if len(problem.padding) == 4:
        raise NotSupported("the padding is uneven: ask for the padded input with padding 0")
    (weight_shape,) = problem.weight_shapes
    shapes = (problem.input_shape, weight_shape, problem.output_shape)
    x, w, y = (Layout(shape, strides(shape, memory_format)) for shape in shapes)
    return Arguments(x, w, y, problem.padding, problem.stride, problem.dilation)


def strides(shape: Shape, memory_format: str) -> Shape:
    """Of a dense tensor. Not a tensor's own, which are any number where a dimension is 1: cuDNN tells the
    memory format by them. Torch does the same before it asks cuDNN (fixSizeOneDimStride)."""
    _, channels, height, width = shape
    if memory_format == "channels_last":
        return (height * width * channels, 1, width * channels, channels)
    return (channels * height * width, height * width, width, 1)


def planned(cudnn: Any, arguments: Arguments, setting: Setting, **where: Any) -> tuple[Any, list[Any]]:
    """cuDNN's graph of one convolution, its engines listed and none built, and its tensors x, w and y.

    `where`: `handle`, or `device_property` of a device that need not be there. Raises NotSupported.
    """
    io, wide = getattr(cudnn.data_type, IO_TYPES[setting.dtype]), cudnn.data_type.FLOAT
    graph = cudnn.pygraph(io_data_type=io, intermediate_data_type=wide, compute_data_type=wide, **where)
    x, w = (
        graph.tensor(name=name, dim=list(tensor.dim), stride=list(tensor.stride), data_type=io)
        for name, tensor in (("x", arguments.x), ("w", arguments.w))
    )
    window = {name: list(getattr(arguments, name)) for name in ("padding", "stride", "dilation")}
    y = graph.conv_fprop(image=x, weight=w, **window)
    y.set_output(True)
    y.set_dim(list(arguments.y.dim))
    y.set_stride(list(arguments.y.stride))  # else it is channels last
    try:
        graph.validate()
        graph.build_operation_graph()
        graph.create_execution_plans([cudnn.heur_mode.A, cudnn.heur_mode.B, cudnn.heur_mode.FALLBACK])
    except cudnn.cudnnGraphNotSupportedError as error:
        raise NotSupported(f"cuDNN offers no engine: {_first_line(error)}") from error
    known = cudnn.numerical_note
    graph.deselect_numeric_notes([known.DOWN_CONVERT_INPUTS, *[known.TENSOR_CORE] * _ieee(setting)])
    return graph, [x, w, y]


class CudnnPlans:
    """The engines of one workload's convolution, which write into a tensor of their own."""

    def __init__(self, cudnn: Any, handle: Any, workload: Workload, arguments: Arguments) -> None:
        module, setting = workload.module, workload.case.setting
        assert isinstance(module, nn.Conv2d)
        x, w, lies = workload.input.detach(), module.weight.detach(), arguments.y
        y = torch.empty_strided(lies.dim, lies.stride, dtype=x.dtype, device=x.device)
        self._output, self._expected = y, module._conv_forward(x, w, None).float()
        self._tolerance = IEEE_TOLERANCE if _ieee(setting) else TOLERANCES[setting.dtype]
        self._handle, self._tensors = handle, (x, w, y)  # kept, since the graph is given addresses
        self._graph, keys = planned(cudnn, arguments, setting, handle=handle)
        self._addresses = {key: tensor.data_ptr() for key, tensor in zip(keys, self._tensors, strict=True)}
        self._workspaces = dict[int, int]()
        count = self._graph.get_execution_plan_count()
        self.names = [str(self._graph.get_plan_name_at_index(index)) for index in range(count)]

    def build(self, index: int) -> int | None:
        """Its workspace in bytes, or None where it is barred."""
        try:
            self._graph.build_plan_at_index(index)
        except Exception as error:
            if BARRED in str(error):
                return None
            raise
        size = self._workspaces[index] = int(self._graph.get_workspace_size_plan_at_index(index))
        return size

    def call_of(self, index: int) -> Call:
        """What runs it; its workspace lives as long."""
        size = max(self._workspaces[index], 1)
        workspace = torch.empty(size, dtype=torch.uint8, device=self._output.device)

        def call() -> None:
            self._graph.execute_plan_at_index(self._addresses, workspace.data_ptr(), index, self._handle)

        return call

    def right(self, call: Call) -> bool:
        """Whether it writes all of the output, and what torch would within the tolerance."""
        self._output.fill_(float("nan"))
        call()
        return not differs(self._output, self._expected, self._tolerance)


def differs(output: torch.Tensor, expected: torch.Tensor, tolerance: float) -> bool:
    """Whether outputs are further apart than a fraction of the norm of what is expected, or one has a NaN."""
    apart = torch.linalg.vector_norm(output.float() - expected)
    return not bool(apart <= tolerance * torch.linalg.vector_norm(expected))


def _asked(workload: Workload) -> Arguments:
    """What is to be asked of cuDNN. Raises NotSupported where that is not one convolution of torch's."""
    problem, setting = workload.case.problem, workload.case.setting
    if len(problem.parts) > 1:
        raise NotSupported(f"{problem.kind} is two convolutions: ask for its parts")
    arguments = arguments_of(problem, setting.memory_format)
    if not isinstance(workload.module, nn.Conv2d):
        raise NotSupported(f"{setting.implementation} makes no torch.nn.Conv2d")
    if setting.dtype not in IO_TYPES:
        raise NotSupported(f"engines are asked for {', '.join(IO_TYPES)}, not for {setting.dtype}")
    return arguments


def _front_end() -> Any:
    try:
        return import_module("cudnn")
    except ImportError as error:
        what = "cuDNN's engines are listed by its front end: pip install nvidia-cudnn-frontend"
        raise NotSupported(f"{what} ({error})") from error


def _ieee(setting: Setting) -> bool:
    return setting.dtype == "float32" and setting.fp32_precision == "ieee"


def _try(plans: Plans, name: str, time_s: Callable[[Call], float]) -> Row | None:
    """An engine's row; None where it is barred."""
    index, size = plans.names.index(name), None
    try:
        size = plans.build(index)
        if size is None:
            return None
        call = plans.call_of(index)
        if not plans.right(call):
            return _row(name, size, error="differs from torch's")
        return _row(name, size, time_s(call))
    except Exception as error:  # not to be built here, or too large a workspace: others may do
        return _row(name, size, error=_first_line(error))


def _row(name: str, size: int | None, call_s: float | None = None, error: str | None = None) -> Row:
    return {"name": name, "workspace_bytes": size, "time_s": call_s, "error": error}


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
