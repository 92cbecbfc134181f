"""Runs, end to end through the command, against a stub worker: what becomes of cases, visits, faults and
time."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness import load_results
from tests.conftest import Convscope, Ended, Stub


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


def faulty(which: str, *faults: str) -> list[dict[str, Any]]:
    """Entries of a stub's script: a fault each for the first cases of the suite."""
    cases = product(("standard", "depthwise", "pointwise"), (8, 16))
    return [
        {"match": {"kind": kind, "in_channels": channels}, which: fault, "spread": 0}
        for fault, (kind, channels) in zip(faults, cases, strict=False)
    ]


@pytest.mark.parametrize(
    ("faults", "more"),
    [(("crash", "die"), ()), (("garbage", "error", "out_of_memory", "incorrect"), ("--quick",))],
    ids=["killed", "others"],
)
def test_a_case_that_fails_is_a_row_and_the_run_goes_on(
    convscope: Convscope,
    suite: Path,
    stub: Stub,
    tmp_path: Path,
    faults: tuple[str, ...],
    more: tuple[str, ...],
) -> None:
    script = faulty("fault", *faults)
    ended = run(convscope, suite, stub(*script, {"spread": 0}), *more)
    assert ended.code == 4
    visits = visits_of(ended, tmp_path)
    for entry in script:
        where = entry["match"]
        mine = visits[(visits["kind"] == where["kind"]) & (visits["in_channels"] == where["in_channels"])]
        # one more try where its process was killed, as may be by chance
        crashed = entry["fault"] in ("crash", "die", "garbage")
        assert mine["status"].tolist() == (["crashed"] * 2 if crashed else [entry["fault"]])
        assert mine["message"].str.len().gt(0).all()
        assert mine["latency_s"].isna().all()
    assert (visits["status"] == "ok").sum() == (2 if more else 12)


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


def test_a_survey_that_fails_costs_its_facts_and_nothing_else(
    convscope: Convscope, suite: Path, stub: Stub, tmp_path: Path
) -> None:
    script = faulty("survey_fault", "die", "crash", "error", "garbage")
    ended = run(convscope, suite, stub(*script, {"spread": 0}), "--quick")
    assert ended.code == 0
    visits = visits_of(ended, tmp_path)
    assert (visits["status"] == "ok").all()
    assert visits["macs_fvcore"].isna().eq(visits["kind"] != "pointwise").all()
    assert visits["survey_message"].notna().eq(visits["kind"] != "pointwise").all()


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
    ended = run(convscope, suite, stub({"spread": 0}), "--quick")
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
