"""A pointwise convolution as torch.nn.Linear over the channels of every pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from harness.worker.environment import NotSupported

if TYPE_CHECKING:
    from harness.core.case import Setting
    from harness.core.problem import Problem
    from harness.core.window import Pair


class PixelwiseLinear(nn.Module):
    """Weight (out_channels, in_channels); pixels between strides are left out first."""

    def __init__(self, in_channels: int, out_channels: int, stride: Pair, bias: bool) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, in_channels, H, W) to (N, out_channels, OH, OW), which lies in memory as channels_last."""
        pixels = x[:, :, :: self.stride[0], :: self.stride[1]].permute(0, 2, 3, 1)
        return functional.linear(pixels, self.weight, self.bias).permute(0, 3, 1, 2)


def layer(problem: Problem, _: Setting) -> nn.Module:
    """Raises NotSupported for what looks at more than one pixel."""
    if problem.kernel_size != (1, 1) or problem.groups != 1 or problem.padding != (0, 0):
        raise NotSupported("implementation linear computes pointwise convolutions without padding")
    return PixelwiseLinear(problem.in_channels, problem.out_channels, problem.stride, problem.bias)
