"""OpenVINO on the CPU: one convolution a part of the problem, compiled when its weights are known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import openvino
import torch
from openvino import opset13

from harness.worker.runtimes.packed import Packed, packed_layer

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from harness.core.case import Setting
    from harness.core.problem import Problem


def layer(problem: Problem, setting: Setting) -> nn.Module:
    """Raises NotSupported for what `packed` does not support."""
    return packed_layer(problem, setting, _request)


def _request(packed: Packed) -> Callable[[torch.Tensor], torch.Tensor]:
    """In the arithmetic of its input: where a processor has bfloat16, OpenVINO would use that by itself."""
    settings = {
        "INFERENCE_NUM_THREADS": packed.threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    request = openvino.compile_model(_model(packed), "CPU", settings).create_infer_request()

    def run(x: torch.Tensor) -> torch.Tensor:
        output = torch.empty(packed.problem.output_shape)  # of its own each time, as torch's layers give it
        request.set_output_tensor(openvino.Tensor(output.numpy(), shared_memory=True))
        request.infer([x.numpy()], share_inputs=True, share_outputs=True)
        return output

    return run


def _model(packed: Packed) -> openvino.Model:
    """The parts of the problem one after the other, their weights as constants."""
    inputs = opset13.parameter(packed.problem.input_shape, openvino.Type.f32, name="x")
    flows = inputs
    for part, weights in zip(packed.problem.parts, packed.weights, strict=True):
        left, right, top, bottom = part.pads
        where = (part.stride, (top, left), (bottom, right), part.dilation)
        weight = weights[0].numpy()
        if part.groups == 1:
            flows = opset13.convolution(flows, weight, *where)
        else:
            grouped = weight.reshape(part.groups, part.out_channels // part.groups, *weight.shape[1:])
            flows = opset13.group_convolution(flows, grouped, *where)
        if part.bias:
            flows = opset13.add(flows, weights[1].numpy().reshape(1, -1, 1, 1))
    return openvino.Model([flows], [inputs], "convolution")
