"""Verdicts: is head slower than base, by how much, and what could this comparison have seen?

    visits of two arms -> effects (log ratios, head over base) -> screening clears, confirming decides -> a verdict a case

Two ways in: `judge_pairs`, over the pairs of one A/B run, and `judge_runs`, over the visits of two runs. In: frames of visits by the
record's names. Out: a `Comparison`. Pure: no file, no device.

The one test. A case is `regressed` when "ratio <= 1 + T" is rejected, `improved` when "ratio >= 1 / (1 + T)" is, one-sided t on log
ratios, with Benjamini and Hochberg's bound (1995) on the share of false ones among those named; `same` when the 90 % interval lies within
+-ln(1 + T) (two one-sided tests, Schuirmann 1987). Everything else is `inconclusive`, with a reason. The test is shifted by T, since
to demand a difference from 0 and an interval above T besides finds a slowdown of 5 % two times in a hundred.

Two stages. Screening only clears: what is not `same` there gets fresh pairs, so many as Stein's rule (1945) takes from the spread in the
screening, and is judged on those alone. A case that only looked slow by chance is measured again before it is accused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, comb, exp, log1p
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from harness.case import Case
from harness.gate import MATCHED_BY, VERDICTS, Gate
from harness.stats import RUN_SPREAD, student_t
from harness.summary import is_valid, makes_figure

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

FALSE_SHARE = 0.05  # of those named regressed, and of those named improved
SAME_CONFIDENCE = 0.9
POWER = 0.8
FEWEST = 3  # pairs, or visits of an arm
FOUND_ABOVE = 0.03  # confirming pairs are planned to find a slowdown so far above the tolerance
LEAST_ERROR = 1e-9  # figures that do not vary at all would divide by nothing
FEWEST_COMMON = 6  # cases: with fewer no 95 % interval of their median exists
FACTS = ("macs", "parameters")
SIDES = ("base", "head")


@dataclass(frozen=True, slots=True)
class Common:
    """A factor that all cases share, head over base: the median of the cases with its 95 % interval."""

    ratio: float
    low: float
    high: float
    cases: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How the visits came about, where it is a reason for no verdict. `short`: match_ids that got fewer pairs than their spread asked for."""

    quick: bool = False
    timed_out: bool = False
    short: Sequence[str] = ()


@dataclass(frozen=True)
class Comparison:
    """A frame with a row a case and metric, worst first, and what else is to be said.

    Columns: match_id, case_id, label, kind, metric, verdict, reason, base and head (seconds or bytes), ratio with ratio_low and ratio_high
    (90 %), p_slower, pairs (or visits of the smaller side), stage, tolerance, smallest_effect, failed. `only` is the verdict that is shown.
    """

    verdicts: pd.DataFrame
    gate: Gate
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
    def counts(self) -> dict[str, int]:
        """How many rows have each verdict, in the order of `VERDICTS`."""
        found = self.verdicts["verdict"].value_counts()
        return {verdict: int(found[verdict]) for verdict in VERDICTS if verdict in found}

    @property
    def code(self) -> int:
        """The exit code: 1 where something regressed (or is inconclusive, where the gate says fail), 4 where a case failed, 3 where one cannot
        be compared or is missing, or where there is nothing, else 0."""
        counts = self.counts
        if "regressed" in counts or ("inconclusive" in counts and self.gate.inconclusive == "fail"):
            return 1
        if self.verdicts["failed"].any():
            return 4
        return 3 if not counts or "not comparable" in counts or "missing" in counts else 0

    @property
    def smallest_effect(self) -> float | None:
        """The slowdown that this comparison finds in four of five cases of usual spread: the median over the cases, a fraction."""
        known = self.verdicts["smallest_effect"].dropna()
        return None if known.empty else float(known.median())


# from visits to effects


