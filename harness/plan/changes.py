"""A case with other values of some axes: what a side of a comparison makes of the case that was asked for.

In: a case, or points, and values by axis. Out: the same changed. Pure.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from harness.core.case import DEFAULTS, Case
from harness.core.errors import ProblemError, UsageError
from harness.core.problem import FIELDS, FIXED_AXES
from harness.plan.axes import merge
from harness.plan.points import distinct_cases, problem_of, sized

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from harness.core.problem import Problem
    from harness.plan.axes import Value
    from harness.plan.points import Point


def changed(case: Case, changes: Mapping[str, Value]) -> Case:
    """The case with these values of settings and of its problem. Raises ProblemError, SettingError."""
    setting: dict[str, Any] = {name: value for name, value in changes.items() if name in DEFAULTS}
    stated = {name: value for name, value in changes.items() if name not in DEFAULTS}
    problem = changed_problem(case.problem, stated) if stated else case.problem
    return Case(problem, replace(case.setting, **setting))


def changed_problem(problem: Problem, stated: Mapping[str, Value]) -> Problem:
    """The problem with these values. Raises ProblemError.

    Another kind takes its own groups, and pointwise neither kernel nor padding along; another kernel keeps
    the size of the output. Another number of groups makes another kind of it, where that is what it is.
    """
    own = "grouped" if problem.kind == "pointwise" and "groups" in stated else problem.kind
    kind = str(stated.get("kind", own))
    lost = set(FIXED_AXES[kind])  # type: ignore[index]  # read_axis let only kinds through
    lost |= {"groups"} if kind != problem.kind else set()
    lost |= {"padding"} if "kernel_size" in stated or "pointwise" == kind != problem.kind else set()
    kept = {name: getattr(problem, name) for name in FIELDS if name not in lost}
    return problem_of(merge(kept, sized(stated)) | {"kind": kind})


def as_pairs(points: Iterable[Point], sides: Mapping[str, Mapping[str, Value]]) -> list[Point]:
    """The points of an A/B, by what each side changes. Skipped are those whose case a side cannot have, and,
    where sides run different cases at all, those that they would run alike. Raises UsageError where a side
    would run one case in place of two."""
    made = [_of_all(point, sides) for point in points]
    if any(_differs(point.case, sides) for point in made if point.case):
        made = [
            replace(point, case=None, skip_reason="all sides would run the same")
            if point.case and not _differs(point.case, sides)
            else point
            for point in made
        ]
    cases = distinct_cases(made)
    for name, changes in sides.items():
        if len({changed(case, changes).case_id for case in cases}) < len(cases):
            axes = " or ".join(changes)
            raise UsageError(
                f"the suite has several values of {axes}, and {name} one",
                where=name,
                hint="State that axis for the other side too, or narrow it with -a.",
            )
    return made


def _of_all(point: Point, sides: Mapping[str, Mapping[str, Value]]) -> Point:
    """The point, skipped where a side cannot have its case."""
    reasons = [why for name, changes in sides.items() if (why := _why_not(point.case, name, changes))]
    return replace(point, case=None, skip_reason=reasons[0]) if reasons else point


def _why_not(case: Case | None, name: str, changes: Mapping[str, Value]) -> str:
    """Why a side cannot have a case; empty where it can."""
    try:
        if case:
            changed(case, changes)
    except ProblemError as error:
        return f"{name}, {error.field}: {error.what}"
    return ""


def _differs(case: Case, sides: Mapping[str, Mapping[str, Value]]) -> bool:
    return len({changed(case, changes).case_id for changes in sides.values()}) > 1
