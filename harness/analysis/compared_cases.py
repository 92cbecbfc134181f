"""The cases of a comparison beside their latencies: what each is and what became of it on either side, its
memory, why nothing is proved of it, and whether it can be compared at all.

In: visits of two sides, or the rows that `comparison` makes of them. Out: frames and columns for it. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from harness.analysis.verdict_tests import (
    FEWEST,
)
from harness.core.gate import MATCHED_BY, SIDES, Gate
from harness.core.protocol import PARTNER

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from harness.analysis.comparison import Completeness


FACTS = ("macs", "parameters")  # of one problem they are equal, or one side counts wrong


def cases_of(
    base: pd.DataFrame, head: pd.DataFrame, asked: Mapping[str, Container[str]] | None = None
) -> pd.DataFrame:
    """One row a case of either arm, by match_id: what it is (in base, where it has it), and what became of it
    in each arm. What neither supports is left out."""
    cases = pd.concat([base, head]).drop_duplicates("match_id").set_index("match_id")[[*MATCHED_BY]].copy()
    for side, visits in zip(SIDES, (base, head), strict=True):
        grouped = visits.groupby("match_id")
        cases[f"{side}_visits"] = grouped.size().reindex(cases.index).fillna(0)
        cases[f"{side}_asked"] = (
            True if asked is None else [identity in asked[side] for identity in cases["case_id"]]
        )
        cases[f"{side}_invalid"] = (
            (visits["trust"] == "invalid").groupby(visits["match_id"]).sum().reindex(cases.index).fillna(0)
        )
        failed = visits[
            (visits["status"] != "ok") & ~visits["message"].fillna("").str.startswith(PARTNER)
        ].groupby("match_id")
        cases[f"{side}_failure"] = failed["status"].last().reindex(cases.index)
        cases[f"{side}_message"] = failed["message"].last().reindex(cases.index)
        for fact in (*FACTS, "problem_id", "peak_bytes", "error"):
            cases[f"{side}_{fact}"] = grouped[fact].first().reindex(cases.index)
    unsupported = (cases["base_failure"] == "skipped") & (cases["head_failure"] == "skipped")
    return cases[~unsupported].copy()


def tolerances(cases: pd.DataFrame, gate: Gate, metric: str) -> pd.Series[float]:
    if not gate.overrides:
        return pd.Series(gate.usual(metric), index=cases.index)
    return pd.Series([gate.tolerance_of(metric, row) for row in cases.to_dict("records")], index=cases.index)


def reasons(
    latency: pd.DataFrame, limits: pd.Series[float], completeness: Completeness, unit: str
) -> pd.Series[str]:
    """Why a case is inconclusive; null for the others."""
    disturbed = (latency["base_invalid"] > 0) | (latency["head_invalid"] > 0)
    wide = (latency["high"] - latency["low"]) / 2 > limits
    cut = completeness.ended != "complete"
    unconfirmed = (
        "time: not confirmed before the time limit"
        if cut
        else "not confirmed: no confirmation pairs were measured"
    )
    planned = pd.Series(completeness.planned, dtype=float).reindex(latency.index)
    choices = [
        (latency["verdict"] != "inconclusive", None),
        (pd.Series(completeness.quick, index=latency.index), "quick: one repetition per side proves nothing"),
        (latency["count"].isna() & disturbed, f"load: fewer than {FEWEST} undisturbed {unit}"),
        (latency["count"].isna() & cut, f"time: fewer than {FEWEST} {unit} before the time limit"),
        (latency["count"].isna(), f"few: fewer than {FEWEST} {unit}"),
        (latency["stage"] == "screen", unconfirmed),
        ((latency["count"] < planned) & cut, f"time: fewer {unit} than were planned before the time limit"),
        ((latency["count"] < planned) & disturbed, f"load: fewer undisturbed {unit} than were planned"),
        (wide | latency.index.isin(completeness.short), f"spread: its {unit} vary too much"),
    ]
    told = pd.Series("near tolerance: too close to decide", index=latency.index, dtype="object")
    for holds, text in reversed(choices):
        told[holds] = text
    return told


def memory(latency: pd.DataFrame, gate: Gate) -> pd.DataFrame:
    """Peak memory, which does not vary: judged by its ratio alone, where an arm knows it and none failed."""
    base, head = (latency[f"{side}_peak_bytes"].astype(float) for side in SIDES)
    told_once = latency[[f"{side}_failure" for side in SIDES]].notna().any(axis=1) | (
        latency[[f"{side}_visits" for side in SIDES]] == 0
    ).any(axis=1)
    rows = latency[(base.notna() | head.notna()) & ~told_once].copy()
    base, head = base[rows.index], head[rows.index]
    tolerance = tolerances(rows, gate, "peak_bytes")
    ratio = head.clip(lower=1) / base.clip(lower=1)
    verdict = np.select(
        [ratio.isna(), ratio > 1 + tolerance, ratio < 1 / (1 + tolerance)],
        ["inconclusive", "regressed", "improved"],
        "same",
    )
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
        reason=pd.Series("unknown: one side did not measure it", index=rows.index, dtype="object").where(
            ratio.isna(), None
        ),
    )


def not_compared(rows: pd.DataFrame, gate: Gate) -> list[tuple[pd.Series[bool], str, Any]]:
    """Rows whose verdict does not follow from figures, later ones over earlier ones."""
    found: list[tuple[pd.Series[bool], str, Any]] = []
    for fact in FACTS:
        both = rows[f"base_{fact}"].notna() & (rows["base_problem_id"] == rows["head_problem_id"])
        apart = (rows[f"head_{fact}"] / rows[f"base_{fact}"] - 1).abs() > tolerances(
            rows, gate, fact
        ).to_numpy()
        values = zip(rows[f"base_{fact}"], rows[f"head_{fact}"], strict=True)
        words = pd.Series(
            [f"{fact} {base:,.0f} -> {head:,.0f}" for base, head in values], rows.index, dtype="object"
        )
        found.append((both & apart, "not comparable", words))
    for side, verdict in (("base", "new"), ("head", "missing")):
        absent = rows[f"{side}_visits"] == 0
        found += [
            (absent, verdict, f"not in {side}"),
            (absent & rows[f"{side}_asked"], "inconclusive", f"time: {side} did not reach it"),
        ]
    for side in SIDES:
        words = (
            side
            + " "
            + rows[f"{side}_failure"].astype("str").str.replace("_", " ")
            + ": "
            + rows[f"{side}_message"].astype("str")
        )
        found.append((rows[f"{side}_failure"].notna(), "not comparable", words))
    return found
