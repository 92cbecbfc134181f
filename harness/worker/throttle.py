"""What a GPU says of itself while it is timed: the clock it runs at, and why that is not its highest.

In: a device's index. Out: readings, and whether a block taken under one may count. Asked through nvidia-ml-py, where that is
installed; without it nothing is known, and trust stays `unknown`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

# Bits of nvmlDeviceGetCurrentClocksEventReasons (nvml.h); an idle device has no reason worth telling
REASONS = {
    0x2: "applications_clocks",
    0x4: "power_cap",
    0x8: "hardware_slowdown",
    0x10: "sync_boost",
    0x20: "software_thermal",
    0x40: "hardware_thermal",
    0x80: "power_brake",
    0x100: "display_clock",
}
HEAT = frozenset({"hardware_slowdown", "software_thermal", "hardware_thermal", "power_brake"})
LEAST_CLOCK = 0.75  # of the highest, as nvbench has it; below that a block tells of the clock and not of the case


@dataclass(frozen=True, slots=True)
class GpuReading:
    """The clock in Hz, as a share of the highest too, and the reasons why it is where it is."""

    sm_clock_hz: float
    share: float
    reasons: frozenset[str]

    @property
    def spoils(self) -> bool:
        """Whether a block that ended so is thrown away: for heat, or for a low clock that a power cap alone does not explain."""
        return bool(self.reasons & HEAT) or (self.share < LEAST_CLOCK and self.reasons != {"power_cap"})


class Gpu:
    """One device, asked through NVML."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml, self._handle = nvml, handle
        self._highest_mhz = nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM)

    def read(self) -> GpuReading:
        """What holds now."""
        mhz = self._nvml.nvmlDeviceGetClockInfo(self._handle, self._nvml.NVML_CLOCK_SM)
        bits = self._nvml.nvmlDeviceGetCurrentClocksEventReasons(self._handle)
        return GpuReading(mhz * 1e6, mhz / self._highest_mhz, frozenset(name for bit, name in REASONS.items() if bits & bit))


def gpu(index: int) -> Gpu | None:
    """The device that torch calls by this index, found by its UUID since CUDA_VISIBLE_DEVICES renumbers; None where NVML cannot be asked."""
    try:
        import pynvml  # the module of nvidia-ml-py

        pynvml.nvmlInit()
        uuid = f"GPU-{torch.cuda.get_device_properties(index).uuid}"
        found = Gpu(pynvml, pynvml.nvmlDeviceGetHandleByUUID(uuid))
        found.read()  # an older driver, or module, may lack a question
    except Exception:  # not installed, or whatever driver and torch of any age say
        return None
    return found
