"""The convolutions of a model, as one forward pass runs them.

In: `module:attribute`, a factory without arguments or a module, and the shape of its input. Out: a row for
each execution of a 2-D convolution, by the names of a layer list, and what cannot be measured here with the
reason. The numbers do not matter, so the pass runs on zeros, without autograd.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

if TYPE_CHECKING:
    from collections.abc import Sequence


def trace(target: str, shape: Sequence[int]) -> dict[str, Any]:
    """`layers` in the order of execution, one an execution, and `left`: name and why. Raises whatever the
    model raises."""
    model = build(target)
    layers: list[dict[str, Any]] = []
    left: list[dict[str, str]] = []

    def look(name: str, module: _ConvNd, x: torch.Tensor) -> None:
        why = unmeasured(module, x)
        if why:
            left.append({"name": name, "why": why})
        else:
            layers.append({"name": name, **as_layer(module, x)})

    for name, module in model.named_modules():
        if isinstance(module, _ConvNd):
            module.register_forward_pre_hook(
                lambda module, inputs, named, name=name: look(
                    name, module, inputs[0] if inputs else named["input"]
                ),
                with_kwargs=True,
            )
    with torch.inference_mode():
        model.eval()(torch.zeros(tuple(shape)))
    return {"layers": layers, "left": left}


def build(target: str) -> nn.Module:
    """The model: what `module:attribute` names, or what it returns when it is called. Raises TypeError where
    that is no module."""
    name, _, attribute = target.partition(":")
    found: Any = getattr(import_module(name), attribute)
    model = found if isinstance(found, nn.Module) else found()
    if not isinstance(model, nn.Module):
        raise TypeError(f"{target} gives {type(model).__name__}, which is no torch.nn.Module")
    return model


def unmeasured(module: _ConvNd, x: torch.Tensor) -> str | None:
    """Why a convolution is none of the kinds that are measured; None for one that is."""
    if not isinstance(module, nn.Conv2d):
        return f"{type(module).__name__} is not measured"
    if x.dim() != 4:
        return f"its input has {x.dim()} dimensions"
    if module.padding_mode != "zeros":
        return f"padding_mode {module.padding_mode} is not measured"
    if (
        isinstance(module.padding, str)
        and module.padding == "same"
        and any(k % 2 == 0 for k in module.kernel_size)
    ):
        return "padding same with an even kernel pads unevenly"
    return None


def as_layer(module: _ConvNd, x: torch.Tensor) -> dict[str, Any]:
    """Its arguments and the shape of its input, as a layer list writes them."""
    padding: Any = module.padding
    if isinstance(padding, str):
        padding = (
            (0, 0)
            if padding == "valid"
            else tuple(d * (k - 1) // 2 for d, k in zip(module.dilation, module.kernel_size, strict=True))
        )
    pairs = {
        "kernel_size": module.kernel_size,
        "stride": module.stride,
        "padding": padding,
        "dilation": module.dilation,
    }
    return {
        "batch": x.shape[0],
        "in_channels": module.in_channels,
        "out_channels": module.out_channels,
        "height": x.shape[2],
        "width": x.shape[3],
        **{name: f"{one}" if one == other else f"{one}x{other}" for name, (one, other) in pairs.items()},
        "groups": module.groups,
        "bias": int(module.bias is not None),
    }
