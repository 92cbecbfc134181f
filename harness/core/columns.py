"""THE list of columns: one row of measurements.parquet is one visit, and this is what it holds.

The arrow schema, the check of what a worker sends, and the table in docs/formats.md are made from `COLUMNS`.
A metric is added here and at the one place that measures it. A type ending in "?" may be null; "dictionary"
is a dictionary-encoded string.

History of the schema
    1   first
    2   reference probes are gone; place_figures_s and, in the summary, typical_s came, and with them another latency_s
    3   asked_id came

Methods
    1   the mean over visits and blocks of the blocks' 10th percentile, divided by what reference probes were slower by
    2   the 10th percentile over samples, then over visits, by the way in which buffers lie; the mean over the ways (`analysis/case_estimate`)
    3   as 2, the blocks of a round's visits interleaved (`worker/interleaved`)
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from datetime import datetime
from math import inf
from typing import TYPE_CHECKING, Any

from harness.core.case import DEFAULTS, PAIR_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.core.case import Case

Row = dict[str, Any]  # a visit, by the names of the columns
SCHEMA = 3
METHOD = 3  # how a figure comes about; figures of different methods are not compared

# in `error`, what is no number (JSON has neither NaN nor infinity), or an output that does not last
WRONG = 1e9
TRUST = ("ok", "noisy", "invalid", "unknown")  # from best to worst, but for unknown
TRUST_REASONS = (
    *("load", "modes", "drift", "correlated", "throttled", "low_clock", "resolution"),
    *("outliers", "page_faults", "few_samples"),
)
STOP_REASONS = ("time", "samples", "limit", "turns")


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its name (with its unit), its type, its unit and what it means. `part` is who fills it."""

    name: str
    type: str
    unit: str
    meaning: str
    part: str

    @property
    def nullable(self) -> bool:
        """Whether a row may leave it empty."""
        return self.type.endswith("?")


def _columns(part: str, table: str) -> list[Column]:
    rows = [[cell.strip() for cell in line.split("|")] for line in table.strip().splitlines()]
    return [Column(name, kind, unit, meaning, part) for name, kind, unit, meaning in rows]


