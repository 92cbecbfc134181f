"""Layer lists: the convolutions of a network as CSV, read for a suite and written from a traced model."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.core.errors import ProblemError, nearest
from harness.plan.axes import PROBLEM_AXES, Value, read_axis

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LAYER_COLUMNS = ("name", "repeat", "kind", *PROBLEM_AXES)

WRITTEN = tuple(name for name in LAYER_COLUMNS if name not in ("kind", "size"))  # what a traced layer has


@dataclass(frozen=True)
class Layers:
    """The layers of a model: `rows` by the columns of a layer list; `left`, name and reason of each that
    cannot be measured; and `notes` on those that are listed otherwise than they are stated."""

    rows: list[dict[str, Any]]
    left: list[dict[str, str]]
    notes: list[dict[str, str]] = field(default_factory=list)

    def as_csv(self) -> str:
        """As a suite reads it: `layers = "FILE.csv"`."""
        out = io.StringIO()
        writer = csv.DictWriter(out, WRITTEN, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return out.getvalue()


def distinct(executed: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Equal layers once, under the name of the first, with how often they run as `repeat`."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for layer in executed:
        key = tuple(value for name, value in layer.items() if name != "name")
        row = found.setdefault(key, {"name": layer["name"], "repeat": 0} | layer)
        row["repeat"] += 1
    return list(found.values())


def read_layers(path: Path, label: str, faults: list[str]) -> list[dict[str, Value]]:
    """The rows of a layer list: a CSV of name, repeat, then problem fields; what is left empty is not
    stated."""
    where = f"{label}, layers {path}"
    try:
        # spreadsheets begin a file with a byte order mark
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns, table = list(reader.fieldnames or ()), list(reader)
    # ValueError: text that is not UTF-8, a path that no system takes
    except (OSError, ValueError, csv.Error) as error:
        faults.append(f"{where}: cannot be read: {getattr(error, 'strerror', None) or error}")
        return []
    unknown = [name for name in columns if name not in LAYER_COLUMNS]
    faults += [f"{where}, unknown column {name!r}. {nearest(name, LAYER_COLUMNS)}" for name in unknown]
    if not table:
        faults.append(f"{where}: holds no layers")
    rows = []
    for line, entry in enumerate(table, 2):
        row: dict[str, Value] = {}
        if None in entry:
            faults.append(f"{where}, line {line}: has more values than columns")
        for name in LAYER_COLUMNS:
            text = (entry.get(name) or "").strip()
            if not text:
                continue
            value: object = int(text) if text.isdecimal() else text
            try:
                if name == "name":
                    row["layer"] = text
                elif name == "repeat":
                    row["repeat"] = repeat_of(value)
                else:
                    row[name] = read_axis(name, value)[0]
            except ValueError as error:
                faults.append(f"{where}, line {line}, {name}: {error}")
            except ProblemError as error:
                faults.append(f"{where}, line {line}, {name}: {error.what}")
        rows.append(row)
    return rows


def repeat_of(raw: object) -> int:
    """How often a network has a layer. Raises ValueError for what is no whole number of at least 1."""
    if not isinstance(raw, int) or isinstance(raw, bool) or raw < 1:
        raise ValueError(f"{raw!r} is not a whole number of at least 1")
    return raw
