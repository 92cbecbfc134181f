"""What a suite asks for: the files that come along, what axes multiply to, and what a wrong file is told."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.axes import merge, parse_override, read_axis
from harness.case import DEFAULTS
from harness.errors import SuiteError, UsageError
from harness.points import distinct_cases, expand, narrowed, without_devices
from harness.problem import KINDS
from harness.suite import SHIPPED, parse_suite, read_suite

if TYPE_CHECKING:
    from pathlib import Path

    from harness.points import Point
    from harness.suite import Suite

HEAD: dict[str, Any] = {"schema": 1, "name": "tried"}
SMALL: dict[str, Any] = {"size": 8, "in_channels": 8}
FILES = sorted(SHIPPED.glob("*.toml"))


def suite_of(*sweeps: dict[str, Any], problem: dict[str, Any] | None = None, folder: Path | None = None, **tables: Any) -> Suite:
    """A suite of these sweeps, over 8 channels of 8x8 unless told otherwise."""
    named = [{"name": f"s{number}"} | sweep for number, sweep in enumerate(sweeps, 1)]
    content = HEAD | {"problem": SMALL if problem is None else problem, "sweep": named} | tables
    return parse_suite(content, source="tried.toml", folder=folder) if folder else parse_suite(content, source="tried.toml")


def faults_of(*sweeps: dict[str, Any], **tables: Any) -> list[str]:
    """What a suite of these sweeps is told."""
    with pytest.raises(SuiteError) as raised:
        suite_of(*sweeps, **tables)
    return raised.value.faults


def points_of(*sweeps: dict[str, Any], **tables: Any) -> list[Point]:
    """The points of such a suite."""
    return expand(suite_of(*sweeps, **tables))


def ids(points: list[Point]) -> list[str]:
    """The case of each point that has one."""
    return [point.case.case_id for point in points if point.case]


# The files that come along


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_shipped_suite_reads_and_every_point_of_it_can_be_measured(path: Path) -> None:
    suite = read_suite(path)
    points = expand(suite)
    assert suite.name == path.stem
    assert len(suite.title) > len(suite.name)
    assert points
    assert [point.skip_reason for point in points if point.skip_reason] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_shipped_suite_states_its_devices(path: Path) -> None:
    for sweep in read_suite(path).sweeps:
        assert set(sweep.axes["device"]) in ({"cpu"}, {"cuda"}, {"cpu", "cuda"})


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_axis_of_a_shipped_chart_takes_several_values(path: Path) -> None:
    suite = read_suite(path)
    for sweep in suite.sweeps:
        if sweep.x in (None, "layer"):
            continue
        x = "height" if sweep.x == "size" else sweep.x
        assert len({point.asked[x] for point in expand(suite) if point.sweep == sweep.name and x in point.asked}) > 1


@pytest.mark.parametrize(
    ("name", "layers", "macs", "cases"),
    [
        ("mobilenet_v1", 27, 567_716_352, 19),  # Howard et al.: 569 M with the classifier's 1.024 M
        ("conv_mobilenet_v1", 14, 4_866_269_184, 10),  # the same paper: 4,866 M with standard convolutions
        ("resnext50", 53, 4_228_431_872, 24),  # torchvision states 4.23 G with the classifier
        ("resnet50", 53, 4_087_136_256, 23),  # 4.09 G
        ("mobilenet_v2", 52, 299_494_272, 30),  # Sandler et al.: 300 M with the classifier
        ("efficientnet_b0", 81, 384_534_752, 46),  # 0.39 G
        ("shufflenet_v2", 56, 143_883_992, 16),  # Ma et al.: 146 M with the classifier
        ("convnext_tiny", 22, 292_965_120, 8),
    ],
)
def test_the_layers_of_a_network_add_up_to_what_its_paper_states(name: str, layers: int, macs: int, cases: int) -> None:
    points = [point for point in expand(read_suite(SHIPPED / f"{name}.toml")) if point.case and point.case.problem.batch == 1]
    assert sum(point.repeat for point in points) == layers
    assert sum(point.case.problem.macs * point.repeat for point in points if point.case) == macs
    assert len(distinct_cases(points)) == cases


def test_the_layers_of_mobilenet_are_told_apart_by_name_and_kind() -> None:
    points = expand(narrowed(read_suite(SHIPPED / "mobilenet_v1.toml"), {"batch": (1,)}))
    assert [point.layer for point in points[:3]] == ["stem", "b0.dw", "b0.pw"]
    assert [point.series for point in points[:3]] == ["standard", "depthwise", "pointwise"]
    assert [sum(point.series == kind for point in points) for kind in KINDS] == [1, 0, 13, 13, 0]


def test_a_suite_that_is_not_there_is_told_so() -> None:
    with pytest.raises(SuiteError, match="cannot be read: No such file"):
        read_suite(SHIPPED / "no_such_suite.toml")


def test_a_suite_saved_with_a_byte_order_mark_reads(tmp_path: Path) -> None:
    path = tmp_path / "marked.toml"
    path.write_text(FILES[0].read_text(encoding="utf-8"), encoding="utf-8-sig")
    assert expand(read_suite(path)) == expand(read_suite(FILES[0]))


def test_the_channels_suite_has_every_kind_at_every_power_of_two() -> None:
    points = [point for point in expand(read_suite(SHIPPED / "channels.toml")) if point.sweep == "square"]
    assert len(points) == 5 * 7 * 2 * 2
    assert {point.series for point in points} == set(KINDS)
    assert sorted({point.asked["in_channels"] for point in points}) == [16, 32, 64, 128, 256, 512, 1024]


def test_the_group_suite_runs_from_one_group_to_depthwise_on_one_curve() -> None:
    points = [point for point in expand(read_suite(SHIPPED / "groups.toml")) if point.sweep == "groups" and point.case]
    assert {point.series for point in points} == {"grouped"}
    ends = {(point.asked["kernel_size"], point.asked["groups"]): point.case.problem.kind for point in points if point.case}
    assert ends["3x3", 1] == "standard"
    assert ends["1x1", 1] == "pointwise"
    assert ends["3x3", 128] == ends["1x1", 128] == "depthwise"
    assert ends["3x3", 64] == ends["1x1", 2] == "grouped"


def test_separate_convolutions_have_as_many_macs_together_as_the_grouped_one() -> None:
    points = expand(narrowed(read_suite(SHIPPED / "groups.toml"), {"device": ("cpu",), "memory_format": ("contiguous",), "kernel_size": ("3x3",)}))
    grouped = {point.asked["groups"]: point.case.problem.macs for point in points if point.sweep == "groups" and point.case}
    separate = {point.repeat: point.repeat * point.case.problem.macs for point in points if point.sweep == "separate" and point.case}
    assert sorted(separate) == [2, 4, 8, 16]
    assert separate == {groups: grouped[groups] for groups in separate}


def test_the_ten_layers_of_guideline_g2_have_equal_macs_within_two_per_cent() -> None:
    points = [point for point in expand(read_suite(SHIPPED / "shufflenet_g2.toml")) if point.case and point.case.problem.batch == 1]
    totals = {point.asked["groups"]: 10 * point.case.problem.macs for point in points if point.case}
    assert {point.repeat for point in points} == {10}
    # 10 * 56 * 56 * channels^2 / groups
    assert totals == {1: 513_802_240, 2: 508_032_000, 4: 513_802_240, 8: 508_032_000}


def test_the_large_kernels_are_depthwise_and_for_a_gpu_alone() -> None:
    points = expand(read_suite(SHIPPED / "replknet_depthwise.toml"))
    assert len(points) == 3 * 10
    assert {point.case.problem.kind for point in points if point.case} == {"depthwise"}
    assert {point.case.setting.device for point in points if point.case} == {"cuda"}
    assert ids(without_devices(points, ["cpu"])) == []


# What axes multiply to

suites = st.builds(
    lambda kinds, axes, others: suite_of({"kind": kinds} | axes, {"kind": "standard"} | others),
    st.lists(st.sampled_from(KINDS), min_size=1, unique=True),
    st.fixed_dictionaries(
        {
            "in_channels": st.lists(st.integers(1, 24), min_size=1, max_size=3, unique=True),
            "groups": st.lists(st.integers(1, 8), min_size=1, max_size=3, unique=True),
        },
        optional={
            "out_channels": st.sampled_from([["in_channels"], ["2 * in_channels"], [6, 12], ["in_channels // 2", "in_channels + groups"]]),
            "kernel_size": st.lists(st.sampled_from([1, 2, 3, "3x5", "1x1", 9]), min_size=1, max_size=3, unique_by=str),
            "padding": st.sampled_from([["same"], [0], ["same", 1]]),
            "size": st.lists(st.integers(1, 9), min_size=1, max_size=2, unique=True),
            "threads": st.sampled_from([["all"], [1, "all"]]),
        },
    ),
    st.fixed_dictionaries({}, optional={"batch": st.sampled_from([[1], [1, 4]]), "memory_format": st.just(["contiguous", "channels_last"])}),
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
    points = [point for point in expand(suite) if point.series in ("standard", "depthwise", "pointwise", "depthwise_separable") and point.case]
    for point in points:
        assert "groups" not in point.asked
    seen = {(point.sweep, *sorted((name, str(value)) for name, value in point.asked.items())): set[str]() for point in points}
    for point in points:
        seen[(point.sweep, *sorted((name, str(value)) for name, value in point.asked.items()))] |= set(ids([point]))
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
    assert [point.case.problem.kind for point in points if point.case] == ["pointwise", "grouped", "depthwise", "standard", "grouped", "depthwise"]


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


def test_an_even_kernel_is_skipped_where_padding_is_same_and_measured_where_it_is_a_number() -> None:
    points = points_of({"kind": "standard", "kernel_size": 2, "padding": ["same", 0]})
    assert points[0].skip_reason == 'padding: "same" needs an odd kernel, kernel_size is 2x2'
    assert points[1].case is not None
    assert points[1].case.problem.output_shape == (1, 8, 7, 7)


def test_a_sweep_without_channels_is_skipped_with_what_is_missing() -> None:
    assert [point.skip_reason for point in points_of({"kind": "pointwise"}, problem={"size": 8})] == ["in_channels: is not stated"]


@pytest.mark.parametrize(
    ("expression", "value"),
    [("in_channels", 12), ("2 * in_channels", 24), ("in_channels // 5", 2), ("in_channels - 4 * groups", 4), ("(in_channels + height) // 2", 10)],
)
def test_an_expression_stands_on_the_other_fields_of_its_point(expression: str, value: int) -> None:
    (point,) = points_of({"kind": "grouped", "groups": 2, "in_channels": 12, "out_channels": expression})
    assert point.asked["out_channels"] == value


def test_expressions_may_stand_on_one_another_in_any_order() -> None:
    (point,) = points_of(
        {"kind": "grouped", "groups": "out_channels // 8", "out_channels": "2 * in_channels", "in_channels": "4 * batch", "batch": 2}
    )
    assert point.case is not None
    assert (point.case.problem.in_channels, point.case.problem.out_channels, point.case.problem.groups) == (8, 16, 2)


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


@pytest.mark.parametrize(("expression", "reason"), [("8 // (in_channels - 8)", "divides by 0"), ("in_channels - 9", "is -1 here, below 1")])
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
        {"kind": "pointwise", "in_channels": 16, "rows": [{"in_channels": 32}, {"batch": 2}, {"height": 3, "width": 5}]},
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
    assert [(point.asked["groups"], point.asked["in_channels"], point.asked["batch"]) for point in points] == [
        (1, 4, 1),
        (1, 4, 2),
        (2, 8, 1),
        (2, 8, 2),
    ]
    assert [(point.layer, point.repeat) for point in points] == [(None, 1), (None, 1), ("second", 3), ("second", 3)]


def test_a_size_on_the_axis_of_a_chart_becomes_the_height() -> None:
    points = points_of({"kind": "pointwise", "size": [4, 8], "x": "size"})
    assert [(point.x, point.asked["height"], point.asked["width"]) for point in points] == [("height", 4, 4), ("height", 8, 8)]


def test_a_device_that_is_not_there_is_a_reason_and_the_others_stay() -> None:
    points = without_devices(points_of({"kind": "pointwise", "device": ["cpu", "cuda"]}), ["cpu"])
    assert points[0].case is not None
    assert points[1].skip_reason == "device cuda is not present"


def test_an_index_places_a_device_and_is_no_part_of_the_case() -> None:
    suite = suite_of({"kind": "pointwise", "device": "cuda:1"})
    assert suite.placement == {"cuda": 1}
    assert ids(expand(suite)) == ids(points_of({"kind": "pointwise", "device": "cuda"}))


# What a wrong file is told


def test_all_faults_are_told_at_once_with_file_sweep_key_and_the_nearest_name(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(
        """
        schema = 1
        name = "wrong"
        titl = "x"
        [policy]
        rounds = 0
        min_samples = 2
        max_round = 3
        [problem]
        size = 8
        strid = 2
        [setting]
        device = "gpu"
        [[sweep]]
        name = "one"
        kind = ["depthwyse"]
        x = "in_chanels"
        rows = [{ groups = 2 }, { groups = [2, 4] }, { groupz = 2 }]
        [[sweep]]
        name = "two"
        in_channels = { range = [1, 2] }
        threads = 0
        layers = "missing.csv"
        """
    )
    with pytest.raises(SuiteError) as raised:
        read_suite(path)
    assert raised.value.where == str(path)
    assert sorted(raised.value.faults) == sorted(
        [
            "unknown key 'titl'. Did you mean title?",
            "[policy], rounds: 0 is not a whole number above 0 and at most 32,767",
            "[policy], min_samples: 2 is too few for an interval. Use 3 or more.",
            "[policy], unknown key 'max_round'. Did you mean max_rounds or rounds?",
            "[problem], unknown key 'strid'. Did you mean stride?",
            "[setting], device: 'gpu' is not known. Did you mean cpu?",
            "sweep \"one\", kind: 'depthwyse' is not known. Did you mean depthwise or depthwise_separable or pointwise?",
            "sweep \"one\", x: 'in_chanels' is no axis. Did you mean in_channels or out_channels?",
            'sweep "one" rows 2, groups: a row holds single values; lists belong to the sweep',
            "sweep \"one\" rows 3, unknown key 'groupz'. Did you mean groups?",
            "sweep \"two\", in_channels: {'range': [1, 2]} is neither { range = [first, last, step] } nor { powers_of_two = [first, last] }",
            "sweep \"two\", threads: '0' is neither a number of threads nor all. Write 1, 2, ... or all.",
            f'sweep "two", layers {tmp_path / "missing.csv"}: cannot be read: No such file or directory',
        ]
    )


def test_a_file_with_unquoted_text_is_told_the_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text("schema = 1\nname = broken\n")
    with pytest.raises(SuiteError, match=r"is not TOML: .*line 2"):
        read_suite(path)


def test_a_file_of_brackets_alone_is_a_fault_and_not_a_traceback(tmp_path: Path) -> None:
    path = tmp_path / "deep.toml"
    path.write_text("name = " + 5000 * "[")
    with pytest.raises(SuiteError, match=r"is nested deeper|is not TOML"):
        read_suite(path)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ({"name": "a", "sweep": [{"name": "s"}]}, "schema is not stated"),
        ({"schema": 2, "name": "a", "sweep": [{"name": "s"}]}, "schema: found 2. Input should be 1"),
        ({"schema": True, "name": "a", "sweep": [{"name": "s"}]}, "schema: True is not the number 1"),
        ({"schema": 1, "name": "a"}, "sweep is not stated"),
        ({"schema": 1, "name": "a", "sweep": []}, "sweep: is empty"),
        ({"schema": 1, "name": "a", "sweep": {"name": "s"}}, "sweep: is not a list; tables of a list are written in double brackets, [[sweep]]"),
        ({"schema": 1, "name": "a", "sweep": [3]}, "sweep 1: is not a table"),
        ({"schema": 1, "name": "a", "sweep": [{"kind": "standard"}]}, "sweep 1, name is not stated"),
    ],
)
def test_a_suite_that_lacks_its_frame_is_told_what_belongs_there(content: dict[str, Any], fault: str) -> None:
    with pytest.raises(SuiteError) as raised:
        parse_suite(content)
    assert raised.value.faults == [fault]


def test_two_sweeps_of_one_name_are_refused() -> None:
    assert faults_of({"name": "twice"}, {"name": "twice"}) == ['sweep "twice": 2 sweeps have this name; give each its own']


@pytest.mark.parametrize("repeat", [0, -1, True, "2"])
def test_a_row_is_repeated_once_at_least(repeat: object) -> None:
    assert faults_of({"rows": [{"repeat": repeat}]}) == [f'sweep "s1" rows 1, repeat: {repeat!r} is not a whole number of at least 1']


def test_a_key_of_rows_alone_is_refused_in_a_sweep() -> None:
    """Accepted and ignored, it would leave a network's sum wrong in silence."""
    (fault,) = faults_of({"repeat": 24})
    assert fault.startswith("sweep \"s1\", unknown key 'repeat'.")


