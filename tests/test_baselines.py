"""Baselines and comparisons of runs, against stub workers: through Python, and once each
through the command."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import harness
from harness import testing
from harness.core.errors import CasesFailed, NoBaseline, NotComparable, StorageError, UsageError
from harness.output.verdict_text import as_json
from harness.store import baselines
from harness.store.results import Results
from tests.conftest import SUITE, Convscope, Stub, alone

STEADY = {"spread": 0.001}
Measured = Callable[..., str]


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the suite on a machine where nothing is special."""
    folder = tmp_path_factory.mktemp("usual")
    (folder / "small.toml").write_text(SUITE, encoding="utf-8")
    python = testing.interpreter(folder / "machine", {"cases": [STEADY]})
    with alone(folder):
        found = harness.sweep(folder / "small.toml", python=str(python), results=folder / "results")
    return folder / "results" / str(found.runs[0]["run_id"])


@pytest.fixture
def first(usual: Path, own_folder: Path) -> str:
    """The usual run, as the first in the current folder."""
    shutil.copytree(usual, own_folder / "results" / usual.name)
    return usual.name


@pytest.fixture(scope="module")
def runs() -> dict[str, Path]:
    """Runs of this file by what was run, for those that want a second of the same."""
    return {}


@pytest.fixture
def measured(
    suite: Path, stub: Stub, own_folder: Path, runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Measured:
    """A run of the suite against a stub, which is the machine, in the current folder: the run's id. One that
    a test before had is taken again."""
    asked = list[str]()

    def run(*cases: dict[str, Any], name: str = "machine", quick: bool = False, **script: Any) -> str:
        asked.append(repr((suite.read_text(encoding="utf-8"), cases, name, quick, script)))
        what = f"{asked[-1]} {asked.count(asked[-1])}"
        if what not in runs:
            kept = tmp_path_factory.mktemp("kept")
            python = str(stub(*cases, STEADY, name=name, **script))
            found: Results = harness.sweep(suite, python=python, quick=quick, results=kept)
            runs[what] = kept / str(found.runs[0]["run_id"])
        shutil.copytree(runs[what], own_folder / "results" / runs[what].name)
        return runs[what].name

    return run


def save(name: str, run: str) -> Path:
    return baselines.save(name, harness.load_results(run), Path("results") / run, Path("results"))


def compared(base: str, head: str, **more: Any) -> dict[str, Any]:
    return as_json(harness.compare(base, head, **more))


def test_a_run_becomes_a_baseline_and_later_ones_are_held_against_it(
    convscope: Convscope, first: str, measured: Measured
) -> None:
    assert convscope("baseline", "save", "main").code == 0
    assert [row["name"] for row in convscope("baseline", "list", "--json").json] == ["main"]
    assert "6 cases of small" in convscope("baseline", "show", "main").out
    assert compared("main", measured())["code"] == 0
    measured({"match": {"kind": "depthwise"}, "latency_s": 1.2e-3} | STEADY)
    ended = convscope("compare", "main", "last", "--json")
    assert ended.code == 1
    assert {row["kind"] for row in ended.json["cases"] if row["verdict"] == "regressed"} == {"depthwise"}
    assert any("different times" in note for note in ended.json["notes"])


def test_a_quick_run_never_becomes_one(measured: Measured) -> None:
    with pytest.raises(UsageError, match="quick"):
        save("main", measured(quick=True))


def test_wide_intervals_and_disturbed_visits_are_no_reason_against_one(measured: Measured) -> None:
    """They are what a shared machine has; what is known so is judged so."""
    save("wide", measured({"spread": 0.5}))
    save("disturbed", measured({"fault": "noisy"} | STEADY))


def test_a_run_that_its_time_limit_ended_becomes_one_where_every_case_has_an_interval(
    first: str, measured: Measured
) -> None:
    path = Path("results", first, "run.json")
    path.write_text(path.read_text(encoding="utf-8").replace('"complete"', '"time_limit"'), encoding="utf-8")
    save("main", first)
    assert compared("main", measured())["code"] == 0


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", ".hidden"])
def test_a_name_that_is_no_folder_is_refused(first: str, name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a baseline"):
        save(name, first)


def test_another_machine_is_refused_by_the_fields_name(measured: Measured) -> None:
    machine = {"instruction_set": "AVX2", "threads_available": 2, "cpu": "Xeon", "machine": "x86_64"}
    first = measured(environment=machine)
    save("main", first)
    others = {"instruction_set": "AVX512", "threads_available": 4, "cpu": "EPYC", "machine": "aarch64"}
    for field, other in others.items():
        second = measured(name="other", environment=machine | {field: other})
        said = f"{field} {machine[field]} -> {other}"
        with pytest.raises(NotComparable, match=said):
            compared(first, second)
        with pytest.raises(NotComparable, match=said) as refused:
            compared("main", second)
        assert f"convscope baseline save main {second}" in refused.value.hint
        assert refused.value.code == 3


def test_cases_on_other_threads_or_devices_are_refused(measured: Measured) -> None:
    values = {"threads_used": 2, "device_name": "one"}
    first = measured({"values": values} | STEADY)
    for name, other in (("threads_used", 4), ("device_name", "two")):
        second = measured({"values": values | {name: other}} | STEADY, name="other")
        with pytest.raises(NotComparable, match=f"{name} {values[name]} -> {other}"):
            compared(first, second)


def test_of_several_baselines_the_one_of_this_machine_is_taken(measured: Measured) -> None:
    for cpu in ("Xeon", "EPYC"):
        save("main", measured(name=cpu, environment={"cpu": cpu}))
    found = compared("main", measured(name="again", environment={"cpu": "Xeon", "kernel": "9"}))
    assert found["code"] == 0
    assert list(found["differences"]) == ["kernel"]


def test_a_first_run_can_make_its_baseline_and_pass(convscope: Convscope, first: str) -> None:
    ended = convscope("compare", "main", "last")
    assert ended.code == 2
    assert "convscope baseline save main" in ended.err
    assert convscope("compare", "main", "last", "--create").code == 0
    assert [row["name"] for row in baselines.saved(Path("results"))] == ["main"]


def test_with_create_another_suites_baseline_does_not_count(
    first: str, measured: Measured, suite: Path
) -> None:
    save("main", first)
    suite.write_text(
        suite.read_text(encoding="utf-8").replace('"small"', '"other"').replace("[8, 16]", "[24]"),
        encoding="utf-8",
    )
    found = compared("main", measured(), create=True, tolerance=0.05)
    assert (found["code"], found["counts"]) == (0, {"same": 6})
    assert {row["suite"] for row in baselines.saved(Path("results"))} == {"small", "other"}


def test_the_baseline_of_the_same_device_is_taken(measured: Measured) -> None:
    first = measured({"values": {"device_name": "one GPU"}} | STEADY)
    save("main", first)
    save("main", measured({"values": {"device_name": "another GPU"}} | STEADY))
    with pytest.raises(NotComparable, match=r"device (one|another) GPU -> a third one"):
        compared("main", measured({"values": {"device_name": "a third one"}} | STEADY))
    assert compared("main", measured({"values": {"device_name": "one GPU"}} | STEADY))["base"] == first


def test_a_baseline_that_most_cases_have_left_behind_is_said(first: str, measured: Measured) -> None:
    save("main", first)
    found = compared("main", measured({"latency_s": 0.5e-3} | STEADY))
    assert any(
        "6 of 6 cases improved since 20" in note and "Update the baseline" in note for note in found["notes"]
    )


def test_a_renamed_case_is_missing_and_new_and_does_not_pass(
    first: str, measured: Measured, suite: Path
) -> None:
    save("main", first)
    suite.write_text(suite.read_text(encoding="utf-8").replace("[8, 16]", "[8, 24]"), encoding="utf-8")
    found = compared("main", measured(), tolerance=0.05)
    assert (found["code"], found["counts"]) == (3, {"missing": 3, "new": 3, "same": 6})


def test_what_this_machine_does_not_support_is_no_fault(measured: Measured) -> None:
    refusing = {"match": {"kind": "pointwise"}, "fault": "unsupported"} | STEADY
    save("main", measured(refusing))
    assert compared("main", measured(refusing), tolerance=0.05)["counts"] == {"same": 8}


def test_one_broken_baseline_hides_no_other(first: str, measured: Measured) -> None:
    kept = save("main", first)
    broken = kept.parents[1] / "other" / "run"
    broken.mkdir(parents=True)
    (broken / "run.json").write_text("{", encoding="utf-8")
    assert [row["name"] for row in baselines.saved(Path("results"))] == ["main"]
    with pytest.raises(NoBaseline, match="no such baseline"):
        compared("unknown", measured())


def test_a_baseline_that_cannot_be_read_is_not_replaced(first: str, measured: Measured) -> None:
    kept = save("main", first)
    (kept / "run.json").write_text("{", encoding="utf-8")
    with pytest.raises(StorageError):
        compared("main", measured(), create=True)


def test_a_run_without_a_visit_cannot_be_a_baseline(measured: Measured, suite: Path, stub: Stub) -> None:
    with pytest.raises(CasesFailed) as ended:
        harness.sweep(suite, python=str(stub(STEADY)), time_limit_s=0.01)
    with pytest.raises(UsageError, match="cannot be a baseline"):
        save("main", Path(ended.value.where).name)


def test_a_run_is_found_by_its_path(usual: Path, measured: Measured) -> None:
    assert compared(str(usual), measured())["code"] == 0


def test_an_ab_is_judged_alone(first: str, suite: Path, stub: Stub) -> None:
    python = str(stub(STEADY))
    save("main", first)
    pairs = harness.ab(suite, harness.Side(python), harness.Side(python), quick=True).runs[0]["run_id"]
    with pytest.raises(UsageError, match="several arms"):
        compared("main", pairs)
    with pytest.raises(UsageError, match="several arms"):
        compared(first, pairs)
    with pytest.raises(UsageError, match="nothing to compare it with"):
        harness.compare(first)
