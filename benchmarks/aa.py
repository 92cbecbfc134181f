"""What two identical arms differ by: the data that the gate is held against.

    python benchmarks/aa.py pairs --rounds 80          regression's 43 cases, in turns: some 50 minutes
    python benchmarks/aa.py orders --rounds 10         the three orders side by side, on ten cases: the spread of their log ratios

Both arms are this interpreter with torch's own layers. `pairs` writes what tests/data/aa_pairs.parquet holds: a row a pair, with its round,
its log ratio (head over base) and the median of either arm's samples, which is what other gates look at.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from harness import api, effects
from harness.errors import CasesFailed
from harness.gate import Gate
from harness.results import load_results
from harness.suite import Suite, find_suite, read_suite
from harness.terminal import RunProgress

HERE = Path(__file__).parent
SURE = Gate(tolerance={"latency_s": 0.99})  # nothing is confirmed: every pair is of the screening


def campaign(suite: Suite, rounds: int, how: str, results: Path) -> pd.DataFrame:
    """A row a pair: case_id, round, ratio, base_median_s, head_median_s."""
    many = replace(suite, policy=replace(suite.policy, rounds=rounds, max_rounds=rounds, time_limit_s=None), gate=SURE)
    with RunProgress() as progress:
        try:
            visits = api.ab(many, how=how, results=results, watcher=progress).visits
        except CasesFailed as failed:
            visits = load_results(failed.where).visits
    ratios = effects.pair_ratios(visits.assign(match_id=visits["descriptor"])).set_index("pair")
    facts = visits.groupby("pair")[["case_id", "kind", "round"]].first()
    medians = visits.pivot(index="pair", columns="arm", values="latency_median_s").add_suffix("_median_s")
    return ratios[["ratio"]].join(facts).join(medians).reset_index(drop=True)


def spread(pairs: pd.DataFrame) -> str:
    """Of the log ratio, by case."""
    by_case = pairs.groupby("case_id")["ratio"].std()
    return f"median case {by_case.median():.2%}, worst {by_case.max():.2%}, {len(pairs)} pairs"


def main() -> int:
    """Measure, print, and keep the pairs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["pairs", "orders"])
    parser.add_argument("--rounds", type=int, default=80)
    parser.add_argument("--results", type=Path, default=Path("results", "aa"))
    parser.add_argument("--out", type=Path, default=Path("aa_pairs.parquet"))
    asked = parser.parse_args()
    if asked.what == "pairs":
        began = time.monotonic()
        pairs = campaign(read_suite(find_suite("regression")), asked.rounds, "turns", asked.results)
        pairs.astype({"kind": "category", "case_id": "category", "round": "int16"}).to_parquet(asked.out, compression="zstd", index=False)
        print(f"{spread(pairs)}, {(time.monotonic() - began) / len(pairs):.2f} s a pair; kept in {asked.out}")
        return 0
    found: dict[str, list[pd.DataFrame]] = {"turns": [], "back-to-back": [], "rounds": []}
    calibration = read_suite(HERE / "calibration.toml")
    quarters = np.array_split(range(asked.rounds), max(1, asked.rounds // 5))  # the three in turn, so that each meets quiet and noisy minutes
    for part in quarters:
        for how, pairs in found.items():
            pairs.append(campaign(calibration, len(part), how, asked.results))
    for how, pairs in found.items():
        print(f"{how:13} {spread(pd.concat(pairs))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
