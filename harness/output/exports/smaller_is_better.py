"""A run as a list of figures of which the smaller is the better: `customSmallerIsBetter` of
github-action-benchmark."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from harness.core.case import Case

if TYPE_CHECKING:
    from harness.store.results import Results


def render(results: Results) -> str:
    """One entry a case that has a figure: microseconds, half of the 95 % interval, what it stands on."""
    entries = [
        {
            "name": Case.from_row(row).label,
            "unit": "us",
            "value": row["latency_s"] * 1e6,
            "range": f"± {(row['latency_high_s'] - row['latency_low_s']) / 2e-6:.3g}",
            "extra": f"{row['visits']} visits, {row['trust']}",
        }
        for row in results.summary.query("status == 'ok'").to_dict("records")
    ]
    return json.dumps(entries, indent=1, ensure_ascii=False) + "\n"
