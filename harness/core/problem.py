"""The five kinds of 2-D convolution, and one convolution as numbers.

In: shapes, in the names of torch.nn.Conv2d. Out: a `Problem` that cannot be built wrong, with its input,
weight and output shapes, parameters, MACs and least bytes, all exact. Not here: how it is executed (`case`),
what it costs on a device (`worker`). One MAC is one multiply-add and counts as two FLOPs; fvcore calls a MAC
a flop. Bias is never counted in MACs.
What may surprise: padding is half the kernel unless stated (torch's default is 0), and a kind is exclusive: a
grouped convolution with one group is a standard one, and a standard one with a 1x1 kernel is pointwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal, get_args

from harness.core.errors import ProblemError, nearest
from harness.core.window import (
    Padding,
    Pair,
    Sides,
    default_padding,
    folded,
    is_whole,
    parse_padding,
    parse_pair,
    same_padding,
    unfolded,
)

Kind = Literal["standard", "grouped", "depthwise", "pointwise", "depthwise_separable"]
KINDS: tuple[Kind, ...] = get_args(Kind)

# kinds in which every output sees every input channel and a neighbourhood: one can stand for the other
SAME_CONNECTIONS: tuple[Kind, ...] = ("standard", "depthwise_separable")
# alone they compute less than a layer does
PARTS_OF_SEPARABLE: tuple[Kind, ...] = ("depthwise", "pointwise")
DEFINITIONS: dict[Kind, str] = {
    "standard": "every output channel sees every input channel through a kernel of its own",
    "grouped": "channels are cut into groups; an output channel sees only the inputs of its group",
    "depthwise": "as many groups as input channels; every channel is filtered alone",
    "pointwise": "a 1x1 kernel; channels are mixed at each pixel, neighbours are not looked at",
    "depthwise_separable": "a depthwise convolution, then a pointwise one that mixes its channels",
}

# The axes of a problem that a kind takes from its definition and never from the asker.
FIXED_AXES: dict[Kind, frozenset[str]] = {
    "standard": frozenset({"groups"}),
    "grouped": frozenset(),
    "depthwise": frozenset({"groups"}),
    "pointwise": frozenset({"groups", "kernel_size", "dilation"}),
    "depthwise_separable": frozenset({"groups"}),
}

FIELDS = (
    "batch",
    "in_channels",
    "out_channels",
    "height",
    "width",
    "kernel_size",
    "stride",
    "padding",
    "dilation",
    "groups",
    "bias",
)
PAIR_FIELDS = frozenset({"kernel_size", "stride", "padding", "dilation"})
LARGEST = 2**31 - 1  # dimensions are stored as int32 ...
LARGEST_TOTAL = 2**63 - 1  # ... and counts, those of training among them, as int64


def kind_of(*, in_channels: int, groups: int, kernel_size: Pair) -> Kind:
    """The kind that a single convolution is, by the first rule that matches; separable is two convolutions
    and only ever asked for."""
    if groups == in_channels > 1:
        return "depthwise"
    if groups > 1:
        return "grouped"
    return "pointwise" if kernel_size == (1, 1) else "standard"


@dataclass(frozen=True, slots=True, init=False)
class Problem:
    """One 2-D convolution: its kind and its shapes, in elements. Hashable; equal when all fields are.

    What is left out takes our defaults: batch 1, stride 1, padding dilation * (k - 1) / 2 on each side,
    dilation 1, no bias, kernel_size 3 (pointwise 1), out_channels = in_channels, groups by the kind (grouped
    must state it). `size` stands for height = width. `padding` may be "same", and may differ before and
    after: (left, right, top, bottom), as torch.nn.functional.pad takes it. Raises ProblemError, which names
    the field, for a convolution that cannot be or is not of its kind.
    """

    kind: Kind
    batch: int
    in_channels: int
    out_channels: int
    height: int
    width: int
    kernel_size: Pair
    stride: Pair
    padding: Padding
    dilation: Pair
    groups: int
    bias: bool

    def __init__(
        self,
        kind: Kind | str,
        *,
        in_channels: int,
        out_channels: int | None = None,
        size: int | None = None,
        height: int | None = None,
        width: int | None = None,
        batch: int = 1,
        kernel_size: int | str | Pair | None = None,
        stride: int | str | Pair = 1,
        padding: int | str | Padding | None = None,
        dilation: int | str | Pair = 1,
        groups: int | None = None,
        bias: bool = False,
    ) -> None:
        if kind not in KINDS:
            raise ProblemError(
                "kind", f"{kind!r} is not a kind of convolution", hint=nearest(str(kind), KINDS)
            )
        if not isinstance(bias, bool):
            raise ProblemError("bias", f"{bias!r} is neither True nor False")
        kernel = parse_pair(
            "kernel_size", (1 if kind == "pointwise" else 3) if kernel_size is None else kernel_size
        )
        spread = parse_pair("dilation", dilation)
        values = {
            "kind": kind,
            "batch": batch,
            "in_channels": in_channels,
            "out_channels": in_channels if out_channels is None else out_channels,
            "height": size if height is None else height,
            "width": size if width is None else width,
            "kernel_size": kernel,
            "stride": parse_pair("stride", stride),
            "dilation": spread,
            "groups": _default_groups(kind, in_channels) if groups is None else groups,
            "bias": bias,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        _check_numbers(self)
        object.__setattr__(self, "padding", _padding(self, padding))
        _check_kind(self)
        _check_output(self)

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """(batch, in_channels, height, width), torch's NCHW."""
        return (self.batch, self.in_channels, self.height, self.width)

    @property
    def pads(self) -> Sides:
        """The padding as (left, right, top, bottom), even or not: what torch.nn.functional.pad takes."""
        return unfolded(self.padding)

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        """(batch, out_channels, output height, output width), by the formula in torch.nn.Conv2d's
        documentation, of the padded input."""
        left, right, top, bottom = self.pads
        height, width = (
            (size - dilation * (kernel - 1) - 1) // stride + 1
            for size, kernel, stride, dilation in zip(
                (self.height + top + bottom, self.width + left + right),
                self.kernel_size,
                self.stride,
                self.dilation,
                strict=True,
            )
        )
        return (self.batch, self.out_channels, height, width)

    @property
    def parts(self) -> tuple[Problem, ...]:
        """The single convolutions that this one is made of: two for separable, itself for every other
        kind."""
        if self.kind != "depthwise_separable":
            return (self,)
        depthwise = Problem(
            kind_of(in_channels=self.in_channels, groups=self.in_channels, kernel_size=self.kernel_size),
            in_channels=self.in_channels,
            batch=self.batch,
            height=self.height,
            width=self.width,
            kernel_size=self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            bias=self.bias,
        )
        _, _, height, width = depthwise.output_shape
        pointwise = Problem(
            "pointwise",
            in_channels=self.in_channels,
            out_channels=self.out_channels,
            batch=self.batch,
            height=height,
            width=width,
            bias=self.bias,
        )
        return (depthwise, pointwise)

    @property
    def weight_shapes(self) -> tuple[tuple[int, int, int, int], ...]:
        """(out_channels, in_channels / groups, kernel height, kernel width) of each part: weights are always
        4-D."""
        return tuple(
            (part.out_channels, part.in_channels // part.groups, *part.kernel_size) for part in self.parts
        )

    @property
    def parameters(self) -> int:
        """Trainable numbers: weights, and one for each output channel of each part where there is a bias."""
        return sum(map(prod, self.weight_shapes)) + (
            sum(part.out_channels for part in self.parts) if self.bias else 0
        )

    @property
    def macs(self) -> int:
        """Multiply-adds of the forward pass: N * OH * OW * Cout * (Cin / groups) * kh * kw, summed over the
        parts."""
        return sum(
            prod(part.output_shape) * prod(weight[1:])
            for part, weight in zip(self.parts, self.weight_shapes, strict=True)
        )

    @property
    def flops(self) -> int:
        """Floating-point operations of the forward pass: 2 x MACs."""
        return 2 * self.macs

    def minimum_bytes(self, element_bytes: int) -> int:
        """Bytes that the forward pass must move: input, weights and output once; separable unfused, so its
        middle twice."""
        elements = sum(
            prod(part.input_shape) + prod(weight) + prod(part.output_shape)
            for part, weight in zip(self.parts, self.weight_shapes, strict=True)
        )
        return element_bytes * elements

    @property
    def standard(self) -> Problem:
        """What MACs are compared with: groups 1, the same channels, size, stride and kernel; for pointwise a
        3x3 kernel."""
        pointwise = self.kind == "pointwise"
        kernel: Pair = (3, 3) if pointwise else self.kernel_size
        return Problem(
            kind_of(in_channels=self.in_channels, groups=1, kernel_size=kernel),
            in_channels=self.in_channels,
            out_channels=self.out_channels,
            batch=self.batch,
            height=self.height,
            width=self.width,
            kernel_size=kernel,
            stride=self.stride,
            padding=_wider(self.pads) if pointwise else self.padding,
            dilation=self.dilation,
            groups=1,
            bias=self.bias,
        )

    @property
    def ratio_to_standard(self) -> float:
        """MACs over those of `standard`."""
        return self.macs / self.standard.macs


def _default_groups(kind: str, in_channels: int) -> int:
    if kind == "grouped":
        raise ProblemError(
            "groups", "a grouped convolution must state its groups", hint="For example groups=4."
        )
    return in_channels if kind in ("depthwise", "depthwise_separable") else 1


def _check_numbers(problem: Problem) -> None:
    """Every number but those of the padding whole and in range, and the groups dividing the channels."""
    for name in FIELDS:
        if name in ("bias", "padding"):
            continue
        value = getattr(problem, name)
        for number in value if name in PAIR_FIELDS else (value,):
            if number is None:
                raise ProblemError(
                    name, "is not stated", hint=f"State {name}, or size for both height and width."
                )
            _check_number(name, number, least=1)
    for name in ("in_channels", "out_channels"):
        channels = getattr(problem, name)
        if problem.kind != "depthwise_separable" and channels % problem.groups:
            raise ProblemError(
                "groups", f"{problem.groups} does not divide {name} = {channels}", hint=_divisors(problem)
            )


def _check_number(name: str, number: object, *, least: int) -> None:
    if not is_whole(number) or not least <= number <= LARGEST:
        raise ProblemError(
            name, f"{number!r} is not a whole number of at least {least}", hint=f"Use {least} or more."
        )


def _padding(problem: Problem, stated: int | str | Padding | None) -> Padding:
    """What is stated, or else the default, for a problem whose other numbers are checked."""
    if stated is None:
        return default_padding(problem.kernel_size, problem.dilation)
    size = (problem.height, problem.width)
    found = (
        same_padding(size, problem.kernel_size, problem.stride, problem.dilation)
        if stated == "same"
        else parse_padding(stated)
    )
    for number in found:
        _check_number("padding", number, least=0)
    return found


def _wider(sides: Sides) -> Padding:
    """One pixel more on each side."""
    left, right, top, bottom = sides
    return folded((left + 1, right + 1, top + 1, bottom + 1))


def _divisors(problem: Problem) -> str:
    both = [
        g
        for g in range(1, min(problem.in_channels, 4096) + 1)
        if problem.in_channels % g == 0 and problem.out_channels % g == 0
    ]
    if problem.kind == "depthwise":
        return f"A depthwise convolution has a multiple of {problem.in_channels} output channels."
    return f"Use {', '.join(map(str, both))}."


def _check_kind(problem: Problem) -> None:
    """A problem is of the kind that it says."""
    if problem.kind == "depthwise_separable":
        if problem.groups != problem.in_channels:
            what = (
                f"a depthwise separable convolution has groups = in_channels = {problem.in_channels}, "
                f"not {problem.groups}"
            )
            raise ProblemError("groups", what, hint="Leave groups out.")
        return
    actual = kind_of(in_channels=problem.in_channels, groups=problem.groups, kernel_size=problem.kernel_size)
    if actual == problem.kind:
        return
    field = "kernel_size" if "pointwise" in (actual, problem.kind) and problem.groups == 1 else "groups"
    kernel = "x".join(map(str, problem.kernel_size))
    what = (
        f"groups {problem.groups} of {problem.in_channels} input channels with a {kernel} kernel is "
        f"{actual}, not {problem.kind}"
    )
    raise ProblemError(field, what, hint=f"Ask for {actual}, or change {field}.")


def _check_output(problem: Problem) -> None:
    """At least one pixel comes out, and the shape can be stored."""
    _, _, height, width = problem.output_shape
    if height < 1 or width < 1:
        kernel = "x".join(map(str, problem.kernel_size))
        what = (
            f"a {kernel} kernel does not fit into {problem.height}x{problem.width} pixels with this "
            "padding and dilation: no output"
        )
        raise ProblemError("kernel_size", what, hint="Use a smaller kernel, or more padding.")
    if (
        max(height, width) > LARGEST
        or problem.minimum_bytes(8) > LARGEST_TOTAL
        or 6 * problem.macs > LARGEST_TOTAL
    ):
        raise ProblemError(
            "height",
            "this convolution is too large to be counted in 64 bits",
            hint="Use fewer pixels or channels.",
        )
