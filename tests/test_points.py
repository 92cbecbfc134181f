"""What axes multiply to: points, their cases, and the reasons of those that have none."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.case import DEFAULTS
from harness.core.errors import UsageError
from harness.core.problem import KINDS
from harness.plan.axes import merge, parse_override, read_axis
from harness.plan.points import distinct_cases, expand, without_devices
from tests.made_suites import faults_of, ids, points_of, suite_of

if TYPE_CHECKING:
    from harness.plan.suite import Suite


suites = st.builds(
    lambda kinds, axes, others: suite_of({"kind": kinds} | axes, {"kind": "standard"} | others),
    st.lists(st.sampled_from(KINDS), min_size=1, unique=True),
    st.fixed_dictionaries(
        {
            "in_channels": st.lists(st.integers(1, 24), min_size=1, max_size=3, unique=True),
            "groups": st.lists(st.integers(1, 8), min_size=1, max_size=3, unique=True),
        },
        optional={
            "out_channels": st.sampled_from(
                [["in_channels"], ["2 * in_channels"], [6, 12], ["in_channels // 2", "in_channels + groups"]]
            ),
            "kernel_size": st.lists(
                st.sampled_from([1, 2, 3, "3x5", "1x1", 9]), min_size=1, max_size=3, unique_by=str
            ),
            "padding": st.sampled_from([["same"], [0], ["same", 1]]),
            "size": st.lists(st.integers(1, 9), min_size=1, max_size=2, unique=True),
            "threads": st.sampled_from([["all"], [1, "all"]]),
        },
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "batch": st.sampled_from([[1], [1, 4]]),
            "memory_format": st.just(["contiguous", "channels_last"]),
        },
    ),
)


@given(suites)
def test_a_sweep_has_as_many_points_as_its_axes_multiply_to(suite: Suite) -> None:
    points = expand(suite)
    for sweep in suite.sweeps:
        mine = [point for point in points if point.sweep == sweep.name]
        assert len(mine) == prod(map(len, sweep.axes.values()))
    assert [point.index for point in points] == list(range(len(points)))


@given(suites)
def test_a_point_has_a_case_or_a_reason_and_never_both(suite: Suite) -> None:
    for point in expand(suite):
        assert (point.case is None) != (point.skip_reason is None)
        assert point.series in KINDS


@given(suites)
def test_every_case_is_measured_once_however_many_points_lead_to_it(suite: Suite) -> None:
    points = expand(suite)
    measured = [case.case_id for case in distinct_cases(points)]
    assert len(set(measured)) == len(measured)
    assert set(measured) == set(ids(points))


@given(suites)
def test_a_kind_without_groups_has_one_case_whatever_the_groups(suite: Suite) -> None:
    """One point a value, all of one case: a flat line on the chart, and never a case a value."""
    points = [
        point
        for point in expand(suite)
        if point.series in ("standard", "depthwise", "pointwise", "depthwise_separable") and point.case
    ]
    for point in points:
        assert "groups" not in point.asked
    seen = {
        (point.sweep, *sorted((name, str(value)) for name, value in point.asked.items())): set[str]()
        for point in points
    }
    for point in points:
        seen[(point.sweep, *sorted((name, str(value)) for name, value in point.asked.items()))] |= set(
            ids([point])
        )
    assert all(len(cases) == 1 for cases in seen.values())


@given(suites)
def test_a_measured_point_is_what_was_asked(suite: Suite) -> None:
    for point in expand(suite):
        if not point.case:
            continue
        fields = {
            name: getattr(point.case.problem, name)
            for name in ("in_channels", "out_channels", "height", "width", "groups", "batch")
            if name in point.asked
        }
        assert fields == {name: point.asked[name] for name in fields}
        settings = {name: getattr(point.case.setting, name) for name in DEFAULTS if name in point.asked}
        assert settings == {name: point.asked[name] for name in settings}


def test_a_grouped_point_that_is_really_another_kind_stays_in_its_series() -> None:
    points = points_of({"kind": "grouped", "kernel_size": [1, 3], "groups": [1, 2, 8], "x": "groups"})
    assert {point.series for point in points} == {"grouped"}
    assert [point.case.problem.kind for point in points if point.case] == [
        "pointwise",
        "grouped",
        "depthwise",
        "standard",
        "grouped",
        "depthwise",
    ]


def test_a_standard_point_with_a_kernel_of_one_is_the_case_of_the_pointwise_point() -> None:
    points = points_of({"kind": ["standard", "pointwise"], "kernel_size": 1, "dilation": 2})
    assert len(set(ids(points))) == 1
    assert [point.series for point in points] == ["standard", "pointwise"]


def test_pointwise_has_one_case_over_kernel_sizes_and_depthwise_has_one_each() -> None:
    points = points_of({"kind": ["pointwise", "depthwise"], "kernel_size": [3, 5, 7], "x": "kernel_size"})
    assert len(points) == 6
    assert len(set(ids(points[:3]))) == 1
    assert len(set(ids(points[3:]))) == 3


def test_what_a_kind_does_not_have_cannot_skip_it() -> None:
    points = points_of({"kind": ["grouped", "pointwise"], "groups": "in_channels // 32"})
    assert points[0].skip_reason == "groups: 'in_channels // 32' is 0 here, below 1"
    assert points[1].case is not None


def test_groups_that_do_not_divide_the_channels_are_skipped_with_that_reason() -> None:
    points = points_of({"kind": "grouped", "groups": [2, 3]})
    assert points[0].case is not None
    assert points[1].skip_reason == "groups: 3 does not divide in_channels = 8"


def test_an_even_kernel_is_skipped_where_padding_is_not_stated() -> None:
    points = points_of(
        {"kind": "standard", "kernel_size": 2}, {"kind": "standard", "kernel_size": 2, "padding": 0}
    )
    assert points[0].skip_reason == "padding: must be stated for an even kernel, kernel_size is 2x2"
    assert points[1].case is not None
    assert points[1].case.problem.output_shape == (1, 8, 7, 7)


def test_a_range_of_any_length_is_refused_with_its_length() -> None:
    with pytest.raises(UsageError, match="99,999,999,999,999,999,999 values are more than"):
        parse_override(f"in_channels=1:{10**20 - 1}:1")


def test_what_python_says_of_a_text_is_not_shown(recwarn: pytest.WarningsRecorder) -> None:
    with pytest.raises(UsageError, match="is not an expression"):
        parse_override("groups=3x")
    assert not recwarn.list


def test_a_sweep_without_channels_is_skipped_with_what_is_missing() -> None:
    assert [point.skip_reason for point in points_of({"kind": "pointwise"}, problem={"size": 8})] == [
        "in_channels: is not stated"
    ]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("in_channels", 12),
        ("2 * in_channels", 24),
        ("in_channels // 5", 2),
        ("in_channels - 4 * groups", 4),
        ("(in_channels + height) // 2", 10),
    ],
)
def test_an_expression_stands_on_the_other_fields_of_its_point(expression: str, value: int) -> None:
    (point,) = points_of({"kind": "grouped", "groups": 2, "in_channels": 12, "out_channels": expression})
    assert point.asked["out_channels"] == value


def test_expressions_may_stand_on_one_another_in_any_order() -> None:
    (point,) = points_of(
        {
            "kind": "grouped",
            "groups": "out_channels // 8",
            "out_channels": "2 * in_channels",
            "in_channels": "4 * batch",
            "batch": 2,
        }
    )
    assert point.case is not None
    assert (point.case.problem.in_channels, point.case.problem.out_channels, point.case.problem.groups) == (
        8,
        16,
        2,
    )


def test_out_channels_that_are_not_stated_count_as_in_channels_in_an_expression() -> None:
    (point,) = points_of({"kind": "grouped", "groups": "out_channels // 4"})
    assert point.asked["groups"] == 2


@pytest.mark.parametrize(
    "axes",
    [
        {"in_channels": "in_channels"},
        {"in_channels": "out_channels", "out_channels": "in_channels"},
        {"in_channels": "groups", "groups": "out_channels"},
    ],
)
def test_expressions_that_go_in_a_circle_are_a_reason_to_skip(axes: dict[str, str]) -> None:
    (point,) = points_of({"kind": "grouped", "groups": 2} | axes)
    assert point.skip_reason is not None
    assert point.skip_reason.endswith("stands on itself")


@pytest.mark.parametrize(
    ("expression", "reason"),
    [("8 // (in_channels - 8)", "divides by 0"), ("in_channels - 9", "is -1 here, below 1")],
)
def test_an_expression_without_a_usable_value_is_a_reason_to_skip(expression: str, reason: str) -> None:
    (point,) = points_of({"kind": "standard", "out_channels": expression})
    assert point.skip_reason is not None
    assert reason in point.skip_reason


@pytest.mark.parametrize(
    "expression",
    [
        "in_channels / 2",
        "in_channels ** 2",
        "__import__('os')",
        "in_channels.real",
        "2 *",
        "1.5",
        "in_chanels",
        pytest.param(5000 * "1 + " + "1", id="endless"),
    ],
)
def test_an_expression_of_anything_else_is_a_fault(expression: str) -> None:
    (fault,) = faults_of({"kind": "standard", "out_channels": expression})
    assert fault.startswith('sweep "s1", out_channels: ')


@pytest.mark.parametrize(
    ("raw", "values"),
    [
        (64, (64,)),
        ([64, 128], (64, 128)),
        ({"range": [60, 68, 4]}, (60, 64, 68)),
        ({"range": [60, 67, 4]}, (60, 64)),
        ({"range": [5, 5, 1]}, (5,)),
        ({"powers_of_two": [16, 128]}, (16, 32, 64, 128)),
        ({"powers_of_two": [17, 127]}, (32, 64)),
        ({"powers_of_two": [1, 1]}, (1,)),
    ],
)
def test_ranges_and_powers_of_two_include_both_ends(raw: object, values: tuple[int, ...]) -> None:
    assert read_axis("batch", raw) == values


@pytest.mark.parametrize("raw", [[], {"range": [9, 8, 1]}, {"powers_of_two": [5, 7]}])
def test_an_axis_without_values_is_refused(raw: object) -> None:
    with pytest.raises(ValueError, match="has no values"):
        read_axis("batch", raw)


def test_a_size_above_replaces_height_and_width_below_and_they_replace_a_size() -> None:
    assert merge({"height": 4, "width": 5, "batch": 2}, {"size": 8}) == {"size": 8, "batch": 2}
    assert merge({"size": 8, "batch": 2}, {"height": 4, "width": 5}) == {"height": 4, "width": 5, "batch": 2}


def test_a_sweep_overrides_the_suite_and_a_row_overrides_its_sweep() -> None:
    points = points_of(
        {
            "kind": "pointwise",
            "in_channels": 16,
            "rows": [{"in_channels": 32}, {"batch": 2}, {"height": 3, "width": 5}],
        },
        problem={"size": [8, 9], "in_channels": 8},
    )
    shapes = [point.case.problem.input_shape for point in points if point.case]
    assert shapes == [(1, 32, 8, 8), (1, 32, 9, 9), (2, 16, 8, 8), (2, 16, 9, 9), (1, 16, 3, 5)]


def test_a_height_alone_leaves_the_width_to_the_size_below() -> None:
    (point,) = points_of({"kind": "pointwise", "height": 3})
    assert point.case is not None
    assert point.case.problem.input_shape == (1, 8, 3, 8)


def test_rows_are_taken_as_they_stand_and_multiplied_with_the_other_axes() -> None:
    rows = [{"groups": 1, "in_channels": 4}, {"groups": 2, "in_channels": 8, "repeat": 3, "layer": "second"}]
    points = points_of({"kind": "grouped", "batch": [1, 2], "rows": rows})
    assert [
        (point.asked["groups"], point.asked["in_channels"], point.asked["batch"]) for point in points
    ] == [
        (1, 4, 1),
        (1, 4, 2),
        (2, 8, 1),
        (2, 8, 2),
    ]
    assert [(point.layer, point.repeat) for point in points] == [
        (None, 1),
        (None, 1),
        ("second", 3),
        ("second", 3),
    ]


def test_a_size_on_the_axis_of_a_chart_becomes_the_height() -> None:
    points = points_of({"kind": "pointwise", "size": [4, 8], "x": "size"})
    assert [(point.x, point.asked["height"], point.asked["width"]) for point in points] == [
        ("height", 4, 4),
        ("height", 8, 8),
    ]


def test_a_device_that_is_not_there_is_a_reason_and_the_others_stay() -> None:
    points = without_devices(points_of({"kind": "pointwise", "device": ["cpu", "cuda"]}), ["cpu"])
    assert points[0].case is not None
    assert points[1].skip_reason == "device cuda is not present"


def test_an_index_places_a_device_and_is_no_part_of_the_case() -> None:
    suite = suite_of({"kind": "pointwise", "device": "cuda:1"})
    assert suite.placement == {"cuda": 1}
    assert ids(expand(suite)) == ids(points_of({"kind": "pointwise", "device": "cuda"}))
