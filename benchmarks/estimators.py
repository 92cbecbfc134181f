"""Which statistic of a visit, and which way to join visits, errs least? Judged on the visits that campaigns of calibrate.py kept.

    python benchmarks/estimators.py results/calibration/*

A run's figure of a case is made from its first three valid visits. Truth: the geometric mean of the same statistic over all visits of
that case, of all campaigns given, so that hours with quiet and noisy minutes count. Corrected: less what the reference probes explain,
with exponents fitted to the visits of all other runs (by case, or one pair for all cases), to the probes' own long-run level.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from harness.probes import PROBES
from harness.results import load_results
from harness.summary import is_valid

STATISTICS = {
    "median": lambda samples: np.median(samples),
    "lower quartile": lambda samples: np.quantile(samples, 0.25),
    "10th percentile": lambda samples: np.quantile(samples, 0.1),
    "minimum": np.min,
    "trimmed mean": lambda samples: np.sort(samples)[len(samples) // 10 : -(len(samples) // 10) or None].mean(),
}
JOINS = {"geometric mean": np.mean, "median": np.median, "lowest": np.min}  # of logarithms
VISITS = 3


def visits_of(folders: list[Path]) -> pd.DataFrame:
    """Valid visits with every statistic and the probes, all as logarithms of seconds."""
    runs = sorted(path.parent for folder in folders for path in folder.glob("runs/*/run.json"))
    visits = load_results(*runs).visits
    visits = visits[is_valid(visits)].dropna(subset=PROBES)
    found = pd.DataFrame({name: np.log(visits["samples_s"].map(statistic)) for name, statistic in STATISTICS.items()})
    return visits[["run_id", "case_id", "started_at", "round", "trust"]].join(found).join(np.log(visits[PROBES])).sort_values("started_at")


def explained(visits: pd.DataFrame, statistic: str, probes: list[str], *, pooled: bool) -> pd.Series:
    """What the probes explain of each visit's logarithm, by exponents fitted to all other runs."""
    by_case = visits.groupby("case_id")
    y = visits[statistic] - by_case[statistic].transform("mean")
    x = visits[probes] - visits[probes].mean()
    told = pd.Series(0.0, index=visits.index)
    groups = [("all", visits.index)] if pooled else [(case, group.index) for case, group in by_case]
    for _, members in groups:
        for run in visits.loc[members, "run_id"].unique():
            mine = members[visits.loc[members, "run_id"] == run]
            others = members.difference(mine)
            exponents, *_ = np.linalg.lstsq(x.loc[others], y.loc[others], rcond=None)
            told[mine] = x.loc[mine] @ exponents
    return told


def rms_error(visits: pd.DataFrame, figures: pd.Series, join: str) -> float:
    """Of a run's first three visits, joined, against the mean over all visits of the case: root mean square, a fraction."""
    frame = visits[["run_id", "case_id"]].assign(figure=figures)
    truth = frame.groupby("case_id")["figure"].mean()
    first = frame.groupby(["run_id", "case_id"]).head(VISITS)
    joined = first.groupby(["run_id", "case_id"])["figure"].agg(JOINS[join]).reset_index()
    if join != "geometric mean":  # another join has another truth: its own long-run level
        truth = joined.groupby("case_id")["figure"].mean()
    return float(np.sqrt((np.expm1(joined["figure"] - joined["case_id"].map(truth)) ** 2).mean()))


def spread(visits: pd.DataFrame, figures: pd.Series) -> pd.Series:
    """Standard deviation between the visits of each case."""
    return figures.groupby(visits["case_id"]).std()


def main() -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="of campaigns")
    visits = visits_of(parser.parse_args().folders)
    hours = (visits["started_at"].max() - visits["started_at"].min()).total_seconds() / 3600
    print(f"{len(visits)} visits in {visits['run_id'].nunique()} runs over {hours:.1f} hours\n")
    both = list(PROBES)
    print(
        "| statistic of a visit | spread between visits | "
        + " | ".join(JOINS)
        + " | corrected, by case | corrected, pooled |\n|"
        + " --- |" * (len(JOINS) + 4)
    )
    for statistic in STATISTICS:
        raw = visits[statistic]
        errors = [rms_error(visits, raw, join) for join in JOINS]
        errors += [rms_error(visits, raw - explained(visits, statistic, both, pooled=pooled), "geometric mean") for pooled in (False, True)]
        print(f"| {statistic} | {spread(visits, raw).median():.2%} | " + " | ".join(f"{error:.2%}" for error in errors) + " |")
    print("\n| probes | spread of medians | after the probes, by case | less | pooled | less |\n|" + " --- |" * 6)
    for probes in (both, *([probe] for probe in both)):
        raw = spread(visits, visits["median"])
        cells = [f"{raw.median():.2%}"]
        for pooled in (False, True):
            left = spread(visits, visits["median"] - explained(visits, "median", probes, pooled=pooled))
            cells += [f"{left.median():.2%}", f"{(1 - left / raw).median():.0%}"]
        print(f"| {', '.join(probes)} | " + " | ".join(cells) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
