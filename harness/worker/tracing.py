"""The convolutions of a model, as one forward pass runs them: those of modules, and calls of functions.

In: `module:attribute`, a factory without arguments or a module, and the shape of its input. Out: a row for
each execution of a 2-D convolution, by the names of a layer list; what cannot be measured here, with the
reason; and what was listed otherwise than its module states it. The numbers do not matter, so the pass runs
on zeros, without autograd.
What may surprise: what counts is the input that reaches the convolution. A layer that pads with zeros in its
own forward is listed with that padding, uneven or not; one that pads otherwise, with its padded input.
"""

from __future__ import annotations

from importlib import import_module
from operator import add
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from harness.core.window import folded, padding_text, short_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.core.window import Padding, Sides

CONVOLUTION, PAD = torch.ops.aten.convolution.default, torch.ops.aten.constant_pad_nd.default


def trace(target: str, shape: Sequence[int]) -> dict[str, Any]:
    """`layers` in the order of execution, one an execution; `left` and `notes`: name and why. Raises whatever
    the model raises."""
    model, seen = build(target).eval(), Recorder()
    for name, module in model.named_modules():
        module.register_forward_pre_hook(seen.entering(name or "forward"), with_kwargs=True)
        module.register_forward_hook(seen.leaving, always_call=True)
    with torch.no_grad(), seen:
        model(torch.zeros(tuple(shape)))
    return {"layers": seen.layers, "left": seen.left, "notes": seen.notes}


def build(target: str) -> nn.Module:
    """The model: what `module:attribute` names, or what it returns when it is called. Raises TypeError where
    that is no module."""
    name, _, attribute = target.partition(":")
    found: Any = getattr(import_module(name), attribute)
    model = found if isinstance(found, nn.Module) else found()
    if not isinstance(model, nn.Module):
        raise TypeError(f"{target} gives {type(model).__name__}, which is no torch.nn.Module")
    return model


class Recorder(TorchDispatchMode):
    """Sees every operator, and by hooks the module that calls it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's has no types
        self.layers: list[dict[str, Any]] = []
        self.left: list[dict[str, str]] = []
        self.notes: list[dict[str, str]] = []
        # of the modules that are running, names, and of a Conv2d what was given to it
        self._inside: list[tuple[str, Any]] = []
        self._padded: tuple[Any, Any, list[int]] | None = (
            None  # the latest: what came out, went in, and how much
        )

    def entering(self, name: str) -> Callable[..., None]:
        """A hook for when a module of this name begins."""

        def hook(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
            given = inputs[0] if inputs else next(iter(named.values()), None)
            self._inside.append((name, given if isinstance(module, nn.Conv2d) else None))

        return hook

    def leaving(self, *_: object) -> None:
        """A hook for when a module ends."""
        self._inside.pop()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: torch would import all of its compiler (1.5 s) to keep it away from this class."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        if func is PAD and not any(args[2:]):  # with zeros
            self._padded = (found, args[0], list(args[1]))
        elif func is CONVOLUTION:
            self._convolved(*args)
        return found

    def _convolved(
        self,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
        transposed: bool,
        _: Sequence[int],
        groups: int,
    ) -> None:
        name, given = self._inside[-1] if self._inside else ("forward", None)
        if transposed or x.dim() != 4:
            why = "is transposed" if transposed else f"has an input of {x.dim()} dimensions"
            self.left.append({"name": name, "why": f"{why}, and is not measured"})
            return
        source, sides = self._before_padding(x, (padding[-1], padding[-1], padding[0], padding[0]))
        if isinstance(given, torch.Tensor) and given.dim() == 4 and given.shape[2:] != source.shape[2:]:
            sizes = ["x".join(map(str, one.shape[2:])) for one in (source, given)]
            self.notes.append(
                {"name": name, "why": f"listed with the {sizes[0]} pixels that it makes of {sizes[1]}"}
            )
        pairs = {"kernel_size": weight.shape[2:], "stride": stride, "dilation": dilation}
        self.layers.append(
            {
                "name": name,
                "batch": source.shape[0],
                "in_channels": source.shape[1],
                "out_channels": weight.shape[0],
                "height": source.shape[2],
                "width": source.shape[3],
                **{field: _written((pair[0], pair[-1])) for field, pair in pairs.items()},
                "padding": _written(folded(sides)),
                "groups": groups,
                "bias": int(bias is not None),
            }
        )

    def _before_padding(self, x: torch.Tensor, sides: Sides) -> tuple[torch.Tensor, Sides]:
        """The input and the padding of a convolution whose input may have been padded just before. What was
        cut off is no padding, nor is what was added to channels or images."""
        if self._padded is None or self._padded[0] is not x:
            return x, sides
        _, source, amounts = self._padded
        if min(amounts[:4]) < 0 or any(amounts[4:]):
            return x, sides
        left, right, top, bottom = map(add, sides, [*amounts, 0, 0, 0, 0])
        return source, (left, right, top, bottom)


def _written(value: Padding) -> str:
    """As a layer list has it: 3, 3x5 for height and width, 0+1 for before and after."""
    return short_text(padding_text(value))
