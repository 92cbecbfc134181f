"""What a visit would have taken on the quiet machine, by the reference probes beside it.

In: the frame of visits and what was known of each run's machine. Out: the same frame, `neighbours` among the reasons of visits beside
slow probes, and a column `corrected_s`. Both on loading; the file keeps what each visit said.

The correction is a control variate (Owen, Monte Carlo theory, section 8.9): visits slow down when their probes do, by exponents that the
run's own visits tell. It is applied only where it lowers the spread of visits that the exponents were not fitted to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from harness.probes import PROBES, beside_neighbours, quiet_level

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.probes import Probes, Quiet

FIT_VISITS = 12  # for exponents of a case's own; with fewer, cases share them
PAYS = 0.9  # of the spread may be left in visits that were not fitted


def read_probes(visits: pd.DataFrame, quiet: Mapping[str, Quiet]) -> pd.DataFrame:
    """The visits, judged by their probes. `quiet`: by run, what was known of its machine when it began; else its own visits tell."""
    judged = visits.assign(corrected_s=np.nan)
    for (run_id, _, threads), group in visits[visits["status"] == "ok"].groupby(["run_id", "device", "threads_used"]):
        seen = group.dropna(subset=PROBES)
        figures: list[Probes] = list(seen[PROBES].itertuples(index=False, name=None))
        level = quiet_level(quiet.get(str(run_id), {}).get(f"{threads:.0f}"), figures)
        if level is None:
            continue
        slow = seen.index[[beside_neighbours(probes, level) for probes in figures]]
        judged.loc[slow, "trust_reasons"] = judged.loc[slow, "trust_reasons"].map(lambda reasons: [*reasons, "neighbours"])
        judged.loc[slow, "trust"] = judged.loc[slow, "trust"].replace("ok", "noisy")
        for _, arm in seen[seen["trust"] != "invalid"].groupby("arm"):
            corrected = _corrected_s(arm, arm[PROBES].div(pd.Series(level, index=PROBES)).transform(np.log))
            judged.loc[corrected.index, "corrected_s"] = corrected
    return judged


def _corrected_s(visits: pd.DataFrame, slowness: pd.DataFrame) -> pd.Series[float]:
    """Seconds as on the quiet machine, of the visits for which a correction pays. `slowness`: logarithms of the probes over quiet."""
    counts = visits["case_id"].map(visits["case_id"].value_counts())
    own = [group.index for _, group in visits[counts >= FIT_VISITS].groupby("case_id")]
    shared = visits.index[counts < FIT_VISITS]
    found = []
    for members in [*own, *([shared] if len(shared) >= FIT_VISITS else [])]:
        cases = visits.loc[members, "case_id"]
        latency, probes = np.log(visits.loc[members, "latency_s"]), slowness.loc[members]
        exponents = paying_exponents(latency - latency.groupby(cases).transform("mean"), probes - probes.groupby(cases).transform("mean"))
        if exponents is not None:
            found.append(np.exp(latency - probes @ exponents))
    return pd.concat(found) if found else pd.Series(dtype=float)


def paying_exponents(latency: pd.Series[float], probes: pd.DataFrame) -> np.ndarray | None:
    """Exponents of the probes in the latency (logarithms, each less its case's mean), or None where held-out visits are hardly less spread.

    Every second visit is held out, then the others; what is left of both, after exponents fitted to the other half, is compared.
    """
    y, x = latency.to_numpy(), probes.to_numpy()
    left = np.concatenate([y[part::2] - x[part::2] @ _fit(x[1 - part :: 2], y[1 - part :: 2]) for part in (0, 1)])
    return _fit(x, y) if np.sqrt(np.mean(left**2)) < PAYS * np.sqrt(np.mean(y**2)) else None


def _fit(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    exponents: np.ndarray = np.linalg.lstsq(x, y, rcond=None)[0]
    return exponents
