"""Implementations for tests: right, wrong, and fatal ones. A worker finds them as `kernels:name` when it is started in this folder."""

from __future__ import annotations

import os
import signal
from typing import Any

import torch
from torch import nn


def right(problem: Any, setting: Any) -> nn.Module:
    """Torch's own layer."""
    return nn.Conv2d(
        problem.in_channels,
        problem.out_channels,
        problem.kernel_size,
        problem.stride,
        problem.padding,
        problem.dilation,
        problem.groups,
        problem.bias,
    )


class Off(nn.Conv2d):
    """Wrong in one row of pixels."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The convolution, but for its first row."""
        y = super().forward(x).clone()
        y[:, :, 0] *= 1.001
        return y


def off(problem: Any, setting: Any) -> nn.Module:
    """A layer that is wrong at a border."""
    return Off(problem.in_channels, problem.out_channels, problem.kernel_size, padding=problem.padding, bias=False)


class Fatal(nn.Conv2d):
    """Kills its process."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """No return."""
        os.kill(os.getpid(), signal.SIGSEGV)
        return x


def fatal(problem: Any, setting: Any) -> nn.Module:
    """A layer that kills its process."""
    return Fatal(problem.in_channels, problem.out_channels, problem.kernel_size, bias=False)


class Greedy(nn.Conv2d):
    """Wants more memory than there is."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Never."""
        return torch.empty(2**60, dtype=torch.uint8)


def greedy(problem: Any, setting: Any) -> nn.Module:
    """A layer that runs out of memory."""
    return Greedy(problem.in_channels, problem.out_channels, problem.kernel_size, bias=False)