@pytest.mark.parametrize(
    ("policy", "faults"),
    [
        ({"rounds": 20}, ["[policy], max_rounds: 12 is below rounds = 20. Raise max_rounds."]),
        ({"rounds": 5, "max_rounds": 4}, ["[policy], max_rounds: 4 is below rounds = 5. Raise max_rounds."]),
        ({"warm_up_s": "1"}, ["[policy], warm_up_s: '1' is not a number above 0 and at most 32,767"]),
    ],
)
def test_a_policy_that_cannot_be_is_told_each_value_once(policy: dict[str, object], faults: list[str]) -> None:
    assert faults_of({}, policy=policy) == faults


def test_two_indices_of_one_type_of_device_are_refused() -> None:
    (fault,) = faults_of({"device": ["cuda:0", "cuda:1"]})
    assert fault.startswith("sweep \"s1\", device: 'cuda:1' and cuda:0 in one suite")


# Layer lists


def test_a_layer_list_becomes_a_point_a_line_and_what_is_empty_is_left_to_the_sweep(tmp_path: Path) -> None:
    (tmp_path / "net.csv").write_text("name,repeat,in_channels,out_channels,kernel_size,groups\nstem,,3,8,3,\nbody,4,8,8,1x3,8\n")
    points = points_of({"layers": "net.csv", "x": "layer", "batch": [1, 2]}, folder=tmp_path)
    assert [(point.layer, point.repeat, point.series, point.asked["batch"]) for point in points] == [
        ("stem", 1, "standard", 1),
        ("stem", 1, "standard", 2),
        ("body", 4, "depthwise", 1),
        ("body", 4, "depthwise", 2),
    ]
    assert points[2].case is not None
    assert points[2].case.problem.kernel_size == (1, 3)


