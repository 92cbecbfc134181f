"""History from end to end, on this machine.

    python benchmarks/history.py large              10,000 runs of 43 cases: seconds to add, to judge, to draw
    python benchmarks/history.py planted            thirty runs of two cases, one of which is 5 % slower from
                                                    the 18th on (by work): named between two commits
    python benchmarks/history.py bisect             sixteen commits of a small repository, one of which is 8 %
                                                    slower: named

How soon changes are found, and how often one is seen that is none: `python -m tests.virtual_histories`.
Exit code 1 where something is not as it must be.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from harness.core.case import Case, Setting
from harness.core.problem import KINDS, Problem
from harness.output.report import write_history
from harness.store.history_rows import HISTORY_SCHEMA
from harness.store.history_store import HistoryStore
from harness.tasks.history import history

RUNS, CASES = 10_000, 43
PLANTED_RUNS, PLANTED_AT = 30, 18
COMMITS, SLOW_AT = 16, 11
MOST_S = {"add": 1.0, "history": 5.0, "page": 20.0}
MOST_BYTES = 5_000_000
SUITE = """
schema = 1
name = "nightly"
[gate]
confirm_pairs = [5, 5]
[problem]
size = 56
in_channels = 128
[setting]
threads = 1
[[sweep]]
name = "kinds"
kind = ["standard", "pointwise"]
implementation = "kernel:implementation"
"""
# the convolution, then so many rows of it once more
KERNEL = """
from torch import nn

ROWS = {rows}


class Layer(nn.Conv2d):
    def forward(self, x):
        if ROWS and self.kernel_size == (3, 3):
            super().forward(x[:, :, :ROWS])
        return super().forward(x)


def implementation(problem, setting):
    return Layer(problem.in_channels, problem.out_channels, problem.kernel_size, problem.stride,
                 problem.padding, problem.dilation, problem.groups, problem.bias)
"""


def cases() -> list[Case]:
    """So many as `regression` has."""
    channels = range(8, 80, 8)
    found = [
        Case(
            Problem(kind, in_channels=count, size=14, **({"groups": 2} if kind == "grouped" else {})),
            Setting(),
        )
        for count in channels
        for kind in KINDS
    ]
    return found[:CASES]


def run_rows(number: int, random: np.random.Generator) -> pa.Table:
    """Both arms of a nightly run; each hundredth commit changes a case by 5 %."""
    at = datetime(2000, 1, 1, tzinfo=timezone.utc) + timedelta(hours=number)
    shared = {"schema": 1, "added_at": at, "run_id": f"{at:%Y%m%dT%H%M%S}-large-{number:04x}"}
    shared |= {
        "started_at": at,
        "committed_at": at,
        "commit": f"{number:040x}",
        "branch": "main",
        "suite": "large",
    }
    shared |= {"method": 3, "machine": "x86_64", "cpu": "made", "instruction_set": "AVX512"}
    shared |= {"threads_available": 2, "threads_used": 2, "torch": "2.13.0", "device_name": "made"}
    shared |= {"status": "ok", "trust": "ok", "visits": 5, "version": "0"}
    found = []
    for i, case in enumerate(cases()):
        level = 1.05 if number // 100 % CASES >= i else 1.0
        ratio = level * float(np.exp(random.normal(0, 0.004)))
        own = {"case_id": case.case_id, "label": case.label, "kind": case.problem.kind}
        for arm, seconds in (("base", 1e-3), ("head", 1e-3 * ratio)):
            own |= {
                "arm": arm,
                "latency_s": seconds,
                "latency_low_s": 0.97 * seconds,
                "latency_high_s": 1.03 * seconds,
            }
            ends = {"ratio": ratio, "ratio_low": 0.99 * ratio, "ratio_high": 1.01 * ratio, "pairs": 5}
            found.append(shared | own | (ends | {"anchor": "torch 2.12.0"} if arm == "head" else {}))
    return pa.Table.from_pylist(found, HISTORY_SCHEMA)


def large(folder: Path) -> bool:
    """Seconds of each part, of the wall and of the processor: others may use the machine."""
    store, random = HistoryStore(str(folder / "store")), np.random.default_rng(0)
    spans = []
    for number in range(RUNS):
        rows = run_rows(number, random)
        spans.append(_timed(lambda rows=rows: store.add(rows)))
    added = max(spans, key=lambda span: span[1])
    print(
        f"add: median {np.median([wall for wall, _ in spans]):.3f} s, longest {added[0]:.2f} s "
        f"({added[1]:.2f} of the processor)",
        flush=True,
    )
    found = []
    judged = _timed(lambda: found.append(history(store.url)))
    print(f"history: {judged[0]:.1f} s ({judged[1]:.1f} of the processor), {len(found[0].findings)} findings")
    page = folder / "history.html"
    drawn = _timed(lambda: write_history(found[0], page))
    size = page.stat().st_size
    print(f"page: {drawn[0]:.1f} s ({drawn[1]:.1f} of the processor), {size / 1e6:.2f} MB")
    parts = zip(MOST_S.values(), (added, judged, drawn), strict=True)
    return all(used <= most for most, (_, used) in parts) and size <= MOST_BYTES


def _timed(work: Any) -> tuple[float, float]:
    """Seconds of the wall, and of the processor."""
    began, used = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
    work()
    ended = resource.getrusage(resource.RUSAGE_SELF)
    return time.monotonic() - began, ended.ru_utime + ended.ru_stime - used.ru_utime - used.ru_stime


def git(folder: Path, *words: str) -> str:
    """What git says in a repository of our own."""
    identity = ("-c", "user.name=bench", "-c", "user.email=bench@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(
        ["git", *identity, *words], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


def convscope(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command in a folder; its answer is shown."""
    home = str(Path(__file__).parents[1])
    found = [variables.pop("PYTHONPATH", ""), home, os.environ.get("PYTHONPATH", "")]
    paths = os.pathsep.join(filter(None, found))  # an empty one would be the current folder
    return subprocess.run(
        [sys.executable, "-m", "harness", *words],
        cwd=folder,
        env=os.environ | variables | {"PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        text=True,
    )


def commit(folder: Path, rows: int, number: int) -> str:
    """A commit whose kernel computes so many rows twice."""
    (folder / "kernel.py").write_text(KERNEL.format(rows=rows), encoding="utf-8")
    (folder / "number").write_text(str(number), encoding="utf-8")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "-m", f"change {number}")
    return git(folder, "rev-parse", "HEAD")


