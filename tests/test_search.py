"""The search for cliffs, on machines whose every jump is known: what it finds, where, and what it leaves
alone."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from harness.analysis.cliffs import steps
from harness.analysis.summary import summarize
from harness.core.case import Case, Setting
from harness.core.errors import UsageError
from harness.core.problem import Problem
from harness.tasks.cliff_search import Found, curves, search
from tests.conftest import Convscope, Stub
from tests.visits import visit

Cost = Callable[[Case], float]


def smooth(case: Case) -> float:
    """Work, bytes, and what every call costs."""
    return case.problem.flops / 80e9 + case.problem.minimum_bytes(4) / 4e9 + 5e-6


class Machine:
    """Measures cases at a known cost, three visits each that differ by a per cent; it counts, and says what
    runs below."""

    def __init__(
        self, cost: Cost, backend: Callable[[Case], str] = lambda _: "Mkldnn", seed: int = 0
    ) -> None:
        self.cost, self.backend, self.random = cost, backend, random.Random(seed)
        self.measured: list[Case] = []

    def __call__(self, cases: list[Case]) -> pd.DataFrame:
        self.measured += cases
        rows = []
        for number, case in enumerate(cases):
            for round_ in range(3):
                latency = self.cost(case) * self.random.lognormvariate(0, 0.01)
                facts = {"backend": self.backend(case), "latency_low_s": latency, "latency_high_s": latency}
                rows.append(
                    visit("main", case, None, [latency])
                    | facts
                    | {"latency_s": latency, "process": f"{number} {round_}"}
                )
        return summarize(pd.DataFrame(rows))


def look(
    machine: Machine,
    axis: str = "in_channels",
    values: range = range(16, 513),
    kinds: tuple[str, ...] = ("standard",),
    **fields: Any,
) -> Found:
    shape = {"in_channels": 64, "out_channels": 64, "size": 28} | fields
    return search(axis, curves(kinds, axis, values, shape, Setting()), machine, lambda _: True)


def _standard(in_channels: int) -> Case:
    return Case(Problem("standard", in_channels=in_channels, out_channels=64, size=28), Setting())


@pytest.mark.parametrize("seed", range(20))
def test_a_smooth_curve_has_no_cliff(seed: int) -> None:
    """Twenty simulated searches along three axes."""
    axis, values = [("in_channels", range(16, 513)), ("batch", range(1, 33)), ("size", range(7, 113))][
        seed % 3
    ]
    found = look(Machine(smooth, seed=seed), axis, values, kinds=("standard", "pointwise"))
    assert found.cliffs == []
    assert found.complete


@pytest.mark.parametrize(("place", "times"), [(33, 1.5), (97, 0.7), (301, 2.0), (512, 1.3)])
def test_a_jump_is_found_between_the_two_values_where_it_is(place: int, times: float) -> None:
    machine = Machine(lambda case: smooth(case) * (times if case.problem.in_channels >= place else 1))
    ((kind, cliff),) = look(machine).cliffs
    assert (kind, cliff.left["x"], cliff.right["x"]) == ("standard", place - 1, place)
    grown = smooth(_standard(place)) / smooth(_standard(place - 1))
    assert cliff.growth.low < times * grown < cliff.growth.high
    assert len(machine.measured) < 40  # of 497


def test_a_change_below_torch_is_named_as_the_cause() -> None:
    """As torch does for pointwise layers on one thread: below a batch of 16 oneDNN is left out."""
    machine = Machine(
        lambda case: smooth(case) * (1.4 if case.problem.batch < 16 else 1),
        lambda case: "Slow2d" if case.problem.batch < 16 else "Mkldnn",
    )
    ((_, cliff),) = look(machine, "batch", range(1, 33)).cliffs
    assert (cliff.left["x"], cliff.right["x"]) == (15, 16)
    assert cliff.change == "torch's back end changes from Slow2d to Mkldnn"


def test_a_change_below_torch_that_costs_nothing_is_a_seam_and_no_cliff() -> None:
    found = look(
        Machine(smooth, lambda case: "Slow2d" if case.problem.height < 20 else "Mkldnn"), "size", range(7, 57)
    )
    assert found.cliffs == []
    ((_, seam),) = found.changes
    assert (seam.left["x"], seam.right["x"]) == (19, 20)


def test_two_kinds_that_cross_are_told_with_the_place() -> None:
    """Separable pays a second call, which is soon worth it."""
    machine = Machine(
        lambda case: smooth(case) + (40e-6 if case.problem.kind == "depthwise_separable" else 0)
    )
    ((crossing),) = look(
        machine, values=range(4, 257), kinds=("standard", "depthwise_separable"), out_channels=None
    ).crossings
    assert (crossing.before, crossing.after) == ("standard", "depthwise_separable")
    cases = curves(("standard", "depthwise_separable"), "in_channels", range(4, 257), {"size": 28}, Setting())
    equal = next(
        x
        for x in range(4, 257)
        if machine.cost(cases["standard"][x]) > machine.cost(cases["depthwise_separable"][x])
    )
    assert crossing.left < equal <= crossing.right
    assert crossing.right < 1.5 * crossing.left  # between the two they differ by less than a tenth


def test_more_groups_are_less_work() -> None:
    found = look(Machine(smooth), "groups", range(2, 65), kinds=("grouped",))
    assert [place["x"] for place in found.places["grouped"]] == [2, 4, 8, 16, 32]
    assert found.cliffs == []


def test_the_first_look_is_not_what_a_cliff_is_judged_by() -> None:
    """A machine that was slow once, at one place, has no cliff there."""
    calls: list[Case] = []

    def once_slow(case: Case) -> float:
        calls.append(case)
        return smooth(case) * (1.5 if case.problem.in_channels == 512 and calls.count(case) <= 3 else 1)

    assert look(Machine(once_slow)).cliffs == []


def test_a_search_ends_when_there_is_no_time() -> None:
    machine = Machine(lambda case: smooth(case) * (2 if case.problem.in_channels > 99 else 1))
    asked = curves(("standard",), "in_channels", range(16, 513), {"out_channels": 64, "size": 28}, Setting())
    found = search("in_channels", asked, machine, lambda cases: len(machine.measured) + len(cases) < 12)
    assert not found.complete


def test_a_place_without_a_figure_is_left_out() -> None:
    case = Case(
        next(
            iter(
                curves(("standard",), "batch", range(1, 4), {"in_channels": 8, "size": 8}, Setting())[
                    "standard"
                ].values()
            )
        ).problem,
        Setting(),
    )
    rows = summarize(
        pd.DataFrame([visit("main", case, None, [1.0], status="error", message="as made", process="0")])
    ).to_dict("records")
    assert steps([row | {"x": 1} for row in rows]) == []


def test_a_curve_that_cannot_be_measured_is_an_error_that_says_why(convscope: Convscope, stub: Stub) -> None:
    ended = convscope("cliffs", "--range", "8:16", "--size", "8", "--python", stub({"fault": "unsupported"}))
    assert ended.code == 2
    assert "not supported, as scripted" in ended.err


def test_a_curve_of_which_one_place_can_be_measured_has_no_cliff(convscope: Convscope, stub: Stub) -> None:
    ended = convscope(
        "cliffs",
        "--range",
        "8:12",
        "--size",
        "8",
        "--python",
        stub({"match": {"in_channels": 8}}, {"fault": "unsupported"}),
    )
    assert ended.code == 0, ended.err
    assert "No cliff" in ended.out


@pytest.mark.parametrize(
    ("axis", "kind", "said"), [("bias", "standard", "in_channels"), ("groups", "grouped", "three")]
)
def test_what_cannot_be_searched_is_refused(axis: str, kind: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        curves((kind,), axis, range(3, 6), {"in_channels": 64, "size": 8}, Setting())
