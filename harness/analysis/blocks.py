"""The blocks of visits, as they are compared with those of other cases or arms in the same moments.

In: visits that have block_figures_s. Out: the same, without blocks that other work interrupted. Pure.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from harness.core.stats import INTERRUPTED, PLACES, WAITED


def uninterrupted(visits: pd.DataFrame) -> list[np.ndarray]:
    """The figures of each visit's blocks, in seconds a call. Where threads are known to have waited long for
    a processor, NaN stands for those of more than `INTERRUPTED` times the least of the blocks that lie alike
    in memory."""
    figures = [np.asarray(blocks, dtype=float) for blocks in visits["block_figures_s"]]
    if "run_queue_share" not in visits:
        return figures
    waited = pd.to_numeric(visits["run_queue_share"]).fillna(0.0)
    return [_calm(one) if share > WAITED else one for one, share in zip(figures, waited, strict=True)]


def _calm(figures: np.ndarray) -> np.ndarray:
    least = np.array([figures[place::PLACES].min() for place in range(min(PLACES, len(figures)))])
    return np.where(figures > INTERRUPTED * np.resize(least, len(figures)), np.nan, figures)
