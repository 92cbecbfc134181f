"""What a visit costs beside its warm-up and its samples, and what a survey costs: medians of a quick
quickstart.

Asserted: at most 40 ms a visit and 0.5 s a survey. Samples are those counted and those discarded, each at the
visit's own latency.
"""

from __future__ import annotations

import sys
import tempfile
import time
from itertools import pairwise
from statistics import median

import pandas as pd

from harness import sweep
from harness.core.case import Case
from harness.run.progress_events import ProgressListener

VISIT_BOUND_S = 0.04
SURVEY_BOUND_S = 0.5


class Surveys(ProgressListener):
    """Notes when each survey began."""

    def __init__(self) -> None:
        self.began: list[float] = []

    def surveying(self, case: Case, number: int, of: int) -> None:  # noqa: ARG002  # the base class names them
        self.began.append(time.perf_counter())


def fixed_cost_s(visits: pd.DataFrame) -> pd.Series[float]:
    """wall_s less warm_up_s, calls counted and discarded, of every visit that took no turns, in seconds."""
    own = visits[(visits["status"] == "ok") & (visits["turns"] == 0)]
    counted = own["samples_s"].map(sum) * own["calls_per_sample"]
    return own["wall_s"] - own["warm_up_s"] - counted - own["discarded_samples"] * own["latency_s"]


def main() -> int:
    """Print the spread; 1 where a median is above its bound."""
    listener = Surveys()
    with tempfile.TemporaryDirectory() as folder:
        cost = fixed_cost_s(sweep("quickstart", results=folder, quick=True, listener=listener).visits)
    survey_s = median(after - before for before, after in pairwise(listener.began))
    print(
        f"fixed cost of {len(cost)} visits: median {cost.median() * 1e3:.1f} ms, "
        f"{cost.quantile(0.1) * 1e3:.1f} to {cost.quantile(0.9) * 1e3:.1f} ms"
    )
    print(f"a survey: median {survey_s:.2f} s")
    return int(cost.median() > VISIT_BOUND_S or survey_s > SURVEY_BOUND_S)


if __name__ == "__main__":
    sys.exit(main())
