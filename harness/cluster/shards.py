"""Which device of a cluster measures which cases, as bookkeeping alone: no clock, no network.

In: cases, the devices that are alike, and what became of the shards that they were given. Out: the next shard
for a device. A shard is measured wholly on one device; what a lost device had not finished is given to
another. Once nothing else is left, a tenth of what each device measured is measured by its neighbour too,
which tells whether machines that say the same of themselves are alike.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from harness.core.case import Case

FEWEST_CASES, MOST_CASES = 12, 48  # of a shard: workers start for each, and so many are interleaved at most
SHARDS_EACH = 4  # for each device, so that the last of them end at about the same time
CHECKED = 10  # one case in so many is measured by two devices
MOST_LOSSES = 3  # of devices that had a shard, before it is given up: it may be what costs them their life


@dataclass(frozen=True, slots=True)
class Shard:
    """Cases that one device measures. `kind`: the type of that device; `checks`: the member whose figures
    these cases check, None for a shard of the run itself."""

    number: int
    kind: str
    cases: tuple[Case, ...]
    checks: str | None = None


def cases_a_shard(cases: int, members: int) -> int:
    """How many cases a shard has, for so many cases and devices that are alike."""
    return min(max(ceil(cases / (SHARDS_EACH * members)), FEWEST_CASES), MOST_CASES)


def cut(cases: Iterable[Case], size: int) -> list[Shard]:
    """Shards of at most so many cases of one type of device. Those side by side in the suite stay together:
    what is compared with each other meets the same moments."""
    by_kind: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        by_kind[case.setting.device].append(case)
    pieces = [
        (kind, mine[start : start + size])
        for kind, mine in by_kind.items()
        for start in range(0, len(mine), size)
    ]
    return [Shard(number, kind, tuple(mine)) for number, (kind, mine) in enumerate(pieces)]


class Schedule:
    """What is left, who measures what, and what was given up. `members`: type of device by name; `seconds`:
    about what a shard costs, by its number; `finished`: numbers of shards that need not be measured again."""

    def __init__(
        self,
        shards: Sequence[Shard],
        members: Mapping[str, str],
        seconds: Mapping[int, float],
        finished: Collection[int] = (),
    ) -> None:
        left = [shard for shard in shards if shard.number not in finished]
        # the longest are given out first, from the end
        self._waiting = sorted(left, key=lambda shard: seconds[shard.number])
        self._members = dict(members)
        self._running: dict[str, Shard] = {}
        self._to_check: dict[str, list[Case]] = defaultdict(list)
        self._losses: Counter[int] = Counter()
        self._numbers = len(shards)
        self.given_up: list[Shard] = []

    def take(self, member: str) -> Shard | None:
        """What a member that is free measures next; None where there is nothing for it now."""
        kind = self._members[member]
        for place in reversed(range(len(self._waiting))):
            if self._waiting[place].kind == kind:
                self._running[member] = self._waiting.pop(place)
                return self._running[member]
        checked = self._whom_to_check(member)
        if checked is None:
            return None
        self._running[member] = Shard(self._numbers, kind, tuple(self._to_check.pop(checked)), checked)
        self._numbers += 1
        return self._running[member]

    def finish(self, member: str) -> Shard:
        """A member has measured what it had."""
        shard = self._running.pop(member)
        if shard.checks is None:
            self._to_check[member] += shard.cases[shard.number % CHECKED :: CHECKED]
        return shard

    def put_back(self, member: str) -> None:
        """A member has run out of time before it had measured all."""
        shard = self._running.pop(member)
        if shard.checks is None:
            self._waiting.append(shard)

    def lose(self, member: str) -> Shard | None:
        """A member is gone: what it had is given to another, or given up; a check is left out."""
        del self._members[member]
        shard = self._running.pop(member, None)
        if shard is None or shard.checks is not None:
            return shard
        self._losses[shard.number] += 1
        if self._losses[shard.number] < MOST_LOSSES:
            self._waiting.append(shard)
        else:
            self.given_up.append(shard)
        return shard

    @property
    def alive(self) -> int:
        """How many members there are."""
        return len(self._members)

    @property
    def running(self) -> Mapping[str, Shard]:
        """By member, what it measures now."""
        return self._running

    @property
    def waiting(self) -> Sequence[Shard]:
        """What nobody measures yet."""
        return self._waiting

    def _whom_to_check(self, member: str) -> str | None:
        """The next member after this one, round in a circle, of the same type, that measures nothing more of
        the run and has cases to check."""
        names = sorted(self._to_check.keys() | self._members.keys())
        here = names.index(member)
        for other in names[here + 1 :] + names[:here]:
            busy = other in self._running and self._running[other].checks is None
            cases = self._to_check.get(other)
            if cases and not busy and cases[0].setting.device == self._members[member]:
                return other
        return None
