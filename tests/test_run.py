"""Runs, end to end through the command, against a stub worker: what becomes of cases, visits, faults and
time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness import load_results, sweep
from harness.core.case import Case
from harness.run.progress_events import ProgressListener
from harness.run.worker_process import WorkerProcess
from tests.conftest import Convscope, Ended, Stub, environment


def run(convscope: Convscope, suite: Path, python: Path, *more: str) -> Ended:
    return convscope("run", suite, "--python", python, "--json", *more)


def visits_of(ended: Ended, cwd: Path) -> pd.DataFrame:
    return load_results(cwd / ended.json["path"]).visits


def test_every_case_is_visited_in_each_round_in_an_order_of_its_own(
    convscope: Convscope, suite: Path, stub: Stub, tmp_path: Path
) -> None:
    ended = run(convscope, suite, stub({"spread": 0}))
    assert ended.code == 0
    assert ended.json["state"] == "complete"
    assert ended.json["visits"] == 18
    assert ended.json["cases"] == {"ok": 6}
    visits = visits_of(ended, tmp_path)
    rounds = [group.sort_values("position")["case_id"].tolist() for _, group in visits.groupby("round")]
    assert len(rounds) == 3
    assert len({tuple(order) for order in rounds}) > 1
    assert all(sorted(order) == sorted(rounds[0]) for order in rounds)
    assert visits["process"].nunique() == 18
    assert (
        visits.groupby("round")["process"]
        .agg(lambda names: len({name.split("-")[1] for name in names}))
        .eq(1)
        .all()
    )


def test_only_cases_that_are_still_wide_are_visited_again(
    convscope: Convscope, suite: Path, stub: Stub, tmp_path: Path
) -> None:
    python = stub({"match": {"kind": "depthwise"}, "spread": 0.5}, {"spread": 0})
    visits = visits_of(run(convscope, suite, python), tmp_path)
    assert visits.groupby("kind")["round"].max().to_dict() == {"depthwise": 4, "pointwise": 3, "standard": 3}


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> list[WorkerProcess]:
    """Every worker that is started in this process, in order."""
    started: list[WorkerProcess] = []

    class Recorded(WorkerProcess):
        def __init__(self, python: str) -> None:
            super().__init__(python)
            started.append(self)

    monkeypatch.setattr("harness.run.device_worker.WorkerProcess", Recorded)
    return started


class Counting(ProgressListener):
    """Notes how many workers had been started by the first visit of each round, and ends the idle ones then
    if told so."""

    def __init__(self, workers: list[WorkerProcess], *, fatal: bool = False) -> None:
        self.workers, self.fatal = workers, fatal
        self.by_round: dict[int, int] = {}

    def visited(self, case: Case, row: dict[str, Any]) -> None:
        self.by_round.setdefault(row["round"], len(self.workers))
        for worker in self.workers[1:3] if self.fatal and row["round"] == 1 else ():
            worker.kill()


def test_workers_of_certain_rounds_come_up_at_once_and_none_outlives_its_run(
    own_folder: Path, suite: Path, stub: Stub, workers: list[WorkerProcess]
) -> None:
    """One says what it is and makes the surveys, three are for the rounds that are certain, two for those
    that may follow."""
    listener = Counting(workers)
    sweep(suite, python=str(stub({"spread": 0.5})), results=own_folder, listener=listener)
    assert listener.by_round == {1: 4, 2: 4, 3: 4, 4: 6}
    assert not any(worker.alive for worker in workers)


def test_no_worker_comes_up_for_a_round_that_is_not_certain(
    own_folder: Path, suite: Path, stub: Stub, workers: list[WorkerProcess]
) -> None:
    """A quick run has one round; a time limit may come before any."""
    quick, limited = Counting(workers), Counting(workers)
    sweep(suite, python=str(stub({"spread": 0})), results=own_folder, quick=True, listener=quick)
    sweep(suite, python=str(stub({"spread": 0})), results=own_folder, time_limit_s=1000, listener=limited)
    assert quick.by_round == {1: 2}
    assert limited.by_round == {1: 4, 2: 5, 3: 6}


def test_a_worker_that_dies_before_its_round_costs_nothing(
    own_folder: Path, suite: Path, stub: Stub, workers: list[WorkerProcess]
) -> None:
    visits = sweep(
        suite, python=str(stub({"spread": 0})), results=own_folder, listener=Counting(workers, fatal=True)
    ).visits
    assert (visits["status"] == "ok").all()
    assert len(visits) == 18


def test_a_worker_that_does_not_come_up_is_started_again(
    own_folder: Path, suite: Path, stub: Stub, workers: list[WorkerProcess]
) -> None:
    """One of those that come up together ends when it is connected, as where memory is short."""
    python, connection, ended = (own_folder / name for name in ("flaky", "connection", "ended"))
    sound = stub({"spread": 0})
    python.write_text(
        f'#!/bin/sh\nmkdir "{connection}" 2>/dev/null || '
        f'{{ mkdir "{ended}" 2>/dev/null && read -r _ && exit 1; }}\n'
        f'exec "{sound}" "$@"\n'
    )
    python.chmod(0o755)
    visits = sweep(suite, python=str(python), results=own_folder).visits
    assert (visits["status"] == "ok").all()
    assert len(workers) == 5


@pytest.mark.parametrize("fault", ["crash", "die", "garbage", "error", "out_of_memory", "incorrect"])
def test_a_case_that_fails_is_a_row_and_the_run_goes_on(
    convscope: Convscope, suite: Path, stub: Stub, tmp_path: Path, fault: str
) -> None:
    more = [] if fault in ("crash", "die") else ["--quick"]
    ended = run(
        convscope, suite, stub({"match": {"kind": "depthwise"}, "fault": fault}, {"spread": 0}), *more
    )
    assert ended.code == 4
    visits = visits_of(ended, tmp_path)
    failed = visits[visits["kind"] == "depthwise"]
    crashed = fault in ("crash", "die", "garbage")
    # two cases, each with one more try where its process was killed, as may be by chance
    assert failed["status"].tolist() == (["crashed"] * 4 if crashed else [fault] * 2)
    assert failed["message"].str.len().gt(0).all()
    assert failed["latency_s"].isna().all()
    assert (visits[visits["kind"] != "depthwise"]["status"] == "ok").sum() == (4 if more else 12)


def test_a_case_that_hangs_is_ended_at_its_limit(
    convscope: Convscope, suite: Path, stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = suite.read_text(encoding="utf-8").replace("max_rounds = 4", "visit_limit_s = 0.2")
    suite.write_text(text, encoding="utf-8")
    ended = run(
        convscope,
        suite,
        stub({"match": {"kind": "standard", "in_channels": 8}, "fault": "hang"}, {"spread": 0}),
    )
    assert ended.code == 4
    assert ended.json["cases"] == {"ok": 5, "timeout": 1}
    hung = visits_of(ended, tmp_path).query("kind == 'standard' and in_channels == 8")
    assert hung["status"].tolist() == ["timeout"]


def test_an_invalid_visit_stays_and_is_repeated_twice_at_most(
    convscope: Convscope, suite: Path, stub: Stub, tmp_path: Path
) -> None:
    ended = run(
        convscope, suite, stub({"match": {"kind": "pointwise"}, "fault": "invalid"}, {"spread": 0}), "--quick"
    )
    assert ended.code == 4
    assert ended.json["quick"] is True
    loaded = load_results(tmp_path / ended.json["path"])
    assert loaded.visits.groupby("kind").size().to_dict() == {"standard": 2, "depthwise": 2, "pointwise": 6}
    summary = loaded.summary.set_index("kind")
    assert summary.loc["pointwise", "latency_s"].isna().all()
    assert (summary.loc["pointwise", "invalid"] == 3).all()


@pytest.mark.parametrize("fault", ["die", "crash", "error", "garbage"])
def test_a_survey_that_fails_costs_its_facts_and_nothing_else(
    convscope: Convscope, suite: Path, stub: Stub, tmp_path: Path, fault: str
) -> None:
    ended = run(
        convscope,
        suite,
        stub({"match": {"kind": "pointwise"}, "survey_fault": fault, "spread": 0}, {"spread": 0}),
        "--quick",
    )
    assert ended.code == 0
    visits = visits_of(ended, tmp_path)
    assert (visits["status"] == "ok").all()
    assert visits["macs_fvcore"].isna().eq(visits["kind"] == "pointwise").all()
    assert visits["survey_message"].notna().eq(visits["kind"] == "pointwise").all()


@pytest.mark.parametrize(
    ("facts", "groups"),
    [({}, 1), ({"memory_bytes": 2**27}, 6), ({"threads_available": 400}, 3)],
    ids=["plenty", "memory", "threads"],
)
def test_cases_are_interleaved_as_far_as_memory_and_threads_go(
    convscope: Convscope, suite: Path, stub: Stub, tmp_path: Path, facts: dict[str, int], groups: int
) -> None:
    """Those that are have in common when they began."""
    visits = visits_of(run(convscope, suite, stub({"spread": 0}, environment=facts), "--quick"), tmp_path)
    assert visits["started_at"].nunique() == groups
    assert (visits["status"] == "ok").all()


def test_a_survey_that_hangs_leaves_the_rounds_their_time(
    convscope: Convscope, suite: Path, stub: Stub, tmp_path: Path
) -> None:
    """It has a third of the limit; what it did not reach is measured without facts."""
    ended = run(
        convscope,
        suite,
        stub({"match": {"kind": "standard"}, "survey_fault": "hang", "spread": 0}, {"spread": 0}),
        "--time-limit",
        "6",
    )
    assert ended.code == 0, ended.err
    assert "cases are measured without a survey" in ended.err
    visits = visits_of(ended, tmp_path)
    assert visits.groupby("case_id").size().tolist() == [3] * 6
    assert visits["macs_fvcore"].isna().any()
    assert visits["survey_message"].dropna().str.startswith("timeout").all()


def test_a_value_that_cannot_be_stored_is_an_error_of_its_case(
    convscope: Convscope, suite: Path, stub: Stub, tmp_path: Path
) -> None:
    python = stub({"match": {"kind": "depthwise"}, "values": {"latency_s": "fast"}}, {"spread": 0.001})
    ended = convscope("run", suite, "--python", python, "--quick", "--json")
    assert ended.code == 4
    assert ended.json["cases"] == {"ok": 4, "error": 2}
    summary = load_results("last", results=tmp_path / "results").summary
    failed = summary[summary["kind"] == "depthwise"]
    assert set(failed["message"]) == {"the worker sent latency_s = 'fast', which is no double?"}


def test_where_every_visit_was_disturbed_the_answer_says_so(
    convscope: Convscope, suite: Path, stub: Stub
) -> None:
    python = stub({"fault": "invalid"})
    ended = convscope("run", suite, "--python", python, "--quick")
    assert ended.code == 4
    assert "6 of 6 cases have no latency" in ended.err
    measured = convscope("measure", "depthwise", "--in", "8", "--python", python)
    assert measured.code == 4
    assert "disturbed" in measured.out


def test_noisy_visits_count_and_are_named(
    convscope: Convscope, suite: Path, stub: Stub, tmp_path: Path
) -> None:
    ended = run(convscope, suite, stub({"match": {"kind": "pointwise"}, "fault": "noisy"}, {"spread": 0}))
    assert ended.code == 0
    summary = load_results(tmp_path / ended.json["path"]).summary.set_index("kind")
    assert summary.loc["pointwise", "trust_reasons"].map(lambda reasons: reasons == ["load"]).all()
    assert summary.loc["standard", "trust_reasons"].map(lambda reasons: reasons == []).all()
    assert (summary.loc["standard", "trust"] == "ok").all()


def test_a_run_ends_between_visits_when_its_time_is_up(
    convscope: Convscope, suite: Path, stub: Stub, tmp_path: Path
) -> None:
    ended = run(convscope, suite, stub(), "--time-limit", "0.01")
    assert ended.code == 4
    assert ended.json["state"] == "time_limit"
    assert ended.json["visits"] == 0


def test_the_seed_facts_and_policy_stand_in_run_json(
    convscope: Convscope, suite: Path, stub: Stub, tmp_path: Path
) -> None:
    ended = run(convscope, suite, stub(environment={"torch": "9.9"}))
    header = json.loads((tmp_path / ended.json["path"] / "run.json").read_text(encoding="utf-8"))
    assert header["suite"]["text"] == suite.read_text(encoding="utf-8")
    assert header["policy"]["max_rounds"] == 4
    assert [facts["torch"] for facts in header["environments"].values()] == ["9.9"]
    assert header["state"] == "complete"
    assert header["wall_s"] > 0


def test_a_device_named_in_the_file_and_not_there_is_skipped_with_that_reason(
    convscope: Convscope, suite: Path, stub: Stub, tmp_path: Path
) -> None:
    with suite.open("a", encoding="utf-8") as file:
        file.write('device = ["cpu", "cuda"]\n')
    ended = run(convscope, suite, stub({"spread": 0}))
    assert ended.code == 0
    points = load_results(tmp_path / ended.json["path"]).points
    assert points["skip_reason"].dropna().tolist() == ["device cuda is not present"] * 6
    assert (points["case_id"].isna() == points["skip_reason"].notna()).all()


def test_a_device_that_was_asked_for_and_is_not_there_stops_the_run_before_it_begins(
    convscope: Convscope, suite: Path, stub: Stub, tmp_path: Path
) -> None:
    ended = convscope("run", suite, "-a", "device=cuda", "--python", stub())
    assert ended.code == 2
    assert "cuda was not found" in ended.err
    assert "sees cpu" in ended.err
    assert not (tmp_path / "results").exists()


def test_a_measurement_without_a_file(convscope: Convscope, stub: Stub, tmp_path: Path) -> None:
    python = stub(
        {
            "match": {"allocator": "default"},
            "latency_s": 4e-3,
            "spread": 0,
            "values": {"minor_faults_per_call": 900.0},
        },
        {"spread": 0},
    )
    ended = convscope("measure", "depthwise", "--in", "32", "--python", python)
    assert ended.code == 0
    assert "900.0 page faults per call" in ended.out
    assert "4 times as long" in ended.out.replace("4.00", "4")
    assert not (tmp_path / "results").exists()
    answer = convscope("measure", "depthwise", "--in", "32", "--python", python, "--json").json
    assert answer["latency_s"] == pytest.approx(1e-3, rel=0.01)
    assert answer["other_allocator"]["minor_faults_per_call"] == 900.0
    assert answer["visits"] == 3


def test_a_slow_call_is_told_with_what_it_costs_before_it_is_measured_under_one_allocator(
    convscope: Convscope, stub: Stub
) -> None:
    """A call of 1.6 s: three visits, each of a first call, one to warm up, one that touches the heap, and one
    for each of four ways to lie, are 34 s."""
    python = stub({"latency_s": 1.6, "spread": 0, "survey": {"other_allocator_s": 1.7}})
    ended = convscope("measure", "standard", "--in", "8", "--python", python)
    assert ended.code == 0
    said = ended.err.splitlines()
    (told,) = [number for number, line in enumerate(said) if "a call takes about 1.6" in line]
    assert "in Stub, so fewer calls are measured, in about 34 s" in said[told]
    assert not any(line.startswith("round") for line in said[:told])
    assert "about 1.70 s, from a first look alone" in ended.out
    assert "page faults per call" not in ended.out


def test_disturbed_visits_of_slow_calls_are_not_repeated(
    convscope: Convscope, suite: Path, stub: Stub, tmp_path: Path
) -> None:
    python = stub({"match": {"kind": "standard"}, "latency_s": 1.6, "fault": "invalid"}, {"fault": "invalid"})
    visits = visits_of(run(convscope, suite, python, "--quick"), tmp_path)
    is_slow = visits["kind"] == "standard"
    assert set(visits[is_slow].groupby("case_id", observed=True).size()) == {1}
    assert set(visits[~is_slow].groupby("case_id", observed=True).size()) == {3}


def test_what_a_case_without_a_latency_runs_is_told_all_the_same(convscope: Convscope, stub: Stub) -> None:
    ended = convscope(
        "explain", "depthwise", "--in", "8", "--measure", "--python", stub({"fault": "invalid"})
    )
    assert ended.code == 4
    assert "back end" in ended.out
    assert "stub:any 900" in ended.out


class Waiting:
    """A run, as a process, whose worker hangs in its third visit; memory is short, so that each is alone."""

    def __init__(self, suite: Path, python: Path, tmp_path: Path) -> None:
        self.results = tmp_path / "results"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "harness", "run", str(suite), "--python", str(python)],
            cwd=tmp_path,
            env=environment(tmp_path),
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr
        for line in self.process.stderr:  # a line a visit: after the first, the run is under way
            if line.startswith("round 1"):
                break

    def end(self) -> tuple[int, str]:
        _, err = self.process.communicate(timeout=30)
        return self.process.returncode, err


@pytest.fixture
def waiting(suite: Path, stub: Stub, tmp_path: Path) -> Waiting:
    return Waiting(
        suite, stub({"fault": "hang", "after": 2, "spread": 0}, environment={"memory_bytes": 2**27}), tmp_path
    )


def test_ctrl_c_keeps_what_is_done(waiting: Waiting) -> None:
    waiting.process.send_signal(signal.SIGINT)
    code, err = waiting.end()
    assert code == 130
    assert "are kept" in err
    loaded = load_results("last", results=waiting.results)
    assert loaded.runs[0]["state"] == "interrupted"
    assert len(loaded.visits) >= 1
    assert (loaded.visits["status"] == "ok").all()


def test_whoever_ends_a_job_politely_gets_what_ctrl_c_gives(waiting: Waiting) -> None:
    waiting.process.terminate()
    code, _ = waiting.end()
    assert code == 130
    assert load_results("last", results=waiting.results).runs[0]["state"] == "interrupted"


def test_kill_loses_the_visit_in_flight_and_nothing_else(waiting: Waiting) -> None:
    waiting.process.kill()
    waiting.end()
    loaded = load_results("last", results=waiting.results)
    assert loaded.runs[0]["state"] == "killed"
    assert len(loaded.visits) >= 1


def test_a_second_run_fails_at_once_or_waits_and_says_so(
    waiting: Waiting, suite: Path, stub: Stub, convscope: Convscope, tmp_path: Path
) -> None:
    """One measurement a device: two at once spoil each other."""
    python = stub({"spread": 0}, name="quick")
    refused = convscope("run", suite, "--python", python, "--no-wait")
    assert refused.code == 75
    assert "cpu: another measurement is running" in refused.err
    second = subprocess.Popen(
        [sys.executable, "-m", "harness", "run", str(suite), "--python", str(python)],
        cwd=tmp_path,
        env=environment(tmp_path),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert second.stderr
    # stops reading there
    assert any("Another convscope run is using cpu; waiting" in line for line in second.stderr)
    os.kill(waiting.process.pid, signal.SIGKILL)
    waiting.end()
    second.communicate(timeout=60)
    assert second.returncode == 0
