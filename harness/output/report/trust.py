"""What the page says about each run: what, when, on what, and whether to trust it.

In: the headers of runs, visits, points and the summary. Out: plain text in frozen objects. No figure is
judged here, only counted.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.analysis.labels import how_well, in_words, listed
from harness.core import units
from harness.core.columns import TRUST
from harness.core.policy import Policy
from harness.output.report.tables import Cell, Table
from harness.output.views.points import asked_cases, run_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from harness.store.results import Results

REASONS = {
    "load": "other processes competed for the CPU",
    "modes": "repetitions fall into two groups",
    "drift": "latency drifted within a repetition",
    "correlated": "consecutive samples are correlated",
    "throttled": "the device throttled because of heat",
    "low_clock": "the device ran below three quarters of its default clock",
    "resolution": "samples are close to the clock's resolution",
    "outliers": "many outliers",
    "page_faults": "page faults although the heap was kept",
    "few_samples": "fewer samples than requested",
}
STATES = {
    "complete": "",
    "time_limit": "Stopped by its time limit: finished measurements are complete",
    "interrupted": "Interrupted: finished measurements are complete",
    "running": "Not finished: still running",
    "killed": "Killed: finished measurements are complete",
    "failed": "Ended by an error: finished measurements are complete",
}
MOSTLY = 0.5  # of the cases within their target: with fewer the page says so in amber
OBEDIENT = ("Cudnn", "Mkldnn")  # back ends by torch's names that follow fp32_precision
FACT_NAMES = {
    "cpu": "CPU",
    "cuda": "CUDA",
    "cudnn": "cuDNN",
    "onednn": "oneDNN",
    "libc": "C library",
    "torch_git": "torch, commit",
    "variables": "Environment variables",
    "version": "Convscope",
    "git": "Checkout",
}


@dataclass(frozen=True, slots=True)
class Badge:
    """One line on how far the figures can be trusted; `level` is a word of trust."""

    text: str
    level: str


@dataclass(frozen=True, slots=True)
class Share:
    """How many visits came out with a word of trust."""

    word: str
    visits: int
    share: float


@dataclass(frozen=True, slots=True)
class RunCard:
    """One run in the head of the page."""

    name: str
    run_id: str
    title: str
    when: str
    lasted: str
    marks: tuple[str, ...]  # what must not be overlooked: quick, interrupted, still running
    device: tuple[tuple[str, str], ...]
    shares: tuple[Share, ...]
    trust: str
    reasons: tuple[tuple[str, str], ...]
    outcome: str
    problems: tuple[str, ...]
    suite: str


def badge(results: Results, summary: pd.DataFrame) -> Badge:
    """How many cases are known as well as asked, and how wide the usual interval is."""
    ended = results.visits[results.visits["status"] == "ok"]
    measured = summary[summary["latency_s"].notna()]
    if measured.empty or ended.empty:
        return Badge("no latency", "invalid")
    target = (results.runs[0].get("policy") or {}).get("target_width", Policy().target_width)
    halves = (measured["latency_high_s"] - measured["latency_low_s"]) / (2 * measured["latency_s"])
    known = float((measured["trust"] == "ok").mean())
    quick = "quick run · " if any(run.get("quick") for run in results.runs) else ""
    asked, have = len(asked_cases(results.points)), len(measured.drop_duplicates(["run_id", "asked_id"]))
    if have < MOSTLY * asked:
        return Badge(f"{have} of {asked} cases have a latency", "invalid")
    within = (
        f"{int((measured['trust'] == 'ok').sum())} of {len(measured)} cases within ±{units.percent(target)}"
    )
    text = f"{quick}{within} · median ±{units.percent(halves.median())}"
    return Badge(text, "noisy" if quick or known < MOSTLY else "ok")


def run_cards(results: Results, summary: pd.DataFrame) -> list[RunCard]:
    """A card for each run, in order of loading."""
    names = run_names(results)
    return [
        _card(names[header["run_id"]], header, results, summary[summary["run_id"] == header["run_id"]])
        for header in results.runs
    ]


def _card(name: str, header: Mapping[str, Any], results: Results, summary: pd.DataFrame) -> RunCard:
    identity, suite = header["run_id"], header.get("suite", {})
    visits = results.visits[results.visits["run_id"] == identity]
    points = results.points[results.points["run_id"] == identity]
    wall = header.get("wall_s")
    timed = f", {units.duration(header['timed_s'])} of it timed" if header.get("timed_s") else ""
    return RunCard(
        name=name,
        run_id=identity,
        title=suite.get("title") or suite.get("name") or identity,
        when=f"{visits['started_at'].min():%Y-%m-%d %H:%M} UTC" if len(visits) else "",
        lasted=f"{units.duration(wall)}{timed}" if wall is not None else "unknown",
        marks=(*_marks(header), *mixed_arithmetic(summary)),
        device=_device(header, summary),
        shares=_shares(visits),
        trust=_trust(summary, header["policy"]["target_width"]),
        reasons=_reasons(visits),
        outcome=_outcome(summary, points),
        problems=_problems(summary, points),
        suite=suite.get("text") or "",
    )


def _marks(header: Mapping[str, Any]) -> tuple[str, ...]:
    state = header.get("state", "unknown")
    said = STATES.get(state, f"Not finished: {state}")
    return tuple(
        filter(
            None,
            [
                "Quick run: approximate, cannot be a baseline" if header.get("quick") else "",
                said,
                *header["lost"],
            ],
        )
    )


def _device(header: Mapping[str, Any], summary: pd.DataFrame) -> tuple[tuple[str, str], ...]:
    found = list(header.get("environments", {}).values())

    def of(*keys: str) -> str:
        return ", ".join(dict.fromkeys(str(e[k]) for e in found for k in keys if e.get(k)))

    devices = ", ".join(sorted(summary["device_name"].dropna().unique())) or of("cpu")
    threads = ", ".join(f"{int(n)}" for n in sorted(summary["threads_used"].dropna().unique())) or of(
        "threads_available"
    )
    rows = (
        ("Device", devices),
        ("torch", of("torch")),
        ("Threads", threads),
        ("Instruction set", of("instruction_set")),
        ("System", of("system", "kernel")),
    )
    return tuple(row for row in rows if row[1])


def _shares(visits: pd.DataFrame) -> tuple[Share, ...]:
    ended = visits[visits["status"] == "ok"]
    return tuple(
        Share(word, n, n / len(ended)) for word in TRUST if (n := int((ended["trust"] == word).sum()))
    )


def _trust(summary: pd.DataFrame, target: float) -> str:
    """What is known, how wide the intervals are, and how many do not stand between processes."""
    measured = summary[summary["latency_s"].notna()]
    if measured.empty:
        return "No case has a latency."
    halves = (measured["latency_high_s"] - measured["latency_low_s"]) / (2 * measured["latency_s"])
    said = (
        f"{how_well(summary, target)}. The median 95 % interval is ±{units.percent(halves.median())}, "
        "the widest "
    )
    said = f"{said[:1].upper()}{said[1:]}±{units.percent(halves.max())}."
    within = int((measured["interval"] == "within").sum())
    return said + (
        f" {_cases(within)} fewer than three processes: the interval is from within one process "
        "and too narrow."
        if within
        else ""
    )


def _cases(count: int) -> str:
    return "1 case has" if count == 1 else f"{count} cases have"


def _reasons(visits: pd.DataFrame) -> tuple[tuple[str, str], ...]:
    counted = Counter(
        reason for reasons in visits["trust_reasons"] if reasons is not None for reason in reasons
    )
    return tuple(
        (f"{n} × {in_words(reason)}", REASONS.get(reason, "")) for reason, n in counted.most_common()
    )


def _outcome(summary: pd.DataFrame, points: pd.DataFrame) -> str:
    asked = points["case_id"].nunique()
    have = int(summary.loc[summary["latency_s"].notna(), "asked_id"].nunique())
    skipped = int(points["skip_reason"].notna().sum())
    parts = [f"{have} of {asked} cases have a latency"]
    failed = int((~summary["status"].isin(["ok", "skipped"])).sum())
    reached = summary["asked_id"].nunique()
    parts += [f"{failed} failed"] * bool(failed) + [f"{asked - reached} were not reached"] * (asked > reached)
    parts += [f"{skipped} of {len(points)} points were skipped"] * bool(skipped)
    return (
        f"{listed(parts)}."
        if failed or skipped or asked > reached
        else f"{parts[0]}; none failed, none was skipped."
    )


def _problems(summary: pd.DataFrame, points: pd.DataFrame) -> tuple[str, ...]:
    """Why cases have no figure, or lack a fact, most frequent first, and where fvcore counts otherwise than
    we do."""
    broken = summary[~summary["status"].isin(["ok"])]
    why = Counter(
        f"{in_words(row['status'])}: {row['message'] or 'no message'}" for row in broken.to_dict("records")
    )
    why += Counter(f"survey: {message}" for message in summary["survey_message"].dropna())
    why += Counter(f"skipped: {reason}" for reason in points["skip_reason"].dropna())
    differ = disagreements(summary)
    counted = (
        [f"fvcore's MAC count differs in {len(differ)} of {len(summary)} cases; the table of cases has both."]
        if len(differ)
        else []
    )
    return (
        *counted,
        *(f"{n} × {text}" for text, n in why.most_common(8)),
        *([f"and {len(why) - 8} other reasons"] if len(why) > 8 else []),
    )


def mixed_arithmetic(summary: pd.DataFrame) -> list[str]:
    """A warning for each device and precision under which some back ends reduce float32 products and others
    do not: kinds are not alike there.

    cuDNN and oneDNN obey fp32_precision; torch's own kernels (depthwise on CUDA above all) always compute in
    full float32.
    """
    asked = summary[
        (summary["dtype"] == "float32") & (summary["fp32_precision"] != "ieee") & summary["backend"].notna()
    ]
    said = []
    for (device, precision), group in asked.groupby(["device_name", "fp32_precision"], observed=True):
        obeys = group["backend"].map(
            lambda names: all(name.startswith(OBEDIENT) for name in names.split("+"))
        )
        if obeys.nunique() > 1:
            full, reduced = group.loc[~obeys, "kind"], group.loc[obeys, "kind"]
            own = ", ".join(sorted(set(group.loc[~obeys, "backend"])))
            said.append(
                f"On {device} {listed(in_words(kind) for kind in reduced.unique())} convolutions "
                f"multiply in {precision}, "
                f"{listed(in_words(kind) for kind in full.unique())} ones in full float32 ({own}): "
                "measure with fp32_precision = ieee to compare them"
            )
    return said


def disagreements(summary: pd.DataFrame) -> pd.DataFrame:
    """The cases whose MACs fvcore counts otherwise."""
    return summary[summary["macs_fvcore"].notna() & (summary["macs_fvcore"] != summary["macs"])]


def environment_tables(results: Results) -> tuple[Table | None, Table]:
    """The facts that differ between environments, where there are several, and those that do not."""
    names = run_names(results)
    columns: dict[str, tuple[list[str], dict[str, Any]]] = {}
    for header in results.runs:
        arms = {arm: found.get("environment_id") for arm, found in header.get("arms", {}).items()}
        for key, facts in header.get("environments", {}).items():
            sides = [arm for arm, environment in arms.items() if environment == key and arm != "main"]
            run = [f"run {names[header['run_id']]}"] if len(names) > 1 else []
            columns.setdefault(key, ([], facts))[0].append(" ".join([*run, *sides]))
    keys = dict.fromkeys(fact for _, facts in columns.values() for fact in facts)
    texts = {fact: [_fact(fact, facts.get(fact)) for _, facts in columns.values()] for fact in keys}
    differing = [fact for fact, found in texts.items() if len(set(found)) > 1]
    headings = ("Fact", *(", ".join(filter(None, sides)) or "Value" for sides, _ in columns.values()))
    rows = tuple((Cell(_fact_name(fact)), *map(Cell, texts[fact])) for fact in differing)
    same = tuple((Cell(_fact_name(fact)), Cell(texts[fact][0])) for fact in keys if fact not in differing)
    return Table(headings, rows) if rows else None, Table(("Fact", "Value"), same)


def policy_table(results: Results) -> Table:
    """How much was measured and by which version: a row a key, a column a run."""
    names = run_names(results)
    told = [
        header.get("policy", {}) | {"version": header.get("version"), "git": header.get("git")}
        for header in results.runs
    ]
    keys = dict.fromkeys(key for facts in told for key in facts)
    headings = ("Policy", *(f"Run {name}" if len(names) > 1 else "Value" for name in names.values()))
    rows = [(Cell(_fact_name(key)), *(Cell(_fact(key, facts.get(key))) for facts in told)) for key in keys]
    return Table(headings, tuple(rows))


def _fact_name(name: str) -> str:
    plain = name.removesuffix("_bytes").removesuffix("_s").replace("_", " ")
    return FACT_NAMES.get(name, plain if plain.startswith("torch") else plain[:1].upper() + plain[1:])


def _fact(name: str, value: Any) -> str:
    if value is None or value == {} or value == []:
        return "none"
    if isinstance(value, dict):
        return ", ".join(f"{key}={item}" for key, item in sorted(value.items()))
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if name.endswith("_bytes"):
        return units.size(value)
    return f"{value:g} s" if name.endswith("_s") and isinstance(value, (int, float)) else str(value)
