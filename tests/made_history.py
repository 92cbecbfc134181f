"""Histories made of rows, of runs that never were: for stores, changes and pages, which need no run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from math import exp
from typing import Any

import numpy as np
import pyarrow as pa

from harness.core.case import Case, Setting
from harness.core.problem import Problem
from harness.store.history_rows import HISTORY_SCHEMA
from harness.store.history_store import HistoryStore

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
CASES = [Case(Problem("standard", in_channels=channels, size=14), Setting()) for channels in (8, 16, 32)]
MANY = [
    Case(Problem(kind, in_channels=channels, size=14), Setting())
    for channels in (8, 16)
    for kind in ("standard", "depthwise", "pointwise", "depthwise_separable")
]
SPREAD = 0.003  # standard deviation of a run's log ratio


def commit(number: int) -> str:
    """The hash of the commit that a run measured."""
    return f"{number:08x}" + "0" * 32


def rows(
    number: int,
    ratios: Sequence[float] | np.ndarray,
    cases: Sequence[Case] = CASES,
    *,
    anchor: str | None = "torch 2.12.0",
    latencies: Sequence[float] | np.ndarray | None = None,
    spread: float = SPREAD,
    **change: Any,
) -> pa.Table:
    """The rows of run `number`: an A/B whose head takes `ratios` times as long, by case; without an anchor, a
    run of one arm that takes so many milliseconds. A day lies between two runs."""
    at = START + timedelta(days=number)
    shared = {
        "schema": 1,
        "added_at": at,
        "run_id": f"{at:%Y%m%dT%H%M%S}-made-{number:04x}",
        "started_at": at,
        "committed_at": at - timedelta(hours=5),
        "commit": commit(number),
        "suite": "made",
        "method": 3,
        "machine": "x86_64",
        "cpu": "made",
        "instruction_set": "NONE",
        "threads_available": 2,
        "torch": "2.13.0",
        "device_name": "made",
        "threads_used": 2,
        "status": "ok",
        "trust": "ok",
        "visits": 5,
    }
    found = []
    for i, (case, ratio) in enumerate(zip(cases, ratios, strict=True)):
        named = {"case_id": case.case_id, "label": case.label, "kind": case.problem.kind}
        level = float(ratio) * (1e-3 if latencies is None else float(latencies[i]))
        figures = {"latency_s": level, "latency_low_s": 0.98 * level, "latency_high_s": 1.02 * level}
        if anchor is None:
            found.append(shared | named | figures | {"arm": "main"} | change)
            continue
        half = 1.96 * spread
        ends = {"ratio": float(ratio), "ratio_low": ratio * exp(-half), "ratio_high": ratio * exp(half)}
        found.append(
            shared | named | figures | ends | {"arm": "head", "pairs": 200, "anchor": anchor} | change
        )
    return pa.Table.from_pylist(found, HISTORY_SCHEMA)


def fill(
    store: str,
    runs: int,
    ratio: Callable[[int, int], float] = lambda run, case: 1.0,
    cases: Sequence[Case] = CASES,
    *,
    first: int = 0,
    spread: float = SPREAD,
    apart: bool = False,
    **change: Any,
) -> HistoryStore:
    """A store of so many runs, whose cases take `ratio(run, case)` times as long as the anchor, by chance a
    little more or less. `apart`: added one by one, as runs are."""
    kept, tables = HistoryStore(store), []
    for number in range(first, first + runs):
        chance = np.random.default_rng(number).normal(0, spread, len(cases))
        ratios = [ratio(number, i) * exp(chance[i]) for i in range(len(cases))]
        tables.append(rows(number, ratios, cases, spread=spread, **change))
    for table in tables if apart else [pa.concat_tables(tables)]:
        kept.add(table)
    return kept
