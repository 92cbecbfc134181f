"""What runtimes share that pack their weights: torch holds these, and the runtime gets them at the first
call, as a network that is loaded once.

What may surprise: torch is left one thread. Its OpenMP threads would spin beside those of the runtime, and
each would wait for processors that the other holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from harness.worker.environment import NotSupported

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.core.case import Setting
    from harness.core.problem import Problem

    Run = Callable[[torch.Tensor], torch.Tensor]


class Packed(nn.Module):
    """Parameters as torch's own layers have them, in their order, and what runs with them on so many
    `threads`."""

    allocates_elsewhere = True  # than where torch sees it: a survey knows nothing of its memory

    def __init__(self, problem: Problem, prepare: Callable[[Packed], Run]) -> None:
        super().__init__()
        self.problem = problem
        self.numbers = nn.ParameterList()
        for shape in problem.weight_shapes:
            self.numbers.append(torch.empty(shape))
            if problem.bias:
                self.numbers.append(torch.empty(shape[0]))
        self.threads = torch.get_num_threads()
        self._prepare = prepare
        self._run: Run | None = None
        torch.set_num_threads(1)

    @property
    def weights(self) -> list[list[torch.Tensor]]:
        """(weight, bias where there is one) of each part of the problem."""
        each = 1 + self.problem.bias
        found = [parameter.detach().contiguous() for parameter in self.numbers]
        return [found[i : i + each] for i in range(0, len(found), each)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, in_channels, H, W) to (N, out_channels, OH, OW), both contiguous."""
        if self._run is None:
            self._run = self._prepare(self)
        return self._run(x)


def packed_layer(problem: Problem, setting: Setting, prepare: Callable[[Packed], Run]) -> Packed:
    """Raises NotSupported for all but contiguous float32 inference on a CPU, from a hot cache."""
    wanted = {
        "device": "cpu",
        "dtype": "float32",
        "memory_format": "contiguous",
        "computation": "inference",
        "cache": "hot",  # copies would have a pool of threads each
    }
    for name, value in wanted.items():
        if getattr(setting, name) != value:
            raise NotSupported(f"implementation {setting.implementation} needs {name} {value}")
    return Packed(problem, prepare)
