"""What the two sides of an A/B may differ by, end to end against stub workers: settings, counts, kinds, and
what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import harness
from harness import Side, load_results
from harness.core.errors import UsageError
from harness.output.verdict_text import as_json
from tests.ab_runs import STEADY, ab, visits
from tests.conftest import Convscope, Stub

pytestmark = pytest.mark.usefixtures("own_folder")


CHANNELS_LAST = {"match": {"memory_format": "channels_last"}}


def sides(
    suite: Path, python: Path, base: dict[str, Any], head: dict[str, Any], **more: Any
) -> dict[str, Any]:
    """One interpreter on both sides, which differ by these axes: the comparison as JSON."""
    run = harness.ab(suite, *(Side(str(python), axes=axes) for axes in (base, head)), **more)
    return as_json(harness.compare(run.runs[0]["run_id"]))


def test_two_settings_of_one_interpreter_are_compared_case_by_case(
    suite: Path, stub: Stub, tmp_path: Path
) -> None:
    python = stub(CHANNELS_LAST | {"latency_s": 0.8e-3} | STEADY, STEADY)
    found = sides(suite, python, {}, {"memory_format": "channels_last", "threads": "1"})
    assert found["head"] == "head (memory_format=channels_last, threads=1)"
    latencies = [row for row in found["cases"] if row["metric"] == "latency_s"]
    assert [row["verdict"] for row in latencies] == ["improved"] * 6
    assert not any("channels_last" in row["label"] for row in latencies), "of both sides, not of one"
    rows = visits(tmp_path)
    assert rows.groupby("arm")["memory_format"].agg(set).to_dict() == {
        "base": {"contiguous"},
        "head": {"channels_last"},
    }
    assert (rows.groupby("pair")["asked_id"].nunique() == 1).all()
    assert (rows.groupby("pair")["case_id"].nunique() == 2).all()


def test_another_group_count_or_kind_is_compared_though_it_computes_less(
    suite: Path, stub: Stub, tmp_path: Path
) -> None:
    python = stub({"match": {"groups": 16}, "latency_s": 2e-3} | STEADY, STEADY)
    found = sides(suite, python, {}, {"groups": 16})
    assert found["counts"] == {"regressed": 2, "same": 2}, "latency and memory of both with 16 channels"
    assert {row["label"].split()[0] for row in found["cases"]} == {"standard", "pointwise"}
    assert any("4 of 6 points were skipped (3: head, groups:" in note for note in found["notes"])
    skipped = load_results("last").points.dropna(subset=["skip_reason"])
    assert skipped["skip_reason"].value_counts().to_dict() == {
        "head, groups: 16 does not divide in_channels = 8": 3,
        "all sides would run the same": 1,
    }
    assert set(visits(tmp_path).query("arm == 'head'")["kind"]) == {"depthwise"}


def test_what_follows_from_an_axis_follows_on_each_side(stub: Stub, tmp_path: Path) -> None:
    """out_channels that are as many as go in, a number of groups that is an expression."""
    python = stub(STEADY)
    axes = {"kind": ("depthwise",), "in_channels": (8,), "size": (14,)}
    harness.ab("", Side(str(python)), Side(str(python), axes={"in_channels": 16}), axes=axes, quick=True)
    assert visits(tmp_path).groupby("arm")["out_channels"].agg(set).to_dict() == {"base": {8}, "head": {16}}
    axes |= {"kind": ("standard",)}
    groups = Side(str(python), axes={"groups": "in_channels // 4"})
    harness.ab("", Side(str(python)), groups, axes=axes, quick=True)
    assert set(visits(tmp_path).query("arm == 'head'")["groups"]) == {2}


def test_axes_that_both_sides_state_need_not_be_stated_besides(stub: Stub, tmp_path: Path) -> None:
    python = str(stub(STEADY))
    kinds = [Side(python, axes={"kind": kind}) for kind in ("standard", "depthwise_separable")]
    harness.ab("", *kinds, axes={"in_channels": (8,), "size": (14,)}, quick=True)
    assert visits(tmp_path).groupby("arm")["kind"].agg(set).to_dict() == {
        "base": {"standard"},
        "head": {"depthwise_separable"},
    }


def test_cases_that_two_interpreters_run_alike_are_compared(suite: Path, arms: Any, tmp_path: Path) -> None:
    base, head = arms()
    with suite.open("a", encoding="utf-8") as file:
        file.write('memory_format = ["contiguous", "channels_last"]\n')
    one = {"kind": ("depthwise",), "in_channels": (8,), "memory_format": ("channels_last",)}
    sides = Side(str(base)), Side(str(head), axes={"memory_format": "channels_last"})
    harness.ab(suite, *sides, axes=one, quick=True)
    assert len(visits(tmp_path)) == 2


def test_a_suite_says_what_its_sides_are_and_the_command_overrules_it(
    convscope: Convscope, suite: Path, stub: Stub, tmp_path: Path
) -> None:
    with suite.open("a", encoding="utf-8") as file:
        file.write('[ab]\nhead = { memory_format = "channels_last" }\n')
    python = stub(STEADY)
    assert convscope("ab", suite, "--base-python", python, "--quick", "--json").json["head"] == (
        "head (memory_format=channels_last)"
    )
    one = convscope(
        "ab", suite, "--base-python", python, "--head", "dtype=bfloat16", "--quick", "--json"
    ).json
    assert (one["base"], one["head"]) == ("base", "head (dtype=bfloat16)")


def test_sides_that_cannot_be_meant_are_refused(convscope: Convscope, suite: Path, stub: Stub) -> None:
    python = stub(STEADY)
    for arguments, hint in {
        ("--head", "device=cuda"): "a run each",
        ("--head", "dtype=float32,bfloat16"): "one value",
        ("--head", "colour=red"): "Known",
        ("--head", "device=cpu"): "a run each",
        ("--head", "threads=1", "-a", "threads=2,4"): "narrow it with -a",
        ("--head", "groups=3"): "does not divide",
    }.items():
        ended = convscope("ab", suite, "--base-python", python, *arguments)
        assert ended.code == 2, arguments
        assert hint in ended.err, arguments


def test_a_numeric_error_that_differs_stands_beside_the_verdict(suite: Path, stub: Stub) -> None:
    exact, rough = ({"survey": {"error": error, "error_bound": 1e-3}} for error in (1e-7, 2e-6))
    found = sides(
        suite,
        stub(CHANNELS_LAST | rough | STEADY, exact | STEADY),
        {},
        {"memory_format": "channels_last"},
        quick=True,
    )
    (said,) = [note for note in found["notes"] if "numeric error" in note]
    assert "20 times larger than base's in the median of 6 cases" in said
    assert {(row["base_error"], row["head_error"]) for row in found["cases"]} == {(1e-7, 2e-6)}


def test_an_order_or_an_implementation_that_cannot_be_meant_is_refused(suite: Path, arms: Any) -> None:
    with pytest.raises(UsageError, match="no order"):
        ab(suite, arms(), how="turn")
    with pytest.raises(UsageError, match="given twice"):
        sides(suite, arms()[0], {"threads": "1"}, {"threads": "2"}, axes={"threads": ("4",)})
