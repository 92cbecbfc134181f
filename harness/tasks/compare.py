"""Which is held against which: a run against another or a baseline, or the two arms of an A/B; read from
their folders.

compare("main", "last")        a run against the baseline `main`
compare("last")                the arms of an A/B
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.analysis import comparability
from harness.analysis.arm_changes import arm_name, changed_axes
from harness.analysis.comparison import Completeness, judge_pairs, judge_runs
from harness.analysis.ranking import NOTABLE_ERROR
from harness.core import units
from harness.core.errors import NoBaseline, NotComparable, UsageError
from harness.core.gate import ALL_CASES, SIDES, Gate
from harness.store import baselines
from harness.store.mirrors import results_folder
from harness.store.results import Results, load_results
from harness.store.run_folder import find_run, run_folders
from harness.store.run_header import RUN_FILE
from harness.tasks.history import changed_since, history

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from harness.analysis.comparison import Comparison

STALE_DAYS = 90  # a quarter: by then a baseline has been seen to have a slack of several times


def compare(
    base: str | Path,
    head: str | Path | None = None,
    *,
    results: str | Path = "results",
    tolerance: float | None = None,
    metric: str | None = None,
    create: bool = False,
    force: bool = False,
    store: str | None = None,
) -> Comparison:
    """Judge the arms of one A/B run (`base` alone), or a run against another or against a baseline's name.

    The gate is that of the head's suite; `tolerance` replaces its latency's, `metric` leaves the others out.
    With `create`, a run that no baseline fits becomes it, and is compared with itself. `force` compares runs
    of different methods or policies all the same, and says so. A baseline that is old, or older than a change
    that the history in `store` knows, is said to be stale. Raises NotComparable by the name of the fields
    that differ, UsageError, StorageError.
    """
    folder = results_folder(results)
    own = load_results(base if head is None else head, results=folder, samples=False)
    gate = _gate(own) if tolerance is None else _gate(own).with_latency(tolerance)
    if head is None:
        return _narrowed(judge(own, gate), metric)
    known = _known(str(base), str(head), _of_one_arm(own), folder, create=create)
    judged = judge_two(known, own, gate, force=force)
    if baselines.exists(str(base), folder):
        judged = replace(
            judged, notes=[*judged.notes, *_how_stale(str(base), known.runs[0], own.runs[0], store)]
        )
    return _narrowed(judged, metric)


def _of_one_arm(run: Results) -> Results:
    if run.arms != {"main"}:
        raise UsageError(
            "holds several arms, which took turns",
            where=run.runs[0]["run_id"],
            hint="Give it alone: convscope versus --of RUN"
            if run.is_ranking
            else "Give it alone: convscope compare RUN",
        )
    return run


def _gate(run: Results) -> Gate:
    return Gate.from_json(run.runs[0].get("gate") or {})


def _known(name: str, head_name: str, head: Results, folder: Path, *, create: bool) -> Results:
    """What a run is compared with: a baseline of this name where there is one, else a run. With `create`, the
    run itself where nothing fits."""
    if not baselines.exists(name, folder):
        begins_so = [path for path in run_folders(folder) if path.name.startswith(name)]
        if name == "last" or (Path(name) / RUN_FILE).is_file() or (name and begins_so):
            return load_results(name, results=folder, samples=False)
    try:
        return baselines.fitting(name, head, folder, same_suite=create)
    except (NotComparable, NoBaseline):
        if not create:
            raise
        baselines.save(name, head, find_run(head_name, folder), folder)
        return head


def judge(run: Results, gate: Gate | None = None) -> Comparison:
    """Judge the two arms of one A/B run, by its suite's gate unless another is given. Raises UsageError for a
    run of one arm."""
    header = run.runs[0]
    if run.is_ranking:
        hint = "Show it: convscope versus --of RUN"
        raise UsageError("is a ranking of arms", where=header["run_id"], hint=hint)
    if not run.is_ab:
        hint = "Give a base before it: convscope compare BASE HEAD"
        raise UsageError("has one side, and nothing to compare it with", where=header["run_id"], hint=hint)
    completeness = _completeness(run)
    judged = judge_pairs(run.visits, gate or _gate(run), completeness, changed_axes(header))
    return replace(
        judged,
        names=(arm_name(header, "base"), arm_name(header, "head")),
        differences=comparability.informative(*(comparability.facts(header, arm) for arm in SIDES)),
        notes=[
            *_how_ended(completeness),
            *header["lost"],
            *_what_it_lacked(header),
            *_how_paired(header.get("order", "turns"), run.visits),
            *_how_exact(judged),
            *skipped(run),
            *_how_alike(run),
        ],
    )


def _completeness(run: Results) -> Completeness:
    """Of an A/B run."""
    header = run.runs[0]
    confirming = header.get("confirming") or {}
    return Completeness(
        quick=header["quick"],
        ended=header["state"],
        planned=confirming.get("pairs", {}),
        short=confirming.get("short", ()),
        unreached=run.points["case_id"].nunique() - run.visits["asked_id"].nunique(),
    )


def _how_ended(completeness: Completeness) -> list[str]:
    """What is to be said of a run that did not do all that was asked."""
    found = (
        []
        if completeness.ended in ("complete", "time_limit")
        else [f"The run did not finish ({completeness.ended})."]
    )
    return found + [f"{completeness.unreached} cases were not measured and have no verdict."] * bool(
        completeness.unreached
    )


def _what_it_lacked(header: Mapping[str, Any]) -> list[str]:
    """The time limit that would have held all pairs that were wanted."""
    lacking_s, limit_s = (
        (header.get("confirming") or {}).get("lacking_s") or 0.0,
        header["policy"]["time_limit_s"],
    )
    if not lacking_s or not limit_s:
        return []
    return [
        f"Confirming every undecided case needs {units.duration(lacking_s)} more: "
        f"--time-limit {limit_s + lacking_s:.0f}"
    ]


def _how_paired(order: str, visits: pd.DataFrame) -> list[str]:
    """What is to be said of pairs that did not take turns."""
    if order != "turns":
        return [f"The two sides were measured {order}, not in turns, so their noise is higher."]
    apart = visits.loc[(visits["turns"] == 0) & (visits["status"] == "ok"), "pair"].nunique()
    return [
        f"{apart} pairs were not measured in turns, because both sides do not fit the device; "
        "their noise is higher."
    ] * bool(apart)


def _how_exact(judged: Comparison) -> list[str]:
    """By how much the numeric errors of two sides differ, where that is by a factor of two or more."""
    rows = judged.verdicts[judged.verdicts["metric"] == "latency_s"]
    errors = rows[["base_error", "head_error"]].astype(float)
    ratios = (errors["head_error"] / errors["base_error"])[(errors > 0).all(axis=1)]
    said = []
    for word, found in (("larger", ratios), ("smaller", 1 / ratios)):
        notable = found[found >= NOTABLE_ERROR]
        if len(notable):
            where = f"in the median of {len(notable)} cases" if len(notable) > 1 else "in one case"
            times = units.significant(float(notable.median()), 2)
            said.append(f"The numeric error of head is {times} times {word} than base's {where}.")
    return said


def skipped(run: Results) -> list[str]:
    """How many points have no case, by reason."""
    reasons = run.points["skip_reason"].dropna().value_counts()
    if reasons.empty:
        return []
    said = "; ".join(f"{count}: {reason}" for reason, count in reasons.items())
    return [f"{reasons.sum()} of {len(run.points)} points were skipped ({said})."]


def _how_alike(run: Results) -> list[str]:
    """That nothing differs between the two sides, so that what is found is the machine's."""
    alike = (
        run.visits["environment_id"].nunique() == 1
        and (run.visits["case_id"] == run.visits["asked_id"]).all()
    )
    return ["Both sides are the same: this checks the machine and the method."] * bool(
        alike and len(run.visits)
    )


