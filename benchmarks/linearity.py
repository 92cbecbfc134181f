"""Is a sample of n calls n times a call? And what does the loop itself cost?

Every case of calibration.toml with a call of over 100 us, in three processes of its own: 60 samples of 1, 2, 4 ... 64 calls in random
order, their time regressed on the calls with weights 1 / calls (means are linear, medians of skewed samples are not). Asserted: the
median of three intercepts is under 1 % of a call, and a call that does nothing costs under 0.3 us, loop included. Run it when the machine
is quiet.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path
from statistics import median

import numpy as np
from agreement import in_child

from harness.case import Case
from harness.points import distinct_cases, expand
from harness.suite import read_suite
from harness.worker import allocator, environment, sampling
from harness.worker.clocks import HostClock, describe
from harness.worker.workload import Workload, guard

LEVELS = (1, 2, 4, 8, 16, 32, 64)
SAMPLES = 60
PROCESSES = 3
LEAST_CALL_S = 100e-6
BOUND = 0.01
EMPTY_CALL_BOUND_S = 0.3e-6


def line(case: Case) -> list[float]:
    """(intercept over slope, slope in seconds) of the time of a sample over its calls."""
    allocator.keep_freed_memory()
    environment.apply(case.setting, None)
    clock = HostClock()
    order = random.sample(LEVELS * SAMPLES, len(LEVELS) * SAMPLES)
    with guard(case.setting.computation):
        workload = Workload(case, 1, places=random.randrange(1 << 30))
        sampling.warm_up(workload.call, clock, 0.1)
        took_s = [clock.sample(workload.call, calls) * calls for calls in order]
    slope, intercept = np.polyfit(order, took_s, 1, w=np.array(order) ** -0.5)
    return [float(intercept / slope), float(slope)]


def main() -> int:
    """Print a line a case; 1 where one is out of bounds."""
    worst = 0.0
    for case in distinct_cases(expand(read_suite(Path(__file__).parent / "calibration.toml"))):
        lines = [in_child(line, case) for _ in range(PROCESSES)]
        intercept, slope = (median(values) for values in zip(*lines, strict=True))
        if slope > LEAST_CALL_S:
            worst = max(worst, abs(intercept))
            print(f"{case.label:75} a call {slope * 1e6:8.1f} us, intercept {100 * intercept:+.2f} % of it", flush=True)
    empty_s = describe(HostClock())["call_s"]
    print(f"the largest intercept: {100 * worst:.2f} % of a call (bound 1 %); an empty call: {float(empty_s) * 1e6:.3f} us (bound 0.3)")
    return int(worst > BOUND or float(empty_s) > EMPTY_CALL_BOUND_S)


if __name__ == "__main__":
    sys.exit(main())
