"""A case that needs more memory than is free is not tried, and its row says both figures."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import psutil
import pytest

from harness import load_results
from harness.core.case import Case, Setting
from harness.core.problem import Problem
from harness.run.free_memory import CHILD_BYTES, free_bytes, needed_bytes
from tests.conftest import Convscope, Stub

WIDE = 2**20  # channels: 784 MiB of inputs and as much of outputs at 14x14
SCARCE = {"memory_bytes": 2**28}  # 256 MiB
SUITE = f"""
schema = 1
name = "wide"
[problem]
size = 14
[[sweep]]
name = "channels"
x = "in_channels"
kind = "depthwise"
in_channels = [8, {WIDE}]
"""


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """A suite of a small case and a large one."""
    path = tmp_path / "wide.toml"
    path.write_text(SUITE, encoding="utf-8")
    return path


@pytest.mark.parametrize(("computation", "tensors"), [("inference", 1), ("training", 2)])
def test_all_tensors_count_three_times_and_in_training_their_gradients_too(
    computation: str, tensors: int
) -> None:
    """Eight channels of 10x10 in and out, with 3x3 weights: 800 + 72 + 800 numbers of 4 bytes."""
    case = Case(Problem("depthwise", in_channels=8, size=10), Setting(computation=computation))
    assert needed_bytes(case) == CHILD_BYTES + 3 * tensors * 4 * 1672
    assert needed_bytes(case, 1000) == needed_bytes(case), "which is within them"
    assert needed_bytes(case, 10**6) == CHILD_BYTES + 4 * 1672 + 10**6


def test_what_is_free_is_no_more_than_the_interpreter_or_a_control_group_leaves(tmp_path: Path) -> None:
    available = psutil.virtual_memory().total
    assert 0 < free_bytes({}, tmp_path) <= available
    assert free_bytes({"memory_bytes": 1000}, tmp_path) == 1000
    facts = {"memory.max": "5000\n", "memory.current": "4000\n", "memory.stat": "anon 1\ninactive_file 300\n"}
    for name, text in facts.items():
        (tmp_path / name).write_text(text, encoding="ascii")
    assert free_bytes({"memory_bytes": None}, tmp_path) == 5000 - 4000 + 300
    (tmp_path / "memory.current").write_text("6000\n", encoding="ascii")
    assert free_bytes({}, tmp_path) == 0
    (tmp_path / "memory.max").write_text("max\n", encoding="ascii")
    assert free_bytes({}, tmp_path) > 5000


def test_a_case_that_does_not_fit_is_skipped_before_it_is_tried_and_says_both_figures(
    convscope: Convscope, wide: Path, stub: Stub, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    fatal = {"match": {"in_channels": WIDE}, "fault": "die", "survey_fault": "die"}
    python = stub(fatal, {"spread": 0}, environment=SCARCE, log=str(log))
    ended = convscope("run", wide, "--quick", "--python", python, "--json")
    assert ended.code == 0
    assert ended.json["cases"] == {"ok": 1, "skipped": 1}
    visits = load_results(tmp_path / ended.json["path"]).visits
    (skipped,) = visits[visits["status"] == "skipped"].to_dict("records")
    # three times 784 MiB of inputs, 784 MiB of outputs and 36 MiB of weights; and 64 MiB of a process
    assert skipped["message"] == "needs about 4.76 GiB of memory, 256 MiB are free"
    assert skipped["in_channels"] == WIDE
    assert pd.isna(skipped["survey_message"])
    visits_made = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert len(visits_made) == 1


def test_so_is_one_whose_survey_saw_that_a_call_takes_more(
    convscope: Convscope, suite: Path, stub: Stub, tmp_path: Path
) -> None:
    hungry = {"match": {"kind": "standard"}, "survey": {"peak_bytes": 2**40}, "fault": "die"}
    python = stub(hungry, {"spread": 0})
    ended = convscope("run", suite, "--quick", "--python", python, "--json")
    assert ended.code == 0
    assert ended.json["cases"] == {"ok": 4, "skipped": 2}
    visits = load_results(tmp_path / ended.json["path"]).visits
    messages = visits.loc[visits["kind"] == "standard", "message"]
    assert messages.str.startswith("needs about 1,020 GiB of memory, ").all()


def test_arms_that_fit_the_memory_one_by_one_are_not_measured_in_turns(
    convscope: Convscope, suite: Path, stub: Stub, tmp_path: Path
) -> None:
    """A process alone takes 64 MiB."""
    python = stub({"spread": 0}, environment={"memory_bytes": 3 * CHILD_BYTES // 2})
    assert convscope("ab", suite, "--base-python", python, "--quick").code == 0
    visits = load_results("last", results=tmp_path / "results").visits
    assert set(visits["status"]) == {"ok"}
    assert set(visits["turns"]) == {0}


def test_a_run_that_goes_on_keeps_the_number_of_its_round(
    convscope: Convscope, wide: Path, stub: Stub, tmp_path: Path
) -> None:
    """Less memory is free when it goes on: a case that was measured before has a row that says so, and its
    latency."""
    first = convscope("run", wide, "--quick", "--python", stub({"spread": 0}), "--json")
    run = tmp_path / first.json["path"]
    assert first.json["cases"] == {"ok": 2}
    stub({"spread": 0}, environment=SCARCE)
    ended = convscope("run", "--extend", run, "--rounds", "+1", "--json")
    assert ended.json["cases"] == {"ok": 2}
    visits = load_results(run).visits
    wide_ones = visits[visits["in_channels"] == WIDE]
    assert wide_ones["status"].tolist() == ["ok", "skipped"]
    assert visits["round"].is_monotonic_increasing
