"""Runs that go on where they were cut, end to end against stub workers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import harness
from harness import Side, load_results, testing
from harness.core.errors import BusyError, CasesFailed, NotComparable, UsageError
from harness.store.run_folder import RunFolder
from harness.store.visit_files import MEASUREMENTS_FILE, read_visits, write_table
from tests.conftest import SUITE, Convscope

STEADY = {"cases": [{"spread": 0.001}]}
SLOWER = {"match": {"memory_format": "channels_last"}, "latency_s": 1.2e-3, "spread": 0.001}
NHWC = Side(axes={"memory_format": "channels_last"})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Finished runs: a sweep, an A/B and a ranking, each with a stub of its own."""
    place = tmp_path_factory.mktemp("resume")
    suite = place / "small.toml"
    suite.write_text(SUITE, encoding="utf-8")
    unequal = {"cases": [SLOWER, {"spread": 0.001}]}
    python = {
        name: str(testing.interpreter(place / name, script))
        for name, script in (("run", STEADY), ("ab", unequal), ("versus", unequal))
    }
    results = place / "results"
    runs = {
        "run": harness.sweep(suite, python=python["run"], results=results),
        "ab": harness.ab(suite, Side(python["ab"]), Side(python["ab"], axes=NHWC.axes), results=results),
        "versus": harness.versus(
            {
                "nchw": Side(python["versus"]),
                "nhwc": Side(python["versus"], axes=NHWC.axes),
                "three": Side(python["versus"], axes={"threads": "1"}),
            },
            suite,
            pairs=4,
            results=results,
        ),
    }
    return {name: results / run.runs[0]["run_id"] for name, run in runs.items()}


def cut(run: Path, into: Path, rows: int, **header: Any) -> Path:
    """A copy of a run as it was after so many rows."""
    copy = Path(shutil.copytree(run, into / run.name))
    write_table(read_visits(run).table.slice(0, rows), copy / MEASUREMENTS_FILE)
    told = json.loads((copy / "run.json").read_text())
    changed = {"state": "interrupted", "wall_s": None, "visits": rows, "confirming": None}
    (copy / "run.json").write_text(json.dumps(told | changed | header))
    return copy


def order(run: Path) -> list[tuple[Any, ...]]:
    """Which case was measured when, by which arm."""
    visits = load_results(run).visits
    return list(visits[["round", "arm", "asked_id"]].itertuples(index=False, name=None))


@pytest.mark.parametrize("rows", [0, 1, 6, 8, 17])
def test_a_run_keeps_its_visits_and_goes_on_in_its_order(
    made: dict[str, Path], tmp_path: Path, own_folder: Path, rows: int
) -> None:
    run = cut(made["run"], tmp_path, rows)
    before = read_visits(run).table
    done = harness.resume(run)
    assert done.runs[0]["state"] == "complete"
    assert read_visits(run).table.slice(0, rows).equals(before)
    assert [step for step in order(run) if step[0] > 1] == [
        step for step in order(made["run"]) if step[0] > 1
    ]
    assert sorted(order(run)) == sorted(order(made["run"]))


