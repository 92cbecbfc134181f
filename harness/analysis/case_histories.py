"""What each case cost over the runs of a store, machine by machine, on one scale.

In: rows as `store/history_rows` keeps them. Out: a `CaseHistory` a case and machine, its runs in the order of
their commits. Not here: where it changed (`change_points`, `history`). Pure.

Runs against an anchor are followed by their ratio to it: what disturbed both sides is in neither. Where a run
joins a new anchor to an old one, ratios to the new one are multiplied by the ratio of the two, so that the
level goes on; an anchor that no run joins begins a history of its own. Runs of one arm are followed by their
latency, without what all cases of a run share (`SHARED`): on a machine that drifts that is the machine's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from harness.analysis.between_runs import FEWEST_SHARING
from harness.analysis.change_points import LEAST_VARIANCE, Series
from harness.analysis.comparability import MUST_MATCH
from harness.core.gate import ALL_CASES
from harness.core.stats import CONFIDENCE, student_t

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# of one history all are equal; the first ones are the machine, as people name it
MACHINE = (*MUST_MATCH, "device_name", "threads_used", "method")
SHARED = ALL_CASES  # case_id of what all cases of runs of one arm share
NORMAL = 1000  # degrees of freedom, from which on t is normal
# of a run of one arm: what runs differ by beyond the spread of their visits, where the interval lacks it
LEAST_ERROR = 0.001
ENDS = {
    "ratio": ("ratio", "ratio_low", "ratio_high"),
    "latency": ("latency_s", "latency_low_s", "latency_high_s"),
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CaseHistory:
    """One case on one machine. `anchor`: the first one of those that its ratios are chained to, None where it
    is followed by its latency. `runs`: a row a run in the order of commits, with run_id, at (date of the
    commit, else of the run), commit, the versions, value (logarithm of the level), error (its standard
    error), joint (variance of the link to the first anchor), latency_s with its ends."""

    machine: Mapping[str, Any]
    anchor: str | None
    case_id: str
    label: str
    kind: str
    runs: pd.DataFrame

    @property
    def series(self) -> Series:
        """As `find_changes` takes it."""
        columns = (self.runs[name].to_numpy(float) for name in ("value", "error", "joint"))
        return Series.of(*columns)

    @property
    def place(self) -> tuple[Any, ...]:
        """What it has in common with the other cases of its machine."""
        return (*self.machine.values(), self.anchor)


def case_histories(rows: pd.DataFrame) -> list[CaseHistory]:
    """Every case of every machine, those against an anchor first."""
    rows = rows.assign(at=rows["committed_at"].fillna(rows["started_at"]))
    return [*_anchored(rows), *_alone(rows)]


def _ordered(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.sort_values(["at", "started_at", "run_id"], kind="stable")


def _groups(rows: pd.DataFrame, keys: Iterable[str]) -> list[pd.DataFrame]:
    """As groupby, with what is null as a value of its own."""
    return [group for _, group in rows.groupby(list(keys), sort=False, dropna=False, observed=True)]


# Against an anchor


def _anchored(rows: pd.DataFrame) -> list[CaseHistory]:
    ratios = rows[(rows["arm"] == "head") & rows["ratio"].notna()]
    value, error = _figure(ratios, "ratio", ratios["pairs"] - 1)
    ratios = _ordered(ratios.assign(value=value, error=error, joint=0.0))
    links = ratios[ratios["joins"].notna()]
    followed = ratios[ratios["joins"].isna()]
    known = _links(links)
    found = []
    for group in _groups(followed, [*MACHINE, "case_id"]):
        anchors = group["anchor"].unique()
        if len(anchors) == 1:
            found.append(_history(group, str(anchors[0])))
            continue
        for root, members in _chains(anchors, known.get(_identity(group), {})).items():
            parts = [
                mine.assign(value=mine["value"] + shift, joint=variance)
                for name, (shift, variance) in members.items()
                if len(mine := group[group["anchor"] == name])
            ]
            found.append(_history(_ordered(pd.concat(parts)), root))
    return found


def _identity(group: pd.DataFrame) -> tuple[Any, ...]:
    """Of a case on a machine, hashable; NaN is not equal to itself."""
    return tuple(str(value) for value in group.iloc[0][[*MACHINE, "case_id"]])


Links = dict[tuple[str, str], tuple[float, float]]


def _links(rows: pd.DataFrame) -> dict[tuple[Any, ...], Links]:
    """By case and machine, of each pair of anchors the logarithm of new over old, and its variance: the
    weighted mean of the runs that joined them."""
    found: dict[tuple[Any, ...], Links] = {}
    for group in _groups(rows, [*MACHINE, "case_id", "anchor", "joins"]):
        weights = 1 / np.maximum(group["error"].to_numpy(float) ** 2, LEAST_VARIANCE)
        mean = float(np.average(group["value"], weights=weights))
        pair = str(group["anchor"].iloc[0]), str(group["joins"].iloc[0])
        found.setdefault(_identity(group), {})[pair] = mean, float(1 / weights.sum())
    return found


def _chains(anchors: Iterable[Any], links: Links) -> dict[str, dict[str, tuple[float, float]]]:
    """By the first anchor of each chain, its anchors with what is added to their values to be on its scale,
    and the variance of that. `anchors`: in the order of their first runs."""
    both = {**links, **{(new, old): (-shift, variance) for (old, new), (shift, variance) in links.items()}}
    chains: dict[str, dict[str, tuple[float, float]]] = {}
    for anchor in map(str, anchors):
        if any(anchor in members for members in chains.values()):
            continue
        members, open_ = {anchor: (0.0, 0.0)}, [anchor]
        while open_:
            old = open_.pop()
            for (one, other), (shift, variance) in both.items():
                if one == old and other not in members:
                    members[other] = members[old][0] + shift, members[old][1] + variance
                    open_.append(other)
        chains[anchor] = members
    return chains


# Alone


def _alone(rows: pd.DataFrame) -> list[CaseHistory]:
    alone = rows[(rows["arm"] == "main") & rows["latency_s"].notna()]
    value, error = _figure(alone, "latency", pd.Series(NORMAL, index=alone.index))
    alone = _ordered(alone.assign(value=value, error=error.clip(lower=LEAST_ERROR), joint=0.0))
    found = []
    for machine in _groups(alone, MACHINE):
        shared = _shared(machine)
        if shared is not None:
            found.append(
                replace(_history(shared, None), case_id=SHARED, label="all cases together", kind=SHARED)
            )
            shift = machine["run_id"].map(shared.set_index("run_id")["value"]).astype(float).fillna(0.0)
            machine = machine.assign(value=machine["value"] - shift)
        found += [_history(group, None) for group in _groups(machine, ["case_id"])]
    return found


def _shared(machine: pd.DataFrame) -> pd.DataFrame | None:
    """By run, the median over its cases of how far each is from its own median; None where runs have fewer
    than six cases."""
    strayed = machine["value"] - machine.groupby("case_id", observed=True)["value"].transform("median")
    grouped = machine.assign(strayed=strayed).groupby("run_id", observed=True, sort=False)
    counts = grouped["strayed"].count()
    if not len(counts) or counts.median() < FEWEST_SHARING:
        return None
    value = grouped["strayed"].median().where(counts >= FEWEST_SHARING)
    runs = machine.drop_duplicates("run_id").set_index("run_id", drop=False)
    deviation = (strayed - machine["run_id"].map(value).astype(float)).abs().median()
    empty = dict.fromkeys(("latency_s", "latency_low_s", "latency_high_s"), np.nan)
    error = np.maximum(1.2533 * 1.4826 * deviation / np.sqrt(counts), LEAST_ERROR)
    return runs.assign(value=value, error=error, **empty).dropna(subset="value").reset_index(drop=True)


def _figure(
    rows: pd.DataFrame, name: str, degrees: pd.Series[int]
) -> tuple[pd.Series[float], pd.Series[float]]:
    """The logarithm of a positive quantity, and its standard error from the 95 % interval and the degrees of
    freedom behind that."""
    value, low, high = (np.log(rows[column].to_numpy(float)) for column in ENDS[name])
    quantiles = {count: student_t((1 + CONFIDENCE) / 2, int(count)) for count in degrees.unique()}
    error = (high - low) / (2 * degrees.map(quantiles).to_numpy(float))
    return pd.Series(value, index=rows.index), pd.Series(error, index=rows.index)


def _history(group: pd.DataFrame, anchor: str | None) -> CaseHistory:
    first = group.iloc[0]
    return CaseHistory(
        machine={name: first[name] for name in MACHINE},
        anchor=anchor,
        case_id=str(first["case_id"]),
        label=str(first["label"]),
        kind=str(first["kind"]),
        runs=group,
    )
