"""Which figure of a case repeats from run to run? Judged on recorded campaigns (`campaign.py`), quiet and noisy, of several machines.

    python benchmarks/estimators.py                          all of benchmarks/campaigns
    python benchmarks/estimators.py FILE.parquet --rounds 4

The truth of a case, for a run, is the median over the other runs of the same statistic over all their rounds; its error is that of the run over
its first rounds. A row a statistic: rms error over cases and runs after 3, 4 and 6 rounds, and what the stated interval is worth: half of its
width in the median case, and how often it holds the truth. A/A: ordered pairs of runs in which some case seems more than 5 % slower.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from itertools import permutations
from math import log
from pathlib import Path

import numpy as np
import pandas as pd

from harness import estimates
from harness.stats import PLACES, RUN_SPREAD, low_quantile

HERE = Path(__file__).parent
LEVELS = np.linspace(0.025, 0.975, 20)  # at which a block's thinned samples stand for all of them
SHARES = (0.0, 0.02, 0.05, 0.1, 0.25, 0.5, 0.9)  # as campaign.py keeps them
Visits = np.ndarray  # of a case: visits, repeats, places; logarithms of seconds
Statistic = Callable[[Visits], float]


def blocks_of(frame: pd.DataFrame, share: float) -> Visits:
    """A low quantile of each block, by visit, repeat and place. An older record has the 10th percentile alone."""
    if "block_quantiles_s" in frame:
        kept = np.array([np.reshape(row, (-1, len(SHARES))) for row in frame["block_quantiles_s"]])[:, :, SHARES.index(share)]
    else:
        kept = np.array(frame["block_figures_s"].tolist())
    return np.log(kept).reshape(len(kept), -1, PLACES)


def places_of(frame: pd.DataFrame) -> np.ndarray:
    """The product's `place_figures_s` as logarithms, by visit and place: from thinned samples, or from the lowest of an older record's blocks."""
    if "block_quantiles_s" not in frame:
        return np.asarray(blocks_of(frame, 0.1).min(axis=1))
    found = []
    for row in frame["block_quantiles_s"]:
        blocks = [np.interp(LEVELS, SHARES, quantiles) for quantiles in np.reshape(row, (-1, len(SHARES)))]
        found.append([np.log(low_quantile([x for block in blocks[place::PLACES] for x in block])) for place in range(PLACES)])
    return np.array(found)


def low_of_blocks(share: float, block_share: float = 0.1) -> Callable[[pd.DataFrame], float]:
    """A quantile over all blocks that lie alike, the mean of the places."""
    return lambda frame: float(np.quantile(blocks_of(frame, block_share).reshape(-1, PLACES), share, axis=0).mean())


STATISTICS: dict[str, Callable[[pd.DataFrame], float]] = {
    "shown by method 1, without its correction": lambda frame: float(np.log(frame["latency_s"]).mean()),
    "visits' medians, median": lambda frame: float(np.log(frame["latency_median_s"]).median()),
    "least sample of a visit, median": lambda frame: float(np.log(frame["latency_min_s"]).median()),
    "least sample of all": lambda frame: float(np.log(frame["latency_min_s"]).min()),
    "blocks' 10th percentiles, lower quartile by place": low_of_blocks(0.25),
    "blocks' 10th percentiles, tenth by place": low_of_blocks(0.1),
    "places of visits, mean": lambda frame: float(places_of(frame).mean()),
    "places of visits, median": lambda frame: float(np.median(places_of(frame), axis=0).mean()),
    "places of visits, least": lambda frame: float(places_of(frame).min(axis=0).mean()),
    "places of visits, lower quartile": lambda frame: float(np.quantile(places_of(frame), 0.25, axis=0, method="median_unbiased").mean()),
    "method 2: places of visits, tenth": lambda frame: log(estimates.figure_s(np.exp(places_of(frame)).tolist())),
}


def judged(campaign: pd.DataFrame, rounds: tuple[int, ...] = (3, 4, 6)) -> pd.DataFrame:
    """A row a statistic, a column a number of rounds: rms error, a fraction."""
    keys = ["run", "case_id"]
    whole = {key: {name: of(group) for name, of in STATISTICS.items()} for key, group in campaign.groupby(keys)}
    found = {}
    for most in rounds:
        errors = []
        for (run, case), group in campaign[campaign["round"] <= most].groupby(keys):
            others = [whole[key] for key in whole if key[1] == case and key[0] != run]
            if len(group) > 1 and others:
                errors.append({name: of(group) - np.median([other[name] for other in others]) for name, of in STATISTICS.items()})
        found[most] = (pd.DataFrame(errors) ** 2).mean() ** 0.5
    return pd.DataFrame(found)


def interval(campaign: pd.DataFrame, rounds: int, run_spread: float = RUN_SPREAD) -> dict[str, float]:
    """Of method 2 after so many rounds: half_width in the median case, covers (the median of the other runs), false (A/A pairs with a "+5 %")."""
    early = campaign[campaign["round"] <= rounds]
    figures, halves, covers = {}, [], []
    for (run, case), group in early.groupby(["run", "case_id"]):
        if len(group) >= estimates.FEWEST_VISITS:
            figures[run, case] = estimates.between(np.exp(places_of(group)).tolist(), run_spread)
    for (run, case), found in figures.items():
        others = [other.value_s for key, other in figures.items() if key[1] == case and key[0] != run]
        halves.append(found.half_width)
        covers += [found.low_s <= np.median(others) <= found.high_s] if others else []
    runs, cases = {run for run, _ in figures}, {case for _, case in figures}
    pairs = [
        any(figures[b, c].value_s > 1.05 * figures[a, c].value_s for c in cases if (a, c) in figures and (b, c) in figures)
        for a, b in permutations(runs, 2)
    ]
    return {"half_width": float(np.median(halves)), "covers": float(np.mean(covers)), "false": float(np.mean(pairs))}


def main() -> int:
    """A table a campaign."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--rounds", type=int, default=4)
    asked = parser.parse_args()
    for path in asked.files or sorted((HERE / "campaigns").glob("*.parquet")):
        campaign = pd.read_parquet(path)
        campaign = campaign[campaign["trust"] != "invalid"]
        shared = (campaign["latency_median_s"] / campaign["latency_min_s"] - 1).median()
        print(f"\n{path.stem}: {len(campaign)} valid visits of {campaign['run'].nunique()} runs; a median call {shared:.1%} above a visit's least")
        print((100 * judged(campaign)).round(2).to_string())
        found = interval(campaign, asked.rounds)
        width, covers, false = (f"{found[name]:.1%}" for name in ("half_width", "covers", "false"))
        print(f"after {asked.rounds} rounds ±{width}, holds {covers}; a false +5 % in {false} of pairs of runs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
