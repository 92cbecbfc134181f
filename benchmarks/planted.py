"""The gate from end to end, on this machine: real runs of `convscope ab`, some of them with a slowdown
planted by work.

    python benchmarks/planted.py --runs 3              suite regression, three with +5 % on one case,
                                                       three without: named, or quiet
    python benchmarks/planted.py --runs 5 --busy       eight cases beside a busy loop on one core:
                                                       never a false name, and +50 % is found
    python benchmarks/planted.py --runs 5 --single     one case, 60 s: +10 % is found

A planted implementation computes the convolution and then a share of its rows once more, so many that its
time is what is asked; that share is fitted first, in pairs. Exit code 1 where a run did not do what it must.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from harness.store.results import load_results

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Plan:
    """A suite, one case of it by its axes, how much slower it is made, and what else `ab` is given."""

    suite: str
    case: dict[str, Any]
    slowdown: float
    options: tuple[str, ...] = ()

    def only_case(self) -> list[str]:
        """Options that leave the case alone in the suite."""
        return [f"-a{name}={value}" for name, value in self.case.items()] + ["-asize=56"]


QUIET = Plan("regression", {"kind": "standard", "in_channels": 256, "memory_format": "contiguous"}, 0.05)
SINGLE = replace(QUIET, slowdown=0.10, options=(*QUIET.only_case(), "--time-limit", "60"))
BUSY = Plan(
    str(HERE / "planted.toml"), {"kind": "standard", "memory_format": "channels_last", "threads": "1"}, 0.5
)


class Slower(nn.Conv2d):
    """The convolution, then so many rows of it once more."""

    rows = 0

    def forward(self, x: Any) -> Any:
        """(N, Cin, H, W) to (N, Cout, OH, OW)."""
        if self.rows:
            super().forward(x[:, :, : self.rows])
        return super().forward(x)


def implementation(problem: Any, setting: Any) -> nn.Module:
    """Torch's layer, but for the planted case: that one does CONVSCOPE_PLANTED rows twice."""
    from harness.worker.conv_modules import torch_layer

    planted = json.loads(os.environ["CONVSCOPE_PLANTED"])
    if any(
        getattr(problem, name, getattr(setting, name, None)) != value
        for name, value in planted["case"].items()
    ):
        return torch_layer(problem)
    layer = Slower(
        problem.in_channels,
        problem.out_channels,
        problem.kernel_size,
        problem.stride,
        problem.padding,
        problem.dilation,
        bias=problem.bias,
    )
    layer.rows = planted["rows"]
    return layer


def ab(plan: Plan, rows: int, *more: str) -> tuple[int, dict[str, Any], float]:
    """One A/B run: exit code, answer, wall seconds."""
    with tempfile.TemporaryDirectory() as results:
        began = time.monotonic()
        command = [
            sys.executable,
            "-m",
            "harness",
            "ab",
            plan.suite,
            "--head-implementation",
            "planted:implementation",
            "--json",
        ]
        path = f"{HERE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
        variables = {"CONVSCOPE_PLANTED": json.dumps({"case": plan.case, "rows": rows}), "PYTHONPATH": path}
        done = subprocess.run(
            [*command, *more, "--results", results],
            env=os.environ | variables,
            stdout=subprocess.PIPE,
            text=True,
        )
        wall_s = time.monotonic() - began
        visits = load_results("last", results=results, samples=False).visits
    return (
        done.returncode,
        json.loads(done.stdout) | {"invalid": float((visits["trust"] == "invalid").mean())},
        wall_s,
    )


def fitted(plan: Plan) -> tuple[int, str]:
    """So many rows that the planted case is slower by about so much, found in two short A/Bs of it alone; and
    its match_id."""

    def cost(rows: int) -> tuple[float, str]:
        _, answer, _ = ab(plan, rows, *plan.only_case())
        return max(
            (row["ratio"] - 1, row["match_id"]) for row in answer["cases"] if row["metric"] == "latency_s"
        )

    one, two = 4, 28
    (low, _), (high, planted) = cost(one), cost(two)
    rows = max(round(one + (plan.slowdown - low) * (two - one) / (high - low)), 1)
    print(
        f"{one} rows cost {low:+.1%}, {two} rows {high:+.1%}: "
        f"{rows} rows for {plan.slowdown:+.0%}, if it is linear",
        flush=True,
    )
    return rows, planted


@contextlib.contextmanager
def busy(wanted: bool) -> Iterator[None]:
    """A loop on one core meanwhile."""
    loop = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if wanted else None
    try:
        yield
    finally:
        if loop:
            loop.kill()


def told(answer: dict[str, Any]) -> str:
    """What a run named, and why it was undecided where it was."""
    slower = ", ".join(
        f"{row['label']} {row['ratio'] - 1:+.1%}" for row in answer["cases"] if row["verdict"] == "regressed"
    )
    reasons = Counter(
        row["reason"].partition(":")[0] for row in answer["cases"] if row["verdict"] == "inconclusive"
    )
    smallest = answer["smallest_effect"]
    found = "" if smallest is None else f"; finds {smallest:+.1%}"
    return (
        f"named {slower or 'nothing'}; {answer['counts']}, "
        f"undecided for {dict(reasons)}{found}; {answer['invalid']:.1%} of visits invalid"
    )


def main() -> int:
    """Print a line a run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--busy", action="store_true")
    which.add_argument("--single", action="store_true")
    asked = parser.parse_args()
    plan = BUSY if asked.busy else SINGLE if asked.single else QUIET
    rows, case = fitted(plan)
    failures = 0
    for number in range(1, asked.runs + 1):
        for planted in (False, True):
            with busy(asked.busy):
                code, answer, wall_s = ab(plan, rows if planted else 0, *plan.options)
            named = [row["match_id"] for row in answer["cases"] if row["verdict"] == "regressed"]
            failures += code != int(planted) or named != [case] * planted
            print(
                f"run {number} {'planted' if planted else 'equal'}: exit {code}, "
                f"{told(answer)}; {wall_s:.0f} s",
                flush=True,
            )
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
