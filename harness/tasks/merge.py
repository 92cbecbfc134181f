"""Runs of parts of a suite become one: for those who measure the parts on several machines and copy folders.

merge(["20261124T095503", "20261124T101207"])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.analysis.comparability import differing, facts, in_words, informative
from harness.core.errors import BusyError, NotComparable, UsageError
from harness.run.device_worker import PASSING
from harness.store.merged_run import write_merged
from harness.store.mirrors import results_folder
from harness.store.results import Results, load_results
from harness.store.run_folder import find_run, new_run_id, read_header

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

ALIKE = ("schema", "method", "policy", "quick")  # of run.json: how much was measured, and by which method


def merge(runs: Sequence[str | Path], *, results: str | Path = "results") -> Results:
    """One run of the points, cases and visits of several, which stay as they are. A case that was in two of
    them has the visits of both.

    Raises UsageError for fewer than two runs, for one twice and for A/Bs and rankings; BusyError for one that
    is being written; NotComparable for machines, interpreters or policies that differ; StorageError.
    """
    folder = results_folder(results)
    paths = [find_run(str(run), folder) for run in runs]
    if len({path.resolve() for path in paths}) < max(len(paths), 2):
        raise UsageError("takes two runs or more, each once", where="merge")
    headers = [read_header(path) for path in paths]
    for header in headers:
        _require_whole(header)
        _require_alike(headers[0], header)
    first = headers[0]
    header = first | {
        "run_id": new_run_id(first["suite"]["name"]),
        "merged": [header["run_id"] for header in headers],
        "ceilings": next((header["ceilings"] for header in headers if header.get("ceilings")), None),
        "state": "complete" if all(header["state"] == "complete" for header in headers) else "time_limit",
        "wall_s": sum(header["wall_s"] or 0.0 for header in headers),
        "timed_s": sum(header["timed_s"] or 0.0 for header in headers),
    }
    header.pop("cluster", None)
    return load_results(write_merged(folder, header, paths))


def _require_whole(header: Mapping[str, Any]) -> None:
    if header["state"] == "running":
        raise BusyError("is still running", where=header["run_id"], hint="Wait until it ends.")
    if set(header["arms"]) != {"main"}:
        raise UsageError("has sides that were measured in turns", where=header["run_id"])


def _require_alike(first: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Raises NotComparable with what differs."""
    changed = [name for name in ALIKE if first.get(name) != other.get(name)]
    if changed:
        raise NotComparable(
            f"differs from {first['run_id']} in {', '.join(changed)}",
            where=other["run_id"],
            hint="Compare them.",
        )
    if first["arms"]["main"]["environment_id"] == other["arms"]["main"]["environment_id"]:
        return
    known = [
        {name: value for name, value in facts(header, "main").items() if name not in PASSING}
        for header in (first, other)
    ]
    told = in_words(informative(*known) or differing(*known)) or "its devices are others"
    raise NotComparable(
        f"was measured elsewhere than {first['run_id']}: {told}",
        where=other["run_id"],
        hint=f"Set them side by side: convscope report {first['run_id']} {other['run_id']}",
    )
