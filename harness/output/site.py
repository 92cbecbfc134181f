"""A folder that a plain file server shows: the page over all runs, and a page of each run that is here.

    FOLDER/index.html              the history, with links to
           reports/<run_id>.html   the pages of its runs that the folder of runs has

In: a `History` and the folder of runs. Out: files. A page that is there and was made of the same run stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.core.errors import StorageError
from harness.output.report import write_history, write_report
from harness.store.results import load_results
from harness.store.run_folder import run_folders

if TYPE_CHECKING:
    from pathlib import Path

    from harness.analysis.history import History

INDEX, REPORTS = "index.html", "reports"
MOST_REPORTS = 100  # new ones that are made at once, the newest: each takes seconds


def write_site(found: History, results: Path, folder: Path) -> tuple[Path, int]:
    """Write the site and return its index and how many pages of runs are new. One broken run hides no other.
    Raises StorageError where the folder cannot be written."""
    known = {str(run) for one in found.standings for run in one.history.runs["run_id"]}
    here = [path for path in reversed(run_folders(results)) if path.name in known]
    made = 0
    for run in here:
        page = folder / REPORTS / f"{run.name}.html"
        if page.exists() or made == MOST_REPORTS:
            continue
        try:
            loaded = load_results(run)
        except StorageError:
            continue
        write_report(loaded, page)
        made += 1
    reports = {path.stem: f"{REPORTS}/{path.name}" for path in (folder / REPORTS).glob("*.html")}
    return write_history(found, folder / INDEX, reports=reports), made
