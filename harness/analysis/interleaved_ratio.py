"""Two cases of one run against each other, from blocks that were measured in the same moments.

In: visits whose blocks were interleaved. Out: how many times as long one case takes as another, with an
interval of its own. What disturbed both is in neither: cases whose figures are known within a tenth are told
apart where they differ by a twentieth.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from math import exp, hypot
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.analysis.blocks import uninterrupted
from harness.analysis.case_estimate import SIDE
from harness.analysis.summary import KEYS, is_valid
from harness.core.stats import middle_mean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    # by when the visits of a group began: the logarithms of a visit's block figures, a turn each, or NaN of a
    # block that was interrupted
    Moments = Mapping[Any, np.ndarray]

FEWEST = 6  # of the moments that two cases share, where some were interrupted
CAPPED = 0.1  # of them, on either side, for their spread
# standard errors of independent differences: blocks of one round remember each other (docs/method.md)
REMEMBERED = 1.6
# by which the processes of a run differ in such a ratio, rms: 0.056 to 0.097 in five campaigns (3,905 pairs
# of cases). The blocks of one process tell that from their own spread, 0.116 to 0.151; it holds where they
# are calm
ONE_PROCESS = 0.08
WITHIN_RUN = 0.005  # by which cases that are equal differ in one run, beyond the spread of their visits


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as long one case takes as another; `error`: standard error of its logarithm; `paired`:
    from the same moments."""

    value: float
    error: float
    paired: bool

    @property
    def upward(self) -> Ratio:
        """Itself, or its inverse where that is the larger: of the slower case over the faster."""
        return replace(self, value=max(self.value, 1 / self.value))

    @property
    def low(self) -> float:
        """The lower end of the 95 % interval."""
        return self.value * exp(-SIDE * self.error)

    @property
    def high(self) -> float:
        """The upper end of the 95 % interval."""
        return self.value * exp(SIDE * self.error)


def of_cases(visits: pd.DataFrame) -> dict[tuple[Any, ...], Moments]:
    """By run_id, arm and case_id, the blocks of valid visits that were interleaved with others."""
    found: dict[tuple[Any, ...], dict[Any, np.ndarray]] = defaultdict(dict)
    turned = visits[
        is_valid(visits) & (visits["turns"] > 0) & visits["pair"].isna() & visits["block_figures_s"].notna()
    ]
    moments = turned[[*KEYS, "started_at"]].itertuples(index=False)
    for (*key, began), figures in zip(moments, uninterrupted(turned), strict=True):
        found[tuple(key)][began] = np.log(figures)
    return dict(found)


def ratio(base: Moments, other: Moments) -> Ratio | None:
    """Other over base; None where no visits of the two met the same moments, or too few uninterrupted."""
    met = [
        other[began] - base[began]
        for began in base
        if began in other and len(base[began]) == len(other[began])
    ]
    shared = [calm for calm in (one[~np.isnan(one)] for one in met) if len(calm)]
    count = sum(map(len, shared))
    if count < min(FEWEST, sum(map(len, met))) or not count:
        return None
    differences = np.sort(np.concatenate(shared))
    capped = int(CAPPED * count)
    spread = differences.clip(differences[capped], differences[count - capped - 1]).std(ddof=1) / (
        1 - 2 * CAPPED
    )
    error = max(REMEMBERED * float(spread) / count**0.5, _between_processes(shared))
    return Ratio(exp(middle_mean(differences.tolist())), hypot(error, WITHIN_RUN), paired=True)


def _between_processes(shared: Sequence[np.ndarray]) -> float:
    """The standard error by what the visits say one by one; of one, what processes usually differ by."""
    if len(shared) == 1:
        return ONE_PROCESS
    means = [middle_mean(met.tolist()) for met in shared]
    return float(np.std(means, ddof=1)) / float(len(shared) ** 0.5)