def test_a_layer_list_from_a_spreadsheet_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "net.csv").write_text("name,in_channels\nstem,3\n", encoding="utf-8-sig")
    assert [point.layer for point in points_of({"layers": "net.csv"}, folder=tmp_path)] == ["stem"]


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("name,in_chanels\na,3\nb,4\n", [", unknown column 'in_chanels'. Did you mean in_channels or out_channels?"]),
        ("name,in_channels\na,3,4\n", [", line 2: has more values than columns"]),
        (
            "name,repeat,size\na,0,3\nb,x,0\n",
            [
                ", line 2, repeat: 0 is not a whole number of at least 1",
                ", line 3, repeat: 'x' is not a whole number of at least 1",
                ", line 3, size: 0 is below 1",
            ],
        ),
        ("name,kind\na,depthwyse\n", [", line 2, kind: 'depthwyse' is not known. Did you mean depthwise or depthwise_separable or pointwise?"]),
        ("name,in_channels\n", [": holds no layers"]),
        ("", [": holds no layers"]),
    ],
)
def test_every_fault_of_a_layer_list_is_told_with_its_line_and_column(tmp_path: Path, text: str, faults: list[str]) -> None:
    (tmp_path / "net.csv").write_text(text)
    assert faults_of({"layers": "net.csv"}, folder=tmp_path) == [f'sweep "s1", layers {tmp_path / "net.csv"}{fault}' for fault in faults]


