"""What one call runs below torch: oneDNN's primitives, each with its role and its time.

In: a call, and the shapes of the convolution behind it. Out: the primitives of one call, by oneDNN's own clock. They are read from the lines
that its verbose mode prints, taken at the file descriptor since they come from C. A call that oneDNN has no part in has none: torch's own
kernel ran, and the survey's `backend` names it.
What may surprise: the times hold the page faults of what a primitive writes first, so they are taken with the heap kept. Names change with
the instruction set; roles do not. Never in a process that times.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
import tempfile
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import torch

from harness.stats import FIGURE_SHARE, quantile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.problem import Problem

CONVOLVES = frozenset({"convolution", "deconvolution", "matmul", "inner_product"})
CALLS = 20  # whose lines are read, or as many as fit ...
CALLS_S = 0.1  # ... into so many seconds; their 10th percentile is taken, as of a visit
FEWEST_CALLS = 3
NCHW = "abcd"
FORMAT = re.compile(r"blocked:(\w+)")


@dataclass(frozen=True, slots=True)
class Line:
    """One execution: what kind of primitive, by which implementation, on which shape, from which to which memory format, in how many seconds."""

    kind: str
    name: str
    shape: tuple[int, ...]
    formats: tuple[str, ...]
    time_s: float


def parse(text: str) -> list[Line]:
    """The executions among oneDNN's verbose lines, in order: fields by commas, of which the last is milliseconds; torn lines are left out."""
    found = []
    for line in text.splitlines():
        fields = line.split(",")
        if not fields[0].startswith(("onednn_verbose", "dnnl_verbose")) or "exec" not in fields:
            continue
        try:
            _engine, kind, name, _direction, formats, *_, shape, milliseconds = fields[fields.index("exec") + 1 :]
            found.append(Line(kind, name, _extents(shape), tuple(FORMAT.findall(formats)), float(milliseconds) / 1e3))
        except ValueError:
            continue
    return found


def _extents(shape: str) -> tuple[int, ...]:
    """`1x128x56x56` as numbers; of another description, nothing."""
    return tuple(map(int, shape.split("x"))) if re.fullmatch(r"\d+(x\d+)*", shape) else ()


def roles(lines: Sequence[Line], weight_shapes: Sequence[Sequence[int]]) -> list[str]:
    """Of each line of one call: convolution, reorder_source, reorder_weights, reorder_destination, or other.

    A reorder of as many elements as a weight has, in its shape or cut into groups, is of weights. Any other leads from torch's format into one
    that oneDNN prefers (source), or back (destination): blocks are never torch's, and of two plain formats NCHW, `abcd`, is. Where that does
    not tell, it depends on whether a convolution is still to come.
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


def of_one_call(lines: Sequence[Line], calls: int, problem: Problem) -> list[dict[str, Any]]:
    """The record's `primitives`: of the lines of so many equal calls, name, role, how often a call runs it, and its seconds a call.

    Nothing where the lines do not divide by the calls, as when one of them was torn.
    """
    each, rest = divmod(len(lines), calls)
    if rest or not each:
        return []
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for position, role in enumerate(roles(lines[:each], problem.weight_shapes)):
        one = found.setdefault((lines[position].name, role), {"name": lines[position].name, "role": role, "calls": 0, "time_s": 0.0})
        one["calls"] += 1
        one["time_s"] += quantile([line.time_s for line in lines[position::each]], FIGURE_SHARE)
    return list(found.values())


def onednn(call: Callable[[], object], call_s: float, problem: Problem) -> list[dict[str, Any]]:
    """The primitives of a call that takes `call_s` seconds. Empty where torch has no oneDNN, or does not use it here."""
    if not torch.backends.mkldnn.is_available():
        return []
    calls = min(max(round(CALLS_S / call_s), FEWEST_CALLS), CALLS)
    try:
        text = _printed(lambda: [call() for _ in range(calls)])
    except (AssertionError, OSError):  # this oneDNN was built without its verbose mode, or there is nowhere to keep what it says
        return []
    return of_one_call(parse(text), calls, problem)


def _printed(work: Callable[[], object]) -> str:
    """What C code prints to its standard output meanwhile, with oneDNN's verbose mode on."""
    sys.stdout.flush()
    kept = os.dup(1)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 1)
        try:
            with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
                work()
        finally:
            ctypes.CDLL(None).fflush(None)  # C keeps what it prints to a file until then
            os.dup2(kept, 1)
            os.close(kept)
        file.seek(0)
        return file.read().decode(errors="replace")
