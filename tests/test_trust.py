"""What makes a visit noisy, invalid or of unknown trust."""

from __future__ import annotations

import mmap
from typing import Any

import pytest

from harness.core.columns import TRUST_REASONS
from harness.worker.counters import Meter
from harness.worker.trust import LIMITS, judge

QUIET: dict[str, Any] = {
    "latency_s": 1e-3,
    "run_queue_share": 0.003,
    "steal_share": 0.0,
    "drift": 0.001,
    "lag1": 0.1,
    "minor_faults_per_call": 0.01,
}
SAMPLES = [1e-3] * 40


def judged(
    allocator: str = "retained",
    samples: list[float] = SAMPLES,
    enough: bool = True,
    low_clock: bool = False,
    hot: bool = False,
    resolution_s: float = 1e-9,
    **seen: Any,
) -> tuple[str, list[str]]:
    blocks = {"block_ends": list(range(1, len(samples) + 1))}
    return judge(
        QUIET | blocks | seen,
        samples,
        allocator=allocator,
        enough=enough,
        low_clock=low_clock,
        hot=hot,
        resolution_s=resolution_s,
    )


def test_a_quiet_visit_is_ok() -> None:
    assert judged() == ("ok", [])


def test_waiting_for_a_processor_makes_a_visit_noisy_and_then_invalid() -> None:
    assert judged(run_queue_share=0.05) == ("noisy", ["load"])
    assert judged(run_queue_share=0.84) == ("invalid", ["load"])


@pytest.mark.parametrize("interrupted", [1, 3])
def test_waits_that_lie_in_interrupted_samples_leave_the_others_a_figure(interrupted: int) -> None:
    """Other work takes a processor for 15 ms at a time: with a quarter or three quarters of the samples
    interrupted, what threads waited is all in those."""
    samples = ([1e-3] * 4 * (4 - interrupted) + [16e-3] * 4 * interrupted) * 3
    waited = 15e-3 * samples.count(16e-3) / sum(samples)
    assert judged(samples=samples, run_queue_share=waited)[0] == "noisy"


def test_waits_that_no_interrupted_sample_explains_are_in_the_figure() -> None:
    """Three fifths of the time were waited for, but the one sample of four that stands out is not so much too
    long."""
    samples = ([1e-3] * 12 + [4e-3] * 4) * 3
    assert judged(samples=samples, run_queue_share=0.6)[0] == "invalid"


def test_a_visit_with_hardly_an_undisturbed_sample_in_one_alignment_is_invalid() -> None:
    """Of the last of four alignments one sample of twelve is left, so that its low quantile is disturbed."""
    samples = ([1e-3] * 3 + [16e-3]) * 11 + [1e-3] * 4
    waited = 15e-3 * samples.count(16e-3) / sum(samples)
    assert judged(samples=samples, run_queue_share=waited)[0] == "invalid"


def test_without_a_run_queue_nothing_is_known() -> None:
    assert judged(run_queue_share=None)[0] == "unknown"


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        ({"drift": -0.3}, "drift"),
        ({"lag1": 0.99}, "correlated"),
        ({"resolution_s": 1e-3 / (LIMITS.resolution - 1)}, "resolution"),
        ({"samples": [1e-3] * 30 + [3e-3] * 5}, "outliers"),
        ({"minor_faults_per_call": 500.0}, "page_faults"),
        ({"enough": False}, "few_samples"),
        ({"low_clock": True}, "low_clock"),
        ({"steal_share": 0.2}, "load"),
    ],
)
def test_every_other_disturbance_makes_it_noisy_with_its_reason(seen: dict[str, Any], reason: str) -> None:
    assert judged(**seen) == ("noisy", [reason])
    assert reason in TRUST_REASONS


def test_page_faults_are_expected_where_the_heap_is_not_kept() -> None:
    assert judged(allocator="default", minor_faults_per_call=1100.0) == ("ok", [])


def test_a_source_that_is_absent_decides_nothing() -> None:
    assert judged(steal_share=None, lag1=None, drift=None, minor_faults_per_call=None) == ("ok", [])


def touch(pages: int) -> mmap.mmap:
    """So many pages of the kernel's, each written to for the first time: a minor fault a page."""
    memory = mmap.mmap(-1, pages * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for page in range(pages):
        memory[page * mmap.PAGESIZE] = 1
    return memory


def test_a_meter_counts_only_while_it_is_open() -> None:
    meter = Meter()
    with meter:
        inside = touch(256)
    outside = touch(1024)
    seen = meter.columns(1)["minor_faults_per_call"]
    assert seen is not None
    assert 256 <= seen < 1024
    inside.close()
    outside.close()


def test_a_device_that_was_hot_gives_no_figure() -> None:
    assert judged(hot=True) == ("invalid", ["throttled"])


def test_a_wait_of_the_host_spoils_a_gpus_figure_only_where_launching_is_most_of_a_call() -> None:
    assert judged(run_queue_share=0.84, dispatch_s=0.9e-3) == ("invalid", ["load"])
    assert judged(run_queue_share=0.84, dispatch_s=0.1e-3) == ("noisy", ["load"])
