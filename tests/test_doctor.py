"""What the doctor says of machines, real and made of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.doctor import Check, examine, in_short
from tests.conftest import Convscope


def machine(tmp_path: Path, files: dict[str, str]) -> dict[str, Check]:
    """The checks of a machine that has these files and no other."""
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
    return {check.name: check for check in examine(tmp_path)}


@pytest.mark.parametrize(
    ("name", "file", "text", "state"),
    [
        ("governor", "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance", "ok"),
        ("governor", "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave", "warning"),
        ("turbo", "sys/devices/system/cpu/intel_pstate/no_turbo", "1", "ok"),
        ("turbo", "sys/devices/system/cpu/intel_pstate/no_turbo", "0", "warning"),
        ("turbo", "sys/devices/system/cpu/cpufreq/boost", "1", "warning"),
        ("hyper-threads", "sys/devices/system/cpu/smt/active", "1", "warning"),
        ("neighbours", "proc/cpuinfo", "flags\t\t: fpu hypervisor avx2", "warning"),
        ("neighbours", "proc/cpuinfo", "flags\t\t: fpu avx2", "ok"),
        ("huge pages", "sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never", "warning"),
        ("huge pages", "sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never", "ok"),
        ("clock", "sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet", "warning"),
        ("run queue", "proc/self/schedstat", "1 2 3", "ok"),
        ("run queue", "proc/self/schedstat", "0 0 0", "unknown"),
        ("processors", "sys/fs/cgroup/cpu.max", "50000 100000", "warning"),
        ("memory", "sys/fs/cgroup/memory.max", "1000000", "warning"),
    ],
)
def test_a_file_of_the_machine_decides_its_check(tmp_path: Path, name: str, file: str, text: str, state: str) -> None:
    check = machine(tmp_path, {file: text})[name]
    assert check.state == state
    assert check.found
    assert bool(check.advice) == (state != "ok")


@pytest.mark.parametrize("name", ["governor", "turbo", "hyper-threads", "neighbours", "huge pages", "clock", "run queue"])
def test_a_source_that_is_absent_is_unknown_and_never_ok(tmp_path: Path, name: str) -> None:
    assert machine(tmp_path, {})[name].state == "unknown"


def test_an_allocator_that_is_preloaded_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "/usr/lib/libjemalloc.so.2")
    assert machine(tmp_path, {})["allocator"].state == "warning"


def test_one_line_names_every_warning() -> None:
    checks = [Check("governor", "warning", "powersave", "x"), Check("turbo", "unknown", "y"), Check("clock", "ok", "tsc")]
    assert in_short(checks) == "1 warning (governor: powersave), 1 unknown"
    assert in_short(checks[2:]) == "no warning"


def test_strict_fails_where_there_is_a_warning(convscope: Convscope) -> None:
    checks = convscope("doctor", "--json").json
    warned = any(check["state"] == "warning" for check in checks)
    assert {check["state"] for check in checks} <= {"ok", "warning", "unknown"}
    assert convscope("doctor", "--strict", LD_PRELOAD="libjemalloc-that-is-not-there.so").code == 4
    if not warned:
        assert convscope("doctor", "--strict").code == 0
