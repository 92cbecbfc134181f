"""How much is measured: the `[policy]` of a suite, which the planner and the worker both read. Seconds and
counts."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from math import ceil, inf
from typing import Any

from harness.core.errors import ProblemError
from harness.core.stats import PLACES

MOST = 32_767  # rounds are stored as int16, and a run of nine hours is long enough
TURN_S = 0.017  # about so long is one block of an arm that takes turns ...
TURN_SETTLE_S = 0.0015  # ... after calls that are not counted: its threads wake, and caches fill
# of a visit, for a figure: of six that lie alike a low quantile means what it does of six hundred
FEWEST_SAMPLES = 24
# of a visit in one go, and of an arm at least: three for each way that the heap may lie (`worker/workload`)
BLOCKS = 12
TURNS = 24  # of a visit whose blocks lie between those of others: a moment each, and as many as possible
# the blocks of a visit, and the calls before each, take so long at most where calls are slow: fewer blocks do
SLOW_VISIT_S = 5.0
ENERGY_WINDOWS = 2.5  # of calls, of a pause, and a quarter before each
SURVEY_SHARE = 1 / 3  # of a time limit, at most: the rounds have the rest


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """When a visit, a case and a run are done. Raises ProblemError for a value that is no sensible amount."""

    rounds: int = 3  # least number of visits a case, each in a process of its own
    max_rounds: int = 12  # cases whose interval is wider than target_width are visited again, up to this
    target_width: float = 0.04  # half of the 95 % interval between visits, over the latency
    warm_up_s: float = 0.1  # at least; longer until steady
    visit_time_s: float = 0.2  # timed seconds a visit ...
    min_samples: int = 24  # ... but at least these: one in each of 24 turns
    visit_limit_s: float = 60.0  # one visit, set-up included
    time_limit_s: float | None = None  # the whole run; it ends between visits, or groups of them
    # of calls and of a pause, for what a call costs in joules; None: not measured
    energy_time_s: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None and field.name in ("time_limit_s", "energy_time_s"):
                continue
            whole = field.name in ("rounds", "max_rounds", "min_samples")
            if (
                isinstance(value, bool)
                or not isinstance(value, int if whole else (int, float))
                or not 0 < value <= MOST
            ):
                kind = "a whole number" if whole else "a number"
                raise ProblemError(
                    field.name, f"{repr(value)[:20]} is not {kind} above 0 and at most {MOST:,}"
                )
        if self.min_samples < 3:
            raise ProblemError(
                "min_samples", f"{self.min_samples} is too few for an interval", hint="Use 3 or more."
            )
        if self.max_rounds < self.rounds:
            raise ProblemError(
                "max_rounds", f"{self.max_rounds} is below rounds = {self.rounds}", hint="Raise max_rounds."
            )

    @property
    def survey_limit_s(self) -> float:
        """What the roofs and the survey may take of the run's time, in seconds; infinite without a time
        limit."""
        return inf if self.time_limit_s is None else SURVEY_SHARE * self.time_limit_s

    @property
    def visit_turns(self) -> int:
        """How many blocks a visit has that lie between those of others; fewer for a first look, which asks
        for fewer samples than a figure needs."""
        return TURNS if self.min_samples >= FEWEST_SAMPLES else BLOCKS

    @property
    def turns(self) -> int:
        """How many blocks each arm of a pair measures."""
        return max(BLOCKS, ceil(self.visit_time_s / TURN_S))

    def blocks(self, most: int, call_s: float) -> int:
        """Of `most` blocks, how many a visit measures whose calls take `call_s` seconds: all of them within
        `SLOW_VISIT_S`, else fewer, as many for each way that buffers lie, down to one. All of them where more
        samples are asked for than the fewest. Fewer blocks are a sample each, and no call beside it."""
        if self.min_samples > FEWEST_SAMPLES:
            return most
        fit = int(max(SLOW_VISIT_S, self.visit_time_s) / (2 * call_s))
        return min(most, PLACES * max(fit // PLACES, 1))

    def is_slow(self, call_s: float) -> bool:
        """Whether a visit of such calls has fewer blocks than others."""
        return self.blocks(self.visit_turns, call_s) < self.visit_turns

    def as_message(self) -> dict[str, Any]:
        """As it crosses the pipe and stands in run.json."""
        return asdict(self)
