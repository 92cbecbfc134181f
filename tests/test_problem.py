"""Counting: shapes, parameters, MACs and bytes, against hand counts, papers, and the formula applied to
generated shapes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import ProblemError
from harness.core.problem import Problem, kind_of
from tests.strategies import pairs, problems, sizes


def at_56(kind: str, **more: object) -> Problem:
    return Problem(kind, in_channels=64, out_channels=128, size=56, **more)  # type: ignore[arg-type]


def test_the_standard_convolution_of_the_documentation_has_231_million_macs() -> None:
    problem = at_56("standard")
    assert problem.macs == 56 * 56 * 128 * 64 * 9 == 231_211_008
    assert problem.flops == 462_422_016
    assert problem.parameters == 73_728
    assert problem.weight_shapes == ((128, 64, 3, 3),)


def test_four_groups_cost_a_quarter() -> None:
    problem = at_56("grouped", groups=4)
    assert problem.macs == 57_802_752
    assert problem.weight_shapes == ((128, 16, 3, 3),)
    assert problem.ratio_to_standard == 0.25


def test_a_depthwise_convolution_of_64_channels() -> None:
    problem = Problem("depthwise", in_channels=64, size=56)
    assert problem.macs == 1_806_336
    assert problem.groups == problem.out_channels == 64
    assert problem.ratio_to_standard == 1 / 64


def test_a_pointwise_convolution_is_compared_with_a_3x3_one() -> None:
    problem = at_56("pointwise")
    assert problem.macs == 25_690_112
    assert problem.padding == (0, 0)
    assert problem.standard.output_shape == problem.output_shape
    assert problem.ratio_to_standard == 1 / 9


def test_a_separable_convolution_saves_what_mobilenets_says() -> None:
    """MobileNets (Howard et al., 2017), section 3.1: the cost falls to 1/N + 1/K**2 of the standard
    convolution's."""
    problem = at_56("depthwise_separable")
    assert problem.macs == 27_496_448
    assert problem.ratio_to_standard == pytest.approx(1 / 128 + 1 / 9, rel=1e-15)
    assert problem.weight_shapes == ((64, 1, 3, 3), (128, 64, 1, 1))
    assert problem.parameters == 64 * 9 + 128 * 64


def test_a_bias_counts_as_parameters_of_both_halves_and_never_as_macs() -> None:
    problem = at_56("depthwise_separable", bias=True)
    assert problem.parameters == 64 * 9 + 64 + 128 * 64 + 128
    assert problem.macs == 27_496_448


def test_a_depthwise_convolution_may_multiply_its_channels() -> None:
    problem = Problem("depthwise", in_channels=16, out_channels=48, size=8)
    assert problem.weight_shapes == ((48, 1, 3, 3),)
    assert problem.macs == 8 * 8 * 48 * 9


def test_stride_and_dilation_of_a_separable_convolution_are_those_of_its_depthwise_half() -> None:
    problem = Problem("depthwise_separable", in_channels=8, size=32, stride=2, dilation=2)
    depthwise, pointwise = problem.parts
    assert (depthwise.stride, depthwise.dilation, depthwise.padding) == ((2, 2), (2, 2), (2, 2))
    assert (pointwise.stride, pointwise.dilation, pointwise.padding) == ((1, 1), (1, 1), (0, 0))
    assert pointwise.input_shape == depthwise.output_shape == (1, 8, 16, 16)


def test_least_bytes_are_input_weights_and_output_once() -> None:
    problem = Problem("standard", in_channels=2, out_channels=3, size=4)
    assert problem.minimum_bytes(4) == 4 * (2 * 16 + 2 * 3 * 9 + 3 * 16)


def test_least_bytes_of_a_separable_convolution_hold_its_middle_twice() -> None:
    problem = Problem("depthwise_separable", in_channels=2, out_channels=3, size=4)
    assert problem.minimum_bytes(1) == (32 + 18 + 32) + (32 + 6 + 48)


def test_same_padding_keeps_the_size_with_any_odd_kernel_and_dilation() -> None:
    problem = Problem("standard", in_channels=1, height=30, width=20, kernel_size="3x5", dilation=2)
    assert problem.padding == (2, 4)
    assert problem.output_shape == (1, 1, 30, 20)


def test_padding_may_differ_on_each_side() -> None:
    problem = Problem("standard", in_channels=1, height=10, width=20, padding="0+1x2")
    assert problem.padding == problem.pads == (2, 2, 0, 1), "left, right, top, bottom"
    assert problem.output_shape == (1, 1, 9, 22)
    assert problem.minimum_bytes(1) == 10 * 20 + 9 + 9 * 22, "zeros need not be read"
    assert problem == Problem("standard", in_channels=1, height=10, width=20, padding=(2, 2, 0, 1))
    assert Problem("pointwise", in_channels=1, size=4, padding="0+1").standard.pads == (1, 2, 1, 2)


@pytest.mark.parametrize("padding", ["1+1x2+2", "1x2", (2, 2, 1, 1), (1, 2)])
def test_padding_that_is_alike_on_both_sides_is_a_pair(padding: str | tuple[int, int]) -> None:
    assert Problem("standard", in_channels=1, size=10, padding=padding).padding == (1, 2)


