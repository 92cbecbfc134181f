"""The sweeps of a suite, ready to draw: which axis runs along x, what tells panels apart, and kinds without
an axis spread over it.

In: the joined points (`points`). Out: a `Sweep` each, in the order of the suite. Not here: drawing
(`report/charts`).
What may surprise: where a kind has no such axis nothing was asked, and its one case stands at every value
that the other series have (`flat` on the axis of x): a level line across the chart, or the same mark in every
panel. Numbers are those of the summary, as resolved: `threads = all` stands at the number that it came to.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import pandas as pd

from harness.analysis.labels import RESOLVED, SETTINGS, words
from harness.core.case import DEFAULTS
from harness.core.problem import FIELDS, FIXED_AXES
from harness.core.window import short_text

if TYPE_CHECKING:
    from collections.abc import Sequence

NUMERIC_AXES = (
    "in_channels",
    "groups",
    "kernel_size",
    "height",
    "batch",
    "threads",
    "out_channels",
    "width",
    "stride",
    "dilation",
    "padding",
)
# what sentences speak of where there are several
USUAL = {**DEFAULTS, "kernel_size": 3, "batch": 1}
PANEL_AXES = (*SETTINGS, *FIELDS)
FEWEST_PLACES = 3  # along an axis, for it to be one


@dataclass(frozen=True, slots=True)
class Sweep:
    """One sweep of a suite, ready to draw: a row a point with a case, flat series spread out, `x` and `panel`
    filled in."""

    name: str
    axis: str | None
    numeric: bool
    panels: tuple[str, ...]
    frame: pd.DataFrame
    missing: int  # points without a figure


def missing(sweep: Sweep) -> str:
    """A sentence, with a space before it, on the points that are not drawn; empty where all are."""
    if not sweep.missing:
        return ""
    return (
        f" {sweep.missing} {'point has' if sweep.missing == 1 else 'points have'} no latency; "
        "the table of cases gives the reasons."
    )


def sweeps(frame: pd.DataFrame) -> list[Sweep]:
    """The sweeps with at least one figure, those of layers left out, in the order of the suite."""
    return [
        _sweep(str(name), group)
        for name, group in frame[frame["layer"].isna()].groupby("sweep", sort=False)
        if group["latency_s"].notna().any()
    ]


def networks(frame: pd.DataFrame) -> list[Sweep]:
    """The sweeps over layers with at least one figure; `x` is the layer. Their axis is it too where they make
    up a network; where the suite does not say so, they may be ways to have the same."""
    found = []
    for name, whole in frame[frame["layer"].notna()].groupby("sweep", sort=False):
        group = whole[whole["latency_s"].notna()]
        if len(group):
            dims = _panel_axes(group, None, ["layer", "series"])
            drawn = _with_panels(_spread(group, dims, None), dims).assign(x=lambda f: f["layer"])
            axis = "layer" if (whole["x"] == "layer").all() else None
            found.append(Sweep(str(name), axis, False, tuple(dims), drawn, len(whole) - len(group)))
    return found


def resolved(frame: pd.DataFrame, axis: str) -> pd.Series[Any]:
    """An axis as numbers where it has them, as resolved; else as text. A kernel that is not square is text,
    and so is padding that is uneven."""
    column = RESOLVED.get(axis, axis)
    other = column.replace("_height", "_width")
    if axis == "padding" and frame["padding"].str.contains("+", regex=False).any():
        return frame["padding"].map(short_text)
    if axis == "threads" and frame[column].isna().any():
        return frame["threads"]
    if column != other and column != axis and (frame[column] != frame[other]).any():
        return frame[column].astype(int).astype(str) + "x" + frame[other].astype(int).astype(str)
    return frame[column].astype(int) if axis in NUMERIC_AXES else frame[column]


def second_axis(sweep: Sweep) -> str | None:
    """The numeric axis beside that of x along which a sweep has several places; None where there is none."""
    if not sweep.numeric or sweep.frame["x"].nunique() < FEWEST_PLACES:
        return None
    return next(
        (
            dim
            for dim in sweep.panels
            if dim in NUMERIC_AXES
            and dim != "threads"
            and pd.api.types.is_numeric_dtype(sweep.frame[f"at_{dim}"])
            and sweep.frame[f"at_{dim}"].nunique() >= FEWEST_PLACES
        ),
        None,
    )


def _sweep(name: str, whole: pd.DataFrame) -> Sweep:
    group = whole[whole["latency_s"].notna()]
    named: pd.Series[Any] = group["x"].dropna()
    axis = (
        str(named.iloc[0])
        if len(named)
        else next((a for a in NUMERIC_AXES if group[f"asked_{a}"].nunique() > 1), None)
    )
    dims = _panel_axes(group, axis, ["series", "x_asked"])
    frame = _spread(group, [*dims, *([axis] if axis else [])], axis)
    frame = frame.assign(x=frame[f"at_{axis}"] if axis else 0)
    numeric = pd.api.types.is_numeric_dtype(frame["x"])
    return Sweep(
        name,
        axis if frame["x"].nunique() > 1 else None,
        numeric,
        tuple(dims),
        _with_panels(frame, dims),
        len(whole) - len(group),
    )


def _panel_axes(group: pd.DataFrame, axis: str | None, keys: Sequence[str]) -> list[str]:
    """What tells the points of one place apart, beside kind and x; an axis that goes with those before it
    (width with height) adds nothing."""
    group = group.assign(x_asked=group[f"asked_{axis}"].fillna("") if axis else "")
    chosen = [name for name in ("run", "arm") if group[name].nunique() > 1]
    for name in PANEL_AXES:
        if name != axis and group[f"asked_{name}"].nunique() > 1:
            places = group.groupby([*keys, *(_column(c) for c in chosen)], dropna=False)
            if (places[f"asked_{name}"].nunique() > 1).any():
                chosen.append(name)
    return chosen


def _column(axis: str) -> str:
    return axis if axis in ("run", "arm") else f"asked_{axis}"


def _spread(group: pd.DataFrame, axes: Sequence[str], x: str | None) -> pd.DataFrame:
    """`at_<axis>` for each axis, resolved; a case whose kind has no such axis stands once at every value of
    the others, `flat` where that is x."""
    group = group.assign(flat=False)
    for axis in axes:
        at = f"at_{axis}"
        if axis in ("run", "arm"):
            group[at] = group[axis]
            continue
        lacking = group[f"asked_{axis}"].isna() & group["series"].map(
            lambda kind, axis=axis: axis in FIXED_AXES.get(kind, ())
        )
        if lacking.all() or not lacking.any():
            group[at] = resolved(group, axis)
            continue
        present = group[~lacking].assign(**{at: resolved(group[~lacking], axis)})
        same = [
            name
            for name in group.columns
            if name in ("run", "arm", "series", "case_id", "layer") or name.startswith("at_")
        ]
        once = group[lacking].drop_duplicates(same)
        copies = [
            once.assign(**{at: value, "flat": once["flat"] | (axis == x)})
            for value in dict.fromkeys(present[at])
        ]
        group = pd.concat([present, *copies])
    return group.sort_values("point", kind="stable")


def _with_panels(frame: pd.DataFrame, dims: Sequence[str]) -> pd.DataFrame:
    labels = [
        ", ".join(words(d, row[i]) for i, d in enumerate(dims))
        for row in frame[[f"at_{d}" for d in dims]].itertuples(index=False)
    ]
    return frame.assign(panel=labels)


def panels(sweep: Sweep) -> list[tuple[str, pd.DataFrame]]:
    """The panels of a sweep with their frames, ordered by the values of their axes as they first appear."""
    if not sweep.panels:
        return [("", sweep.frame)]
    orders = [list(dict.fromkeys(sweep.frame[f"at_{d}"])) for d in sweep.panels]
    labels = [
        ", ".join(words(d, v) for d, v in zip(sweep.panels, values, strict=True))
        for values in product(*orders)
    ]
    return [(label, part) for label in labels if len(part := sweep.frame[sweep.frame["panel"] == label])]


def reference(sweep: Sweep) -> tuple[str, pd.DataFrame]:
    """The panel that sentences speak of: with the most settings at their defaults, the newest run, the first
    of equals."""
    found = panels(sweep)

    def rank(panel: tuple[str, pd.DataFrame]) -> tuple[str, int]:
        first = panel[1].iloc[0]
        return (
            str(panel[1]["run_id"].max()),
            sum(str(first[f"at_{d}"]) == str(USUAL[d]) for d in sweep.panels if d in USUAL),
        )

    return max(found, key=rank)


def fullest(frame: pd.DataFrame) -> tuple[Any, pd.DataFrame]:
    """The value of x at which most kinds have a figure, the largest of equals, and the rows there, one a
    kind."""
    counts = frame.groupby("x", sort=False)["series"].nunique()
    most = counts[counts == counts.max()].index
    at = max(most) if pd.api.types.is_numeric_dtype(frame["x"]) else most[0]
    return at, frame[frame["x"] == at].drop_duplicates("series")


def place(sweep: Sweep, at: object) -> str:
    """A value of the sweep's axis in words: `128 input channels`."""
    if sweep.axis in ("in_channels", "out_channels"):
        return f"{at} {sweep.axis.removesuffix('_channels')}put channels"
    if sweep.axis == "height" and (sweep.frame["height"] == sweep.frame["width"]).all():
        return f"{at}x{at} px"
    return words(str(sweep.axis), at)
