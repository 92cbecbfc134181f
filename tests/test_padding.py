"""Uneven padding from a suite to a report: what a user states, and is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import load_results
from harness.core.case import Case
from tests.conftest import Convscope, Stub
from tests.made_suites import points_of

SUITE = """
schema = 1
name = "padded"
[problem]
in_channels = 8
size = 14
stride = 2
[[sweep]]
name = "padding"
kind = "depthwise"
x = "padding"
padding = ["same", 0, "0+1x1"]
"""


@pytest.fixture
def padded(tmp_path: Path) -> Path:
    path = tmp_path / "padded.toml"
    path.write_text(SUITE, encoding="utf-8")
    return path


def test_a_run_keeps_uneven_padding_and_its_report_says_who_pads(
    convscope: Convscope, stub: Stub, padded: Path, tmp_path: Path
) -> None:
    ended = convscope("run", padded, "--python", stub(), "--json")
    assert ended.code == 0, ended.err
    summary = load_results(tmp_path / ended.json["path"]).summary
    assert sorted(summary["padding"]) == ["0+1x0+1", "0+1x1", "0x0"]
    for row in summary.to_dict("records"):
        assert Case.from_row(row).case_id == row["case_id"]
    convscope("report", "last")
    (page,) = (tmp_path / "reports").glob("*.html")
    text = page.read_text(encoding="utf-8")
    assert "2 of 3 cases pad unevenly (0+1: 0 before, 1 after): torch.nn.functional.pad copies" in text
    for name in ("padding 0+1", "padding 0"):
        assert name in text
    uneven = str(summary.loc[summary["padding"] == "0+1x0+1", "case_id"].iloc[0])
    assert "0 above, 1 below, 0 left, 1 right" in convscope("explain", uneven).out
    assert "torch.nn.ZeroPad2d((0, 1, 0, 1))" in convscope("repro", uneven).out


@pytest.mark.parametrize("padding", ["0+1", "0+1x2", "3x1+2", "same"])
def test_what_is_explained_says_how_to_state_it(convscope: Convscope, padding: str) -> None:
    asked = ["explain", "standard", "--in", "8", "--stride", "2", "--padding", padding]
    explained = convscope(*asked)
    assert "torch.nn.functional.pad copies" in " ".join(explained.out.split())
    *following, _ = explained.out.strip().splitlines()[-1].split()[3:]
    assert convscope("explain", *following, "--json").json == convscope(*asked, "--json").json


def test_a_padding_that_cannot_be_is_told_how_to_write_it(convscope: Convscope) -> None:
    ended = convscope("explain", "standard", "--padding", "0+")
    assert ended.code == 2
    assert "0+1 for 0 before and 1 after" in ended.err


def test_an_axis_of_padding_is_one_point_a_value_and_the_same_text_however_it_is_written() -> None:
    points = points_of({"kind": "standard", "padding": ["0+1", "0+1x0+1", 1, "1+1"]})
    assert [point.asked["padding"] for point in points] == ["0+1x0+1", "0+1x0+1", "1x1", "1x1"]
    assert len({point.case.case_id for point in points if point.case}) == 2
