"""Implementations for tests: right, wrong, and fatal ones. A worker finds them as `kernels:name` when it is
started in this folder."""

from __future__ import annotations

import mmap
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


class Faulting(nn.Conv2d):
    """Three calls of seven write 1,000 fresh pages: blocks of two or three calls do not fall into step with
    them."""

    calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The convolution, and the pages."""
        self.calls += 1
        if self.calls % 7 < 3:
            with mmap.mmap(-1, 1000 * mmap.PAGESIZE) as fresh:
                for page in range(1000):
                    fresh[page * mmap.PAGESIZE] = 1
        return super().forward(x)


def faulting(problem: Any, setting: Any) -> nn.Module:
    """A layer some of whose calls fault."""
    return Faulting(
        problem.in_channels, problem.out_channels, problem.kernel_size, padding=problem.padding, bias=False
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
    return Off(
        problem.in_channels, problem.out_channels, problem.kernel_size, padding=problem.padding, bias=False
    )


class Fatal(nn.Conv2d):
    """Kills its process."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """No return."""
        os.kill(os.getpid(), signal.SIGSEGV)
        return x


def fatal(problem: Any, setting: Any) -> nn.Module:
    """A layer that kills its process."""
    return Fatal(problem.in_channels, problem.out_channels, problem.kernel_size, bias=False)


class Endless(nn.Conv2d):
    """Never returns."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """No return."""
        while True:
            signal.pause()


def endless(problem: Any, setting: Any) -> nn.Module:
    """A layer that hangs its process."""
    return Endless(problem.in_channels, problem.out_channels, problem.kernel_size, bias=False)


class Greedy(nn.Conv2d):
    """Wants more memory than there is."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Never."""
        return torch.empty(2**60, dtype=torch.uint8)


def greedy(problem: Any, setting: Any) -> nn.Module:
    """A layer that runs out of memory."""
    return Greedy(problem.in_channels, problem.out_channels, problem.kernel_size, bias=False)


class Remembering(nn.Conv2d):
    """Right for the first input that it sees, and after that as fast as can be."""

    answer: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The convolution of the first input."""
        if self.answer is None:
            self.answer = super().forward(x)
        return self.answer


class Sharing(nn.Conv2d):
    """Hands out the same buffer every time."""

    buffer: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The convolution, where the last one was."""
        y = super().forward(x)
        if self.buffer is None:
            self.buffer = y
        return self.buffer.copy_(y)


class Tiring(nn.Conv2d):
    """Right while it is looked at, and remembers its answer once it has been called often."""

    calls = 0
    answer: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The convolution, at first."""
        self.calls += 1
        if self.calls < 20 or self.answer is None:
            self.answer = super().forward(x)
        return self.answer


def remembering(problem: Any, setting: Any) -> nn.Module:
    """A layer that remembers its answer."""
    return Remembering(
        problem.in_channels, problem.out_channels, problem.kernel_size, padding=problem.padding, bias=False
    )


def sharing(problem: Any, setting: Any) -> nn.Module:
    """A layer that hands out one buffer."""
    return Sharing(
        problem.in_channels, problem.out_channels, problem.kernel_size, padding=problem.padding, bias=False
    )


def tiring(problem: Any, setting: Any) -> nn.Module:
    """A layer that cheats once it is timed."""
    return Tiring(
        problem.in_channels, problem.out_channels, problem.kernel_size, padding=problem.padding, bias=False
    )


class OwnWeights(nn.Module):
    """A kernel of one's own: a parameter of the convolution's shape, and no layer of torch's."""

    def __init__(self, problem: Any) -> None:
        super().__init__()
        self.problem = problem
        self.weight = nn.Parameter(torch.empty(problem.weight_shapes[0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """By the function."""
        problem = self.problem
        return torch.nn.functional.conv2d(
            x, self.weight, None, problem.stride, problem.padding, problem.dilation, problem.groups
        )


def own_weights(problem: Any, setting: Any) -> nn.Module:
    """A layer that keeps its weights itself."""
    return OwnWeights(problem)
