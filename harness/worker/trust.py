"""How far a visit can be trusted: pure rules over its columns."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from harness.core.stats import INTERRUPTED, WAITED, places_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Limits:
    """The constants of trust, with their reasons."""

    # of the thread that waited longest: a barrier waits for the slowest, however many threads there are
    load_noisy: float = 0.02  # quiet machines show 0.003 of the wall waiting in the run queue ...
    # ... and 0.45 beside one busy loop; by 0.1 figures have moved by several per cent, unless that time lies
    # in samples that were plainly interrupted and so many others are left
    load_invalid: float = WAITED
    undisturbed: float = 0.25
    drift: float = 0.1  # a median that moves by a tenth within 0.2 s has not settled
    lag1: float = 0.95  # above this even blocks of 20 ms remember each other
    outlier_factor: float = 2.0  # a sample of twice the median was interrupted ...
    outlier_share: float = 0.05  # ... and one in twenty of those is more than a timer tick
    # the heap is kept, so nothing should fault; a fault costs about a microsecond
    faults_per_call: float = 8.0
    # taken of one processor by the hypervisor, in ticks of 10 ms: more than one in the 0.15 s of a short
    # visit
    steal: float = 0.1
    # of a call, spent on launching it: with less, an accelerator has work queued while its host waits for a
    # processor
    host_bound: float = 0.8
    resolution: float = 20  # a sample of fewer clock steps than this is quantised by 5 %


LIMITS = Limits()


def judge(
    values: Mapping[str, Any],
    samples: Sequence[float],
    *,
    allocator: str,
    enough: bool,
    low_clock: bool,
    hot: bool,
    resolution_s: float,
) -> tuple[str, list[str]]:
    """(trust, reasons) of a visit from its columns, its samples (seconds a call) and the clock's resolution
    in seconds a call."""
    queue = values["run_queue_share"]
    dispatch_s = values.get("dispatch_s")
    host_bound = dispatch_s is None or dispatch_s > LIMITS.host_bound * values["latency_s"]
    centre = median(samples)
    checks = {
        "load": _above(queue, LIMITS.load_noisy) or _above(values["steal_share"], LIMITS.steal),
        "drift": _above(values["drift"], LIMITS.drift, both_sides=True),
        "correlated": _above(values["lag1"], LIMITS.lag1),
        "resolution": centre < LIMITS.resolution * resolution_s,
        "outliers": sum(x > LIMITS.outlier_factor * centre for x in samples)
        > LIMITS.outlier_share * len(samples),
        "page_faults": allocator == "retained"
        and _above(values["minor_faults_per_call"], LIMITS.faults_per_call),
        "few_samples": not enough,
        "low_clock": low_clock,
        "throttled": hot,
    }
    reasons = [name for name, found in checks.items() if found]
    if hot or (host_bound and _reaches_figure(queue, places_of(samples, values["block_ends"]))):
        return "invalid", reasons
    if queue is None:
        return "unknown", reasons
    return ("noisy" if reasons else "ok"), reasons


def _reaches_figure(queue: float | None, places: Sequence[Sequence[float]]) -> bool:
    """Whether the time that threads waited for a processor (`queue`: of all samples' time) may be part of the
    low quantiles of the samples that lie alike in memory (`places`).

    Other work takes a processor for milliseconds: a short call is interrupted, and takes many times as long,
    or is not. Waits that such samples hold are in no low quantile, while enough others lie below.
    """
    if queue is None or queue <= LIMITS.load_invalid:
        return False
    calm = [[one for one in place if one <= INTERRUPTED * min(place)] for place in places]
    if any(len(some) < LIMITS.undisturbed * len(place) for some, place in zip(calm, places, strict=True)):
        return True
    calm_s, all_s = sum(map(sum, calm)), sum(map(sum, places))
    expected_s = sum((len(place) - len(some)) * min(place) for some, place in zip(calm, places, strict=True))
    explained_s = all_s - calm_s - expected_s
    return queue * all_s - explained_s > LIMITS.load_invalid * calm_s


def _above(value: object, limit: float, *, both_sides: bool = False) -> bool:
    return isinstance(value, (int, float)) and (abs(value) if both_sides else value) > limit
