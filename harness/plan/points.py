"""What a suite asks for, place by place: axes and rows multiplied into points, points into cases or reasons
why not.

In: a `Suite`. Out: `Point`s in order, each with a `Case` or the reason why it is skipped; many points may
lead to one case. No device is asked here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

from harness.core.case import DEFAULTS, Case, Setting
from harness.core.errors import ProblemError, UsageError, nearest
from harness.core.policy import Policy
from harness.core.problem import FIELDS, FIXED_AXES, Problem, kind_of
from harness.core.units import visible
from harness.core.window import parse_pair
from harness.plan.axes import AXES, evaluated, merge, take_placement
from harness.plan.suite import Suite, Sweep, find_suite, read_suite

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping
    from pathlib import Path

    from harness.plan.axes import Value

MOST_POINTS = 100_000  # a minute of planning
QUICK = {"rounds": 1, "max_rounds": 1}


@dataclass(frozen=True, slots=True)
class Point:
    """One place that a sweep asked for: exactly one of `case` and `skip_reason` is set.

    `series` is the kind as asked, so that a sweep over groups is one curve although its ends are of other
    kinds; `asked` holds every axis as asked, without those that the kind takes from its definition.
    """

    sweep: str
    index: int
    series: str
    x: str | None
    asked: dict[str, Value]
    layer: str | None = None
    repeat: int = 1
    case: Case | None = None
    skip_reason: str | None = None


def expand(suite: Suite, changes: Mapping[str, Value] | None = None) -> list[Point]:
    """Every point of a suite, in order; with `changes` each with these values in place of its own. Raises
    UsageError for more than can be meant."""
    _require_fewer(suite.name, sum(_count(sweep) for sweep in suite.sweeps))
    points: list[Point] = []
    for sweep in suite.sweeps:
        for row in sweep.rows:
            points += [
                _point(sweep, len(points) + i, _changed(asked, changes or {}), row)
                for i, asked in enumerate(_places(sweep, row))
            ]
    return points


def _changed(place: Mapping[str, Value], changes: Mapping[str, Value]) -> dict[str, Value]:
    """A place of a sweep with other values. A number of groups decides the kind of a single convolution, and
    one that becomes pointwise needs no padding."""
    kind = place.get("kind")
    changed = merge(place, changes)
    if "groups" in changes and "kind" not in changes and kind != "depthwise_separable":
        changed.pop("kind", None)
        if kind == "pointwise":
            changed["kernel_size"] = changes.get("kernel_size", 1)
    if changes.get("kind") == "pointwise" != kind and "padding" not in changes:
        changed.pop("padding", None)
    return changed


def _count(sweep: Sweep) -> int:
    return len(sweep.rows) * prod(map(len, sweep.axes.values()))


def _require_fewer(name: str, asked: int) -> None:
    if asked > MOST_POINTS:
        raise UsageError(
            f"its axes multiply to {asked:,} points, {MOST_POINTS:,} are the most",
            where=name,
            hint="Narrow an axis with -a.",
        )


def _places(sweep: Sweep, row: Mapping[str, Value]) -> Iterator[dict[str, Value]]:
    """What a row asks for, place by place, in order: the kinds one after the other, and along x last."""
    axes = merge(sweep.axes, {name: (value,) for name, value in row.items() if name in AXES})
    names = sorted(axes, key=lambda name: (name != "kind", name == sweep.x))
    for values in product(*(axes[name] for name in names)):
        yield dict(zip(names, values, strict=True))


def distinct_cases(points: Iterable[Point]) -> list[Case]:
    """The cases that points lead to, each once, in the order of their first point."""
    return list({point.case.case_id: point.case for point in points if point.case}.values())


def without_devices(points: Iterable[Point], present: Iterable[str]) -> list[Point]:
    """The points, with those skipped whose device type is not present."""
    there = set(present)
    return [
        replace(point, case=None, skip_reason=f"device {point.case.setting.device} is not present")
        if point.case and point.case.setting.device not in there
        else point
        for point in points
    ]


def prepare(
    suite: str | Path | Suite,
    overrides: Mapping[str, tuple[Value, ...]],
    *,
    quick: bool = False,
    time_limit_s: float | None = None,
) -> Suite:
    """A suite as it will be run: read, narrowed, one round where a quick run is asked. Without a suite, the
    overrides are the sweep.

    Raises SuiteError, UsageError.
    """
    for name in overrides:
        if name not in AXES:
            raise UsageError(f"{name!r} is no axis", where="axes", hint=nearest(name, AXES))
    known = suite if isinstance(suite, Suite) else read_suite(find_suite(str(suite))) if suite else None
    asked = narrowed(known, overrides) if known else _from_axes(overrides)
    changes: dict[str, Any] = QUICK if quick else {}
    if time_limit_s is not None:
        changes = changes | {"time_limit_s": time_limit_s}
    return replace(asked, policy=replace(asked.policy, **changes))


def _from_axes(axes: Mapping[str, tuple[Value, ...]]) -> Suite:
    missing = [name for name in ("kind", "in_channels", "size") if name not in axes]
    if missing:
        raise UsageError(
            f"without a suite, {' and '.join(missing)} must be given",
            where="-a",
            hint="For example: convscope run -a kind=depthwise,standard -a in_channels=32:512:x2 -a size=56",
        )
    stated, placement = dict(axes), dict[str, int]()
    _place(stated, placement)
    swept = next((name for name, values in stated.items() if len(values) > 1 and name != "kind"), None)
    return Suite(
        "axes", "Axes from the command line", Policy(), (Sweep("axes", swept, stated),), placement=placement
    )


def narrowed(suite: Suite, overrides: Mapping[str, tuple[Value, ...]]) -> Suite:
    """The suite with axes replaced; kinds, and what stands in rows, are narrowed instead. Of several sweeps
    along one axis the first takes all that was asked, and the others keep what they share with it, so that
    they stay what they are. Raises UsageError where nothing is left."""
    placement = dict(suite.placement)
    stated = dict(overrides)
    if "device" in stated:
        placement = {}
        _place(stated, placement)
    sweeps, along = list[Sweep](), set[str]()
    for sweep in suite.sweeps:
        kept = _narrow(sweep, stated, along & {str(sweep.x)})
        if kept:
            sweeps.append(kept)
            along.add(str(sweep.x))
    if not sweeps:
        asked = ", ".join(f"{name}={','.join(map(str, values))}" for name, values in overrides.items())
        had = sorted(
            {str(value) for sweep in suite.sweeps for name in overrides for value in _values_of(sweep, name)}
        )
        raise UsageError(
            f"nothing in suite {suite.name} matches {asked}",
            where="-a",
            hint=f"It has {', '.join(had)}." if had else "",
        )
    return replace(suite, sweeps=tuple(sweeps), placement=placement)


def _place(axes: dict[str, tuple[Value, ...]], placement: dict[str, int]) -> None:
    try:
        take_placement(axes, placement)
    except ValueError as error:
        raise UsageError(str(error), where="-a device") from None


def _narrow(
    sweep: Sweep, overrides: Mapping[str, tuple[Value, ...]], taken: Container[str] = ()
) -> Sweep | None:
    """`taken`: axes whose new values another sweep has."""
    axes, rows = dict(sweep.axes), list(sweep.rows)
    # which may follow from the others
    for name, values in sorted(overrides.items(), key=lambda override: override[0] == "kind"):
        if any(_in_row(row, name) is not None for row in rows):
            rows = [row for row in rows if _in_row(row, name) in (None, *values)]
        elif name == "kind" and rows != [{}] and "kind" not in axes:
            rest = replace(sweep, axes=axes, rows=tuple(rows))
            _require_fewer(sweep.name, _count(rest))
            asked = [(row, place) for row in rows for place in _places(rest, row)]
            rows, axes = [row | place for row, place in asked if _kind_at(place) in values], {}
        elif name in axes and (name == "kind" or name in taken):
            axes[name] = tuple(value for value in axes[name] if value in values)
        else:
            axes = merge(axes, {name: values})
    return replace(sweep, axes=axes, rows=tuple(rows)) if rows and all(axes.values()) else None


def _values_of(sweep: Sweep, name: str) -> tuple[Value, ...]:
    return tuple(value for row in sweep.rows if (value := _in_row(row, name)) is not None) or sweep.axes.get(
        name, ()
    )


def _in_row(row: Mapping[str, Value], name: str) -> Value | None:
    """What a row states for an axis, a size for its height and width too; None where it leaves it to the
    sweep."""
    if name in ("height", "width"):
        return row.get(name, row.get("size"))
    if name == "size" and name not in row and row.get("height") == row.get("width"):
        return row.get("height")
    return row.get(name)


def _point(sweep: Sweep, index: int, asked: dict[str, Value], row: Mapping[str, Value]) -> Point:
    layer, repeat = row.get("layer"), int(row.get("repeat", 1))
    asked = _sized(asked)
    point = Point(
        sweep.name,
        index,
        str(asked.get("kind", "")),
        "height" if sweep.x == "size" else sweep.x,
        asked,
        visible(str(layer)) if layer else None,
        repeat,
    )
    try:
        # what the kind has no use for is left out first: an expression that cannot be there must not skip a
        # pointwise convolution
        fixed = FIXED_AXES[asked["kind"]] if "kind" in asked else frozenset()  # type: ignore[index]  # read_axis let only kinds through
        asked = evaluated({name: value for name, value in asked.items() if name not in fixed})
        kind = str(asked.get("kind") or _derived_kind(asked))
        asked |= {"kind": kind}
        point = replace(point, series=point.series or kind, asked=asked)
        if asked.get("device", "cpu") != "cpu" and asked.get("allocator", "retained") != "retained":
            raise ProblemError("allocator", "is glibc's, which a CPU alone uses")
        stated = {name: asked[name] for name in DEFAULTS if name in asked}
        setting = Setting(**stated)  # type: ignore[arg-type]  # checked when read
        return replace(point, case=Case(_problem(asked), setting))
    except ProblemError as error:
        return replace(point, series=point.series or "unknown", skip_reason=f"{error.field}: {error.what}")


def _problem(asked: Mapping[str, Any]) -> Problem:
    """The problem of a place, under the kind that it really is: grouped with one group is standard or
    pointwise."""
    fields = {name: asked[name] for name in FIELDS if name in asked}
    kind = asked["kind"]
    for name in ("in_channels", "height", "width"):
        if name not in fields:
            raise ProblemError(name, "is not stated")
    if kind == "grouped" and "groups" not in fields:
        raise ProblemError("groups", "a grouped convolution must state its groups")
    if kind not in ("depthwise_separable", "pointwise"):
        groups = fields.get("groups", fields["in_channels"] if kind == "depthwise" else 1)
        kind = kind_of(
            in_channels=fields["in_channels"],
            groups=groups,
            kernel_size=parse_pair("kernel_size", fields.get("kernel_size", 3)),
        )
        fields["groups"] = groups
        if kind == "pointwise":
            fields.pop("dilation", None)  # it has none: one case, whatever was asked
    return Problem(kind, **fields)


def _kind_at(place: Mapping[str, Value]) -> str | None:
    """The kind that a place without one has; None where it can have none."""
    try:
        return _derived_kind(evaluated(_sized(place)))
    except ProblemError:
        return None


def _sized(place: Mapping[str, Value]) -> dict[str, Value]:
    """A place with a height and a width, where it states a size."""
    rest = {name: value for name, value in place.items() if name != "size"}
    return {"height": place["size"], "width": place["size"]} | rest if "size" in place else rest


def _derived_kind(asked: Mapping[str, Any]) -> str:
    """The kind of a row that states none."""
    kernel = parse_pair("kernel_size", asked.get("kernel_size", 3))
    return kind_of(in_channels=asked.get("in_channels", 1), groups=asked.get("groups", 1), kernel_size=kernel)
