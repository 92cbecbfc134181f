"""The search for cliffs: measure a few places of some curves, then look where they jump, bend, or cross,
until there is nothing between.

In: for each curve the cases that it may be measured at, and what measures them. Out: the places that were
measured, and what was found. What looks like a cliff is measured anew, and judged on these visits alone: of
many steps, the widest are partly luck.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from harness.analysis.cliffs import crossings, first_places, middle, steps, to_look_into
from harness.core.case import Case
from harness.core.errors import ProblemError, UsageError
from harness.core.policy import Policy
from harness.core.problem import Problem
from harness.store.results import as_json_values

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd

    from harness.analysis.cliffs import Crossing, Step
    from harness.core.case import Setting

    Curves = Mapping[str, Mapping[int, Case]]  # by kind, by the value of the axis
    Rows = dict[str, dict[int, dict[Any, Any]]]

# visits of a quarter of a second: what is looked for is above a tenth
POLICY = Policy(rounds=3, max_rounds=4, warm_up_s=0.05, visit_time_s=0.1, min_samples=12)
SEARCHED = ("batch", "in_channels", "out_channels", "size", "height", "width", "groups", "kernel_size")
LEAST_VALUES = 3


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to. `places`: rows of the summary with their `x`, by kind; `complete`: whether
    nothing was left to look into."""

    axis: str
    places: dict[str, list[dict[Any, Any]]]
    cliffs: list[tuple[str, Step]]
    crossings: list[Crossing]
    complete: bool

    @property
    def changes(self) -> list[tuple[str, Step]]:
        """Steps at which something changes below torch, and that are no cliff."""
        cliffs = {(kind, step.left["x"]) for kind, step in self.cliffs}
        found = [
            (kind, step) for kind, places in self.places.items() for step in steps(places) if step.change
        ]
        return [(kind, step) for kind, step in found if (kind, step.left["x"]) not in cliffs]


def curves(
    kinds: Sequence[str], axis: str, values: Sequence[int], fields: Mapping[str, Any], setting: Setting
) -> Curves:
    """The cases of each kind at those values that it can have. Raises UsageError for a kind that has fewer
    than three of them."""
    sides = [name for name in ("height", "width") if axis == "size" and fields.get(name)]
    if sides:
        raise UsageError(
            "size runs along the curve, and is height and width at once",
            where=f"--{sides[0]}",
            hint="Leave it out, or take --axis height.",
        )
    if axis not in SEARCHED:
        raise UsageError(
            f"{axis!r} is no axis that can be searched", where="--axis", hint=f"Known: {', '.join(SEARCHED)}."
        )
    found = {}
    for kind in kinds:
        tried = {value: _case(kind, {**fields, axis: value}, setting) for value in values}
        found[kind] = {value: case for value, case in tried.items() if isinstance(case, Case)}
        if len(found[kind]) < LEAST_VALUES:
            why = next((fault for fault in tried.values() if isinstance(fault, str)), "")
            what = (
                f"{kind} can have {len(found[kind])} of the {len(values)} values of {axis}, three are needed"
            )
            raise UsageError(what, where="--range", hint=why)
    return found


def _case(kind: str, fields: Mapping[str, Any], setting: Setting) -> Case | str:
    """The case, or why it cannot be."""
    try:
        return Case(Problem(kind, **fields), setting)
    except ProblemError as error:
        return str(error).replace("\n", " ")


def search(
    axis: str,
    asked: Curves,
    measure: Callable[[list[Case]], pd.DataFrame],
    may_go_on: Callable[[list[Case]], bool],
) -> Found:
    """Look until nothing is left to look into, or until `may_go_on` says of the next cases that there is no
    time. Raises UsageError where no place of any curve could be measured."""
    rows: Rows = defaultdict(dict)
    due = {kind: set(first_places(sorted(cases))) for kind, cases in asked.items()}
    complete = True
    while any(due.values()) and (complete := may_go_on(_cases(asked, due))):
        _measure(asked, due, measure, rows)
        measured = [row for places in rows.values() for row in places.values()]
        if not any(row["latency_s"] for row in measured):
            raise UsageError("no place could be measured", where="cliffs", hint=str(measured[0]["message"]))
        due = _next(asked, rows)
    seen = {
        kind: [step for step in steps(list(places.values())) if step.is_cliff]
        for kind, places in rows.items()
    }
    ends = {
        kind: {step_end["x"] for step in found for step_end in (step.left, step.right)}
        for kind, found in seen.items()
    }
    if any(ends.values()):
        _measure(asked, ends, measure, rows)
    places = {kind: [row for _, row in sorted(found.items())] for kind, found in rows.items()}
    confirmed = [
        (kind, step)
        for kind, found in places.items()
        for step in steps(found)
        if step.is_cliff and _were(step, seen[kind])
    ]
    return Found(axis, places, confirmed, _crossings(rows), complete)


def _were(step: Step, seen: Sequence[Step]) -> bool:
    """Whether it was a cliff already before its ends were measured anew."""
    return any((step.left["x"], step.right["x"]) == (before.left["x"], before.right["x"]) for before in seen)


def _cases(asked: Curves, due: Mapping[str, set[int]]) -> list[Case]:
    return [asked[kind][value] for kind, values in due.items() for value in sorted(values)]


def _measure(
    asked: Curves, due: Mapping[str, set[int]], measure: Callable[[list[Case]], pd.DataFrame], rows: Rows
) -> None:
    """Measure the cases that are due, and put what came of them in place of what was known."""
    found = {row["case_id"]: as_json_values(row) for row in measure(_cases(asked, due)).to_dict("records")}
    for kind, values in due.items():
        for value in values:
            if asked[kind][value].case_id in found:
                rows[kind][value] = found[asked[kind][value].case_id] | {"x": value}


def _next(asked: Curves, rows: Rows) -> dict[str, set[int]]:
    """Where each curve is to be looked into, by itself and where it crosses another; places without a figure
    were looked at."""
    due = {kind: to_look_into(list(places.values()), sorted(asked[kind])) for kind, places in rows.items()}
    for crossing in _crossings(rows):
        both = (crossing.before, crossing.after)
        measured, possible = (set(of[both[0]]) & set(of[both[1]]) for of in (rows, asked))
        # what lies between could not be told apart, if anything does
        if not middle(sorted(measured), crossing.left, crossing.right):
            for kind in both:
                due[kind] |= middle(sorted(possible), crossing.left, crossing.right)
    return {kind: values - rows[kind].keys() for kind, values in due.items()}


def _crossings(rows: Rows) -> list[Crossing]:
    return [
        found
        for one, other in combinations(rows, 2)
        for found in crossings(one, list(rows[one].values()), other, list(rows[other].values()))
    ]
