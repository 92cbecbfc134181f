"""Is a busy neighbour seen? The share of the timed wall that visits wait for a processor, quiet and beside a busy loop.

One round of quickstart's cases with the heap kept, twice: quiet first, then beside one busy loop. Asserted: most quiet visits are
ok, most loaded ones invalid. Run it when the machine is quiet.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import Counter

import pandas as pd

from harness import sweep
from harness.errors import CasesFailed
from harness.results import load_results


def visits(folder: str) -> pd.DataFrame:
    """The visits of one quick run, those repeated included."""
    try:
        return sweep("quickstart", axes={"allocator": ("retained",)}, results=folder, quick=True).visits
    except CasesFailed as failed:  # without a valid visit a case has no figure, which is what is looked for
        return load_results(failed.where).visits


def main() -> int:
    """Print both; 1 where a neighbour went unseen, or was seen where there is none."""
    with tempfile.TemporaryDirectory() as folder:
        quiet = visits(folder)
        loop = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        try:
            loaded = visits(folder)
        finally:
            loop.kill()
            loop.wait()
    for name, seen in (("quiet", quiet), ("beside a busy loop", loaded)):
        share = seen["run_queue_share"]
        counts = ", ".join(f"{number} {trust}" for trust, number in Counter(seen["trust"]).most_common())
        print(f"{name:20} run_queue_share median {share.median():.4f}, {share.quantile(0.1):.4f} to {share.quantile(0.9):.4f}; visits: {counts}")
    seen_when_loaded, fine_when_quiet = (loaded["trust"] == "invalid").mean() > 0.5, (quiet["trust"] == "ok").mean() > 0.5
    return int(not (seen_when_loaded and fine_when_quiet))


if __name__ == "__main__":
    sys.exit(main())
