"""Is this machine fit to measure on? One look at everything known to disturb a figure.

In: the machine's own files (/proc, /sys), psutil for what else runs; GPUs are left to `doctor_gpu`. Out:
`Check`s, each ok, a warning or unknown, with what was found and what to do. A source that is absent is
unknown and never ok.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import psutil

from harness.core import units
from harness.run.check import Check
from harness.run.doctor_gpu import gpus

LOOK_S = 0.25  # how long other processes and steal are watched: 25 ticks of the kernel's clock
BUSY_SHARE = 0.05  # of one processor: less is the hum of any system, more shows in a barrier of two threads
STEAL_SHARE = 0.01
STEADY_CLOCKS = ("tsc", "kvm-clock", "arch_sys_counter")
OTHER_ALLOCATORS = ("jemalloc", "tcmalloc", "mimalloc", "hoard")


def examine(root: Path = Path("/")) -> list[Check]:
    """Every check, in the order in which a person would look; `root` is where /proc and /sys are read."""
    machine = (
        _processors,
        _governor,
        _turbo,
        _siblings,
        _hypervisor,
        _huge_pages,
        _memory,
        _clock,
        _run_queue,
    )
    return [_other_processes(), *(check(root) for check in machine), _allocator(), *gpus(root)]


def in_short(checks: list[Check]) -> str:
    """One line over all checks:
    `2 warnings (governor: powersave; neighbours: a virtual machine), 1 unknown`."""
    warnings = [f"{check.name}: {check.found}" for check in checks if check.state == "warning"]
    unknown = sum(check.state == "unknown" for check in checks)
    parts = [
        f"{len(warnings)} warning{'s' * (len(warnings) != 1)} ({'; '.join(warnings)})"
        if warnings
        else "no warning"
    ]
    return ", ".join(parts + [f"{unknown} unknown"] * bool(unknown))


def _processors(root: Path) -> Check:
    cores = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    quota, _, period = (_read(root, "sys/fs/cgroup/cpu.max") or "max 1").partition(" ")
    if quota != "max" and int(quota) < usable * int(period):
        allowed = int(quota) / int(period)
        advice = (
            "Threads beyond a quota are paused in turns. Give the container whole processors, "
            "or set threads to fewer."
        )
        return Check(
            "processors", "warning", f"{usable} usable, a quota of {units.significant(allowed)}", advice
        )
    return Check("processors", "ok", f"{usable} of {cores} usable, no quota")


def _other_processes() -> Check:
    """What others do and what the hypervisor takes, over the same half second."""
    before, mine = psutil.cpu_times(), time.process_time()
    others = {process.pid: process for process in psutil.process_iter() if process.pid != os.getpid()}
    used = {pid: _cpu_s(process) for pid, process in others.items()}
    began = time.monotonic()
    time.sleep(LOOK_S)
    took = time.monotonic() - began
    after = psutil.cpu_times()
    busy = (
        max((after.user - before.user) + (after.system - before.system) - (time.process_time() - mine), 0)
        / took
    )
    steal = (getattr(after, "steal", 0.0) - getattr(before, "steal", 0.0)) / took
    if steal > STEAL_SHARE:
        return Check(
            "other processes",
            "warning",
            f"the hypervisor takes {units.percent(steal)} of a processor",
            "Measure on a machine that is not shared.",
        )
    if busy > BUSY_SHARE:
        worst = max(others.values(), key=lambda process: _cpu_s(process) - used[process.pid], default=None)
        name = f", most of all {_name(worst)}" if worst else ""
        return Check(
            "other processes",
            "warning",
            f"they use {units.percent(busy)} of a processor{name}",
            "Stop them, or measure later.",
        )
    return Check("other processes", "ok", f"{units.percent(busy)} of a processor in use")


def _governor(root: Path) -> Check:
    governors = {
        _text(path) or "unreadable"
        for path in root.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor")
    }
    if not governors:
        return Check(
            "governor",
            "unknown",
            "not reported by the kernel",
            "In a virtual machine the host decides about clocks.",
        )
    found = ", ".join(sorted(governors))
    if governors == {"performance"}:
        return Check("governor", "ok", found)
    return Check(
        "governor", "warning", found, "Clocks follow the load. As root: cpupower frequency-set -g performance"
    )


def _turbo(root: Path) -> Check:
    intel, other = (
        _read(root, "sys/devices/system/cpu/intel_pstate/no_turbo"),
        _read(root, "sys/devices/system/cpu/cpufreq/boost"),
    )
    if intel is None and other is None:
        return Check(
            "turbo",
            "unknown",
            "not reported by the kernel",
            "If it is on, latency rises as the processor warms up.",
        )
    if intel == "1" or (intel is None and other == "0"):
        return Check("turbo", "ok", "off")
    return Check(
        "turbo",
        "warning",
        "on",
        (
            "Latency rises as the processor warms up. "
            "As root: echo 0 > /sys/devices/system/cpu/cpufreq/boost, or no_turbo on Intel."
        ),
    )


def _siblings(root: Path) -> Check:
    active = _read(root, "sys/devices/system/cpu/smt/active")
    if active is None:
        return Check("hyper-threads", "unknown", "not reported by the kernel")
    if active == "0":
        return Check("hyper-threads", "ok", "off")
    return Check(
        "hyper-threads",
        "warning",
        "on: two threads may share a core",
        "Set threads to the number of cores, or bind to one thread of each.",
    )


def _hypervisor(root: Path) -> Check:
    flags = next(
        (line for line in (_read(root, "proc/cpuinfo") or "").splitlines() if line.startswith("flags")), None
    )
    if flags is None:
        return Check("neighbours", "unknown", "the processor's flags cannot be read")
    if "hypervisor" in flags.split():
        advice = (
            "Other machines on this host may slow it for minutes, invisible to counters. "
            "Compare in turns (`convscope ab`)."
        )
        return Check("neighbours", "warning", "a virtual machine", advice)
    return Check("neighbours", "ok", "no virtual machine")


def _huge_pages(root: Path) -> Check:
    modes = _read(root, "sys/kernel/mm/transparent_hugepage/enabled")
    if modes is None:
        return Check("huge pages", "unknown", "not reported by the kernel")
    mode = modes.partition("[")[2].partition("]")[0]
    if mode == "always":
        return Check(
            "huge pages",
            "warning",
            mode,
            (
                "Page faults are fewer than elsewhere: "
                "figures under allocator = default hold for this mode alone."
            ),
        )
    return Check("huge pages", "ok", mode)


def _memory(root: Path) -> Check:
    free = psutil.virtual_memory().available
    limit = _read(root, "sys/fs/cgroup/memory.max")
    if limit and limit != "max":
        free = min(free, int(limit) - int(_read(root, "sys/fs/cgroup/memory.current") or 0))
    if free < 2**30:
        return Check(
            "memory",
            "warning",
            f"{units.size(free)} available",
            "Large cases will run out of it, or wait for the disk.",
        )
    return Check("memory", "ok", f"{units.size(free)} available")


def _clock(root: Path) -> Check:
    source = _read(root, "sys/devices/system/clocksource/clocksource0/current_clocksource")
    if source is None:
        return Check("clock", "unknown", "not reported by the kernel")
    if source in STEADY_CLOCKS:
        return Check("clock", "ok", source)
    return Check(
        "clock",
        "warning",
        source,
        "Reading it is slow: small cases carry that. The kernel's log says why it left tsc.",
    )


def _run_queue(root: Path) -> Check:
    counts = (_read(root, "proc/self/schedstat") or "").split()
    if counts and counts[0] != "0":  # we have run, so a kernel that counts says more
        return Check("run queue", "ok", "can be read")
    found = "the kernel keeps no schedstat" if counts else "no schedstat"
    return Check(
        "run queue", "unknown", found, "Trust stays unknown: other busy processes cannot be detected."
    )


def _allocator() -> Check:
    preloaded = os.environ.get("LD_PRELOAD", "")
    found = next((name for name in OTHER_ALLOCATORS if name in preloaded), None)
    if found:
        return Check(
            "allocator",
            "warning",
            f"{found} is preloaded",
            "The allocator setting speaks to glibc alone. Unset LD_PRELOAD to measure either of its ways.",
        )
    library = (
        os.confstr("CS_GNU_LIBC_VERSION")
        if hasattr(os, "confstr") and "CS_GNU_LIBC_VERSION" in os.confstr_names
        else None
    )
    if library is None:
        return Check(
            "allocator",
            "unknown",
            "no glibc",
            "Freed memory cannot be kept here, and page faults cannot be told apart.",
        )
    return Check("allocator", "ok", library)


def _cpu_s(process: psutil.Process) -> float:
    with suppress(psutil.Error):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0


def _name(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return f"{process.name()} ({process.pid})"
    return f"process {process.pid}"


def _read(root: Path, name: str) -> str | None:
    return _text(root / name)


def _text(path: Path) -> str | None:
    with suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace").strip()
    return None
