"""Which kind for a shape: the five kinds in both layouts, measured now, and those that are close to the
fastest again.

In: the shape of a layer. Out: `Advice`: the candidates with their figures, fastest first, each with its ratio
to the fastest; what to take within a budget.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, replace
from math import inf, isfinite
from statistics import median
from typing import TYPE_CHECKING, Any, cast

import pandas as pd

from harness.analysis.case_ratio import times
from harness.analysis.labels import kind_name, listed
from harness.core import units
from harness.core.case import ALLOWED, Case
from harness.core.errors import ProblemError, UsageError
from harness.core.policy import Policy
from harness.core.problem import KINDS, SAME_CONNECTIONS, Problem
from harness.core.stats import WAITED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.analysis.summary_row import PairedRow
    from harness.core.case import Setting
    from harness.core.interval import Interval
    from harness.run.ad_hoc import AdHocSession

# one short visit of all tells apart candidates that differ much; those that may be fastest have two longer
# ones more. The candidates of a round are interleaved, and compared in the moments that they shared; a
# disturbed visit is not made again, as the answer would come late
FIRST = Policy(rounds=1, max_rounds=1, warm_up_s=0.05, visit_time_s=0.05, min_samples=12)
THEN = Policy(rounds=2, max_rounds=2, warm_up_s=0.05, visit_time_s=0.2)
ANSWER_S = 13.0  # on a CPU, from the first look on: where it is busy there is one longer visit ...
ROUND_S = 4.0  # ... or none where less is left, a worker's start included ...
SURVEYED_S = 6.0  # ... and with less than this nobody looks where the time of a call goes
CLOSE = 1.25  # times as long as the fastest in the first round: what may be so near is measured again
NEAR = 1.1  # times as long as the fastest in the end: named, if it may be as fast
MOST_CLOSE = 4  # of the fastest, and of the fastest whole layer, each with itself
GROUPS = (4, 32)  # a grouped candidate each, as ResNeXt and wider ones have


@dataclass(frozen=True, slots=True)
class Advice:
    """Candidates as rows of the summary, fastest first.

    `ratios`: how many times as long each takes as the fastest, by case_id; an interval that holds 1 is a tie.
    `speedups`: standard's time over its own. `left`: candidates that there are not, and why; `failed`: those
    without a figure, and what became of them. `chosen`: a row, or None where no budget holds one.
    """

    rows: list[PairedRow]
    ratios: dict[str, Interval]
    speedups: dict[str, Interval]
    left: list[tuple[str, str]]
    failed: list[tuple[str, str]]
    chosen: PairedRow | None
    sentences: list[str]


def candidates(shape: Mapping[str, Any], setting: Setting) -> tuple[list[Case], list[tuple[str, str]]]:
    """The five kinds, grouped several times, each in both layouts, and those that this shape cannot have,
    with the reason.

    `shape`: fields of a problem but for kind and groups. Raises ProblemError where there is none at all.
    """
    problems, left = list[Problem](), list[tuple[str, str]]()
    for kind in KINDS:
        for groups in GROUPS if kind == "grouped" else (None,):
            own = {
                name: value
                for name, value in shape.items()
                if kind != "pointwise" or name not in ("kernel_size", "dilation", "padding")
            }
            name = f"{kind_name(kind)} with {groups} groups" if groups else kind_name(kind)
            try:
                problems.append(Problem(kind, **own, groups=groups))
            except ProblemError as error:
                last = error
                left.append((name, error.what))
    if not problems:
        raise last
    outputs = Counter(problem.output_shape for problem in problems)
    usual = outputs.most_common(1)[0][0]
    left += [
        (kind_name(problem.kind), "its output has another shape")
        for problem in problems
        if problem.output_shape != usual
    ]
    problems = [problem for problem in problems if problem.output_shape == usual]
    return [
        Case(problem, replace(setting, memory_format=layout))
        for problem in problems
        for layout in ALLOWED["memory_format"]
    ], left


def advise(
    bench: AdHocSession,
    cases: Sequence[Case],
    left: Sequence[tuple[str, str]],
    *,
    most_parameters: int | None = None,
    most_s: float | None = None,
) -> Advice:
    """Measure the candidates, the close ones again, and choose: the fastest of at most so many parameters,
    or, within a latency, the one with most parameters. Raises UsageError where no candidate has a figure."""
    began = time.monotonic()
    visits = bench.visits(cases, FIRST, survey=False, roofs=False, repeats=False)
    again = rivals([row for row in bench.paired(with_disturbed(visits), FIRST) if row["latency_s"] > 0])
    on_cpu = cases[0].setting.device == "cpu"
    left_s = ANSWER_S - (time.monotonic() - began) if on_cpu else inf
    if again and left_s > ROUND_S:
        then = replace(THEN, time_limit_s=left_s) if on_cpu else THEN
        close, looked = [case for case in cases if case.case_id in again], left_s > SURVEYED_S
        longer = bench.visits(close, then, survey=looked, roofs=looked, repeats=False)
        visits = pd.concat([visits, longer], ignore_index=True)
    measured = [
        row if row["case_id"] in again else cast("PairedRow", {**row, "bound": None, "split": None})
        for row in bench.paired(with_disturbed(visits), THEN)
    ]  # of the others nobody looked where their time goes
    known = [row for row in measured if row["latency_s"] > 0]
    if not known:
        raise UsageError(
            "no candidate could be measured", where="advise", hint="convscope measure says why, kind by kind."
        )
    rows = ordered(known)
    ratios = {row["case_id"]: times(rows[0], row) for row in rows[1:]}
    standard = next((row for row in rows if row["kind"] == "standard"), None)
    speedups = {row["case_id"]: times(row, standard) for row in rows if standard and row is not standard}
    chosen = choose(rows, most_parameters, most_s)
    said = sentences(rows, chosen, budget=most_parameters is not None or most_s is not None)
    without = [row for row in measured if not row["latency_s"] > 0]
    return Advice(
        rows,
        ratios,
        speedups,
        [*left, *unmeasured(row for row in without if row["status"] == "skipped")],
        unmeasured(row for row in without if row["status"] != "skipped"),
        chosen,
        said,
    )


def with_disturbed(visits: pd.DataFrame) -> pd.DataFrame:
    """These visits, where those count too that waited for a processor: all were measured in the same moments,
    which tell an order."""
    reasons = visits["trust_reasons"].map(lambda told: set(told or ()))
    waited = (visits["trust"] == "invalid") & reasons.map(lambda told: "throttled" not in told)
    return visits.assign(trust=visits["trust"].mask(waited, "noisy"))


def unmeasured(rows: Iterable[PairedRow]) -> list[tuple[str, str]]:
    """The candidates without a figure, and what became of them."""
    return [
        (candidate_name(row), f"{row['status'].replace('_', ' ')}: {row['message'] or 'no message'}")
        for row in rows
    ]


def rivals(rows: Sequence[PairedRow]) -> set[str]:
    """The case_ids to measure longer: the fastest, the fastest whole layer, and what may be as fast as
    either."""
    found = set[str]()
    for group in (rows, [row for row in rows if row["kind"] in SAME_CONNECTIONS]):
        fast = ordered(group)
        near = [row for row in fast[1:] if times(fast[0], row).low < CLOSE][: MOST_CLOSE - 1]
        found |= {row["case_id"] for row in (*fast[:1], *near)}
    return found


def ordered(rows: Sequence[PairedRow]) -> list[PairedRow]:
    """Fastest first, by the ratios to the one that looks fastest: they repeat better than latencies."""
    if not rows:
        return []
    first = min(rows, key=lambda row: row["latency_s"])
    return sorted(rows, key=lambda row: 1.0 if row is first else times(first, row).value)


def ties(ratios: Mapping[str, Interval]) -> set[str]:
    """The case_ids that turns could not tell from the first."""
    return {identity for identity, ratio in ratios.items() if ratio.low <= 1 <= ratio.high}


def choose(rows: Sequence[PairedRow], most_parameters: int | None, most_s: float | None) -> PairedRow | None:
    """Within the budgets: the fastest; where latency is a budget, the one with most parameters, as that is
    what time is spent on."""
    fit = [row for row in rows if most_parameters is None or row["parameters"] <= most_parameters]
    fit = [row for row in fit if most_s is None or row["latency_high_s"] <= most_s]
    if not fit:
        return None
    return fit[0] if most_s is None else max(fit, key=lambda row: (row["parameters"], -row["latency_s"]))


def sentences(rows: Sequence[PairedRow], chosen: PairedRow | None, *, budget: bool) -> list[str]:
    """What to do, and why, each with its figures."""
    first, whole = rows[0], [row for row in rows if row["kind"] in SAME_CONNECTIONS]
    said = list[str]()
    if whole and whole[0] is not first:
        said.append(
            f"For a whole layer (full channel mixing, a spatial kernel) take {candidate_name(whole[0])}: "
            f"{units.seconds(whole[0]['latency_s'])}{_bound(whole[0])}.{_tied(whole[0], whole[1:])}"
        )
    said.append(
        f"{candidate_name(first).capitalize()} is fastest, "
        f"{units.seconds(first['latency_s'])}{_bound(first)}.{_tied(first, rows[1:])}"
    )
    if budget and chosen is None:
        said.append("Nothing fits the budget.")
    elif budget and chosen:
        said.append(
            f"Within the budget: {candidate_name(chosen)}, {units.seconds(chosen['latency_s'])}, "
            f"{chosen['parameters']:,} parameters."
        )
    waited = median([share for row in rows if isfinite(share := row["run_queue_share"] or 0.0)] or [0.0])
    if waited > WAITED:
        said.append(
            f"The machine is busy: threads waited for a processor for {units.percent(waited)} of the time. "
            "The order is by moments that all candidates met; latencies of slow ones may be far too high."
        )
    return said


def _tied(first: PairedRow, others: Sequence[PairedRow]) -> str:
    """Those that may be as fast, with the ratio; empty where there are none."""
    known = [(row, times(first, row)) for row in others]
    tied = [
        f"{candidate_name(row)} ({units.times(ratio)})"
        for row, ratio in known
        if ratio.low <= 1 and ratio.value < NEAR
    ]
    return f" {units.capitalized(listed(tied))} may be as fast." if tied else ""


def candidate_name(row: PairedRow) -> str:
    """A candidate in a few words: what tells it from the others."""
    groups = f" with {row['groups']} groups" if row["kind"] == "grouped" else ""
    return f"{kind_name(row['kind'])}{groups} in {row['memory_format']}"


def _bound(row: PairedRow) -> str:
    return "" if row["bound"] is None else f"; bottleneck: {row['bound']}"
