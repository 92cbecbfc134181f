"""Which kind for a shape: candidates, ranking, budgets, ties; from made rows, and through the command on a
stub machine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.core.case import Setting
from harness.core.errors import ProblemError
from harness.tasks.advise import candidates, choose, ordered, rivals, sentences
from tests.conftest import Convscope, Stub

SHAPE = {"in_channels": 128, "out_channels": 256, "size": 56, "kernel_size": "3"}


def row(identity: str, latency_s: float, parameters: int, kind: str = "standard") -> dict[str, Any]:
    return {
        "case_id": identity,
        "kind": kind,
        "groups": 1,
        "memory_format": "contiguous",
        "latency_s": latency_s,
        "latency_low_s": 0.99 * latency_s,
        "latency_high_s": 1.01 * latency_s,
        "typical_s": latency_s,
        "visits": 3,
        "processes": 3,
        "trust": "ok",
        "interval": "between",
        "parameters": parameters,
        "bound": "compute",
        "standard_error": 0.005,
        "moments": {},
        "run_queue_share": 0.0,
    }


ROWS = [row("a", 1e-3, 100, "depthwise"), row("b", 2e-3, 900, "depthwise_separable"), row("c", 4e-3, 5000)]


def test_the_five_kinds_in_both_layouts_are_candidates() -> None:
    cases, left = candidates(SHAPE, Setting())
    assert {case.problem.kind for case in cases} == {
        "standard",
        "grouped",
        "depthwise",
        "pointwise",
        "depthwise_separable",
    }
    assert {case.problem.groups for case in cases if case.problem.kind == "grouped"} == {4, 32}
    assert {case.setting.memory_format for case in cases} == {"contiguous", "channels_last"}
    assert {case.problem.output_shape for case in cases} == {(1, 256, 56, 56)}
    assert left == []


def test_what_a_shape_cannot_have_is_told() -> None:
    cases, left = candidates(SHAPE | {"in_channels": 3, "out_channels": 64}, Setting())
    assert {case.problem.kind for case in cases} == {"standard", "pointwise", "depthwise_separable"}
    assert [what for what, _ in left] == ["grouped with 4 groups", "grouped with 32 groups", "depthwise"]


def test_a_candidate_with_another_output_is_none() -> None:
    """Without padding a 3x3 kernel loses the border, a 1x1 kernel does not."""
    cases, left = candidates(SHAPE | {"padding": "0"}, Setting())
    assert "pointwise" not in {case.problem.kind for case in cases}
    assert ("pointwise", "its output has another shape") in left


def test_a_shape_that_is_none_is_refused() -> None:
    with pytest.raises(ProblemError):
        candidates(SHAPE | {"in_channels": 0}, Setting())


def test_within_a_number_of_parameters_the_fastest_is_chosen() -> None:
    assert choose(ROWS, 1000, None) is ROWS[0]
    assert choose(ROWS, 50, None) is None


def test_within_a_latency_the_one_with_most_parameters_is_chosen() -> None:
    """They are what time is spent on; the upper end of the interval counts."""
    assert choose(ROWS, None, 4.1e-3) is ROWS[2]
    assert choose(ROWS, None, 4.0e-3) is ROWS[1]
    assert choose(ROWS, 500, 4.1e-3) is ROWS[0]


def met(one: dict[str, Any], times: float, spread: float = 0.01) -> dict[str, Any]:
    """The row with blocks that took so many times as long as those of the same moments in another."""
    chance = np.random.default_rng(len(one["case_id"]) + int(1e4 * times))
    moments = {began: np.log(times) + chance.normal(0, spread, 24) for began in range(3)}
    return one | {"moments": moments}


def test_the_order_is_that_of_ratios_where_latencies_say_otherwise() -> None:
    """Latencies of a noisy hour: b looks faster than a, and was slower in every moment that both met."""
    a, b = met(row("a", 1.05e-3, 100), 1.0), met(row("b", 1.0e-3, 900), 1.08)
    assert [one["case_id"] for one in ordered([b, a])] == ["a", "b"]
    assert ordered([]) == []


def test_the_fastest_and_those_that_may_be_as_fast_are_measured_longer_and_no_others() -> None:
    rows = [met(row("a", 1e-3, 1, "depthwise"), 1.0), met(row("b", 1.05e-3, 1, "pointwise"), 1.05)]
    assert rivals([*rows, met(row("c", 2e-3, 1, "grouped"), 2.0)]) == {"a", "b"}
    whole = [met(row("d", 2.1e-3, 1, "depthwise_separable"), 2.1), met(row("e", 2e-3, 1), 2.0)]
    assert rivals([*rows, *whole]) == {"a", "b", "d", "e"}, "the fastest whole layer has rivals of its own"
    many = [met(row(f"f{i}", 1e-3, 1), 1.0) for i in range(9)]
    assert len(rivals(many)) == 4
    assert rivals([]) == set()


def test_without_a_whole_layer_there_is_none_to_rival() -> None:
    assert rivals([met(row("a", 1e-3, 1, "pointwise"), 1.0)]) == {"a"}


def test_the_sentences_say_what_to_take_and_what_it_does_not_do() -> None:
    said = " ".join(sentences(ROWS, ROWS[1], budget=True))
    assert "Depthwise in contiguous is fastest, 1.00 ms; bottleneck: compute." in said
    assert "take depthwise separable in contiguous: 2.00 ms" in said
    assert "Within the budget: depthwise separable in contiguous, 2.00 ms, 900 parameters." in said
    assert "Nothing fits" in " ".join(sentences(ROWS, None, budget=True))


def test_what_may_be_as_fast_is_named_with_its_ratio() -> None:
    near = [met(ROWS[0], 1.0), met(ROWS[1], 2.0), met(row("d", 2.05e-3, 5000), 2.0)]
    said = sentences(near, None, budget=False)
    assert "Standard in contiguous (1.0 times (" in said[0]
    assert "may be as fast" not in said[1]
    assert "may be as fast" not in " ".join(sentences(ROWS, None, budget=False))


def test_a_busy_machine_is_said() -> None:
    busy = [one | {"run_queue_share": 0.4} for one in ROWS]
    assert "waited for a processor for 40 % of the time" in sentences(busy, None, budget=False)[-1]
    assert "busy" not in " ".join(sentences(ROWS, None, budget=False))


def test_candidates_that_were_all_disturbed_are_ranked(convscope: Convscope, stub: Stub) -> None:
    """Nothing is quiet enough for a figure that counts, and the question still has an answer."""
    slow = {"match": {"kind": "standard"}, "latency_s": 9e-3, "fault": "invalid"}
    stubbed = stub(slow, {"latency_s": 1e-3, "fault": "invalid"})
    ended = convscope("advise", "--in", "64", "--size", "14", "--python", stubbed, "--json")
    assert ended.code == 0, ended.err
    assert [one["kind"] for one in ended.json["ranking"]][-2:] == ["standard", "standard"]
    assert "The machine is busy" in ended.json["sentences"][-1]


def test_the_command_ranks_and_measures_close_ones_again(convscope: Convscope, stub: Stub) -> None:
    slow = {"standard": 9e-3, "grouped": 3e-3, "depthwise_separable": 2.5e-3, "depthwise": 2e-3}
    stubbed = stub(
        *({"match": {"kind": kind}, "latency_s": latency} for kind, latency in slow.items()),
        {"match": {"kind": "pointwise", "memory_format": "channels_last"}, "latency_s": 1e-3},
        {"match": {"kind": "pointwise"}, "latency_s": 1.01e-3},
    )
    ended = convscope("advise", "--in", "64", "--out", "64", "--size", "14", "--python", stubbed, "--json")
    assert ended.code == 0, ended.err
    answer = ended.json
    assert [one["kind"] for one in answer["ranking"]][:2] == ["pointwise", "pointwise"]
    assert answer["ranking"][-1]["kind"] == "standard"
    assert len(answer["ranking"]) == 12
    assert len(answer["ratios"]) == 11
    assert len(answer["speedups"]) == 11
    assert "fastest" in " ".join(answer["sentences"])
    assert [one["visits"] for one in answer["ranking"]][::11] == [3, 1], "the close ones longer"


def test_the_command_says_what_to_do_next(convscope: Convscope, stub: Stub) -> None:
    ended = convscope(
        "advise",
        "--in",
        "3",
        "--out",
        "64",
        "--size",
        "14",
        "--python",
        stub(),
        "--budget-latency",
        "900us",
        "--budget-params",
        "1k",
    )
    assert ended.code == 0, ended.err
    assert "Nothing fits the budget." in ended.out
    assert "Not measured: depthwise" in ended.out
    assert ended.out.splitlines()[-1].startswith("Next: convscope explain ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--budget-latency", "3"), "200us"),
        (("--budget-params", "-1"), "500k"),
        (("--in", "0"), "in_channels"),
    ],
)
def test_what_is_no_budget_and_no_shape_is_refused(
    convscope: Convscope, arguments: tuple[str, ...], said: str
) -> None:
    ended = convscope("advise", *arguments)
    assert ended.code == 2
    assert said in ended.err


def test_candidates_that_cannot_be_measured_are_an_error(convscope: Convscope, stub: Stub) -> None:
    ended = convscope("advise", "--in", "8", "--size", "8", "--python", stub({"fault": "error"}))
    assert ended.code == 2
    assert "no candidate" in ended.err


def test_a_candidate_that_fails_is_named_and_ends_with_4(convscope: Convscope, stub: Stub) -> None:
    fails = {"match": {"kind": "standard", "memory_format": "contiguous"}, "fault": "error"}
    asked = (
        "advise",
        "--in",
        "64",
        "--size",
        "8",
        "--python",
        stub(fails, {"match": {"kind": "depthwise"}, "latency_s": 1e-4}, {"latency_s": 9e-4}),
    )
    ended = convscope(*asked, "--json")
    assert ended.code == 4
    assert [one["candidate"] for one in ended.json["failed"]] == ["standard in contiguous"]
    assert len(ended.json["ranking"]) == 11
    assert "Not measured: standard in contiguous (error:" in convscope(*asked).out


def test_a_candidate_that_cannot_be_done_here_is_left_out_and_no_failure(
    convscope: Convscope, stub: Stub
) -> None:
    refused = {"match": {"kind": "standard", "memory_format": "contiguous"}, "fault": "unsupported"}
    ended = convscope(
        "advise", "--in", "64", "--size", "8", "--python", stub(refused, {"latency_s": 9e-4}), "--json"
    )
    assert ended.code == 0, ended.err
    assert "standard in contiguous" in [one["candidate"] for one in ended.json["left"]]
    assert ended.json["failed"] == []
