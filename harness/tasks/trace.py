"""A model's convolutions as a layer list: the model runs once, in any interpreter."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from harness.core.errors import UsageError
from harness.plan.layer_list import Layers, distinct
from harness.plan.suite import parse_suite
from harness.run.device_worker import connect
from harness.run.worker_process import WorkerGone, WorkerTimeout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.plan.suite import Suite

TRACE_LIMIT_S = 600.0


def suite_of(layers: Layers, name: str) -> Suite:
    """A suite that measures these layers, in their order."""
    content = {
        "schema": 1,
        "name": "model",
        "title": name,
        "sweep": [{"name": "model", "x": "layer", "layers": "layers.csv"}],
    }
    with TemporaryDirectory() as folder:
        Path(folder, "layers.csv").write_text(layers.as_csv(), encoding="utf-8")
        return parse_suite(content, source=name, folder=Path(folder))


def trace(target: str, shape: Sequence[int], python: str) -> Layers:
    """Run a model once in an interpreter and list its convolutions. Raises UsageError for a model that does
    not run, InterpreterError."""
    module, _, attribute = target.partition(":")
    if not module or not attribute:
        raise UsageError(
            f"{target!r} is no module:attribute",
            where="trace",
            hint="For example mymodels:build, a function without arguments.",
        )
    hint = f"Does it run on an input of {'x'.join(map(str, shape))} in {python}?"
    with connect(python) as connection:
        try:
            answer = connection.worker.ask(
                {"do": "trace", "id": 1, "target": target, "shape": list(shape)}, TRACE_LIMIT_S
            )
        except (WorkerGone, WorkerTimeout) as error:
            raise UsageError(str(error), where=target, hint=hint) from None
    if answer["status"] != "ok":
        raise UsageError(
            f"{answer.get('error_type') or answer['status']}: {answer['message']}", where=target, hint=hint
        )
    found = answer["values"]
    if not found["layers"]:
        left = found["left"][0] if found["left"] else {"name": target, "why": "calls none"}
        raise UsageError(
            "runs no 2-D convolution that is measured", where=target, hint=f"{left['name']} {left['why']}."
        )
    return Layers(distinct(found["layers"]), found["left"], found["notes"])
