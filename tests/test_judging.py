"""Verdicts from figures: literal pairs, simulated ones, frames of visits. What the gate promises in numbers stands in test_gates."""

from __future__ import annotations

from math import exp, log, log1p
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

from harness import judging
from harness.arm import EMPTY_ROW
from harness.case import Case, Setting
from harness.gate import Gate
from harness.problem import Problem
from harness.record import case_columns
from harness.stats import RUN_SPREAD

TOLERANCE = 0.02
GATE = Gate()


def ratios(case: str, values: list[float], stage: str = "screen") -> pd.DataFrame:
    return pd.DataFrame({"match_id": case, "stage": stage, "pair": range(len(values)), "ratio": values})


def decide(*frames: pd.DataFrame, tolerance: float = TOLERANCE) -> pd.DataFrame:
    pairs = pd.concat(frames)
    screening, confirming = (pairs[pairs["stage"] == stage] for stage in ("screen", "confirm"))
    alone = screening[~screening["match_id"].isin(confirming["match_id"])]
    return judging.decide(alone, confirming, pd.Series(log1p(tolerance), index=pairs["match_id"].unique()))


def around(centre: float, spread: float, count: int) -> list[float]:
    """So many values with just this mean and standard deviation."""
    steps = np.linspace(-1, 1, count)
    return list(centre + spread * steps / steps.std(ddof=1))


def test_screening_clears_what_lies_within_the_tolerance_and_accuses_nobody() -> None:
    found = decide(ratios("quiet", around(0, 0.005, 5)), ratios("slow", around(log(1.1), 0.005, 5)))
    assert found["verdict"].to_dict() == {"quiet": "same", "slow": "inconclusive"}


def test_confirming_pairs_alone_judge_a_case_that_has_them() -> None:
    slow, quiet = around(log(1.1), 0.005, 5), around(0, 0.005, 8)
    found = decide(ratios("a", slow), ratios("a", quiet, "confirm"), ratios("b", slow), ratios("b", around(log(1.05), 0.01, 8), "confirm"))
    assert found["verdict"].to_dict() == {"a": "same", "b": "regressed"}
    assert (found["stage"] == "confirm").all()


def test_a_case_that_got_faster_is_named_too() -> None:
    assert decide(ratios("a", around(-0.08, 0.005, 6), "confirm"))["verdict"].tolist() == ["improved"]


def test_a_difference_near_the_tolerance_is_neither_named_nor_cleared() -> None:
    assert decide(ratios("a", around(log1p(TOLERANCE), 0.01, 6), "confirm"))["verdict"].tolist() == ["inconclusive"]


def test_the_one_test_is_a_shifted_t_test() -> None:
    """Against scipy's own."""
    from scipy.stats import ttest_1samp

    values = around(log(1.04), 0.012, 7)
    row = decide(ratios("a", values, "confirm")).iloc[0]
    assert row["p_slower"] == pytest.approx(ttest_1samp(values, log1p(TOLERANCE), alternative="greater").pvalue)
    low, high = student.interval(0.9, 6, np.mean(values), np.std(values, ddof=1) / np.sqrt(7))
    assert (row["low"], row["high"]) == pytest.approx((low, high))


def test_welch_is_scipys() -> None:
    from scipy.stats import ttest_ind

    base, head = [1.0, 1.02, 0.99, 1.01], [1.05, 1.1, 1.06]
    frames = [pd.DataFrame({"match_id": "a", "latency_s": values}) for values in (base, head)]
    row = judging.unpaired_effects(*frames).iloc[0]
    theirs = ttest_ind(np.log(head), np.log(base), equal_var=False)
    own_error = np.sqrt(row["error"] ** 2 - 2 * RUN_SPREAD**2)
    assert row["mean"] / own_error == pytest.approx(theirs.statistic)
    assert row["degrees"] == pytest.approx(theirs.df)


def test_pairs_are_planned_from_the_spread_between_the_gates_bounds() -> None:
    assert judging.confirming_pairs(0.001, 5, TOLERANCE, (6, 20)) == (6, False)
    wanted = (0.02 * 2 * student.ppf(0.95, 4) / log(1.05 / 1.02)) ** 2
    assert judging.confirming_pairs(0.02, 5, TOLERANCE, (6, 20)) == (int(np.ceil(wanted)), False)
    assert judging.confirming_pairs(0.2, 5, TOLERANCE, (6, 20)) == (20, True)


