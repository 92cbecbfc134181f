"""Comparisons of made visits: verdicts, reasons, exit codes."""

from __future__ import annotations

from math import exp
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.analysis import comparison
from harness.analysis.pair_effects import SIDES
from harness.core.columns import case_columns
from harness.core.gate import Gate
from tests.visits import case, pairs_of, visit

GATE = Gate()


def latency(found: comparison.Comparison) -> dict[str, Any]:
    """The first row about latency."""
    row: dict[str, Any] = found.verdicts.query("metric == 'latency_s'").iloc[0].to_dict()
    return row


def test_sides_that_run_a_case_differently_are_compared_and_its_label_is_of_both() -> None:
    mine = case(implementation="mine:layer", memory_format="channels_last")
    rows = [row | case_columns(mine) if row["arm"] == "head" else row for row in pairs_of(case(), 1.0)]
    found = comparison.judge_pairs(pd.DataFrame(rows), GATE, changed=["implementation", "memory_format"])
    assert latency(found)["verdict"] == "same"
    assert latency(found)["label"] == case().label
    assert found.code == 0


def test_a_regression_has_exit_code_1_and_its_figures() -> None:
    found = comparison.judge_pairs(
        pd.DataFrame(pairs_of(case(), 1.1) + pairs_of(case(), 1.1, 8, "confirm")), GATE
    )
    row = latency(found)
    assert (row["verdict"], row["stage"], row["pairs"]) == ("regressed", "confirm", 8)
    assert row["ratio"] == pytest.approx(1.1)
    assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
    assert found.code == 1


@pytest.mark.parametrize(("policy", "code"), [("pass", 0), ("fail", 1)])
@pytest.mark.parametrize(("ended", "reason"), [("time_limit", "time"), ("complete", "not confirmed")])
def test_what_was_not_confirmed_is_inconclusive_and_says_why(
    policy: str, code: int, ended: str, reason: str
) -> None:
    found = comparison.judge_pairs(
        pd.DataFrame(pairs_of(case(), 1.1)), Gate(inconclusive=policy), comparison.Completeness(ended=ended)
    )
    assert (latency(found)["verdict"], latency(found)["reason"].partition(":")[0]) == ("inconclusive", reason)
    assert found.code == code


def test_confirming_pairs_that_were_all_disturbed_do_not_fall_back_to_the_screening() -> None:
    rows = pairs_of(case(), 1.0) + pairs_of(case(), 1.0, 6, "confirm", trust="invalid")
    found = comparison.judge_pairs(pd.DataFrame(rows), GATE)
    assert (latency(found)["verdict"], latency(found)["reason"].partition(":")[0]) == ("inconclusive", "load")


def test_a_confirmation_that_load_spoilt_says_load() -> None:
    rows = (
        pairs_of(case(), 1.02)
        + pairs_of(case(), 1.02, 4, "confirm")
        + pairs_of(case(), 1.02, 4, "confirm", trust="invalid")
    )
    for number, row in enumerate(rows[-8:]):
        row["pair"] = 200 + number // 2
    found = comparison.judge_pairs(
        pd.DataFrame(rows), GATE, comparison.Completeness(planned={rows[0]["asked_id"]: 8})
    )
    assert (latency(found)["verdict"], latency(found)["reason"].partition(":")[0]) == ("inconclusive", "load")


def test_a_case_that_got_fewer_pairs_than_were_planned_says_so() -> None:
    rows = pairs_of(case(), 1.02) + pairs_of(case(), 1.02, 4, "confirm")
    found = comparison.judge_pairs(
        pd.DataFrame(rows),
        GATE,
        comparison.Completeness(ended="time_limit", planned={rows[0]["asked_id"]: 8}),
    )
    assert latency(found)["verdict"] == "inconclusive"
    assert latency(found)["reason"] == "time: fewer pairs than were planned before the time limit"


@pytest.mark.parametrize(
    ("ended", "code"), [("complete", 0), ("time_limit", 0), ("interrupted", 3), ("running", 3)]
)
def test_a_run_that_was_stopped_does_not_pass(ended: str, code: int) -> None:
    assert (
        comparison.judge_pairs(
            pd.DataFrame(pairs_of(case(), 1.0)), GATE, comparison.Completeness(ended=ended)
        ).code
        == code
    )


@pytest.mark.parametrize(("policy", "code"), [("pass", 0), ("fail", 1)])
def test_cases_that_were_not_reached_are_inconclusive(policy: str, code: int) -> None:
    found = comparison.judge_pairs(
        pd.DataFrame(pairs_of(case(), 1.0)), Gate(inconclusive=policy), comparison.Completeness(unreached=2)
    )
    assert found.counts == {"inconclusive": 2, "same": 1}
    assert found.code == code


