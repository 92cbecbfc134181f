"""What the doctor says of machines, real and made of files, and of GPUs as their driver answers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.run.check import Check
from harness.run.doctor import examine, in_short
from harness.run.doctor_gpu import gpu_checks
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
def test_a_file_of_the_machine_decides_its_check(
    tmp_path: Path, name: str, file: str, text: str, state: str
) -> None:
    check = machine(tmp_path, {file: text})[name]
    assert check.state == state
    assert check.found
    assert bool(check.advice) == (state != "ok")


@pytest.mark.parametrize(
    "name", ["governor", "turbo", "hyper-threads", "neighbours", "huge pages", "clock", "run queue"]
)
def test_a_source_that_is_absent_is_unknown_and_never_ok(tmp_path: Path, name: str) -> None:
    assert machine(tmp_path, {})[name].state == "unknown"


def test_an_allocator_that_is_preloaded_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "/usr/lib/libjemalloc.so.2")
    assert machine(tmp_path, {})["allocator"].state == "warning"


def test_one_line_names_every_warning() -> None:
    checks = [
        Check("governor", "warning", "powersave", "x"),
        Check("turbo", "unknown", "y"),
        Check("clock", "ok", "tsc"),
    ]
    assert in_short(checks) == "1 warning (governor: powersave), 1 unknown"
    assert in_short(checks[2:]) == "no warning"


def test_strict_fails_where_there_is_a_warning(convscope: Convscope) -> None:
    checks = convscope("doctor", "--json").json
    warned = any(check["state"] == "warning" for check in checks)
    assert {check["state"] for check in checks} <= {"ok", "warning", "unknown"}
    assert convscope("doctor", "--strict", LD_PRELOAD="libjemalloc-that-is-not-there.so").code == 4
    if not warned:
        assert convscope("doctor", "--strict").code == 0


OWN_PID = 4242
CLOCKS = ("MaxClockInfo", "DefaultApplicationsClock", "ApplicationsClock", "ClockInfo")
DETAILS = {**dict.fromkeys(CLOCKS, (1,)), "Temperature": (0,)}  # of the SM, of the chip (nvml.h)
HEALTHY: dict[str, Any] = {  # of an H200, but for the last two and the clock and reasons of the moment
    "PersistenceMode": 1,
    "MaxClockInfo": 1980,
    "DefaultApplicationsClock": 1980,
    "ApplicationsClock": 1980,
    "ClockInfo": 345,
    "CurrentClocksEventReasons": 0x1,
    "PowerManagementLimit": 700_000,
    "PowerManagementDefaultLimit": 700_000,
    "EccMode": [1, 1],
    "MigMode": [0, 0],
    "ComputeMode": 0,
    "Temperature": 38,
    "ComputeRunningProcesses": [SimpleNamespace(pid=OWN_PID, usedGpuMemory=2**30)],
    "GraphicsRunningProcesses": [],
    "UtilizationRates": SimpleNamespace(gpu=0, memory=0),
}
NAMES = ["persistence", "clocks", "power limit", "ECC", "MIG", "compute mode", "temperature", "others"]


class NVMLError(Exception):
    """As in nvidia-ml-py, which has a class below it for each code."""


class NotSupported(NVMLError):
    pass


class LibraryMismatch(Exception):
    """Of a module that does not fit the driver: no NVMLError in nvidia-ml-py either."""


class FakeNvml:
    """Answers as nvidia-ml-py does; an answer that is an exception is raised, a question may be lacking."""

    NVMLError = NVMLError
    NVMLLibraryMismatchError = LibraryMismatch

    def __init__(self, answers: dict[str, Any], count: int = 1) -> None:
        self.answers, self.count = answers, count

    def nvmlInit(self) -> None:  # noqa: N802
        pass

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return self.count

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:  # noqa: N802
        return f"handle {index}"

    def __getattr__(self, question: str) -> Callable[..., Any]:
        name = question.removeprefix("nvmlDeviceGet")
        if name not in self.answers:
            raise AttributeError(question)

        def answer(handle: str, *details: int) -> Any:
            assert handle.startswith("handle")
            assert details == DETAILS.get(name, ())
            if isinstance(self.answers[name], Exception):
                raise self.answers[name]
            return self.answers[name]

        return answer


def gpu(answers: dict[str, Any]) -> dict[str, Check]:
    """The checks of the last of three GPUs, by what they are about."""
    checks = gpu_checks(FakeNvml(answers, count=3), {OWN_PID})
    return {check.name.removeprefix("GPU 2 "): check for check in checks if check.name.startswith("GPU 2 ")}


def test_a_healthy_gpu_is_ok_in_every_check() -> None:
    checks = gpu(HEALTHY)
    assert list(checks) == NAMES
    assert {name: check.found for name, check in checks.items() if check.state != "ok" or check.advice} == {}
    assert "1980 MHz" in checks["clocks"].found


@pytest.mark.parametrize(
    ("name", "changed", "found", "command"),
    [
        ("persistence", {"PersistenceMode": 0}, "off", "sudo nvidia-smi -i 2 -pm 1"),
        (
            "clocks",
            {"ApplicationsClock": 1200},
            "applications clock set to 1200 MHz, the default is 1980 MHz",
            "sudo nvidia-smi -i 2 --reset-applications-clocks",
        ),
        (
            "clocks",
            {"CurrentClocksEventReasons": 0x3},
            "held by a clock that somebody set",
            "sudo nvidia-smi -i 2 --reset-gpu-clocks",
        ),
        (
            "clocks",
            {"CurrentClocksEventReasons": 0x0, "ClockInfo": 1200},
            "1200 MHz for no reason told, the default is 1980 MHz",
            "sudo nvidia-smi -i 2 --reset-gpu-clocks",
        ),
        (
            "clocks",
            {"CurrentClocksEventReasons": 0x2, "MaxClockInfo": None},
            "held by a clock that somebody set",
            "sudo nvidia-smi -i 2 --reset-gpu-clocks",
        ),
        (
            "clocks",
            {"CurrentClocksEventReasons": 0x48},
            "lowered: hardware slowdown, heat, told by hardware",
            "nvidia-smi -i 2 -q -d PERFORMANCE,POWER,TEMPERATURE",
        ),
        ("clocks", {"CurrentClocksEventReasons": 0x401}, "lowered: 0x400", "nvidia-smi -i 2 -q"),
        (
            "power limit",
            {"PowerManagementLimit": 452_500},
            "452.5 W, the default is 700 W",
            "sudo nvidia-smi -i 2 -pl 700",
        ),
        ("ECC", {"EccMode": [0, 0]}, "off", "sudo nvidia-smi -i 2 -e 1"),
        ("ECC", {"EccMode": [0, 1]}, "off, and on after a reset", "sudo nvidia-smi -i 2 --gpu-reset"),
        ("ECC", {"EccMode": [1, 0]}, "on, but off after a reset", "sudo nvidia-smi -i 2 -e 1"),
        ("MIG", {"MigMode": [1, 1]}, "on", "sudo nvidia-smi -i 2 -mig 0"),
        ("compute mode", {"ComputeMode": 3}, "exclusive to a process", "sudo nvidia-smi -i 2 -c 0"),
        ("temperature", {"Temperature": 80}, "80 °C", "nvidia-smi -i 2 --query-gpu=temperature.gpu"),
    ],
)
def test_what_disturbs_a_gpu_is_the_one_warning_and_comes_with_a_command(
    name: str,
    changed: dict[str, Any],
    found: str,
    command: str,
) -> None:
    checks = gpu(HEALTHY | changed)
    assert [about for about, check in checks.items() if check.state != "ok"] == [name]
    assert checks[name].state == "warning"
    assert checks[name].found == found
    assert command in checks[name].advice


def test_clocks_are_ok_under_load_where_nothing_lowers_them() -> None:
    assert gpu(HEALTHY | {"CurrentClocksEventReasons": 0x0, "ClockInfo": 1965})["clocks"].state == "ok"


def test_every_other_process_on_a_gpu_is_named_with_its_memory() -> None:
    computing = [*HEALTHY["ComputeRunningProcesses"], SimpleNamespace(pid=77, usedGpuMemory=3 * 2**30)]
    drawing = [SimpleNamespace(pid=78, usedGpuMemory=None)]
    answers = {"ComputeRunningProcesses": computing, "GraphicsRunningProcesses": drawing}
    check = gpu(HEALTHY | answers)["others"]
    assert check.state == "warning"
    assert check.found == "process 77 with 3.00 GiB; process 78 with unknown memory"
    assert check.advice.endswith("ps -o pid,user,args -p 77,78")


def test_a_process_that_computes_is_named_where_those_that_draw_are_not_told() -> None:
    tenant = [SimpleNamespace(pid=77, usedGpuMemory=2**30)]
    answers = {"ComputeRunningProcesses": tenant, "GraphicsRunningProcesses": NotSupported()}
    check = gpu(HEALTHY | answers)["others"]
    assert (check.state, check.found) == ("warning", "process 77 with 1.00 GiB")


@pytest.mark.parametrize(
    ("own", "percent", "state"),
    [(False, 97, "warning"), (False, 6, "warning"), (False, 5, "ok"), (True, 97, "ok")],
)
def test_a_gpu_that_is_busy_though_nobody_is_shown_is_a_warning(own: bool, percent: int, state: str) -> None:
    shown = HEALTHY["ComputeRunningProcesses"] if own else []
    busy = SimpleNamespace(gpu=percent, memory=0)
    check = gpu(HEALTHY | {"ComputeRunningProcesses": shown, "UtilizationRates": busy})["others"]
    assert check.state == state
    assert f"busy {percent} % of the time" in check.found


def test_a_command_that_changes_a_gpu_is_left_to_people_and_the_advice_says_so() -> None:
    wrong = {"PersistenceMode": 0, "ComputeMode": 3, "PowerManagementLimit": 400_000, "MigMode": [1, 1]}
    warnings = [check.advice for check in gpu(HEALTHY | wrong).values() if check.state == "warning"]
    assert len(warnings) == 4
    assert all("Doctor changes nothing; you may: sudo nvidia-smi -i 2 " in advice for advice in warnings)


@pytest.mark.parametrize("question", HEALTHY)
@pytest.mark.parametrize(
    "refusal",
    [NotSupported(), LibraryMismatch(), None],
    ids=["the driver refuses", "the module does not fit", "the module lacks it"],
)
def test_a_question_about_a_gpu_that_is_not_answered_is_unknown_and_spoils_no_other_check(
    question: str,
    refusal: Exception | None,
) -> None:
    answers = HEALTHY | {question: refusal}
    if refusal is None:
        del answers[question]
    states = [check.state for check in gpu(answers).values()]
    assert sorted(states) == ["ok"] * 7 + ["unknown"]


def test_a_fault_that_is_no_refusal_of_the_driver_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        gpu(HEALTHY | {"Temperature": ZeroDivisionError()})


def test_a_module_that_has_no_error_for_a_mismatch_is_asked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(FakeNvml, "NVMLLibraryMismatchError")
    assert gpu(HEALTHY | {"EccMode": NotSupported()})["ECC"].state == "unknown"


def test_a_gpu_that_is_lost_is_one_unknown_check() -> None:
    class Lost(FakeNvml):
        def nvmlDeviceGetHandleByIndex(self, index: int) -> str:  # noqa: N802
            raise NVMLError("GPU is lost")

    checks = gpu_checks(Lost({}), {OWN_PID})
    assert [(check.name, check.state) for check in checks] == [("GPU 0", "unknown")]
    assert "GPU is lost" in checks[0].found


def test_gpus_that_cannot_be_counted_are_one_unknown_check() -> None:
    class Uncounted(FakeNvml):
        def nvmlDeviceGetCount(self) -> int:  # noqa: N802
            raise NVMLError("Unknown Error")

    checks = gpu_checks(Uncounted({}), {OWN_PID})
    assert [(check.name, check.state) for check in checks] == [("GPU", "unknown")]
    assert "Unknown Error" in checks[0].found


def test_a_driver_whose_library_cannot_be_loaded_is_unknown(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Unloaded(FakeNvml):
        def nvmlInit(self) -> None:  # noqa: N802
            raise NVMLError("NVML Shared Library Not Found")

    monkeypatch.setitem(sys.modules, "pynvml", Unloaded({}))
    check = machine(tmp_path, {"proc/driver/nvidia/version": "NVRM"})["GPU"]
    assert check.state == "unknown"
    assert "Shared Library" in check.found
    assert "nvidia-smi" in check.advice


def test_gpus_are_looked_at_where_there_is_a_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(HEALTHY, count=2))
    assert not [name for name in machine(tmp_path, {}) if name.startswith("GPU")]
    checks = machine(tmp_path, {"proc/driver/nvidia/version": "NVRM"})
    expected = [f"GPU {index} {name}" for index in range(2) for name in NAMES]
    assert [name for name in checks if name.startswith("GPU")] == expected


def test_a_driver_without_the_module_that_asks_it_is_unknown(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)  # an import of it fails
    checks = machine(tmp_path, {"proc/driver/nvidia/version": "NVRM"})
    states = {name: check.state for name, check in checks.items() if name.startswith("GPU")}
    assert states == {"GPU": "unknown"}
    assert "convscope[cuda]" in checks["GPU"].advice


def test_others_on_a_device_are_looked_for_by_work_and_a_processor_is_not_asked_so(
    convscope: Convscope,
) -> None:
    ended = convscope("doctor", "--probe", "cpu")
    assert ended.code == 2
    assert "run queue" in ended.err
