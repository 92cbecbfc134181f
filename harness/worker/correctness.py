"""Whether an implementation computes the convolution it stands for.

At 1,024 seeded output positions, corners and borders among them, the output is compared with a sum in float64
over the same input and weights. The error of a position is |computed - exact| / sum |x||w|: the sum of
magnitudes is what rounding errors are proportional to, so cancellation cannot make a good kernel look bad nor
a bad one good. What is not torch's own is called twice with different inputs, and the first output must
outlive the second call: a kernel that remembers its answer, or hands out one buffer for all of them, is
wrong.
"""

from __future__ import annotations

from functools import lru_cache
from math import hypot, prod, sqrt
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from harness.core.columns import WRONG
from harness.worker.conv_modules import weights_of

if TYPE_CHECKING:
    from harness.core.case import Setting
    from harness.core.problem import Problem
    from harness.worker.workload import Workload

POSITIONS = 1024
CHUNK_ELEMENTS = 1 << 22  # float64 values gathered at a time: 32 MB
ROUNDOFF = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
REDUCED_INPUTS = {"tf32": 2.0**-11, "bf16": 2.0**-8}
DEVIATIONS = 8.0  # of a rounding error: more happen once in 10^14
# Winograd's F(4x4, 3x3) with the points 0, 1, -1, 2, -2, the largest tile in use (Lavin and Gray 2016,
# section 4.3): Y = A' [G g G' * B' d B] A
WINOGRAD_A = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))
WINOGRAD_B = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
WINOGRAD_G = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)


