"""Which device of a cluster measures what: every case once, wherever devices are lost; a tenth by two."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from harness.cluster.members import slices
from harness.cluster.shards import CHECKED, MOST_CASES, MOST_LOSSES, Schedule, cases_a_shard, cut
from harness.core.case import Case, Setting
from harness.core.problem import Problem


def cases(count: int, device: str = "cpu") -> list[Case]:
    return [
        Case(Problem("pointwise", in_channels=number + 1, size=7), Setting(device=device))
        for number in range(count)
    ]


def schedule(count: int, members: int) -> Schedule:
    shards = cut(cases(count), cases_a_shard(count, members))
    names = {f"machine-{number}/cpu": "cpu" for number in range(members)}
    return Schedule(shards, names, {shard.number: float(len(shard.cases)) for shard in shards})


@given(st.integers(1, 400), st.integers(1, 9))
def test_shards_hold_every_case_once_in_order(count: int, members: int) -> None:
    mine = cases(count)
    size = cases_a_shard(count, members)
    shards = cut(mine, size)
    assert [case for shard in shards for case in shard.cases] == mine
    assert size <= MOST_CASES
    assert all(0 < len(shard.cases) <= size for shard in shards)


def test_a_shard_is_of_one_type_of_device() -> None:
    mixed = [case for pair in zip(cases(20), cases(20, "cuda"), strict=True) for case in pair]
    shards = cut(mixed, 12)
    assert [(shard.kind, len(shard.cases)) for shard in shards] == [
        ("cpu", 12),
        ("cpu", 8),
        ("cuda", 12),
        ("cuda", 8),
    ]
    there = Schedule(shards, {"a/cpu": "cpu", "a/cuda:0": "cuda"}, dict.fromkeys(range(4), 1.0))
    assert {there.take("a/cuda:0").kind, there.take("a/cpu").kind} == {"cpu", "cuda"}  # type: ignore[union-attr]


@given(st.integers(1, 300), st.integers(2, 6), st.randoms(use_true_random=False))
def test_every_case_is_measured_once_and_a_tenth_by_two_while_devices_are_lost(
    count: int, members: int, chance: random.Random
) -> None:
    """Devices end their shards, or are lost, in any order; one stays."""
    going = schedule(count, members)
    alive = [f"machine-{number}/cpu" for number in range(members)]
    measured: Counter[str] = Counter()
    by: dict[str, str] = {}
    checks: list[tuple[str, str, str]] = []
    while True:
        for name in alive:
            if name not in going.running:
                going.take(name)
        if not going.running:
            break
        name = chance.choice(sorted(going.running))
        if len(alive) > 1 and chance.random() < 0.2:
            going.lose(name)
            alive.remove(name)
            continue
        shard = going.finish(name)
        for case in shard.cases:
            if shard.checks is None:
                measured[case.case_id] += 1
                by[case.case_id] = name
            else:
                checks.append((case.case_id, shard.checks, name))
    given_up = sum(len(shard.cases) for shard in going.given_up)
    assert len(measured) + given_up == count
    assert set(measured.values()) <= {1}
    assert not going.waiting
    assert all(by[case_id] == checked != checker for case_id, checked, checker in checks)


def test_a_tenth_is_checked_by_another_device() -> None:
    going = schedule(240, 4)
    checked = 0
    while True:
        for number in range(4):
            name = f"machine-{number}/cpu"
            shard = going.running.get(name) or going.take(name)
            if shard is not None and shard.checks is not None:
                checked += len(shard.cases)
        if not going.running:
            break
        for name in list(going.running):
            going.finish(name)
    assert 240 / CHECKED * 0.8 <= checked <= 240 / CHECKED * 1.5


def test_what_costs_devices_their_life_is_given_up() -> None:
    going = schedule(5, 6)
    for number in range(MOST_LOSSES):
        assert going.take(f"machine-{number}/cpu") is not None
        going.lose(f"machine-{number}/cpu")
    assert [len(shard.cases) for shard in going.given_up] == [5]
    assert going.take("machine-5/cpu") is None


def test_the_longest_shard_is_given_out_first() -> None:
    shards = cut(cases(24), 12)
    going = Schedule(shards, {"a/cpu": "cpu"}, {0: 1.0, 1: 2.0})
    taken = going.take("a/cpu")
    assert taken is not None
    assert taken.number == 1


def test_devices_of_a_machine_have_processors_of_their_own() -> None:
    assert slices(range(8), 1) == [None]
    assert slices(range(8), 4) == [(0, 1), (2, 3), (4, 5), (6, 7)]
    assert slices(range(2), 3) == [(0,), (1,), (0,)], "more devices than processors"
