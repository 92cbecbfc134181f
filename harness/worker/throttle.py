"""When a GPU's clock or heat spoils what was timed under it.

In: its clock as it counted its own cycles, and the reasons that its driver gives. Out: readings, and whether
a block under one may count. Rules are fed numbers and know no device, so that they can be tested with literal
sequences.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.worker.devices.nvml import Nvml

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
HEAT = frozenset({"software_thermal", "hardware_thermal", "power_brake"})
# also told while a clock changes: heat where the next reading has it too (DCGM's documentation)
TRANSIENT = "hardware_slowdown"
# a clock that is low for these alone is the device's own, or set by its owner
ASKED_FOR = frozenset({"power_cap", "applications_clocks"})
# of the default, as nvbench has it; below that a block tells of the clock and not of the case
LEAST_CLOCK = 0.75
# a hot device stays hot: before a block is taken again, each pause twice as long as the one before ...
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0  # ... up to this


@dataclass(frozen=True, slots=True)
class GpuReading:
    """The SM clock in Hz, as a share of the device's default too (None: not known), and the reasons why it is
    where it is."""

    sm_clock_hz: float
    share: float | None
    reasons: frozenset[str]

    @property
    def low(self) -> bool:
        """Whether the clock is low for more than a power cap, or a clock that somebody set."""
        if self.share is None or self.share >= LEAST_CLOCK:
            return False
        return not self.reasons or not self.reasons <= ASKED_FOR


@dataclass(slots=True)
class Heat:
    """Whether the device is hot, by one reading after the other."""

    _before: frozenset[str] = field(default_factory=frozenset)

    def feed(self, reasons: frozenset[str]) -> bool:
        """Take the reasons of a reading; True where they tell of heat, or tell of a slowdown for the second
        time in a row."""
        lasting = TRANSIENT in reasons and TRANSIENT in self._before
        self._before = reasons
        return lasting or bool(reasons & HEAT)


def pause_s(spoiled: int) -> float:
    """Seconds to wait before a block is taken again, after so many of a visit that were spoiled."""
    return float(min(FIRST_PAUSE_S * 2 ** (spoiled - 1), LONGEST_PAUSE_S))


class Monitor:
    """One device: the driver's reasons, and the clock by cycles that the device itself counts right behind
    what was timed."""

    def __init__(self, nvml: Nvml, cycles_per_s: Callable[[], float]) -> None:
        self._nvml, self._cycles_per_s = nvml, cycles_per_s
        self._default_hz = nvml.default_clock_hz()

    def read(self) -> GpuReading:
        """What holds now."""
        sm_clock_hz = self._cycles_per_s()
        bits = self._nvml.event_reasons()
        share = sm_clock_hz / self._default_hz if self._default_hz else None
        return GpuReading(sm_clock_hz, share, frozenset(name for bit, name in REASONS.items() if bits & bit))

    def energy_j(self) -> float | None:
        """Joules consumed since the driver was loaded."""
        return self._nvml.energy_j()