@given(st.tuples(sizes, sizes), pairs, pairs, pairs)
def test_same_is_tensorflows(
    size: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> None:
    """ceil(size / stride) pixels come out, of as few zeros as that takes, the odd one after."""
    kernel = (kernel[0] + 1, kernel[1])
    fields: dict[str, Any] = {
        "in_channels": 1, "height": size[0], "width": size[1],
        "kernel_size": kernel, "stride": stride, "dilation": dilation,
    }  # fmt: skip
    problem = Problem("standard", **fields, padding="same")
    assert problem.output_shape[2:] == tuple(-(-n // s) for n, s in zip(size, stride, strict=True))
    left, right, top, bottom = problem.pads
    assert {bottom - top, right - left} <= {0, 1}
    for before, after, n, s, k, d in zip(
        (top, left), (bottom, right), size, stride, kernel, dilation, strict=True
    ):
        fewer = n + before + after - 1 - d * (k - 1) - 1
        assert not after or fewer // s + 1 < -(-n // s)


def test_same_without_a_stride_and_what_is_left_out_are_as_ever() -> None:
    left_out = Problem("standard", in_channels=1, size=56, stride=2)
    assert left_out.padding == (1, 1)
    assert Problem("standard", in_channels=1, size=56, stride=2, padding="same").pads == (0, 1, 0, 1)
    assert Problem("standard", in_channels=1, size=56, padding="same").padding == (1, 1)
    even = Problem("standard", in_channels=1, size=56, kernel_size=4, padding="same")
    assert (even.pads, even.output_shape) == ((1, 2, 1, 2), (1, 1, 56, 56)), "as torch.nn.Conv2d pads it"


def test_torch_default_padding_must_be_asked_for() -> None:
    assert Problem("standard", in_channels=1, size=10, padding=0).output_shape == (1, 1, 8, 8)


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("kind", {"kind": "standrd"}),
        ("in_channels", {"in_channels": 0}),
        ("in_channels", {"in_channels": 2.0}),
        ("batch", {"batch": -1}),
        ("height", {"size": None}),
        ("groups", {"kind": "grouped"}),
        ("groups", {"kind": "grouped", "groups": 5}),
        ("groups", {"kind": "grouped", "groups": 1}),
        ("groups", {"kind": "grouped", "groups": 64}),
        ("groups", {"kind": "standard", "groups": 4}),
        ("groups", {"kind": "depthwise", "out_channels": 100}),
        ("groups", {"kind": "depthwise_separable", "groups": 8}),
        ("kernel_size", {"kind": "pointwise", "kernel_size": 3}),
        ("kernel_size", {"kind": "standard", "kernel_size": 1}),
        ("kernel_size", {"kernel_size": 7, "padding": 0, "size": 5}),
        ("kernel_size", {"kernel_size": "3x"}),
        ("padding", {"kernel_size": 4}),
        ("padding", {"padding": -1}),
        ("padding", {"padding": "1+"}),
        ("padding", {"padding": "0+1x2x3"}),
        ("padding", {"padding": (0, 1, 2)}),
        ("padding", {"padding": (0, 1, 0, -1)}),
        ("height", {"padding": "same", "stride": 2, "size": None}),
        ("stride", {"stride": 0}),
        ("dilation", {"dilation": (1, 2, 3)}),
        ("bias", {"bias": "no"}),
        ("height", {"in_channels": 2**30, "out_channels": 2**30, "size": 2**20}),
    ],
)
def test_a_convolution_that_cannot_be_names_the_field_that_is_wrong(
    field: str, arguments: dict[str, object]
) -> None:
    with pytest.raises(ProblemError) as caught:
        Problem(**({"kind": "standard", "in_channels": 64, "size": 56} | arguments))  # type: ignore[arg-type]
    assert caught.value.field == field
    assert caught.value.what


def test_an_unknown_kind_suggests_the_nearest() -> None:
    with pytest.raises(ProblemError, match="Did you mean standard"):
        Problem("standrad", in_channels=1, size=1)


@given(problems())
def test_every_single_convolution_is_of_exactly_one_kind(problem: Problem) -> None:
    for part in problem.parts:
        assert (
            kind_of(in_channels=part.in_channels, groups=part.groups, kernel_size=part.kernel_size)
            == part.kind
        )


@given(problems())
def test_a_problem_is_rebuilt_from_its_own_fields(problem: Problem) -> None:
    fields = {name: getattr(problem, name) for name in Problem.__slots__}
    assert Problem(**fields) == problem
    assert hash(Problem(**fields)) == hash(problem)


@given(problems(), st.integers(2, 4))
def test_macs_and_activations_grow_with_the_batch_and_weights_do_not(problem: Problem, times: int) -> None:
    fields = {name: getattr(problem, name) for name in Problem.__slots__}
    larger = Problem(**(fields | {"batch": times * problem.batch}))
    assert larger.macs == times * problem.macs
    assert larger.parameters == problem.parameters
    assert problem.minimum_bytes(4) < larger.minimum_bytes(4) <= times * problem.minimum_bytes(4)