def test_the_smallest_effect_is_found_four_times_in_five() -> None:
    """Simulated: 20,000 single cases with a slowdown of just that size."""
    spread, pairs = 0.01, 8
    limit = pd.Series([log1p(TOLERANCE)])
    smallest = float(judging.smallest_effects(pd.Series([spread / np.sqrt(pairs)]), pd.Series([pairs - 1]), limit, 1)[0])
    draws = np.random.default_rng(0).normal(log1p(smallest), spread, (20_000, pairs))
    statistic = (draws.mean(1) - limit[0]) / (draws.std(1, ddof=1) / np.sqrt(pairs))
    assert (student.sf(statistic, pairs - 1) <= 0.05).mean() == pytest.approx(0.8, abs=0.02)


def test_a_common_factor_is_one_finding() -> None:
    moved = judging.common_factor([log(1.08) + 0.003 * i for i in range(-5, 6)], log1p(TOLERANCE))
    assert moved is not None
    assert moved.ratio == pytest.approx(1.08)
    assert moved.low < moved.ratio < moved.high
    assert judging.common_factor([0.001 * i for i in range(-5, 6)], log1p(TOLERANCE)) is None
    assert judging.common_factor([log(1.08)] * 5, log1p(TOLERANCE)) is None, "five cases have no 95 % interval of a median"


# frames of visits


def case(kind: str = "depthwise", **setting: Any) -> Case:
    return Case(Problem(kind, in_channels=8, size=14), Setting(**setting))


def visit(arm: str, of: Case, pair: int | None, block_medians: list[float], **values: Any) -> dict[str, Any]:
    """A visit of blocks of three samples each."""
    samples = [median * step for median in block_medians for step in (0.9, 1.0, 1.2)]
    row = EMPTY_ROW | case_columns(of) | {"arm": arm, "run_id": "r", "pair": pair, "stage": "screen" if pair is not None else None, "status": "ok"}
    row |= {"trust": "ok", "trust_reasons": [], "samples_s": samples, "block_ends": [3 * (i + 1) for i in range(len(block_medians))]}
    row |= {"turns": len(block_medians) if pair is not None else 0, "latency_s": float(np.median(samples)), "process": f"{arm}{pair}"}
    return row | {"threads_used": 2, "device_name": "cpu"} | values


def pairs_of(of: Case, factor: float, count: int = 6, stage: str = "screen", **head: Any) -> list[dict[str, Any]]:
    rows = []
    for pair in range(count):
        blocks = [1e-3 * (1 + 0.001 * pair + 0.3 * block) for block in range(6)]  # what disturbs one disturbs the other
        number = pair + (100 if stage == "confirm" else 0)
        rows += [visit("base", of, number, blocks, stage=stage), visit("head", of, number, [factor * x for x in blocks], stage=stage, **head)]
    return rows


def frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows).assign(match_id=lambda visits: judging.match_ids(visits))


def test_a_pairs_figure_is_the_median_over_corresponding_blocks() -> None:
    blocks = [1e-3, 2e-3, 3e-3]
    rows = [visit("base", case(), 1, blocks), visit("head", case(), 1, [1.1e-3, 2.2e-3, 30e-3])]
    found = judging.pair_ratios(frame(rows))
    assert found["ratio"].tolist() == pytest.approx([log(1.1)])


def test_a_pair_without_turns_is_the_ratio_of_its_latencies() -> None:
    rows = [visit("base", case(), 1, [1e-3] * 3, turns=0, latency_s=2e-3), visit("head", case(), 1, [1e-3] * 3, turns=0, latency_s=3e-3)]
    assert judging.pair_ratios(frame(rows))["ratio"].tolist() == pytest.approx([log(1.5)])


def test_an_invalid_visit_takes_its_pair_along() -> None:
    rows = [visit("base", case(), 1, [1e-3] * 3, trust="invalid"), visit("head", case(), 1, [1e-3] * 3)]
    assert judging.pair_ratios(frame(rows)).empty


def latency(comparison: judging.Comparison) -> dict[str, Any]:
    """The first row about latency."""
    row: dict[str, Any] = comparison.verdicts.query("metric == 'latency_s'").iloc[0].to_dict()
    return row


