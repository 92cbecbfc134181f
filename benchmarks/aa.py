"""What two identical arms differ by: the data that the gate is held against.

    python benchmarks/aa.py pairs --rounds 80          regression's 43 cases, in turns: some 50 minutes
    python benchmarks/aa.py orders --rounds 10         the three orders side by side, on ten cases:
                                                       the spread of their log ratios
    python benchmarks/aa.py record NAME --rounds 14    campaign.toml's fifteen cases in turns, blocks and all,
                                                       into benchmarks/pairs: five minutes
    python benchmarks/aa.py figures                    by what a pair is best told, over what was
                                                       recorded there

Both arms are this interpreter with torch's own layers. `pairs` writes what tests/data/aa_pairs.parquet holds:
a row a pair, with its round, its log ratio (head over base) and the median of either arm's samples, which is
what other gates look at.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

import harness
from harness.analysis import pair_effects
from harness.core.errors import CasesFailed
from harness.core.gate import Gate
from harness.core.stats import middle_mean
from harness.output.progress_bar import RunProgress
from harness.plan.suite import Suite, find_suite, read_suite
from harness.store.results import load_results

HERE = Path(__file__).parent
PAIRS = HERE / "pairs"
KEPT = [
    "arm",
    "pair",
    "round",
    "case_id",
    "threads_used",
    "trust",
    "trust_reasons",
    "latency_s",
    "block_figures_s",
    "run_queue_share",
]
SURE = Gate(tolerance={"latency_s": 0.99})  # nothing is confirmed: every pair is of the screening


def campaign(suite: Suite, rounds: int, how: str, results: Path) -> pd.DataFrame:
    """A row a pair: case_id, round, ratio, base_median_s, head_median_s."""
    many = replace(
        suite, policy=replace(suite.policy, rounds=rounds, max_rounds=rounds, time_limit_s=None), gate=SURE
    )
    with RunProgress() as progress:
        try:
            visits = harness.ab(many, how=how, results=results, listener=progress).visits
        except CasesFailed as failed:
            visits = load_results(failed.where).visits
    ratios = pair_effects.pair_ratios(visits.assign(match_id=visits["descriptor"])).set_index("pair")
    facts = visits.groupby("pair")[["case_id", "kind", "round"]].first()
    medians = visits.pivot(index="pair", columns="arm", values="latency_median_s").add_suffix("_median_s")
    return ratios[["ratio"]].join(facts).join(medians).reset_index(drop=True)


def record(name: str, rounds: int, results: Path) -> Path:
    """Keep the blocks of pairs of identical arms."""
    suite = read_suite(HERE / "campaign.toml")
    many = replace(suite, policy=replace(suite.policy, rounds=rounds, max_rounds=rounds), gate=SURE)
    with RunProgress() as progress:
        try:
            visits = harness.ab(many, results=results, listener=progress).visits
        except CasesFailed as failed:
            visits = load_results(failed.where).visits
    path = PAIRS / f"{name}.parquet"
    path.parent.mkdir(exist_ok=True)
    visits[KEPT].to_parquet(path, compression="zstd", index=False)
    return path


def figures(visits: pd.DataFrame) -> pd.DataFrame:
    """Of valid pairs, a row a figure: the spread of the log ratio in the median case and in the worst, and
    its rms over all, fractions."""
    valid = visits[(visits["trust"] != "invalid") & visits["block_figures_s"].notna()]
    arms = valid.pivot(
        index="pair", columns="arm", values=["block_figures_s", "latency_s", "case_id"]
    ).dropna()
    found = []
    for _, row in arms.iterrows():
        ratios = np.sort(
            np.log(np.array(row["block_figures_s", "head"]) / np.array(row["block_figures_s", "base"]))
        )
        latencies = float(np.log(row["latency_s", "head"] / row["latency_s", "base"]))
        figure = {
            "mean of block ratios": ratios.mean(),
            "without the lowest and the highest": ratios[1:-1].mean(),
        }
        figure |= {
            "mean of the middle half": middle_mean(ratios.tolist()),
            "median": float(np.median(ratios)),
            "ratio of latencies": latencies,
        }
        found.append(figure | {"case_id": row["case_id", "base"]})
    table = pd.DataFrame(found)
    by_case = table.groupby("case_id").std()
    rms = (table.drop(columns="case_id") ** 2).mean() ** 0.5
    return pd.DataFrame({"median case": by_case.median(), "worst": by_case.max(), "rms": rms})


def spread(pairs: pd.DataFrame) -> str:
    """Of the log ratio, by case."""
    by_case = pairs.groupby("case_id")["ratio"].std()
    return f"median case {by_case.median():.2%}, worst {by_case.max():.2%}, {len(pairs)} pairs"


def main() -> int:
    """Measure, print, and keep the pairs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["pairs", "orders", "record", "figures"])
    parser.add_argument("name", nargs="?", default="pairs")
    parser.add_argument("--rounds", type=int, default=80)
    parser.add_argument("--results", type=Path, default=Path("results", "aa"))
    parser.add_argument("--out", type=Path, default=Path("aa_pairs.parquet"))
    asked = parser.parse_args()
    if asked.what == "record":
        print(f"kept in {record(asked.name, asked.rounds, asked.results)}")
        return 0
    if asked.what == "figures":
        for path in sorted(PAIRS.glob("*.parquet")):
            visits = pd.read_parquet(path)
            disturbed = f"{(visits['trust'] == 'invalid').mean():.1%} of {len(visits)} visits invalid"
            print(f"\n{path.stem}: {disturbed}, run queue {visits['run_queue_share'].median():.4f}")
            print((100 * figures(visits)).round(2).to_string())
        return 0
    if asked.what == "pairs":
        began = time.monotonic()
        pairs = campaign(read_suite(find_suite("regression")), asked.rounds, "turns", asked.results)
        pairs.astype({"kind": "category", "case_id": "category", "round": "int16"}).to_parquet(
            asked.out, compression="zstd", index=False
        )
        print(f"{spread(pairs)}, {(time.monotonic() - began) / len(pairs):.2f} s a pair; kept in {asked.out}")
        return 0
    found: dict[str, list[pd.DataFrame]] = {"turns": [], "back-to-back": [], "rounds": []}
    calibration = read_suite(HERE / "calibration.toml")
    # the three in turn, so that each meets quiet and noisy minutes
    quarters = np.array_split(range(asked.rounds), max(1, asked.rounds // 5))
    for part in quarters:
        for how, pairs in found.items():
            pairs.append(campaign(calibration, len(part), how, asked.results))
    for how, pairs in found.items():
        print(f"{how:13} {spread(pd.concat(pairs))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
