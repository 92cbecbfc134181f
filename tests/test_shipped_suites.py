"""The suites that come along: they read, every point of them can be measured, and networks add up to what
their papers state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.core.errors import SuiteError
from harness.core.problem import KINDS
from harness.plan.points import distinct_cases, expand, narrowed, without_devices
from harness.plan.suite import SHIPPED, read_suite
from tests.made_suites import ids

if TYPE_CHECKING:
    from pathlib import Path

FILES = sorted(SHIPPED.glob("*.toml"))


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
        assert (
            len({point.asked[x] for point in expand(suite) if point.sweep == sweep.name and x in point.asked})
            > 1
        )


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
def test_the_layers_of_a_network_add_up_to_what_its_paper_states(
    name: str, layers: int, macs: int, cases: int
) -> None:
    points = [
        point
        for point in expand(read_suite(SHIPPED / f"{name}.toml"))
        if point.case and point.case.problem.batch == 1
    ]
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
    points = [
        point
        for point in expand(read_suite(SHIPPED / "groups.toml"))
        if point.sweep == "groups" and point.case
    ]
    assert {point.series for point in points} == {"grouped"}
    ends = {
        (point.asked["kernel_size"], point.asked["groups"]): point.case.problem.kind
        for point in points
        if point.case
    }
    assert ends["3x3", 1] == "standard"
    assert ends["1x1", 1] == "pointwise"
    assert ends["3x3", 128] == ends["1x1", 128] == "depthwise"
    assert ends["3x3", 64] == ends["1x1", 2] == "grouped"


def test_separate_convolutions_have_as_many_macs_together_as_the_grouped_one() -> None:
    points = expand(
        narrowed(
            read_suite(SHIPPED / "groups.toml"),
            {"device": ("cpu",), "memory_format": ("contiguous",), "kernel_size": ("3x3",)},
        )
    )
    grouped = {
        point.asked["groups"]: point.case.problem.macs
        for point in points
        if point.sweep == "groups" and point.case
    }
    separate = {
        point.repeat: point.repeat * point.case.problem.macs
        for point in points
        if point.sweep == "separate" and point.case
    }
    assert sorted(separate) == [2, 4, 8, 16]
    assert separate == {groups: grouped[groups] for groups in separate}


def test_the_ten_layers_of_guideline_g2_have_equal_macs_within_two_per_cent() -> None:
    points = [
        point
        for point in expand(read_suite(SHIPPED / "shufflenet_g2.toml"))
        if point.case and point.case.problem.batch == 1
    ]
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
