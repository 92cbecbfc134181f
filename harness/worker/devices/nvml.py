"""What NVIDIA's driver says of a GPU: why its clock is where it is, its limits, what it has consumed.

Asked through nvidia-ml-py, where that is installed. An older driver or module may lack a question: its answer
is then None, never a guess.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable


class Nvml:
    """One GPU. `library` is the module of nvidia-ml-py, or what answers as it does."""

    def __init__(self, library: Any, handle: Any) -> None:
        self._library, self._handle = library, handle

    @staticmethod
    @lru_cache
    def of(index: int) -> Nvml | None:
        """The GPU that torch calls by this index, found by its UUID since CUDA_VISIBLE_DEVICES renumbers;
        None where NVML cannot be asked. A part of a GPU (MIG) has a UUID of another form."""
        try:
            import pynvml  # the module of nvidia-ml-py

            pynvml.nvmlInit()
        except Exception:  # not installed, or whatever a driver says
            return None
        uuid = getattr(torch.cuda.get_device_properties(index), "uuid", None)
        for form in (f"GPU-{uuid}", f"MIG-{uuid}", str(uuid)):
            try:
                found = Nvml(pynvml, pynvml.nvmlDeviceGetHandleByUUID(form))
                found.event_reasons()
            except pynvml.NVMLError:
                continue
            return found
        return None

    def event_reasons(self) -> int:
        """Why the clock is where it is: bits of nvmlClocksEventReasons (nvml.h). Raises NVMLError."""
        return int(self._library.nvmlDeviceGetCurrentClocksEventReasons(self._handle))

    def default_clock_hz(self) -> float | None:
        """The SM clock that the device has unless somebody set another; its highest where it has no
        default."""
        library = self._library
        default = self._asked(
            lambda: library.nvmlDeviceGetDefaultApplicationsClock(self._handle, library.NVML_CLOCK_SM)
        )
        highest = self._asked(lambda: library.nvmlDeviceGetMaxClockInfo(self._handle, library.NVML_CLOCK_SM))
        mhz = min((clock for clock in (default, highest) if clock), default=None)
        return None if mhz is None else mhz * 1e6

    def energy_j(self) -> float | None:
        """Joules since the driver was loaded; the counter moves every 20 to 100 ms."""
        mj = self._asked(lambda: self._library.nvmlDeviceGetTotalEnergyConsumption(self._handle))
        return None if mj is None else mj / 1e3

    def limited_w(self) -> float | None:
        """The power limit in watts where it is below the device's default; else None."""
        limit, default = self._power_limits_w()
        return limit if limit is not None and default is not None and limit < default else None

    def facts(self) -> dict[str, Any]:
        """Clocks in Hz, power in W, modes as 0 or 1; None where not reported by the driver."""
        library, handle = self._library, self._handle
        limit, default = self._power_limits_w()
        return {
            "highest_clock_hz": self._asked(
                lambda: library.nvmlDeviceGetMaxClockInfo(handle, library.NVML_CLOCK_SM) * 1e6
            ),
            "default_clock_hz": self.default_clock_hz(),
            "power_limit_w": limit,
            "default_power_limit_w": default,
            "ecc": self._asked(lambda: library.nvmlDeviceGetEccMode(handle)[0]),
            "mig": self._asked(lambda: library.nvmlDeviceGetMigMode(handle)[0]),
            "persistence": self._asked(lambda: library.nvmlDeviceGetPersistenceMode(handle)),
        }

    def _power_limits_w(self) -> tuple[float | None, float | None]:
        """As it is set, and as the device comes."""
        library, handle = self._library, self._handle
        limit = self._asked(lambda: library.nvmlDeviceGetPowerManagementLimit(handle) / 1e3)
        return limit, self._asked(lambda: library.nvmlDeviceGetPowerManagementDefaultLimit(handle) / 1e3)

    def _asked(self, question: Callable[[], Any]) -> Any:
        try:
            return question()
        except (self._library.NVMLError, AttributeError):  # of this device, this driver or this module
            return None
