"""Whether a ranking can be believed, on this machine: four arms in turns, of which one is slower by work.

    python benchmarks/ranked.py --runs 10              one arm 5 % slower: last, and told from the other three
    python benchmarks/ranked.py --runs 3 --equal       four equal arms: none is told from another

Exit code 1 where more than one run of ten did not do what it must.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from itertools import combinations
from typing import TYPE_CHECKING

from planted import HERE, Plan, fitted

import harness
from harness import Side
from harness.core.errors import CasesFailed
from harness.plan.axes import parse_override

if TYPE_CHECKING:
    from harness.analysis.ranking import Ranking

PLANTED = Plan(
    str(HERE / "planted.toml"),
    {"kind": "standard", "in_channels": 128, "memory_format": "contiguous", "threads": "2"},
    0.05,
)
ARMS = ("one", "two", "three", "slow")


def ranking(rows: int) -> Ranking:
    """Of the planted case by four arms, the last of which computes so many rows twice."""
    os.environ["CONVSCOPE_PLANTED"] = json.dumps({"case": PLANTED.case, "rows": rows})
    os.environ["PYTHONPATH"] = f"{HERE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    axes = dict(parse_override(word.removeprefix("-a")) for word in PLANTED.only_case())
    sides = dict.fromkeys(ARMS[:3], Side()) | {"slow": Side(implementation="planted:implementation")}
    with tempfile.TemporaryDirectory() as results:
        try:
            run = harness.versus(sides, PLANTED.suite, axes=axes, results=results)
        except CasesFailed as error:
            run = harness.load_results(error.where)
        return harness.ranked(run)[0]


def main() -> int:
    """Print a line a run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--equal", action="store_true")
    asked = parser.parse_args()
    rows = 0 if asked.equal else fitted(PLANTED)[0]
    failures = 0
    for number in range(1, asked.runs + 1):
        began = time.monotonic()
        found = ranking(rows)
        apart = [
            f"{base}-{other}"
            for base, other in combinations(ARMS, 2)
            if (ratio := found.over(base, other)) and not ratio.low <= 1 <= ratio.high
        ]
        slow = found.over("one", "slow")
        last = found.places[-1].arm
        right = not apart if asked.equal else last == "slow" and apart == [f"{arm}-slow" for arm in ARMS[:3]]
        failures += not right
        ratio = "" if slow is None else f"{slow.value:.3f} ({slow.low:.3f} to {slow.high:.3f})"
        took_s = time.monotonic() - began
        said = f"last {last}, apart {' '.join(apart) or 'none'}, slow over one {ratio}"
        print(f"run {number}: {said}; {took_s:.0f} s", flush=True)
    return int(failures > asked.runs / 10)


if __name__ == "__main__":
    sys.exit(main())
