"""What a layer costs by where its process's heap happens to begin: the reason why a visit moves what a call
allocates.

    python benchmarks/heap.py

One process, five kinds, contiguous: the 10th percentile of a call with the heap moved by 0, 16, 32 and 48
bytes beyond a multiple of 64, three times each in random order. glibc's blocks begin at multiples of 16 and
torch asks for multiples of 64, so a step decides whether a buffer fits where another of the same call was
freed. Nothing is asserted: which step is fast depends on what the process did before.
"""

from __future__ import annotations

import random

import torch

from harness.core.case import Case, Setting
from harness.core.problem import KINDS, Problem
from harness.core.stats import quantile
from harness.worker import allocator
from harness.worker.clocks import HostClock
from harness.worker.workload import HEAP_STEPS, Workload

ROUNDS, SAMPLES, SETTLE = 3, 200, 60


def main() -> None:
    """A line a kind."""
    allocator.keep_freed_memory()
    print(f"{'microseconds by step':22}" + "".join(f"{step:>9}" for step in HEAP_STEPS) + "   between")
    with torch.inference_mode():
        for kind in KINDS:
            problem = Problem(kind, in_channels=64, size=56, groups=4 if kind == "grouped" else None)
            workload, clock = Workload(Case(problem, Setting()), 0), HostClock()
            clock.sample(workload.call, 500)
            found: dict[int, list[float]] = {step: [] for step in HEAP_STEPS}
            for step in random.sample(list(HEAP_STEPS) * ROUNDS, len(HEAP_STEPS) * ROUNDS):
                workload.place(step)
                clock.sample(workload.call, SETTLE)
                found[step].append(quantile([clock.sample(workload.call, 1) for _ in range(SAMPLES)], 0.1))
            figures = [min(seen) for seen in found.values()]
            print(
                f"{kind:22}"
                + "".join(f"{1e6 * figure:9.1f}" for figure in figures)
                + f"   {max(figures) / min(figures) - 1:+.1%}"
            )


if __name__ == "__main__":
    main()
