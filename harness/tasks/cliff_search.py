"""The search for cliffs: measure a few places of some curves, then look where they jump, bend, or cross,
until there is nothing between.

In: for each curve the cases that it may be measured at, and what measures them. Out: the places that were
measured, and what was found. What looks like a cliff is measured anew, and judged on these visits alone: of
many steps, the widest are partly luck.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations, product
from typing import TYPE_CHECKING, Any

from harness.analysis.cliffs import FIRST_PLACES, crossings, first_places, middle, steps, to_look_into
from harness.analysis.sawtooth import sawteeth
from harness.core.case import Case
from harness.core.errors import ProblemError, UsageError
from harness.core.policy import Policy
from harness.core.problem import Problem, kind_of
from harness.core.window import parse_pair
from harness.store.results import as_json_values

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd

    from harness.analysis.cliffs import Crossing, Place, Step
    from harness.analysis.sawtooth import Sawtooth
    from harness.core.case import Setting

    Curves = Mapping[str, Mapping[int, Case]]  # by kind and, of several, layout; by the value of the axis
    Rows = dict[str, dict[int, dict[Any, Any]]]

# visits of a quarter of a second: what is looked for is above a tenth
POLICY = Policy(rounds=3, max_rounds=4, warm_up_s=0.05, visit_time_s=0.1)
SEARCHED = ("batch", "in_channels", "out_channels", "size", "height", "width", "groups", "kernel_size")
LEAST_VALUES = 3
ENDS_OF_GROUPED = ("standard", "grouped", "depthwise")  # one curve along groups, from 1 to in_channels
FIRST_SHARE = 0.5  # of the time: the first places take no more, where fewer will do
MOST_CONFIRMED = 5  # teeth of a sawtooth that are measured anew ...
LEAST_CONFIRMED = 2  # ... and that are still there for it to be one
MOST_CROSSINGS = 3  # of two curves: each is looked into


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to. `places`: rows of the summary with their `x`, by curve; `lacking_s`: how long
    the next step would have taken that there was no time for, 0 where nothing was left to look into."""

    axis: str
    places: dict[str, list[dict[Any, Any]]]
    cliffs: list[tuple[str, Step]]
    sawteeth: list[tuple[str, Sawtooth]]
    crossings: list[Crossing]
    lacking_s: float

    @property
    def complete(self) -> bool:
        """Whether nothing was left to look into."""
        return not self.lacking_s

    @property
    def changes(self) -> list[tuple[str, Step]]:
        """Steps at which something changes below torch, and that are neither a cliff nor a tooth."""
        cliffs = {(curve, step.left["x"]) for curve, step in self.cliffs}
        return [
            (curve, step)
            for curve, places in self.places.items()
            for step in steps(places)
            if step.change
            and (curve, step.left["x"]) not in cliffs
            and not _explained(step, [saw for other, saw in self.sawteeth if other == curve])
        ]


def curves(
    kinds: Sequence[str],
    axis: str,
    values: Sequence[int],
    fields: Mapping[str, Any],
    setting: Setting,
    layouts: Sequence[str] = (),
) -> Curves:
    """The cases of each curve at those values that it can have: of a kind in a layout, those of the setting
    unless some are named. Along groups a standard and a depthwise layer are the ends of the grouped one's
    curve. Raises UsageError for a curve that has fewer than three of them."""
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
    if axis == "groups":
        kinds = ["grouped" if kind in ENDS_OF_GROUPED else kind for kind in kinds]
    found = {}
    for kind, layout in product(dict.fromkeys(kinds), dict.fromkeys(layouts or (setting.memory_format,))):
        placed = replace(setting, memory_format=layout)
        tried = {value: _case(kind, axis, value, fields, placed) for value in values}
        cases = {value: case for value, case in tried.items() if isinstance(case, Case)}
        if len(cases) < LEAST_VALUES:
            why = next((fault for fault in tried.values() if isinstance(fault, str)), "")
            what = f"{kind} can have {len(cases)} of the {len(values)} values of {axis}, three are needed"
            raise UsageError(what, where="--range", hint=why)
        found[f"{kind} {layout}" if len(layouts) > 1 else kind] = cases
    return found


def _case(kind: str, axis: str, value: int, fields: Mapping[str, Any], setting: Setting) -> Case | str:
    """The case, or why it cannot be."""
    asked = {**fields, axis: value}
    try:
        if axis == "groups" and kind in ("grouped", "pointwise"):
            kernel = parse_pair("kernel_size", asked.get("kernel_size") or (1 if kind == "pointwise" else 3))
            asked["kernel_size"] = kernel
            kind = kind_of(in_channels=asked["in_channels"], groups=value, kernel_size=kernel)
        return Case(Problem(kind, **asked), setting)
    except ProblemError as error:
        return str(error).replace("\n", " ")


