"""What a wrong file is told, and a layer list that is read beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from harness.core.errors import SuiteError
from harness.plan.suite import parse_suite, read_suite
from tests.made_suites import faults_of, points_of

if TYPE_CHECKING:
    from pathlib import Path


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
            "[setting], device: 'gpu' is not known. Did you mean xpu or npu or cpu?",
            (
                "sweep \"one\", kind: 'depthwyse' is not known. "
                "Did you mean depthwise or depthwise_separable or pointwise?"
            ),
            "sweep \"one\", x: 'in_chanels' is no axis. Did you mean in_channels or out_channels?",
            'sweep "one" rows 2, groups: a row holds single values; lists belong to the sweep',
            "sweep \"one\" rows 3, unknown key 'groupz'. Did you mean groups?",
            (
                "sweep \"two\", in_channels: {'range': [1, 2]} is neither { range = [first, last, step] } "
                "nor { powers_of_two = [first, last] }"
            ),
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
        (
            {"schema": 1, "name": "a", "sweep": {"name": "s"}},
            "sweep: is not a list; tables of a list are written in double brackets, [[sweep]]",
        ),
        ({"schema": 1, "name": "a", "sweep": [3]}, "sweep 1: is not a table"),
        ({"schema": 1, "name": "a", "sweep": [{"kind": "standard"}]}, "sweep 1, name is not stated"),
    ],
)
def test_a_suite_that_lacks_its_frame_is_told_what_belongs_there(content: dict[str, Any], fault: str) -> None:
    with pytest.raises(SuiteError) as raised:
        parse_suite(content)
    assert raised.value.faults == [fault]


def test_two_sweeps_of_one_name_are_refused() -> None:
    assert faults_of({"name": "twice"}, {"name": "twice"}) == [
        'sweep "twice": 2 sweeps have this name; give each its own'
    ]


@pytest.mark.parametrize("repeat", [0, -1, True, "2"])
def test_a_row_is_repeated_once_at_least(repeat: object) -> None:
    assert faults_of({"rows": [{"repeat": repeat}]}) == [
        f'sweep "s1" rows 1, repeat: {repeat!r} is not a whole number of at least 1'
    ]


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
def test_a_policy_that_cannot_be_is_told_each_value_once(
    policy: dict[str, object], faults: list[str]
) -> None:
    assert faults_of({}, policy=policy) == faults


def test_two_indices_of_one_type_of_device_are_refused() -> None:
    (fault,) = faults_of({"device": ["cuda:0", "cuda:1"]})
    assert fault.startswith("sweep \"s1\", device: 'cuda:1' and cuda:0 in one suite")


def test_a_layer_list_becomes_a_point_a_line_and_what_is_empty_is_left_to_the_sweep(tmp_path: Path) -> None:
    (tmp_path / "net.csv").write_text(
        "name,repeat,in_channels,out_channels,kernel_size,groups\nstem,,3,8,3,\nbody,4,8,8,1x3,8\n"
    )
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
        (
            "name,in_chanels\na,3\nb,4\n",
            [", unknown column 'in_chanels'. Did you mean in_channels or out_channels?"],
        ),
        ("name,in_channels\na,3,4\n", [", line 2: has more values than columns"]),
        (
            "name,repeat,size\na,0,3\nb,x,0\n",
            [
                ", line 2, repeat: 0 is not a whole number of at least 1",
                ", line 3, repeat: 'x' is not a whole number of at least 1",
                ", line 3, size: 0 is below 1",
            ],
        ),
        (
            "name,kind\na,depthwyse\n",
            [
                (
                    ", line 2, kind: 'depthwyse' is not known. "
                    "Did you mean depthwise or depthwise_separable or pointwise?"
                )
            ],
        ),
        ("name,in_channels\n", [": holds no layers"]),
        ("", [": holds no layers"]),
    ],
)
def test_every_fault_of_a_layer_list_is_told_with_its_line_and_column(
    tmp_path: Path, text: str, faults: list[str]
) -> None:
    (tmp_path / "net.csv").write_text(text)
    assert faults_of({"layers": "net.csv"}, folder=tmp_path) == [
        f'sweep "s1", layers {tmp_path / "net.csv"}{fault}' for fault in faults
    ]


def test_a_layer_list_that_is_not_text_is_a_fault_and_not_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "net.csv").write_bytes(b"name,in_channels\n\xe9,3\n")
    (fault,) = faults_of({"layers": "net.csv"}, folder=tmp_path)
    assert "cannot be read" in fault
    (fault,) = faults_of({"layers": "net\0.csv"})
    assert "cannot be read" in fault


def test_a_chart_over_layers_needs_layers() -> None:
    told = 'sweep "s1", x: "layer" needs rows that each name their layer, or a layer list'
    assert faults_of({"x": "layer", "kind": "standard", "in_channels": 8}) == [told]
    assert faults_of(
        {"x": "layer", "kind": "standard", "rows": [{"layer": "a", "in_channels": 8}, {"in_channels": 8}]}
    ) == [told]
