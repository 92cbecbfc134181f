"""Which figure of a case repeats from run to run? Judged on recorded campaigns (`campaign.py`), quiet and
noisy, of several machines.

    python benchmarks/estimators.py                          all of benchmarks/campaigns
    python benchmarks/estimators.py FILE.parquet --rounds 4

The truth of a case, for a run, is the median over the other runs of the same statistic over all their rounds;
its error is that of the run over its first rounds. A row a statistic: rms error over cases and runs after 3,
4 and 6 rounds, and what the stated interval is worth: half of its width in the median case, how often it
holds the truth, and in how many ordered pairs of runs some case seems more than 5 % slower.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from itertools import combinations, permutations, product
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import log_ndtr, logsumexp

from harness.analysis import case_estimate, interleaved_ratio
from harness.core.stats import PLACES, RUN_SPREAD, low_quantile

HERE = Path(__file__).parent
LEVELS = np.linspace(0.025, 0.975, 20)  # at which a block's thinned samples stand for all of them
SHARES = (0.0, 0.02, 0.05, 0.1, 0.25, 0.5, 0.9)  # as campaign.py keeps them
NOISES = (0.002, 0.004, 0.007, 0.012, 0.02, 0.03)  # standard deviations that the model chooses from ...
DELAYS = (0.001, 0.003, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6)  # ... and means of delays, both of logarithms
LEVELS_OF_A_CASE = 400
FEW = 0.05
Visits = np.ndarray  # of a case: visits, repeats, places; logarithms of seconds
SHOWN = "shown: places of visits, tenth"
Statistic = Callable[[pd.DataFrame], dict[str, float]]  # of a run: by case, the logarithm of seconds


def blocks_of(frame: pd.DataFrame, share: float) -> Visits:
    """A low quantile of each block, by visit, repeat and place. An older record has the 10th percentile
    alone."""
    if "block_quantiles_s" in frame:
        kept = np.array([np.reshape(row, (-1, len(SHARES))) for row in frame["block_quantiles_s"]])[
            :, :, SHARES.index(share)
        ]
    else:
        kept = np.array(frame["block_figures_s"].tolist())
    return np.log(kept).reshape(len(kept), -1, PLACES)


def places_of(frame: pd.DataFrame) -> np.ndarray:
    """The product's `place_figures_s` as logarithms, by visit and place: from thinned samples, or from the
    lowest of an older record's blocks."""
    if "block_quantiles_s" not in frame:
        return np.asarray(blocks_of(frame, 0.1).min(axis=1))
    found = []
    for row in frame["block_quantiles_s"]:
        blocks = [np.interp(LEVELS, SHARES, quantiles) for quantiles in np.reshape(row, (-1, len(SHARES)))]
        found.append(
            [
                np.log(low_quantile([x for block in blocks[place::PLACES] for x in block]))
                for place in range(PLACES)
            ]
        )
    return np.array(found)


def low_of_blocks(share: float, block_share: float = 0.1) -> Callable[[pd.DataFrame], float]:
    """A quantile over all blocks that lie alike, the mean of the places."""
    return lambda frame: float(
        np.quantile(blocks_of(frame, block_share).reshape(-1, PLACES), share, axis=0).mean()
    )


def each(of: Callable[[pd.DataFrame], float]) -> Statistic:
    """A figure of each case alone."""
    return lambda run: {str(case): of(visits) for case, visits in run.groupby("case_id")}


def model(run: pd.DataFrame) -> dict[str, float]:
    """All cases at once: what each takes in each place + normal noise + an exponential delay, whose scales
    they have in common (a stochastic frontier: Aigner, Lovell and Schmidt 1977). The scales that make the run
    likeliest, whatever its cases take; of a case the median, given these.
    """
    places = {str(case): places_of(visits) for case, visits in run.groupby("case_id")}
    levels = {
        case: np.linspace(seen.min(axis=0) - 0.08, seen.max(axis=0) + 0.03, LEVELS_OF_A_CASE)
        for case, seen in places.items()
    }

    def likelihood(case: str, noise: float, delay: float) -> np.ndarray:
        beyond = places[case][:, None, :] - levels[case][None, :, :]
        density = (
            (noise / delay) ** 2 / 2 - beyond / delay + log_ndtr(beyond / noise - noise / delay) - log(delay)
        )
        return np.asarray(density.sum(axis=0))

    def evidence(scales: tuple[float, float]) -> float:
        return float(
            sum(
                logsumexp(likelihood(case, *scales), axis=0).sum()
                + np.log(np.diff(levels[case][:2], axis=0)).sum()
                for case in places
            )
        )

    best = max(product(NOISES, DELAYS), key=evidence)
    found = {}
    for case in places:
        weight = np.exp(likelihood(case, *best) - likelihood(case, *best).max(axis=0)).cumsum(axis=0)
        found[case] = float(
            np.mean(
                [np.interp(0.5, w / w[-1], level) for w, level in zip(weight.T, levels[case].T, strict=True)]
            )
        )
    return found


