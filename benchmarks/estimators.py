"""Which statistic of a visit, and which way to join visits, errs least? Judged on the visits that campaigns of calibrate.py kept.

    python benchmarks/estimators.py results/calibration/*

A run's figure of a case is made from three of its valid visits: the first three, or the first three beside quiet probes. Truth: the
geometric mean of the same statistic over all visits of that case that the way could take, of all campaigns given, so that hours with quiet
and noisy minutes count. Corrected: less what the reference probes explain, with exponents fitted to the visits of all other runs (by
case, or one pair for all cases).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from math import log
from pathlib import Path

import numpy as np
import pandas as pd

from harness.probes import PROBES, beside_neighbours, quiet_level
from harness.results import load_results
from harness.stats import interval_within
from harness.summary import is_valid

OURS = "mean of blocks' 10th percentiles"
STATISTICS: dict[str, Callable[[np.ndarray], float]] = {
    "median": lambda samples: float(np.median(samples)),
    "lower quartile": lambda samples: float(np.quantile(samples, 0.25)),
    "10th percentile": lambda samples: float(np.quantile(samples, 0.1)),
    "minimum": lambda samples: float(np.min(samples)),
    "trimmed mean": lambda samples: float(np.sort(samples)[len(samples) // 10 : len(samples) - len(samples) // 10].mean()),
}
JOINS = {"geometric mean": "mean", "median": "median", "lowest": "min"}  # of logarithms
VISITS = 3


def visits_of(folders: list[Path]) -> pd.DataFrame:
    """Valid visits with every statistic and the probes, as logarithms of seconds, and whether the machine was quiet beside them."""
    runs = sorted(path.parent for folder in folders for path in folder.glob("runs/*/run.json"))
    visits = load_results(*runs).visits
    visits = visits[is_valid(visits)].dropna(subset=PROBES).sort_values("started_at")
    probes = list(visits[PROBES].itertuples(index=False, name=None))
    level = quiet_level(None, probes)
    assert level is not None
    found = pd.DataFrame({name: np.log(visits["samples_s"].map(statistic)) for name, statistic in STATISTICS.items()})
    found[OURS] = [log(interval_within(list(row.samples_s), list(row.block_ends), 0.0).value_s) for row in visits.itertuples()]
    quiet = pd.Series([not beside_neighbours(took, level) for took in probes], index=visits.index, name="quiet")
    return visits[["run_id", "case_id", "started_at"]].join(found).join(np.log(visits[PROBES])).join(quiet)


def explained(visits: pd.DataFrame, statistic: str, probes: list[str], *, pooled: bool) -> pd.Series:
    """What the probes explain of each visit's logarithm, by exponents fitted to all other runs."""
    by_case = visits.groupby("case_id")
    y = visits[statistic] - by_case[statistic].transform("mean")
    x = visits[probes] - visits[probes].mean()
    told = pd.Series(0.0, index=visits.index)
    for members in [visits.index] if pooled else [group.index for _, group in by_case]:
        for run in visits.loc[members, "run_id"].unique():
            mine = members[visits.loc[members, "run_id"] == run]
            others = members.difference(mine)
            exponents, *_ = np.linalg.lstsq(x.loc[others], y.loc[others], rcond=None)
            told[mine] = x.loc[mine] @ exponents
    return told


def rms_error(visits: pd.DataFrame, figures: pd.Series, join: str = "geometric mean") -> float:
    """Of three visits a run, joined, against the long run: root mean square over cases and runs, a fraction."""
    keys = ["run_id", "case_id"]
    three = visits[keys].assign(figure=figures).groupby(keys).head(VISITS).groupby(keys)["figure"]
    joined = three.agg(JOINS[join])[three.size() == VISITS].reset_index()
    own = visits[["case_id"]].assign(figure=figures) if join == "geometric mean" else joined  # another join has a long run of its own
    truth = own.groupby("case_id")["figure"].mean()
    return float(np.sqrt((np.expm1(joined["figure"] - joined["case_id"].map(truth)) ** 2).mean()))


def spread(visits: pd.DataFrame, figures: pd.Series) -> pd.Series:
    """Standard deviation between the visits of each case."""
    return figures.groupby(visits["case_id"]).std()


def print_statistics(visits: pd.DataFrame) -> None:
    """A row a statistic: spread between visits and error of three, over all visits and over quiet ones."""
    quiet = visits[visits["quiet"]]
    heads = ["statistic of a visit", "spread, all visits", *JOINS, "corrected, by case", "corrected, pooled", "spread, quiet visits", "quiet visits"]
    print(f"| {' | '.join(heads)} |\n|{' --- |' * len(heads)}")
    for statistic in (*STATISTICS, OURS):
        raw = visits[statistic]
        cells = [spread(visits, raw).median(), *(rms_error(visits, raw, join) for join in JOINS)]
        cells += [rms_error(visits, raw - explained(visits, statistic, PROBES, pooled=pooled)) for pooled in (False, True)]
        cells += [spread(quiet, quiet[statistic]).median(), rms_error(quiet, quiet[statistic])]
        print(f"| {statistic} | " + " | ".join(f"{cell:.1%}" for cell in cells) + " |")


def print_probes(visits: pd.DataFrame) -> None:
    """A row a choice of probes: what they leave of the spread of our figures, and how much less that is, median of the cases."""
    print(f"| probes | spread | after the probes, by case | less | pooled | less |\n|{' --- |' * 6}")
    raw = spread(visits, visits[OURS])
    for probes in (PROBES, *([probe] for probe in PROBES)):
        cells = [f"{raw.median():.1%}"]
        for pooled in (False, True):
            left = spread(visits, visits[OURS] - explained(visits, OURS, probes, pooled=pooled))
            cells += [f"{left.median():.1%}", f"{(1 - left / raw).median():.0%}"]
        print(f"| {', '.join(probes)} | " + " | ".join(cells) + " |")


def main() -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="of campaigns")
    visits = visits_of(parser.parse_args().folders)
    hours = (visits["started_at"].max() - visits["started_at"].min()).total_seconds() / 3600
    print(f"{len(visits)} visits, {visits['quiet'].mean():.0%} of them quiet, in {visits['run_id'].nunique()} runs over {hours:.1f} hours\n")
    print_statistics(visits)
    print()
    print_probes(visits)
    return 0


if __name__ == "__main__":
    sys.exit(main())
