"""Where a case stands under the roofs of its device, and what holds it down.

In: rows of the summary, and the ceilings that were measured in their run (`worker/ceilings`). Out:
`attainable_s`, `roofline_fraction`, `split` and `bound`, computed on loading. After Williams, Waterman and
Patterson (2009).
A fraction above 1 is legal: Winograd multiplies less than is counted, and a small case lives in the cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from harness.analysis.summary_row import summary_rows
from harness.core.roofs import COPY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.analysis.summary_row import SummaryRow

    Ceilings = Sequence[Mapping[str, Any]]  # of a run, as its run.json has them

NEAR = 0.5  # of the roof: from there on it is the roof that binds
BINDS = 0.25  # of the latency: a part so large is named before "implementation"
PARTS = (
    "convolution",
    "reorder_source",
    "reorder_weights",
    "reorder_destination",
    "page_faults",
    "dispatch",
    "other",
)
LAYOUT = ("reorder_source", "reorder_weights", "reorder_destination")
MOST_EXPLAINED = 1.1  # of a call: primitives that come to more do not describe it
STANDING = ("attainable_s", "roofline_fraction", "bound", "split")


@dataclass(frozen=True, slots=True, kw_only=True)
class Roofs:
    """What holds for a case: FLOPs a second in its dtype, bytes a second of copies by how many they touch,
    seconds a page fault."""

    flops_per_s: float
    bytes_per_s: Mapping[int, float]
    page_fault_s: float | None


@dataclass(frozen=True, slots=True)
class Standing:
    """Seconds that the roofs allow, which roof is the lower one (compute or memory), and the share of it that
    was reached."""

    attainable_s: float
    roof: str
    fraction: float


def with_roofline(summary: pd.DataFrame, ceilings: Mapping[str, Ceilings]) -> pd.DataFrame:
    """The summary with `STANDING`, null where a case has no figure or its run no ceilings for it. `ceilings`:
    by run_id."""
    rows = [_placed(row, ceilings.get(row["run_id"], ())) for row in summary_rows(summary)]
    placed = pd.DataFrame(rows, index=summary.index, columns=list(STANDING), dtype=object)
    numbers = dict.fromkeys(("attainable_s", "roofline_fraction"), float)
    return summary.join(placed.astype(numbers))  # a missing text stays None: pandas makes NaN of it


def _placed(row: SummaryRow, ceilings: Ceilings) -> dict[str, Any]:
    roofs = roofs_of(row, ceilings)
    if roofs is None or row["status"] != "ok":
        return dict.fromkeys(STANDING)
    at, parts = standing(row, roofs), split(row, roofs)
    return {
        "attainable_s": at.attainable_s,
        "roofline_fraction": at.fraction,
        "bound": bound(at, parts, row["latency_s"]),
        "split": parts,
    }


def roofs_of(row: Mapping[Any, Any], ceilings: Ceilings) -> Roofs | None:
    """Of the ceilings of a run, those of a row's device, threads and dtype; None where its arithmetic is not
    that of the products measured."""
    if row["dtype"] == "float32" and row["fp32_precision"] != "ieee":
        return None
    for found in ceilings:
        alike = found["device"] == row["device"] and (
            found["device"] != "cpu" or found["threads_used"] == row["threads_used"]
        )
        roofs = found["roofs"]
        copies = {
            int(name.removeprefix(COPY)): value for name, value in roofs.items() if name.startswith(COPY)
        }
        if alike and copies and roofs.get(f"flops_per_s_{row['dtype']}"):
            flops_per_s = roofs[f"flops_per_s_{row['dtype']}"]
            return Roofs(flops_per_s=flops_per_s, bytes_per_s=copies, page_fault_s=roofs["page_fault_s"])
    return None


def standing(row: SummaryRow, roofs: Roofs) -> Standing:
    """Of a row with latency_s, flops, minimum_bytes and cache. Both roofs count in full: they may overlap, so
    the slower one holds.

    What is hot moves as fast as the smallest copy that touches as much; what is rotated, as the largest of
    all.
    """
    enough = [size for size in roofs.bytes_per_s if row["cache"] == "hot" and size >= row["minimum_bytes"]]
    bytes_per_s = roofs.bytes_per_s[min(enough, default=max(roofs.bytes_per_s))]
    compute_s, memory_s = row["flops"] / roofs.flops_per_s, row["minimum_bytes"] / bytes_per_s
    attainable_s = max(compute_s, memory_s)
    return Standing(
        attainable_s, "compute" if compute_s >= memory_s else "memory", attainable_s / row["latency_s"]
    )


def split(row: SummaryRow, roofs: Roofs) -> dict[str, float] | None:
    """Seconds of a call by `PARTS`, which add up to its latency.

    Page faults are as many as were counted at what one costs. The rest is shared out by the primitives that
    were seen: oneDNN's take the share that their own times are of a call with the heap kept, torch's
    operators all of it, a GPU's kernels their seconds. What they leave is dispatch: Python, torch, and the
    library's looking up of what it made before. Where nobody saw primitives, it is the convolution. None
    where oneDNN's times come to more than the call that they were taken in.
    """
    latency_s, faults = row["latency_s"], row["minor_faults_per_call"]
    parts = dict.fromkeys(PARTS, 0.0)
    parts["page_faults"] = min(
        (faults if faults is not None and faults == faults else 0.0) * (roofs.page_fault_s or 0.0), latency_s
    )
    rest_s = latency_s - parts["page_faults"]
    primitives = [] if row["primitives"] is None else list(row["primitives"])
    timed_s = sum(one["time_s"] for one in primitives)
    share = row["explained_share"]
    if timed_s and share is not None and share == share:
        if share > MOST_EXPLAINED:
            return None
        shared_s = min(share, 1.0) * rest_s
    else:
        shared_s = rest_s if row["device"] == "cpu" else min(timed_s, rest_s)
    for one in primitives if timed_s else ():
        parts[one["role"]] += shared_s * one["time_s"] / timed_s
    parts["dispatch" if timed_s and row["mode"] == "eager" else "other" if timed_s else "convolution"] += max(
        latency_s - sum(parts.values()), 0.0
    )
    return parts


def bound(at: Standing, parts: Mapping[str, float] | None, latency_s: float) -> str | None:
    """What binds: the roof where half of it is reached; else the largest of layout, allocation and launch
    that takes a quarter of a call; else the implementation, near neither roof. None where that takes a split,
    and there is none."""
    if at.fraction >= NEAR:
        return at.roof
    if parts is None:
        return None
    shares = {
        "layout": sum(parts[part] for part in LAYOUT),
        "allocation": parts["page_faults"],
        "launch": parts["dispatch"] + parts["other"],
    }
    largest = max(shares, key=lambda name: shares[name])
    return largest if shares[largest] >= BINDS * latency_s else "implementation"
