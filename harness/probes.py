"""The two reference probes beside each visit: what they take on the quiet machine, and when they are slow.

In: seconds that probes took. Out: whether the machine was slower than when quiet, and by how much. No counter shows such neighbours: another guest's
threads on the same core, or a stranger's data in the last-level cache, leave run queue and steal at zero.
"""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING

from harness.stats import quantile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Probes = tuple[float, ...]  # seconds, in the order of PROBES
    Quiet = Mapping[str, Mapping[str, float]]  # thread count to probe to seconds

PROBES = ["reference_copy_s", "reference_compute_s"]
QUIET_VISITS = 20  # fewer do not tell what quiet is ...
QUIET_SHARE = 0.1  # ... and this quantile of theirs does
SLOW = 0.05  # quiet probes repeat within 2 %; beside a neighbour a copy 5 % slower went with cases 10 to 48 % slower


def quiet_level(known: Mapping[str, float] | None, seen: Sequence[Probes]) -> Probes | None:
    """What the probes take on the quiet machine, in seconds: as known, else the 10th percentile of those seen, of which 20 are needed."""
    if known is not None:
        return tuple(known[probe] for probe in PROBES)
    return tuple(quantile(figures, QUIET_SHARE) for figures in zip(*seen, strict=True)) if len(seen) >= QUIET_VISITS else None


def beside_neighbours(probes: Probes, quiet: Probes) -> bool:
    """Whether either probe was slow."""
    return slowness(probes, quiet) > 0


def slowness(probes: Probes, quiet: Probes) -> float:
    """By how much neighbours slowed the machine: the logarithm of the slower probe over what it takes when quiet; 0 where neither was slow."""
    slower = max(took_s / quiet_s for took_s, quiet_s in zip(probes, quiet, strict=True))
    return log(slower) if slower > 1 + SLOW else 0.0