COLUMNS: tuple[Column, ...] = (
    *_columns(
        "run",
        """
        schema          | int16         |    | major version of this list
        run_id          | dictionary    |    | the run that the row belongs to
        arm             | dictionary    |    | main; base and head in an A/B; names as given where more arms take turns
        environment_id  | dictionary    |    | key into the environments of run.json
        round           | int16         |    | 1 is the first
        position        | int32         |    | order within the round
        pair            | int32?        |    | rows that took turns share it, and their blocks correspond
        stage           | string?       |    | screen or confirm in an A/B, rank for more arms
        started_at      | timestamp     |    | when the planner asked for the visit, UTC; visits that were interleaved have it in common
        member          | string?       |    | the device of a cluster that measured, as machine/device; null where a run is of one machine
        """,
    ),
    *_columns(
        "case",
        """
        case_id          | dictionary |       | hash of the descriptor
        asked_id         | dictionary |       | case_id of what was asked for: an arm may run it with other values
        problem_id       | dictionary |       | hash of the descriptor's problem
        descriptor       | dictionary |       | the canonical line
        kind             | dictionary |       | one of the five
        batch            | int32      |       | images
        in_channels      | int32      |       |
        out_channels     | int32      |       |
        height           | int32      | px    | of the input
        width            | int32      | px    | of the input
        kernel_height    | int32      | px    |
        kernel_width     | int32      | px    |
        stride_height    | int32      | px    |
        stride_width     | int32      | px    |
        padding_height   | int32      | px    | above; below too, where the descriptor does not say another (0+1x0+1)
        padding_width    | int32      | px    | left; right too, likewise
        dilation_height  | int32      | px    |
        dilation_width   | int32      | px    |
        groups           | int32      |       | of the depthwise half for separable
        output_height    | int32      | px    |
        output_width     | int32      | px    |
        bias             | bool       |       |
        device           | dictionary |       | type of the device, as asked
        dtype            | dictionary |       | of input, weights and output
        memory_format    | dictionary |       | contiguous or channels_last
        computation      | dictionary |       | inference, forward (with autograd's graph) or training (forward and backward)
        mode             | dictionary |       | eager, compile or cuda_graph
        cache            | dictionary |       | hot, rotating over copies larger than the last-level cache, or flushed before each call
        threads          | dictionary |       | as asked: a number or all
        fp32_precision   | dictionary |       | arithmetic allowed for float32
        allocator        | dictionary |       | retained (glibc keeps freed memory) or default
        autotune         | bool       |       | whether the library may try its algorithms
        implementation   | dictionary |       | torch, a runtime's name, or module:attribute
        parameters       | int64      |       | bias included
        macs             | int64      | MACs  | of the forward pass, always
        macs_executed    | int64      | MACs  | of what is executed: three times the forward pass for training
        flops            | int64      | FLOPs | 2 x macs_executed
        minimum_bytes    | int64      | bytes | input, weights and output once; three times that for training
        """,
    ),
    *_columns(
        "visit",
        """
        process                 | string           |       | the process that measured: rows that share it are not independent
        wall_s                  | double?          | s     | the whole visit, start of its process included
        status                  | dictionary       |       | ok, skipped, error, out_of_memory, timeout, crashed, incorrect
        error_type              | string?          |       |
        message                 | string?          |       |
        device_index            | int16?           |       | null for the CPU
        threads_used            | int16?           |       | as resolved
        threads_bound           | bool?            |       | whether each of them had a processor of its own while it was timed
        device_name             | dictionary?      |       |
        samples_s               | list<double>?    | s     | a call, in time order
        calls_per_sample        | int32?           | calls |
        block_ends              | list<int32>?     |       | cumulative numbers of samples
        block_figures_s         | list<double>?    | s     | of each block: 10th percentile of its samples, at the visit's mean of page faults
        place_figures_s         | list<double>?    | s     | of the blocks that lie alike in memory: 10th percentile of their samples; four
        turns                   | int16?           |       | blocks between which other arms or cases measured; 0 in one go
        latency_s               | double?          | s     | THE figure of the visit: mean of place_figures_s, on logarithms
        latency_low_s           | double?          | s     | lower end of the 95 % interval within the visit
        latency_high_s          | double?          | s     | upper end
        latency_min_s           | double?          | s     |
        latency_p10_s           | double?          | s     | 10th percentile of all samples
        latency_median_s        | double?          | s     |
        latency_mad_s           | double?          | s     | median absolute deviation, unscaled
        lag1                    | double?          |       | autocorrelation of the samples
        device_s                | double?          | s     | accelerators: device time of a call; null where the host could not queue a batch in time
        dispatch_s              | double?          | s     | accelerators: host time of a call
        clock                   | string?          |       | host, event or graph
        clock_resolution_s      | double?          | s     |
        stop_reason             | string?          |       | time, samples, limit or turns
        warm_up_s               | double?          | s     | first call included
        first_call_s            | double?          | s     |
        compile_s               | double?          | s     | compilation, autotuning and the capture of a graph, apart from the warm-up
        resident_bytes          | int64?           | bytes | inputs and weights
        trust                   | dictionary       |       | ok, noisy, invalid, unknown
        trust_reasons           | list<string>?    |       | why: see TRUST_REASONS
        run_queue_share         | double?          |       | longest that one of the process's threads waited for a processor, over the timed wall
        system_share            | double?          |       | kernel time over the timed wall
        steal_share             | double?          |       | most that the hypervisor took of one processor, as a share of the time
        context_switches        | int32?           |       | involuntary, while timed
        minor_faults_per_call   | double?          |       | page faults served without I/O
        drift                   | double?          |       | median of the second half of the samples over that of the first, less 1
        discarded_samples       | int32?           |       | calls after tensors were placed anew, and blocks thrown away
        sm_clock_hz             | double?          | Hz    | of a GPU, by cycles that it counted behind each block: the median
        throttle_reasons        | list<string>?    |       |
        energy_j                | double?          | J     | of a GPU, a call, less what it takes idle; only where the policy has energy_time_s
        """,
    ),
    *_columns(
        "survey",
        """
        macs_fvcore                   | int64?           | MACs  | forward, as fvcore counts; null where it is absent
        peak_bytes                    | int64?           | bytes | highest allocation above resident_bytes during a call
        workspace_bytes               | int64?           | bytes | peak_bytes less the output's
        reserved_bytes                | int64?           | bytes | what the device's allocator holds
        peak_rss_bytes                | int64?           | bytes | host's high-water mark above what was resident before the first call
        error                         | double?          |       | largest abs(error) / sum of abs(x) abs(w) over the positions checked
        error_bound                   | double?          |       | what rounding may explain
        backend                       | string?          |       | torch's own choice; of both halves for separable
        primitives                    | list<primitive>? |       | what ran in a call below torch: of oneDNN with the heap kept, else of torch itself
        launches                      | double?          |       | accelerators: kernels, copies and fills that a call queues
        kernel_s                      | double?          | s     | accelerators: what these take by the profiler, a call
        span_s                        | double?          | s     | accelerators: from the first one's start to the last one's end, a call
        explained_share               | double?          |       | oneDNN's primitives over calls beside them that print nothing; else null
        other_allocator_s             | double?          | s     | a call under the other allocator
        other_allocator_faults        | double?          |       | minor faults a call under it
        other_allocator_system_share  | double?          |       | share of kernel time under it
        survey_message                | string?          |       | which of these could not be found, and why
        """,
    ),
)

