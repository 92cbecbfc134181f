"""What each side of a comparison makes of a suite: values of axes that it has in place of the suite's.

In: a suite, and values by side and axis. Out: the points, and by side the case that it runs for each case
that is asked for. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.core.errors import UsageError
from harness.plan.points import distinct_cases, expand

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.core.case import Case
    from harness.plan.axes import Value
    from harness.plan.points import Point
    from harness.plan.suite import Suite

    Axes = Mapping[str, tuple[Value, ...]]
    Changes = Mapping[str, Mapping[str, Value]]  # by side, then by axis


@dataclass(frozen=True, slots=True)
class Sides:
    """The points that are asked for, and by side and case_id of what is asked for, the case that it runs."""

    points: list[Point]
    cases: dict[str, dict[str, Case]]


def shared(sides: Changes, axes: Axes) -> dict[str, tuple[Value, ...]]:
    """The axes that all sides state, as the first one has them: what the suite says of them nobody runs.
    Raises UsageError for one that `axes` state besides, and for a device."""
    first, *others = sides.values()
    if any("device" in changes for changes in sides.values()):
        hint = "Compare devices with a run each: convscope run SUITE -a device=cpu,cuda"
        raise UsageError("a side cannot have a device of its own", where="device", hint=hint)
    found: dict[str, tuple[Value, ...]] = {
        axis: (value,) for axis, value in first.items() if all(axis in changes for changes in others)
    }
    if twice := [axis for axis in found if axis in axes]:
        hint = "Give it for the sides, or as an axis of all."
        raise UsageError("is given twice", where=twice[0], hint=hint)
    return found


def sides_of(suite: Suite, sides: Changes, *, one_interpreter: bool) -> Sides:
    """What is asked of each side. Skipped are cases that a side cannot have, and, where sides of one
    interpreter run different cases at all, those that they would run alike. Raises UsageError where a side
    would run one case in place of two."""
    own = {name: expand(suite, changes) for name, changes in sides.items()}
    points: list[Point] = []
    cases: dict[str, dict[str, Case]] = {name: {} for name in sides}
    differ = one_interpreter and any(map(_differ, zip(*own.values(), strict=True)))
    for point, *theirs in zip(expand(suite), *own.values(), strict=True):
        reasons = [
            f"{name}, {one.skip_reason}" for name, one in zip(own, theirs, strict=True) if not one.case
        ]
        if differ and not reasons and not _differ(theirs):
            reasons = ["all sides would run the same"]
        if point.case is None or reasons:
            points.append(replace(point, case=None, skip_reason=point.skip_reason or reasons[0]))
            continue
        points.append(point)
        for name, one in zip(own, theirs, strict=True):
            assert one.case is not None
            cases[name].setdefault(point.case.case_id, one.case)
    for name, mine in cases.items():
        if len({case.case_id for case in mine.values()}) < len(distinct_cases(points)):
            axes = " or ".join(sides[name])
            raise UsageError(
                f"the suite has several values of {axes}, and {name} one",
                where=name,
                hint="State that axis for the other side too, or narrow it with -a.",
            )
    return Sides(points, cases)


def _differ(points: tuple[Point, ...] | list[Point]) -> bool:
    return len({point.case.case_id for point in points if point.case}) > 1
