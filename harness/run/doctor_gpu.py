"""Is each NVIDIA GPU fit to measure on? What its driver says through nvidia-ml-py, and what mends it.

In: the module of nvidia-ml-py, or what answers as it does. Out: `Check`s. Nothing is changed here: commands
are for people to run. A question that the driver or the module does not answer is unknown and never ok. The
driver has no question for locked clocks, and in a container it may not show who else is there: an ok says
what it told. GPUs are numbered as nvidia-smi numbers them, which CUDA_VISIBLE_DEVICES does not change.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.core import units
from harness.run.check import Check

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

WARM_C = 80.0  # GPUs lower their clocks from about 83 degrees on
LOCKED_SHARE = 0.9  # of the default clock; heat alone takes a few steps of 15 MHz
BUSY_PERCENT = 5  # of the driver's last 1/6 s to 1 s (nvml.h); a GPU that nobody uses has 0
SM, CORE = 1, 0  # NVML_CLOCK_SM, NVML_TEMPERATURE_GPU (nvml.h)
IDLE, USER_SET = 0x1, 0x2  # bits of nvmlClocksEventReasons (nvml.h), as are those of REASONS
REASONS = {  # they lower a clock without anybody having set one
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "heat, told by software",
    0x40: "heat, told by hardware",
    0x80: "power brake",
    0x100: "display clock",
}
COMPUTE_MODES = {  # nvmlComputeMode_t (nvml.h)
    0: "default",
    1: "exclusive to a thread",
    2: "prohibited",
    3: "exclusive to a process",
}
THIS_CLOCK_ALONE = "Figures hold for this clock alone"


def gpus(root: Path) -> list[Check]:
    """Several checks a GPU; none where there is no NVIDIA driver."""
    if not (root / "proc/driver/nvidia").is_dir():
        return []
    try:
        import pynvml  # the module of nvidia-ml-py
    except ImportError as error:
        return [Check("GPU", "unknown", f"NVML cannot be asked: {error}", "Install convscope[cuda].")]
    try:
        pynvml.nvmlInit()
    except _refusals(pynvml) as error:
        return [Check("GPU", "unknown", f"NVML cannot be asked: {error}", "See whether nvidia-smi works.")]
    return gpu_checks(pynvml, {os.getpid()})


def gpu_checks(nvml: Any, own_pids: Collection[int]) -> list[Check]:
    """Every check of every GPU. `nvml` is nvidia-ml-py's module, initialised; `own_pids` may work on them."""
    try:
        count = nvml.nvmlDeviceGetCount()
    except _refusals(nvml) as error:
        return [Check("GPU", "unknown", f"the driver does not count them: {error}")]
    return [check for index in range(count) for check in _checks(nvml, index, own_pids)]


def _checks(nvml: Any, index: int, own_pids: Collection[int]) -> list[Check]:
    try:
        gpu = _Gpu(nvml, index, nvml.nvmlDeviceGetHandleByIndex(index))
    except _refusals(nvml) as error:  # lost, or not for this user
        return [Check(f"GPU {index}", "unknown", f"it cannot be asked: {error}")]
    checks = (_persistence, _clocks, _power_limit, _ecc, _mig, _compute_mode, _temperature)
    return [*(check(gpu) for check in checks), _others(gpu, own_pids)]


def _refusals(nvml: Any) -> tuple[type[Exception], ...]:
    """What is raised for an answer; the second, of a module that does not fit its driver, is no NVMLError."""
    return nvml.NVMLError, getattr(nvml, "NVMLLibraryMismatchError", nvml.NVMLError)


