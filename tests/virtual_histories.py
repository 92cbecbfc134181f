"""Histories that were never measured, made of pairs that were: how soon a change is found, and how often one
is seen that is none.

    python -m tests.virtual_histories        the table, from tests/data/aa_pairs.parquet: half an hour

A history is 300 commits of the 43 cases of `regression`, a run each. With the anchor, a run's ratio is the
mean of five recorded rounds that follow each other, of identical arms; a coin a case and run says which arm
is the anchor. Without it, the latency of the same rounds is multiplied by what the machine does: a drift that
is 10 % over the days (`DRIFT`), remembers nine tenths of itself from one commit to the next, and is shared by
all cases; besides, each case strays by 3 % from what a run shares, since cases of two runs differ so by 4 to
6 % (docs/gate.md). Every night's answer is looked at, not the last one alone: a change that was seen once and
taken back is false too. Runs of one arm are judged as they are, and without what all cases share, as
`case_histories` does.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from math import log1p
from statistics import fmean

import numpy as np
import pandas as pd

from harness.analysis.change_points import WINDOW, Change, Series, find_changes
from harness.analysis.history import level_of
from tests.virtual_gates import DATA

COMMITS, PAIRS = 300, 5
APART = 0.03
DRIFT, REMEMBERED = 0.10, 0.9  # standard deviation of the machine's logarithm; correlation of two commits
SOON = 3  # commits within which a step is to be found
FIRST = 15  # commits before the earliest step
NEAR = 3  # runs: what is seen so near to one place is one change
WAYS = ("with the anchor", "latencies, less what all cases share", "latencies alone")


@dataclass(frozen=True)
class Recorded:
    """Log ratios and log latencies of identical arms, less the mean of each case: a row a case, a column a
    round."""

    ratios: np.ndarray
    latencies: np.ndarray

    @property
    def cases(self) -> int:
        """How many there are."""
        return len(self.ratios)


def load() -> Recorded:
    """From the recorded rounds."""
    pairs = pd.read_parquet(DATA).assign(latency=lambda rows: np.log(rows["base_median_s"]))
    tables = [
        pairs.pivot_table(index="case_id", columns="round", values=name, aggfunc="last", observed=True)
        for name in ("ratio", "latency")
    ]
    ratios, latencies = (table.to_numpy(float) for table in tables)
    return Recorded(ratios, latencies - latencies.mean(axis=1, keepdims=True))


def draw(
    recorded: Recorded, way: str, commits: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A history without a change: values and their errors, a row a case, a column a commit."""
    source = recorded.ratios if way == WAYS[0] else recorded.latencies
    first = random.integers(
        0, source.shape[1] - PAIRS + 1, (1 if way != WAYS[0] else recorded.cases, commits)
    )
    rounds = first[:, :, None] + np.arange(PAIRS)
    found = source[np.arange(recorded.cases)[:, None, None], rounds]
    values, errors = found.mean(axis=2), found.std(axis=2, ddof=1) / PAIRS**0.5
    if way == WAYS[0]:
        return values * random.choice([-1, 1], values.shape), errors
    values = values + random.normal(0, APART, values.shape) + drift(commits, random)
    if way == WAYS[1]:
        values = values - np.median(values - np.median(values, axis=1, keepdims=True), axis=0)
    return values, errors


def drift(commits: int, random: np.random.Generator) -> np.ndarray:
    """What the machine does, by commit: an autoregressive process of first order."""
    found = np.empty(commits)
    found[0] = random.normal(0, DRIFT)
    for i in range(1, commits):
        found[i] = REMEMBERED * found[i - 1] + random.normal(0, DRIFT * (1 - REMEMBERED**2) ** 0.5)
    return found


def power(recorded: Recorded, way: str, step: float, draws: int, random: np.random.Generator) -> float:
    """How often a step of one case is found, in its place, when `SOON` commits have it."""

    def found() -> bool:
        case, at = int(random.integers(recorded.cases)), int(random.integers(FIRST, COMMITS - SOON))
        values, errors = draw(recorded, way, at + SOON, random)
        values[case, at:] += log1p(step)
        changes = find_changes(Series.of(values[case], errors[case]), level_of(recorded.cases))
        return any(change.earliest <= at <= change.latest for change in changes)

    return fmean(found() for _ in range(draws))


def false_changes(recorded: Recorded, way: str, random: np.random.Generator, every: int = 1) -> int:
    """How many changes are seen on any `every`-th night of one history that has none."""
    values, errors = draw(recorded, way, COMMITS, random)
    return sum(_seen(values[i], errors[i], recorded.cases, every) for i in range(recorded.cases))


def _seen(values: np.ndarray, errors: np.ndarray, cases: int, every: int) -> int:
    """By one case. What a night sees of its last two windows is new; all before was seen earlier."""
    places: list[int] = []
    for night in range(every, len(values) + 1, every):
        begin = max(night - 2 * WINDOW, 0) // (WINDOW // 2) * (WINDOW // 2)
        changes: list[Change] = find_changes(
            Series.of(values[begin:night], errors[begin:night]), level_of(cases)
        )
        at = [begin + change.index for change in changes]
        places += [place for place in at if all(abs(place - known) > NEAR for known in places)]
    return len(places)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--histories", type=int, default=20)
    asked = parser.parse_args()
    recorded = load()
    for way in WAYS:
        said: Callable[[float], str] = lambda step, way=way: (  # noqa: E731
            f"{step:+.0%} in {power(recorded, way, step, asked.draws, np.random.default_rng(1)):.1%}"
        )
        found = ", ".join(said(step) for step in (0.02, 0.03, 0.05, 0.10))
        random = np.random.default_rng(2)
        false = [false_changes(recorded, way, random) for _ in range(asked.histories)]
        print(
            f"{way}: found within {SOON} commits {found}; "
            f"false changes in {COMMITS} commits of {recorded.cases} cases: {fmean(false):.2f} "
            f"(largest of {asked.histories}: {max(false)})",
            flush=True,
        )


if __name__ == "__main__":
    main()
