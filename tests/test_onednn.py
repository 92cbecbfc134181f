"""oneDNN's verbose lines, as text: what is read from them, and what each reorder is of."""

from __future__ import annotations

import pytest

from harness.core.problem import Problem
from harness.worker import onednn

# as torch 2.13's oneDNN prints them (AVX-512), shortened
GROUPED = """\
onednn_verbose,v1,info,oneDNN v3.10.2
onednn_verbose,v1,primitive,info,template:operation,engine,primitive,implementation,prop_kind,memory_descriptors,attributes,auxiliary,problem_desc,exec_time
onednn_verbose,v1,primitive,exec,cpu,reorder,jit:uni,undef,src:f32::blocked:abcd::f0 dst:f32::blocked:acdb::f0,attr-scratchpad:user,,1x64x56x56,0.25
onednn_verbose,v1,primitive,exec,cpu,reorder,jit:uni,undef,src:f32::blocked:abcde::f0 dst:f32::blocked:aBdec16b::f0,,,4x16x16x3x3,0.05
onednn_verbose,v1,primitive,exec,cpu,convolution,brgconv:avx512_core,forward_training,src:f32:a:blocked:acdb::f0 wei:f32:a:blocked:aBdec16b::f0 dst:f32:a:blocked:acdb::f0,attr-scratchpad:user,alg:convolution_direct,g4mb1_ic64oc64_ih56oh56kh3sh1dh0ph1_iw56ow56kw3sw1dw0pw1,1.5
onednn_verbose,v1,primitive,exec,cpu,reorder,jit:uni,undef,src:f32::blocked:acdb::f0 dst:f32::blocked:abcd::f0,,,1x64x56x56,0.125
"""  # noqa: E501
# the older form of the same library
BLOCKED = """\
onednn_verbose,exec,cpu,reorder,jit:blk,undef,src_f32::blocked:abcd:f0 dst_f32::blocked:aBcd8b:f0,,,1x128x40x30,0.5
onednn_verbose,exec,cpu,reorder,jit:blk,undef,src_f32::blocked:abcd:f0 dst_f32::blocked:ABcd8b8a:f0,,,128x128x1x1,0.25
onednn_verbose,exec,cpu,convolution,jit_1x1:avx2,forward_training,src_f32::blocked:aBcd8b:f0 wei_f32::blocked:ABcd8b8a:f0,,alg:convolution_direct,mb1_ic128oc128_ih40oh40kh1sh1dh0ph0,2.0
onednn_verbose,exec,cpu,reorder,jit:blk,undef,src_f32::blocked:aBcd8b:f0 dst_f32::blocked:abcd:f0,,,1x128x40x30,1.0
"""  # noqa: E501


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (GROUPED, Problem("grouped", in_channels=64, groups=4, size=56)),
        (BLOCKED, Problem("pointwise", in_channels=128, height=40, width=30)),
    ],
)
def test_every_reorder_has_its_role(text: str, problem: Problem) -> None:
    lines = onednn.parse(text)
    assert onednn.roles(lines, problem.weight_shapes) == [
        "reorder_source",
        "reorder_weights",
        "convolution",
        "reorder_destination",
    ]


def test_a_reorder_between_two_convolutions_is_told_by_its_formats() -> None:
    """Depthwise separable: the first one's output goes back to torch's format, then into oneDNN's again."""
    expected = ["reorder_source", "reorder_weights", "convolution", "reorder_destination"] * 2
    assert onednn.roles(onednn.parse(BLOCKED + BLOCKED), [(128, 128, 1, 1)]) == expected
    assert onednn.roles(onednn.parse(GROUPED + GROUPED), [(64, 16, 3, 3)]) == expected


def test_a_call_has_its_primitives_with_the_figure_over_calls() -> None:
    problem = Problem("grouped", in_channels=64, groups=4, size=56)
    lines = onednn.parse(GROUPED + GROUPED.replace(",1.5\n", ",9.0\n") + GROUPED)
    found = {one["role"]: one for one in onednn.of_one_call(lines, [3], problem)}
    assert found["convolution"] == {
        "name": "brgconv:avx512_core",
        "role": "convolution",
        "calls": 1,
        "time_s": pytest.approx(1.5e-3),
    }
    assert sum(one["time_s"] for one in found.values()) == pytest.approx(1.925e-3)


def test_blocks_of_unequal_length_count_alike() -> None:
    """A block of one slow call and a block of two quick ones: the mean of their figures."""
    problem = Problem("grouped", in_channels=64, groups=4, size=56)
    lines = onednn.parse(GROUPED.replace(",1.5\n", ",2.5\n") + GROUPED + GROUPED)
    found = {one["role"]: one["time_s"] for one in onednn.of_one_call(lines, [1, 2], problem)}
    assert found["convolution"] == pytest.approx(2e-3)


def test_torn_lines_make_no_figures() -> None:
    torn = GROUPED[: GROUPED.rindex(",")] + ",0.1.\n"
    lines = onednn.parse(torn + GROUPED)
    assert len(lines) == 7
    assert onednn.of_one_call(lines, [1, 1], Problem("grouped", in_channels=64, groups=4, size=56)) == []


def test_other_output_is_no_primitive() -> None:
    assert onednn.parse("hello, exec, world\n\nonednn_verbose,v1,info,cpu,isa:Intel AVX-512\n") == []