@dataclass(frozen=True, slots=True)
class _Gpu:
    nvml: Any
    index: int
    handle: Any

    def ask(self, name: str, *details: int) -> Any:
        """The answer; None where there is none, or the module lacks the question."""
        question = getattr(self.nvml, name, None)
        if question is None:
            return None
        try:
            return question(self.handle, *details)
        except _refusals(self.nvml):
            return None

    def ok(self, about: str, found: str) -> Check:
        return Check(f"GPU {self.index} {about}", "ok", found)

    def warning(self, about: str, found: str, advice: str) -> Check:
        return Check(f"GPU {self.index} {about}", "warning", found, advice)

    def unknown(self, about: str) -> Check:
        return Check(f"GPU {self.index} {about}", "unknown", "not reported by the driver")

    def smi(self, switches: str) -> str:
        return f"nvidia-smi -i {self.index} {switches}"

    def mended(self, why: str, switches: str) -> str:
        """Advice with a command that changes the device."""
        return f"{why}. Doctor changes nothing; you may: sudo {self.smi(switches)}"


def _persistence(gpu: _Gpu) -> Check:
    mode = gpu.ask("nvmlDeviceGetPersistenceMode")
    if mode is None:
        return gpu.unknown("persistence")
    if mode:
        return gpu.ok("persistence", "on")
    why = "The driver forgets the device between processes, its settings too"
    return gpu.warning("persistence", "off", gpu.mended(why, "-pm 1"))


def _clocks(gpu: _Gpu) -> Check:
    """What was set or lowers the clock. Low though nothing, idleness neither, lowers it: a lock."""
    default = gpu.ask("nvmlDeviceGetDefaultApplicationsClock", SM)
    chosen = gpu.ask("nvmlDeviceGetApplicationsClock", SM)
    highest, now = gpu.ask("nvmlDeviceGetMaxClockInfo", SM), gpu.ask("nvmlDeviceGetClockInfo", SM)
    reasons = gpu.ask("nvmlDeviceGetCurrentClocksEventReasons")
    if None not in (default, chosen) and chosen != default:
        found = f"applications clock set to {chosen} MHz, the default is {default} MHz"
        return gpu.warning("clocks", found, gpu.mended(THIS_CLOCK_ALONE, "--reset-applications-clocks"))
    if reasons is not None and reasons & USER_SET:
        advice = gpu.mended(THIS_CLOCK_ALONE, "--reset-gpu-clocks")
        return gpu.warning("clocks", "held by a clock that somebody set", advice)
    if reasons is not None and reasons & ~IDLE:
        shown = gpu.smi("-q -d PERFORMANCE,POWER,TEMPERATURE")
        advice = f"Measure when nothing lowers them any more, which this shows: {shown}"
        return gpu.warning("clocks", f"lowered: {_named(reasons & ~IDLE)}", advice)
    if reasons == 0 and None not in (default, now) and now < LOCKED_SHARE * default:
        found = f"{now} MHz for no reason told, the default is {default} MHz"
        return gpu.warning("clocks", found, gpu.mended("Somebody may have locked them", "--reset-gpu-clocks"))
    if None in (default, chosen, highest, now, reasons):
        return gpu.unknown("clocks")
    but = " but idleness" * (reasons == IDLE)
    return gpu.ok("clocks", f"default {default} MHz, highest {highest} MHz, nothing lowers them{but}")


def _named(reasons: int) -> str:
    """The reasons in words; a bit that a newer driver has as its number."""
    bits = [1 << place for place in range(reasons.bit_length()) if reasons >> place & 1]
    return ", ".join(REASONS.get(bit, hex(bit)) for bit in bits)


def _power_limit(gpu: _Gpu) -> Check:
    limit_mw = gpu.ask("nvmlDeviceGetPowerManagementLimit")
    default_mw = gpu.ask("nvmlDeviceGetPowerManagementDefaultLimit")
    if limit_mw is None or default_mw is None:
        return gpu.unknown("power limit")
    limit, default = f"{limit_mw / 1e3:g}", f"{default_mw / 1e3:g}"
    if limit_mw == default_mw:
        return gpu.ok("power limit", f"{limit} W, the default")
    advice = gpu.mended("It moves clocks under load", f"-pl {default}")
    return gpu.warning("power limit", f"{limit} W, the default is {default} W", advice)


