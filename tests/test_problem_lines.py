"""Convolutions as other tools write them, and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from harness.core.case import Case, Setting
from harness.core.problem import FIELDS, Problem
from harness.plan.points import expand
from harness.plan.problem_lines import read_problems
from harness.plan.suite import parse_suite
from harness.tasks.repro import benchdnn
from tests import strategies
from tests.conftest import Convscope

VERBOSE = (
    "onednn_verbose,v1,primitive,exec,cpu,convolution,jit:avx512_core,forward_inference,"
    "src:f32::blocked:acdb::f0 wei:f32:a:blocked:Acdb16a::f0 {bias} dst:f32::blocked:acdb::f0,"
    "attr-scratchpad:user,alg:convolution_direct,mb1_ic3oc64_ih224oh112kh7sh2dh0ph3_iw224ow112kw7sw2dw0pw3,0.7"
)
RESNET_STEM: dict[str, Any] = {
    "batch": 1,
    "in_channels": 3,
    "out_channels": 64,
    "height": 224,
    "width": 224,
    "kernel_size": "7x7",
    "stride": "2x2",
    "padding": "3x3",
    "dilation": "1x1",
    "groups": 1,
    "bias": 0,
}


def row_of(text: str) -> dict[str, Any]:
    """The one convolution of a text, without its name and how often it runs."""
    found = read_problems(text)
    assert not found.left, found.left
    (row,) = found.rows
    return {name: value for name, value in row.items() if name in FIELDS}


@limits(max_examples=300)
@given(strategies.problems())
def test_a_word_of_benchdnn_leads_back_to_its_problem(problem: Problem) -> None:
    """Of uneven padding it says what lies before, and of what lies behind no more than the output does."""
    (word,) = benchdnn(Case(problem.parts[0], Setting()))
    row = row_of(word)
    content = {
        "schema": 1,
        "name": "one",
        "sweep": [{"name": "one", "rows": [row | {"bias": bool(row["bias"])}]}],
    }

    (point,) = expand(parse_suite(content))
    assert point.case is not None
    found, asked = point.case.problem, problem.parts[0]
    if len(asked.padding) == 2:
        assert found == asked
    assert benchdnn(Case(found, Setting())) == [word]
    assert (found.output_shape, found.macs) == (asked.output_shape, asked.macs)
    assert found.pads[::2] == asked.pads[::2], "left and top"


@pytest.mark.parametrize(
    ("text", "row"),
    [
        (VERBOSE.format(bias="bia:undef::undef:::"), RESNET_STEM),
        (VERBOSE.format(bias="bia:f32:a:blocked:a::f0"), RESNET_STEM | {"bias": 1}),
        ("mb1ic3ih224oc64oh112kh7sh2ph3", RESNET_STEM),
        ('--conv --dir=FWD_B mb1_ic3ih224oc64kh7sh2ph3n"stem"', RESNET_STEM | {"bias": 1}),
        ("mb1ic3ih224oc64oh112kh7sh2", RESNET_STEM | {"padding": "2+3x2+3"}),
        (
            "MIOpenDriver conv -n 1 -c 3 -H 224 -W 224 -k 64 -y 7 -x 7 -p 9 -q 9 -u 2 -v 2 -z same",
            RESNET_STEM | {"padding": "2+3x2+3"},
        ),
        (
            "MIOpenDriver conv -n 1 -c 3 -H 224 -W 224 -k 64 -y 7 -x 7 -p 9 -q 9 -u 2 -v 2 --pad_mode valid",
            RESNET_STEM | {"padding": "0x0"},
        ),
        (
            "./bin/MIOpenDriver conv -n 1 -c 3 -H 224 -W 224 -k 64 -y 7 -x 7 -p 3 -q 3 -u 2 -v 2 -F 1",
            RESNET_STEM,
        ),
        (
            "MIOpenDriver convfp16 --batchsize 1 --in_channels 3 --in_h 224 --in_w 224 "
            "--out_channels 64 --fil_h 7 --fil_w 7 --pad_h 3 --pad_w 3 "
            "--conv_stride_h 2 --conv_stride_w 2 -F 0",
            RESNET_STEM,
        ),
    ],
)
def test_one_line_is_one_convolution(text: str, row: dict[str, Any]) -> None:
    assert row_of(text) == row


def test_what_benchdnn_leaves_out_follows_from_the_rest() -> None:
    """A depthwise layer with a kernel of 87 that is dilated by 2, and one pixel wide."""
    row = row_of("g512mb1ic512oc512ih64oh64kh87dh1ph86iw1ow1kw1")
    assert (row["kernel_size"], row["dilation"], row["padding"]) == ("87x1", "2x1", "86x0")
    assert row_of("ic8ih14oc8kh3ph1")["batch"] == 2, "its own default"


@pytest.mark.parametrize(
    ("word", "size", "padding"),
    [
        ("g128ic128ih56oc128oh27kh4sh2ph0", "56x56", "0x0"),
        ("g128ic128ih56oc128oh29kh4sh2ph1", "56x56", "1+3x1+3"),
        ("g512ih64oh64kh87dh1ph86iw1ow1kw1", "64x1", "86x0"),
        ("ic64ih2560oc3oh2560kh9ph4", "2560x2560", "4x4"),
        ("ic64ih2560oc3oh2560kh9ph4dh1", "2560x2560", "4+12x4+12"),
    ],
)
def test_words_that_people_sent(word: str, size: str, padding: str) -> None:
    """A kernel of 4 with a stride of 2 pads 1 before and 3 behind, where it gives 29 pixels; one of 9 that is
    dilated by 2, 4 and 12 where it gives as many as go in."""
    row = row_of(word)
    assert (f"{row['height']}x{row['width']}", row["padding"]) == (size, padding)


def test_a_layer_that_a_model_runs_twice_is_one_with_its_macs_and_no_bias_in_them() -> None:
    """3 to 32 channels, 7x7, stride 2, padding 3 at 1440 px, as an owner had it: 720 * 720 * 32 * 3 * 49."""
    found = read_problems("--dir=FWD_B\n" + "mb1ic3ih1440oc32oh720kh7sh2ph3\n" * 2)
    (row,) = found.rows
    assert (row["repeat"], row["bias"]) == (2, 1)
    problem = Problem("standard", **{name: row[name] for name in FIELDS if name != "bias"}, bias=True)
    assert problem.macs == 2_438_553_600


def test_equal_lines_of_a_log_are_one_layer_with_how_often_it_runs() -> None:
    line = VERBOSE.format(bias="bia:undef::undef:::")
    log = "\n".join(
        ["onednn_verbose,v1,info,cpu,runtime:OpenMP", line, line.replace(",exec,", ",create:cache_hit,")]
    )
    reorder = "onednn_verbose,v1,primitive,exec,cpu,reorder,jit:uni,undef,src:f32 dst:f32,,,1x64x56x56,0.01"
    found = read_problems(
        "\n".join([log, line, reorder, reorder, line.replace("forward_inference", "backward_data")])
    )
    assert [row["repeat"] for row in found.rows] == [2]
    assert found.left == [
        {"name": "reorder", "why": "is no convolution (2 times)"},
        {"name": "convolution", "why": "the backward pass is not measured alone"},
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("ic8id4ih14oc8kh3", "has three dimensions"),
        ("oc8ih14kh3", "no channels"),
        ("--dir=BWD_D mb1ic8ih14oc8kh3ph1", "backward"),
        ("MIOpenDriver convint8 -n 1", "is no convolution in floating point"),
        ("MIOpenDriver conv -m trans -n 1", "is transposed"),
        ("MIOpenDriver conv -n many", "is no number"),
        ("MIOpenDriver conv -n '1", "quotation mark"),
        ("ic8ih2oc8kh9", "does not fit"),
        ("ic8ih14oc8oh3kh3ph1", "to which no padding leads"),
        ("hello world", "neither a word"),
        ("{}", "is no trace"),
        ("{]", "is no trace"),
    ],
)
def test_what_is_not_measured_is_left_with_its_reason(text: str, why: str) -> None:
    found = read_problems(text)
    assert not found.rows
    assert why in found.left[0]["why"]


@given(st.text() | st.from_regex(r"(onednn_verbose,|MIOpenDriver conv |--dir=|[{\[]|ic8).{0,40}"))
def test_text_that_is_anything_raises_nothing(text: str) -> None:
    read_problems(text)


@pytest.mark.parametrize(
    "line",
    [
        "onednn_verbose,v1,primitive,exec,cpu",
        "MIOpenDriver conv -F fwd",
        "ic8ih14oh14oc8kh3sh0",
        '[{"name": "aten::conv2d", "ts": 0, "args": {"Input Dims": [[1]], "Concrete Inputs": [1]}}]',
    ],
)
def test_a_line_that_is_torn_or_lies_is_left(line: str) -> None:
    assert len(read_problems(line).left) == 1


def test_a_batch_files_direction_holds_for_the_lines_after_it() -> None:
    found = read_problems("--dir=FWD_B\nic8ih14oc8kh3ph1\n--dir=BWD_D\n--batch=x\nic8ih14oc8kh3ph1")
    assert [row["bias"] for row in found.rows] == [1]
    assert "backward" in found.left[0]["why"]


def event(name: str, began: float, inputs: list[Any], values: list[str]) -> dict[str, Any]:
    return {
        "name": name,
        "ts": began,
        "dur": 10.0,
        "pid": 1,
        "tid": 1,
        "args": {"Input Dims": inputs, "Concrete Inputs": values},
    }


def test_a_profilers_trace_is_its_outermost_convolutions() -> None:
    shapes = [[1, 3, 224, 224], [64, 3, 7, 7], [], [], [], [], []]
    values = ["", "", "", "[2, 2]", "[3, 3]", "[1, 1]", "1"]
    inner = event("aten::convolution", 1.0, shapes, [*values[:6], "False", "[0, 0]", "1"])
    events = [event("aten::conv2d", 0.0, shapes, values), inner, event("aten::relu", 20.0, [], [])]
    assert row_of(json.dumps({"traceEvents": events})) == RESNET_STEM
    padded = event("aten::conv2d", 0.0, shapes, [*values[:4], "same", *values[5:]])
    found = read_problems(json.dumps([padded, inner]))
    assert [row["padding"] for row in found.rows] == ["3x3"], "the one within has the numbers"
    (left,) = read_problems(json.dumps([{"name": "aten::conv2d", "ts": 0}])).left
    assert "record_shapes=True" in left["why"]


def test_the_command_makes_a_layer_list_that_a_suite_reads(convscope: Convscope, tmp_path: Path) -> None:
    log = tmp_path / "verbose.log"
    log.write_text(f"{VERBOSE.format(bias='bia:undef::undef:::')}\nhello\n", encoding="utf-8")
    ended = convscope("import", log, "--out", "layers.csv")
    assert ended.code == 0, ended.err
    assert "hello: neither a word" in ended.err
    suite = tmp_path / "net.toml"
    suite.write_text(
        'schema = 1\nname = "net"\n[[sweep]]\nname = "net"\nlayers = "layers.csv"\n', encoding="utf-8"
    )
    assert "1 case" in convscope("plan", suite).out
    assert convscope("import", log, "--json").json["layers"][0]["kernel_size"] == "7x7"
    nothing = tmp_path / "nothing"
    nothing.write_text("hello\n", encoding="utf-8")
    assert convscope("import", nothing).code == 2
    assert convscope("import", tmp_path / "absent").code == 2
