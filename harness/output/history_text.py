"""What history says, as sentences, lines of a table and JSON, for a terminal and a page alike.

In: a `History`. Out: text and plain values.
"""

from __future__ import annotations

from math import exp, log
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.analysis.change_points import LEAST
from harness.analysis.comparability import in_words
from harness.core import units
from harness.store.results import as_json_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.analysis.case_histories import CaseHistory
    from harness.analysis.history import Finding, History, Standing
    from harness.core.interval import Interval
    from harness.tasks.bisect import Bisected
    from harness.tasks.bisect import Step as BisectStep

BARS = "▁▂▃▄▅▆▇"  # an odd number: what does not move stays in the middle
SPARKS = 24  # letters of a sparkline
MOST_CASES = 3  # that a finding names
HEADINGS = ("", "case", "latency ", "since first runs ", "level", "last change")


def headline(found: History) -> str:
    """How many changes count, and the worst."""
    counting = [finding for finding in found.findings if finding.counts]
    runs = len({run for one in found.standings for run in one.history.runs["run_id"]})
    about = (
        f"{counted(runs, 'run')}, {counted(len({one.history.case_id for one in found.standings}), 'case')}"
    )
    if not counting:
        return f"No unblessed change for the worse in {about}."
    worst = counting[0]
    return (
        f"{counted(len(counting), 'unblessed change')} for the worse in {about}; largest: "
        f"{change(worst.ratio)}, {where(worst)}."
    )