def test_a_case_that_was_always_disturbed_is_inconclusive_for_load() -> None:
    found = comparison.judge_pairs(pd.DataFrame(pairs_of(case(), 1.5, trust="invalid")), GATE)
    assert (latency(found)["verdict"], latency(found)["reason"].partition(":")[0]) == ("inconclusive", "load")
    assert found.code == 0


def test_a_quick_run_gives_no_verdict() -> None:
    found = comparison.judge_pairs(
        pd.DataFrame(pairs_of(case(), 1.5, 1)), GATE, comparison.Completeness(quick=True)
    )
    assert (latency(found)["verdict"], latency(found)["reason"].partition(":")[0]) == (
        "inconclusive",
        "quick",
    )


def test_an_arm_that_fails_is_not_comparable_and_exit_code_4() -> None:
    rows = [
        visit(
            "base",
            case(),
            1,
            [1.0],
            status="skipped",
            message="partner crashed",
            latency_s=None,
            trust="unknown",
        )
    ]
    rows += [
        visit("head", case(), 1, [1.0], status="crashed", message="SIGSEGV", latency_s=None, trust="unknown")
    ]
    found = comparison.judge_pairs(pd.DataFrame(rows + pairs_of(case("standard"), 1.0)), GATE)
    row = found.verdicts[found.verdicts["kind"] == "depthwise"].iloc[0]
    assert (row["verdict"], row["reason"]) == ("not comparable", "head crashed: SIGSEGV")
    assert found.code == 4


def test_more_memory_is_a_regression_and_other_macs_cannot_be_compared() -> None:
    rows = [row | {"peak_bytes": 1000 if row["arm"] == "base" else 1100} for row in pairs_of(case(), 1.0)]
    found = comparison.judge_pairs(pd.DataFrame(rows), GATE)
    memory = found.verdicts.query("metric == 'peak_bytes'").iloc[0]
    assert (memory["verdict"], memory["ratio"]) == ("regressed", pytest.approx(1.1))
    assert found.code == 1
    allowed = comparison.judge_pairs(pd.DataFrame(rows), Gate(tolerance={"peak_bytes": 0.2}))
    assert allowed.code == 0
    recounted = [row | {"macs": 5 if row["arm"] == "base" else 6} for row in pairs_of(case(), 1.0)]
    found = comparison.judge_pairs(pd.DataFrame(recounted), GATE)
    assert (latency(found)["verdict"], latency(found)["reason"]) == ("not comparable", "macs 5 -> 6")
    assert found.code == 3


def runs_of(
    *factors: float, kinds: tuple[str, ...] = ("depthwise",), spread: float = 0.002
) -> list[pd.DataFrame]:
    random = np.random.default_rng(1)
    return [
        pd.DataFrame(
            [
                visit(
                    "main",
                    case(kind),
                    None,
                    [1e-3 * factor * exp(random.normal(0, spread))] * 3,
                    process=f"p{i}",
                    round=i + 1,
                )
                for kind in kinds
                for i in range(5)
            ]
        )
        for factor in factors
    ]


def test_an_arm_that_did_not_reach_a_case_has_no_missing_one() -> None:
    rows = [*pairs_of(case(), 1.0), visit("base", case("standard"), 50, [1e-3] * 3)]
    found = comparison.judge_pairs(pd.DataFrame(rows), GATE, comparison.Completeness(ended="time_limit"))
    row = found.verdicts[found.verdicts["kind"] == "standard"].iloc[0]
    assert (row["verdict"], row["reason"]) == ("inconclusive", "time: head did not reach it")


def test_what_neither_arm_supports_is_no_failure() -> None:
    refused = {
        "status": "skipped",
        "message": "8 threads are asked for",
        "trust": "unknown",
        "latency_s": None,
    }
    rows = pairs_of(case(), 1.0) + [visit(side, case("standard"), 50, [1.0], **refused) for side in SIDES]
    found = comparison.judge_pairs(pd.DataFrame(rows), GATE)
    assert (found.code, found.verdicts["kind"].unique().tolist()) == (0, ["depthwise"])


def test_the_latencies_shown_are_those_that_were_judged() -> None:
    base, head = runs_of(1.0, 1.0)
    disturbed = head.head(2).assign(latency_s=9e-3, trust="invalid")
    row = latency(comparison.judge_runs(base, pd.concat([head, disturbed]), GATE))
    assert row["head"] / row["base"] == pytest.approx(row["ratio"])
    assert row["head"] < 1.1e-3, "not the disturbed ones"


