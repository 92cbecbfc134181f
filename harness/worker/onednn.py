"""What one call runs below torch: oneDNN's primitives, each with its role and its time.

In: a workload. Out: the primitives of one call, by oneDNN's own clock, and how much of a call they explain.
They are read from the lines that its verbose mode prints, taken at the file descriptor since they come from
C. A call that oneDNN has no part in has none: torch's own kernel ran, and the survey's `backend` names it.
What may surprise: calls that print take turns with calls that do not, since neighbours move both, and a call
is moved through the places that its buffers may have, since these do. The times hold the page faults of what
a primitive writes first, so they are taken with the heap kept. Names change with the instruction set; roles
do not. Never in a process that times.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch

from harness.core.stats import FIGURE_SHARE, quantile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.core.problem import Problem
    from harness.worker.workload import Workload

CONVOLVES = frozenset({"convolution", "deconvolution", "matmul", "inner_product"})
BLOCKS = 8  # two for each way that the heap may lie
# of calls that print nothing, and then as many that do; the 10th percentile of either counts, as of a visit
# ...
BLOCK_S = 0.006
FEWEST_CALLS, MOST_CALLS = 2, 40  # ... of so many
LIMIT_S = 1.0  # no further block after that: a survey has its time
NCHW = "abcd"
FORMAT = re.compile(r"blocked:(\w+)")


@dataclass(frozen=True, slots=True)
class Line:
    """One execution: what kind of primitive, by which implementation, on which shape, from which to which
    memory format, in how many seconds."""

    kind: str
    name: str
    shape: tuple[int, ...]
    formats: tuple[str, ...]
    time_s: float


def parse(text: str) -> list[Line]:
    """The executions among oneDNN's verbose lines, in order: fields by commas, of which the last is
    milliseconds; torn lines are left out."""
    found = []
    for line in text.splitlines():
        fields = line.split(",")
        if not fields[0].startswith(("onednn_verbose", "dnnl_verbose")) or "exec" not in fields:
            continue
        try:
            _engine, kind, name, _direction, formats, *_, shape, milliseconds = fields[
                fields.index("exec") + 1 :
            ]
            found.append(
                Line(kind, name, _extents(shape), tuple(FORMAT.findall(formats)), float(milliseconds) / 1e3)
            )
        except ValueError:
            continue
    return found


def _extents(shape: str) -> tuple[int, ...]:
    """`1x128x56x56` as numbers; of another description, nothing."""
    return tuple(map(int, shape.split("x"))) if re.fullmatch(r"\d+(x\d+)*", shape) else ()


def roles(lines: Sequence[Line], weight_shapes: Sequence[Sequence[int]]) -> list[str]:
    """Of each line of one call: convolution, reorder_source, reorder_weights, reorder_destination, or other.

    A reorder of as many elements as a weight has, in its shape or cut into groups, is of weights. Any other
    leads from torch's format into one that oneDNN prefers (source), or back (destination): blocks are never
    torch's, and of two plain formats NCHW, `abcd`, is. Where that does not tell, it depends on whether a
    convolution is still to come.
    """
    weights = {tuple(shape) for shape in weight_shapes}
    grouped = {prod(shape) for shape in weight_shapes}
    last = max((index for index, line in enumerate(lines) if line.kind in CONVOLVES), default=-1)
    found = []
    for index, line in enumerate(lines):
        if line.kind in CONVOLVES:
            found.append("convolution")
        elif line.kind != "reorder":
            found.append("other")
        elif line.shape in weights or (len(line.shape) == 5 and prod(line.shape) in grouped):
            found.append("reorder_weights")
        elif len(line.formats) == 2 and _is_blocked(line.formats[0]) != _is_blocked(line.formats[1]):
            found.append("reorder_destination" if _is_blocked(line.formats[0]) else "reorder_source")
        elif len(line.formats) == 2 and (line.formats[0] == NCHW) != (line.formats[1] == NCHW):
            found.append("reorder_source" if line.formats[0] == NCHW else "reorder_destination")
        else:
            found.append("reorder_source" if index < last else "reorder_destination")
    return found


def _is_blocked(memory_format: str) -> bool:
    """Whether some axis is cut into blocks, which oneDNN writes in capitals."""
    return memory_format != memory_format.lower()


def of_one_call(lines: Sequence[Line], calls: Sequence[int], problem: Problem) -> list[dict[str, Any]]:
    """The column `primitives`: name, role, how often a call runs it, and its seconds a call, the mean over
    blocks of their figures.

    `lines` are of blocks of so many equal `calls`. Nothing where lines do not divide by calls, as when one of
    them was torn.
    """
    each, rest = divmod(len(lines), sum(calls))
    if rest or not each:
        return []
    blocks = [
        lines[each * (end - count) : each * end] for count, end in zip(calls, accumulate(calls), strict=True)
    ]
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for position, role in enumerate(roles(lines[:each], problem.weight_shapes)):
        name = lines[position].name
        one = found.setdefault((name, role), {"name": name, "role": role, "calls": 0, "time_s": 0.0})
        one["calls"] += 1
        one["time_s"] += fmean(
            quantile([line.time_s for line in block[position::each]], FIGURE_SHARE) for block in blocks
        )
    return list(found.values())


def onednn(workload: Workload) -> dict[str, Any]:
    """`primitives` and `explained_share` of a call. Empty where torch has no oneDNN, or does not use it
    here."""
    if not torch.backends.mkldnn.is_available():
        return {}
    silent: list[list[float]] = []

    def blocks() -> None:
        ends = time.perf_counter() + LIMIT_S
        while len(silent) < BLOCKS and (not silent or time.perf_counter() < ends):
            workload.place()
            workload.call()
            silent.append(_block(workload.call))
            with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
                for _ in silent[-1]:
                    workload.call()

    try:
        text = _printed(blocks)
    # this oneDNN was built without its verbose mode, or there is nowhere to keep what it says
    except (AssertionError, OSError):
        return {}
    found = of_one_call(parse(text), [len(samples) for samples in silent], workload.case.problem)
    call_s = fmean(quantile(samples, FIGURE_SHARE) for samples in silent)
    return (
        {"primitives": found, "explained_share": sum(one["time_s"] for one in found) / call_s}
        if found
        else {}
    )


def _block(call: Callable[[], object]) -> list[float]:
    """Seconds a call, of a few."""
    samples: list[float] = []
    now = began = time.perf_counter()
    while (now - began < BLOCK_S and len(samples) < MOST_CALLS) or len(samples) < FEWEST_CALLS:
        call()
        samples.append(-now + (now := time.perf_counter()))
    return samples


def _printed(work: Callable[[], object]) -> str:
    """What C code prints to its standard output meanwhile."""
    sys.stdout.flush()
    kept = os.dup(1)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 1)
        try:
            work()
        finally:
            ctypes.CDLL(None).fflush(None)  # C keeps what it prints to a file until then
            os.dup2(kept, 1)
            os.close(kept)
        file.seek(0)
        return file.read().decode(errors="replace")
