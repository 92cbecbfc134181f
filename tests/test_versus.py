"""Several arms in turns, end to end against stub workers, and their ranking from made visits."""

from __future__ import annotations

import random
from pathlib import Path

import pandas as pd
import pytest

import harness
from harness import Side, load_results, ranked
from harness.analysis.ranking import rank
from harness.core.errors import UsageError
from harness.output import ranking_text
from harness.tasks.versus import parse_arm
from tests.conftest import Convscope, Stub
from tests.visits import case, visit

STEADY = {"spread": 0.001}
NHWC = {"match": {"memory_format": "channels_last"}}
FOUR = ["base", "equal", "slow", "fast"]


def visits_of(factors: dict[str, float], pairs: int = 12, spread: float = 0.0, seed: int = 0) -> pd.DataFrame:
    """So many pairs of a case, whose arms take so many times as long; `spread` is that of a pair's ratio."""
    chance = random.Random(seed)
    return pd.DataFrame(
        [
            visit(arm, case(), pair, [factor * chance.lognormvariate(0, spread)] * 12)
            for pair in range(pairs)
            for arm, factor in factors.items()
        ]
    )


def test_arms_are_ranked_by_their_times_and_equal_ones_are_tied() -> None:
    (one,) = rank(visits_of(dict(zip(FOUR, (1.0, 1.0, 1.2, 0.8), strict=True)), spread=0.01), FOUR, [])
    assert [place.arm for place in one.places] in (
        ["fast", "base", "equal", "slow"],
        ["fast", "equal", "base", "slow"],
    )
    assert one.first == ["fast"]
    over = one.over("fast", "slow")
    assert over is not None
    assert over.low < 1.5 < over.high
    between = one.over("base", "equal")
    assert between is not None
    assert between.low < 1 < between.high
    assert one.over("slow", "fast") == over.inverse


def test_arms_that_nothing_tells_apart_share_the_first_place() -> None:
    (one,) = rank(visits_of({"a": 1.0, "b": 1.0}, spread=0.02, seed=1), ["a", "b"], [])
    assert sorted(one.first) == ["a", "b"]
    assert "cannot be told from it" in ranking_text.headline([one])


@pytest.mark.slow
def test_all_intervals_of_a_case_hold_at_once_in_19_of_20() -> None:
    """Four equal arms, six ratios: without Bonferroni's share one of them misses 1 in every fourth case."""
    cases = [
        visits_of(dict.fromkeys(FOUR, 1.0), pairs=6, spread=0.02, seed=seed).assign(
            asked_id=f"{seed}", pair=lambda rows, seed=seed: rows["pair"] + 6 * seed
        )
        for seed in range(300)
    ]
    found = rank(pd.concat(cases, ignore_index=True), FOUR, [])
    assert len(found) == 300
    missed = sum(any(not ratio.low <= 1 <= ratio.high for ratio in one.ratios.values()) for one in found)
    assert missed <= 25, "15 are expected, and 25 are exceeded in one of a hundred"


def test_arms_that_lack_pairs_with_each_other_are_ordered_by_those_that_they_share() -> None:
    """b and c are equal, a is slower; b and c met in no valid pair."""
    rows = visits_of({"a": 1.2, "b": 1.0, "c": 1.1}, pairs=8)
    rows.loc[(rows["arm"] == "b") & (rows["pair"] >= 4), "trust"] = "invalid"
    rows.loc[(rows["arm"] == "c") & (rows["pair"] < 4), "trust"] = "invalid"
    (one,) = rank(rows, ["a", "b", "c"], [])
    assert [place.arm for place in one.places] == ["b", "c", "a"]
    assert one.over("b", "c") is None
    assert one.places[1].message == "fewer than 3 undisturbed pairs with the fastest"