def match_ids(visits: pd.DataFrame) -> pd.Series[str]:
    """What makes the cases of two arms the same one: the descriptor, whoever implements it, unless an arm has it by two implementations."""
    own = visits.drop_duplicates(["arm", "descriptor"])[["arm", "descriptor"]]
    own = own.assign(shared=own["descriptor"].str.replace(r";implementation=[^;|]+", "", regex=True))
    if own.duplicated(["arm", "shared"]).any():
        return visits["descriptor"]
    return visits["descriptor"].map(own.drop_duplicates("descriptor").set_index("descriptor")["shared"])


def pair_ratios(visits: pd.DataFrame) -> pd.DataFrame:
    """One row a pair whose visits are both valid: match_id, stage, pair, and ratio, the logarithm of head over base.

    With turns it is the median over blocks of the log ratio of the two block medians: block i was measured right beside block i. Without,
    the log ratio of the two latencies. `visits` have a match_id.
    """
    counted = visits[is_valid(visits) & visits["pair"].notna()]
    counted = counted[counted.groupby("pair")["arm"].transform("nunique") == len(SIDES)]
    by_pair = counted.groupby("pair")[["match_id", "stage", "turns"]].first()
    latency = counted.pivot(index="pair", columns="arm", values="latency_s")
    ratio = _each(np.log, latency["head"] / latency["base"]) if len(latency) else pd.Series(dtype=float)
    turned = counted[counted["turns"] > 0]
    if len(turned):
        ratio.update(_ratios_of_turns(turned))
    return by_pair.assign(ratio=ratio).reset_index()


def _ratios_of_turns(turned: pd.DataFrame) -> pd.Series[float]:
    """By pair, the median over blocks of the log ratio of block medians."""
    counts = np.concatenate([np.diff(ends, prepend=0) for ends in turned["block_ends"]])
    blocks = pd.DataFrame(
        {
            "pair": np.repeat(turned["pair"].to_numpy(), turned["turns"]),
            "arm": np.repeat(turned["arm"].to_numpy(), turned["turns"]),
            "block": np.concatenate([np.arange(turns) for turns in turned["turns"]]),
        }
    )
    samples = pd.Series(np.concatenate(turned["samples_s"].to_list()))
    blocks["median_s"] = samples.groupby(np.repeat(np.arange(len(blocks)), counts)).median()
    by_arm = blocks.pivot(index=["pair", "block"], columns="arm", values="median_s")
    return _each(np.log, by_arm["head"] / by_arm["base"]).groupby("pair").median()


def paired_effects(ratios: pd.DataFrame) -> pd.DataFrame:
    """By case, of its pairs' log ratios: mean, spread (standard deviation), error (of the mean), degrees, count."""
    grouped = ratios.groupby("match_id")["ratio"].agg(["mean", "std", "count"]).rename(columns={"std": "spread"})
    return grouped.assign(error=grouped["spread"] / np.sqrt(grouped["count"]), degrees=grouped["count"] - 1)


def unpaired_effects(base: pd.DataFrame, head: pd.DataFrame) -> pd.DataFrame:
    """By case that both have, from the logarithms of its visits' latencies: mean, error, degrees, count of the smaller side.

    After Welch (1947) for unequal spreads; the error also holds what runs differ by beyond their visits (`stats.RUN_SPREAD`).
    """
    one, two = (visits.assign(log=np.log(visits["latency_s"])).groupby("match_id")["log"].agg(["mean", "var", "count"]) for visits in (base, head))
    both = one.merge(two, left_index=True, right_index=True, suffixes=("_base", "_head"))
    parts = {side: both[f"var_{side}"] / both[f"count_{side}"] for side in SIDES}
    total = parts["base"] + parts["head"]
    degrees = total**2 / sum(parts[side] ** 2 / (both[f"count_{side}"] - 1) for side in SIDES)
    counts = both[["count_base", "count_head"]]
    return pd.DataFrame(
        {
            "mean": both["mean_head"] - both["mean_base"],
            "error": np.sqrt(total + 2 * RUN_SPREAD**2),
            "degrees": degrees.where(total > 0, counts.sum(axis=1) - 2),
            "count": counts.min(axis=1),
        }
    )


# from effects to verdicts


