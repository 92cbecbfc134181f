"""What changed over the runs of a store: findings, each with its cases, its place between two commits, and
whether somebody accepted it.

In: case histories, and what was blessed. Out: a `History`. Pure.

    case histories -> changes of each (`change_points`) -> findings: changes of one machine in one place

How sure a change is: over all cases together a false one in about `FALSE_EVERY` commits
(`benchmarks/history.py` counts them).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timezone
from hashlib import sha256
from math import log, log1p
from typing import TYPE_CHECKING, Any

import pandas as pd

from harness.analysis.case_histories import SHARED, CaseHistory
from harness.analysis.change_points import LEAST, WINDOW, find_changes
from harness.core.interval import Interval
from harness.core.stats import CONFIDENCE, student_t

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence
    from datetime import datetime

    from harness.analysis.change_points import Change

FALSE_EVERY = 300  # commits
NEAR = 1  # runs by which the changes of several cases may lie apart and have one cause
VERSIONS = ("torch", "torch_git", "onednn", "cuda", "cudnn", "driver", "kernel", "python", "version")
SLOWER, FASTER = "slower", "faster"


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A change of one case. `over`: it is undone since, within `LEAST`."""

    history: CaseHistory
    change: Change
    over: bool

    @property
    def direction(self) -> str:
        """Slower or faster."""
        return SLOWER if self.change.ratio.value > 1 else FASTER

    @property
    def before(self) -> pd.Series[Any]:
        """The last run that certainly has the old level."""
        return self.history.runs.iloc[self.change.earliest - 1]

    @property
    def after(self) -> pd.Series[Any]:
        """The first run that certainly has the new level."""
        return self.history.runs.iloc[self.change.latest]


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """Changes of one machine in one place and direction, the largest first. `why`: of the one who accepted
    it, None where nobody did."""

    id: str
    steps: tuple[Step, ...]
    before: Mapping[Any, Any]
    after: Mapping[Any, Any]
    why: str | None

    @property
    def direction(self) -> str:
        """Slower or faster, of all its cases."""
        return self.steps[0].direction

    @property
    def ratio(self) -> Interval:
        """Of its largest change."""
        return self.steps[0].change.ratio

    @property
    def over(self) -> bool:
        """Whether all of it is undone since."""
        return all(step.over for step in self.steps)

    @property
    def of_machine(self) -> bool:
        """Whether it is what all cases share where nothing is measured beside them: the machine, or the code,
        and nobody can tell which."""
        return self.steps[0].history.case_id == SHARED

    @property
    def counts(self) -> bool:
        """Whether it is a change for the worse that stands and that nobody accepted."""
        return self.direction == SLOWER and not self.over and self.why is None and not self.of_machine

    @property
    def differences(self) -> dict[str, tuple[Any, Any]]:
        """What else differs between the two runs, by name."""
        return {
            name: (self.before[name], self.after[name])
            for name in VERSIONS
            if _known(self.before[name])
            and _known(self.after[name])
            and self.before[name] != self.after[name]
        }


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """Where a case is now. `since_first`: its level now over that of its first runs, None with too few runs;
    `steps`: its changes."""

    history: CaseHistory
    since_first: Interval | None
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """Every case, and every finding, what counts and is largest first."""

    standings: tuple[Standing, ...]
    findings: tuple[Finding, ...]

    def of_cases(self, chosen: Container[str]) -> History:
        """The same for some cases alone, by their ids."""
        findings = [
            replace(finding, steps=steps)
            for finding in self.findings
            if (steps := tuple(step for step in finding.steps if step.history.case_id in chosen))
        ]
        standings = [one for one in self.standings if one.history.case_id in chosen]
        return History(tuple(standings), tuple(findings))

    def since(self, moment: datetime) -> History:
        """Without the findings that were there before."""
        return replace(self, findings=tuple(one for one in self.findings if one.after["at"] >= moment))

    @property
    def code(self) -> int:
        """The exit code where a change for the worse is to fail."""
        return int(any(finding.counts for finding in self.findings))


def level_of(histories: int) -> float:
    """The p-value that makes a change in one of so many histories: Bonferroni's bound over all commits and
    cases. That a commit is looked at again with every later one costs nothing of it, since a change has to be
    confirmed and of some size besides."""
    return 1 / (FALSE_EVERY * max(histories, 1))


def judge(histories: Sequence[CaseHistory], blessed: Sequence[Mapping[str, Any]] = ()) -> History:
    """What changed. `blessed`: what `blessing` made of the findings that were accepted."""
    level = level_of(len(histories))
    standings = []
    for history in histories:
        changes = find_changes(history.series, level)
        effects = [log(change.ratio.value) for change in changes]
        left = [sum(effects[i:]) for i in range(len(effects))]
        steps = tuple(
            Step(history, change, _is_over(effects[i], left[i])) for i, change in enumerate(changes)
        )
        standings.append(Standing(history, _since_first(history), steps))
    findings = _findings([step for standing in standings for step in standing.steps], blessed)
    return History(
        tuple(sorted(standings, key=_worst)),
        tuple(sorted(findings, key=lambda one: (not one.counts, one.over, -abs(log(one.ratio.value))))),
    )


