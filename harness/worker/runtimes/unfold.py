"""The textbook way: the image unfolded into columns (im2col), then one product of matrices a group.

After Chellapilla, Puri and Simard, *High performance convolutional neural networks for document processing*
(2006).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from harness.worker.environment import NotSupported

if TYPE_CHECKING:
    from harness.core.case import Setting
    from harness.core.problem import Problem


class Unfolded(nn.Module):
    """One convolution; weight and bias as torch.nn.Conv2d's."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.problem = problem
        self.weight = nn.Parameter(torch.empty(problem.weight_shapes[0]))
        self.bias = nn.Parameter(torch.empty(problem.out_channels)) if problem.bias else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, in_channels, H, W) to (N, out_channels, OH, OW)."""
        problem = self.problem
        padding = problem.padding
        if len(padding) == 4:  # which unfold does not take
            x, padding = functional.pad(x, padding), (0, 0)
        columns = functional.unfold(x, problem.kernel_size, problem.dilation, padding, problem.stride)
        images, _, pixels = columns.shape
        groups, _, height, width = problem.groups, *problem.output_shape[1:]
        # (N, groups, in_channels / groups * kernel, pixels) and (groups, out_channels / groups, the same)
        columns = columns.view(images, groups, -1, pixels)
        weight = self.weight.view(groups, problem.out_channels // groups, -1)
        output = (weight @ columns).view(images, problem.out_channels, height, width)
        return output if self.bias is None else output + self.bias[:, None, None]


def layer(problem: Problem, setting: Setting) -> nn.Module:
    """One, or for a separable convolution both halves. Raises NotSupported for channels_last: columns are
    contiguous, and the weight would be copied in each call."""
    if setting.memory_format != "contiguous":
        raise NotSupported("implementation unfold needs memory_format contiguous")
    return nn.Sequential(*map(Unfolded, problem.parts))