def test_a_layer_list_that_is_not_text_is_a_fault_and_not_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "net.csv").write_bytes(b"name,in_channels\n\xe9,3\n")
    (fault,) = faults_of({"layers": "net.csv"}, folder=tmp_path)
    assert "cannot be read" in fault
    (fault,) = faults_of({"layers": "net\0.csv"})
    assert "cannot be read" in fault


def test_a_chart_over_layers_needs_layers() -> None:
    told = 'sweep "s1", x: "layer" needs rows that each name their layer, or a layer list'
    assert faults_of({"x": "layer", "kind": "standard", "in_channels": 8}) == [told]
    assert faults_of({"x": "layer", "kind": "standard", "rows": [{"layer": "a", "in_channels": 8}, {"in_channels": 8}]}) == [told]


# What the command line changes


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
def test_an_axis_on_the_command_line_is_values_or_steps_both_ends_included(text: str, axis: str, values: tuple[object, ...]) -> None:
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
    suite = suite_of({"kind": ["standard", "pointwise"], "in_channels": [8, 16]}, {"kind": "depthwise", "in_channels": [8, 16]})
    points = expand(narrowed(suite, {"kind": ("pointwise",), "in_channels": (4,)}))
    assert [(point.series, point.asked["in_channels"]) for point in points] == [("pointwise", 4)]


