"""Which kind for a shape: the five kinds in both layouts, measured now, and those that are close to the
fastest settled in turns.

In: the shape of a layer. Out: `Advice`: the candidates with their figures, fastest first; who ties with whom;
what to take within a budget.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from harness.analysis.differences import beyond_intervals
from harness.analysis.labels import kind_name
from harness.analysis.summary_row import summary_rows
from harness.core import units
from harness.core.case import ALLOWED, Case
from harness.core.errors import ProblemError, UsageError
from harness.core.interval import Interval
from harness.core.policy import Policy
from harness.core.problem import KINDS, SAME_CONNECTIONS, Problem
from harness.store.results import as_json_values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from harness.analysis.summary_row import SummaryRow
    from harness.core.case import Setting
    from harness.run.ad_hoc import AdHocSession

# three short visits tell candidates apart that differ by a tenth; closer ones take turns. The whole answer
# comes in half a minute where calls are of milliseconds; of long ones it takes longer, since a candidate that
# is left out for want of time could be the one to take
POLICY = Policy(rounds=3, max_rounds=3, warm_up_s=0.05, visit_time_s=0.08, min_samples=12)
PAIRS = 5
MOST_RIVALS = 2  # that take turns with the fastest, for a pair costs as much as four visits
GROUPS = (4, 32)  # a grouped candidate each, as ResNeXt and wider ones have


@dataclass(frozen=True, slots=True)
class Advice:
    """Candidates as rows of the summary, fastest first.

    `ratios`: how many times as long one takes as the first, where they took turns, by case_id; an interval
    that holds 1 is a tie. `close`: those that are not clearly slower and took none. `left`: candidates that
    there are not, and why; `failed`: those without a figure, and what became of them. `chosen`: a row, or
    None where no budget holds one.
    """

    rows: list[SummaryRow]
    ratios: dict[str, Interval]
    close: set[str]
    left: list[tuple[str, str]]
    failed: list[tuple[str, str]]
    chosen: SummaryRow | None
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
    """Measure the candidates, let the close ones take turns, and choose: the fastest of at most so many
    parameters, or, within a latency, the one with most parameters. Raises UsageError where no candidate has a
    figure."""
    measured = bench.measure(cases, POLICY)
    rows = ranked(measured)
    if not rows:
        raise UsageError(
            "no candidate could be measured", where="advise", hint="convscope measure says why, kind by kind."
        )
    by_id = {case.case_id: case for case in cases}
    near = [row for row in rows[1:] if not beyond_intervals(row, rows[0])]
    rivals = [by_id[row["case_id"]] for row in near[:MOST_RIVALS]]
    ratios = bench.compare_in_turns(by_id[rows[0]["case_id"]], rivals, POLICY, PAIRS) if rivals else {}
    rows, ratios = reordered(rows, ratios)
    chosen = choose(rows, most_parameters, most_s)
    close = {row["case_id"] for row in near} - ratios.keys()
    said = sentences(rows, ratios, chosen, budget=most_parameters is not None or most_s is not None)
    skipped = measured["status"] == "skipped"
    return Advice(
        rows,
        ratios,
        close,
        [*left, *unmeasured(measured[skipped])],
        unmeasured(measured[~skipped]),
        chosen,
        said,
    )


def ranked(summary: pd.DataFrame) -> list[SummaryRow]:
    """The rows that have a figure, fastest first."""
    measured = summary[summary["latency_s"].notna()].sort_values("latency_s", kind="stable")
    return cast("list[SummaryRow]", [as_json_values(row) for row in summary_rows(measured)])


def unmeasured(summary: pd.DataFrame) -> list[tuple[str, str]]:
    """The candidates without a figure, and what became of them."""
    without = summary_rows(summary[summary["latency_s"].isna()])
    return [
        (candidate_name(row), f"{str(row['status']).replace('_', ' ')}: {row['message'] or 'no message'}")
        for row in without
    ]


def reordered(
    rows: list[SummaryRow], ratios: dict[str, Interval]
) -> tuple[list[SummaryRow], dict[str, Interval]]:
    """By what turns said of those that took them: a rival that beat the first past its interval takes its
    place, and ratios are then to it.

    Two ratios to the former first give one between rivals, whose errors add in square.
    """
    won = {identity: ratio for identity, ratio in ratios.items() if ratio.high < 1}
    if not won:
        return rows, ratios
    first = min(won, key=lambda identity: won[identity].value)
    was = rows[0]["case_id"]
    others = {was: Interval(1.0, 1.0, 1.0)} | {
        identity: ratio for identity, ratio in ratios.items() if identity != first
    }
    again = {identity: ratio.over(won[first]) for identity, ratio in others.items()}
    return sorted(rows, key=lambda row: row["case_id"] != first), again


def ties(ratios: Mapping[str, Interval]) -> set[str]:
    """The case_ids that turns could not tell from the first."""
    return {identity for identity, ratio in ratios.items() if ratio.low <= 1 <= ratio.high}


def choose(
    rows: Sequence[SummaryRow], most_parameters: int | None, most_s: float | None
) -> SummaryRow | None:
    """Within the budgets: the fastest; where latency is a budget, the one with most parameters, as that is
    what time is spent on."""
    fit = [row for row in rows if most_parameters is None or row["parameters"] <= most_parameters]
    fit = [row for row in fit if most_s is None or row["latency_high_s"] <= most_s]
    if not fit:
        return None
    return fit[0] if most_s is None else max(fit, key=lambda row: (row["parameters"], -row["latency_s"]))


def sentences(
    rows: Sequence[SummaryRow], ratios: Mapping[str, Interval], chosen: SummaryRow | None, *, budget: bool
) -> list[str]:
    """What to do, and why, each with its figures."""
    first, tied = rows[0], ties(ratios)
    said = list[str]()
    whole = next((row for row in rows if row["kind"] in SAME_CONNECTIONS), None)
    if whole and first["kind"] not in SAME_CONNECTIONS:
        said.append(
            f"For a whole layer (full channel mixing, a spatial kernel) take {candidate_name(whole)}: "
            f"{units.seconds(whole['latency_s'])}{_bound(whole)}.{_as_fast(whole, rows)}"
        )
    said.append(
        f"{candidate_name(first).capitalize()} is fastest, "
        f"{units.seconds(first['latency_s'])}{_bound(first)}."
    )
    equal = [row for row in rows[1:] if row["case_id"] in tied]
    if equal:
        said.append(
            f"{' and '.join(candidate_name(row) for row in equal).capitalize()} cannot be told apart "
            f"from it in {PAIRS} pairs measured in turns."
        )
    if budget and chosen is None:
        said.append("Nothing fits the budget.")
    elif budget and chosen:
        said.append(
            f"Within the budget: {candidate_name(chosen)}, {units.seconds(chosen['latency_s'])}, "
            f"{chosen['parameters']:,} parameters."
        )
    return said


def _as_fast(whole: SummaryRow, rows: Sequence[SummaryRow]) -> str:
    """That the other kind with the same connections may be as fast, where it is not clearly slower."""
    rival = next(
        (row for row in rows if row["kind"] in SAME_CONNECTIONS and row["kind"] != whole["kind"]), None
    )
    if rival is None or beyond_intervals(rival, whole):
        return ""
    name = units.capitalized(candidate_name(rival))
    return f" {name} ({units.seconds(rival['latency_s'])}) may be as fast."


def candidate_name(row: SummaryRow) -> str:
    """A candidate in a few words: what tells it from the others."""
    groups = f" with {row['groups']} groups" if row["kind"] == "grouped" else ""
    return f"{kind_name(row['kind'])}{groups} in {row['memory_format']}"


def _bound(row: SummaryRow) -> str:
    return "" if row["bound"] is None else f"; bottleneck: {row['bound']}"
