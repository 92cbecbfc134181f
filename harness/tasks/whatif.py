"""What a network would cost with other layers in it: its convolutions, and those that stand for them,
measured in one run.

In: a layer list and replacements of kinds. Out: a suite with the network before and after, and from its
results the sums (`analysis/networks`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.analysis.labels import kind_name
from harness.analysis.networks import Layer, network
from harness.core.case import written
from harness.core.errors import ProblemError, UsageError, nearest
from harness.core.policy import Policy
from harness.core.problem import FIELDS, FIXED_AXES, KINDS, Problem
from harness.plan.points import expand
from harness.plan.suite import Suite, Sweep, parse_suite

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.analysis.networks import Network
    from harness.plan.axes import Value
    from harness.plan.points import Point
    from harness.store.results import Results

    Replacements = Mapping[str, tuple[str, int | None]]  # kind to kind and groups

NETWORKS = ("before", "after")


def parse_replacement(text: str) -> tuple[str, tuple[str, int | None]]:
    """`standard=depthwise_separable` or `standard=grouped:8`. Raises UsageError."""
    old, equals, new = text.partition("=")
    kind, colon, groups = new.partition(":")
    for word in (old, kind):
        if word not in KINDS:
            hint = nearest(word, KINDS) if equals else "For example: --replace standard=depthwise_separable"
            raise UsageError(f"{text!r} replaces no kind by another", where="--replace", hint=hint)
    if (kind == "grouped") != groups.isdecimal() or (colon and kind != "grouped"):
        raise UsageError(
            f"{text!r}: grouped, and grouped alone, takes a number of groups",
            where="--replace",
            hint=f"{old}=grouped:8",
        )
    return old, (kind, int(groups) if groups else None)


def suite_of(
    layers: Path, replacements: Replacements, setting: Mapping[str, tuple[Value, ...]]
) -> tuple[Suite, list[tuple[str, str]]]:
    """The network before and after, as a suite of two sweeps, and the layers that could not be replaced, with
    the reason.

    Raises SuiteError for a layer list that cannot be read, UsageError where nothing is replaced or a setting
    has several values.
    """
    several = [name for name, values in setting.items() if len(values) > 1]
    if several:
        raise UsageError(
            "has several values, and a sum is of one", where=f"-a {several[0]}", hint="Run it once for each."
        )
    content = {
        "schema": 1,
        "name": "whatif",
        "setting": dict(setting),
        "sweep": [{"name": NETWORKS[0], "x": "layer", "layers": layers.name}],
    }
    read = parse_suite(content, source=str(layers), folder=layers.parent)
    rows, kept, replaced = list[dict[str, "Value"]](), list[tuple[str, str]](), 0
    for point in expand(read):
        if point.case is None:
            raise UsageError(f"layer {point.layer} cannot be: {point.skip_reason}", where=str(layers))
        problem = point.case.problem
        if problem.kind in replacements:
            try:
                problem = replacement(problem, *replacements[problem.kind])
                replaced += 1
            except ProblemError as error:
                kept.append((str(point.layer), error.what))
        rows.append(_row(point, problem))
    if not replaced:
        found = sorted({point.case.problem.kind for point in expand(read) if point.case})
        hint = f"{kept[0][0]}: {kept[0][1]}" if kept else "--replace KIND=KIND names one of them."
        raise UsageError(f"no layer was replaced; there are {', '.join(found)}", where=str(layers), hint=hint)
    axes = read.sweeps[0].axes
    after = Sweep(NETWORKS[1], "layer", axes, tuple(rows))
    title = ", ".join(
        f"{old} replaced by {kind}{f' with {groups} groups' if groups else ''}"
        for old, (kind, groups) in replacements.items()
    )
    return Suite(
        "whatif", f"{layers.name}: {title}", Policy(), (read.sweeps[0], after), placement=read.placement
    ), kept


def replacement(problem: Problem, kind: str, groups: int | None) -> Problem:
    """The same layer as another kind. Pointwise looks at one pixel, and takes neither kernel nor padding
    along. Raises ProblemError, also where the output would have another shape."""
    lost = {"groups", *(("kernel_size", "padding", "dilation") if kind == "pointwise" else ())}
    other = Problem(
        kind, **{name: getattr(problem, name) for name in FIELDS if name not in lost}, groups=groups
    )
    if other.output_shape != problem.output_shape:
        raise ProblemError("kind", f"{kind} would have another output here")
    return other


def _row(point: Point, problem: Problem) -> dict[str, Value]:
    """A row of a sweep that leads to this problem, under the layer's name."""
    fields: dict[str, Any] = {
        name: getattr(problem, name) for name in FIELDS if name not in FIXED_AXES[problem.kind]
    }
    axes = {name: written(value) if isinstance(value, tuple) else value for name, value in fields.items()}
    return {"kind": problem.kind, **axes, "layer": str(point.layer), "repeat": point.repeat}


def networks(results: Results) -> list[Network]:
    """Both sides, from the run of such a suite: layers times how often they run, as far as they have a
    figure."""
    figures = {row["case_id"]: row for row in results.summary.to_dict("records") if row["latency_s"] > 0}
    found = []
    for name in NETWORKS:
        points = results.points[results.points["sweep"] == name].to_dict("records")
        layers = [
            Layer(str(point["layer"]), int(point["repeat"]), figures[point["case_id"]])
            for point in points
            if point["case_id"] in figures
        ]
        unmeasured = [
            f"{point['layer'] or 'layer'} ({kind_name(point['kind'])})"
            for point in points
            if point["case_id"] not in figures
        ]
        found.append(network(name, layers, unmeasured))
    return found
