"""What a case takes of a processor's memory, and what is free: one that cannot fit is not tried.

In: a case, the facts of an interpreter. Out: bytes. One that runs out of memory all the same is a row. Swap
does not count: who measures there measures a disk.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.core.case import Case

CHILD_BYTES = 64 * 2**20  # what a child holds of its own beside its tensors ...
# ... and what a call touches: where it lies, where it will lie next, and what is reordered. A survey takes as
# much: 1.7 GiB with torch itself, where inputs and outputs were 0.5 GiB; 3.0 GiB in training
COPIES = 3
CONTROL_GROUPS = Path("/sys/fs/cgroup")


def needed_bytes(case: Case, peak_bytes: int = 0) -> int:
    """About what measuring a case takes. `peak_bytes`: of a call beside its inputs and weights, where a
    survey saw it."""
    least = case.problem.minimum_bytes(case.setting.element_bytes)
    gradients = least if case.setting.computation == "training" else 0
    return CHILD_BYTES + max(COPIES * (least + gradients), least + peak_bytes)


def free_bytes(facts: Mapping[str, Any], groups: Path = CONTROL_GROUPS) -> int:
    """What a new process may take: what the kernel could give it, and no more than each control group of ours
    has left, or than its interpreter says there is (`facts`)."""
    left = [psutil.virtual_memory().available, *_left_bytes(groups)]
    if facts.get("memory_bytes") is not None:
        left.append(int(facts["memory_bytes"]))
    return max(min(left), 0)


def _left_bytes(root: Path) -> Iterator[int]:
    """Of our control group and those around it, what each has left; file pages that were not used lately do
    not count, since the kernel drops them first (cgroup v2, memory.stat)."""
    name = next(
        (line[3:] for line in _text(Path("/proc/self/cgroup")).splitlines() if line[:3] == "0::"), "/"
    )
    group = root / name.lstrip("/")
    for folder in (group, *group.parents):
        if not folder.is_relative_to(root):
            break
        limit, used = _text(folder / "memory.max"), _text(folder / "memory.current")
        if limit.isdecimal() and used.isdecimal():
            stat = dict(line.split() for line in _text(folder / "memory.stat").splitlines())
            yield int(limit) - int(used) + int(stat.get("inactive_file", 0))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
