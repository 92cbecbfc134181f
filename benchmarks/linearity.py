"""Is a sample of n calls n times a call? And what does the loop itself cost?

Every case of calibration.toml with a call of over 100 us, in processes of its own: sweeps of one sample each
of 1, 2, 4 ... 64 calls, in random order. The half of a process's sweeps that took least counts, since what
disturbs adds. Of each process's counted sweeps the time is regressed on the calls with weights 1 / calls
(means are linear, medians of skewed samples are not). Rounds go on until every case has 60 counted sweeps in
three processes or more, ten minutes at most. Asserted: the intercept, the median of the processes, is under 1
% of a call, and a call that does nothing costs under 0.3 us, loop included.
"""

from __future__ import annotations

import random
import sys
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

import numpy as np
from agreement import in_child

from harness.core.case import Case
from harness.plan.points import distinct_cases, expand
from harness.plan.suite import read_suite
from harness.worker import allocator, devices, environment, sampling
from harness.worker.clocks import HostClock, describe
from harness.worker.workload import Workload, guard

LEVELS = (1, 2, 4, 8, 16, 32, 64)
SWEEPS = 30  # of a process
WANTED_SWEEPS = 60
PROCESSES = 3
LIMIT_S = 600.0
LEAST_CALL_S = 100e-6
BOUND = 0.01
EMPTY_CALL_BOUND_S = 0.3e-6


def sweeps(case: Case) -> list[list[float]]:
    """Of one process, a row a sweep: what a sample of each level took, in seconds."""
    allocator.keep_freed_memory()
    environment.apply(case.setting, devices.of("cpu", None))
    clock = HostClock()
    rows = []
    with guard(case.setting.computation):
        workload = Workload(case, 1, places=random.randrange(1 << 30))
        sampling.warm_up(workload.call, clock, 0.1)
        for _ in range(SWEEPS):
            took_s = {
                calls: clock.sample(workload.call, calls) * calls
                for calls in random.sample(LEVELS, len(LEVELS))
            }
            rows.append([took_s[calls] for calls in LEVELS])
    return rows


def line(counted: np.ndarray) -> tuple[float, float]:
    """(intercept over slope, slope in seconds) of the times of sweeps over their calls."""
    calls = np.tile(LEVELS, len(counted))
    slope, intercept = np.polyfit(calls, counted.ravel(), 1, w=calls**-0.5)
    return float(intercept / slope), float(slope)


def counted(found: dict[Case, list[np.ndarray]]) -> dict[Case, list[np.ndarray]]:
    """Of each case's processes, the half of their sweeps that took least: what disturbs adds."""
    return {
        case: [rows[np.argsort(rows.sum(axis=1))[: max(len(rows) // 2, 1)]] for rows in processes]
        for case, processes in found.items()
    }


def is_enough(processes: list[np.ndarray]) -> bool:
    """Whether these counted sweeps make a figure."""
    return len(processes) >= PROCESSES and sum(map(len, processes)) >= WANTED_SWEEPS


def main() -> int:
    """Print a line a case; 1 where one is out of bounds."""
    due = distinct_cases(expand(read_suite(Path(__file__).parent / "calibration.toml")))
    found: dict[Case, list[np.ndarray]] = defaultdict(list)
    began = time.monotonic()
    while due and time.monotonic() - began < LIMIT_S:
        for case in random.sample(due, len(due)):
            found[case].append(np.array(in_child(sweeps, case)))
        due = [case for case, processes in counted(found).items() if not is_enough(processes)]
    worst, few = 0.0, 0
    for case, processes in counted(found).items():
        lines = [line(rows) for rows in processes] or [(float("nan"), float("nan"))]
        intercept, slope = (median(values) for values in zip(*lines, strict=True))
        if slope <= LEAST_CALL_S:
            continue
        few += not is_enough(processes)
        worst = max(worst, abs(intercept))
        what = f"{sum(map(len, processes))} sweeps in {len(processes)} of {len(found[case])} processes"
        print(
            f"{case.label:75} a call {slope * 1e6:8.1f} us, intercept {100 * intercept:+.2f} % of it; {what}",
            flush=True,
        )
    empty_s = float(describe(HostClock())["call_s"])
    print(
        f"the largest intercept: {100 * worst:.2f} % of a call (bound 1 %); "
        f"an empty call: {empty_s * 1e6:.3f} us (bound 0.3)"
    )
    return int(not worst <= BOUND or few > 0 or empty_s > EMPTY_CALL_BOUND_S)


if __name__ == "__main__":
    sys.exit(main())
