"""What a visit costs beside its warm-up, its samples and its reference probes: asserted to be at most 50 ms, median of a quick quickstart."""

from __future__ import annotations

import sys
import tempfile

import pandas as pd

from harness import sweep

BOUND_S = 0.05


def fixed_cost_s(visits: pd.DataFrame) -> pd.Series[float]:
    """wall_s less warm_up_s, counted calls and reference_time_s, of every visit that took no turns, in seconds."""
    own = visits[(visits["status"] == "ok") & (visits["turns"] == 0)]
    counted = own["samples_s"].map(sum) * own["calls_per_sample"]
    return own["wall_s"] - own["warm_up_s"] - counted - own["reference_time_s"]


def main() -> int:
    """Print the spread; 1 where the median is above the bound."""
    with tempfile.TemporaryDirectory() as folder:
        cost = fixed_cost_s(sweep("quickstart", results=folder, quick=True).visits) * 1e3
    print(f"fixed cost of {len(cost)} visits: median {cost.median():.1f} ms, {cost.quantile(0.1):.1f} to {cost.quantile(0.9):.1f} ms")
    return int(cost.median() > BOUND_S * 1e3)


if __name__ == "__main__":
    sys.exit(main())
