"""Runs read back as frames: `.visits`, `.points` and `.summary`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from harness.analysis.roofline import with_roofline
from harness.analysis.summary import summarize
from harness.core.errors import StorageError, UsageError
from harness.core.gate import SIDES
from harness.store.migrations import migrated
from harness.store.mirrors import fetched, results_folder
from harness.store.run_folder import (
    POINTS_SCHEMA,
    find_run,
    read_header,
    read_points,
    run_folders,
)
from harness.store.visit_files import VISITS_SCHEMA, Visits, read_visits

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Results:
    """One or several runs: their headers, and frames over all of them."""

    runs: list[dict[str, Any]]
    visits: pd.DataFrame
    points: pd.DataFrame

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row a run, arm and case, computed from the visits and the ceilings of their run."""
        headers = {run["run_id"]: run for run in self.runs}
        return with_roofline(
            summarize(self.visits, headers),
            {identity: header.get("ceilings") or () for identity, header in headers.items()},
        )

    @property
    def arms(self) -> set[str]:
        """Of the first run: `main`, `base` and `head`, or as named."""
        return set(self.runs[0]["arms"])

    @property
    def is_ab(self) -> bool:
        """Whether it is the two sides of an A/B; runs before schema 3 did not say so."""
        return self.arms == set(SIDES) and self.runs[0].get("comparison", "ab") == "ab"

    @property
    def is_ranking(self) -> bool:
        """Whether its arms, two or more, are to be ranked (`versus`)."""
        return len(self.arms) > 1 and not self.is_ab

    def __repr__(self) -> str:
        names = ", ".join(run["run_id"] for run in self.runs)
        return (
            f"Results({names}: {self.visits['case_id'].nunique()} cases, {len(self.visits)} visits, "
            f"{len(self.points)} points)"
        )


def load_results(*runs: str | Path, results: str | Path = "results", samples: bool = True) -> Results:
    """Load runs, each a path, an id, a unique prefix of one, or `last`; without any, every run in `results`.
    Raises StorageError.

    Without `samples` their column is null: it is most of what a run weighs, and few questions need it.
    """
    folder = results_folder(results)
    paths = [find_run(str(run), folder) for run in runs] or [fetched(path) for path in run_folders(folder)]
    headers = [read_header(path) for path in paths]
    if len({header["run_id"] for header in headers}) < len(headers):
        raise UsageError(
            "the same run is given twice", where=" ".join(map(str, runs)), hint="Give each run once."
        )
    visits = [read_visits(path, samples=samples) for path in paths]
    points = [read_points(path, header["run_id"]) for path, header in zip(paths, headers, strict=True)]
    return Results(
        [header | {"lost": _lost(header, found)} for header, found in zip(headers, visits, strict=True)],
        _frame([migrated(found.table) for found in visits], VISITS_SCHEMA),
        _frame(points, POINTS_SCHEMA.append(pa.field("run_id", pa.string()))),
    )


def _lost(header: Mapping[str, Any], found: Visits) -> list[str]:
    """What is gone of a run's visits, in sentences; usually nothing."""
    lacking = (header.get("visits") or 0) - found.table.num_rows
    return [
        *([f"Lines of journal.jsonl that cannot be read: {found.torn}."] if found.torn else []),
        *([f"{lacking} of {header['visits']} repetitions cannot be found."] if lacking > 0 else []),
    ]


def find_case(identity: str, results: Path) -> tuple[Results, dict[Any, Any]]:
    """A case by its id, or the beginning of one: the newest run that has it, and its row of the summary.
    Raises UsageError."""
    folders = run_folders(results)
    for path in reversed(folders):
        try:
            run = load_results(path, samples=False)
        except StorageError:  # one broken run must not hide the others
            continue
        rows = (
            run.summary[run.summary["case_id"].str.startswith(identity)] if len(run.visits) else run.summary
        )
        if rows["case_id"].nunique() > 1:
            raise UsageError(
                "more than one case begins so", where=identity, hint=" ".join(sorted(set(rows["case_id"])))
            )
        if len(rows):
            return run, rows.to_dict("records")[0]
    raise UsageError(
        f"there is no such case in {len(folders)} runs",
        where=identity,
        hint="Reports show the id of every case.",
    )


def _frame(tables: list[pa.Table], schema: pa.Schema) -> pd.DataFrame:
    whole = pa.concat_tables(tables, promote_options="permissive") if tables else schema.empty_table()
    frame: pd.DataFrame = whole.to_pandas(strings_to_categorical=False)
    for name in frame.columns:
        if isinstance(frame[name].dtype, pd.CategoricalDtype):
            frame[name] = frame[name].astype("str")
    return frame


def as_json_values(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A row of a frame as JSON values: numbers plain, what is not there null."""

    def plain(value: Any) -> Any:
        if hasattr(value, "tolist"):
            return plain(value.tolist())
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        return None if isinstance(value, float) and value != value else value

    return {str(name): plain(value) for name, value in row.items()}