def _is_over(effect: float, left: float) -> bool:
    """Whether a change, with all that came after it, comes to nothing or the opposite."""
    return (left if effect > 0 else -left) < log1p(LEAST)


def _since_first(history: CaseHistory) -> Interval | None:
    """The mean of the last runs over that of the first, as many as a window or half of all."""
    series = history.series
    count = min(len(series.values) // 2, WINDOW)
    if count < 2:
        return None
    first, last = series.values[:count], series.values[-count:]
    variance = (first.var(ddof=1) + last.var(ddof=1)) / count + abs(series.joints[-1] - series.joints[0])
    half = student_t((1 + CONFIDENCE) / 2, 2 * (count - 1)) * float(variance) ** 0.5
    return Interval.around(float(last.mean() - first.mean()), half)


def _worst(standing: Standing) -> float:
    """Cases with a change that stands come first, the slowest of them before all."""
    open_ = [log(step.change.ratio.value) for step in standing.steps if not step.over]
    if open_:
        return -10 - sum(open_) if sum(open_) > 0 else -5 - sum(open_)
    return -log(standing.since_first.value) if standing.since_first else 0.0


# Findings


def _findings(steps: Sequence[Step], blessed: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """Changes of one machine, direction and place as one, since they have one cause."""
    places: dict[tuple[Any, ...], list[Step]] = {}
    for step in steps:
        key = (*step.history.place, step.history.case_id == SHARED, step.direction)
        places.setdefault(key, []).append(step)
    found = []
    for mine in places.values():
        order = _order(mine)
        mine.sort(key=lambda step: order[_at(step)])
        groups: list[list[Step]] = []
        for step in mine:
            if groups and order[_at(step)] - order[_at(groups[-1][0])] <= NEAR:
                groups[-1].append(step)
            else:
                groups.append([step])
        found += [_finding(group, blessed) for group in groups]
    return found


def _at(step: Step) -> str:
    return str(step.history.runs["run_id"].iloc[step.change.index])


def _order(steps: Sequence[Step]) -> dict[str, int]:
    """The runs of a machine by their place in the order of commits."""
    mine = {id(step.history): step.history for step in steps}.values()
    runs = pd.concat([history.runs[["at", "started_at", "run_id"]] for history in mine])
    ordered = runs.drop_duplicates().sort_values(["at", "started_at", "run_id"])["run_id"].astype(str)
    return {run_id: number for number, run_id in enumerate(ordered)}


def _finding(steps: Sequence[Step], blessed: Sequence[Mapping[str, Any]]) -> Finding:
    ordered = tuple(sorted(steps, key=lambda step: -abs(log(step.change.ratio.value))))
    # one cause lies where all of them say it does, if they agree
    before = max((step.before for step in steps), key=lambda run: (run["at"], run["started_at"]))
    after = min((step.after for step in steps), key=lambda run: (run["at"], run["started_at"]))
    if (before["at"], before["started_at"]) >= (after["at"], after["started_at"]):
        before, after = ordered[0].before, ordered[0].after
    identity = repr((ordered[0].history.place, ordered[0].direction, _at(ordered[0])))
    name = sha256(identity.encode()).hexdigest()[:8]
    finding = Finding(name, ordered, before.to_dict(), after.to_dict(), None)
    return replace(finding, why=next((one["why"] for one in blessed if _covers(one, finding)), None))


def blessing(finding: Finding, why: str) -> dict[str, Any]:
    """What is kept of a finding that is accepted: enough to know it again when more runs have moved its
    place by one or two, or added cases to it."""
    return {
        "change": finding.id,
        "why": why,
        "direction": finding.direction,
        "machine": [str(value) for value in finding.steps[0].history.place],
        "ratio": finding.ratio.value,
        "from": _moment(finding.before),
        "to": _moment(finding.after),
        "commits": [_text(finding.before["commit"]), _text(finding.after["commit"])],
        "cases": [step.history.label for step in finding.steps],
    }


def _covers(one: Mapping[str, Any], finding: Finding) -> bool:
    """Whether what was accepted is this: on the same machine, in the same place, and no worse."""
    known = blessing(finding, "")
    return (
        (one["machine"], one["direction"]) == (known["machine"], known["direction"])
        and one["from"] <= known["to"]
        and known["from"] <= one["to"]
        and abs(log(known["ratio"])) <= abs(log(one["ratio"])) + log1p(LEAST)
    )


def _moment(run: Mapping[Any, Any]) -> list[str]:
    """Where a run is in the order of commits; it can be compared as text."""
    return [
        run[name].astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ") for name in ("at", "started_at")
    ]


def _known(value: object) -> bool:
    return value is not None and value == value


def _text(value: object) -> str | None:
    return str(value) if _known(value) else None