def twelve_cases(*factors: float) -> list[pd.DataFrame]:
    """For each factor, a run of so many, that much slower."""
    kinds = ("standard", "depthwise", "pointwise", "depthwise_separable")
    return [
        pd.concat([run.assign(descriptor=run["descriptor"] + str(i)) for i in range(3)])
        for run in runs_of(*factors, kinds=kinds)
    ]


def by_label(found: comparison.Comparison) -> dict[str, str]:
    return dict(zip(found.verdicts["match_id"], found.verdicts["verdict"], strict=True))


def test_what_all_cases_share_is_a_verdict_of_its_own() -> None:
    base, head = twelve_cases(1.0, 1.2)
    found = comparison.judge_runs(base, head, GATE)
    row = found.verdicts.iloc[0]
    assert (row["label"], row["verdict"], found.code) == ("all 12 cases together", "regressed", 1)
    assert row["ratio"] == pytest.approx(1.2, rel=0.01)
    assert set(found.verdicts["verdict"][1:]) == {"same"}, "none of them beyond what they share"


def test_runs_whose_rounds_differ_as_much_prove_no_shift() -> None:
    base, head = (
        run.assign(block_figures_s=_by_round(run, [1.0, 1.2, 0.9, 1.1, 1.3]))
        for run in twelve_cases(1.0, 1.2)
    )
    found = by_label(comparison.judge_runs(base, head, GATE))
    assert found.pop("all") == "inconclusive"
    assert set(found.values()) == {"same"}, "a round that is slow for all is none of a case's own"


def _by_round(run: pd.DataFrame, factors: list[float]) -> list[np.ndarray]:
    return [
        np.array(figures) * factors[number - 1]
        for figures, number in zip(run["block_figures_s"], run["round"], strict=True)
    ]


def test_one_case_of_twelve_is_found_beside_a_shift() -> None:
    base, head = twelve_cases(1.0, 1.2)
    slow = head["descriptor"] == head["descriptor"].iloc[0]
    head["block_figures_s"] = [
        np.array(figures) * (1.1 if one else 1.0)
        for figures, one in zip(head["block_figures_s"], slow, strict=True)
    ]
    found = by_label(comparison.judge_runs(base, head, GATE))
    assert [name for name, verdict in found.items() if verdict == "regressed"] == [
        "all",
        head["descriptor"].iloc[0],
    ]


def test_no_visit_at_all_is_nothing_to_compare() -> None:
    found = comparison.judge_pairs(pd.DataFrame(pairs_of(case(), 1.0)).head(0), GATE)
    assert (found.code, found.counts, found.smallest_effect) == (3, {}, None)


def test_one_case_is_judged_by_what_runs_of_its_machine_differ_by() -> None:
    base, head = runs_of(1.0, 1.06)
    assert latency(comparison.judge_runs(base, head, GATE))["verdict"] == "regressed"
    assert latency(comparison.judge_runs(base, head, GATE, run_spread=0.03))["verdict"] == "inconclusive"


def test_new_and_missing_cases_are_told() -> None:
    (base,), (head,) = (
        runs_of(1.0, kinds=("depthwise", "standard")),
        runs_of(1.0, kinds=("depthwise", "pointwise")),
    )
    asked = {"base": set(base["case_id"]), "head": set(head["case_id"])}
    found = comparison.judge_runs(base, head, GATE, asked=asked, run_spread=0.002)
    assert found.verdicts.set_index("kind")["verdict"].to_dict() == {
        "depthwise": "same",
        "standard": "missing",
        "pointwise": "new",
    }
    assert found.code == 3
    cut_short = comparison.judge_runs(base, head, GATE, asked=asked | {"head": asked["head"] | asked["base"]})
    row = cut_short.verdicts[cut_short.verdicts["kind"] == "standard"].iloc[0]
    assert (row["verdict"], row["reason"]) == ("inconclusive", "time: head did not reach it")


def test_an_override_holds_for_the_cases_that_it_matches() -> None:
    gate = Gate.from_json({"override": [{"match": {"kind": "depthwise"}, "tolerance": {"latency_s": 0.2}}]})
    base, head = runs_of(1.0, 1.1, kinds=("depthwise", "standard"))
    found = comparison.judge_runs(base, head, gate)
    assert found.verdicts.set_index("kind")["verdict"].to_dict() == {
        "depthwise": "same",
        "standard": "regressed",
    }
