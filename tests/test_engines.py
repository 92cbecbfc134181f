"""Engines of cuDNN, as far as a processor goes: what is asked, in which order answers come, what they say."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from harness.core.case import Case, Setting
from harness.core.problem import Problem
from harness.worker import engines
from harness.worker.conv_modules import convolutions, torch_layer
from harness.worker.engines import MOST_ENGINES, Layout, against_best, arguments_of, differs, strides
from harness.worker.environment import NotSupported
from harness.worker.workload import Workload

PROBLEMS = [
    Problem("standard", in_channels=6, out_channels=8, batch=2, height=9, width=7),
    Problem("standard", in_channels=6, size=9, kernel_size="3x5", stride=2, padding="1x3", dilation="1x2"),
    Problem("grouped", in_channels=8, out_channels=12, groups=4, size=6),
    Problem("depthwise", in_channels=8, out_channels=16, size=6, stride=2),
    Problem("pointwise", in_channels=8, out_channels=4, size=5),
]
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


class MadePlans:
    """Engines by their name: seconds that a call takes, or `barred`, `wrong` or `broken`."""

    def __init__(self, answers: dict[str, float | str], names: list[str] | None = None) -> None:
        self.answers, self.names = answers, names or list(answers)
        self.built: list[str] = []

    def build(self, index: int) -> int | None:
        answer = self.answers[self.names[index]]
        if answer == "broken":
            raise RuntimeError("no such kernel\nand a stack")
        self.built.append(self.names[index])
        return None if answer == "barred" else 100 + index

    def call_of(self, index: int) -> Callable[[], object]:
        return lambda: self.answers[self.names[index]]

    def right(self, call: Callable[[], object]) -> bool:
        return call() != "wrong"


def timed(plans: MadePlans, **limit: float) -> list[dict[str, Any]]:
    return engines.tried(plans, lambda call: float(str(call())), **limit)


def small(kind: str = "standard", **setting: Any) -> Workload:
    return Workload(Case(Problem(kind, in_channels=4, size=6), Setting(**setting)), 0)


def never(call: Callable[[], object]) -> float:
    raise AssertionError("nothing can be timed here")


def test_without_cudnns_front_end_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cudnn", None)
    with pytest.raises(NotSupported, match="pip install nvidia-cudnn-frontend"):
        engines.engines(small(), never)


def test_two_convolutions_are_asked_for_one_by_one() -> None:
    with pytest.raises(NotSupported, match="two convolutions: ask for its parts"):
        engines.engines(small("depthwise_separable"), never)


def test_a_type_that_is_not_asked_for_is_said_so() -> None:
    with pytest.raises(NotSupported, match="not for float64"):
        engines.engines(small(dtype="float64"), never)


def test_the_fastest_engine_comes_first_and_what_has_no_time_last() -> None:
    plans = MadePlans({"slow": 3e-3, "broken": "broken", "quick": 1e-3, "barred": "barred", "wrong": "wrong"})
    assert timed(plans) == [
        {"name": "quick", "workspace_bytes": 102, "time_s": 1e-3, "error": None},
        {"name": "slow", "workspace_bytes": 100, "time_s": 3e-3, "error": None},
        {"name": "broken", "workspace_bytes": None, "time_s": None, "error": "RuntimeError: no such kernel"},
        {"name": "wrong", "workspace_bytes": 104, "time_s": None, "error": "differs from torch's"},
    ]


def test_an_engine_that_two_heuristics_offer_is_tried_once() -> None:
    plans = MadePlans({"a": 2e-3, "b": 1e-3}, ["a", "b", "a"])
    assert [row["name"] for row in timed(plans)] == ["b", "a"]
    assert plans.built == ["a", "b"]


def test_what_a_limit_leaves_out_is_listed() -> None:
    """The barred one does not count."""
    names = [f"engine{i}" for i in range(MOST_ENGINES + 2)]
    plans = MadePlans({"barred": "barred"} | dict.fromkeys(names, 1e-3))
    rows = timed(plans)
    assert [row["name"] for row in rows] == names
    errors = [row["error"] for row in rows]
    assert errors == [None] * MOST_ENGINES + [f"left out: {MOST_ENGINES} were tried"] * 2
    late = MadePlans({"a": 1e-3})
    assert [row["error"] for row in timed(late, limit_s=0)] == ["left out: 0 s were up"]
    assert late.built == []


def test_torchs_time_is_told_as_a_multiple_of_the_best_engines() -> None:
    rows: list[dict[str, Any]] = [
        {"name": "eng38", "workspace_bytes": 0, "time_s": 50e-6, "error": None},
        {"name": "eng0", "workspace_bytes": 0, "time_s": 400e-6, "error": None},
        {"name": "eng1", "workspace_bytes": None, "time_s": None, "error": "differs from torch's"},
    ]
    assert against_best(rows, 70e-6) == pytest.approx(1.4)
    assert against_best(rows[2:], 70e-6) is None


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.kind)
def test_cudnn_is_asked_for_the_convolution_that_torch_makes(problem: Problem, memory_format: str) -> None:
    (conv,) = convolutions(torch_layer(problem))
    x = torch.empty(problem.input_shape)
    asked = arguments_of(problem, memory_format)
    assert asked.x.dim == tuple(x.shape)
    assert asked.w.dim == tuple(conv.weight.shape)
    assert asked.y.dim == tuple(conv(x).shape)
    assert (asked.padding, asked.stride, asked.dilation) == (conv.padding, conv.stride, conv.dilation)
    assert asked.x.dim[1] // asked.w.dim[1] == conv.groups  # which is how cuDNN counts them
    for layout in (asked.x, asked.w, asked.y):
        lies = torch.empty_strided(layout.dim, layout.stride)
        assert lies.is_contiguous(memory_format=FORMATS[memory_format])


def test_cudnn_is_not_asked_for_padding_that_torch_makes_by_a_copy() -> None:
    with pytest.raises(NotSupported, match="the padding is uneven"):
        arguments_of(Problem("standard", in_channels=4, size=6, padding="0+1"), "contiguous")


def test_strides_are_those_of_a_dense_tensor_where_a_dimension_is_one_too() -> None:
    """Torch calls both of these contiguous and channels last, and leaves their strides as they come."""
    depthwise, pointwise = (8, 1, 3, 3), (4, 8, 1, 1)
    assert strides(depthwise, "contiguous") == (9, 9, 3, 1)
    assert strides(depthwise, "channels_last") == (9, 1, 3, 1)
    assert strides(pointwise, "contiguous") == (8, 1, 1, 1)
    assert strides(pointwise, "channels_last") == (8, 1, 8, 8)
    grouped = arguments_of(PROBLEMS[2], "channels_last")
    assert grouped.x == Layout((1, 8, 6, 6), (288, 1, 48, 8))
    assert grouped.w == Layout((12, 2, 3, 3), (18, 1, 6, 2))
    assert grouped.y == Layout((1, 12, 6, 6), (432, 1, 72, 12))


def test_an_output_is_right_within_a_fraction_of_its_norm() -> None:
    expected = torch.tensor([3.0, 4.0])
    assert not differs(torch.tensor([3.0, 4.04]), expected, 0.01)  # off by 0.04, of a norm of 5
    assert differs(torch.tensor([3.0, 4.06]), expected, 0.01)
    assert differs(torch.tensor([3.0, float("nan")]), expected, 0.01)
    assert not differs(torch.tensor([3.0, 4.0], dtype=torch.float16), expected, 0.01)
