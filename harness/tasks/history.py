"""History for Python and the command: runs added to a store, what changed over them, changes accepted.

add("last", store="s3://bucket/history")
history("s3://bucket/history").findings
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from harness.analysis.case_histories import case_histories
from harness.analysis.history import blessing, judge
from harness.core.errors import UsageError, nearest
from harness.store import baselines
from harness.store.history_rows import HISTORY_SCHEMA, rows_of
from harness.store.history_store import HistoryStore
from harness.store.results import load_results

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from harness.analysis.history import Finding, History

# of what is stored, all but what neither tells histories apart nor is shown
LEFT_OUT = ("schema", "added_at", "branch", "changed", "status", "trust", "visits")


def add(
    *runs: str | Path,
    store: str,
    results: str | Path = "results",
    anchor: str | None = None,
    joins: str | None = None,
) -> list[str]:
    """Add runs to a store, each a path, an id, a unique prefix or `last`; adding one again changes nothing.
    Returns their run_ids. `anchor` names the base of an A/B, `joins` the anchor that its head becomes. Raises
    UsageError for a run that history cannot follow, StorageError."""
    loaded = [load_results(run, results=results, samples=False) for run in runs]
    tables = [rows_of(run, anchor=anchor, joins=joins) for run in loaded]
    for table in tables:
        HistoryStore(store).add(table)
    return [str(run.runs[0]["run_id"]) for run in loaded]


def history(store: str, *, case: str = "", since: str = "") -> History:
    """What changed over the runs of a store, in the cases whose label contains every word of `case` or whose
    id begins so, `since` a date or a commit. Raises UsageError where there is no run, no such case or commit,
    StorageError."""
    kept = HistoryStore(store)
    columns = [name for name in HISTORY_SCHEMA.names if name not in LEFT_OUT]
    rows = kept.read(columns).to_pandas()
    if rows.empty:
        raise UsageError(
            "holds no run yet", where=store, hint=f"Add one: convscope history add last --store {store}"
        )
    found = judge(case_histories(rows), kept.blessed())
    if since:
        found = found.since(_moment(since, rows))
    return found.of_cases(_chosen(found, case)) if case else found


def _chosen(found: History, case: str) -> set[str]:
    """The cases that are meant."""
    cases = {one.history.case_id: one.history.label for one in found.standings}
    words = case.split()
    chosen = {
        identity
        for identity, label in cases.items()
        if identity.startswith(case) or all(word in label for word in words)
    }
    if not chosen:
        raise UsageError("there is no such case", where=case, hint=nearest(case, sorted(cases.values())[:8]))
    return chosen


def _moment(since: str, rows: pd.DataFrame) -> datetime:
    """A date, or that of a commit by the beginning of its hash."""
    try:
        stated = datetime.fromisoformat(since)
        return stated if stated.tzinfo else stated.replace(tzinfo=timezone.utc)
    except ValueError:
        mine = rows[rows["commit"].astype("str").str.startswith(since)]
    if mine.empty:
        raise UsageError(
            "is neither a date nor a commit that was measured",
            where=since,
            hint="Write 2026-10-01 or a1b2c3.",
        )
    moment: datetime = mine["committed_at"].fillna(mine["started_at"]).min().to_pydatetime()
    return moment


def stale_baselines(found: History, results: Path) -> list[str]:
    """A sentence for every baseline of a folder that history has left behind."""
    return [
        f"Baseline {row['name']} ({row['run_id']}) is stale: {said}"
        for row in baselines.saved(results)
        if (said := changed_since(found, row["run_id"], row["cpu"]))
    ]


def changed_since(found: History, run_id: str, cpu: object) -> str:
    """What history knows to have changed after a run, on its processor, and to stand; empty where nothing
    did."""
    began = datetime.strptime(run_id[:15], "%Y%m%dT%H%M%S").replace(tzinfo=timezone.utc)
    later = [
        one
        for one in found.findings
        if one.before["at"] >= began and not one.over and one.steps[0].history.machine["cpu"] == str(cpu)
    ]
    if not later:
        return ""
    changes = "1 change is" if len(later) == 1 else f"{len(later)} changes are"
    return f"{changes} known since, the latest before {max(one.after['at'] for one in later):%Y-%m-%d}."


def bless(store: str, change: str, why: str) -> Finding:
    """Accept a change, so that it fails no build any more. `change`: its id or the beginning of it. Raises
    UsageError where there is no such change."""
    found = history(store)
    matches = [finding for finding in found.findings if finding.id.startswith(change)]
    if len(matches) != 1:
        known = [finding.id for finding in found.findings]
        raise UsageError(
            "more than one change begins so" if matches else "there is no such change",
            where=change,
            hint=nearest(change, known) if known else "History has none.",
        )
    about: dict[str, Any] = blessing(matches[0], why) | {"at": datetime.now(timezone.utc).isoformat()}
    HistoryStore(store).bless(matches[0].id, about)
    return matches[0]
