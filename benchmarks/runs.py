"""What comparisons of two runs are worth: recorded runs of equal code, each against each, and one case of
them made slower.

    python benchmarks/runs.py                          all of benchmarks/campaigns
    python benchmarks/runs.py FILE.parquet --rounds 5
    python benchmarks/runs.py --across ONE.parquet OTHER.parquet
                                                       each run of a campaign against each of another,
                                                       hours apart

A row a campaign, of `harness.analysis.between_runs`: by how much runs differ as a whole and their cases
beyond that, both over the errors that were stated (1 is right), in how many pairs something was called slower
that was not, and how often one case that was slower by so much was named.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from itertools import combinations, permutations, product
from math import log1p
from pathlib import Path

import numpy as np
import pandas as pd
from estimators import HERE, SHARES, read, rms

from harness.analysis import between_runs, verdict_tests
from harness.core.gate import TOLERANCES
from harness.core.stats import RUN_SPREAD

PLANTED = (0.05, 0.1, 0.2, 0.5)
EVERY = 3  # case gets its turn to be the slower one


def prepared(campaign: pd.DataFrame, rounds: int) -> list[pd.DataFrame]:
    """The visits of each run, as `between_runs` takes them."""
    kept = campaign[campaign["round"] <= rounds].rename(columns={"case_id": "match_id"})
    if "block_quantiles_s" in kept:
        kept = kept.assign(
            block_figures_s=[
                np.reshape(row, (-1, len(SHARES)))[:, SHARES.index(0.1)] for row in kept["block_quantiles_s"]
            ]
        )
    return [run for _, run in kept.groupby("run")]


def slower(effects: pd.DataFrame, limit: float) -> list[str]:
    """The cases that are called regressed."""
    judged = verdict_tests.assign_verdicts(
        verdict_tests.tested(effects, pd.Series(limit, index=effects.index))
    )
    return list(judged.index[judged["verdict"] == "regressed"])


def slowed(run: pd.DataFrame, case: str, share: float) -> pd.DataFrame:
    """A run of which one case took longer by a share."""
    factors = np.where(run["match_id"] == case, 1 + share, 1.0)
    figures = [np.asarray(one) * factor for one, factor in zip(run["block_figures_s"], factors, strict=True)]
    return run.assign(block_figures_s=figures)


def worth(pairs: Iterable[tuple[pd.DataFrame, pd.DataFrame]]) -> dict[str, float]:
    """A row of the table, of pairs of runs."""
    limit = log1p(TOLERANCES["latency_s"])
    whole, cases, false, found = [], [], [], {share: [] for share in PLANTED}
    for base, head in pairs:
        shift, effects = between_runs.split(base, head, RUN_SPREAD)
        if shift is None:
            continue
        whole.append((shift.mean, shift.mean / shift.error))
        cases += list(zip(effects["mean"], effects["mean"] / effects["error"], strict=True))
        false.append(
            bool(slower(effects, limit))
            or verdict_tests.of_shift(shift, limit)["verdict"].iloc[0] == "regressed"
        )
        for case in effects.index[::EVERY]:
            for share in PLANTED:
                _, planted = between_runs.split(base, slowed(head, case, share), RUN_SPREAD)
                found[share].append(case in slower(planted, limit))
    if not whole:
        return {}
    columns = {
        "pairs": len(whole),
        "runs differ": rms([m for m, _ in whole]),
        "over stated": rms([z for _, z in whole]),
    }
    columns |= {
        "cases beyond": rms([m for m, _ in cases]),
        "over stated ": rms([z for _, z in cases]),
        "false": float(np.mean(false)),
    }
    return columns | {f"+{share:.0%}": float(np.mean(hits)) for share, hits in found.items()}


def main() -> int:
    """The table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--across", action="store_true")
    asked = parser.parse_args()
    paths = asked.files or sorted((HERE / "campaigns").glob("*.parquet"))
    runs = {name: prepared(campaign, asked.rounds) for path in paths for name, campaign in read(path).items()}
    if asked.across:
        rows = {
            f"{one} | {other}": worth([*product(runs[one], runs[other]), *product(runs[other], runs[one])])
            for one, other in combinations(runs, 2)
        }
    else:
        rows = {name: worth(permutations(mine, 2)) for name, mine in runs.items()}
    print(
        pd.DataFrame([row for row in rows.values() if row], index=[name for name, row in rows.items() if row])
        .round(3)
        .to_string()
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
