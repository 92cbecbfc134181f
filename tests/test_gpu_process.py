"""What a process keeps on a GPU, against models of torch's allocator and of cuDNN's plans: memory that a call
asks for, and which cases share a worker."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.core.case import Case, Setting
from harness.core.problem import Problem
from harness.run.arm import by_worker
from harness.worker.devices.cuda import Cuda
from tests import strategies
from tests.gpu_strategies import quick
from tests.model_gpu import (
    MIB,
    Allocator,
    Plans,
)

sizes = st.integers(1, 40 * MIB)


def peaks(before: list[int], workspace: int, output: int) -> tuple[int, int]:
    """What the harness finds of a call that has a workspace and gives an output, and what the allocator's
    blocks would show, in bytes."""
    memory = Allocator()
    for kept in before:
        memory.allocate(kept)

    def call() -> None:
        scratch = memory.allocate(workspace)
        result = memory.allocate(output)
        memory.free(scratch)
        memory.free(result)

    beside = memory.allocate(MIB)
    call()  # with a higher peak, which is not this call's
    memory.free(beside)
    allocated = memory.allocated
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "synchronize", lambda _: None)
        patch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: memory.reset_peaks())
        patch.setattr(torch.cuda, "memory_reserved", lambda _: memory.reserved)
        patch.setattr(torch.cuda, "memory_stats", lambda _: stats_of(memory))
        found, reserved = Cuda(0).peak_bytes(call)
    assert reserved == memory.reserved
    return found, memory.allocated_peak - allocated


def stats_of(memory: Allocator) -> dict[str, int]:
    """As torch tells them."""
    return {
        "requested_bytes.all.current": memory.requested,
        "requested_bytes.all.peak": memory.requested_peak,
        "allocated_bytes.all.current": memory.allocated,
        "allocated_bytes.all.peak": memory.allocated_peak,
    }


@quick
@given(st.lists(sizes, max_size=3), sizes, sizes)
def test_the_peak_is_what_a_call_asked_for_whatever_blocks_the_allocator_gave_it(
    before: list[int], workspace: int, output: int
) -> None:
    found, blocks = peaks(before, workspace, output)
    assert found == workspace + output
    assert 0 <= blocks - found <= 2 * (MIB + 511)


def test_an_output_of_eleven_and_a_half_mebibytes_has_a_block_of_twelve() -> None:
    assert peaks([], 512, 23 * MIB // 2) == (512 + 23 * MIB // 2, 512 + 12 * MIB)


def cases_of(device: str) -> st.SearchStrategy[list[Case]]:
    """Of two layers, in any setting, on one type of device."""
    layers = st.sampled_from(
        [Problem("standard", in_channels=8, size=8), Problem("depthwise", in_channels=8, size=8)]
    )
    one = st.builds(Case, layers, strategies.settings.map(lambda setting: replace(setting, device=device)))
    autotuned = one.map(
        lambda case: replace(case, setting=replace(case.setting, autotune=not case.setting.autotune))
    )
    return st.lists(st.one_of(one, autotuned), min_size=1, max_size=8).flatmap(
        lambda cases: st.permutations(
            cases + [replace(case, setting=replace(case.setting, autotune=True)) for case in cases]
        )
    )


@quick
@given(cases_of("cuda"))
def test_on_a_gpu_cases_with_and_without_autotune_never_share_a_worker_and_each_has_its_own_plan(
    cases: list[Case],
) -> None:
    groups = by_worker(cases, {})
    for device, _, mine in groups:
        plans = Plans()
        assert device == "cuda:0"
        assert len({(case.setting.autotune, case.setting.mode == "compile") for case in mine}) == 1
        assert all(plans.of(case) == Plans().of(case) for case in mine)
    assert sorted(case.case_id for _, _, mine in groups for case in mine) == sorted(
        case.case_id for case in cases
    )
    assert len({apart for _, apart, _ in groups}) == len(groups) <= 4


@quick
@given(cases_of("cpu"))
def test_on_a_processor_all_cases_share_a_worker_whose_children_measure(cases: list[Case]) -> None:
    assert by_worker(cases, {}) == [("cpu", "", cases)]


def test_were_they_to_share_one_the_first_would_choose_the_plan_of_the_other() -> None:
    plain = Case(Problem("standard", in_channels=8, size=8), Setting(device="cuda"))
    tuned = replace(plain, setting=replace(plain.setting, autotune=True))
    for first, second in ((plain, tuned), (tuned, plain)):
        plans = Plans()
        assert plans.of(first) == Plans().of(first)
        assert plans.of(second) != Plans().of(second)
