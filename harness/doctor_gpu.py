"""Is each NVIDIA GPU fit to measure on? What its driver says through nvidia-ml-py, and the command that mends what is wrong.

In: the module of nvidia-ml-py, or what answers as it does. Out: `Check`s. Nothing is changed here. A question that the driver or the module does
not answer is unknown and never ok. The driver has no question for locked clocks, and in a container it may not show who else is there: an ok says
what it told. GPUs are numbered as nvidia-smi numbers them, which CUDA_VISIBLE_DEVICES does not change.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness import units
from harness.checks import Check

if TYPE_CHECKING:
    from pathlib import Path

WARM_C = 80.0  # GPUs lower their clocks from about 83 degrees on
LOCKED_SHARE = 0.9  # of the default clock; heat alone takes a few steps of 15 MHz
SM, CORE, IDLE, USER_SET = 1, 0, 0x1, 0x2  # NVML_CLOCK_SM, NVML_TEMPERATURE_GPU, and two of the reasons (nvml.h)
REASONS = {  # bits of nvmlClocksEventReasons (nvml.h) that lower a clock without anybody having set one
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "heat, told by software",
    0x40: "heat, told by hardware",
    0x80: "power brake",
    0x100: "display clock",
}
COMPUTE_MODES = {0: "default", 1: "exclusive to a thread", 2: "prohibited", 3: "exclusive to a process"}  # nvmlComputeMode_t (nvml.h)


def gpus(root: Path) -> list[Check]:
    """Several checks a GPU; none where there is no NVIDIA driver."""
    if not (root / "proc/driver/nvidia").is_dir():
        return []
    try:
        import pynvml  # the module of nvidia-ml-py

        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
    except Exception as error:  # ImportError, or whatever the driver says
        return [Check("GPU", "unknown", f"NVML cannot be asked: {error}", "Install convscope[cuda].")]
    return [check for index in range(count) for check in gpu_checks(pynvml, index, os.getpid())]


def gpu_checks(nvml: Any, index: int, own_pid: int) -> list[Check]:
    """Every check of one GPU. `nvml` is the module of nvidia-ml-py; the process `own_pid` may compute on it."""
    try:
        gpu = _Gpu(nvml, index, nvml.nvmlDeviceGetHandleByIndex(index))
    except Exception as error:  # lost, or not for this user
        return [Check(f"GPU {index}", "unknown", f"it cannot be asked: {error}")]
    checks = (_persistence, _clocks, _power_limit, _ecc, _mig, _compute_mode, _temperature)
    return [*(check(gpu) for check in checks), _others(gpu, own_pid)]


@dataclass(frozen=True, slots=True)
class _Gpu:
    nvml: Any
    index: int
    handle: Any

    def ask(self, question: str, *details: int) -> Any:
        """The answer; None where there is none."""
        try:
            return getattr(self.nvml, question)(self.handle, *details)
        except Exception:  # NVMLError, AttributeError, or NVMLLibraryMismatchError, which is neither
            return None

    def ok(self, about: str, found: str) -> Check:
        return Check(f"GPU {self.index} {about}", "ok", found)

    def warning(self, about: str, found: str, advice: str) -> Check:
        return Check(f"GPU {self.index} {about}", "warning", found, advice)

    def unknown(self, about: str) -> Check:
        return Check(f"GPU {self.index} {about}", "unknown", "the driver does not tell")

    def smi(self, switches: str) -> str:
        return f"sudo nvidia-smi -i {self.index} {switches}"


def _persistence(gpu: _Gpu) -> Check:
    mode = gpu.ask("nvmlDeviceGetPersistenceMode")
    if mode is None:
        return gpu.unknown("persistence")
    if mode:
        return gpu.ok("persistence", "on")
    return gpu.warning("persistence", "off", f"The driver forgets the device between processes, its settings too: {gpu.smi('-pm 1')}")


def _clocks(gpu: _Gpu) -> Check:
    """What was set or lowers the clock. A lock shows where nothing lowers the clock, idleness neither, and it is low all the same."""
    default, chosen = gpu.ask("nvmlDeviceGetDefaultApplicationsClock", SM), gpu.ask("nvmlDeviceGetApplicationsClock", SM)
    highest, now = gpu.ask("nvmlDeviceGetMaxClockInfo", SM), gpu.ask("nvmlDeviceGetClockInfo", SM)
    reasons = gpu.ask("nvmlDeviceGetCurrentClocksEventReasons")
    if None not in (default, chosen) and chosen != default:
        found = f"applications clock set to {chosen} MHz, the default is {default} MHz"
        return gpu.warning("clocks", found, f"Figures hold for this clock alone: {gpu.smi('--reset-applications-clocks')}")
    if reasons is not None and reasons & USER_SET:
        return gpu.warning("clocks", "held by a clock that somebody set", f"Figures hold for this clock alone: {gpu.smi('--reset-gpu-clocks')}")
    if reasons is not None and reasons & ~IDLE:
        asked = f"nvidia-smi -i {gpu.index} -q -d PERFORMANCE,POWER,TEMPERATURE"
        return gpu.warning("clocks", f"lowered: {_named(reasons & ~IDLE)}", f"Measure when nothing lowers them any more, which this shows: {asked}")
    if reasons == 0 and None not in (default, now) and now < LOCKED_SHARE * default:
        found = f"{now} MHz for no reason told, the default is {default} MHz"
        return gpu.warning("clocks", found, f"Somebody may have locked them: {gpu.smi('--reset-gpu-clocks')}")
    if None in (default, chosen, highest, now, reasons):
        return gpu.unknown("clocks")
    return gpu.ok("clocks", f"default {default} MHz, highest {highest} MHz, nothing lowers them{' but idleness' * (reasons == IDLE)}")


def _named(reasons: int) -> str:
    """The reasons in words; a bit that a newer driver has as its number."""
    return ", ".join(REASONS.get(1 << bit, hex(1 << bit)) for bit in range(reasons.bit_length()) if reasons >> bit & 1)


def _power_limit(gpu: _Gpu) -> Check:
    limit_mw, default_mw = gpu.ask("nvmlDeviceGetPowerManagementLimit"), gpu.ask("nvmlDeviceGetPowerManagementDefaultLimit")
    if limit_mw is None or default_mw is None:
        return gpu.unknown("power limit")
    limit, default = f"{limit_mw / 1e3:g}", f"{default_mw / 1e3:g}"
    if limit_mw == default_mw:
        return gpu.ok("power limit", f"{limit} W, the default")
    return gpu.warning("power limit", f"{limit} W, the default is {default} W", f"It moves clocks under load: {gpu.smi(f'-pl {default}')}")


def _ecc(gpu: _Gpu) -> Check:
    modes = gpu.ask("nvmlDeviceGetEccMode")
    why = "Without it memory may be faster and larger than where it is on"
    return _mode(gpu, "ECC", modes, wanted=1, advice=f"{why}: {gpu.smi('-e 1')}")


def _mig(gpu: _Gpu) -> Check:
    modes = gpu.ask("nvmlDeviceGetMigMode")
    return _mode(gpu, "MIG", modes, wanted=0, advice=f"A part of a GPU has a part of its processors and its memory: {gpu.smi('-mig 0')}")


def _mode(gpu: _Gpu, about: str, modes: tuple[int, int] | None, wanted: int, advice: str) -> Check:
    """A mode that is now, and the one after the next reset. `advice` ends in the command that asks for `wanted`."""
    if modes is None:
        return gpu.unknown(about)
    now, then = ("on" if mode else "off" for mode in modes)
    if tuple(modes) == (wanted, wanted):
        return gpu.ok(about, now)
    if now == then:
        return gpu.warning(about, now, f"{advice}; if it stays {now}: {gpu.smi('--gpu-reset')}")
    if modes[1] == wanted:
        return gpu.warning(about, f"{now}, and {then} after a reset", f"The reset is due: {gpu.smi('--gpu-reset')}")
    return gpu.warning(about, f"{now}, but {then} after a reset", advice)


def _compute_mode(gpu: _Gpu) -> Check:
    mode = gpu.ask("nvmlDeviceGetComputeMode")
    if mode is None:
        return gpu.unknown("compute mode")
    found = COMPUTE_MODES.get(mode, f"number {mode}")
    if mode == 0:
        return gpu.ok("compute mode", found)
    return gpu.warning("compute mode", found, f"A comparison needs two processes on it at once: {gpu.smi('-c 0')}")


def _temperature(gpu: _Gpu) -> Check:
    celsius = gpu.ask("nvmlDeviceGetTemperature", CORE)
    if celsius is None:
        return gpu.unknown("temperature")
    found = f"{celsius} °C"
    if celsius < WARM_C:
        return gpu.ok("temperature", found)
    shown = f"nvidia-smi -i {gpu.index} --query-gpu=temperature.gpu --format=csv -l 5"
    return gpu.warning("temperature", found, f"It lowers its clocks when hot. Let it cool, watched by: {shown}")


def _others(gpu: _Gpu, own_pid: int) -> Check:
    """Who else computes on it, as far as the driver shows this process."""
    processes = gpu.ask("nvmlDeviceGetComputeRunningProcesses")
    if processes is None:
        return gpu.unknown("others")
    others = [process for process in processes if process.pid != own_pid]
    if not others:
        return gpu.ok("others", "the driver shows none")
    held = (f"process {other.pid} with {'unknown memory' if other.usedGpuMemory is None else units.size(other.usedGpuMemory)}" for other in others)
    pids = ",".join(str(other.pid) for other in others)
    return gpu.warning("others", "; ".join(held), f"Wait for them, choose another device, or ask their owner: ps -o pid,user,args -p {pids}")
