"""Made visits: rows as an A/B or a run would hold them."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.core import stats
from harness.core.case import Case, Setting
from harness.core.columns import case_columns
from harness.core.problem import Problem
from harness.run.arm import EMPTY_ROW


def case(kind: str = "depthwise", **setting: Any) -> Case:
    """A small one."""
    return Case(Problem(kind, in_channels=8, size=14), Setting(**setting))


def visit(arm: str, of: Case, pair: int | None, block_medians: list[float], **values: Any) -> dict[str, Any]:
    """A visit of blocks of three samples each."""
    samples = [median * step for median in block_medians for step in (0.9, 1.0, 1.2)]
    row = (
        EMPTY_ROW
        | case_columns(of)
        | {
            "arm": arm,
            "asked_id": of.case_id,
            "run_id": "r",
            "pair": pair,
            "stage": "screen" if pair is not None else None,
            "status": "ok",
        }
    )
    row |= {
        "trust": "ok",
        "trust_reasons": [],
        "samples_s": samples,
        "block_ends": [3 * (i + 1) for i in range(len(block_medians))],
    }
    row |= {
        "turns": len(block_medians) if pair is not None else 0,
        "block_figures_s": stats.block_figures(samples, row["block_ends"]),
        "place_figures_s": stats.place_figures(samples, row["block_ends"]),
        "latency_s": float(np.median(samples)),
        "latency_median_s": float(np.median(samples)),
        "latency_low_s": min(samples),
        "latency_high_s": max(samples),
        "process": f"{arm}{pair}",
    }
    return row | {"threads_used": 2, "device_name": "cpu"} | values


def pairs_of(
    of: Case, factor: float, count: int = 6, stage: str = "screen", **head: Any
) -> list[dict[str, Any]]:
    """So many pairs, the head slower by a factor."""
    rows = []
    for pair in range(count):
        # what disturbs one disturbs the other
        blocks = [1e-3 * (1 + 0.001 * pair + 0.3 * block) for block in range(6)]
        number = pair + (100 if stage == "confirm" else 0)
        rows += [
            visit("base", of, number, blocks, stage=stage),
            visit("head", of, number, [factor * x for x in blocks], stage=stage, **head),
        ]
    return rows
