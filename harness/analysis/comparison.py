"""Comparisons: the verdict on every case of two arms, with its reason.

Two ways in: `judge_pairs`, over the pairs of one A/B run, and `judge_runs`, over the visits of two runs. In:
frames of visits by the columns' names. Out: a `Comparison`. Pure: no file, no device.

    visits of two arms -> effects -> what they prove (`verdict_tests`) -> a verdict a case and metric
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import exp, log1p
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from harness.analysis import between_runs
from harness.analysis.compared_cases import cases_of, memory, not_compared, reasons, tolerances
from harness.analysis.pair_effects import map_values, pair_ratios, paired_effects
from harness.analysis.summary import is_valid
from harness.analysis.verdict_tests import (
    Common,
    assign_verdicts,
    common_factor,
    decide,
    of_shift,
    smallest_effects,
    smallest_of_two_stages,
    tested,
)
from harness.core.case import Case
from harness.core.gate import ALL_CASES, SIDES, VERDICTS, Gate
from harness.core.stats import RUN_SPREAD

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Mapping, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Completeness:
    """How the visits came about, where it is a reason for no verdict.

    `ended`: the state that the run ended in. `planned`: by match_id, how many confirming pairs it was to get;
    `short`: the match_ids that got fewer than their spread asked for; `unreached`: how many cases were to be
    measured and have no visit.
    """

    quick: bool = False
    ended: str = "complete"
    planned: Mapping[str, int] = field(default_factory=dict)
    short: Sequence[str] = ()
    unreached: int = 0


@dataclass(frozen=True)
class Comparison:
    """A frame with a row a case and metric, worst first, and what else is to be said.

    Columns: match_id, case_id, label, kind, metric, verdict, reason, base and head (seconds or bytes), ratio
    with ratio_low and ratio_high (90 %), p_slower, pairs (or visits of the smaller side), stage, tolerance,
    smallest_effect, failed, base_error and head_error (numeric, as in `core/columns`). `only` is the verdict
    that is shown.
    """

    verdicts: pd.DataFrame
    gate: Gate
    completeness: Completeness = field(default_factory=Completeness)
    common: Common | None = None
    notes: list[str] = field(default_factory=list)
    differences: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    names: tuple[str, str] = SIDES
    only: str | None = None

    @property
    def shown(self) -> pd.DataFrame:
        """The rows to show; what is concluded stands on all of them."""
        return self.verdicts if self.only is None else self.verdicts[self.verdicts["verdict"] == self.only]

    @property
    def unconfirmed(self) -> pd.DataFrame:
        """The latencies that nothing was proved of, and whose interval lies wholly beyond the tolerance; the
        slowest first."""
        undecided = self.verdicts[
            (self.verdicts["verdict"] == "inconclusive") & (self.verdicts["metric"] == "latency_s")
        ]
        return undecided[undecided["ratio_low"] > 1 + undecided["tolerance"]].sort_values(
            "ratio", ascending=False
        )

    @property
    def undecided(self) -> int:
        """How many cases have no verdict on their latency, those that were not reached too."""
        rows = self.verdicts[self.verdicts["match_id"] != ALL_CASES]
        open_ = (rows["metric"] == "latency_s") & (rows["verdict"] == "inconclusive")
        return int(open_.sum()) + self.completeness.unreached

    @property
    def counts(self) -> dict[str, int]:
        """How many cases and metrics have each verdict, in the order of `VERDICTS`; what was not reached is
        inconclusive."""
        found = self.verdicts["verdict"].value_counts().to_dict()
        found["inconclusive"] = found.get("inconclusive", 0) + self.completeness.unreached
        return {verdict: int(found[verdict]) for verdict in VERDICTS if found.get(verdict)}

    @property
    def code(self) -> int:
        """The exit code: 1 where something regressed (or is inconclusive, where the gate says fail), 4 where
        a case failed, 3 where one cannot be compared or is missing, where the run was stopped, or where there
        is nothing, else 0."""
        counts = self.counts
        if "regressed" in counts or ("inconclusive" in counts and self.gate.inconclusive == "fail"):
            return 1
        if self.verdicts["failed"].any():
            return 4
        return (
            3
            if self.verdicts.empty or self.stopped or "not comparable" in counts or "missing" in counts
            else 0
        )

    @property
    def stopped(self) -> bool:
        """Whether the run ended otherwise than it was to: what it has is no answer."""
        return self.completeness.ended not in ("complete", "time_limit")

    @property
    def smallest_effect(self) -> float | None:
        """The slowdown that this comparison finds in four of five cases of usual spread: the median over the
        cases, a fraction."""
        known = self.verdicts["smallest_effect"].dropna()
        return None if known.empty else float(known.median())


def judge_pairs(
    visits: pd.DataFrame,
    gate: Gate,
    completeness: Completeness | None = None,
    changed: Collection[str] = (),
) -> Comparison:
    """The arms `base` and `head` of one A/B run, which have different values of the axes in `changed`; a
    case's label leaves these out."""
    completeness = completeness or Completeness()
    marked = visits.assign(match_id=visits["asked_id"])
    begun = marked.loc[marked["stage"] == "confirm", "match_id"]  # also where no confirming pair was valid
    base, head = (marked[marked["arm"] == side] for side in SIDES)
    cases = cases_of(base, head)
    behind = marked[(marked["stage"] == "confirm") | ~marked["match_id"].isin(begun)]
    arms = {side: behind[behind["arm"] == side] for side in SIDES}
    cases = cases.assign(
        **{f"{side}_s": _latencies(visits, visits["latency_s"]) for side, visits in arms.items()}
    )
    limits = map_values(np.log1p, tolerances(cases, gate, "latency_s"))
    ratios = pair_ratios(marked)
    screening, confirming = ratios[ratios["stage"] == "screen"], ratios[ratios["stage"] == "confirm"]
    judged = decide(screening[~screening["match_id"].isin(begun)], confirming, limits)
    latency = cases.join(judged)
    latency["verdict"] = latency["verdict"].where(
        latency["verdict"].notna() & (not completeness.quick), "inconclusive"
    )
    latency["smallest_effect"] = smallest_of_two_stages(
        paired_effects(screening), judged[judged["stage"] == "confirm"], limits, gate
    )
    return _comparison(latency, limits, gate, completeness, unit="pairs", changed=changed)


