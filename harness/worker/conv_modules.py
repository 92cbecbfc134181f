"""The five kinds as torch modules, and the seam at which another implementation takes their place.

In: a `Problem`, an implementation (`torch`, one of `runtimes`, or `module:attribute`: a factory that takes
problem and setting and returns a module). Out: a module. Its numbers are another's matter (`workload`).
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from harness.core.case import Case
    from harness.core.problem import Problem
    from harness.core.window import Pair


class DepthwiseSeparableConv2d(nn.Module):
    """A depthwise convolution that takes stride, padding and dilation, then a pointwise one. Arguments as
    torch.nn.Conv2d; `bias` for both."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
        bias: bool = True,
        device: str | torch.device | None = None,
    ) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            in_channels, in_channels, kernel_size, stride, padding, dilation, in_channels, bias, device=device
        )
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=bias, device=device)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, in_channels, H, W) to (N, out_channels, OH, OW)."""
        return self.pointwise(self.depthwise(x))  # type: ignore[no-any-return]  # nn.Module's call is untyped


def torch_layer(problem: Problem, device: str = "cpu") -> nn.Module:
    """The kind as torch makes it. Padding is given as integers: fvcore counts a padding given as text as
    nothing. Where it is uneven, which torch's convolutions do not take, the input is padded first, by a
    copy."""
    padding = problem.padding
    shape = (
        problem.in_channels,
        problem.out_channels,
        problem.kernel_size,
        problem.stride,
        padding if len(padding) == 2 else (0, 0),
        problem.dilation,
    )
    layer = (
        DepthwiseSeparableConv2d(*shape, bias=problem.bias, device=device)
        if problem.kind == "depthwise_separable"
        else nn.Conv2d(*shape, groups=problem.groups, bias=problem.bias, device=device)
    )
    return layer if len(padding) == 2 else nn.Sequential(nn.ZeroPad2d(padding), layer)


def convolutions(module: nn.Module) -> list[nn.Conv2d]:
    """The torch convolutions in a module, in order; empty for an implementation that has none."""
    return [child for child in module.modules() if isinstance(child, nn.Conv2d)]


def weights_of(module: nn.Module, problem: Problem) -> list[tuple[torch.Tensor, torch.Tensor | None]] | None:
    """(weight, bias) of each of the problem's convolutions, on the CPU: the module's parameters in their
    order, where they have just these shapes; a weight of one pixel may lack its last two extents. None for an
    implementation that packs its numbers otherwise."""
    shapes = [shape for weight in problem.weight_shapes for shape in (weight, *[weight[:1]] * problem.bias)]
    found = [parameter.detach().cpu() for parameter in module.parameters()]
    if len(found) != len(shapes) or not all(
        tuple(tensor.shape) in (shape, shape[:2]) and tensor.numel() == prod(shape)
        for tensor, shape in zip(found, shapes, strict=True)
    ):
        return None
    found = [tensor.view(shape) for tensor, shape in zip(found, shapes, strict=True)]
    step = 1 + problem.bias
    return [(found[i], found[i + 1] if problem.bias else None) for i in range(0, len(found), step)]


def prepare() -> None:
    """Make a layer without storage once, before children are forked: it imports what each child would import
    for itself (8 ms)."""
    nn.Conv2d(1, 1, 1, device="meta")


def build(case: Case) -> nn.Module:
    """The module of a case, ready to be called once its parameters are filled; torch's own layers come
    without storage (device meta)."""
    implementation = case.setting.implementation
    torch._C._set_mkldnn_enabled(implementation != "native")
    if implementation == "torch":
        return torch_layer(case.problem, "meta").eval()
    from harness.worker.runtimes import factory_of  # which import this module

    module = factory_of(implementation)(case.problem, case.setting)
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"the factory {implementation} returned {type(module).__name__}, not a torch.nn.Module"
        )
    return module.eval()
