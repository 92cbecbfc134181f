"""What is said of many runs: changes between two commits, who accepted them, and what fails a build."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import harness
from harness.core.errors import UsageError
from harness.store.history_store import HistoryStore
from harness.tasks.history import add, bless, history
from tests.conftest import Convscope, Stub
from tests.made_history import CASES, MANY, commit, fill, rows
from tests.made_runs import SETTINGS_SUITE, make_run


def step(at: int, factor: float, *cases: int) -> Any:
    """Those cases take `factor` times as long from run `at` on."""
    return lambda run, case: factor if run >= at and case in (cases or (0,)) else 1.0


@pytest.fixture
def store(tmp_path: Path) -> str:
    return str(tmp_path / "history")


def test_a_slower_case_is_named_between_two_commits_and_fails(convscope: Convscope, store: str) -> None:
    fill(store, 30, step(18, 1.05))
    ended = convscope("history", "--store", store, "--fail")
    assert ended.code == 1
    assert f"between {commit(17)[:8]} and {commit(18)[:8]}" in ended.out
    assert "1 unblessed change for the worse in 30 runs, 3 cases" in ended.out
    (finding,) = convscope("history", "--store", store, "--json").json["findings"]
    assert [case["label"] for case in finding["cases"]] == [CASES[0].label]
    assert finding["cases"][0]["ratio"] == pytest.approx(1.05, rel=0.006)
    assert convscope("history", "--store", store).code == 0, "without --fail it only tells"


def test_the_slowest_case_stands_first_and_its_sparkline_rises(convscope: Convscope, store: str) -> None:
    fill(store, 30, lambda run, case: {1: 1.04, 2: 1.09}.get(case, 1.0) if run >= 15 else 1.0)
    lines = [line for line in convscope("history", "--store", store).out.splitlines() if line.startswith("✗")]
    assert [line.split()[1] for line in lines] == ["32->32", "16->16"]
    assert "▁" in lines[0]
    assert "▇" in lines[0]


def test_equal_code_is_not_accused(store: str, convscope: Convscope) -> None:
    fill(store, 60)
    ended = convscope("history", "--store", store, "--fail")
    assert ended.code == 0
    assert ended.out.startswith("No unblessed change for the worse in 60 runs, 3 cases.")


def test_a_change_for_the_better_fails_nothing(store: str) -> None:
    fill(store, 30, step(18, 0.9))
    found = history(store)
    assert [finding.direction for finding in found.findings] == ["faster"]
    assert found.code == 0


def test_a_change_that_was_undone_is_told_and_fails_nothing(store: str) -> None:
    fill(store, 40, lambda run, case: 1.08 if case == 0 and 15 <= run < 25 else 1.0)
    found = history(store)
    assert {(finding.direction, finding.over) for finding in found.findings} >= {("slower", True)}
    assert found.code == 0


def test_one_change_of_many_cases_is_one_finding(store: str) -> None:
    fill(store, 30, step(20, 1.06, *range(len(MANY))), MANY)
    (finding,) = history(store).findings
    assert len(finding.steps) == len(MANY)


def test_changes_at_two_commits_are_two_findings(store: str) -> None:
    fill(store, 40, lambda run, case: 1.06 if run >= (12, 27, 99)[case] else 1.0)
    places = {finding.steps[0].history.label: finding.before["commit"] for finding in history(store).findings}
    assert places == {CASES[0].label: commit(11), CASES[1].label: commit(26)}


def test_what_else_differs_between_the_two_runs_is_told(convscope: Convscope, store: str) -> None:
    fill(store, 15)
    fill(store, 15, step(0, 1.07), first=15, torch="2.14.0")
    assert "Also differs: torch 2.13.0 -> 2.14.0." in convscope("history", "--store", store).out


def test_where_the_commit_stayed_the_runs_are_named(convscope: Convscope, store: str) -> None:
    at = rows(0, [1.0, 1.0, 1.0])["committed_at"][0].as_py()
    fill(store, 30, step(18, 1.07), commit=commit(1), committed_at=at)
    said = convscope("history", "--store", store).out
    assert "-made-0011 and " in said
    assert f"both of {commit(1)[:8]}" in said


def test_old_commits_that_are_measured_late_stand_in_their_order(store: str) -> None:
    """As after `git bisect`, or when somebody fills a gap."""
    fill(store, 12, step(20, 1.06))
    fill(store, 10, step(20, 1.06), first=22)
    kept = HistoryStore(store)
    for number in range(12, 22):
        late = rows(100 + number, [1.06 if number >= 20 else 1.0, 1.0, 1.0])
        own = rows(number, [1, 1, 1])
        for name in ("committed_at", "commit"):
            late = late.set_column(late.schema.get_field_index(name), late.schema.field(name), own[name])
        kept.add(late)
    (finding,) = history(store).findings
    assert (finding.before["commit"], finding.after["commit"]) == (commit(19), commit(20))


# blessing


def test_a_blessed_change_fails_no_more_and_is_still_shown(convscope: Convscope, store: str) -> None:
    fill(store, 30, step(18, 1.05))
    (finding,) = convscope("history", "--store", store, "--json").json["findings"]
    ended = convscope("history", "bless", finding["id"][:4], "--why", "checks its padding", "--store", store)
    assert ended.code == 0
    told = convscope("history", "--store", store, "--fail")
    assert told.code == 0
    assert "Blessed: checks its padding" in told.out
    fill(store, 6, step(0, 1.05), first=30)  # more runs move what is known of the place
    assert convscope("history", "--store", store, "--fail").code == 0
    fill(store, 8, step(0, 1.12), first=36)  # another one
    assert convscope("history", "--store", store, "--fail").code == 1


def test_what_was_blessed_covers_no_other_machine(store: str) -> None:
    fill(store, 30, step(18, 1.05))
    bless(store, history(store).findings[0].id, "known")
    for number in range(30):
        other = rows(number, [1.05 if number >= 18 else 1.0, 1.0, 1.0], cpu="another")
        column = other.schema.get_field_index("run_id")
        named = [f"{run}-other" for run in other["run_id"].to_pylist()]
        HistoryStore(store).add(other.set_column(column, "run_id", [named]))
    found = {finding.steps[0].history.machine["cpu"]: finding.why for finding in history(store).findings}
    assert found == {"made": "known", "another": None}


def test_an_unknown_change_cannot_be_blessed(convscope: Convscope, store: str) -> None:
    fill(store, 30, step(18, 1.05))
    ended = convscope("history", "bless", "nothing", "--why", "x", "--store", store)
    assert ended.code == 2
    assert "no such change" in ended.err


# anchors


def test_a_new_anchor_goes_on_from_the_level_of_the_old_one(store: str) -> None:
    """The new anchor takes 0.8 times as long; the head is the same before and after."""
    fill(store, 20)
    fill(store, 2, lambda run, case: 0.8, first=20, joins="torch 2.13.0")
    fill(store, 20, lambda run, case: 1 / 0.8, first=22, anchor="torch 2.13.0")
    found = history(store)
    assert found.findings == ()
    assert {one.history.anchor for one in found.standings} == {"torch 2.12.0"}
    assert [len(one.history.runs) for one in found.standings] == [40] * len(CASES)
    assert found.standings[0].since_first
    assert found.standings[0].since_first.value == pytest.approx(1, abs=0.005)


def test_a_change_under_a_new_anchor_is_found_on_the_scale_of_the_old_one(store: str) -> None:
    fill(store, 20)
    fill(store, 2, lambda run, case: 0.8, first=20, joins="torch 2.13.0")
    fill(
        store,
        20,
        lambda run, case: (1.05 if run >= 30 and case == 0 else 1.0) / 0.8,
        first=22,
        anchor="torch 2.13.0",
    )
    (finding,) = history(store).findings
    assert finding.ratio.value == pytest.approx(1.05, rel=0.006)
    assert finding.before["commit"] == commit(29)


def test_an_anchor_that_nothing_joins_begins_a_history_of_its_own(store: str) -> None:
    fill(store, 12)
    fill(store, 12, lambda run, case: 1.25, first=12, anchor="torch 2.13.0")
    found = history(store)
    assert found.findings == ()
    assert {(one.history.anchor, len(one.history.runs)) for one in found.standings} == {
        ("torch 2.12.0", 12),
        ("torch 2.13.0", 12),
    }


@pytest.mark.parametrize("change", [{"cpu": "another"}, {"instruction_set": "AVX512"}, {"threads_used": 1}])
def test_machines_instruction_sets_and_threads_have_histories_of_their_own(
    store: str, change: dict[str, Any]
) -> None:
    fill(store, 12)
    fill(store, 12, step(0, 1.5, 0, 1, 2), first=12, **change)
    found = history(store)
    assert found.findings == ()
    assert len(found.standings) == 2 * len(CASES)


# without an anchor


def drifting(run: int, case: int) -> float:
    """A machine that is 12 % slower from run 20 on, and a case that is 10 % slower besides."""
    return (1.12 if run >= 20 else 1.0) * (1.10 if run >= 30 and case == 0 else 1.0)


def test_without_an_anchor_what_all_cases_share_is_told_apart_and_fails_nothing(store: str) -> None:
    fill(store, 40, lambda run, case: 1.12 if run >= 20 else 1.0, MANY, anchor=None)
    found = history(store)
    (finding,) = found.findings
    assert finding.of_machine
    assert found.code == 0


def test_without_an_anchor_a_case_is_judged_by_what_it_does_beyond_the_others(store: str) -> None:
    fill(store, 45, drifting, MANY, anchor=None)
    (finding,) = [finding for finding in history(store).findings if finding.counts]
    assert [one.history.label for one in finding.steps] == [MANY[0].label]
    assert finding.ratio.value == pytest.approx(1.10, rel=0.01)


# adding runs


def made_ab(results: Path, number: int, head: float = 1.0, **more: Any) -> Path:
    git = {"commit": commit(number), "branch": "main", "changed": False}
    git["committed_at"] = f"2026-10-{number + 1:02}T10:00:00+00:00"
    return make_run(
        results,
        SETTINGS_SUITE,
        run_id=f"202610{number + 1:02}T120000-made-{number:04x}",
        visits=5,
        arms=("base", "head"),
        factors={"head": head},
        comparison="ab",
        git=git,
        **more,
    )


def test_runs_of_two_sides_are_added_with_their_ratio_and_anchor(
    convscope: Convscope, tmp_path: Path, store: str
) -> None:
    made_ab(tmp_path / "results", 0, 1.2)
    assert convscope("history", "add", "last", "--store", store).code == 0
    found = HistoryStore(store).read().to_pandas()
    heads = found[found["arm"] == "head"]
    assert set(heads["anchor"]) == {"torch 2.0-made"}
    assert heads["ratio"].median() == pytest.approx(1.2, rel=0.02)
    assert (heads["ratio_low"] < heads["ratio"]).all()
    assert set(heads["pairs"]) == {5}
    assert set(found["commit"]) == {commit(0)}
    assert found.loc[found["arm"] == "base", "ratio"].isna().all()


def test_a_name_for_the_anchor_replaces_its_torch(tmp_path: Path, store: str) -> None:
    add(made_ab(tmp_path, 0), store=store, anchor="1.2 as released", joins="1.3")
    found = HistoryStore(store).read().to_pandas()
    assert set(found["anchor"].dropna()) == {"1.2 as released"}
    assert set(found["joins"]) == {"1.3"}


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ({"quick": True}, "quick run"),
        ({"state": "interrupted"}, "not finished"),
        ({"comparison": "versus"}, "ranks arms"),
    ],
)
def test_a_run_that_proves_nothing_is_refused(
    tmp_path: Path, store: str, header: dict[str, Any], said: str
) -> None:
    run = make_run(tmp_path, SETTINGS_SUITE, arms=("base", "head"), **header)
    with pytest.raises(UsageError, match=said):
        add(run, store=store)
    assert HistoryStore(store).read().num_rows == 0


def test_run_and_ab_add_what_they_measured(convscope: Convscope, suite: Path, stub: Stub, store: str) -> None:
    python = str(stub({"spread": 0.001}))
    assert convscope("run", suite, "--python", python, "--store", store).code == 0
    ended = convscope("ab", suite, "--base-python", python, "--store", store, "--anchor", "pinned")
    assert ended.code == 0
    assert f"Added to {store}" in ended.err
    found = HistoryStore(store).read().to_pandas()
    assert {arm: len(mine) for arm, mine in found.groupby("arm", observed=True)} == {
        "main": 6,
        "base": 6,
        "head": 6,
    }
    assert set(found["anchor"].dropna()) == {"pinned"}


def test_a_run_is_kept_where_the_store_cannot_be_written(
    convscope: Convscope, suite: Path, stub: Stub, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    python = str(stub({"spread": 0.001}))
    ended = convscope("run", suite, "--python", python, "--store", tmp_path / "file")
    assert ended.code == 2
    assert "The run is kept in results" in ended.err
    assert len(harness.load_results(results=tmp_path / "results").runs) == 1


# asking


def test_a_store_is_named_by_a_flag_on_either_side_or_a_variable(convscope: Convscope, store: str) -> None:
    fill(store, 5)
    assert convscope("history", CONVSCOPE_STORE=store).code == 0
    assert convscope("history", "--store", store, "add", "nothing").code == 2
    ended = convscope("history")
    assert ended.code == 2
    assert "CONVSCOPE_STORE" in ended.err


def test_an_empty_store_says_how_to_fill_it(convscope: Convscope, store: str) -> None:
    ended = convscope("history", "--store", store)
    assert ended.code == 2
    assert "convscope history add last" in ended.err


def test_cases_and_times_can_be_chosen(convscope: Convscope, store: str) -> None:
    fill(store, 40, lambda run, case: 1.06 if run >= (12, 27, 99)[case] else 1.0)

    def findings(*more: str) -> list[str]:
        found = convscope("history", "--store", store, "--json", *more).json["findings"]
        return [case["case_id"] for finding in found for case in finding["cases"]]

    assert sorted(findings()) == sorted([CASES[0].case_id, CASES[1].case_id])
    assert findings("--case", CASES[1].case_id[:6]) == [CASES[1].case_id]
    assert findings("--case", "standard 8->8") == [CASES[0].case_id]
    assert findings("--since", "2026-01-20") == [CASES[1].case_id]
    assert findings("--since", commit(20)[:8]) == [CASES[1].case_id]
    assert convscope("history", "--store", store, "--since", "2026-01-20", "--fail").code == 1
    assert convscope("history", "--store", store, "--since", "2026-02-09", "--fail").code == 0
    for wrong in (("--since", "never"), ("--case", "transposed")):
        assert convscope("history", "--store", store, *wrong).code == 2


def test_a_drifting_series_alone_has_a_history_from_two_runs_on(convscope: Convscope, store: str) -> None:
    for runs in range(1, 5):
        fill(store, 1, first=runs, anchor=None)
        assert convscope("history", "--store", store).code == 0
    assert np.isfinite(convscope("history", "--store", store, "--json").json["cases"][0]["level"])


# baselines


def test_a_baseline_that_is_older_than_a_change_is_stale(
    convscope: Convscope, store: str, tmp_path: Path
) -> None:
    """One of a day before the change is; one of a day after it is not."""
    fill(store, 30, step(18, 1.08))
    for name, day in (("old", "20260110"), ("new", "20260125")):
        make_run(tmp_path / "results", SETTINGS_SUITE, run_id=f"{day}T000000-made-0001")
        assert convscope("baseline", "save", name, day).code == 0
    make_run(tmp_path / "results", SETTINGS_SUITE, run_id="20260201T000000-made-0002")
    assert [text.split()[1] for text in convscope("history", "--store", store, "--json").json["stale"]] == [
        "old"
    ]

    def notes(name: str, **variables: str) -> str:
        return " ".join(convscope("compare", name, "last", "--json", **variables).json["notes"])

    assert "stale: 1 change is known since, the latest before 2026-01-18" in notes(
        "old", CONVSCOPE_STORE=store
    )
    assert "convscope baseline save old 20260201T000000-made-0002" in notes("old", CONVSCOPE_STORE=store)
    assert "stale" not in notes("new", CONVSCOPE_STORE=store)
    assert "stale" not in notes("old")


def test_a_baseline_of_the_last_season_is_stale(convscope: Convscope, tmp_path: Path) -> None:
    make_run(tmp_path / "results", SETTINGS_SUITE, run_id="20260101T000000-made-0001")
    assert convscope("baseline", "save", "main", "last").code == 0
    for day, stale in (("20260401", False), ("20260402", True)):
        make_run(tmp_path / "results", SETTINGS_SUITE, run_id=f"{day}T000000-made-0002")
        told = convscope("compare", "main", "last", "--json").json["notes"]
        assert any("stale: 91 days old" in note for note in told) == stale
