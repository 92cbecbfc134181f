"""Layer lists: the convolutions of a network as CSV, which suites take, and where one comes from: a model in any interpreter.

In: `module:attribute` and the shape of an input. Out: `Layers`: a row a different convolution, with its multiplicity, and what was left out.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.bridge import WorkerGone, WorkerTimeout
from harness.errors import UsageError
from harness.station import greet
from harness.suite import LAYER_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Sequence

TRACE_LIMIT_S = 600.0
WRITTEN = tuple(name for name in LAYER_COLUMNS if name not in ("kind", "size"))  # what a traced layer has


@dataclass(frozen=True)
class Layers:
    """The layers of a model: `rows` by the columns of a layer list, and `left`, name and reason of each that cannot be measured."""

    rows: list[dict[str, Any]]
    left: list[dict[str, str]]

    def as_csv(self) -> str:
        """As a suite reads it: `layers = "FILE.csv"`."""
        out = io.StringIO()
        writer = csv.DictWriter(out, WRITTEN, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return out.getvalue()


def trace(target: str, shape: Sequence[int], python: str) -> Layers:
    """Run a model once in an interpreter and list its convolutions. Raises UsageError for a model that does not run, InterpreterError."""
    module, _, attribute = target.partition(":")
    if not module or not attribute:
        raise UsageError(f"{target!r} is no module:attribute", where="trace", hint="For example mymodels:build, a function without arguments.")
    hint = f"Does it run on an input of {'x'.join(map(str, shape))} in {python}?"
    with greet(python) as greeted:
        try:
            answer = greeted.worker.ask({"do": "trace", "id": 1, "target": target, "shape": list(shape)}, TRACE_LIMIT_S)
        except (WorkerGone, WorkerTimeout) as error:
            raise UsageError(str(error), where=target, hint=hint) from None
    if answer["status"] != "ok":
        raise UsageError(f"{answer.get('error_type') or answer['status']}: {answer['message']}", where=target, hint=hint)
    return Layers(distinct(answer["values"]["layers"]), answer["values"]["left"])


def distinct(executed: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Equal layers once, under the name of the first, with how often they run as `repeat`."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for layer in executed:
        key = tuple(value for name, value in layer.items() if name != "name")
        row = found.setdefault(key, {"name": layer["name"], "repeat": 0} | layer)
        row["repeat"] += 1
    return list(found.values())
