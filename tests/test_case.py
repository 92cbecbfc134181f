"""Identity: ids that must never change, and what they are made of."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given

from harness.core.case import DEFAULTS, Case, Setting
from harness.core.columns import case_columns
from harness.core.errors import SettingError
from harness.core.problem import Problem
from tests.strategies import problems, settings

DEPTHWISE = Problem("depthwise", in_channels=128, size=56)


def test_the_ids_of_the_documentation() -> None:
    case = Case(DEPTHWISE, Setting(memory_format="channels_last"))
    assert case.descriptor == (
        "convscope/1|kind=depthwise;batch=1;in_channels=128;out_channels=128;height=56;width=56;kernel_size=3x3;stride=1x1;padding=1x1;"
        "dilation=1x1;groups=128;bias=0|device=cpu;dtype=float32;memory_format=channels_last"
    )
    assert case.problem_id == "cc8b08bc2f1f4241"
    assert case.case_id == "ca9784bda60ccd53"


def test_the_frozen_defaults_change_no_id() -> None:
    """Baselines stored by an older version must go on matching."""
    frozen = {
        "allocator": "retained",
        "autotune": False,
        "cache": "hot",
        "computation": "inference",
        "fp32_precision": "ieee",
        "implementation": "torch",
        "memory_format": "contiguous",
        "mode": "eager",
        "threads": "all",
    }
    assert {name: DEFAULTS[name] for name in frozen} == frozen
    assert Case(DEPTHWISE, Setting(**frozen)).descriptor == Case(DEPTHWISE, Setting()).descriptor  # type: ignore[arg-type]


def test_what_differs_from_its_default_is_written_by_name() -> None:
    case = Case(DEPTHWISE, Setting(threads="2", allocator="default", autotune=True, dtype="bfloat16"))
    assert case.setting_part == "device=cpu;dtype=bfloat16;allocator=default;autotune=1;threads=2"


@given(problems(), settings)
def test_a_case_survives_the_pipe_and_the_record(problem: Problem, setting: Setting) -> None:
    case = Case(problem, setting)
    assert Case.from_message(case.as_message()) == case
    assert Case.from_row(case_columns(case)).case_id == case.case_id


@given(problems(), settings)
def test_two_cases_share_an_id_only_where_they_are_equal(problem: Problem, setting: Setting) -> None:
    case = Case(problem, setting)
    other = Case(problem, replace(setting, threads="3"))
    assert case.case_id != other.case_id
    assert case.problem_id == other.problem_id


def test_uneven_padding_is_written_by_its_sides_and_even_padding_as_ever() -> None:
    uneven = Case(Problem("depthwise", in_channels=128, size=56, padding="0+1x2"), Setting())
    assert ";padding=0+1x2;" in uneven.descriptor
    assert uneven.case_id == "a6bb195d484a7188"
    assert uneven.label == "depthwise 128->128 k3 p0+1x2 1x128x56x56 cpu float32"
    row = case_columns(uneven)
    assert (row["padding_height"], row["padding_width"]) == (0, 2)
    even = replace(uneven, problem=Problem("depthwise", in_channels=128, size=56, padding=(1, 1, 1, 1)))
    assert even == Case(DEPTHWISE, Setting())


def test_training_counts_three_passes_and_macs_stay_those_of_the_forward_pass() -> None:
    row = case_columns(Case(DEPTHWISE, Setting(computation="training", dtype="float16")))
    assert row["macs"] == DEPTHWISE.macs
    assert row["macs_executed"] == 3 * DEPTHWISE.macs
    assert row["flops"] == 6 * DEPTHWISE.macs
    assert row["minimum_bytes"] == 3 * DEPTHWISE.minimum_bytes(2)


def test_a_label_leaves_out_what_is_default() -> None:
    assert (
        Case(DEPTHWISE, Setting(memory_format="channels_last")).label
        == "depthwise 128->128 k3 1x128x56x56 cpu float32 channels_last"
    )
    grouped = Problem(
        "grouped", in_channels=8, size=9, groups=2, stride=2, kernel_size="3x5", padding=0, bias=True
    )
    assert (
        Case(grouped, Setting(threads="1", allocator="default")).label
        == "grouped 8->8 k3x5 s2 g2 p0 bias 1x8x9x9 cpu float32 threads=1 allocator=default"
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"dtype": "float31"},
        {"threads": "0"},
        {"threads": "some"},
        {"implementation": "mykernels:"},
        {"device": "cuda:1"},
    ],
)
def test_a_setting_that_is_not_known_names_its_field(wrong: dict[str, str]) -> None:
    with pytest.raises(SettingError) as caught:
        Setting(**wrong)  # type: ignore[arg-type]
    assert [caught.value.field] == list(wrong)