def judge_two(base: Results, head: Results, gate: Gate | None = None, *, force: bool = False) -> Comparison:
    """Judge a run against another, by the gate of its suite unless another is given. Raises NotComparable
    where they were measured differently, unless `force` overrules it, and UsageError for an A/B run."""
    base, head, gate = _of_one_arm(base), _of_one_arm(head), gate or _gate(head)
    headers = base.runs[0], head.runs[0]
    apart = comparability.differing(*(comparability.likeness(header, "main") for header in headers))
    forced = {name: values for name, values in apart.items() if force and name in comparability.HOW_MEASURED}
    apart = {name: values for name, values in apart.items() if name not in forced} | _differing_by_case(
        base.visits, head.visits
    )
    if apart:
        hint = "Use --force to compare them anyway." if set(apart) <= set(comparability.HOW_MEASURED) else ""
        where = f"{headers[0]['run_id']} and {headers[1]['run_id']}"
        raise NotComparable(
            f"were measured differently: {comparability.in_words(apart)}", where=where, hint=hint
        )
    if headers[0]["run_id"] == headers[1]["run_id"]:
        gate = replace(gate, inconclusive="pass")  # it cannot fail itself
    judged = judge_runs(
        base.visits,
        head.visits,
        gate,
        run_spread=comparability.run_spread(headers[1], headers[1]["arms"]["main"]["environment_id"]),
        asked={
            side: set(run.points["case_id"].dropna()) for side, run in zip(SIDES, (base, head), strict=True)
        },
        quick=headers[0]["quick"] or headers[1]["quick"],
    )
    return replace(
        judged,
        names=(headers[0]["run_id"], headers[1]["run_id"]),
        differences=comparability.informative(*(comparability.facts(header, "main") for header in headers)),
        notes=[
            *[f"Measured with different settings: {comparability.in_words(forced)}."] * bool(forced),
            *_how_apart(headers),
            *_how_old(judged, headers),
        ],
    )