def test_a_label_leaves_out_what_arms_differ_in_and_is_the_first_arms() -> None:
    rows = [
        visit(arm, case(dtype=dtype), pair, [1.0] * 12, asked_id="x")
        for pair in range(3)
        for arm, dtype in (("half", "float16"), ("brain", "bfloat16"))
    ]
    (one,) = rank(pd.DataFrame(rows), ["brain", "half"], ["dtype"])
    assert one.label == "depthwise 8->8 k3 1x8x14x14 cpu"


def test_a_pair_counts_for_the_arms_that_were_undisturbed_in_it() -> None:
    rows = visits_of({"a": 1.0, "b": 1.1, "c": 1.3}, pairs=5)
    rows.loc[(rows["arm"] == "c") & (rows["pair"] < 3), "trust"] = "invalid"
    (one,) = rank(rows, ["a", "b", "c"], [])
    assert [place.arm for place in one.places if place.latency_s] == ["a", "b"]
    assert one.places[-1].message == "fewer than 3 undisturbed pairs with the fastest"


@pytest.mark.parametrize(
    ("text", "name", "side"),
    [
        ("nhwc:memory_format=channels_last", "nhwc", Side(axes={"memory_format": "channels_last"})),
        ("usual:", "usual", Side()),
        ("threads=1", "threads=1", Side(axes={"threads": "1"})),
        ("old:python=a/b,groups=4", "old", Side("a/b", axes={"groups": 4})),
        ("own:implementation=mine:layer", "own", Side(axes={"implementation": "mine:layer"})),
        ("threads=1,groups=4", "threads=1,groups=4", Side(axes={"threads": "1", "groups": 4})),
    ],
)
def test_an_arm_is_a_name_and_what_it_changes(text: str, name: str, side: Side) -> None:
    assert parse_arm(text) == (name, side)


@pytest.mark.parametrize("text", ["", "a:threads=1,2", "a:colour=red", "a:threads"])
def test_an_arm_that_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_arm(text)


@pytest.mark.usefixtures("own_folder")
def test_all_arms_of_a_pair_take_turns_and_the_run_is_kept(suite: Path, stub: Stub, tmp_path: Path) -> None:
    python = str(stub(NHWC | {"latency_s": 0.8e-3} | STEADY, STEADY))
    sides = {
        "nchw": Side(python),
        "nhwc": Side(python, axes={"memory_format": "channels_last"}),
        "one": Side(python, axes={"threads": "1"}),
    }
    run = harness.versus(sides, suite, pairs=5)
    rows = run.visits
    assert rows.groupby("pair")["arm"].agg(sorted).map(tuple).unique().tolist() == [("nchw", "nhwc", "one")]
    assert rows.groupby(["asked_id", "arm"]).size().eq(5).all()
    assert (rows["turns"] == 12).all()
    rankings = ranked(load_results("last"))
    assert len(rankings) == 6
    assert {one.first[0] for one in rankings} == {"nhwc"}
    assert all(len(one.first) == 1 for one in rankings)


@pytest.mark.usefixtures("own_folder")
def test_an_arm_that_fails_leaves_the_others_in_the_ranking(suite: Path, stub: Stub) -> None:
    python = str(stub(NHWC | {"fault": "error"} | STEADY, STEADY))
    sides = {
        "nchw": Side(python),
        "nhwc": Side(python, axes={"memory_format": "channels_last"}),
        "one": Side(python, axes={"threads": "1"}),
    }
    with pytest.raises(harness.ConvscopeError, match="6 of 6"):
        harness.versus(sides, suite, pairs=3)
    one = ranked(load_results("last"))[0]
    assert [place.arm for place in one.places if place.latency_s] in (["nchw", "one"], ["one", "nchw"])
    assert one.places[-1].message == "error: as scripted"


