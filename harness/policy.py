"""How much is measured: the `[policy]` of a suite, which the planner and the worker both read. Seconds and counts."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from math import ceil
from typing import Any

from harness.errors import ProblemError

MOST = 32_767  # rounds are stored as int16, and a run of nine hours is long enough
TURN_S = 0.017  # one block of an arm that takes turns ...
TURN_SETTLE_S = 0.006  # ... after calls that are not counted: the other arm's OpenMP threads still spin
TURN_SAMPLES = 2  # ... of at least so many samples; `min_samples` does not hold in turns
FEWEST_TURNS = 12  # three for each way that the heap may lie (`worker/workload`)
GUESSES = {"cpu": (25e9, 5e9, 10e-6), "cuda": (5e12, 1e12, 20e-6)}  # MACs and bytes a second, seconds of overhead
ENERGY_WINDOWS = 2.5  # of calls, of a pause, and a quarter before each
FEWEST_SAMPLES = 24  # of a visit: two in each of its blocks
FIXED_S = 0.05  # what a visit costs beside its warm-up and its samples: a fork, tensors, twelve placements


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """When a visit, a case and a run are done. Raises ProblemError for a value that is no sensible amount."""

    rounds: int = 3  # least number of visits a case, each in a process of its own
    max_rounds: int = 12  # cases whose interval is wider than target_width are visited again, up to this
    target_width: float = 0.04  # half of the 95 % interval between visits, over the latency
    warm_up_s: float = 0.1  # at least; longer until steady
    visit_time_s: float = 0.2  # timed seconds a visit ...
    min_samples: int = 24  # ... but at least these: two a block
    visit_limit_s: float = 60.0  # one visit, set-up included
    time_limit_s: float | None = None  # the whole run; it ends between visits
    energy_time_s: float | None = None  # of calls and of a pause, for what a call costs in joules; None: not measured

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None and field.name in ("time_limit_s", "energy_time_s"):
                continue
            whole = field.name in ("rounds", "max_rounds", "min_samples")
            if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not 0 < value <= MOST:
                kind = "a whole number" if whole else "a number"
                raise ProblemError(field.name, f"{repr(value)[:20]} is not {kind} above 0 and at most {MOST:,}")
        if self.min_samples < 3:
            raise ProblemError("min_samples", f"{self.min_samples} is too few for an interval", hint="Use 3 or more.")
        if self.max_rounds < self.rounds:
            raise ProblemError("max_rounds", f"{self.max_rounds} is below rounds = {self.rounds}", hint="Raise max_rounds.")

    def visit_estimate_s(self, call_s: float) -> float:
        """What a visit of a case with calls of `call_s` seconds will take, start of its process included."""
        timed_s = max(self.visit_time_s, (max(self.min_samples, FEWEST_SAMPLES) + 10) * call_s) + ENERGY_WINDOWS * (self.energy_time_s or 0.0)
        return FIXED_S + max(self.warm_up_s, 3 * call_s) + timed_s

    @property
    def turns(self) -> int:
        """How many blocks each arm of a pair measures."""
        return max(FEWEST_TURNS, ceil(self.visit_time_s / TURN_S))

    def pair_estimate_s(self, call_s: float) -> float:
        """What a pair that takes turns will take, starts of its processes included."""
        settled_s, counted_s = max(TURN_SETTLE_S, call_s), max(TURN_S, TURN_SAMPLES * call_s)
        return 2 * (FIXED_S + max(self.warm_up_s, 3 * call_s) + self.turns * (settled_s + counted_s))

    def as_message(self) -> dict[str, Any]:
        """As it crosses the pipe and stands in run.json."""
        return asdict(self)


def guess_call_s(macs: int, minimum_bytes: int, device: str) -> float:
    """A rough guess of a call, in seconds, to plan with before anything is measured: by the MACs, the bytes, or the overhead. Never shown."""
    macs_per_s, bytes_per_s, overhead_s = GUESSES[device]
    return max(macs / macs_per_s, minimum_bytes / bytes_per_s, overhead_s)