def test_arms_that_differ_in_their_implementation_alone_are_the_same_case() -> None:
    mine = case(implementation="mine:layer")
    rows = [row | case_columns(mine) if row["arm"] == "head" else row for row in pairs_of(case(), 1.0)]
    found = judging.judge_pairs(pd.DataFrame(rows), GATE)
    assert latency(found)["verdict"] == "same"
    assert "mine:layer" in latency(found)["label"]
    assert found.code == 0


def test_a_regression_has_exit_code_1_and_its_figures() -> None:
    found = judging.judge_pairs(pd.DataFrame(pairs_of(case(), 1.1) + pairs_of(case(), 1.1, 8, "confirm")), GATE)
    row = latency(found)
    assert (row["verdict"], row["stage"], row["pairs"]) == ("regressed", "confirm", 8)
    assert row["ratio"] == pytest.approx(1.1)
    assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
    assert found.code == 1


@pytest.mark.parametrize(("policy", "code"), [("pass", 0), ("fail", 1)])
@pytest.mark.parametrize(("timed_out", "reason"), [(True, "time"), (False, "screened")])
def test_what_was_not_confirmed_is_inconclusive_and_says_why(policy: str, code: int, timed_out: bool, reason: str) -> None:
    found = judging.judge_pairs(pd.DataFrame(pairs_of(case(), 1.1)), Gate(inconclusive=policy), judging.Manner(timed_out=timed_out))
    assert (latency(found)["verdict"], latency(found)["reason"].partition(":")[0]) == ("inconclusive", reason)
    assert found.code == code


def test_confirming_pairs_that_were_all_disturbed_do_not_fall_back_to_the_screening() -> None:
    rows = pairs_of(case(), 1.0) + pairs_of(case(), 1.0, 6, "confirm", trust="invalid")
    found = judging.judge_pairs(pd.DataFrame(rows), GATE)
    assert (latency(found)["verdict"], latency(found)["reason"].partition(":")[0]) == ("inconclusive", "load")


def test_a_case_that_was_always_disturbed_is_inconclusive_for_load() -> None:
    found = judging.judge_pairs(pd.DataFrame(pairs_of(case(), 1.5, trust="invalid")), GATE)
    assert (latency(found)["verdict"], latency(found)["reason"].partition(":")[0]) == ("inconclusive", "load")
    assert found.code == 0


def test_a_quick_run_gives_no_verdict() -> None:
    found = judging.judge_pairs(pd.DataFrame(pairs_of(case(), 1.5, 1)), GATE, judging.Manner(quick=True))
    assert (latency(found)["verdict"], latency(found)["reason"].partition(":")[0]) == ("inconclusive", "quick")


def test_an_arm_that_fails_is_not_comparable_and_exit_code_4() -> None:
    rows = [visit("base", case(), 1, [1.0], status="skipped", message="partner crashed", latency_s=None, trust="unknown")]
    rows += [visit("head", case(), 1, [1.0], status="crashed", message="SIGSEGV", latency_s=None, trust="unknown")]
    found = judging.judge_pairs(pd.DataFrame(rows + pairs_of(case("standard"), 1.0)), GATE)
    row = found.verdicts[found.verdicts["kind"] == "depthwise"].iloc[0]
    assert (row["verdict"], row["reason"]) == ("not comparable", "head crashed: SIGSEGV")
    assert found.code == 4


def test_more_memory_is_a_regression_and_other_macs_cannot_be_compared() -> None:
    rows = [row | {"peak_bytes": 1000 if row["arm"] == "base" else 1100} for row in pairs_of(case(), 1.0)]
    found = judging.judge_pairs(pd.DataFrame(rows), GATE)
    memory = found.verdicts.query("metric == 'peak_bytes'").iloc[0]
    assert (memory["verdict"], memory["ratio"]) == ("regressed", pytest.approx(1.1))
    assert found.code == 1
    allowed = judging.judge_pairs(pd.DataFrame(rows), Gate(tolerance={"peak_bytes": 0.2}))
    assert allowed.code == 0
    recounted = [row | {"macs": 5 if row["arm"] == "base" else 6} for row in pairs_of(case(), 1.0)]
    found = judging.judge_pairs(pd.DataFrame(recounted), GATE)
    assert (latency(found)["verdict"], latency(found)["reason"]) == ("not comparable", "macs 5 -> 6")
    assert found.code == 3