def _ecc(gpu: _Gpu) -> Check:
    modes = gpu.ask("nvmlDeviceGetEccMode")
    why = "Without it memory may be faster and larger than where it is on"
    return _mode(gpu, "ECC", modes, wanted=1, advice=gpu.mended(why, "-e 1"))


def _mig(gpu: _Gpu) -> Check:
    modes = gpu.ask("nvmlDeviceGetMigMode")
    why = "A part of a GPU has a part of its processors and its memory"
    return _mode(gpu, "MIG", modes, wanted=0, advice=gpu.mended(why, "-mig 0"))


def _mode(gpu: _Gpu, about: str, modes: tuple[int, int] | None, wanted: int, advice: str) -> Check:
    """A mode that is now, and the one after a reset. `advice` ends in the command that asks for `wanted`."""
    if modes is None:
        return gpu.unknown(about)
    now, then = ("on" if mode else "off" for mode in modes)
    if tuple(modes) == (wanted, wanted):
        return gpu.ok(about, now)
    if now == then:
        return gpu.warning(about, now, f"{advice}; if it stays {now}: sudo {gpu.smi('--gpu-reset')}")
    if modes[1] == wanted:
        due = gpu.mended("The reset is due", "--gpu-reset")
        return gpu.warning(about, f"{now}, and {then} after a reset", due)
    return gpu.warning(about, f"{now}, but {then} after a reset", advice)


def _compute_mode(gpu: _Gpu) -> Check:
    mode = gpu.ask("nvmlDeviceGetComputeMode")
    if mode is None:
        return gpu.unknown("compute mode")
    found = COMPUTE_MODES.get(mode, f"number {mode}")
    if mode == 0:
        return gpu.ok("compute mode", found)
    advice = gpu.mended("A comparison needs two processes on it at once", "-c 0")
    return gpu.warning("compute mode", found, advice)


def _temperature(gpu: _Gpu) -> Check:
    celsius = gpu.ask("nvmlDeviceGetTemperature", CORE)
    if celsius is None:
        return gpu.unknown("temperature")
    found = f"{celsius} °C"
    if celsius < WARM_C:
        return gpu.ok("temperature", found)
    shown = gpu.smi("--query-gpu=temperature.gpu --format=csv -l 5")
    advice = f"It lowers its clocks when hot. Let it cool, watched by: {shown}"
    return gpu.warning("temperature", found, advice)


def _others(gpu: _Gpu, own_pids: Collection[int]) -> Check:
    """Who else computes or draws on it, as far as the driver shows; where nobody, whether it is busy."""
    computing = gpu.ask("nvmlDeviceGetComputeRunningProcesses")
    drawing = gpu.ask("nvmlDeviceGetGraphicsRunningProcesses")
    rates = gpu.ask("nvmlDeviceGetUtilizationRates")
    held = {process.pid: process.usedGpuMemory for process in [*(drawing or ()), *(computing or ())]}
    others = sorted(held.keys() - set(own_pids))
    if others:
        found = "; ".join(f"process {pid} with {_memory(held[pid])}" for pid in others)
        asked = f"ps -o pid,user,args -p {','.join(map(str, others))}"
        advice = f"Wait for them, choose another device, or ask their owner: {asked}"
        return gpu.warning("others", found, advice)
    if rates is not None and rates.gpu > BUSY_PERCENT and not held:
        shown = gpu.smi("--query-gpu=utilization.gpu --format=csv -l 1")
        why = "Somebody may work on it from another container"
        advice = f"{why}. Measure when it is idle, which this shows: {shown}"
        return gpu.warning("others", f"busy {rates.gpu} % of the time, and the driver shows nobody", advice)
    if computing is None or drawing is None or rates is None:
        return gpu.unknown("others")
    return gpu.ok("others", f"the driver shows none, busy {rates.gpu} % of the time")


def _memory(held_bytes: int | None) -> str:
    return "unknown memory" if held_bytes is None else units.size(held_bytes)
