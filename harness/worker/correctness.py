"""Whether an implementation computes the convolution it stands for.

At 1,024 seeded output positions, corners and borders among them, the output is compared with a sum in float64 over the same
input and weights. The error of a position is |computed - exact| / sum |x||w|: the sum of magnitudes is what rounding errors are
proportional to, so cancellation cannot make a good kernel look bad nor a bad one good.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from harness.case import Setting
    from harness.problem import Problem

POSITIONS = 1024
WRONG = 1e9  # stands for an error that is no number: JSON has neither NaN nor infinity
CHUNK_ELEMENTS = 1 << 22  # float64 values gathered at a time: 32 MB
ROUNDOFF = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
REDUCED_INPUTS = {"tf32": 2.0**-11, "bf16": 2.0**-8}
TRANSFORM = 32.0  # allowance, in roundoffs, for the transforms of a Winograd 3x3 whose sums are too short to cover them


def error_bound(problem: Problem, setting: Setting) -> float:
    """What rounding alone may do, relative to sum |x||w|: gamma_n of Higham (Accuracy and Stability, section 3.1) for the sums.

    Sums run over n products in the wider of float32 and the dtype, whatever their order; a half-precision intermediate or output
    is rounded once more; reduced float32 products round both of their factors.
    """
    accumulate = min(ROUNDOFF["float32"], ROUNDOFF[setting.dtype])
    bound = 0.0
    for weight in problem.weight_shapes:
        n = prod(weight[1:]) + 1  # bias is one more addend
        transform = TRANSFORM if weight[2:] == (3, 3) else 1.0
        bound += max(n, transform) * accumulate / (1 - n * accumulate) + ROUNDOFF[setting.dtype]
        if setting.dtype == "float32" and setting.fp32_precision in REDUCED_INPUTS:
            bound += 2 * REDUCED_INPUTS[setting.fp32_precision]
    return bound


def largest_error(
    problem: Problem, x: torch.Tensor, weights: list[tuple[torch.Tensor, torch.Tensor | None]], output: torch.Tensor, seed: int
) -> float:
    """The largest error over the positions checked; `WRONG` where the output's shape is another or a value is no number.

    `x` (N, Cin, H, W); `weights`: (weight, bias) of each part; `output` (N, Cout, OH, OW).
    """
    if tuple(output.shape) != problem.output_shape:
        return WRONG
    positions = _positions(problem.output_shape, seed)
    per_position = prod(problem.weight_shapes[0][1:]) * (problem.in_channels if problem.kind == "depthwise_separable" else 1)
    worst = 0.0
    for chunk in positions.split(max(1, CHUNK_ELEMENTS // per_position)):
        exact, magnitude = _sums(problem, x, weights, chunk)
        computed = output.detach()[tuple(chunk.T)].to("cpu", torch.float64)
        error = ((computed - exact).abs() / magnitude.clamp_min(torch.finfo(torch.float64).tiny)).max().item()
        worst = max(worst, error) if error < WRONG else WRONG  # a NaN compares false
    return worst


def _positions(shape: tuple[int, int, int, int], seed: int) -> torch.Tensor:
    """(P, 4) output indices: eight corners of the first and last image, the rest drawn, a quarter of them pushed to the border."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.stack([torch.randint(0, size, (POSITIONS,), generator=generator) for size in shape], dim=1)
    last = torch.tensor(shape) - 1
    quarter = POSITIONS // 4
    border = torch.arange(quarter)
    drawn[border, 2 + border % 2] = torch.where(border % 4 < 2, torch.zeros_like(border), last[2 + border % 2])
    corners = torch.tensor([[image, channel, row, column] for image in (0, 1) for channel in (0, 1) for row in (0, 1) for column in (0, 1)])
    drawn[-len(corners) :] = corners * last
    return drawn


def _sums(
    problem: Problem, x: torch.Tensor, weights: list[tuple[torch.Tensor, torch.Tensor | None]], positions: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(exact, magnitude) at positions (P, 4), in float64: the convolution, and the sum of its magnitudes."""
    first = problem.parts[0]
    weight, bias = weights[0]
    images, channels, rows, columns = positions.T
    if problem.kind != "depthwise_separable":
        patches = _patches(first, x, positions, channels // (first.out_channels // first.groups))
        return _dot(patches, weight[channels], None if bias is None else bias[channels])
    count = problem.in_channels
    every = torch.arange(count).repeat(len(positions))
    spread = torch.stack([images.repeat_interleave(count), every, rows.repeat_interleave(count), columns.repeat_interleave(count)], dim=1)
    middle, magnitude = _dot(_patches(first, x, spread, every), weight[every], None if bias is None else bias[every])
    second, second_bias = weights[1]
    mixing = second[channels, :, 0, 0].double()
    exact = (middle.view(-1, count) * mixing).sum(1)
    total = (magnitude.view(-1, count) * mixing.abs()).sum(1)
    if second_bias is not None:
        exact, total = exact + second_bias[channels].double(), total + second_bias[channels].double().abs()
    return exact, total


def _patches(part: Problem, x: torch.Tensor, positions: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
    """(P, Cin / groups, kh, kw): the inputs that each output position of a single convolution sees, zeros where there is padding."""
    width = part.in_channels // part.groups
    (ph, pw), (sh, sw), (dh, dw), (kh, kw) = part.padding, part.stride, part.dilation, part.kernel_size
    padded = functional.pad(x, (pw, pw, ph, ph))
    channels = (groups * width)[:, None, None, None] + torch.arange(width)[None, :, None, None]
    rows = (positions[:, 2] * sh)[:, None, None, None] + (torch.arange(kh) * dh)[None, None, :, None]
    columns = (positions[:, 3] * sw)[:, None, None, None] + (torch.arange(kw) * dw)[None, None, None, :]
    return padded[positions[:, 0, None, None, None], channels, rows, columns]


def _dot(patches: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    products = patches.double() * weight.double()
    exact, magnitude = products.sum((1, 2, 3)), products.abs().sum((1, 2, 3))
    return (exact, magnitude) if bias is None else (exact + bias.double(), magnitude + bias.double().abs())