def check(workload: Workload, seed: int) -> dict[str, float | None]:
    """`error` and `error_bound` of a case made ready; null for an implementation whose weights cannot be
    told. Its input is drawn anew."""
    problem = workload.case.problem
    weights = weights_of(workload.module, problem)
    if weights is None:
        return {"error": None, "error_bound": None}
    with torch.inference_mode():
        first = workload.forward()
        require_output(first, problem, workload.input.dtype)
        error = largest_error(problem, workload.input.detach().cpu(), weights, first, seed)
        if workload.case.setting.implementation != "torch" and error < WRONG:
            seen = first.flatten()[:: max(1, first.numel() // POSITIONS)].clone()
            workload.redraw(seed + 1)
            error = max(
                error,
                largest_error(problem, workload.input.detach().cpu(), weights, workload.forward(), seed),
            )
            if not torch.equal(first.flatten()[:: max(1, first.numel() // POSITIONS)], seen):
                error = WRONG
    return {"error": error, "error_bound": error_bound(problem, workload.case.setting)}


def error_bound(problem: Problem, setting: Setting) -> float:
    """What rounding alone may do, relative to sum |x||w|: for each of the problem's convolutions,
    `_sum_bound` in the arithmetic of its sums.

    Sums run in the wider of float32 and the dtype; a half-precision intermediate or output is rounded once
    more; reduced float32 products round both of their factors.
    """
    accumulate = min(ROUNDOFF["float32"], ROUNDOFF[setting.dtype])
    bound = 0.0
    for part in problem.parts:
        bound += _sum_bound(part) * accumulate + ROUNDOFF[setting.dtype]
        if setting.dtype == "float32" and setting.fp32_precision in REDUCED_INPUTS:
            bound += 2 * REDUCED_INPUTS[setting.fp32_precision]
    return bound


def _sum_bound(part: Problem) -> float:
    """Roundoffs that the sums of one convolution may be off by, whatever their order.

    A sum of n products errs by at most gamma_n, n roundoffs and a little (Higham, Accuracy and Stability,
    section 3.1); and since roundings are independent and lean to neither side, by more than d sqrt(n) only
    with probability 2 exp(-d^2 / 2) each (Higham and Mary 2019, theorem 2.4). The smaller holds. Where
    Winograd may stand in, its transforms enlarge what is rounded.
    """
    n = prod(part.weight_shapes[0][1:]) + 1  # bias is one more addend
    bound = min(1.01 * n, DEVIATIONS * sqrt(n))
    square = part.kernel_size == (3, 3) and part.stride == (1, 1) and part.dilation == (1, 1)
    return max(bound, DEVIATIONS * winograd_factor()) if square and part.groups < part.in_channels else bound


@lru_cache
def winograd_factor() -> float:
    """How many times the rms error of a direct sum Winograd's is, at its worst output of a tile, for
    independent inputs and weights.

    An intermediate is as large as its rows of B and G say (root of the sum of squares), and counts with its
    weight in A; the direct sum of three has sqrt(3) in its place. Squared, since both dimensions are
    transformed. A direct sum's own rms error is below one roundoff of sum |x||w|, so that the factor alone,
    times `DEVIATIONS`, bounds it.
    """
    sizes = [hypot(*b) * hypot(*g) for b, g in zip(WINOGRAD_B, WINOGRAD_G, strict=True)]
    worst = max(hypot(*(a * size for a, size in zip(row, sizes, strict=True))) for row in WINOGRAD_A)
    return worst**2 / 3


class Incorrect(Exception):
    """A call computes something else than its case. The text says what."""


def require_output(output: object, problem: Problem, dtype: torch.dtype) -> None:
    """Raises Incorrect for an output that is no tensor, or of another shape or dtype than asked."""
    if not isinstance(output, torch.Tensor):
        raise Incorrect(f"its output is of type {type(output).__name__}, not torch.Tensor")
    if tuple(output.shape) != problem.output_shape:
        raise Incorrect(f"its output has the shape {tuple(output.shape)}, not {problem.output_shape}")
    if output.dtype != dtype:
        raise Incorrect(f"its output is {output.dtype}, not {dtype}")


def largest_error(
    problem: Problem,
    x: torch.Tensor,
    weights: list[tuple[torch.Tensor, torch.Tensor | None]],
    output: torch.Tensor,
    seed: int,
) -> float:
    """The largest error over the positions checked; `WRONG` where the output's shape is another or a value is
    no number.

    `x` (N, Cin, H, W); `weights`: (weight, bias) of each part; `output` (N, Cout, OH, OW).
    """
    if tuple(output.shape) != problem.output_shape:
        return WRONG
    positions = _positions(problem.output_shape, seed)
    per_position = prod(problem.weight_shapes[0][1:]) * (
        problem.in_channels if problem.kind == "depthwise_separable" else 1
    )
    worst = 0.0
    for chunk in positions.split(max(1, CHUNK_ELEMENTS // per_position)):
        exact, magnitude = _sums(problem, x, weights, chunk)
        computed = output.detach()[tuple(chunk.T)].cpu().to(torch.float64)
        error = ((computed - exact).abs() / magnitude.clamp_min(torch.finfo(torch.float64).tiny)).max().item()
        worst = max(worst, error) if error < WRONG else WRONG  # a NaN compares false
    return worst


def _positions(shape: tuple[int, int, int, int], seed: int) -> torch.Tensor:
    """(P, 4) output indices: eight corners of the first and last image, the rest drawn, a quarter of them
    pushed to the border."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.stack([torch.randint(0, size, (POSITIONS,), generator=generator) for size in shape], dim=1)
    last = torch.tensor(shape) - 1
    quarter = POSITIONS // 4
    border = torch.arange(quarter)
    drawn[border, 2 + border % 2] = torch.where(
        border % 4 < 2, torch.zeros_like(border), last[2 + border % 2]
    )
    corners = torch.tensor(
        [
            [image, channel, row, column]
            for image in (0, 1)
            for channel in (0, 1)
            for row in (0, 1)
            for column in (0, 1)
        ]
    )
    drawn[-len(corners) :] = corners * last
    return drawn


def _sums(
    problem: Problem,
    x: torch.Tensor,
    weights: list[tuple[torch.Tensor, torch.Tensor | None]],
    positions: torch.Tensor,
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
    spread = torch.stack(
        [
            images.repeat_interleave(count),
            every,
            rows.repeat_interleave(count),
            columns.repeat_interleave(count),
        ],
        dim=1,
    )
    middle, magnitude = _dot(
        _patches(first, x, spread, every), weight[every], None if bias is None else bias[every]
    )
    second, second_bias = weights[1]
    mixing = second[channels, :, 0, 0].double()
    exact = (middle.view(-1, count) * mixing).sum(1)
    total = (magnitude.view(-1, count) * mixing.abs()).sum(1)
    if second_bias is not None:
        exact, total = exact + second_bias[channels].double(), total + second_bias[channels].double().abs()
    return exact, total


def _patches(part: Problem, x: torch.Tensor, positions: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
    """(P, Cin / groups, kh, kw): the inputs that each output position of a single convolution sees, zeros
    where there is padding."""
    width = part.in_channels // part.groups
    (sh, sw), (dh, dw), (kh, kw) = part.stride, part.dilation, part.kernel_size
    padded = functional.pad(x, part.pads)
    channels = (groups * width)[:, None, None, None] + torch.arange(width)[None, :, None, None]
    rows = (positions[:, 2] * sh)[:, None, None, None] + (torch.arange(kh) * dh)[None, None, :, None]
    columns = (positions[:, 3] * sw)[:, None, None, None] + (torch.arange(kw) * dw)[None, None, None, :]
    return padded[positions[:, 0, None, None, None], channels, rows, columns]


def _dot(
    patches: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    products = patches.double() * weight.double()
    exact, magnitude = products.sum((1, 2, 3)), products.abs().sum((1, 2, 3))
    return (exact, magnitude) if bias is None else (exact + bias.double(), magnitude + bias.double().abs())