ALONE: dict[str, Callable[[pd.DataFrame], float]] = {
    "shown by method 1, without its correction": lambda frame: float(np.log(frame["latency_s"]).mean()),
    "visits' medians, median": lambda frame: float(np.log(frame["latency_median_s"]).median()),
    "least sample of a visit, median": lambda frame: float(np.log(frame["latency_min_s"]).median()),
    "least sample of all": lambda frame: float(np.log(frame["latency_min_s"]).min()),
    "blocks' 10th percentiles, lower quartile by place": low_of_blocks(0.25),
    "blocks' 10th percentiles, tenth by place": low_of_blocks(0.1),
    "places of visits, mean": lambda frame: float(places_of(frame).mean()),
    "places of visits, median": lambda frame: float(np.median(places_of(frame), axis=0).mean()),
    "places of visits, least": lambda frame: float(places_of(frame).min(axis=0).mean()),
    "places of visits, lower quartile": lambda frame: float(
        np.quantile(places_of(frame), 0.25, axis=0, method="median_unbiased").mean()
    ),
    SHOWN: lambda frame: log(case_estimate.figure_s(np.exp(places_of(frame)).tolist())),
}


STATISTICS: dict[str, Statistic] = {name: each(of) for name, of in ALONE.items()} | {
    "a model over all cases of a run": model
}


def judged(
    campaign: pd.DataFrame, rounds: tuple[int, ...] = (3, 4, 6), names: tuple[str, ...] = tuple(STATISTICS)
) -> pd.DataFrame:
    """A row a statistic, a column a number of rounds: rms error, a fraction."""
    return pd.DataFrame(
        {most: {name: _rms_error(campaign, STATISTICS[name], most) for name in names} for most in rounds}
    )


def _rms_error(campaign: pd.DataFrame, statistic: Statistic, rounds: int) -> float:
    whole = {run: statistic(visits) for run, visits in campaign.groupby("run")}
    errors = []
    for run, visits in campaign[campaign["round"] <= rounds].groupby("run"):
        counts = visits["case_id"].value_counts()
        for case, value in statistic(visits).items():
            others = [found[case] for other, found in whole.items() if other != run and case in found]
            errors += [value - np.median(others)] if others and counts[case] > 1 else []
    return rms(errors)


def interval(campaign: pd.DataFrame, rounds: int, run_spread: float = RUN_SPREAD) -> dict[str, float]:
    """Of what is shown after so many rounds: half_width in the median case, covers (the median of the other
    runs); of ordered pairs of runs, `apart`: in which some case is more than 5 % slower, `false`: and past
    both intervals."""
    early = campaign[campaign["round"] <= rounds]
    figures, halves, covers = {}, [], []
    for (run, case), group in early.groupby(["run", "case_id"]):
        if len(group) >= case_estimate.FEWEST_VISITS:
            figures[run, case] = case_estimate.between(np.exp(places_of(group)).tolist(), run_spread)
    for (run, case), found in figures.items():
        others = [other.value for key, other in figures.items() if key[1] == case and key[0] != run]
        halves.append(found.half_width)
        covers += [found.low <= np.median(others) <= found.high] if others else []
    runs, cases = {run for run, _ in figures}, {case for _, case in figures}
    pairs = [
        [(figures[a, c], figures[b, c]) for c in cases if (a, c) in figures and (b, c) in figures]
        for a, b in permutations(runs, 2)
    ]
    apart = [any(head.value > 1.05 * base.value for base, head in pair) for pair in pairs]
    false = [
        any(head.value > 1.05 * base.value and head.low > base.high for base, head in pair) for pair in pairs
    ]
    return dict(
        zip(
            ("half_width", "covers", "apart", "false"),
            map(float, (np.median(halves), *map(np.mean, (covers, apart, false)))),
            strict=True,
        )
    )


