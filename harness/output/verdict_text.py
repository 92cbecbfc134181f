"""Verdicts in words: signs, figures and sentences that a terminal, a job summary and JSON share.

In: a `Comparison`. Out: text, or JSON values.
"""

from __future__ import annotations

import re
from collections import Counter
from math import log
from typing import TYPE_CHECKING, Any

from harness.analysis.comparability import in_words
from harness.core import units
from harness.core.gate import ALL_CASES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.analysis.comparison import Comparison

SIGNS = {
    "regressed": "✗",
    "improved": "✓",
    "same": "=",
    "inconclusive": "?",
    "not comparable": "!",
    "new": "+",
    "missing": "-",
}
MOVED = ("regressed", "improved")
JUDGED = (*MOVED, "same", "inconclusive")  # by their change
METRICS = {"latency_s": "latency", "peak_bytes": "peak memory"}


def change(row: Mapping[Any, Any]) -> str:
    """`+5.1 % (+4.2 to +6.0)`: how far head is from base, with the 90 % interval of a latency; empty where it
    is not known."""
    ratio = row["ratio"]
    if ratio is None or ratio != ratio:
        return ""
    if row["metric"] != "latency_s":
        return percent(ratio)
    interval = (
        f" ({_signed(row['ratio_low'])} to {_signed(row['ratio_high'])})"
        if row["ratio_low"] == row["ratio_low"]
        else ""
    )
    return f"{percent(ratio)}{interval}"


def amount(row: Mapping[Any, Any], side: str) -> str:
    """The figure of `base` or `head`, in its unit; empty where there is none."""
    value = row[side]
    if value is None or value != value:
        return ""
    return units.seconds(value) if row["metric"] == "latency_s" else units.size(value)


def gauge(row: Mapping[Any, Any], reach: float, letters: int) -> str:
    """The 90 % interval drawn over plus and minus `reach`: `|` at both tolerances, `-` the interval, `o` the
    change; an arrow where it goes on."""
    tolerance, ratio = row["tolerance"], row["ratio"]
    if ratio is None or ratio != ratio or row["metric"] != "latency_s":
        return ""
    half = letters // 2

    def at(change: float) -> int:
        return half + round(half * max(min(change / reach, 1.0), -1.0))

    drawn = [" "] * letters
    low, high = (row[end] - 1 if row[end] == row[end] else ratio - 1 for end in ("ratio_low", "ratio_high"))
    for i in range(at(low), at(high) + 1):
        drawn[i] = "-"
    for end in (-tolerance, 0.0, tolerance) if tolerance == tolerance else (0.0,):
        if drawn[at(end)] == " ":
            drawn[at(end)] = "." if end == 0.0 else "|"
    drawn[at(ratio - 1)] = "o"
    drawn[0] = "<" if low < -reach else drawn[0]
    drawn[-1] = ">" if high > reach else drawn[-1]
    return "".join(drawn).rstrip()


def counted(row: Mapping[Any, Any]) -> str:
    """How many pairs, or visits of the smaller side, a row stands on."""
    return "" if row["pairs"] is None or row["pairs"] != row["pairs"] else f"{row['pairs']:.0f}"


def subject(row: Mapping[Any, Any]) -> str:
    """Which case a row is about, and what of it where that is not latency."""
    return str(row["label"]) if row["metric"] == "latency_s" else f"{row['label']}, {METRICS[row['metric']]}"


def short_names(rows: Sequence[Mapping[Any, Any]]) -> tuple[list[str], str]:
    """The labels of verdicts without the words that all cases have, and those words; the first word, a kind,
    stays. The row of all cases together keeps its own."""
    apart = {row["label"]: _words_of(row["label"]) for row in rows if row["match_id"] != ALL_CASES}
    first = next(iter(apart.values()), [])
    shared = [
        word for word in first[1:] if len(apart) > 1 and all(word in words[1:] for words in apart.values())
    ]
    short = {
        label: " ".join([words[0], *(word for word in words[1:] if word not in shared)])
        for label, words in apart.items()
    }
    return [short.get(row["label"], row["label"]) for row in rows], " ".join(shared)


def _words_of(label: str) -> list[str]:
    """The words of a label, with the batch and the size apart and equal channels once."""
    words = list[str]()
    for word in label.split():
        shape, channels = re.fullmatch(r"(\d+)x\d+x(\d+x\d+)", word), re.fullmatch(r"(\d+)->\1", word)
        words += [f"batch={shape[1]}", shape[2]] if shape else [channels[1]] if channels else [word]
    return words


def visible_rows(comparison: Comparison) -> list[dict[Any, Any]]:
    """The rows to read: all that are shown, but memory only where it is not the same."""
    rows = comparison.shown
    return rows[(rows["metric"] == "latency_s") | (rows["verdict"] != "same")].to_dict("records")


