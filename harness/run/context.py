"""What a run is asked to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.core.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """One run: its name, how much it measures, the seed of its random orders.

    `placement`: device type to index; `run_spread`: by how much runs of this machine differ, by
    environment."""

    run_id: str
    policy: Policy
    seed: int
    placement: dict[str, int] = field(default_factory=dict)
    run_spread: dict[str, float] = field(default_factory=dict)