def confirming_pairs(spread: float, count: int, tolerance: float, limits: tuple[int, int]) -> tuple[int, bool]:
    """How many fresh pairs a case gets, and whether `limits` cut them short.

    After Stein (1945), from the spread of `count` screening pairs: so many that a slowdown of T + 3 % is told from T.
    """
    gap = log1p(tolerance + FOUND_ABOVE) - log1p(tolerance)
    wanted = ceil((spread * 2 * student_t(0.95, max(count - 1, 1)) / gap) ** 2)
    return min(max(wanted, limits[0]), limits[1]), wanted > limits[1]


def planned(screened: pd.DataFrame, limits: pd.Series[float], gate: Gate) -> pd.DataFrame:
    """By case, `pairs` that confirming it takes, and `short` where the gate allows fewer than its spread asks for."""
    rows = [
        confirming_pairs(spread, int(count), exp(limit) - 1, gate.confirm_pairs)
        for spread, count, limit in zip(screened["spread"], screened["count"], limits.reindex(screened.index), strict=True)
    ]
    return pd.DataFrame(rows, index=screened.index, columns=["pairs", "short"])


def tested(effects: pd.DataFrame, limits: pd.Series[float]) -> pd.DataFrame:
    """The effects that stand on enough, with tests against `limits`, ln(1 + T) by case: low and high (90 %), p_slower, p_faster, same."""
    from scipy.stats import t

    counted = effects[effects["count"] >= FEWEST]
    limit, error = limits.reindex(counted.index), counted["error"].clip(lower=LEAST_ERROR)
    half = t.ppf((1 + SAME_CONFIDENCE) / 2, counted["degrees"]) * error
    low, high = counted["mean"] - half, counted["mean"] + half
    return counted.assign(
        low=low,
        high=high,
        p_slower=t.sf((counted["mean"] - limit) / error, counted["degrees"]),
        p_faster=t.sf((-counted["mean"] - limit) / error, counted["degrees"]),
        same=(low >= -limit) & (high <= limit),
    )


def named(judged: pd.DataFrame) -> pd.DataFrame:
    """With verdicts; regressed and improved are families of their own, each with its bound on false ones."""
    from scipy.stats import false_discovery_control

    verdict = pd.Series(np.where(judged["same"], "same", "inconclusive"), index=judged.index, dtype="object")
    if len(judged):
        verdict[false_discovery_control(judged["p_slower"]) <= FALSE_SHARE] = "regressed"
        verdict[false_discovery_control(judged["p_faster"]) <= FALSE_SHARE] = "improved"
    return judged.assign(verdict=verdict)


def decide(screening: pd.DataFrame, confirming: pd.DataFrame, limits: pd.Series[float]) -> pd.DataFrame:
    """The verdicts of two stages, by match_id of pairs (as `pair_ratios` gives them): the tests' columns, stage and verdict.

    `screening` holds the pairs of cases that have no confirming ones: they are `same` or `inconclusive`. Cases with fewer than three pairs
    have no row.
    """
    screened = tested(paired_effects(screening), limits)
    screened["verdict"] = np.where(screened["same"], "same", "inconclusive")
    return pd.concat([screened.assign(stage="screen"), named(tested(paired_effects(confirming), limits)).assign(stage="confirm")])


def smallest_effects(error: pd.Series[float], degrees: pd.Series[float], limits: pd.Series[float], family: int) -> pd.Series[float]:
    """By case, the slowdown that is found with 80 % power when it is the only one of a family of tests: a fraction.

    `error`: of the mean log ratio. The usual sum of two quantiles of t stands for the noncentral t, above ln(1 + T).
    """
    from scipy.stats import t

    reach = t.ppf(1 - FALSE_SHARE / max(family, 1), degrees) + t.ppf(POWER, degrees)
    return _each(np.expm1, limits.reindex(error.index) + reach * error)