def runs_of(*factors: float, kinds: tuple[str, ...] = ("depthwise",), spread: float = 0.002) -> list[pd.DataFrame]:
    random = np.random.default_rng(1)
    return [
        pd.DataFrame(
            [
                visit("main", case(kind), None, [1e-3 * factor * exp(random.normal(0, spread))] * 3, process=f"p{i}")
                for kind in kinds
                for i in range(5)
            ]
        )
        for factor in factors
    ]


def test_an_arm_that_did_not_reach_a_case_has_no_missing_one() -> None:
    rows = [*pairs_of(case(), 1.0), visit("base", case("standard"), 50, [1e-3] * 3)]
    found = judging.judge_pairs(pd.DataFrame(rows), GATE, judging.Manner(timed_out=True))
    row = found.verdicts[found.verdicts["kind"] == "standard"].iloc[0]
    assert (row["verdict"], row["reason"]) == ("inconclusive", "time: head did not reach it")


def test_what_neither_arm_supports_is_no_failure() -> None:
    refused = {"status": "skipped", "message": "8 threads are asked for", "trust": "unknown", "latency_s": None}
    rows = pairs_of(case(), 1.0) + [visit(side, case("standard"), 50, [1.0], **refused) for side in judging.SIDES]
    found = judging.judge_pairs(pd.DataFrame(rows), GATE)
    assert (found.code, found.verdicts["kind"].unique().tolist()) == (0, ["depthwise"])


def test_the_latencies_shown_are_those_that_were_judged() -> None:
    base, head = runs_of(1.0, 1.0)
    noisy = head.head(2).assign(latency_s=9e-3, trust="noisy")
    noisy["trust_reasons"] = [["neighbours"]] * 2
    row = latency(judging.judge_runs(base, pd.concat([head, noisy]), GATE))
    assert row["head"] / row["base"] == pytest.approx(row["ratio"])
    assert row["head"] == pytest.approx(1e-3, rel=0.01), "not the noisy ones"


def test_a_common_change_below_the_floor_is_none() -> None:
    kinds = ("standard", "depthwise", "pointwise", "depthwise_separable")
    base, head = (pd.concat([runs.assign(descriptor=runs["descriptor"] + str(i)) for i in range(3)]) for runs in runs_of(1.0, 1.04, kinds=kinds))
    assert judging.judge_runs(base, head, GATE).common is not None
    assert judging.judge_runs(base, head, GATE, floor=0.06).common is None


def test_no_visit_at_all_is_nothing_to_compare() -> None:
    found = judging.judge_pairs(pd.DataFrame(pairs_of(case(), 1.0)).head(0), GATE)
    assert (found.code, found.counts, found.smallest_effect) == (3, {}, None)


def test_two_runs_are_judged_without_pairs_and_a_floor_widens_the_tolerance() -> None:
    base, head = runs_of(1.0, 1.06)
    assert latency(judging.judge_runs(base, head, GATE))["verdict"] == "regressed"
    assert latency(judging.judge_runs(base, head, GATE, floor=0.06))["verdict"] == "same"


def test_new_and_missing_cases_are_told() -> None:
    (base,), (head,) = runs_of(1.0, kinds=("depthwise", "standard")), runs_of(1.0, kinds=("depthwise", "pointwise"))
    asked = {"base": set(base["case_id"]), "head": set(head["case_id"])}
    found = judging.judge_runs(base, head, GATE, asked=asked)
    assert found.verdicts.set_index("kind")["verdict"].to_dict() == {"depthwise": "same", "standard": "missing", "pointwise": "new"}
    assert found.code == 3
    cut_short = judging.judge_runs(base, head, GATE, asked=asked | {"head": asked["head"] | asked["base"]})
    row = cut_short.verdicts[cut_short.verdicts["kind"] == "standard"].iloc[0]
    assert (row["verdict"], row["reason"]) == ("inconclusive", "time: head did not reach it")


def test_an_override_holds_for_the_cases_that_it_matches() -> None:
    gate = Gate.from_json({"override": [{"match": {"kind": "depthwise"}, "tolerance": {"latency_s": 0.2}}]})
    base, head = runs_of(1.0, 1.1, kinds=("depthwise", "standard"))
    found = judging.judge_runs(base, head, gate)
    assert found.verdicts.set_index("kind")["verdict"].to_dict() == {"depthwise": "same", "standard": "regressed"}