def judge_runs(
    base: pd.DataFrame,
    head: pd.DataFrame,
    gate: Gate,
    *,
    run_spread: float = RUN_SPREAD,
    asked: Mapping[str, Container[str]] | None = None,
    quick: bool = False,
) -> Comparison:
    """Two sets of visits that were measured apart. Of six cases or more, what they share is a row of its own,
    and their ratios are without it.

    `run_spread`: what runs of this machine differ by, a standard deviation of logarithms. `asked`: the
    case_ids that each side was to measure.
    """
    sides = {
        side: visits.assign(match_id=visits["descriptor"])
        for side, visits in zip(SIDES, (base, head), strict=True)
    }
    figures = {side: visits[is_valid(visits)] for side, visits in sides.items()}
    latencies = {
        f"{side}_s": _latencies(visits, map_values(np.exp, between_runs.level(visits)))
        for side, visits in figures.items()
    }
    cases = cases_of(sides["base"], sides["head"], asked).assign(**latencies)
    for side in SIDES:  # a run has a figure for what failed after its valid visits
        cases[f"{side}_failure"] = cases[f"{side}_failure"].where(cases[f"{side}_s"].isna(), None)
    limits = map_values(np.log1p, tolerances(cases, gate, "latency_s"))
    shift, effects = between_runs.split(figures["base"], figures["head"], run_spread)
    judged = assign_verdicts(tested(effects, limits))
    latency = cases.join(judged).assign(stage=None)
    latency["verdict"] = latency["verdict"].where(latency["verdict"].notna() & (not quick), "inconclusive")
    latency["smallest_effect"] = smallest_effects(judged["error"], judged["degrees"], limits, len(judged))
    return _with_shift(_comparison(latency, limits, gate, Completeness(quick=quick), unit="visits"), shift)


