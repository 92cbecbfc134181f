"""The answer of `run`: what was found, the cases by the shape of the run, and what has no figure.

In: `Results`. Out: text on stdout, at most as wide as the terminal. A sweep is a grid of places and kinds, a
network its sum and its largest layers; the rest is a list in the order of the suite.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from harness.analysis import likeness
from harness.analysis.case_ratio import with_moments
from harness.analysis.findings import CAVEAT, findings
from harness.analysis.labels import how_well, in_words, kind_name, labels, ordered, sentence
from harness.analysis.networks import findings as findings_of_network
from harness.core import units
from harness.core.interval import Interval
from harness.core.problem import PARTS_OF_SEPARABLE
from harness.output.terminal import ENDINGS, SHORT_KINDS, prose, table
from harness.output.views import networks, savings
from harness.output.views.points import asked_cases, joined, summary_of, without_latency
from harness.output.views.shape import shape_of
from harness.output.views.sweeps import panels, second_axis

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd

    from harness.output.views.shape import Shape
    from harness.output.views.sweeps import Sweep
    from harness.store.results import Results

MOST_ROWS = 60
MOST_LAYERS = 5
MOST_FINDINGS = 3  # the report has all of them
MOST_REASONS = 4


def run_answer(results: Results, folder: Path) -> None:
    """Print it, the finding first, what to type next last."""
    summary = with_moments(summary_of(results), results.visits)
    points = joined(results, summary)
    shape = shape_of(results, points, summary)
    headline = _headline(shape)
    if headline:
        prose(f"{headline}.")
        print()
    _cases(shape, summary, units.percent(results.runs[0]["policy"]["target_width"]))
    found = [one for one in findings(summary) if one.rule != CAVEAT]
    for finding in found[:MOST_FINDINGS]:
        print()
        prose(f"{finding.rule}. {finding.text}")
    print()
    prose(_ending(results, summary))
    checked = likeness.sentences((results.runs[0].get("cluster") or {}).get("likeness") or ())
    for text in (*checked, *_without_latency(points, summary), *results.runs[0]["lost"]):
        prose(text)
    print(f"Next: convscope report {folder}")


def _headline(shape: Shape) -> str:
    """What a sweep, a plane or a network says first; empty where the findings do."""
    lead = shape.leading
    if lead is None or shape.name not in ("network", "plane", "sweep"):
        return ""
    if shape.name == "network":
        return networks.headline(networks.measured(lead)[0])
    saved, across = savings.savings_of(lead), second_axis(lead)
    if saved is None:
        return ""
    if shape.name == "plane" and across:
        return savings.plane_headline(saved, across)
    return savings.headline(saved)


def _cases(shape: Shape, summary: pd.DataFrame, target: str) -> None:
    if shape.name == "network" and shape.leading:
        _network(shape.leading)
    elif shape.leading is not None and shape.leading.frame["series"].nunique() > 1:
        _grid(shape.leading, target)
        rest = len(shape.sweeps) + len(shape.ways) - 1
        if rest:
            prose(f"{rest} more sweep{'s are' if rest > 1 else ' is'} in the report.")
    else:
        _list(summary[summary["latency_s"].notna()])


def _grid(sweep: Sweep, target: str) -> None:
    """Places down, kinds across; settings as lines between."""
    kinds = sorted(ordered(sweep.frame["series"]), key=lambda kind: kind in PARTS_OF_SEPARABLE)
    all_wide = bool((sweep.frame["trust"] == "wide").all())
    rows, marks = list[list[str]](), set[str]()
    for title, part in panels(sweep):
        rows += [[title]] if title else []
        for x in dict.fromkeys(part["x"]):
            here = {row["series"]: row for row in part[part["x"] == x].to_dict("records")}
            cells = [_cell(here.get(kind), marked=not all_wide) for kind in kinds]
            marks |= {cell[-1] for cell in cells}
            rows.append([_place(sweep, x), *cells])
    names = [SHORT_KINDS.get(kind, kind) for kind in kinds]
    _print_grid([_place_heading(sweep), *(f"{name} " for name in names)], rows[:MOST_ROWS])
    said = ["... the report has all rows"] * (len(rows) > MOST_ROWS)
    said += [f"all intervals are wider than ±{target}"] * all_wide
    said += [f"~ interval wider than ±{target}"] * ("~" in marks) + ["x no latency"] * ("x" in marks)
    if said:
        prose(", ".join(said))


def _place(sweep: Sweep, x: Any) -> str:
    """A place of the axis; nothing where there is none."""
    if sweep.axis is None:
        return ""
    return f"{x:,}" if sweep.numeric else str(x)


def _print_grid(heading: list[str], rows: list[list[str]]) -> None:
    """Columns aligned to the right; a row of one cell is a line of its own, as wide as it likes."""
    lines = [heading, *(row for row in rows if len(row) > 1)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(heading))]
    for row in [heading, *rows]:
        if len(row) == 1:
            print(row[0])
        else:
            cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
            print("  ".join([f"  {cells[0]}", *cells[1:]]).rstrip())


def _place_heading(sweep: Sweep) -> str:
    """The axis of a sweep as the head of a column."""
    if sweep.axis in ("in_channels", "out_channels"):
        return sweep.axis.replace("_", "put ")
    return str(sweep.axis).replace("_", " ") if sweep.axis else ""


def _cell(row: Mapping[Any, Any] | None, *, marked: bool) -> str:
    if row is None:
        return "x"
    return f"{units.seconds(row['latency_s'])}{'~' if marked and row['trust'] == 'wide' else ' '}"


def _network(sweep: Sweep) -> None:
    """Under its fastest setting: the layers that take most, in the network's order, and what there is to say
    of the whole; other settings by their sum."""
    fastest, *others = networks.measured(sweep)
    whole_s = fastest.whole.whole.latency_s
    largest = sorted(fastest.layers, key=lambda layer: -layer.total_s)[:MOST_LAYERS]
    rows = [
        [
            layer.name,
            f"x{layer.repeat}",
            kind_name(layer.row["kind"]),
            units.seconds(layer.total_s),
            units.percent(layer.total_s / whole_s),
            in_words(layer.row["bound"]),
        ]
        for layer in fastest.layers
        if layer in largest
    ]
    table(["layer", "repeats ", "kind", "total ", "share ", "bottleneck"], rows)
    print(f"{len(largest)} slowest of {len(fastest.layers)} layers")
    for finding in findings_of_network(fastest.layers):
        print()
        prose(f"{finding.rule}. {finding.text}")
    for other in others:
        prose(f"With {other.setting}: {units.seconds(other.whole.whole.latency_s)}.")


def _list(rows: pd.DataFrame) -> None:
    """One line a case, in the order of the suite, with what differs between them."""
    if rows.empty:
        return
    shown = rows.head(MOST_ROWS)
    cells = (
        [
            row["case_id"][:8],
            sentence(label),
            units.seconds(row["latency_s"]),
            f"±{units.percent(Interval.of_latency(row).half_width)}",
            in_words(row["bound"]),
        ]
        for label, row in zip(labels(shown), shown.to_dict("records"), strict=True)
    )
    table(["id", "case", "latency ", "95 % ", "bottleneck"], cells)
    if len(rows) > len(shown):
        print(f"... {len(shown)} of {len(rows)} cases; the report has all")


def _ending(results: Results, summary: pd.DataFrame) -> str:
    """How many cases have a latency, in what time, and how well they are known."""
    run = results.runs[0]
    have = int(summary["latency_s"].notna().sum())
    asked = results.points["case_id"].nunique() * len(run["arms"])
    ended = ENDINGS.get(run["state"], "")
    quick = ", quick run: one repetition per case, never a baseline" if run["quick"] else ""
    counted = f"{asked} cases" if have == asked else f"{have} of {asked} cases have a latency"
    known = how_well(summary, run["policy"]["target_width"])
    return (
        f"{counted}, {len(results.visits)} repetitions in {units.duration(run['wall_s'])}{ended}{quick}; "
        f"{known}."
    )


def _without_latency(points: pd.DataFrame, summary: pd.DataFrame) -> list[str]:
    """Why cases have no latency, the most frequent reason first."""
    asked = len(asked_cases(points))
    common = Counter(without_latency(points, summary)).most_common(MOST_REASONS)
    return [f"x {count} of {asked} cases: {status}: {message}" for (status, message), count in common]
