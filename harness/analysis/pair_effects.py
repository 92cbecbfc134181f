"""Effects: by how much head differs from base, as log ratios, with the error of each.

Of pairs that were measured in turns; of runs that were measured apart, `between_runs`.

In: frames of visits by the columns' names. Out: a row a pair, or a row a case with mean, error, degrees of
freedom and count. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from harness.analysis.blocks import uninterrupted
from harness.analysis.summary import is_valid
from harness.core.gate import SIDES
from harness.core.stats import middle_mean

if TYPE_CHECKING:
    from collections.abc import Callable


LEFT = 1 / 6  # of the turns of a pair, at least


def map_values(function: Callable[..., np.ndarray], values: pd.Series[float]) -> pd.Series[float]:
    """A function of numpy's on each value."""
    return pd.Series(function(values.to_numpy(dtype=float)), index=values.index)


def pair_ratios(visits: pd.DataFrame, sides: tuple[str, str] = SIDES) -> pd.DataFrame:
    """One row a pair whose visits by these two arms are both valid: match_id, stage, pair, and ratio, the
    logarithm of the second arm's time over the first's.

    With turns it is the mean of the middle half of the blocks' log ratios: block i was measured right beside
    block i. Without turns, the log ratio of the two latencies. `visits` have a match_id.
    """
    base, head = sides
    counted = visits[is_valid(visits) & visits["pair"].notna() & visits["arm"].isin(sides)]
    counted = counted[counted.groupby("pair")["arm"].transform("nunique") == len(sides)]
    by_pair = counted.groupby("pair")[["match_id", "stage", "turns"]].first()
    latency = counted.pivot(index="pair", columns="arm", values="latency_s")
    ratio = map_values(np.log, latency[head] / latency[base]) if len(latency) else pd.Series(dtype=float)
    turned = counted[(counted["turns"] > 0) & counted["block_figures_s"].notna()]
    if len(turned):
        of_turns = _ratios_of_turns(turned, sides)
        ratio.loc[of_turns.index] = of_turns
    return by_pair.assign(ratio=ratio).dropna(subset="ratio").reset_index()


def _ratios_of_turns(turned: pd.DataFrame, sides: tuple[str, str]) -> pd.Series[float]:
    """By pair, of its blocks' log ratios the mean of the middle half, less those that were interrupted; NaN
    where these are most."""
    counts = turned["block_figures_s"].map(len)
    blocks = pd.DataFrame(
        {
            "pair": np.repeat(turned["pair"].to_numpy(), counts),
            "arm": np.repeat(turned["arm"].to_numpy(), counts),
            "block": np.concatenate([np.arange(count) for count in counts]),
            "figure_s": np.concatenate(uninterrupted(turned)),
        }
    )
    by_arm = blocks.pivot(index=["pair", "block"], columns="arm", values="figure_s")
    return (
        map_values(np.log, by_arm[sides[1]] / by_arm[sides[0]])
        .groupby("pair")
        .agg(lambda ratios: _of_turns(ratios.dropna().tolist(), len(ratios)))
    )


def _of_turns(ratios: list[float], turns: int) -> float:
    return middle_mean(ratios) if len(ratios) >= LEFT * turns else float("nan")


def paired_effects(ratios: pd.DataFrame) -> pd.DataFrame:
    """By case, of its pairs' log ratios: mean, spread (standard deviation), error (of the mean), degrees,
    count."""
    grouped = (
        ratios.groupby("match_id")["ratio"].agg(["mean", "std", "count"]).rename(columns={"std": "spread"})
    )
    return grouped.assign(error=grouped["spread"] / np.sqrt(grouped["count"]), degrees=grouped["count"] - 1)