def smallest_of_two_stages(screened: pd.DataFrame, confirmed: pd.DataFrame, limits: pd.Series[float], gate: Gate) -> pd.Series[float]:
    """A confirmed case's smallest effect, from its own pairs; another's from the pairs that it would have got. Both: `paired_effects`."""
    own = smallest_effects(confirmed["error"], confirmed["degrees"], limits, len(confirmed))
    others = screened[(screened["count"] >= FEWEST) & ~screened.index.isin(confirmed.index)]
    pairs = planned(others, limits, gate)["pairs"]
    return pd.concat([own, smallest_effects(others["spread"] / np.sqrt(pairs), pairs - 1, limits, len(confirmed) + 1)])


def common_factor(means: Sequence[float], limit: float) -> Common | None:
    """The median of the cases' log ratios, where its 95 % interval (order statistics, the sign test) lies wholly beyond `limit`."""
    ordered, count = sorted(means), len(means)
    if count < FEWEST_COMMON:
        return None
    below = 0  # so many of either end may be left out
    while 2 * sum(comb(count, i) for i in range(below + 2)) / 2**count <= 0.05:
        below += 1
    low, high = ordered[below], ordered[-1 - below]
    if not (low > limit or high < -limit):
        return None
    return Common(exp(float(np.median(ordered))), exp(low), exp(high), count)


# the two ways in


def judge_pairs(visits: pd.DataFrame, gate: Gate, manner: Manner | None = None) -> Comparison:
    """The arms `base` and `head` of one A/B run."""
    manner = manner or Manner()
    marked = visits.assign(match_id=match_ids(visits))
    begun = marked.loc[marked["stage"] == "confirm", "match_id"]  # also where no confirming pair was valid
    base, head = (marked[marked["arm"] == side] for side in SIDES)
    cases = _cases(base, head)
    behind = marked[(marked["stage"] == "confirm") | ~marked["match_id"].isin(begun)]
    cases = cases.assign(**{f"{side}_s": _latencies(behind[behind["arm"] == side]) for side in SIDES})
    limits = _each(np.log1p, _tolerances(cases, gate, "latency_s"))
    ratios = pair_ratios(marked)
    screening, confirming = ratios[ratios["stage"] == "screen"], ratios[ratios["stage"] == "confirm"]
    judged = decide(screening[~screening["match_id"].isin(begun)], confirming, limits)
    latency = cases.join(judged)
    latency["verdict"] = latency["verdict"].where(latency["verdict"].notna() & (not manner.quick), "inconclusive")
    latency["smallest_effect"] = smallest_of_two_stages(paired_effects(screening), judged[judged["stage"] == "confirm"], limits, gate)
    return _comparison(latency, limits, gate, manner, unit="pairs")


def judge_runs(
    base: pd.DataFrame,
    head: pd.DataFrame,
    gate: Gate,
    *,
    floor: float = 0.0,
    asked: Mapping[str, Container[str]] | None = None,
    quick: bool = False,
) -> Comparison:
    """Two sets of visits that were measured apart.

    `floor`: log ratio by which identical code differs between runs here; it widens T. `asked`: the case_ids that each side was to measure.
    """
    sides = {side: visits.assign(match_id=visits["descriptor"]) for side, visits in zip(SIDES, (base, head), strict=True)}
    figures = {side: visits[makes_figure(visits, ["match_id"])] for side, visits in sides.items()}
    cases = _cases(sides["base"], sides["head"], asked).assign(**{f"{side}_s": _latencies(figures[side]) for side in SIDES})
    for side in SIDES:  # a run has a figure for what failed after its valid visits
        cases[f"{side}_failure"] = cases[f"{side}_failure"].where(cases[f"{side}_s"].isna(), None)
    limits = _each(np.log1p, _tolerances(cases, gate, "latency_s")) + floor
    judged = named(tested(unpaired_effects(figures["base"], figures["head"]), limits))
    latency = cases.join(judged).assign(stage=None)
    latency["verdict"] = latency["verdict"].where(latency["verdict"].notna() & (not quick), "inconclusive")
    latency["smallest_effect"] = smallest_effects(judged["error"], judged["degrees"], limits, len(judged))
    return _comparison(latency, limits, gate, Manner(quick=quick), unit="visits", floor=floor)


