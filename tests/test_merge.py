"""Runs of parts of a suite become one run; what does not belong together is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.store.results import load_results
from tests.conftest import Convscope, Stub

PARTS = ("kind=depthwise", "kind=standard,pointwise")


def runs(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "results").iterdir())


def measure(convscope: Convscope, part: str, python: Path, *more: str) -> None:
    words = ("run", "-a", part, "-a", "in_channels=16,32", "-a", "size=14", "--python", python)
    assert convscope(*words, *more).code == 0


def test_parts_become_one_run_with_all_their_visits(convscope: Convscope, stub: Stub, tmp_path: Path) -> None:
    for part in PARTS:
        measure(convscope, part, stub())
    parts = runs(tmp_path)
    ended = convscope("merge", *parts, "--json")
    assert ended.code == 0, ended.err
    assert ended.json["cases"] == 6
    merged = load_results(tmp_path / ended.json["path"])
    single = [load_results(tmp_path / "results" / part) for part in parts]
    assert len(merged.visits) == sum(len(one.visits) for one in single)
    latencies = merged.summary.set_index("case_id")["latency_s"]
    for one in single:
        for case_id, latency_s in zip(one.summary["case_id"], one.summary["latency_s"], strict=True):
            assert latencies[case_id] == latency_s
    assert merged.runs[0]["merged"] == parts
    assert merged.runs[0]["state"] == "complete"
    assert set(merged.points["kind"]) == {"depthwise", "standard", "pointwise"}
    assert set(parts) < set(runs(tmp_path)), "they stay as they are"
    assert "convscope report" in convscope("merge", *parts).out
    assert convscope("report", ended.json["run_id"]).code == 0


def test_a_case_of_two_runs_has_the_visits_of_both(convscope: Convscope, stub: Stub, tmp_path: Path) -> None:
    for _ in range(2):
        measure(convscope, PARTS[0], stub(), "--quick")
    ended = convscope("merge", *runs(tmp_path), "--json")
    merged = load_results(tmp_path / ended.json["path"])
    assert (ended.json["cases"], list(merged.summary["visits"])) == (2, [2, 2])
    assert len(merged.points) == 2


@pytest.mark.parametrize(
    ("second", "code", "said"),
    [
        ({"environment": {"torch": "another"}}, 3, "torch"),
        ({"environment": {"cpu": "another"}}, 3, "cpu"),
    ],
)
def test_other_machines_are_refused_by_what_differs(
    convscope: Convscope, stub: Stub, tmp_path: Path, second: dict[str, object], code: int, said: str
) -> None:
    measure(convscope, PARTS[0], stub(), "--quick")
    measure(convscope, PARTS[1], stub(name="second", **second), "--quick")
    ended = convscope("merge", *runs(tmp_path))
    assert ended.code == code
    assert said in ended.err
    assert len(runs(tmp_path)) == 2, "nothing is left behind"


def test_another_amount_and_too_few_runs_are_refused(
    convscope: Convscope, stub: Stub, tmp_path: Path
) -> None:
    measure(convscope, PARTS[0], stub())
    measure(convscope, PARTS[0], stub(), "--quick")
    ended = convscope("merge", *runs(tmp_path))
    assert (ended.code, "quick" in ended.err) == (3, True)
    for words in ((), runs(tmp_path)[:1], runs(tmp_path)[:1] * 2):
        ended = convscope("merge", *words)
        assert (ended.code, "two runs or more" in ended.err) == (2, True)