def search(
    axis: str,
    asked: Curves,
    measure: Callable[[list[Case]], pd.DataFrame],
    cost_s: Callable[[list[Case]], float],
    left_s: Callable[[], float],
) -> Found:
    """Look until nothing is left to look into, or until the next cases cost more seconds than are left.
    Raises UsageError where no place of any curve could be measured."""
    rows: Rows = defaultdict(dict)
    lacking_s = 0.0
    due = _first(asked, cost_s, left_s())
    while any(due.values()):
        needed_s = cost_s(_cases(asked, due))
        if needed_s >= left_s():
            lacking_s = needed_s
            break
        _measure(asked, due, measure, rows)
        measured = [row for places in rows.values() for row in places.values()]
        if not any(row["latency_s"] for row in measured):
            raise UsageError("no place could be measured", where="cliffs", hint=str(measured[0]["message"]))
        due = _next(asked, rows)
    seen = {curve: _cliffs(places, asked[curve]) for curve, places in rows.items()}
    ends = {
        curve: {end["x"] for step in _to_confirm(*found) for end in (step.left, step.right)}
        for curve, found in seen.items()
    }
    if any(ends.values()):
        _measure(asked, ends, measure, rows)
    cliffs, teeth = _confirmed(rows, seen)
    ordered = {curve: [row for _, row in sorted(places.items())] for curve, places in rows.items()}
    return Found(axis, ordered, cliffs, teeth, _crossings(rows), lacking_s)


def _first(asked: Curves, cost_s: Callable[[list[Case]], float], left_s: float) -> dict[str, set[int]]:
    """The first places of each curve: as many as half of the time allows, and never fewer than the fewest."""
    due = dict[str, set[int]]()
    for count in FIRST_PLACES:
        due = {curve: set(first_places(sorted(cases), count)) for curve, cases in asked.items()}
        if cost_s(_cases(asked, due)) < FIRST_SHARE * left_s:
            break
    return due


def _cliffs(places: Mapping[int, Place], cases: Mapping[int, Case]) -> tuple[list[Step], list[Sawtooth]]:
    """The cliffs of a curve that stand alone, and those that come again and again."""
    curve = list(places.values())
    found, _ = sawteeth(curve, sorted(cases))
    return [step for step in steps(curve) if step.is_cliff and not _explained(step, found)], found


def _to_confirm(cliffs: Sequence[Step], found: Sequence[Sawtooth]) -> list[Step]:
    """The steps whose ends are measured anew: cliffs, and the largest teeth of each sawtooth."""
    return [*cliffs, *(step for saw in found for step in saw.largest(MOST_CONFIRMED))]


def _confirmed(
    rows: Rows, seen: Mapping[str, tuple[Sequence[Step], Sequence[Sawtooth]]]
) -> tuple[list[tuple[str, Step]], list[tuple[str, Sawtooth]]]:
    """What of the cliffs and sawteeth is still there. A tooth of a sawtooth that is not is a cliff like
    others."""
    cliffs, teeth = [], []
    for curve, (alone, found) in seen.items():
        still = {(step.left["x"], step.right["x"]): step for step in steps(list(rows[curve].values()))}
        still = {ends: step for ends, step in still.items() if step.is_cliff}
        left = list(alone)
        for saw in found:
            kept = saw.of([still[ends] for ends in map(_ends, saw.largest(MOST_CONFIRMED)) if ends in still])
            if len(kept.teeth) >= LEAST_CONFIRMED:
                teeth.append((curve, kept))
            else:
                left += kept.teeth
        cliffs += [(curve, still[ends]) for ends in sorted(map(_ends, left)) if ends in still]
    return cliffs, teeth


def _ends(step: Step) -> tuple[int, int]:
    return step.left["x"], step.right["x"]


def _explained(step: Step, found: Sequence[Sawtooth]) -> bool:
    return any(saw.explains(step) for saw in found)


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
    due = dict[str, set[int]]()
    for curve, places in rows.items():
        values = sorted(asked[curve])
        found, wanted = sawteeth(list(places.values()), values)
        hidden = to_look_into(list(places.values()), values, partial(_explained, found=found))
        due[curve] = hidden | wanted
    for pair in combinations(rows, 2):
        found_crossings = _crossings_of(pair, rows)
        if len(found_crossings) > MOST_CROSSINGS:  # tooth by tooth: only from where on, and up to where
            found_crossings = [found_crossings[0], found_crossings[-1]]
        for crossing in found_crossings:
            measured, possible = (set(of[pair[0]]) & set(of[pair[1]]) for of in (rows, asked))
            # what lies between could not be told apart, if anything does
            if not middle(sorted(measured), crossing.left, crossing.right):
                for curve in pair:
                    due[curve] |= middle(sorted(possible), crossing.left, crossing.right)
    return {curve: values - rows[curve].keys() for curve, values in due.items()}


def _crossings(rows: Rows) -> list[Crossing]:
    return [crossing for pair in combinations(rows, 2) for crossing in _crossings_of(pair, rows)]


def _crossings_of(pair: tuple[str, str], rows: Rows) -> list[Crossing]:
    one, other = pair
    return crossings(one, list(rows[one].values()), other, list(rows[other].values()))
