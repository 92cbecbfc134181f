"""The layers that people asked about, answered on this machine: docs/asked.md.

    python benchmarks/asked.py [NAME...]

NAME is one of `ASKED`; without one, all. Prints each command, what its owner saw, and its answer. Nothing is
judged: the owners had other machines. Run it when the machine is quiet; it takes some ten minutes.
"""

from __future__ import annotations

import os
import subprocess
import sys

DILATED = "standard --batch 8 --in 16 --out 32 --size 112 --kernel 7 --dilation 2 --padding 0"
KERNELS = ("pointwise", "standard --kernel 3x1", "standard --kernel 1x3", "standard", "depthwise")
STRIDED = ("--in 144 --size 56", "--in 48 --size 112", "--in 96 --size 112", "--in 192 --size 28")
NATIVE = (
    "-a kind=standard -a in_channels=512 -a size=4",
    "-a kind=pointwise -a in_channels=64 -a out_channels=128 -a size=56",
    "-a kind=grouped -a groups=32 -a in_channels=128 -a size=56",
    "-a kind=standard -a in_channels=3 -a out_channels=64 -a size=224 -a kernel_size=7 -a stride=2",
)

# name: what its owner saw, variables of the environment, commands
ASKED: dict[str, tuple[str, dict[str, str], list[str]]] = {
    "dilated": (
        "1.6 s in bfloat16 on AVX2, flat over threads; 18 ms in float32",
        {"ONEDNN_MAX_CPU_ISA": "AVX2"},
        [f"explain {DILATED} --dtype bfloat16 --measure", f"explain {DILATED} --measure"],
    ),
    "kernels": (
        "1x1 took 0.56 and depthwise 0.36 of 3x3; by MACs 0.11 and 0.016",
        {},
        [f"explain {kind} --in 64 --measure" for kind in KERNELS],
    ),
    "native": (
        "torch's own kernel against oneDNN on one thread",
        {},
        [f"ab {axes} -a threads=1 --head-implementation native" for axes in NATIVE],
    ),
    "strided": (
        "1.1 to 1.35 GFLOP/s",
        {},
        [f"measure depthwise {shape} --stride 2 --batch 32 --threads 1" for shape in STRIDED],
    ),
}


def main() -> int:
    """All that were named."""
    names = sys.argv[1:] or list(ASKED)
    unknown = [name for name in names if name not in ASKED]
    if unknown:
        print(f"{unknown[0]} is none of {', '.join(ASKED)}", file=sys.stderr)
        return 2
    for name in names:
        saw, variables, commands = ASKED[name]
        print(f"# {name}. Its owner saw: {saw}")
        for command in commands:
            stated = "".join(f"{key}={value} " for key, value in variables.items())
            print(f"\n$ {stated}convscope {command}", flush=True)
            subprocess.run(
                [sys.executable, "-m", "harness", *command.split()], env=os.environ | variables, check=False
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
