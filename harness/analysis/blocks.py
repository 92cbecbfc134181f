"""The blocks of visits, as they are compared with those of other cases or arms in the same moments.

In: visits that have block_figures_s. Out: the same, without blocks that other work interrupted. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from harness.core.stats import INTERRUPTED

if TYPE_CHECKING:
    import pandas as pd


def uninterrupted(visits: pd.DataFrame) -> list[np.ndarray]:
    """The figures of each visit's blocks, in seconds a call. NaN stands for one of more than `INTERRUPTED`
    times the least, where threads waited for a processor. Elsewhere such a block is the case's own: one that
    is slow in some alignments is as slow in the mean."""
    found: list[np.ndarray] = []
    for blocks, reasons in zip(visits["block_figures_s"], visits["trust_reasons"], strict=True):
        figures = np.asarray(blocks, dtype=float)
        loaded = reasons is not None and "load" in reasons
        found.append(np.where(figures > INTERRUPTED * figures.min(), np.nan, figures) if loaded else figures)
    return found