@pytest.mark.parametrize("sort", ["ab", "versus"])
def test_pairs_that_were_measured_stay_and_those_lacking_are_added(
    made: dict[str, Path], tmp_path: Path, own_folder: Path, sort: str
) -> None:
    whole = load_results(made[sort])
    for rows in (1, len(whole.visits) // 2):
        run = cut(made[sort], tmp_path / str(rows), rows)
        before = read_visits(run).table
        done = harness.resume(run)
        assert done.runs[0]["state"] == "complete"
        assert read_visits(run).table.slice(0, rows).equals(before)
        # a pair that was cut short is measured again
        pairs = done.visits.groupby(["stage", "asked_id", "pair"]).size()
        complete = pairs[pairs == len(done.arms)].groupby(["stage", "asked_id"]).size()
        wanted = whole.visits.groupby(["stage", "asked_id"])["pair"].nunique()
        screened = wanted.index.get_level_values("stage") != "confirm"
        assert (complete[wanted.index[screened]] == wanted[screened]).all()


def test_a_case_that_the_survey_rejected_was_in_no_pair(tmp_path: Path, own_folder: Path) -> None:
    suite = tmp_path / "small.toml"
    suite.write_text(SUITE, encoding="utf-8")
    wrong = {"match": {"memory_format": "channels_last", "kind": "depthwise"}, "fault": "incorrect"}
    python = str(testing.interpreter(tmp_path / "wrong", {"cases": [wrong, {"spread": 0.001}]}))
    results = tmp_path / "results"
    with pytest.raises(CasesFailed):
        harness.ab(suite, Side(python), Side(python, axes=NHWC.axes), results=results)
    (run,) = results.iterdir()
    visits = load_results(run).visits
    rejected = visits["pair"].isna()
    assert rejected.any()
    again = cut(run, tmp_path / "cut", int(rejected.sum()) + 2)
    with pytest.raises(CasesFailed):
        harness.resume(again)
    assert load_results(again).runs[0]["state"] == "complete"


def test_an_ab_cut_while_it_confirms_keeps_the_numbers_of_pairs_that_were_fixed(
    made: dict[str, Path], tmp_path: Path, own_folder: Path
) -> None:
    whole = load_results(made["ab"])
    fixed = dict.fromkeys(sorted(whole.visits["asked_id"].unique())[:2], 8)
    confirming = {"pairs": fixed, "short": [], "left": [], "lacking_s": 0.0}
    screened = int((whole.visits["stage"] == "screen").sum())
    done = harness.resume(cut(made["ab"], tmp_path, screened, confirming=confirming))
    counts = done.visits[done.visits["stage"] == "confirm"].groupby("asked_id")["pair"].nunique()
    assert counts[list(fixed)].to_dict() == fixed
    assert done.runs[0]["confirming"]["pairs"].items() >= fixed.items()


def test_a_killed_run_is_one_whose_lock_nobody_holds(
    made: dict[str, Path], tmp_path: Path, own_folder: Path, convscope: Convscope
) -> None:
    run = cut(made["run"], tmp_path, 8, state="running")
    assert load_results(run).runs[0]["state"] == "killed"
    writer = RunFolder.reopen(run, [])
    assert load_results(run).runs[0]["state"] == "running"
    with pytest.raises(BusyError, match="still running"):
        harness.resume(run)
    with pytest.raises(BusyError, match="written by another process"):
        RunFolder.reopen(run, [])
    writer.close(state="running")
    assert convscope("run", "--resume", run).code == 0
    assert load_results(run).runs[0]["state"] == "complete"


def test_what_is_complete_has_nothing_to_resume_and_can_be_extended(
    made: dict[str, Path], tmp_path: Path, own_folder: Path, convscope: Convscope
) -> None:
    run = Path(shutil.copytree(made["run"], tmp_path / made["run"].name))
    refused = convscope("run", "--resume", run)
    assert (refused.code, "--extend" in refused.err) == (2, True)
    extended = convscope("run", "--extend", run, "--rounds", "+4", "--json")
    assert extended.code == 0
    assert (load_results(run).summary["visits"] == 7).all()
    assert extended.json["visits"] == 42


def test_a_quick_run_that_is_extended_enough_is_quick_no_more(
    made: dict[str, Path], tmp_path: Path, own_folder: Path
) -> None:
    run = cut(made["run"], tmp_path, 6, quick=True, state="complete")
    assert harness.resume(run, more_rounds=1).runs[0]["quick"]
    assert not harness.resume(run, more_rounds=1).runs[0]["quick"]


def test_another_interpreter_is_refused_by_what_differs(
    made: dict[str, Path], tmp_path: Path, own_folder: Path
) -> None:
    run = cut(made["run"], tmp_path, 8)
    newer = testing.interpreter(tmp_path / "newer", STEADY | {"environment": {"torch": "9.9"}})
    with pytest.raises(NotComparable, match=r"torch 0.0-stub -> 9.9"):
        harness.resume(run, python=str(newer))
    assert len(load_results(run).visits) == 8
    assert load_results(run).runs[0]["state"] == "interrupted"


def test_only_sweeps_are_extended_and_each_command_resumes_its_own(
    made: dict[str, Path], own_folder: Path, convscope: Convscope
) -> None:
    with pytest.raises(UsageError, match="cannot be extended"):
        harness.resume(made["ab"], more_rounds=1)
    refused = convscope("run", "--resume", made["ab"])
    assert refused.code == 2
    assert f"convscope ab --resume {made['ab'].name}" in refused.err


@pytest.mark.parametrize(
    "words",
    [
        ["run", "quickstart", "--resume", "last"],
        ["run", "--resume", "last", "--extend", "last", "--rounds", "2"],
        ["run", "--extend", "last"],
        ["run", "--rounds", "2"],
        ["run", "--extend", "last", "--rounds", "-1"],
        ["ab", "--resume", "last", "--head", "threads=1"],
        ["versus", "--resume", "last", "--arm", "one:threads=1"],
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(convscope: Convscope, words: list[str]) -> None:
    assert convscope(*words).code == 2


def test_a_run_of_an_older_version_cannot_go_on(
    made: dict[str, Path], tmp_path: Path, own_folder: Path
) -> None:
    run = cut(made["run"], tmp_path, 8)
    (run / "cases.parquet").unlink()
    with pytest.raises(UsageError, match="runs of older versions have none"):
        harness.resume(run)
