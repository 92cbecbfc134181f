"""A row a case and a row a point, with all that views of a run are made from.

In: `Results`. Out: frames. A point's axes are text, as asked, and become `asked_*`; beside them stand the
columns of the summary, as resolved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from harness.analysis.labels import in_words
from harness.analysis.roofline import STANDING
from harness.analysis.summary import FACTS, KEYS
from harness.core.case import DEFAULTS
from harness.core.problem import FIELDS

if TYPE_CHECKING:
    from harness.store.results import Results

ASKED = ("kind", *FIELDS, *DEFAULTS)
EXPECTED = (
    *KEYS,
    "visits",
    "status",
    "message",
    "trust",
    "trust_reasons",
    "latency_s",
    "latency_low_s",
    "latency_high_s",
    "interval",
    *STANDING,
)
NUMBERS = (
    "latency_s",
    "latency_low_s",
    "latency_high_s",
    "minor_faults_per_call",
    "peak_bytes",
    "workspace_bytes",
    "resident_bytes",
    "roofline_fraction",
    "attainable_s",
)


def run_names(results: Results) -> dict[str, str]:
    """A letter for each run, in order of loading; `A` alone where there is one."""
    return {run["run_id"]: chr(ord("A") + i) if i < 26 else str(i + 1) for i, run in enumerate(results.runs)}


def summary_of(results: Results) -> pd.DataFrame:
    """The summary in the order of the points, with every column that is read here, the run's short name, and
    `asked_id`, the case_id in the points.

    A column of numbers is one even where no case has any.
    """
    summary = results.summary
    summary = summary.reindex(columns=list(dict.fromkeys([*summary.columns, *EXPECTED, *FACTS, *NUMBERS])))
    for name in NUMBERS:
        summary[name] = pd.to_numeric(summary[name], errors="coerce").astype("float64")
    summary["run"] = summary["run_id"].map(run_names(results))
    first = results.points.dropna(subset=["case_id"]).groupby(["run_id", "case_id"])["point"].min().to_dict()
    order = [first.get(key, len(first)) for key in zip(summary["run_id"], summary["asked_id"], strict=True)]
    return summary.assign(order=order).sort_values(["run", "order"], kind="stable", ignore_index=True)


def joined(results: Results, summary: pd.DataFrame) -> pd.DataFrame:
    """A row a point and arm, with what its case came to; points without a case or without a visit keep empty
    figures."""
    points = results.points.rename(columns={name: f"asked_{name}" for name in ASKED})
    figures = summary.drop(columns=["run", "order", "case_id"]).rename(columns={"asked_id": "case_id"})
    return points.merge(figures, how="left", on=["run_id", "case_id"]).assign(
        run=lambda f: f["run_id"].map(run_names(results))
    )


def primitive_of(row: Any) -> str:
    """What computed a case: its first primitive's name, or its back end."""
    primitives = row["primitives"]
    if primitives is not None and not isinstance(primitives, float) and len(primitives):
        inside = [one["name"] for one in primitives if one["role"] == "convolution"]
        return str((inside or [primitives[0]["name"]])[0])
    return str(row["backend"]) if isinstance(row["backend"], str) else "unknown"


def asked_cases(points: pd.DataFrame) -> pd.DataFrame:
    """A row a run and case that was to be measured."""
    return points.dropna(subset=["case_id"]).drop_duplicates(["run_id", "case_id"])


def without_latency(points: pd.DataFrame, summary: pd.DataFrame) -> list[tuple[str, str]]:
    """For each case that was asked for and has no latency, its status and why."""
    measured = summary[summary["latency_s"].notna()]
    have = set(zip(measured["run_id"], measured["asked_id"], strict=True))
    ended = {(row["run_id"], row["asked_id"]): row for row in summary.to_dict("records")}
    asked, found = asked_cases(points), list[tuple[str, str]]()
    for key in zip(asked["run_id"], asked["case_id"], strict=True):
        if key in have:
            continue
        row = ended.get(key)
        status = in_words(row["status"]) if row else "not reached"
        found.append(
            (status, (in_words(row["message"]) or status) if row else "the run ended before this case")
        )
    return found