def _latencies(visits: pd.DataFrame, latency_s: pd.Series[float]) -> pd.Series[float]:
    """By case, the geometric mean of what its valid visits took, in seconds."""
    valid = is_valid(visits)
    return map_values(
        np.exp, map_values(np.log, latency_s[valid]).groupby(visits.loc[valid, "match_id"]).mean()
    )


def _comparison(
    latency: pd.DataFrame,
    limits: pd.Series[float],
    gate: Gate,
    completeness: Completeness,
    *,
    unit: str,
    changed: Collection[str] = (),
) -> Comparison:
    """Latency and memory in one frame; what cannot be compared, is new or is missing overrides what was
    measured. `changed`: the axes that the two sides have different values of."""
    latency = latency.assign(
        metric="latency_s",
        base=latency["base_s"],
        head=latency["head_s"],
        tolerance=map_values(np.expm1, limits),
        pairs=latency["count"],
    )
    latency["reason"] = reasons(latency, limits, completeness, unit)
    for name, column in (("mean", "ratio"), ("low", "ratio_low"), ("high", "ratio_high")):
        latency[column] = map_values(np.exp, latency[name])
    rows = pd.concat([latency, memory(latency, gate)])
    failures = rows[[f"{side}_failure" for side in SIDES]]
    rows["failed"] = (failures.notna() & (failures != "skipped")).any(axis=1)
    for holds, verdict, reason in not_compared(rows, gate):
        rows.loc[holds, "verdict"] = verdict
        rows.loc[holds, "reason"] = reason[holds] if isinstance(reason, pd.Series) else reason
    rows["label"] = [Case.from_row(row).named(changed) for row in rows.to_dict("records")]
    order = rows["verdict"].map(VERDICTS.index)
    rows = (
        rows.assign(order=order)
        .sort_values(["order", "ratio"], ascending=[True, False], kind="stable")
        .reset_index()
    )
    means = latency.loc[latency["count"].notna(), "mean"].tolist()
    return Comparison(
        rows[_COLUMNS], gate, completeness, common_factor(means, log1p(gate.usual("latency_s")))
    )


def _with_shift(comparison: Comparison, shift: between_runs.Shift | None) -> Comparison:
    """With the row of what all cases share, the first."""
    if shift is None:
        return comparison
    tolerance = comparison.gate.usual("latency_s")
    row = of_shift(shift, log1p(tolerance)).iloc[0]
    verdict = "inconclusive" if comparison.completeness.quick else row["verdict"]
    about: dict[str, Any] = {
        "match_id": ALL_CASES,
        "label": f"all {shift.cases} cases together",
        "kind": ALL_CASES,
        "metric": "latency_s",
        "verdict": verdict,
        "reason": "spread: rounds of one run vary as much" if verdict == "inconclusive" else None,
        "ratio": exp(row["mean"]),
        "ratio_low": exp(row["low"]),
        "ratio_high": exp(row["high"]),
        "p_slower": row["p_slower"],
        "pairs": shift.rounds,
        "tolerance": tolerance,
        "failed": False,
    }
    rows = pd.concat(
        [
            pd.DataFrame([about]).reindex(columns=_COLUMNS).astype(comparison.verdicts.dtypes),
            comparison.verdicts,
        ],
        ignore_index=True,
    )
    rows = rows.sort_values(
        "verdict", key=lambda verdicts: verdicts.map(VERDICTS.index), kind="stable", ignore_index=True
    )
    return replace(comparison, verdicts=rows, common=None)


_COLUMNS = [
    *(
        "match_id",
        "case_id",
        "label",
        "kind",
        "metric",
        "verdict",
        "reason",
        "base",
        "head",
        "ratio",
        "ratio_low",
        "ratio_high",
    ),
    *("p_slower", "pairs", "stage", "tolerance", "smallest_effect", "failed", "base_error", "head_error"),
]