def sentences(comparison: Comparison) -> list[str]:
    """What came out, before any table: what differs between the arms' environments, verdicts, the common
    factor, what could have been found."""
    said = []
    if comparison.differences:
        said.append(f"Environments differ: {in_words(comparison.differences)}.")
    said.append(f"{_counts(comparison)}.")
    common = comparison.common
    if common:
        ratio = common.ratio
        changes = f"{percent(ratio.value)} ({percent(ratio.low)} to {percent(ratio.high)}, 95 %)"
        said.append(
            f"All {common.cases} cases shifted together: median {changes}. Look for one common cause."
        )
    if comparison.smallest_effect is not None:
        said.append(
            f"Minimum detectable slowdown: {units.percent(comparison.smallest_effect)} "
            "(80 % power, median case)."
        )
    shown = [f"Showing {comparison.only} only."] if comparison.only else []
    return said + comparison.notes + shown


def headline(found: Comparison) -> str:
    """What came out, with the change that says most and its interval: what all cases share, then each of
    them, then memory."""
    rows = found.verdicts.to_dict("records")
    latencies = [row for row in rows if row["metric"] == "latency_s" and row["match_id"] != ALL_CASES]
    whole = [row for row in rows if row["match_id"] == ALL_CASES and row["verdict"] in MOVED]
    memory = [row for row in rows if row["metric"] == "peak_bytes" and row["verdict"] in MOVED]
    names = dict(zip((row["label"] for row in latencies), short_names(latencies)[0], strict=True))
    said = [f"all cases together {row['verdict']}: {change(row)}" for row in whole]
    for verdict in MOVED:
        said += _most([row for row in latencies if row["verdict"] == verdict], len(latencies), names)
        said += _most([row for row in memory if row["verdict"] == verdict], len(latencies), names)
    if not any(row["verdict"] == "regressed" for row in rows):
        said = ["nothing regressed", *said]
    if len(said) == 1 and said[0] == "nothing regressed":
        said = [_nothing(latencies)]
    counts = Counter(row["verdict"] for row in latencies)
    said += [f"{found.undecided} inconclusive"] * bool(found.undecided)
    said += [f"{counts[verdict]} {verdict}" for verdict in ("not comparable", "missing") if counts[verdict]]
    return units.capitalized("; ".join(said))


def _most(moved: Sequence[Mapping[Any, Any]], cases: int, names: Mapping[str, str]) -> list[str]:
    """How many cases moved so, and the one that did most; nothing where none did."""
    if not moved:
        return []
    most = max(moved, key=lambda row: abs(log(row["ratio"])))
    worst = "worst" if most["verdict"] == "regressed" else "best"
    what = "" if most["metric"] == "latency_s" else " in peak memory"
    label = names.get(most["label"], most["label"]).replace("->", "→")
    return [f"{len(moved)} of {cases} cases {most['verdict']}{what}; {worst}: {label}, {change(most)}"]


def _nothing(latencies: Sequence[Mapping[Any, Any]]) -> str:
    """Nothing moved: how many are the same, and the largest change of those that were judged."""
    judged = [row for row in latencies if row["verdict"] in JUDGED and row["ratio"] == row["ratio"]]
    if not judged:
        return "no verdict on any latency"
    largest = max(judged, key=lambda row: abs(log(row["ratio"])))
    same = sum(row["verdict"] == "same" for row in judged)
    if not same:
        return f"no verdict on any latency; the largest change is {change(largest)}"
    tolerance = largest["tolerance"]
    within = f" within {units.percent(tolerance)}" if tolerance == tolerance else ""
    return (
        f"nothing regressed: {same} of {len(latencies)} cases the same{within}; "
        f"the largest change is {change(largest)}"
    )


def _counts(comparison: Comparison) -> str:
    """`1 regressed, 42 same; peak memory: 43 same`."""
    parts = []
    cases = comparison.verdicts[comparison.verdicts["match_id"] != ALL_CASES]
    for metric, rows in cases.groupby("metric", sort=False):
        counts = rows["verdict"].value_counts()
        words = ", ".join(f"{counts[verdict]} {verdict}" for verdict in SIGNS if verdict in counts)
        parts.append((metric, f"{METRICS[str(metric)]}: {words}"))
    return "; ".join(text for _, text in sorted(parts)) or "nothing to compare"


def percent(ratio: float) -> str:
    """A ratio as a change: `+5.1 %`."""
    return f"{_signed(ratio)} %"


def _signed(ratio: float) -> str:
    text = f"{100 * (ratio - 1):+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def as_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison as JSON values, by its own names."""
    from harness.store.results import as_json_values  # pandas, which text alone does not need

    common = comparison.common
    return {
        "base": comparison.names[0],
        "head": comparison.names[1],
        "code": comparison.code,
        "counts": comparison.counts,
        "smallest_effect": comparison.smallest_effect,
        "common": None
        if common is None
        else {
            "ratio": common.ratio.value,
            "low": common.ratio.low,
            "high": common.ratio.high,
            "cases": common.cases,
        },
        "differences": {name: list(values) for name, values in comparison.differences.items()},
        "notes": comparison.notes,
        "cases": [as_json_values(row) for row in comparison.shown.to_dict("records")],
    }
