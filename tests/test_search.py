"""The search for cliffs, on machines whose every jump is known: what it finds, where, and what it leaves
alone."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analysis.case_estimate import between
from harness.analysis.cliffs import steps
from harness.analysis.summary import summarize
from harness.core.case import Case, Setting
from harness.core.columns import case_columns
from harness.core.errors import UsageError
from harness.core.problem import Problem
from harness.core.stats import RUN_SPREAD
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
        self,
        cost: Cost,
        backend: Callable[[Case], str] = lambda _: "Mkldnn",
        seed: int = 0,
        noise: float = 0.01,
    ) -> None:
        self.cost, self.backend, self.random, self.noise = cost, backend, random.Random(seed), noise
        self.measured: list[Case] = []

    def __call__(self, cases: list[Case]) -> pd.DataFrame:
        self.measured += cases
        return pd.DataFrame([self._row(case) for case in cases])

    def _row(self, case: Case) -> dict[str, Any]:
        visits = [[self.cost(case) * self.random.lognormvariate(0, self.noise)] for _ in range(3)]
        estimate = between(visits, RUN_SPREAD)
        return case_columns(case) | {
            "latency_s": estimate.value,
            "latency_low_s": estimate.low,
            "latency_high_s": estimate.high,
            "interval": "between",
            "backend": self.backend(case),
            "primitives": None,
            "message": None,
        }


def look(
    machine: Machine,
    axis: str = "in_channels",
    values: range = range(16, 513),
    kinds: tuple[str, ...] = ("standard",),
    layouts: tuple[str, ...] = (),
    **fields: Any,
) -> Found:
    shape = {"in_channels": 64, "out_channels": 64, "size": 28, "kernel_size": None} | fields
    asked = curves(kinds, axis, values, shape, Setting(), layouts)
    return search(axis, asked, machine, lambda _: 0.0, lambda: 1.0)


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
    assert [place["x"] for place in found.places["grouped"]] == [2, 4, 8, 16, 32, 64]
    assert found.cliffs == []


@pytest.mark.parametrize("kind", ["standard", "grouped", "depthwise"])
def test_one_group_and_as_many_as_channels_are_the_ends_of_the_axis_of_groups(kind: str) -> None:
    (places,) = look(Machine(smooth), "groups", range(1, 65), kinds=(kind,)).places.values()
    assert [(place["x"], place["kind"]) for place in places] == [
        (1, "standard"),
        *((groups, "grouped") for groups in (2, 4, 8, 16, 32)),
        (64, "depthwise"),
    ]


def test_a_depthwise_layer_that_costs_more_than_groups_is_a_cliff_at_the_end_of_the_axis() -> None:
    machine = Machine(lambda case: smooth(case) * (3 if case.problem.kind == "depthwise" else 1))
    ((_, cliff),) = look(machine, "groups", range(1, 65), kinds=("grouped",)).cliffs
    assert (cliff.left["x"], cliff.right["x"]) == (32, 64)


def test_two_layouts_that_cross_are_told_for_each_kind() -> None:
    """channels_last is slower on a wide layer, contiguous pays 20 us on every call: too little to be seen of
    a standard one."""

    def cost(case: Case) -> float:
        last = case.setting.memory_format == "channels_last"
        return smooth(case) * (1.3 if last and case.problem.in_channels > 99 else 1) + (0 if last else 20e-6)

    found = look(
        Machine(cost),
        values=range(16, 257),
        kinds=("standard", "pointwise"),
        layouts=("contiguous", "channels_last"),
    )
    assert list(found.places) == [
        f"{kind} {layout}" for kind in ("standard", "pointwise") for layout in ("contiguous", "channels_last")
    ]
    ((crossing),) = found.crossings
    assert (crossing.before, crossing.after) == ("pointwise channels_last", "pointwise contiguous")
    assert crossing.left < 100 <= crossing.right
    assert {curve for curve, _ in found.cliffs} == {"standard channels_last", "pointwise channels_last"}


@settings(max_examples=12, deadline=None)
@given(
    block=st.sampled_from([8, 16, 32]),
    first=st.integers(3, 12),
    step=st.sampled_from([1, 2]),
    seed=st.integers(0, 99),
)
def test_a_sawtooth_of_blocks_ends_with_its_period(block: int, first: int, step: int, seed: int) -> None:
    """A kernel that computes whole blocks of channels: 17 cost what 32 do."""

    def cost(case: Case) -> float:
        channels = case.problem.in_channels
        return 1e-6 * -(-channels // block) * block

    machine = Machine(cost, seed=seed, noise=0.003)
    found = look(machine, values=range(first, 513, step))
    assert {saw.period for _, saw in found.sawteeth} == {block}
    assert found.cliffs == []
    assert len(machine.measured) < 150
    for _, saw in found.sawteeth:
        for tooth in saw.teeth:
            assert (tooth.left["x"] - 1) // block < (tooth.right["x"] - 1) // block


@settings(max_examples=12, deadline=None)
@given(block=st.sampled_from([4, 8, 16]), times=st.sampled_from([1.3, 2.0]), seed=st.integers(0, 99))
def test_where_only_multiples_are_fast_the_period_is_told(block: int, times: float, seed: int) -> None:
    machine = Machine(
        lambda case: smooth(case) * (times if case.problem.in_channels % block else 1), seed=seed
    )
    found = look(machine, values=range(16, 513))
    assert {saw.period for _, saw in found.sawteeth} == {block}
    assert found.cliffs == []
    assert len(machine.measured) < 100


def test_a_cliff_beside_a_sawtooth_is_told_apart() -> None:
    machine = Machine(
        lambda case: (
            smooth(case)
            * (1.3 if case.problem.in_channels % 8 else 1)
            * (3 if case.problem.in_channels > 300 else 1)
        )
    )
    found = look(machine)
    assert {saw.period for _, saw in found.sawteeth} == {8}
    assert [(step.left["x"], step.right["x"]) for _, step in found.cliffs] == [(300, 301)]


@settings(max_examples=12, deadline=None)
@given(place=st.integers(18, 511), times=st.sampled_from([0.6, 1.5, 3.0]), seed=st.integers(0, 99))
def test_a_single_step_is_a_cliff_and_no_sawtooth(place: int, times: float, seed: int) -> None:
    machine = Machine(
        lambda case: smooth(case) * (times if case.problem.in_channels >= place else 1), seed=seed
    )
    found = look(machine)
    assert [(step.left["x"], step.right["x"]) for _, step in found.cliffs] == [(place - 1, place)]
    assert found.sawteeth == []
    assert len(machine.measured) < 50


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 9999), noise=st.sampled_from([0.03, 0.1, 0.3]))
def test_noise_neither_is_a_cliff_nor_keeps_a_search_busy(seed: int, noise: float) -> None:
    machine = Machine(smooth, seed=seed, noise=noise)
    found = look(machine)
    assert found.sawteeth == []
    assert len(found.cliffs) <= 1
    assert len(machine.measured) < 60


@pytest.mark.parametrize(("left_s", "places"), [(300.0, 9), (120.0, 5), (50.0, 3), (20.0, 0)])
def test_slow_cases_begin_with_fewer_places(left_s: float, places: int) -> None:
    """Of ten seconds each: as many as half of the time allows, and never fewer than three."""
    machine = Machine(smooth)
    asked = curves(("standard",), "in_channels", range(16, 513), {"out_channels": 64, "size": 28}, Setting())
    found = search(
        "in_channels",
        asked,
        machine,
        lambda cases: 10.0 * len(cases),
        lambda: 0.0 if machine.measured else left_s,
    )
    assert len(machine.measured) == places
    assert (found.lacking_s > 0) == (places < 9)


def test_a_search_that_has_no_time_for_three_places_says_how_much_it_takes(
    convscope: Convscope, stub: Stub
) -> None:
    """At 1.6 s a call three places are nine visits of seven calls, and a survey each."""
    ended = convscope(
        "cliffs", "--range", "8:16", "--size", "8", "--time-limit", "60", "--python", stub({"latency_s": 1.6})
    )
    assert ended.code == 0
    assert "a call takes about 1.6" in ended.err
    assert "Nothing was measured within the time limit: the next step would take about 2 min" in ended.out


def test_a_sawtooth_is_named_with_its_period_on_the_command_line(convscope: Convscope, stub: Stub) -> None:
    slow = [
        {"match": {"in_channels": channels}, "latency_s": 2e-3, "spread": 0}
        for channels in range(2, 65)
        if channels % 8
    ]
    ended = convscope("cliffs", "--range", "2:64", "--size", "8", "--python", stub(*slow, {"spread": 0}))
    assert ended.code == 0, ended.err
    assert "Sawtooth: standard: every 8 channels" in ended.out
    assert "Cliff:" not in ended.out


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
    found = search(
        "in_channels", asked, machine, lambda cases: len(cases), lambda: 18.5 - len(machine.measured)
    )
    assert not found.complete
    assert found.lacking_s >= 1


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
