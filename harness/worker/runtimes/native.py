"""torch's own kernels, without oneDNN: what it falls back to where oneDNN is not built in or does not apply.

`build` switches oneDNN off for this implementation, and on for all others; there is nothing else to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.worker.conv_modules import torch_layer
from harness.worker.environment import NotSupported

if TYPE_CHECKING:
    from torch import nn

    from harness.core.case import Setting
    from harness.core.problem import Problem


def layer(problem: Problem, setting: Setting) -> nn.Module:
    """The kind as torch makes it. Raises NotSupported off the CPU."""
    if setting.device != "cpu":
        raise NotSupported("implementation native is for the CPU: elsewhere torch does not use oneDNN")
    return torch_layer(problem)