def _each(function: np.ufunc, values: pd.Series[float]) -> pd.Series[float]:
    """A function of numpy's on each value."""
    return pd.Series(function(values.to_numpy(dtype=float)), index=values.index)


def _latencies(visits: pd.DataFrame) -> pd.Series[float]:
    """By case, the geometric mean of its valid visits, in seconds."""
    valid = visits[is_valid(visits)]
    return _each(np.exp, _each(np.log, valid["latency_s"]).groupby(valid["match_id"]).mean())


def _cases(base: pd.DataFrame, head: pd.DataFrame, asked: Mapping[str, Container[str]] | None = None) -> pd.DataFrame:
    """One row a case of either arm, by match_id: what it is, and what became of it in each arm. What neither supports is left out."""
    cases = pd.concat([base, head]).drop_duplicates("match_id", keep="last").set_index("match_id")[[*MATCHED_BY]].copy()
    for side, visits in zip(SIDES, (base, head), strict=True):
        grouped = visits.groupby("match_id")
        cases[f"{side}_visits"] = grouped.size().reindex(cases.index).fillna(0)
        cases[f"{side}_asked"] = True if asked is None else [identity in asked[side] for identity in cases["case_id"]]
        cases[f"{side}_invalid"] = (visits["trust"] == "invalid").groupby(visits["match_id"]).sum().reindex(cases.index).fillna(0)
        failed = visits[(visits["status"] != "ok") & ~visits["message"].fillna("").str.startswith("partner ")].groupby("match_id")
        cases[f"{side}_failure"] = failed["status"].last().reindex(cases.index)
        cases[f"{side}_message"] = failed["message"].last().reindex(cases.index)
        for fact in (*FACTS, "peak_bytes"):
            cases[f"{side}_{fact}"] = grouped[fact].first().reindex(cases.index)
    unsupported = (cases["base_failure"] == "skipped") & (cases["head_failure"] == "skipped")
    return cases[~unsupported].copy()


def _tolerances(cases: pd.DataFrame, gate: Gate, metric: str) -> pd.Series[float]:
    if not gate.overrides:
        return pd.Series(gate.usual(metric), index=cases.index)
    return pd.Series([gate.tolerance_of(metric, row) for row in cases.to_dict("records")], index=cases.index)


def _comparison(latency: pd.DataFrame, limits: pd.Series[float], gate: Gate, manner: Manner, *, unit: str, floor: float = 0.0) -> Comparison:
    """Latency and memory in one frame; what cannot be compared, is new or is missing overrides what was measured."""
    latency = latency.assign(
        metric="latency_s", base=latency["base_s"], head=latency["head_s"], tolerance=_each(np.expm1, limits), pairs=latency["count"]
    )
    latency["reason"] = _reasons(latency, limits, manner, unit)
    for name, column in (("mean", "ratio"), ("low", "ratio_low"), ("high", "ratio_high")):
        latency[column] = _each(np.exp, latency[name])
    rows = pd.concat([latency, _memory(latency, gate)])
    failures = rows[[f"{side}_failure" for side in SIDES]]
    rows["failed"] = (failures.notna() & (failures != "skipped")).any(axis=1)
    for holds, verdict, reason in _not_compared(rows, gate):
        rows.loc[holds, "verdict"] = verdict
        rows.loc[holds, "reason"] = reason[holds] if isinstance(reason, pd.Series) else reason
    rows["label"] = [Case.from_row(row).label for row in rows.to_dict("records")]
    order = rows["verdict"].map(VERDICTS.index)
    rows = rows.assign(order=order).sort_values(["order", "ratio"], ascending=[True, False], kind="stable").reset_index()
    means = latency.loc[latency["count"].notna(), "mean"].tolist()
    return Comparison(rows[_COLUMNS], gate, common_factor(means, log1p(gate.usual("latency_s")) + floor))


_COLUMNS = [
    *("match_id", "case_id", "label", "kind", "metric", "verdict", "reason", "base", "head", "ratio", "ratio_low", "ratio_high"),
    *("p_slower", "pairs", "stage", "tolerance", "smallest_effect", "failed"),
]