def planted(folder: Path, rows: int) -> bool:
    """Thirty runs, as a job at night would make them."""
    folder = folder / "project"
    folder.mkdir()
    git(folder, "init", "--quiet")
    (folder / "nightly.toml").write_text(SUITE, encoding="utf-8")
    (folder / ".gitignore").write_text("results\nhistory\n__pycache__\n", encoding="utf-8")
    commits, began = [], time.monotonic()
    sides = ("--base-implementation", "torch", "--time-limit", "30")
    for number in range(PLANTED_RUNS):
        commits.append(commit(folder, rows if number >= PLANTED_AT else 0, number))
        done = convscope(folder, "ab", "nightly.toml", *sides, "--store", "history", PYTHONPATH=str(folder))
        assert done.returncode in (0, 1, 3, 4), done.stdout  # of a disturbed run, what it has counts
    print(f"{PLANTED_RUNS} runs in {time.monotonic() - began:.0f} s")
    print(convscope(folder, "history", "--store", "history").stdout)
    answer = json.loads(convscope(folder, "history", "--store", "history", "--json").stdout)
    convscope(folder, "report", "--history", "--store", "history", "--out", str(folder / "history.html"))
    places = [[run["commit"] for run in one["between"]] for one in answer["findings"] if one["counts"]]
    return places == [[commits[PLANTED_AT - 1], commits[PLANTED_AT]]]


def bisected(folder: Path, rows: int) -> bool:
    """Sixteen commits, built by a copy into the environment of each side."""
    folder = folder / "project"
    folder.mkdir()
    git(folder, "init", "--quiet")
    commits = [commit(folder, rows if number >= SLOW_AT else 0, number) for number in range(COMMITS)]
    build = "cp kernel.py $(python -c 'import sysconfig; print(sysconfig.get_path(\"purelib\"))')"
    chosen = (
        "-a",
        "kind=standard",
        "-a",
        "in_channels=128",
        "-a",
        "size=56",
        "-a",
        "implementation=kernel:implementation",
    )
    began = time.monotonic()
    ends = ("--good", commits[0], "--bad", commits[-1], "--case", "standard", "--build", build)
    done = convscope(folder, "bisect", *chosen, *ends)
    print(f"{done.stdout.strip()}\n{COMMITS} commits in {time.monotonic() - began:.0f} s")
    return commits[SLOW_AT][:12] in done.stdout


def main() -> int:
    """One of the three."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["large", "planted", "bisect"])
    parser.add_argument(
        "--rows", type=int, help="rows that are computed twice  [default: 3 planted, 5 bisect]"
    )
    parser.add_argument("--keep", type=Path, help="a new folder for what is made  [default: gone in the end]")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.keep or Path(temporary)
        folder.mkdir(exist_ok=True)
        if asked.what == "large":
            right = large(folder)
        elif asked.what == "planted":
            right = planted(folder, asked.rows or 3)
        else:
            right = bisected(folder, asked.rows or 5)
    print("as it must be" if right else "NOT as it must be")
    return int(not right)


if __name__ == "__main__":
    sys.exit(main())
