"""A/B runs for tests: made, judged, and what is asked of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

import harness
from harness import Side, load_results
from harness.core.errors import CasesFailed
from harness.output.verdict_text import as_json

DEPTHWISE = {"match": {"kind": "depthwise"}}


STEADY = {"spread": 0.001}


EIGHT = {"in_channels": (8,)}  # three cases of the six, where one of a kind shows it


def ab(
    suite: Path, arms: tuple[Path, Path], *, implementation: str | None = None, **more: Any
) -> dict[str, Any]:
    """Runs one and judges it: the comparison as JSON."""
    try:
        run = harness.ab(suite, Side(str(arms[0])), Side(str(arms[1]), implementation), **more).runs[0][
            "run_id"
        ]
    except CasesFailed as error:
        run = error.where
    return as_json(harness.compare(run))


def visits(tmp_path: Path) -> pd.DataFrame:
    return load_results("last", results=tmp_path / "results").visits


def header(tmp_path: Path) -> dict[str, Any]:
    return load_results("last", results=tmp_path / "results").runs[0]


def verdict_by_kind(found: dict[str, Any]) -> dict[str, set[str]]:
    verdicts: dict[str, set[str]] = {}
    for row in found["cases"]:
        if row["metric"] == "latency_s":
            verdicts.setdefault(row["kind"], set()).add(row["verdict"])
    return verdicts
