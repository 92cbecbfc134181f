"""Three counts of one thing: our closed form, fvcore's trace, and the module's own weights and output."""

from __future__ import annotations

from math import prod

import pytest
import torch
from hypothesis import given, settings
from torch.nn import functional

from harness.core.case import Case, Setting
from harness.core.problem import Problem
from harness.worker.conv_modules import DepthwiseSeparableConv2d, convolutions, torch_layer
from harness.worker.correctness import WRONG, error_bound, largest_error
from harness.worker.survey import macs_fvcore
from harness.worker.workload import Workload
from tests.strategies import problems

pytestmark = pytest.mark.torch


@settings(max_examples=25, deadline=None)
@given(problems())
def test_the_closed_form_is_what_fvcore_counts_and_what_the_module_holds(problem: Problem) -> None:
    module = torch_layer(problem)
    with torch.inference_mode():
        output = module(torch.zeros(problem.input_shape))
    layers = convolutions(module)
    assert tuple(output.shape) == problem.output_shape
    assert tuple(tuple(layer.weight.shape) for layer in layers) == problem.weight_shapes
    assert sum(parameter.numel() for parameter in module.parameters()) == problem.parameters
    by_module = sum(
        prod(part.output_shape) * layer.weight[0].numel()
        for part, layer in zip(problem.parts, layers, strict=True)
    )
    assert problem.macs == macs_fvcore(problem) == by_module


@settings(max_examples=25, deadline=None)
@given(problems())
def test_what_runs_is_torchs_own_padding_and_then_its_convolution(problem: Problem) -> None:
    part = problem.parts[0]
    module = torch_layer(part)
    (layer,) = convolutions(module)
    x = torch.randn(part.input_shape)
    with torch.inference_mode():
        expected = functional.conv2d(
            functional.pad(x, part.pads), layer.weight, layer.bias, part.stride, 0, part.dilation, part.groups
        )
        assert tuple(expected.shape) == part.output_shape
        torch.testing.assert_close(module(x), expected)


@settings(max_examples=25, deadline=None)
@given(problems())
def test_torch_is_within_the_bound_of_rounding_for_every_kind(problem: Problem) -> None:
    workload = Workload(Case(problem, Setting()), 3, places=1)
    with torch.inference_mode():
        error = error_of(workload)
    assert error <= error_bound(problem, Setting())


def error_of(workload: Workload, factor: float = 1.0) -> float:
    """The error of a workload's output, made wrong by a factor at its very last position."""
    with torch.inference_mode():
        output = workload.module(workload.input).clone()
        output[-1, -1, -1, -1] *= factor
    weights = [
        (layer.weight.detach(), None if layer.bias is None else layer.bias.detach())
        for layer in convolutions(workload.module)
    ]
    return largest_error(workload.case.problem, workload.input.detach(), weights, output, 3)


@pytest.mark.parametrize("kind", ["standard", "depthwise", "depthwise_separable"])
def test_one_wrong_corner_among_all_outputs_is_found(kind: str) -> None:
    problem = Problem(kind, in_channels=16, size=40, batch=2, bias=True)
    workload = Workload(Case(problem, Setting()), 3)
    assert error_of(workload) <= error_bound(problem, Setting())
    assert error_of(workload, factor=1.01) > error_bound(problem, Setting())
    assert error_of(workload, factor=float("nan")) == WRONG


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_the_bound_follows_the_dtype(dtype: str) -> None:
    problem = Problem("depthwise_separable", in_channels=16, size=20)
    setting = Setting(dtype=dtype)
    error = error_of(Workload(Case(problem, setting), 3))
    assert 0 < error <= error_bound(problem, setting)
    assert (
        error_bound(problem, Setting(dtype="float64"))
        < error_bound(problem, Setting())
        < error_bound(problem, Setting(dtype="bfloat16"))
    )


def test_an_output_of_another_shape_is_wrong() -> None:
    problem = Problem("pointwise", in_channels=4, size=5)
    assert largest_error(problem, torch.zeros(problem.input_shape), [], torch.zeros(1, 4, 5, 4), 0) == WRONG


def test_the_separable_module_takes_stride_padding_dilation_and_bias_as_conv2d_does() -> None:
    module = DepthwiseSeparableConv2d(8, 12, 3, stride=2, padding=2, dilation=2, bias=True)
    assert module(torch.zeros(1, 8, 15, 15)).shape == (1, 12, 8, 8)
    assert module.depthwise.bias is not None
    assert module.pointwise.stride == (1, 1)
    assert DepthwiseSeparableConv2d(8, 12, 3)(torch.zeros(1, 8, 15, 15)).shape == (1, 12, 13, 13)


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_tensors_placed_anew_keep_values_and_layout_and_change_their_address(memory_format: str) -> None:
    workload = Workload(
        Case(Problem("standard", in_channels=8, size=10), Setting(memory_format=memory_format)), 5
    )
    before = [(tensor.clone(), tensor.stride(), tensor.data_ptr()) for tensor in workload.tensors]
    workload.place()
    for (values, stride, address), tensor in zip(before, workload.tensors, strict=True):
        assert torch.equal(values, tensor)
        assert tensor.stride() == stride
        assert tensor.data_ptr() != address


def test_numbers_are_normal_seeded_and_never_zero() -> None:
    case = Case(Problem("standard", in_channels=32, size=30), Setting())
    one, same, other = (Workload(case, seed) for seed in (1, 1, 2))
    assert torch.equal(one.input, same.input)
    assert not torch.equal(one.input, other.input)
    assert one.input.std().item() == pytest.approx(1, abs=0.02)
    assert all((tensor != 0).all() for tensor in one.tensors)