def counted(number: int, what: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def change(ratio: Interval) -> str:
    """`+5.1 % (+4.2 to +6.0)`."""
    return f"{100 * (ratio.value - 1):+.1f} % ({100 * (ratio.low - 1):+.1f} to {100 * (ratio.high - 1):+.1f})"


def where(finding: Finding) -> str:
    """Between which commits: never at one, since the runs stand between them."""
    before, after = (commit(run) for run in (finding.before, finding.after))
    if before and after and before != after:
        return f"between {before} and {after}"
    runs = f"between {finding.before['run_id']} and {finding.after['run_id']}"
    return f"{runs}, both of {after}" if after else runs


def commit(run: Any) -> str:
    """The beginning of a run's commit; empty where it has none."""
    known = run["commit"]
    return str(known)[:8] if isinstance(known, str) else ""


def machine(history: CaseHistory) -> str:
    """`AMD EPYC 9R14, AVX512, 2 threads, ratio to torch 2.12.0`."""
    facts = history.machine
    known = [
        str(facts[name])
        for name in ("device_name", "cpu", "instruction_set")
        if facts[name] is not None and facts[name] == facts[name]
    ]
    used = facts["threads_used"]
    threads = [counted(int(used), "thread")] if used == used else []
    how = f"ratio to {history.anchor}" if history.anchor else "latencies without an anchor"
    return ", ".join([*dict.fromkeys(known), *threads, how])


def sentence(finding: Finding) -> str:
    """One finding in full."""
    labels = [step.history.label for step in finding.steps]
    rest = len(labels) - MOST_CASES
    more = f" and {counted(rest, 'other case')}" if rest > 0 else ""
    largest = f"{'up to ' * (len(labels) > 1)}{change(finding.ratio)}"
    said = f"{finding.id}: {finding.direction}, {largest}, {where(finding)}: "
    said += f"{', '.join(labels[:MOST_CASES])}{more}."
    if finding.differences:
        said += f" Also differs: {in_words(finding.differences)}."
    if finding.of_machine:
        said += " Nothing was measured beside it, so it may be the machine: use an anchor (`convscope ab`)."
    if finding.over:
        said += " Undone since."
    if finding.why is not None:
        said += f" Blessed: {finding.why}"
    return said


def short_names(labels: Sequence[str]) -> tuple[list[str], str]:
    """The labels without the words that all of them have, and these."""
    shared = set.intersection(*(set(label.split()) for label in labels)) if len(labels) > 1 else set()
    names = [" ".join(word for word in label.split() if word not in shared) for label in labels]
    return names, " ".join(word for word in labels[0].split() if word in shared)


def lines(standings: Sequence[Standing], names: Sequence[str]) -> list[list[str]]:
    """A row a case, under `HEADINGS`, by these names."""
    return [
        [
            sign(one),
            name,
            latency(one.history),
            change(one.since_first).partition(" (")[0] if one.since_first else "",
            sparkline(one.history.series.values),
            last_change(one),
        ]
        for one, name in zip(standings, names, strict=True)
    ]


def sign(standing: Standing) -> str:
    """✗ where a change for the worse stands, ✓ where one for the better does."""
    open_ = [log(step.change.ratio.value) for step in standing.steps if not step.over]
    return ("✗" if sum(open_) > 0 else "✓") if open_ else ""


def latency(history: CaseHistory) -> str:
    """Of the last run."""
    value = history.runs["latency_s"].iloc[-1]
    return units.seconds(value) if value == value and value is not None else ""


def last_change(standing: Standing) -> str:
    """`+5.1 % after a1b2c3d4`."""
    if not standing.steps:
        return ""
    step = standing.steps[-1]
    after = commit(step.before) or str(step.before["run_id"])
    return f"{change(step.change.ratio).partition(' (')[0]} after {after}{', undone' * step.over}"


def sparkline(values: Sequence[float] | np.ndarray) -> str:
    """The levels from the first to the last run, medians of equal parts; what stays within `LEAST` looks
    flat."""
    parts = np.array_split(np.asarray(values, float), min(SPARKS, len(values)))
    levels = np.array([np.median(part) for part in parts])
    middle, half = (levels.max() + levels.min()) / 2, max((levels.max() - levels.min()) / 2, LEAST)
    steps = np.rint((levels - middle + half) / (2 * half) * (len(BARS) - 1))
    return "".join(BARS[int(step)] for step in steps)


def as_json(found: History, stale: Sequence[str] = ()) -> dict[str, Any]:
    """Findings, cases, and what is to be said of baselines, as JSON values."""
    return {
        "code": found.code,
        "stale": list(stale),
        "findings": [_finding_json(finding) for finding in found.findings],
        "cases": [
            {
                "case_id": one.history.case_id,
                "label": one.history.label,
                "machine": as_json_values(one.history.machine),
                "anchor": one.history.anchor,
                "runs": len(one.history.runs),
                "latency_s": as_json_values({"x": one.history.runs["latency_s"].iloc[-1]})["x"],
                "level": exp(float(one.history.series.values[-1])),
                "since_first": _ends(one.since_first),
                "changes": [_ends(step.change.ratio) for step in one.steps],
            }
            for one in found.standings
        ],
    }


def _finding_json(finding: Finding) -> dict[str, Any]:
    return {
        "id": finding.id,
        "direction": finding.direction,
        "counts": finding.counts,
        "undone": finding.over,
        "blessed": finding.why,
        "between": [
            {name: str(run[name]) for name in ("commit", "run_id")} for run in (finding.before, finding.after)
        ],
        "differences": finding.differences,
        "cases": [
            {
                "case_id": step.history.case_id,
                "label": step.history.label,
                **(_ends(step.change.ratio) or {}),
            }
            for step in finding.steps
        ],
    }


def _ends(ratio: Interval | None) -> dict[str, float] | None:
    if ratio is None:
        return None
    return {"ratio": ratio.value, "ratio_low": ratio.low, "ratio_high": ratio.high}


def bisected(found: Bisected) -> str:
    """The answer of `bisect`, the commit and its ratio or why there is none."""
    if found.commit:
        assert found.ratio
        return (
            f"{found.commit[:12]} ({found.subject}) takes {_as_times(found.ratio)} as long as its parent.\n"
            f"Bad takes {_as_times(found.whole)} as long as good; {counted(len(found.steps), 'step')}."
        )
    return f"Not reproducible: {found.reason}. Bad takes {_as_times(found.whole)} as long as good."


def _as_times(ratio: Interval) -> str:
    return f"{ratio.value:.3f} times ({ratio.low:.3f} to {ratio.high:.3f})"


def bisect_step(step: BisectStep) -> str:
    """`a1b2c3d4: 1.052 times (1.047 to 1.058) as long as good: bad`."""
    said = f"{_as_times(step.ratio)} as long as good" if step.ratio else "cannot be built or measured"
    return f"{step.commit[:8]}: {said}: {step.verdict}"


def bisected_json(found: Bisected) -> dict[str, Any]:
    """The same as JSON values."""
    return {
        "commit": found.commit,
        "subject": found.subject,
        "reason": found.reason,
        "change": _ends(found.ratio),
        "whole": _ends(found.whole),
        "steps": [
            {"commit": step.commit, "verdict": step.verdict, "change": _ends(step.ratio)}
            for step in found.steps
        ],
    }
