"""What strangers write, in suites, kernels and workers, is text; where it cannot be meant, a clear error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from harness import load_results
from harness.core.problem import Problem
from harness.core.protocol import NotAMessage, checked
from harness.core.roofs import are_roofs
from harness.core.units import visible
from harness.worker.correctness import Incorrect, require_output
from tests.conftest import SUITE, Convscope, Stub

ESCAPES = "\x1b[31mRED\x1b[0m \u202eright to left\u202c"


def test_no_letter_of_a_stranger_moves_the_cursor_or_turns_the_line_round() -> None:
    shown = visible(f"a\n{ESCAPES} µ 卷积")
    assert shown == r"a\n\x1b[31mRED\x1b[0m \u202eright to left\u202c µ 卷积"


def test_a_title_and_a_kernels_message_reach_the_terminal_as_text(
    convscope: Convscope, stub: Stub, tmp_path: Path
) -> None:
    suite = tmp_path / "hostile.toml"
    suite.write_text(
        SUITE.replace('name = "small"', f'name = "small"\ntitle = {json.dumps(ESCAPES)}', 1), encoding="utf-8"
    )
    python = stub({"fault": "error", "message": f"boom {ESCAPES}" + "x" * 2000})
    for ended in (convscope("plan", suite), convscope("run", suite, "--python", python)):
        assert "RED" in ended.out + ended.err
        assert "\x1b" not in ended.out + ended.err
        assert "\u202e" not in ended.out + ended.err
        assert "x" * 301 not in ended.out + ended.err


def test_a_case_that_failed_is_answered_without_facts(convscope: Convscope, stub: Stub) -> None:
    python = stub({"fault": "error", "survey_fault": "error"})
    ended = convscope("measure", "depthwise", "--in", "8", "--size", "8", "--python", python)
    assert ended.code == 4
    assert "error: as scripted" in ended.out


def test_a_suite_of_which_nothing_can_be_measured_is_a_fault(convscope: Convscope, tmp_path: Path) -> None:
    suite = tmp_path / "unsized.toml"
    suite.write_text(
        'schema = 1\nname = "unsized"\n[[sweep]]\nname = "a"\nkind = "standard"\nin_channels = 8\n'
    )
    ended = convscope("plan", suite)
    assert ended.code == 2
    assert "height: is not stated" in ended.out
    assert "Next:" not in ended.out


def test_more_points_than_can_be_planned_are_refused_by_their_number(convscope: Convscope) -> None:
    axes = [f"-a{name}=1:100:1" for name in ("in_channels", "out_channels", "size")]
    ended = convscope("plan", "-akind=standard", *axes)
    assert ended.code == 2
    assert "1,000,000 points" in ended.err


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ([1, 2], "of type list"),
        (torch.zeros(1, 8, 7, 8), r"shape \(1, 8, 7, 8\), not \(1, 8, 8, 8\)"),
        (torch.zeros(1, 8, 8, 8, dtype=torch.float64), r"torch.float64, not torch.float32"),
    ],
)
def test_an_output_of_another_kind_is_named(output: object, words: str) -> None:
    with pytest.raises(Incorrect, match=words):
        require_output(output, Problem("depthwise", in_channels=8, size=8), torch.float32)


@pytest.mark.parametrize(
    "answer",
    [
        {"is": "done", "status": "fine"},
        {"is": "done", "status": "ok", "values": []},
        {"is": "done", "status": "ok", "visits": [1]},
        {"is": "done", "status": "ok", "visits": [{"id": [], "status": "ok"}]},
        {"is": "done", "status": "error", "message": 7},
        {"is": "progress", "latency_s": "1"},
        {"is": "hello"},
        {},
    ],
)
def test_an_answer_that_is_none_of_the_protocols_is_refused(answer: dict[str, object]) -> None:
    with pytest.raises(NotAMessage):
        checked(answer)


def roofs(**changes: object) -> dict[str, object]:
    """The roofs of a processor, with changes."""
    found = {"device": "cpu", "device_index": None, "threads_used": 2}
    return found | {"roofs": {"page_fault_s": None, "bytes_per_s_1024": 1e9}} | changes


@pytest.mark.parametrize(
    "changes",
    [
        {"device": None},
        {"threads_used": "2"},
        {"roofs": []},
        {"roofs": None},
        {"roofs": {}},
        {"roofs": {"page_fault_s": "1"}},
        {"roofs": {"page_fault_s": None, "bytes_per_s_x": 1.0}},
        {"roofs": {"page_fault_s": None, "flops_per_s_float32": -1.0}},
    ],
)
def test_roofs_that_a_bound_cannot_be_drawn_from_are_none(changes: dict[str, object]) -> None:
    assert are_roofs(roofs())
    assert not are_roofs(roofs(**changes))


@pytest.mark.parametrize(
    "values",
    [
        {"latency_s": None},
        {"latency_low_s": None},
        {"latency_high_s": None},
        {"threads_used": 10**6},
        {"peak": 1, "samples_s": ["x"]},
        {"latency_s": 10**30},
        {"latency_s": 1e300},
    ],
)
def test_a_value_that_its_column_cannot_hold_costs_its_case_and_nothing_else(
    convscope: Convscope, stub: Stub, tmp_path: Path, values: dict[str, object]
) -> None:
    suite = tmp_path / "small.toml"
    suite.write_text(SUITE, encoding="utf-8")
    python = stub({"match": {"kind": "depthwise"}, "values": values}, {"spread": 0.001})
    ended = convscope("run", suite, "--quick", "--python", python, "--json")
    assert ended.code == 4
    visits = load_results(tmp_path / ended.json["path"]).visits
    assert set(visits.loc[visits["kind"] == "depthwise", "status"]) == {"error"}
    assert set(visits.loc[visits["kind"] != "depthwise", "status"]) == {"ok"}


@pytest.mark.parametrize(
    "script",
    [
        {"environment": {"threads_available": 0}},
        {"environment": {"threads_available": None}},
        {"environment": {"memory_bytes": "much"}},
        {"environment": {"variables": ["OMP_NUM_THREADS"]}},
        {"devices": {}},
        {"devices": [{"index": 0}]},
        {"devices": [{"type": "cuda", "index": "0"}]},
    ],
    ids=str,
)
def test_an_interpreter_that_says_nonsense_of_itself_is_refused(
    convscope: Convscope, suite: Path, stub: Stub, script: dict[str, object]
) -> None:
    ended = convscope("run", suite, "--quick", "--python", stub(**script))
    assert ended.code == 2
    assert "is no worker of protocol" in ended.err


def test_a_device_without_an_index_is_the_only_one_of_its_type(
    convscope: Convscope, suite: Path, stub: Stub
) -> None:
    python = stub({"spread": 0}, devices=[{"type": "cpu", "facts": None}])
    assert convscope("run", suite, "--quick", "--python", python).code == 0
