"""Do our blocks say what torch.utils.benchmark says of the same call on the same tensors?

Every case of quickstart (with the heap kept), each in a process of its own: ten pairs of blocks, ours and
theirs in random order, equal time each. Ours is `worker.sampling.take_block`, theirs `Timer.timeit`. Shown:
the median of the ten ratios of means; asserted: within 2 % for every case. Run it when the machine is quiet.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.benchmark import Timer

from harness.core.case import Case
from harness.plan.points import distinct_cases, expand
from harness.plan.suite import find_suite, read_suite
from harness.worker import allocator, devices, environment, sampling
from harness.worker.clocks import HostClock
from harness.worker.workload import Workload, guard

PAIRS = 10
WARM_UP_S = 0.1
BOUND = 0.02


def ratios(case: Case, block_s: float) -> list[float]:
    """Mean of our block over mean of theirs, ten times."""
    allocator.keep_freed_memory()
    environment.apply(case.setting, devices.of("cpu", None))
    clock = HostClock()
    with guard(case.setting.computation):
        workload = Workload(case, 1, places=random.randrange(1 << 30))
        call_s = sampling.warm_up(workload.call, clock, WARM_UP_S)
        calls = sampling.calls_per_sample(call_s, clock.least_sample_s)
        plan = sampling.Plan(PAIRS, block_s, 3, calls)
        timer = Timer("call()", globals={"call": workload.call}, num_threads=torch.get_num_threads())
        number = max(3, round(block_s / call_s))
        found = []
        for _ in range(PAIRS):
            arms = {
                "ours": lambda: statistics.fmean(sampling.take_block(workload.call, clock, plan)),
                "theirs": lambda: timer.timeit(number).mean,
            }
            means = {name: arms[name]() for name in random.sample(list(arms), 2)}
            found.append(means["ours"] / means["theirs"])
    return found


def in_child(work: Callable[..., list[Any]], *arguments: object) -> list[Any]:
    """What `work` finds in a forked process, so that no heap is inherited."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, json.dumps(work(*arguments)).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        found: list[Any] = json.load(pipe)
    os.waitpid(pid, 0)
    return found


def main() -> int:
    """Print a line a case; 1 where a case is out of bounds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--block", type=float, default=0.1, metavar="SECONDS", help="of each block (default: 0.1)"
    )
    block_s = parser.parse_args().block
    cases = [
        case
        for case in distinct_cases(expand(read_suite(find_suite("quickstart"))))
        if case.setting.allocator == "retained"
    ]
    worst = 0.0
    for case in cases:
        time.sleep(0.1)  # the last child's threads are gone by then
        middle = statistics.median(in_child(ratios, case, block_s))
        worst = max(worst, abs(middle - 1))
        print(
            f"{case.label:75} {middle:.4f}{'' if abs(middle - 1) <= BOUND else '  out of bounds'}", flush=True
        )
    print(f"{len(cases)} cases, the farthest from 1: {100 * worst:.2f} % (bound {100 * BOUND:.0f} %)")
    return int(worst > BOUND)


if __name__ == "__main__":
    sys.exit(main())