def _reasons(latency: pd.DataFrame, limits: pd.Series[float], manner: Manner, unit: str) -> pd.Series[str]:
    """Why a case is inconclusive; null for the others."""
    disturbed = (latency["base_invalid"] > 0) | (latency["head_invalid"] > 0)
    wide = (latency["high"] - latency["low"]) / 2 > limits
    unconfirmed = "time: no time was left to confirm it" if manner.timed_out else "screened: it has no pairs that confirm it at this tolerance"
    choices = [
        (latency["verdict"] != "inconclusive", None),
        (pd.Series(manner.quick, index=latency.index), "quick: one visit of each says nothing"),
        (latency["count"].isna() & disturbed, f"load: fewer than {FEWEST} undisturbed {unit}"),
        (latency["count"].isna() & manner.timed_out, f"time: fewer than {FEWEST} {unit} by then"),
        (latency["count"].isna(), f"few: fewer than {FEWEST} {unit}"),
        (latency["stage"] == "screen", unconfirmed),
        (wide | latency.index.isin(list(manner.short)), f"spread: its {unit} differ too much"),
    ]
    reasons = pd.Series("near: it lies about the tolerance", index=latency.index, dtype="object")
    for holds, text in reversed(choices):
        reasons[holds] = text
    return reasons


def _memory(latency: pd.DataFrame, gate: Gate) -> pd.DataFrame:
    """Peak memory, which does not vary: judged by its ratio alone, where an arm knows it and none failed."""
    base, head = (latency[f"{side}_peak_bytes"].astype(float) for side in SIDES)
    told_once = latency[[f"{side}_failure" for side in SIDES]].notna().any(axis=1) | (latency[[f"{side}_visits" for side in SIDES]] == 0).any(axis=1)
    rows = latency[(base.notna() | head.notna()) & ~told_once].copy()
    base, head = base[rows.index], head[rows.index]
    tolerance = _tolerances(rows, gate, "peak_bytes")
    ratio = head.clip(lower=1) / base.clip(lower=1)
    verdict = np.select([ratio.isna(), ratio > 1 + tolerance, ratio < 1 / (1 + tolerance)], ["inconclusive", "regressed", "improved"], "same")
    rows[["p_slower", "stage", "smallest_effect", "pairs"]] = None
    return rows.assign(
        metric="peak_bytes",
        base=base,
        head=head,
        ratio=ratio,
        ratio_low=ratio,
        ratio_high=ratio,
        verdict=verdict,
        tolerance=tolerance,
        reason=pd.Series("unknown: one side does not know it", index=rows.index, dtype="object").where(ratio.isna(), None),
    )


def _not_compared(rows: pd.DataFrame, gate: Gate) -> list[tuple[pd.Series[bool], str, Any]]:
    """Rows whose verdict does not follow from figures, later ones over earlier ones."""
    found: list[tuple[pd.Series[bool], str, Any]] = []
    for fact in FACTS:
        both = rows[f"base_{fact}"].notna() & rows[f"head_{fact}"].notna()
        apart = (rows[f"head_{fact}"] / rows[f"base_{fact}"] - 1).abs() > _tolerances(rows, gate, fact).to_numpy()
        values = zip(rows[f"base_{fact}"], rows[f"head_{fact}"], strict=True)
        words = pd.Series([f"{fact} {base:,.0f} -> {head:,.0f}" for base, head in values], rows.index, dtype="object")
        found.append((both & apart, "not comparable", words))
    for side, verdict in (("base", "new"), ("head", "missing")):
        absent = rows[f"{side}_visits"] == 0
        found += [(absent, verdict, f"not in {side}"), (absent & rows[f"{side}_asked"], "inconclusive", f"time: {side} did not reach it")]
    for side in SIDES:
        words = side + " " + rows[f"{side}_failure"].astype("str").str.replace("_", " ") + ": " + rows[f"{side}_message"].astype("str")
        found.append((rows[f"{side}_failure"].notna(), "not comparable", words))
    return found