def test_layers_are_narrowed_by_the_kind_that_their_fields_make_them() -> None:
    points = expand(narrowed(read_suite(SHIPPED / "mobilenet_v1.toml"), {"kind": ("depthwise",), "batch": (1,)}))
    assert len(points) == 13
    assert {point.series for point in points} == {"depthwise"}


def test_a_row_whose_kind_follows_from_an_axis_is_narrowed_place_by_place() -> None:
    rows = {"rows": [{"in_channels": 8, "groups": 1}, {"in_channels": 16, "groups": "in_channels"}], "kernel_size": [1, 3]}

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


def test_a_suite_of_too_many_points_can_be_narrowed() -> None:
    suite = suite_of({"kind": "standard", "in_channels": list(range(1, 2001)), "out_channels": list(range(1, 2001))})
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
    assert str(raised.value) == "-a: nothing in suite tried matches kind=depthwise\nIt has pointwise, standard."


def test_a_device_on_the_command_line_takes_the_place_of_the_files_index() -> None:
    suite = narrowed(suite_of({"kind": "pointwise", "device": "cuda:1"}), {"device": ("cuda:0", "cpu")})
    assert suite.placement == {"cuda": 0}
    assert [point.asked["device"] for point in expand(suite)] == ["cuda", "cpu"]
