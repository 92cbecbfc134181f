"""One HTML file that shows one or several runs: what was measured, on what, whether to trust it, and what it
says.

In: `Results`. Out: a file that needs nothing else: no network, no JavaScript to be read, no folder beside it.

    page.py      puts the page together         templates/   the pages, their style, their script
    history_page.py  the page over many runs    vendor/      DataTables (MIT), inlined
    story.py     headline, picture, facts,      charts/      a module a chart
                 sections, by the shape         chart.py     what charts share
    trust.py     trust, environments, policy    drawing.py   how charts are drawn
    tables.py    tables of the page             templating.py  templates filled in

What the runs are about lies in `output/views`: their shape, sweeps, savings, networks.
The modules that draw are imported when a report is written: seaborn takes a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.core.errors import StorageError, UsageError
from harness.store.files import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.analysis.history import History
    from harness.plan.layer_list import Layers
    from harness.store.results import Results

__all__ = ["write_history", "write_model", "write_report"]


def write_report(results: Results, path: Path) -> Path:
    """Write the report of these runs and return where it is. A file is there whole or not at all.

    Raises StorageError where it cannot be written, and UsageError where there is no run.
    """
    if not results.runs:
        raise UsageError("there is no run to report", hint="Make one: convscope run quickstart")
    rankings = [run for run in results.runs if len(run["arms"]) > 1 and run.get("comparison") == "versus"]
    if rankings and len(results.runs) > 1:
        raise UsageError(
            "a ranking of arms has a page of its own",
            where=rankings[0]["run_id"],
            hint=f"convscope report {rankings[0]['run_id']}",
        )
    from harness.output.report.page import render

    path = _plain(path)
    return _written(path, render(results))


def write_history(found: History, path: Path, *, reports: Mapping[str, str] | None = None) -> Path:
    """Write the page over all runs of a history and return where it is. `reports`: by run_id, where the page
    of that run is. Raises StorageError where it cannot be written."""
    from harness.output.report.history_page import render

    path = _plain(path)
    return _written(path, render(found, reports or {}))


def write_model(model: str, shape: str, layers: Layers, path: Path) -> Path:
    """Write a page about the convolutions of a model that nobody has measured, and return where it is. Raises
    StorageError where it cannot be written."""
    from harness.output.report.charts import model as chart
    from harness.output.report.templating import filled
    from harness.plan.points import expand
    from harness.tasks.trace import suite_of

    path = _plain(path)
    points = expand(suite_of(layers, model))
    rows = [(str(point.layer), point.repeat, point.case.problem) for point in points if point.case]
    page = filled(
        "model.html.j2",
        model=model,
        shape=shape,
        chart=chart.model(rows),
        left=layers.left,
        notes=layers.notes,
    )
    return _written(path, page)


def _plain(path: Path) -> Path:
    """Where a page is written: a link stays, and what it points to is written. Raises StorageError."""
    path = path.resolve()
    if not path.name or (path.exists() and not path.is_file()):
        raise StorageError(
            "cannot be written: it is no plain file", where=str(path), hint="Name another file."
        )
    return path


def _written(path: Path, text: str) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    except OSError as error:
        raise StorageError(
            f"cannot be written: {error.strerror}", where=str(path), hint="Name another file."
        ) from None
    return path
