"""A/B runs, end to end against stub workers: pairs, stages, orders, faults, and what `compare` makes of them.
Some through the command."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import harness
from harness import load_results, testing
from harness.cli.main import main
from harness.core.errors import DeviceError
from harness.core.gate import Gate
from harness.output.verdict_text import as_json
from harness.run.ab import plan_confirming
from tests.ab_runs import DEPTHWISE, EIGHT, STEADY, ab, header, verdict_by_kind, visits
from tests.conftest import SUITE, Convscope, Ended, Stub, environment, in_this_process
from tests.visits import case, pairs_of

pytestmark = pytest.mark.usefixtures("own_folder")


def test_equal_arms_are_the_same_after_five_pairs_a_case(suite: Path, arms: Any, tmp_path: Path) -> None:
    ended = ab(suite, arms())
    assert ended["code"] == 0
    assert ended["counts"] == {"same": 12}, "latency and memory of six cases"
    rows = visits(tmp_path)
    assert rows.groupby(["case_id", "arm"]).size().eq(5).all()
    assert rows.groupby("pair")["arm"].agg(lambda names: " ".join(sorted(names))).eq("base head").all()
    assert rows.groupby("pair")["case_id"].nunique().eq(1).all()
    assert (rows["turns"] == 12).all()
    assert (rows["stop_reason"] == "turns").all()
    assert (rows["stage"] == "screen").all()
    assert (
        rows.groupby(["round", "arm"])["process"]
        .agg(lambda names: len({name.split("-")[1] for name in names}))
        .eq(1)
        .all()
    ), "fresh each round"


def test_arms_take_turns_block_by_block(suite: Path, stub: Stub, tmp_path: Path) -> None:
    """What one does never lies within what the other does, and each has as many blocks."""
    log = tmp_path / "log"
    base, head = (stub(STEADY, name=name, log=str(log)) for name in ("base", "head"))
    assert (
        ab(suite, (base, head), axes={"kind": ("depthwise",), "in_channels": (8,)}, quick=True)["code"] == 0
    )
    turns = [
        entry
        for line in log.read_text(encoding="utf-8").splitlines()
        if (entry := json.loads(line))["do"] == "turn"
    ]
    assert len(turns) == 24
    assert all(
        one["ended"] <= other["began"] and one["pid"] != other["pid"] for one, other in pairwise(turns)
    )


@pytest.fixture(scope="module")
def regressed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ended, Path]:
    """What the command says where depthwise is slower, and the folder of that run."""
    folder = tmp_path_factory.mktemp("regressed")
    (folder / "small.toml").write_text(SUITE, encoding="utf-8")
    scripts = {"base": [STEADY], "head": [DEPTHWISE | STEADY | {"latency_s": 1.08e-3}, STEADY]}
    base, head = (testing.interpreter(folder / name, {"cases": cases}) for name, cases in scripts.items())
    words = ["ab", "small.toml", f"--base-python={base}", f"--head-python={head}"]
    ended = in_this_process(
        lambda: main.main(words, "convscope"),
        ["convscope", *words],
        cwd=folder,
        variables=environment(folder),
    )
    (run,) = (folder / "results").glob("*-small-*")
    return ended, run


def test_a_slower_kind_is_confirmed_by_fresh_pairs_named_and_ends_with_1(
    regressed: tuple[Ended, Path],
) -> None:
    found = as_json(harness.compare(str(regressed[1])))
    assert (regressed[0].code, found["code"]) == (1, 1)
    assert verdict_by_kind(found) == {"depthwise": {"regressed"}, "standard": {"same"}, "pointwise": {"same"}}
    worst = found["cases"][0]
    assert worst["ratio"] == pytest.approx(1.08, rel=0.01)
    assert worst["stage"] == "confirm"
    loaded = load_results(regressed[1])
    planned = loaded.runs[0]["confirming"]
    assert len(planned["pairs"]) == 2
    confirmed = loaded.visits.query("stage == 'confirm'")
    assert (confirmed["kind"] == "depthwise").all()
    assert (confirmed.groupby(["case_id", "arm"]).size().unstack()["head"].to_dict()) == planned["pairs"]


def test_the_answer_for_people_names_it_and_says_what_could_be_found(regressed: tuple[Ended, Path]) -> None:
    ended, _ = regressed
    assert re.search(r"^✗ depthwise .* \+8\.\d %", ended.out, re.MULTILINE)
    assert "Minimum detectable slowdown" in ended.out
    assert ended.out.strip().splitlines()[-1].startswith("Regressed: depthwise")
    assert "fresh pairs" in ended.err
    assert "Machine check:" in ended.err


@pytest.mark.parametrize("order", ["back-to-back", "rounds"])
def test_the_other_orders_make_pairs_too_and_say_so(
    suite: Path, arms: Any, tmp_path: Path, order: str
) -> None:
    ended = ab(suite, arms(DEPTHWISE | STEADY | {"latency_s": 1.2e-3}), how=order, axes=EIGHT)
    assert verdict_by_kind(ended) == {"depthwise": {"regressed"}, "standard": {"same"}, "pointwise": {"same"}}
    rows = visits(tmp_path)
    assert (rows["turns"] == 0).all()
    assert rows.groupby("pair").size().eq(2).all()
    assert any(order in note for note in ended["notes"])
    if order == "rounds":
        arms_of_round = rows.sort_values("started_at").groupby(["round", "stage"])["arm"].agg(list)
        assert all(len({*names[: len(names) // 2]}) == 1 for names in arms_of_round)


def test_an_arm_that_crashes_takes_its_partner_along_and_no_other_case(
    suite: Path, arms: Any, tmp_path: Path
) -> None:
    for fault, quick in (("crash", False), ("die", True), ("garbage", True)):
        ended = ab(suite, arms(DEPTHWISE | STEADY | {"fault": fault}), quick=quick, axes=EIGHT)
        assert ended["code"] == 4, fault
        verdict = {"inconclusive" if quick else "same"}
        assert verdict_by_kind(ended) == {
            "depthwise": {"not comparable"},
            "standard": verdict,
            "pointwise": verdict,
        }
        rows = visits(tmp_path).query("kind == 'depthwise'")
        assert rows.groupby("arm")["status"].agg(set).to_dict() == {"head": {"crashed"}, "base": {"skipped"}}
        assert len(rows) == 4, "it has one more try"


def test_what_neither_arm_supports_is_no_fault_and_what_one_supports_is(suite: Path, arms: Any) -> None:
    refusing = DEPTHWISE | STEADY | {"fault": "unsupported"}
    assert ab(suite, arms(refusing, base=(refusing,)), axes=EIGHT)["counts"] == {"same": 4}
    for both in (arms(refusing), arms(base=(refusing,))):
        ended = ab(suite, both, quick=True, axes=EIGHT)
        assert ended["code"] == 3
        assert verdict_by_kind(ended)["depthwise"] == {"not comparable"}


def test_a_device_that_one_side_has_lost_is_an_error(suite: Path, stub: Stub) -> None:
    both = [{"type": "cpu", "index": None, "name": "stub"}, {"type": "cuda", "index": 0, "name": "stub"}]
    base, head = stub(STEADY, name="base", devices=both), stub(STEADY, name="head")
    with suite.open("a", encoding="utf-8") as file:
        file.write('device = ["cpu", "cuda"]\n')
    with pytest.raises(DeviceError, match="cuda was not found for head"):
        ab(suite, (base, head))


def test_an_arm_that_computes_something_else_gets_no_pairs(suite: Path, arms: Any, tmp_path: Path) -> None:
    ended = ab(suite, arms(DEPTHWISE | STEADY | {"fault": "incorrect"}), quick=True, axes=EIGHT)
    assert ended["code"] == 4
    assert verdict_by_kind(ended)["depthwise"] == {"not comparable"}
    assert visits(tmp_path).query("kind == 'depthwise'")["status"].tolist() == ["incorrect"]


def test_disturbed_pairs_are_repeated_twice_at_most_and_end_inconclusive(
    suite: Path, arms: Any, tmp_path: Path
) -> None:
    ended = ab(suite, arms(DEPTHWISE | STEADY | {"fault": "invalid", "latency_s": 2e-3}), axes=EIGHT)
    assert ended["code"] == 0
    assert verdict_by_kind(ended)["depthwise"] == {"inconclusive"}
    assert {
        row["reason"].partition(":")[0] for row in ended["cases"] if row["verdict"] == "inconclusive"
    } == {"load"}
    assert (
        visits(tmp_path)
        .query("kind == 'depthwise' and arm == 'base'")
        .groupby(["case_id", "round"])
        .size()
        .eq(3)
        .all()
    )


def test_a_quick_run_gives_no_verdict(suite: Path, arms: Any, tmp_path: Path) -> None:
    ended = ab(suite, arms(DEPTHWISE | STEADY | {"latency_s": 2e-3}), quick=True)
    assert ended["code"] == 0
    assert verdict_by_kind(ended) == {
        kind: {"inconclusive"} for kind in ("depthwise", "standard", "pointwise")
    }
    assert visits(tmp_path)["pair"].nunique() == 6


def test_where_no_time_is_left_nothing_is_claimed(suite: Path, arms: Any) -> None:
    ended = ab(suite, arms(), time_limit_s=0.01)
    assert ended["code"] == 3
    assert ended["cases"] == []


@pytest.mark.parametrize(
    ("left_s", "pairs", "lacking_s"), [(None, 8, 0), (24, 8, 0), (20, 6, 6), (15, 5, 9), (14, None, 24)]
)
def test_as_many_pairs_confirm_as_the_time_holds_and_what_is_lacking_is_known(
    left_s: float | None, pairs: int | None, lacking_s: float
) -> None:
    """Eight are wanted, of a second each, in rounds whose workers take two to come up; fewer than five are
    none."""
    of = case()
    plan = plan_confirming(pd.DataFrame(pairs_of(of, 1.1, count=5)), Gate(), lambda _: 1.0, 2.0, left_s)
    assert plan.pairs == ({of.case_id: pairs} if pairs else {})
    assert plan.left == ([] if pairs else [of.case_id])
    assert plan.lacking_s == pytest.approx(lacking_s)
    few = plan_confirming(
        pd.DataFrame(pairs_of(of, 1.1, count=5)), Gate(confirm_pairs=(3, 4)), lambda _: 1.0, 2.0, None
    )
    assert few.pairs == {of.case_id: 3}


def test_arms_that_do_not_fit_the_device_together_are_measured_apart(
    suite: Path, arms: Any, tmp_path: Path
) -> None:
    devices = [{"type": "cuda", "index": 0, "name": "stub"}]
    both = arms(DEPTHWISE | STEADY | {"turns_fault": "out_of_memory"}, devices=devices)
    ended = ab(suite, both, axes=EIGHT | {"device": ("cuda",)})
    assert ended["code"] == 0
    rows = visits(tmp_path)
    assert rows.groupby("kind")["turns"].agg(set).to_dict() == {
        "depthwise": {0},
        "standard": {12},
        "pointwise": {12},
    }


def test_two_implementations_in_one_interpreter(suite: Path, stub: Stub, tmp_path: Path) -> None:
    python = stub(
        {"match": {"implementation": "mine:layer", "kind": "pointwise"}, "latency_s": 0.5e-3, **STEADY},
        STEADY,
    )
    ended = ab(suite, (python, python), implementation="mine:layer", axes=EIGHT)
    assert verdict_by_kind(ended) == {"depthwise": {"same"}, "standard": {"same"}, "pointwise": {"improved"}}
    assert visits(tmp_path).groupby("arm")["implementation"].agg(set).to_dict() == {
        "base": {"torch"},
        "head": {"mine:layer"},
    }
    assert ended["head"] == "head (mine:layer)"


def test_what_torch_differs_in_is_told_before_the_cases(
    convscope: Convscope, suite: Path, stub: Stub
) -> None:
    base, head = (
        stub(STEADY, name=f"torch{version}", environment={"torch": version}) for version in ("2.12", "2.13")
    )
    chosen = ("-a", "in_channels=8", "-a", "kind=depthwise")
    ended = convscope("ab", suite, *chosen, "--base-python", base, "--head-python", head)
    headline, environments, *_ = ended.out.splitlines()
    assert headline.startswith("Nothing regressed")
    assert environments == "Environments differ: torch 2.12 -> 2.13."


def test_an_environment_against_itself_is_a_check_and_says_so(
    convscope: Convscope, suite: Path, stub: Stub
) -> None:
    ended = convscope("ab", suite, "--base-python", stub(STEADY), "--quick")
    assert ended.code == 0
    assert "Both sides are the same: this checks the machine and the method." in ended.out


def test_a_run_is_judged_again_with_another_tolerance(
    convscope: Convscope, regressed: tuple[Ended, Path]
) -> None:
    run = str(regressed[1])
    allowed = convscope("compare", run, "--tolerance", "20%", "--json")
    assert allowed.code == 0
    assert allowed.json["counts"] == {"same": 12}
    assert as_json(harness.compare(run, metric="peak_bytes"))["code"] == 0
    shown = convscope("compare", run, "--only", "regressed", "--json")
    assert (shown.code, {row["verdict"] for row in shown.json["cases"]}) == (1, {"regressed"})
    assert shown.json["counts"] == {"regressed": 2, "same": 10}, "what is concluded does not change"


@pytest.mark.parametrize("text", ["150%", "-1", "much"])
def test_a_tolerance_that_is_none_is_refused(convscope: Convscope, text: str) -> None:
    ended = convscope("compare", "last", "--tolerance", text)
    assert ended.code == 2
    assert "0.03" in ended.err


def test_the_gate_of_the_suite_stands_in_the_run(suite: Path, arms: Any, tmp_path: Path) -> None:
    with suite.open("a", encoding="utf-8") as file:
        file.write(
            "[gate]\ntolerance = { latency_s = 0.3 }\n"
            '[[gate.override]]\nmatch = { kind = "pointwise" }\ntolerance = { latency_s = 0.01 }\n'
        )
    slower = (
        DEPTHWISE | STEADY | {"latency_s": 1.1e-3},
        {"match": {"kind": "pointwise"}, "latency_s": 1.1e-3} | STEADY,
    )
    ended = ab(suite, arms(*slower), axes=EIGHT)
    assert verdict_by_kind(ended) == {"depthwise": {"same"}, "standard": {"same"}, "pointwise": {"regressed"}}
    assert header(tmp_path)["gate"]["tolerance"]["latency_s"] == 0.3
