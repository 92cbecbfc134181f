"""Gates that were never run, made of pairs that were: how often the rule accuses identical code, and what it
finds.

    python -m tests.virtual_gates            the table, from tests/data/aa_pairs.parquet

The pairs are of identical arms, in rounds, as `benchmarks/aa.py pairs` measured them. A gate is consecutive
rounds: five screen, the next ones confirm; a coin a case and gate says which arm is the head (a coin a pair
would undo what an arm keeps over a gate), and a slowdown is planted by adding its logarithm to every pair of
one case.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log1p
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd

from harness.analysis import verdict_tests
from harness.core.gate import Gate

DATA = Path(__file__).parent / "data" / "aa_pairs.parquet"
TOLERANCE = 0.02
SCREENING = 5
GATE = Gate()
LONGEST = SCREENING + GATE.confirm_pairs[1]
BLOCK = 5  # rounds that the bootstrap keeps together


@dataclass(frozen=True)
class Outcome:
    """What became of a gate: the cases that it named regressed, how many it confirmed, and the smallest
    effect that it states."""

    regressed: list[str]
    confirmed: int
    smallest_effect: float


def load() -> pd.DataFrame:
    """Log ratios, a row a case and a column a round; a pair that was repeated counts as its last."""
    pairs = pd.read_parquet(DATA)
    return pairs.pivot_table(index="case_id", columns="round", values="ratio", aggfunc="last", observed=True)


def run(
    table: pd.DataFrame, start: int, random: np.random.Generator, *, planted: dict[str, float] | None = None
) -> Outcome:
    """The gate that begins at a column."""
    ratios = table.iloc[:, start : start + LONGEST].mul(random.choice([-1, 1], len(table)), axis=0)
    for case, slowdown in (planted or {}).items():
        ratios.loc[case] += log1p(slowdown)
    limits = pd.Series(log1p(TOLERANCE), index=table.index)
    screening, later = _long(ratios.iloc[:, :SCREENING]), ratios.iloc[:, SCREENING:]
    screened = verdict_tests.decide(screening, screening.iloc[:0], limits)
    wanted = verdict_tests.planned(screened[screened["verdict"] != "same"], limits, GATE)["pairs"]
    counts = wanted.reindex(table.index, fill_value=0).to_numpy()
    confirming = _long(later.where(np.arange(later.shape[1]) < counts[:, np.newaxis]))
    judged = verdict_tests.decide(screening[~screening["match_id"].isin(wanted.index)], confirming, limits)
    smallest = verdict_tests.smallest_of_two_stages(
        screened, judged[judged["stage"] == "confirm"], limits, GATE
    )
    return Outcome(
        judged.index[judged["verdict"] == "regressed"].tolist(), len(wanted), float(smallest.median())
    )


def _long(ratios: pd.DataFrame) -> pd.DataFrame:
    """A row a pair that there is, as `verdict_tests.decide` takes them."""
    values = ratios.to_numpy().ravel()
    found = pd.DataFrame({"match_id": np.repeat(ratios.index.to_numpy(), ratios.shape[1]), "ratio": values})
    return found[~np.isnan(values)]


def false_alarms(table: pd.DataFrame, gates: int, random: np.random.Generator) -> float:
    """The share of gates over identical code that name anything."""
    last = table.shape[1] - LONGEST
    return fmean(bool(run(table, int(random.integers(last + 1)), random).regressed) for _ in range(gates))


def power(table: pd.DataFrame, slowdown: float, gates: int, random: np.random.Generator) -> float:
    """The share of gates that name the one case, drawn anew each time, that has this slowdown."""
    last = table.shape[1] - LONGEST

    def found() -> bool:
        case = str(random.choice(table.index))
        return case in run(table, int(random.integers(last + 1)), random, planted={case: slowdown}).regressed

    return fmean(found() for _ in range(gates))


def resampled(table: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    """As many rounds, in blocks drawn with replacement: what rounds near each other share stays together."""
    starts = random.integers(0, table.shape[1] - BLOCK + 1, table.shape[1] // BLOCK)
    return pd.concat([table.iloc[:, start : start + BLOCK] for start in starts], axis=1)


def medians_apart(limit: float = 1.05) -> float:
    """What a rule of medians does, `median:5%`: the share of rounds whose bases seem that much slower in some
    case one round later."""
    pairs = pd.read_parquet(DATA)
    by_arm: list[Any] = [
        pairs.pivot_table(
            index="round", columns="case_id", values=f"{arm}_median_s", aggfunc="last", observed=True
        )
        for arm in ("base", "head")
    ]
    later = by_arm[1].shift(-1).iloc[:-1]
    return float(((later / by_arm[0].iloc[:-1]) > limit).any(axis=1).mean())


def main(gates: int = 2000, resamples: int = 20) -> None:
    """Print the table: three minutes."""
    table, random = load(), np.random.default_rng(0)
    print(
        f"{table.shape[0]} cases, {table.shape[1]} rounds, {table.shape[1] // LONGEST} disjoint gates; "
        f"T = {TOLERANCE:.0%}"
    )
    spread = table.std(axis=1)
    print(f"spread of the log ratio: median case {spread.median():.2%}, worst {spread.max():.2%}")
    share = false_alarms(table, gates, random)
    low, high = np.quantile(
        [false_alarms(resampled(table, random), 50, random) for _ in range(resamples)], [0.025, 0.975]
    )
    print(
        f"a false regressed in {share:.2%} of {gates} gates ({low:.2%} to {high:.2%}, "
        f"bootstrap over blocks of {BLOCK} rounds)"
    )
    for slowdown in (0.03, 0.035, 0.04, 0.05, 0.08, 0.10):
        print(
            f"one case {slowdown:+.1%}: "
            f"found in {power(table, slowdown, gates // 5, random):.1%} of {gates // 5}"
        )
    outcomes = [run(table, int(random.integers(table.shape[1] - LONGEST + 1)), random) for _ in range(200)]
    stated, confirmed = (
        fmean(outcome.smallest_effect for outcome in outcomes),
        fmean(outcome.confirmed for outcome in outcomes),
    )
    print(f"smallest effect stated: {stated:.1%}; {confirmed:.1f} cases confirmed")
    print(f"median:5% one round apart: false in {medians_apart():.0%} of comparisons")


if __name__ == "__main__":
    main()
