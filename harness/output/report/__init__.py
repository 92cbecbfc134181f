"""One HTML file that shows one or several runs: what was measured, on what, whether to trust it, and what it
says.

In: `Results`. Out: a file that needs nothing else: no network, no JavaScript to be read, no folder beside it.

    page.py      puts the page together         templates/   the page, its style, its script
    story.py     headline, picture, facts,      vendor/      DataTables (MIT), inlined
                 sections, by the shape         charts/      a module a chart
    trust.py     trust, environments, policy    chart.py     what charts share
    tables.py    tables of the page             drawing.py   how charts are drawn

What the runs are about lies in `output/views`: their shape, sweeps, savings, networks.
The modules that draw are imported when a report is written: seaborn takes a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.core.errors import StorageError, UsageError
from harness.store.files import write_text

if TYPE_CHECKING:
    from pathlib import Path

    from harness.store.results import Results

__all__ = ["write_report"]


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
    path = path.resolve()  # a link stays, and what it points to is written
    if not path.name or (path.exists() and not path.is_file()):
        raise StorageError(
            "cannot be written: it is no plain file", where=str(path), hint="Name another file with --out."
        )
    from harness.output.report.page import render

    text = render(results)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    except OSError as error:
        raise StorageError(
            f"cannot be written: {error.strerror}", where=str(path), hint="Name another file with --out."
        ) from None
    return path
