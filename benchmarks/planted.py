"""The gate from end to end, on this machine: real runs of `convscope ab regression`, some of them with a slowdown planted by work.

    python benchmarks/planted.py --runs 3              three with +5 % on one case, three without: found and named, or quiet
    python benchmarks/planted.py --runs 5 --busy       the same beside a busy loop on one core: never a false name, and +50 % is found

A planted implementation computes the convolution and then a share of its rows once more, so many that its time is what is asked; that
share is fitted first, in pairs. Exit code 1 where a run did not do what it must.
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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

HERE = Path(__file__).parent
PLANTED = {"kind": "standard", "in_channels": 256, "memory_format": "contiguous"}  # one of the 43 cases
PLANTED_ALONE = {"kind": "standard", "in_channels": 64, "memory_format": "channels_last", "threads": "1"}


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
    from harness.worker.layers import torch_layer

    planted = json.loads(os.environ["CONVSCOPE_PLANTED"])
    known = {"kind": problem.kind, "in_channels": problem.in_channels, "memory_format": setting.memory_format, "threads": setting.threads}
    if any(known[name] != value for name, value in planted["case"].items()):
        return torch_layer(problem)
    layer = Slower(
        problem.in_channels, problem.out_channels, problem.kernel_size, problem.stride, problem.padding, problem.dilation, bias=problem.bias
    )
    layer.rows = planted["rows"]
    return layer


def ab(case: dict[str, str], rows: int, *more: str) -> tuple[int, dict[str, Any], float]:
    """One A/B run of the suite `regression`: exit code, answer, wall seconds."""
    with tempfile.TemporaryDirectory() as results:
        began = time.monotonic()
        command = [sys.executable, "-m", "harness", "ab", "regression", "--head-implementation", "planted:implementation", "--json"]
        path = f"{HERE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
        variables = {"CONVSCOPE_PLANTED": json.dumps({"case": case, "rows": rows}), "PYTHONPATH": path}
        done = subprocess.run([*command, *more, "--results", results], env=os.environ | variables, stdout=subprocess.PIPE, text=True)
    return done.returncode, json.loads(done.stdout), time.monotonic() - began


def fitted_rows(case: dict[str, Any], slowdown: float) -> int:
    """So many rows that the planted case is slower by about so much, found in two short A/Bs of it alone."""
    chosen = [f"-akind={case['kind']}", f"-ain_channels={case['in_channels']}", f"-amemory_format={case['memory_format']}"]
    chosen += [f"-athreads={case['threads']}"] if "threads" in case else []

    def cost(rows: int) -> float:
        _, answer, _ = ab(case, rows, *chosen, "-asize=56")
        return max(row["ratio"] for row in answer["cases"] if row["metric"] == "latency_s") - 1

    one, two = 4, 28
    low, high = cost(one), cost(two)
    rows = round(one + (slowdown - low) * (two - one) / (high - low))
    print(f"{one} rows cost {low:+.1%}, {two} rows {high:+.1%}: {rows} rows for {slowdown:+.0%}, if it is linear", flush=True)
    return max(rows, 1)


@contextlib.contextmanager
def busy(wanted: bool) -> Iterator[None]:
    """A loop on one core meanwhile."""
    loop = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if wanted else None
    try:
        yield
    finally:
        if loop:
            loop.kill()


def main() -> int:
    """Print a line a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--busy", action="store_true")
    asked = parser.parse_args()
    case, slowdown = (PLANTED_ALONE, 0.5) if asked.busy else (PLANTED, 0.05)
    rows = fitted_rows(case, slowdown)
    failures = 0
    for number in range(asked.runs):
        for planted in (0, rows):
            more = ["-athreads=1"] if asked.busy and planted else []
            with busy(asked.busy):
                code, answer, wall_s = ab(case, planted, *more)
            slower = [row for row in answer["cases"] if row["verdict"] == "regressed"]
            named = ", ".join(f"{row['label']} {row['ratio'] - 1:+.1%}" for row in slower) or "nothing"
            wanted = [case["kind"]] if planted else []
            right = (
                code == int(planted > 0)
                and [row["kind"] for row in slower] == wanted
                and all(f"->{case['in_channels']}" in r["label"] for r in slower)
            )
            failures += not right
            print(
                f"run {number + 1} {'planted' if planted else 'equal  '} exit {code}, named {named}; {answer['counts']}; {wall_s:.0f} s", flush=True
            )
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
