"""ONNX Runtime on the CPU: a graph of one Conv a part of the problem, made when its weights are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

from harness.worker.runtimes.packed import Packed, packed_layer

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from harness.core.case import Setting
    from harness.core.problem import Problem

OPSET, IR_VERSION = 13, 8  # of 2021, which every version that is about reads


def layer(problem: Problem, setting: Setting) -> nn.Module:
    """Raises NotSupported for what `packed` does not support."""
    return packed_layer(problem, setting, _session)


def _session(packed: Packed) -> Callable[[torch.Tensor], torch.Tensor]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = packed.threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        _model(packed).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    # binding input and output anew for each call took longer (213 instead of 185 us of a depthwise layer)
    return lambda x: torch.from_numpy(session.run(None, {"x": x.numpy()})[0])


def _model(packed: Packed) -> Any:
    """The parts of the problem one after the other, their weights as constants."""
    nodes, constants, flows = [], [], "x"
    for number, (part, weights) in enumerate(zip(packed.problem.parts, packed.weights, strict=True)):
        left, right, top, bottom = part.pads
        names = [f"{name}{number}" for name in ("weight", "bias")][: len(weights)]
        constants += [
            numpy_helper.from_array(tensor.numpy(), name) for tensor, name in zip(weights, names, strict=True)
        ]
        nodes.append(
            helper.make_node(
                "Conv",
                [flows, *names],
                [f"y{number}"],
                kernel_shape=part.kernel_size,
                strides=part.stride,
                pads=(top, left, bottom, right),
                dilations=part.dilation,
                group=part.groups,
            )
        )
        flows = f"y{number}"
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", packed.problem.input_shape), (flows, packed.problem.output_shape))
    ]
    graph = helper.make_graph(nodes, "convolution", ends[:1], ends[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
