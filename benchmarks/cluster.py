"""A sweep over a real Ray cluster of this machine, from end to end.

    python -m benchmarks.cluster nodes     four nodes with stub workers, 2,000 cases; a node is killed in the
                                           middle, then the driver, which is resumed: every case once
    python -m benchmarks.cluster cost      what a visit costs over a cluster of one node, beside a plain run
    python -m benchmarks.cluster real      torch on two nodes, which take turns on this machine, against a
    plain run: figures agree within their intervals

Exit code 1 where something is not as it must be. At 100 devices: `python -m tests.virtual_cluster`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from math import log
from pathlib import Path
from statistics import median

from harness import testing
from harness.store.results import Results, load_results
from tests.ray_nodes import Nodes, cluster

HOME = Path(__file__).parents[1]
STUB_CASES, COST_CASES = 2000, 480
MOST_OVERHEAD_S = 0.005
SWEEP = ("-a", "kind=depthwise,pointwise", "-a", "size=14")
REAL = ("-a", "kind=depthwise,pointwise,standard", "-a", "in_channels=64,96,128,160", "-a", "size=28,56")


def started(folder: Path, nodes: Nodes | None, *words: str) -> subprocess.Popen[str]:
    """The command as a process, in a folder."""
    own = folder / "tmp"
    own.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "harness", *words],
        cwd=folder,
        env=os.environ | (nodes.variables if nodes else {}) | {"PYTHONPATH": str(HOME), "TMPDIR": str(own)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def heard(process: subprocess.Popen[str], visits: int | None) -> int:
    """Read what it tells, until so many visits, or its end: how many."""
    assert process.stderr is not None
    told = 0
    for line in process.stderr:
        told += line.startswith("round")
        if not line.startswith("round"):
            print("  " + line.rstrip()[:150])
        if told == visits:
            break
    return told


def last(folder: Path) -> Results:
    """The run in a folder."""
    (run,) = (folder / "results").iterdir()
    return load_results(run, samples=False)


def channels(cases: int) -> tuple[str, ...]:
    """An axis with half as many values as there will be cases, for two kinds."""
    return ("-a", f"in_channels=1:{cases // 2}:1")


def nodes(folder: Path) -> bool:
    """A node is killed after a quarter of the first round, the driver after three."""
    python = testing.interpreter(folder / "stub", {"cases": []})
    began = time.monotonic()
    with cluster([2, 2, 2, 2]) as running:
        print(f"cluster: {time.monotonic() - began:.1f} s")
        began = time.monotonic()
        words = ("run", *SWEEP, *channels(STUB_CASES), "--on", running.address, "--python", str(python))
        process = started(folder, running, *words)
        heard(process, STUB_CASES // 4)
        running.kill(4)
        print("  a node is killed", flush=True)
        heard(process, STUB_CASES // 2)
        process.send_signal(signal.SIGKILL)
        process.wait()
        kept = len(last(folder).visits)
        print(f"  the driver is killed; {kept} visits are kept", flush=True)
        process = started(folder, running, "run", "--resume", "last", "--on", running.address)
        heard(process, None)
        code, wall_s = process.wait(), time.monotonic() - began
    found = last(folder)
    rounds = found.visits.groupby("asked_id")["round"].agg(["count", "nunique", "max"])
    once = bool((rounds["count"] == rounds["nunique"]).all() and (rounds["count"] == rounds["max"]).all())
    members = found.visits["member"].nunique()
    print(
        f"exit {code}, {found.runs[0]['state']}, {len(rounds)} of {STUB_CASES} cases, {len(found.visits)} "
        f"visits, each once: {once}, by {members} devices, {wall_s:.0f} s"
    )
    return code == 0 and len(rounds) == STUB_CASES and once and members >= 4


def cost(folder: Path) -> bool:
    """Seconds a visit, over what a plain run of the same cases takes, without the starts of cluster and
    command."""
    python = str(testing.interpreter(folder / "stub", {"cases": [{"spread": 0.001}]}))
    spans: dict[str, float] = {}
    with cluster([2]) as running:
        for name, more in {"plain": (), "cluster": ("--on", running.address)}.items():
            place = folder / name
            place.mkdir()
            process = started(place, running, "run", *SWEEP, *channels(COST_CASES), *more, "--python", python)
            heard(process, 1)
            began = time.monotonic()
            visits = 1 + heard(process, None)
            spans[name] = (time.monotonic() - began) / visits
            print(f"{name}: {visits} visits, {1e3 * spans[name]:.2f} ms each", flush=True)
            assert process.wait() == 0
    overhead_s = spans["cluster"] - spans["plain"]
    print(f"overhead: {1e3 * overhead_s:.2f} ms a visit")
    return overhead_s <= MOST_OVERHEAD_S


def real(folder: Path) -> bool:
    """Each case's latency over a cluster against that of a plain run, before and after it."""
    found: dict[str, Results] = {}
    with cluster([2, 2], shared=True) as running:
        for name, more in {"plain": (), "cluster": ("--on", running.address), "again": ()}.items():
            place = folder / name
            place.mkdir()
            began = time.monotonic()
            process = started(place, running, "run", *REAL, *more)
            heard(process, None)
            code = process.wait()
            print(f"{name}: exit {code}, {time.monotonic() - began:.0f} s", flush=True)
            found[name] = last(place)
    if not all(len(one.summary) for one in found.values()):
        return False
    plain, over, again = (found[name].summary.set_index("case_id") for name in ("plain", "cluster", "again"))
    agree = [
        over.latency_low_s[case] <= plain.latency_high_s[case]
        and plain.latency_low_s[case] <= over.latency_high_s[case]
        for case in plain.index
    ]
    for name, other in {"cluster": over, "again": again}.items():
        ratio = median(log(other.latency_s[case] / plain.latency_s[case]) for case in plain.index)
        print(f"{name} over plain: median {ratio:+.1%}")
    print(f"{sum(agree)} of {len(agree)} cases within their intervals")
    return sum(agree) >= 0.95 * len(agree)


def main() -> int:
    """One of the three."""
    parts = {"nodes": nodes, "cost": cost, "real": real}
    if len(sys.argv) != 2 or sys.argv[1] not in parts:
        print(f"one of {', '.join(parts)}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        right = parts[sys.argv[1]](Path(folder))
    print("as it must be" if right else "NOT as it must be")
    return int(not right)


if __name__ == "__main__":
    sys.exit(main())