def _how_apart(headers: tuple[dict[str, Any], dict[str, Any]]) -> list[str]:
    """What is to be said of two runs that were measured one after the other, and of the machine that both ran
    on."""
    if headers[0]["run_id"] == headers[1]["run_id"]:
        return ["The run is compared with itself: no baseline matched, or the same run was given twice."]
    machine = comparability.facts(headers[1], "main")
    days = " and ".join(dict.fromkeys(_day(header) for header in headers))
    return [
        f"Both ran on {machine.get('cpu')} ({machine.get('instruction_set')}), {days}.",
        (
            "Measured at different times: the change of each case excludes the shift that all cases share. "
            "`convscope ab` detects smaller changes."
        ),
    ]


def _day(header: Mapping[str, Any]) -> str:
    """When a run began, by its id: 2026-01-12."""
    stamp = header["run_id"]
    return f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:8]}"


def _how_old(judged: Comparison, headers: tuple[dict[str, Any], dict[str, Any]]) -> list[str]:
    """That a base lies behind what the code does now: from it a later slowdown would be measured too late."""
    latencies = judged.verdicts[judged.verdicts["metric"] == "latency_s"]
    whole, cases = (
        latencies[latencies["match_id"] == ALL_CASES],
        latencies[latencies["match_id"] != ALL_CASES],
    )
    improved = int((cases["verdict"] == "improved").sum())
    if whole["verdict"].tolist() == ["improved"]:
        improved = len(cases)
    if improved <= len(cases) / 2:
        return []
    cure = f"convscope baseline save NAME {headers[1]['run_id']}"
    return [
        f"{improved} of {len(cases)} cases improved since {_day(headers[0])}. Update the baseline: {cure}"
    ]


def _how_stale(name: str, base: Mapping[str, Any], head: Mapping[str, Any], store: str | None) -> list[str]:
    """That a baseline is old, or that history knows a change since: what it lets pass nobody sees."""
    days = (date.fromisoformat(_day(head)) - date.fromisoformat(_day(base))).days
    said = f"{days} days old. " * (days > STALE_DAYS)
    unread = []
    try:
        if store:
            cpu = comparability.facts(base, "main").get("cpu")
            said += changed_since(history(store), base["run_id"], cpu)
    except UsageError as error:  # what was measured is judged all the same
        unread = [f"The history says nothing of this baseline: {error.where} {error.what}."]
    cure = f"Update it: convscope baseline save {name} {head['run_id']}"
    return [f"The baseline is stale: {said.strip()} {cure}"] * bool(said) + unread


def _differing_by_case(base: pd.DataFrame, head: pd.DataFrame) -> comparability.Differences:
    """Of the cases that both have, the first whose threads or device differ."""
    names = ["threads_used", "device_name"]
    one, other = (
        visits[visits["status"] == "ok"].groupby("case_id")[names].first() for visits in (base, head)
    )
    both = one.merge(other, left_index=True, right_index=True, suffixes=("_base", "_head"))
    found = {}
    for name in names:
        pair = both[[f"{name}_base", f"{name}_head"]].dropna()
        unlike = pair[pair.iloc[:, 0] != pair.iloc[:, 1]]
        if len(unlike):
            found[name] = (unlike.iloc[0, 0], unlike.iloc[0, 1])
    return found


def _narrowed(comparison: Comparison, metric: str | None) -> Comparison:
    """One metric alone; a case that has no figure to judge stays whatever the metric."""
    if metric is None:
        return comparison
    rows = comparison.verdicts
    kept = rows[(rows["metric"] == metric) | rows["verdict"].isin(["not comparable", "missing", "new"])]
    return replace(comparison, verdicts=kept, common=comparison.common if metric == "latency_s" else None)
