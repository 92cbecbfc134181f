"""The bound of rounding: it lets Winograd pass, and a reduced precision nobody asked for it does not."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from harness.core.case import Case, Setting
from harness.core.problem import Problem
from harness.worker.conv_modules import convolutions
from harness.worker.correctness import (
    ROUNDOFF,
    WINOGRAD_A,
    WINOGRAD_B,
    WINOGRAD_G,
    error_bound,
    largest_error,
    winograd_factor,
)
from harness.worker.workload import Workload


def winograd(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """F(4x4, 3x3) of one tile, in the dtype of its inputs: `x` (C, 6, 6), `weight` (K, C, 3, 3), to (K, 4,
    4)."""
    a, b, g = (torch.tensor(matrix, dtype=x.dtype) for matrix in (WINOGRAD_A, WINOGRAD_B, WINOGRAD_G))
    return a @ ((g @ weight @ g.T) * (b @ x @ b.T)).sum(1) @ a.T


@pytest.mark.parametrize("channels", [2, 16, 256])
def test_winograd_stays_within_the_bound_and_errs_more_than_a_direct_sum(channels: int) -> None:
    generator = torch.Generator().manual_seed(channels)
    x, weight = (
        torch.randn(channels, 6, 6, generator=generator),
        torch.randn(500, channels, 3, 3, generator=generator),
    )
    exact = functional.conv2d(x.double()[None], weight.double())[0]
    magnitude = functional.conv2d(x.abs().double()[None], weight.abs().double())[0]

    def error(output: torch.Tensor) -> torch.Tensor:
        return (output.double() - exact).abs() / magnitude

    assert torch.allclose(winograd(x.double(), weight.double()), exact)
    by_winograd, direct = error(winograd(x, weight)), error(functional.conv2d(x[None], weight)[0])
    bound = error_bound(Problem("standard", in_channels=channels, size=6, padding=0), Setting())
    assert by_winograd.max() <= bound
    assert direct.square().mean().sqrt() < ROUNDOFF["float32"]
    assert (
        direct.square().mean() < by_winograd.square().mean() < direct.square().mean() * winograd_factor() ** 2
    )


@pytest.mark.parametrize("in_channels", [3, 64, 512])
@pytest.mark.parametrize("kind", ["pointwise", "standard"])
def test_inputs_rounded_to_bfloat16_are_found_where_float32_was_asked(in_channels: int, kind: str) -> None:
    problem = Problem(kind, in_channels=in_channels, size=14)
    workload = Workload(Case(problem, Setting()), 3)
    (layer,) = convolutions(workload.module)
    with torch.inference_mode():
        rounded = workload.module(workload.input.bfloat16().float())
    error = largest_error(problem, workload.input.detach(), [(layer.weight.detach(), None)], rounded, 3)
    assert error_bound(problem, Setting()) < error <= error_bound(problem, Setting(fp32_precision="bf16"))
