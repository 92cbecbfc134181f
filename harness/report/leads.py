"""The first sentences of the page: what a reader should know before any chart, each with its figures and its chart.

In: the sweeps, the summary, the charts that were drawn. Out: a few `Lead`s, fewer where the data say less. Only differences past
both intervals and above 10 % are spoken of. Not here: causes and advice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness import units
from harness.report.chart import listed, slug
from harness.report.pairs import NOTABLE, PAST, allocator_pairs, is_clear
from harness.report.sweeps import Sweep, fullest, panels, place, reference, sweeps
from harness.report.tables import highest, kind_name, labels, lowest, sentence

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from harness.report.chart import Chart


@dataclass(frozen=True, slots=True)
class Lead:
    """A sentence, the few words before it, and the chart that shows it."""

    head: str
    text: str
    chart: str


def leads(points: pd.DataFrame, summary: pd.DataFrame, charts: Sequence[Chart]) -> list[Lead]:
    """What these results say first: the fastest kind, page faults, work against time, and what moved between runs."""
    found = [sweep for sweep in sweeps(points) if sweep.frame["series"].nunique() > 1]
    found.sort(key=lambda sweep: sweep.axis != "in_channels")
    said = [fastest(found[0]), _faults(summary), work(found[0])] if found else [_faults(summary)]
    moved = [Lead("Between runs", chart.caption, chart.id) for chart in charts if chart.id.startswith("sides-")]
    drawn = {chart.id for chart in charts}
    return [lead for lead in [*said, *moved] if lead and lead.chart in drawn]


def fastest(sweep: Sweep) -> Lead | None:
    """The kinds that no other beats, where most kinds stand side by side; None where all are too close to tell apart."""
    title, frame = reference(sweep)
    at, rows = fullest(frame)
    rows = rows.sort_values("latency_s", kind="stable")
    first = rows.iloc[0]
    behind = [row for _, row in rows.iterrows() if is_clear(first, row)]
    ahead = rows[: len(rows) - len(behind)]
    if not behind or set(ahead["case_id"]) & {row["case_id"] for row in behind}:
        return None
    names = listed(f"{kind_name(kind)} ({units.seconds(value)})" for kind, value in zip(ahead["series"], ahead["latency_s"], strict=True))
    verb = "is" if len(ahead) == 1 else "are"
    others = [behind[0], *(row for row in behind[1:] if row["series"] == "standard")]
    times = listed(f"{kind_name(row['series'])} takes {units.significant(row['latency_s'] / first['latency_s'], 2)} times as long" for row in others)
    where = ", ".join(filter(None, [place(sweep, at) if sweep.axis else "", title]))
    said = f"{names} {verb} fastest; {times}."
    return Lead("Fastest kind", f"At {where}, {said}" if where else f"{said[:1].upper()}{said[1:]}", f"latency-{slug(sweep.name)}")


def work(sweep: Sweep) -> Lead | None:
    """Where fewer FLOPs take more time, in the setting nearest to the defaults before all others; else how far time falls behind work."""
    title, frame = reference(sweep)
    for name, part in sorted(panels(sweep), key=lambda panel: panel[0] != title):
        against = [pair for _, rows in part.groupby("x") for pair in _against_work(rows)]
        if against:
            _, few, many = max(against, key=lambda pair: pair[0])
            where = ", ".join(filter(None, [place(sweep, few["x"]) if sweep.axis else "", name]))
            text = (
                f"{kind_name(few['series']).capitalize()} does {units.count(few['flops'])}FLOPs and takes {units.seconds(few['latency_s'])}; "
                f"{kind_name(many['series'])} does {units.count(many['flops'])}FLOPs in {units.seconds(many['latency_s'])}"
            )
            return Lead("Fewer FLOPs, more time", f"{text}{f' ({where})' if where else ''}.", "work")
    _, rows = fullest(frame)
    most, least = highest(rows, "flops"), lowest(rows, "flops")
    fewer, faster = most["flops"] / least["flops"], most["latency_s"] / least["latency_s"]
    if not is_clear(least, most) or max(fewer / faster, faster / fewer) < NOTABLE:
        return None
    names = f"{kind_name(least['series']).capitalize()} does {units.significant(fewer)} times fewer FLOPs than {kind_name(most['series'])}"
    text = f"{names} and is {units.significant(faster, 2)} times as fast."
    return Lead("FLOPs are not time", text, "work")


def _against_work(rows: pd.DataFrame) -> list[tuple[float, pd.Series[float], pd.Series[float]]]:
    """Pairs of kinds at one place where the one with clearly fewer FLOPs is clearly slower: how much, the slower, the faster."""
    cases = [row for _, row in rows.iterrows()]
    return [
        (few["latency_s"] / many["latency_s"], few, many)
        for few in cases
        for many in cases
        if many["flops"] > NOTABLE * few["flops"] and is_clear(many, few)
    ]


def _faults(summary: pd.DataFrame) -> Lead | None:
    pairs = allocator_pairs(summary)
    slower = pairs[pairs["clear"].astype(bool) & (pairs["ratio"] > 1)]
    if slower.empty:
        return None
    pairs["label"] = labels(pairs, without=["allocator"])
    worst = highest(pairs.loc[slower.index], "ratio")
    text = (
        f"With glibc's default allocator {sentence(worst['label'])} takes {units.seconds(worst['other_s'])} "
        f"instead of {units.seconds(worst['base_s'])}, {units.significant(worst['ratio'], 2)} times as long, "
        f"with {worst['other_faults']:,.0f} minor faults a call instead of {worst['base_faults']:,.0f}. "
        f"{len(slower)} of {len(pairs)} cases are slower so, {PAST}."
    )
    return Lead("Page faults", text, "allocators")