STRUCTS = {
    "primitive": {"name": "string", "role": "string", "calls": "int32", "time_s": "double"},
}

_SURROGATES = re.compile("[\ud800-\udfff]")  # JSON may hold half a character; UTF-8 cannot
_MOST = {"int16": 2**15, "int32": 2**31, "int64": 2**63, "double": sys.float_info.max}


def fits(kind: str, value: object) -> bool:
    """Whether a value may be stored under a column's type, as `double?` or `list<string>`; NaN and infinity
    may not."""
    base = kind.removesuffix("?")
    if value is None:
        return kind.endswith("?")
    if base.startswith("list<"):
        return isinstance(value, list) and all(fits(base[5:-1], one) for one in value)
    if base in STRUCTS:
        return isinstance(value, dict) and all(
            fits(of, value.get(name)) for name, of in STRUCTS[base].items()
        )
    if base in _MOST:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        if isinstance(value, int):
            return abs(value) < min(_MOST[base], 2**53 if base == "double" else inf)
        return base == "double" and abs(value) < _MOST[base]
    if base in ("string", "dictionary"):
        return isinstance(value, str) and not _SURROGATES.search(value)
    return isinstance(value, {"bool": bool, "timestamp": datetime}[base])


# what a visit that succeeded says at least: seconds and counts above 0, and below what nobody waits for; and
# the ends of its interval, which may be anywhere
MOST_FIGURE = 1e9
NEEDED = ("latency_s", "latency_median_s", "samples_s", "calls_per_sample", "place_figures_s")
ENDS = ("latency_low_s", "latency_high_s")


def lacking(values: Mapping[str, Any]) -> list[str]:
    """Of the columns of a visit that succeeded, those without which it is none."""
    without = [name for name in NEEDED if not _is_figure(values.get(name))]
    return without + [name for name in ENDS if values.get(name) is None]


def _is_figure(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(map(_is_figure, value))
    return value is not None and 0 < value < MOST_FIGURE


BY_NAME: dict[str, Column] = {column.name: column for column in COLUMNS}
SURVEYED = frozenset(column.name for column in COLUMNS if column.part == "survey") | {
    "threads_used",
    "device_index",
    "device_name",
}
MEASURED = frozenset(column.name for column in COLUMNS if column.part in ("visit", "survey"))


def case_columns(case: Case) -> dict[str, Any]:
    """The columns that follow from a case alone."""
    problem, setting = case.problem, case.setting
    passes = 3 if setting.computation == "training" else 1
    row: dict[str, Any] = {
        "case_id": case.case_id,
        "problem_id": case.problem_id,
        "descriptor": case.descriptor,
        "kind": problem.kind,
        "parameters": problem.parameters,
        "macs": problem.macs,
        "macs_executed": passes * problem.macs,
        "flops": passes * problem.flops,
        "minimum_bytes": passes * problem.minimum_bytes(setting.element_bytes),
    }
    row |= {
        name: getattr(problem, name)
        for name in ("batch", "in_channels", "out_channels", "height", "width", "groups", "bias")
    }
    for name, column in PAIR_COLUMNS.items():
        row[f"{column}_height"], row[f"{column}_width"] = getattr(problem, name)
    row["padding_width"], _, row["padding_height"], _ = problem.pads
    _, _, row["output_height"], row["output_width"] = problem.output_shape
    return row | {name: getattr(setting, name) for name in DEFAULTS}