def differences(campaign: pd.DataFrame, rounds: int) -> dict[str, float]:
    """Of two cases in one run, all pairs of them: rms error of the ratio of their figures, of that in the
    moments that both met, and how often the latter's interval holds that of the other runs; NaN where visits
    were not interleaved."""
    early = campaign[(campaign["round"] <= rounds) & (campaign["turns"] > 0)]
    figures = {run: STATISTICS[SHOWN](visits) for run, visits in early.groupby("run")}
    met: dict[Any, dict[str, dict[Any, np.ndarray]]] = {run: {} for run in figures}
    for (run, case), visits in early.groupby(["run", "case_id"]):
        met[run][str(case)] = dict(
            zip(visits["started_at"], blocks_of(visits, 0.1).reshape(len(visits), -1), strict=True)
        )
    apart, together, held = [], [], []
    for base, other in combinations(sorted(set(early["case_id"])), 2):
        of_figures = {
            run: found[other] - found[base]
            for run, found in figures.items()
            if base in found and other in found
        }
        ratios = {
            run: ratio
            for run, found in met.items()
            if (ratio := interleaved_ratio.ratio(found.get(base, {}), found.get(other, {})))
        }
        apart += [
            value - np.median([of_figures[one] for one in of_figures if one != run])
            for run, value in of_figures.items()
        ]
        for run, ratio in ratios.items():
            error = log(ratio.value) - np.median([log(ratios[one].value) for one in ratios if one != run])
            together.append(error)
            held.append(abs(error) <= log(ratio.high / ratio.value))
    return {
        "figures": rms(apart),
        "moments": rms(together),
        "holds": float(np.mean(held)) if held else float("nan"),
    }


def rms(errors: list[float]) -> float:
    """Root of the mean square; NaN of none."""
    return float(np.sqrt(np.mean(np.square(errors)))) if errors else float("nan")


def main() -> int:
    """A table a campaign."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--rounds", type=int, default=4)
    asked = parser.parse_args()
    for name, campaign in (
        one
        for path in asked.files or sorted((HERE / "campaigns").glob("*.parquet"))
        for one in read(path).items()
    ):
        typical = (
            campaign["latency_median_s"] / campaign.groupby("case_id")["latency_min_s"].transform("min")
        ).median()
        print(
            f"\n{name}: {len(campaign)} valid visits of {campaign['run'].nunique()} runs; "
            f"a visit's median is {typical:.2f} times its case's least"
        )
        print((100 * judged(campaign)).round(2).to_string())
        found = interval(campaign, asked.rounds)
        width, covers, apart, false = (
            f"{found[name]:.1%}" for name in ("half_width", "covers", "apart", "false")
        )
        print(
            f"after {asked.rounds} rounds ±{width}, holds {covers}; "
            f"some case 5 % slower in {apart} of pairs of runs, past both intervals in {false}"
        )
        if (campaign["turns"] > 0).any():
            pair = differences(campaign, asked.rounds)
            figures, together, holds = (f"{pair[name]:.1%}" for name in ("figures", "moments", "holds"))
            print(
                f"two cases against each other: by their figures {figures} off, "
                f"in the moments that both met {together}, whose interval holds {holds}"
            )
    return 0


def read(path: Path) -> dict[str, pd.DataFrame]:
    """The valid visits of a campaign by its name, those of other numbers of turns apart."""
    visits = pd.read_parquet(path)
    visits = visits[visits["trust"] != "invalid"].assign(
        turns=visits["turns"].fillna(0) if "turns" in visits else 0
    )
    # the rest were repeated alone
    parts = {int(turns): part for turns, part in visits.groupby("turns") if len(part) > FEW * len(visits)}
    return {
        f"{path.stem}, {turns} turns" if len(parts) > 1 else path.stem: part for turns, part in parts.items()
    }


if __name__ == "__main__":
    sys.exit(main())
