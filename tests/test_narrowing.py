"""What the command line changes of a suite."""

from __future__ import annotations

import pytest

from harness.core.errors import UsageError
from harness.plan.axes import parse_override
from harness.plan.points import expand, narrowed
from harness.plan.suite import SHIPPED, read_suite
from tests.made_suites import suite_of


@pytest.mark.parametrize(
    ("text", "axis", "values"),
    [
        ("kind=depthwise,standard", "kind", ("depthwise", "standard")),
        ("in_channels=64", "in_channels", (64,)),
        ("in_channels=32:512:x2", "in_channels", (32, 64, 128, 256, 512)),
        ("in_channels=32:500:x2", "in_channels", (32, 64, 128, 256)),
        ("in_channels=32:96:32", "in_channels", (32, 64, 96)),
        ("in_channels=1:2:1,64", "in_channels", (1, 2, 64)),
        ("kernel_size=3x5, 3", "kernel_size", ("3x5", "3x3")),
        ("out_channels=2 * in_channels", "out_channels", ("2 * in_channels",)),
        ("threads=1,all", "threads", ("1", "all")),
        ("bias=true,false", "bias", (True, False)),
        ("padding=same,0", "padding", ("same", "0x0")),
        ("device=cuda:1", "device", ("cuda:1",)),
        ("implementation=mykernels:depthwise", "implementation", ("mykernels:depthwise",)),
    ],
)
def test_an_axis_on_the_command_line_is_values_or_steps_both_ends_included(
    text: str, axis: str, values: tuple[object, ...]
) -> None:
    assert parse_override(text) == (axis, values)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("in_chanels=3", "Did you mean in_channels"),
        ("in_channels", "Write an axis, an equals sign and its values"),
        ("batch=", "is not a whole number"),
        ("in_channels=0", "0 is below 1"),
        ("batch=--4", "'--4' is not a whole number"),
        ("batch=1:8:x1", "is neither first:last:step nor first:last:xfactor"),
        ("batch=1:8:0", "is neither first:last:step nor first:last:xfactor"),
        ("batch=8:1:1", "has no values"),
        ("kind=depthwyse", "Did you mean depthwise"),
        ("kernel_size=3y5", "neither a whole number nor a pair"),
        ("threads=none", "neither a number of threads nor all"),
    ],
)
def test_a_wrong_axis_on_the_command_line_is_told_what_is_allowed(text: str, told: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_override(text)
    assert told in str(raised.value)
    assert raised.value.where.startswith("-a")


def test_a_kind_on_the_command_line_narrows_and_other_axes_are_replaced() -> None:
    suite = suite_of(
        {"kind": ["standard", "pointwise"], "in_channels": [8, 16]},
        {"kind": "depthwise", "in_channels": [8, 16]},
    )
    points = expand(narrowed(suite, {"kind": ("pointwise",), "in_channels": (4,)}))
    assert [(point.series, point.asked["in_channels"]) for point in points] == [("pointwise", 4)]


def test_layers_are_narrowed_by_the_kind_that_their_fields_make_them() -> None:
    points = expand(
        narrowed(read_suite(SHIPPED / "mobilenet_v1.toml"), {"kind": ("depthwise",), "batch": (1,)})
    )
    assert len(points) == 13
    assert {point.series for point in points} == {"depthwise"}


def test_a_row_whose_kind_follows_from_an_axis_is_narrowed_place_by_place() -> None:
    rows = {
        "rows": [{"in_channels": 8, "groups": 1}, {"in_channels": 16, "groups": "in_channels"}],
        "kernel_size": [1, 3],
    }

    def kernels(kind: str) -> list[object]:
        return [point.asked["kernel_size"] for point in expand(narrowed(suite_of(rows), {"kind": (kind,)}))]

    assert {kind: kernels(kind) for kind in ("pointwise", "standard", "depthwise")} == {
        "pointwise": ["1x1"],
        "standard": ["3x3"],
        "depthwise": ["1x1", "3x3"],
    }
    narrower = narrowed(suite_of(rows), {"kind": ("standard",), "kernel_size": ("5x5",)})
    assert [(point.series, point.asked["kernel_size"]) for point in expand(narrower)] == [("standard", "5x5")]


@pytest.mark.parametrize("axis", ["size", "height", "width"])
def test_rows_that_state_an_axis_are_narrowed_and_not_changed(axis: str) -> None:
    points = expand(narrowed(read_suite(SHIPPED / "mobilenet_v1.toml"), {axis: (7,), "batch": (1,)}))
    assert [point.layer for point in points] == ["b11.pw", "b12.dw", "b12.pw"]


def test_of_two_sweeps_along_an_axis_one_takes_what_was_asked_and_the_other_stays_what_it_is() -> None:
    asked = narrowed(read_suite(SHIPPED / "channels.toml"), {"in_channels": (32, 64, 128)})
    assert {sweep.name: sweep.axes["in_channels"] for sweep in asked.sweeps} == {
        "square": (32, 64, 128),
        "uneven": (64,),
    }


def test_a_suite_of_too_many_points_can_be_narrowed() -> None:
    suite = suite_of(
        {"kind": "standard", "in_channels": list(range(1, 2001)), "out_channels": list(range(1, 2001))}
    )
    with pytest.raises(UsageError, match="4,000,000 points"):
        expand(suite)
    assert len(expand(narrowed(suite, {"in_channels": (8,)}))) == 2000


def test_a_size_on_the_command_line_replaces_height_and_width() -> None:
    points = expand(narrowed(suite_of({"kind": "pointwise", "height": 3, "width": 5}), {"size": (4,)}))
    assert [point.case.problem.input_shape for point in points if point.case] == [(1, 8, 4, 4)]


def test_narrowing_that_leaves_nothing_says_what_there_is() -> None:
    suite = suite_of({"kind": ["standard", "pointwise"]})
    with pytest.raises(UsageError) as raised:
        narrowed(suite, {"kind": ("depthwise",)})
    assert (
        str(raised.value) == "-a: nothing in suite tried matches kind=depthwise\nIt has pointwise, standard."
    )


def test_a_device_on_the_command_line_takes_the_place_of_the_files_index() -> None:
    suite = narrowed(suite_of({"kind": "pointwise", "device": "cuda:1"}), {"device": ("cuda:0", "cpu")})
    assert suite.placement == {"cuda": 0}
    assert [point.asked["device"] for point in expand(suite)] == ["cuda", "cpu"]