def test_the_command_ranks_and_says_who_is_fastest(convscope: Convscope, suite: Path, stub: Stub) -> None:
    python = stub(NHWC | {"latency_s": 0.8e-3} | STEADY, STEADY)
    arms = ("--arm", f"nchw:python={python}", "--arm", f"nhwc:python={python},memory_format=channels_last")
    ended = convscope("versus", suite, "-a", "kind=depthwise", "-a", "in_channels=8", *arms, "--pairs", "4")
    assert ended.code == 0, ended.err
    headline, *_ = ended.out.splitlines()
    assert headline.startswith("nhwc is fastest, ")
    assert "nchw takes 1.2" in headline
    again = convscope("versus", "--of", "last", "--json")
    assert again.json["arms"] == {"nchw": {}, "nhwc": {"memory_format": "channels_last"}}
    beside = convscope("versus", "--of", "last", "--reference", "nchw").out
    assert "times nchw" in beside
    assert "Arms: nhwc (memory_format=channels_last)." in beside
    (one,) = again.json["cases"]
    assert [place["arm"] for place in one["places"]] == ["nhwc", "nchw"]
    assert one["ratios"][0]["value"] == pytest.approx(0.8, rel=0.02)


@pytest.mark.usefixtures("own_folder")
def test_of_two_arms_the_one_that_is_left_is_not_accused(suite: Path, stub: Stub) -> None:
    python = str(stub(NHWC | {"fault": "error"} | STEADY, STEADY))
    sides = {"nchw": Side(python), "nhwc": Side(python, axes={"memory_format": "channels_last"})}
    with pytest.raises(harness.ConvscopeError, match="6 of 6"):
        harness.versus(sides, suite, pairs=3)
    messages = {place.arm: place.message for place in ranked(load_results("last"))[0].places}
    assert messages == {
        "nchw": "nobody was left to compare it with: nhwc failed",
        "nhwc": "error: as scripted",
    }


def test_a_ranking_is_no_ab_to_the_other_commands(convscope: Convscope, suite: Path, stub: Stub) -> None:
    python = stub(STEADY)
    arms = ("--arm", f"base:python={python}", "--arm", f"head:python={python},dtype=bfloat16")
    assert convscope("versus", suite, *arms, "--pairs", "3", "--json").code == 0
    for arguments, hint in {
        ("compare", "last"): "versus --of",
        ("compare", "last", "last"): "versus --of",
        ("export", "last", "--to", "pytest-benchmark"): "several arms",
        ("baseline", "save", "main", "last"): "several arms",
        ("versus", suite, "--of", "last"): "Give it alone",
        ("versus", "--of", "last", "--reference", "nobody"): "no arm 'nobody'",
    }.items():
        ended = convscope(*arguments)
        assert ended.code == 2, arguments
        assert hint in ended.err, arguments
    assert convscope("report", "last").code == 0
    assert convscope("run", suite, "--python", python).code == 0
    assert convscope("versus", "--of", "last").code == 2
    names = sorted(path.name for path in (suite.parent / "results").iterdir() if path.is_dir())
    several = convscope("report", *names)
    assert several.code == 2
    assert "a page of its own" in several.err


def test_what_time_did_not_reach_is_no_answer(convscope: Convscope, suite: Path, stub: Stub) -> None:
    python = stub(STEADY)
    arms = ("--arm", f"a:python={python}", "--arm", f"b:python={python},threads=1")
    ended = convscope("versus", suite, *arms, "--time-limit", "0.01")
    assert ended.code == 3
    assert "6 cases were not reached (time limit)." in ended.out


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("--arm", "a:"), "two arms or more"),
        (("--arm", "a:", "--arm", "a:threads=1"), "one name"),
        (("--arm", "a:", "--arm", "b:device=cuda"), "a run each"),
        (("--arm", "a:", "--arm", "b:groups=3"), "does not divide"),
        (("--arm", "a:", "--arm", "b:threads=1", "--reference", "c"), "no arm 'c'"),
        (("--of", "nothing"), "Give it alone"),
    ],
)
def test_what_cannot_be_ranked_is_refused(
    convscope: Convscope, suite: Path, arguments: tuple[str, ...], hint: str
) -> None:
    ended = convscope("versus", suite, *arguments)
    assert ended.code == 2
    assert hint in ended.err
