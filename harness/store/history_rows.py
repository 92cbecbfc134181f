"""What history keeps of a run: a row an arm and case, small enough that ten thousand runs load in a second.

In: `Results` of one run. Out: a table by `HISTORY_SCHEMA`. A row of the head of an A/B also has the ratio
that history follows; its `anchor` names the base. Not here: where rows are kept (`history_store`), what they
say (`analysis/history`).
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from harness.analysis.arm_changes import changes_of
from harness.analysis.comparability import MUST_MATCH, facts
from harness.analysis.pair_effects import pair_ratios, paired_effects
from harness.core.case import Case, written
from harness.core.errors import UsageError
from harness.core.interval import Interval
from harness.core.stats import CONFIDENCE, student_t
from harness.store.baselines import WHOLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from harness.store.results import Results

HISTORY_VERSION = 1
FEWEST_PAIRS = 2  # one pair has no spread
VERSIONS = ("torch", "torch_git", "onednn", "cuda", "cudnn", "driver", "kernel", "python")


class Field(NamedTuple):
    """A column of history: its name, arrow type and meaning."""

    name: str
    type: pa.DataType
    meaning: str


_WORD = pa.dictionary(pa.int32(), pa.string())
_TIME = pa.timestamp("us", tz="UTC")
FIELDS = (
    Field("schema", pa.int16(), "version of this list, now 1"),
    Field("added_at", _TIME, "when the run was added; of a run that was added twice the later rows count"),
    Field("run_id", _WORD, "the run"),
    Field("started_at", _TIME, "when the run began"),
    Field("committed_at", _TIME, "date of the commit; null outside a checkout"),
    Field("commit", _WORD, "full hash of the commit that was checked out where convscope ran"),
    Field("tag", _WORD, "its first tag, if it has one: a release"),
    Field("branch", _WORD, "its branch"),
    Field("changed", pa.bool_(), "whether files of the checkout differed from the commit"),
    Field("suite", _WORD, "name of the suite"),
    Field("version", _WORD, "of convscope"),
    Field("method", pa.int16(), "how a latency is computed from samples, as in run.json"),
    Field("arm", _WORD, "main; base or head in an A/B"),
    Field("anchor", _WORD, "name of the base that the ratio is to; null without a ratio"),
    Field("joins", _WORD, "name of the anchor that the head becomes; null in other runs"),
    *(Field(name, _WORD, "environment: must be equal within a series") for name in MUST_MATCH[:-1]),
    Field(MUST_MATCH[-1], pa.int32(), "environment: must be equal within a series"),
    *(Field(name, _WORD, "environment: reported where it differs") for name in VERSIONS),
    Field("device_name", _WORD, "the device"),
    Field("threads_used", pa.int32(), "threads as resolved"),
    Field("case_id", _WORD, "of what the arm ran"),
    Field("label", _WORD, "the case in words"),
    Field("kind", _WORD, "one of the five"),
    Field("status", _WORD, "as in the summary: ok, or why there is no latency"),
    Field("trust", _WORD, "as in the summary"),
    Field("visits", pa.int32(), "valid repetitions behind the latency"),
    Field("latency_s", pa.float64(), "seconds a call"),
    Field("latency_low_s", pa.float64(), "lower end of the 95 % confidence interval"),
    Field("latency_high_s", pa.float64(), "upper end"),
    Field("ratio", pa.float64(), "head's time over the anchor's, compared in turns"),
    Field("ratio_low", pa.float64(), "lower end of the 95 % confidence interval"),
    Field("ratio_high", pa.float64(), "upper end"),
    Field("pairs", pa.int32(), "pairs behind the ratio"),
)
HISTORY_SCHEMA = pa.schema(
    [pa.field(field.name, field.type, True, {"meaning": field.meaning}) for field in FIELDS],
    {"convscope_history": str(HISTORY_VERSION)},
)


def rows_of(run: Results, *, anchor: str | None = None, joins: str | None = None) -> pa.Table:
    """The rows of one run. `anchor` names the base of an A/B (default: its torch and what it changes),
    `joins` the anchor that its head becomes. Raises UsageError for a run that history cannot follow."""
    header = run.runs[0]
    faults = unfit(run)
    if faults:
        raise UsageError(f"cannot be added: {'; '.join(faults)}", where=header["run_id"])
    if not run.is_ab and (anchor or joins):
        raise UsageError(
            "has one arm, so there is no anchor to name",
            where=header["run_id"],
            hint="Measure against one: convscope ab SUITE --base-python ANCHOR",
        )
    shared = _of_run(header) | {"joins": joins}
    ratios = _ratios(run.visits) if run.is_ab else {}
    rows = []
    for row in run.summary.to_dict("records"):
        arm = str(row["arm"])
        environment = facts(header, arm)
        found = ratios.get(row["asked_id"]) if arm == "head" else None
        rows.append(
            shared
            | {name: _text(environment.get(name)) for name in (*MUST_MATCH[:-1], *VERSIONS)}
            | {"threads_available": environment.get("threads_available"), "arm": arm}
            | _of_case(row)
            | (found or {})
            | {"anchor": (anchor or anchor_name(header)) if found else None}
        )
    return pa.Table.from_pylist(rows, HISTORY_SCHEMA)


def unfit(run: Results) -> list[str]:
    """Why history cannot follow a run; empty where it can."""
    header = run.runs[0]
    found = []
    if run.is_ranking:
        found.append("it ranks arms; history follows runs and A/Bs")
    if header["quick"]:
        found.append("it is a quick run")
    if header["state"] not in WHOLE:
        found.append(f"it was not finished ({header['state']})")
    return found or ["it has no repetition"] * run.visits.empty


def anchor_name(header: Mapping[str, Any]) -> str:
    """What the base of an A/B is called where nobody names it: `torch 2.12.0, implementation=native`."""
    changes = [f"{axis}={written(value)}" for axis, value in changes_of(header, "base").items()]
    return ", ".join([f"torch {facts(header, 'base').get('torch')}", *changes])


def _of_run(header: Mapping[str, Any]) -> dict[str, Any]:
    """What all rows of a run have in common."""
    git = header.get("git") or {}
    return {
        "schema": HISTORY_VERSION,
        "added_at": datetime.now(timezone.utc),
        "run_id": header["run_id"],
        "started_at": datetime.strptime(header["run_id"][:15], "%Y%m%dT%H%M%S").replace(tzinfo=timezone.utc),
        "committed_at": datetime.fromisoformat(git["committed_at"]) if git.get("committed_at") else None,
        "commit": git.get("commit"),
        "tag": git.get("tag"),
        "branch": git.get("branch"),
        "changed": git.get("changed"),
        "suite": header["suite"]["name"],
        "version": header.get("version"),
        "method": header["method"],
    }


def _of_case(row: Mapping[Any, Any]) -> dict[str, Any]:
    """What a row of the summary says of its case; what is not there is null."""
    known = {name: row[name] for name in ("case_id", "kind", "status", "trust", "visits")}
    figures = {name: _number(row[name]) for name in ("latency_s", "latency_low_s", "latency_high_s")}
    threads = _number(row["threads_used"])
    return (
        known
        | figures
        | {
            "label": Case.from_row(row).label,
            "device_name": _text(row["device_name"]),
            "threads_used": None if threads is None else int(threads),
        }
    )


def _ratios(visits: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """By asked_id, the ratio of an A/B's case with its 95 % interval: from its confirming pairs alone where
    it has any, as its verdict is."""
    pairs = pair_ratios(visits.assign(match_id=visits["asked_id"]))
    confirmed = pairs.loc[pairs["stage"] == "confirm", "match_id"]
    effects = paired_effects(pairs[(pairs["stage"] == "confirm") | ~pairs["match_id"].isin(confirmed)])
    found = {}
    for identity, effect in effects[effects["count"] >= FEWEST_PAIRS].iterrows():
        half = student_t((1 + CONFIDENCE) / 2, int(effect["degrees"])) * float(effect["error"])
        ratio = Interval.around(float(effect["mean"]), half)
        ends = {"ratio": ratio.value, "ratio_low": ratio.low, "ratio_high": ratio.high}
        found[str(identity)] = ends | {"pairs": int(effect["count"])}
    return found


def _text(value: Any) -> str | None:
    return None if value is None or value != value else str(value)


def _number(value: Any) -> float | None:
    return None if value is None or value != value else float(value)
