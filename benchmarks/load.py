"""Is a busy neighbour seen, and does a sweep survive it?

Every visit: one round of quickstart's cases with the heap kept, quiet, then beside one busy loop. Asserted:
most quiet visits are ok, most loaded ones are not.
A sweep: the ten cases of calibration.toml, quiet, then beside a loop that is busy half of the time, five
seconds on, five off, then beside one that always is. Asserted: no visit that is 10 % above its case's quiet
figure passes as ok; and all cases keep three valid visits, the median within 5 % of its quiet figure, the
farthest within 15. Run it when the machine is quiet.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from harness import sweep
from harness.core.errors import CasesFailed
from harness.plan.suite import Suite, read_suite
from harness.store.results import Results, load_results

BUSY = "while True: pass"
BUSY_HALF = (
    "import time\nwhile True:\n"
    " end = time.monotonic() + 5\n while time.monotonic() < end: pass\n time.sleep(5)"
)
PROGRAMS = {BUSY_HALF: "a loop that is busy half of the time", BUSY: "a busy loop"}
SLOW = 1.1
BOUND, WORST = 0.05, 0.15


@contextlib.contextmanager
def beside(program: str) -> Iterator[None]:
    """While another process runs this program."""
    process = subprocess.Popen([sys.executable, "-c", program])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def measured(suite: str | Suite, folder: str, *, quick: bool = False) -> Results:
    """A run, complete or not: without a valid visit a case has no figure, which may be what is looked for."""
    try:
        return sweep(suite, axes={"allocator": ("retained",)}, results=folder, quick=quick)
    except CasesFailed as failed:
        return load_results(failed.where)


def seen(folder: str) -> bool:
    """Whether visits beside a busy loop are told from quiet ones."""
    quiet = measured("quickstart", folder, quick=True).visits
    with beside(BUSY):
        loaded = measured("quickstart", folder, quick=True).visits
    for name, visits in (("quiet", quiet), ("beside a busy loop", loaded)):
        share = visits["run_queue_share"]
        counts = ", ".join(f"{number} {trust}" for trust, number in Counter(visits["trust"]).most_common())
        print(
            f"{name:20} run_queue_share median {share.median():.4f}, "
            f"{share.quantile(0.1):.4f} to {share.quantile(0.9):.4f}; visits: {counts}"
        )
    return bool((loaded["trust"] != "ok").mean() > 0.5 and (quiet["trust"] == "ok").mean() > 0.5)


def survived(folder: str, program: str) -> bool:
    """Whether a sweep beside a program says what a quiet one says, or that it does not know."""
    suite = read_suite(Path(__file__).parent / "calibration.toml")
    quiet = measured(suite, folder).summary.set_index("case_id")["latency_s"]
    with beside(program):
        loaded = measured(suite, folder)
    visits = loaded.visits
    slow = visits[visits["latency_s"] > SLOW * visits["case_id"].map(quiet)]
    unseen = int((slow["trust"] == "ok").sum())
    kept = loaded.summary[loaded.summary["visits"] >= 3].set_index("case_id")["latency_s"]
    off = (kept / quiet).dropna() - 1
    trust = ", ".join(f"{number} {word}" for word, number in Counter(visits["trust"]).most_common())
    print(
        f"beside {PROGRAMS[program]}: visits: {trust}; "
        f"{len(slow)} more than a tenth slower than quiet, {unseen} of them not marked"
    )
    farthest = off[off.abs().idxmax()] if len(off) else float("nan")
    print(
        f"{len(off)} of {len(quiet)} cases kept three valid visits; "
        f"against the quiet sweep: median {off.median():+.2%}, farthest {farthest:+.2%}"
    )
    return unseen == 0 and len(off) == len(quiet) and off.abs().median() <= BOUND and off.abs().max() <= WORST


def main() -> int:
    """Print both; 1 where a neighbour went unseen, was seen where there is none, or moved a figure."""
    with tempfile.TemporaryDirectory() as folder:
        fine = [seen(folder), *(survived(folder, program) for program in PROGRAMS)]
    return int(not all(fine))


if __name__ == "__main__":
    sys.exit(main())
