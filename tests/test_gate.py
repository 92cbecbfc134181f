"""The `[gate]` of a suite: what it says, and every fault of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import SuiteError, UsageError
from harness.core.gate import TOLERANCES, Gate
from harness.plan.points import distinct_cases, expand
from harness.plan.suite import find_suite, parse_suite, read_suite

CONTENT = {
    "schema": 1,
    "name": "small",
    "sweep": [{"name": "one", "kind": "depthwise", "in_channels": 8, "size": 14}],
}


def gate_of(**stated: Any) -> Gate:
    return parse_suite(CONTENT | {"gate": stated}).gate


def test_what_is_not_stated_is_default() -> None:
    gate = gate_of(tolerance={"latency_s": 0.05})
    assert gate.confirm_pairs == (8, 20)
    assert gate.inconclusive == "pass"
    assert {metric: gate.usual(metric) for metric in TOLERANCES} == TOLERANCES | {"latency_s": 0.05}
    assert parse_suite(CONTENT).gate == Gate()


def test_it_survives_json() -> None:
    gate = gate_of(
        confirm_pairs=[4, 9],
        inconclusive="fail",
        override=[{"match": {"kind": "grouped"}, "tolerance": {"latency_s": 0.1}}],
    )
    assert Gate.from_json(gate.as_json()).as_json() == gate.as_json()


def test_the_last_override_that_holds_wins() -> None:
    overrides = [
        {"match": {"kind": "depthwise"}, "tolerance": {"latency_s": 0.1}},
        {"match": {"kind": "depthwise", "threads": 1}, "tolerance": {"latency_s": 0.2}},
    ]
    gate = gate_of(override=overrides)
    assert gate.tolerance_of("latency_s", {"kind": "standard", "threads": "1"}) == 0.02
    assert gate.tolerance_of("latency_s", {"kind": "depthwise", "threads": "all"}) == 0.1
    assert gate.tolerance_of("latency_s", {"kind": "depthwise", "threads": "1"}) == 0.2
    assert gate.tolerance_of("peak_bytes", {"kind": "depthwise", "threads": "1"}) == 0.01


def test_one_tolerance_for_all_leaves_other_metrics_alone() -> None:
    gate = gate_of(
        override=[{"match": {"kind": "depthwise"}, "tolerance": {"latency_s": 0.1, "peak_bytes": 0.2}}]
    ).with_latency(0.03)
    row = {"kind": "depthwise"}
    assert (gate.tolerance_of("latency_s", row), gate.tolerance_of("peak_bytes", row)) == (0.03, 0.2)


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"tolerances": {}}, "unknown key"),
        ({"tolerance": {"latency": 0.02}}, "latency_s"),
        ({"tolerance": {"latency_s": 2}}, "0.02 stands for 2 %"),
        ({"tolerance": {"latency_s": -0.1}}, "0.02 stands for 2 %"),
        ({"confirm_pairs": [20, 6]}, "in order"),
        ({"confirm_pairs": [1, 6]}, "from 3"),
        ({"inconclusive": "ignore"}, "neither pass nor fail"),
        ({"override": [{"match": {"kinds": "depthwise"}, "tolerance": {}}]}, "kind"),
        ({"override": [{"match": {"kind": "depthwize"}, "tolerance": {}}]}, "depthwise"),
        ({"override": [{"match": {"kind": "depthwise"}, "tolerance": {"speed": 1}}]}, "speed"),
    ],
)
def test_what_cannot_be_meant_is_told(stated: dict[str, Any], said: str) -> None:
    with pytest.raises(SuiteError, match=said):
        gate_of(**stated)


def test_from_python_the_same_holds() -> None:
    with pytest.raises(UsageError, match="no fraction"):
        Gate(tolerance={"latency_s": 7})


def test_the_shipped_gate_has_43_cases_and_no_override_that_hides_five_percent() -> None:
    suite = read_suite(find_suite("regression"))
    cases = distinct_cases(expand(suite))
    assert len(cases) == 43
    assert {case.problem.kind for case in cases} == {
        "standard",
        "grouped",
        "depthwise",
        "pointwise",
        "depthwise_separable",
    }
    assert suite.gate.usual("latency_s") == 0.02
    assert all(override.tolerance.get("latency_s", 0) < 0.05 for override in suite.gate.overrides)
    assert suite.policy.time_limit_s < 360  # the command as a whole


def test_the_workflows_that_users_copy_run_the_shipped_gate() -> None:
    workflow = Path(__file__).parents[1] / ".github" / "workflows" / "benchmark.yml"
    assert "convscope ab regression" in workflow.read_text(encoding="utf-8")
