"""Networks before and after a replacement: what is replaced, what is left, and the sums, on a stub machine
whose costs are known."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core.errors import ProblemError, UsageError
from harness.core.problem import Problem
from harness.tasks.whatif import parse_replacement, replacement, suite_of
from tests.conftest import Convscope, Stub

LAYERS = """name,repeat,in_channels,out_channels,height,width,kernel_size,stride,padding,groups
stem,1,3,32,32,32,3,2,1,1
body,5,64,64,16,16,3,1,1,1
mixing,5,64,64,16,16,1,1,0,1
"""


@pytest.fixture
def layers(tmp_path: Path) -> Path:
    path = tmp_path / "net.csv"
    path.write_text(LAYERS, encoding="utf-8")
    return path


def test_the_sums_count_every_layer_as_often_as_it_runs(
    convscope: Convscope, stub: Stub, layers: Path
) -> None:
    python = stub(
        {"match": {"kind": "standard"}, "latency_s": 4e-3, "spread": 0},
        {"match": {"kind": "pointwise"}, "latency_s": 1e-3, "spread": 0},
        {"match": {"kind": "depthwise_separable"}, "latency_s": 2e-3, "spread": 0},
    )
    ended = convscope(
        "whatif", layers, "--replace", "standard=depthwise_separable", "--python", python, "--json"
    )
    assert ended.code == 0, ended.err
    before, after = ended.json["networks"]
    assert before["whole"]["executed"] == after["whole"]["executed"] == 11
    assert before["whole"]["latency_s"] == pytest.approx(6 * 4e-3 + 5 * 1e-3, rel=0.01)
    assert after["whole"]["latency_s"] == pytest.approx(6 * 2e-3 + 5 * 1e-3, rel=0.01)
    body = Problem("standard", in_channels=64, size=16)
    stem = Problem("standard", in_channels=3, out_channels=32, size=32, stride=2, padding=1)
    mixing = Problem("pointwise", in_channels=64, size=16)
    assert before["whole"]["macs"] == stem.macs + 5 * body.macs + 5 * mixing.macs
    assert {kind["kind"] for kind in after["kinds"]} == {"pointwise", "depthwise_separable"}


def test_the_answer_says_what_fewer_macs_bought(convscope: Convscope, stub: Stub, layers: Path) -> None:
    ended = convscope(
        "whatif", layers, "--replace", "standard=grouped:8", "--python", stub({"spread": 0}), "--quick"
    )
    assert ended.code == 0, ended.err
    assert "unchanged: stem" in ended.out
    assert "100 % of the total layer time" in ended.out
    assert convscope("report", "last").code == 0


def test_a_network_with_a_layer_that_has_no_figure_is_told_and_not_compared(
    convscope: Convscope, stub: Stub, layers: Path
) -> None:
    python = stub({"match": {"kind": "pointwise"}, "fault": "error"}, {"spread": 0})
    ended = convscope(
        "whatif", layers, "--replace", "standard=depthwise_separable", "--python", python, "--quick"
    )
    assert ended.code == 4
    assert "not included, because they have no latency: mixing (pointwise)" in ended.out
    assert "cannot be compared" in ended.out


def test_a_replaced_layer_keeps_its_shape(layers: Path) -> None:
    suite, kept = suite_of(layers, {"standard": ("depthwise_separable", None)}, {})
    assert [sweep.name for sweep in suite.sweeps] == ["before", "after"]
    assert kept == []
    standard = Problem("standard", in_channels=64, out_channels=128, size=28, stride=2, kernel_size=5)
    separable = replacement(standard, "depthwise_separable", None)
    assert (separable.output_shape, separable.kernel_size) == (standard.output_shape, (5, 5))
    with pytest.raises(ProblemError):
        replacement(Problem("standard", in_channels=3, out_channels=64, size=8), "depthwise", None)


@pytest.mark.parametrize(
    "text",
    ["standard", "standard=round", "depthwise=grouped", "standard=pointwise:3", "=", "standard=grouped:x"],
)
def test_what_is_no_replacement_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_replacement(text)


def test_a_replacement_of_nothing_is_refused(convscope: Convscope, layers: Path) -> None:
    ended = convscope("whatif", layers, "--replace", "depthwise=pointwise")
    assert ended.code == 2
    assert "there are pointwise, standard" in ended.err
    ended = convscope(
        "whatif",
        layers,
        "--replace",
        "standard=depthwise_separable",
        "-a",
        "memory_format=contiguous,channels_last",
    )
    assert ended.code == 2
    assert "several values" in ended.err
