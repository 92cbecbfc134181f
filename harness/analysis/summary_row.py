"""The type of a row of the summary: mypy refuses a key that is no column.

A new column of `core/columns`, `summary` or `roofline` is added here too; a test compares them. What may be
absent is Any: None, or NaN where pandas makes a number of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict, cast

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd

    from harness.analysis.interleaved_ratio import Moments


class SummaryRow(TypedDict):
    """A run, arm and case, as `summarize` and `with_roofline` give it."""

    run_id: str
    arm: str
    case_id: str
    visits: int
    processes: int
    invalid: int
    status: str
    message: Any
    trust: str
    trust_reasons: list[str]
    latency_s: float
    latency_low_s: float
    latency_high_s: float
    typical_s: float
    interval: Any
    between_cv: Any
    minor_faults_per_call: float
    system_share: Any
    run_queue_share: Any
    device_s: Any
    dispatch_s: Any
    sm_clock_hz: Any
    energy_j: Any
    asked_id: str
    problem_id: str
    descriptor: str
    kind: str
    batch: int
    in_channels: int
    out_channels: int
    height: int
    width: int
    kernel_height: int
    kernel_width: int
    stride_height: int
    stride_width: int
    padding_height: int
    padding_width: int
    dilation_height: int
    dilation_width: int
    groups: int
    output_height: int
    output_width: int
    bias: bool
    device: str
    dtype: str
    memory_format: str
    computation: str
    mode: str
    cache: str
    threads: str
    fp32_precision: str
    allocator: str
    autotune: bool
    implementation: str
    parameters: int
    macs: int
    macs_executed: int
    flops: int
    minimum_bytes: int
    macs_fvcore: Any
    peak_bytes: Any
    workspace_bytes: Any
    reserved_bytes: Any
    peak_rss_bytes: Any
    error: Any
    error_bound: Any
    backend: Any
    primitives: Any
    launches: Any
    kernel_s: Any
    span_s: Any
    explained_share: Any
    other_allocator_s: Any
    other_allocator_faults: Any
    other_allocator_system_share: Any
    survey_message: Any
    environment_id: str
    threads_used: Any
    device_name: Any
    resident_bytes: Any
    padding: str
    attainable_s: Any
    roofline_fraction: Any
    bound: Any
    split: Any


class PairedRow(SummaryRow):
    """With what `case_ratio.with_moments` adds."""

    standard_error: float
    moments: Moments


def summary_rows(summary: pd.DataFrame) -> list[SummaryRow]:
    """The rows of a summary."""
    return cast("list[SummaryRow]", summary.to_dict("records"))


def cells(row: Mapping[str, object], columns: Iterable[str]) -> tuple[object, ...]:
    """Of a row, what stands in columns that are chosen when the program runs."""
    return tuple(row[name] for name in columns)
