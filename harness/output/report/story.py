"""What a page says, and in which order: by its shape a headline with one picture and a few facts, then
sections of charts.

In: `Results`, their points and summary. Out: a `Story`. Where to add a chart: a module in `charts`, and its
place in `_sections_of_one` below.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from harness.analysis import case_ratio, networks
from harness.analysis import findings as rules
from harness.analysis import machines as on_machines
from harness.analysis.labels import in_words, labels, sentence
from harness.core import units
from harness.output import ranking_text, verdict_text
from harness.output.report.charts.anatomy import anatomy
from harness.output.report.charts.forest import forest
from harness.output.report.charts.heat_maps import heat_maps
from harness.output.report.charts.latency import latency
from harness.output.report.charts.layers import strips, ways
from harness.output.report.charts.machines import machines
from harness.output.report.charts.memory import memory
from harness.output.report.charts.ranking import ranking
from harness.output.report.charts.roofline import roofline
from harness.output.report.charts.savings import savings
from harness.output.report.charts.settings import settings
from harness.output.report.drawing import case_anchor
from harness.output.views import machines as machines_view
from harness.output.views.networks import measured
from harness.output.views.points import asked_cases, without_latency
from harness.output.views.sweeps import fullest, reference
from harness.tasks.versus import about, ranked
from harness.tasks.whatif import NETWORKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd

    from harness.analysis.finding import Finding
    from harness.analysis.machines import Place
    from harness.analysis.ranking import Ranking
    from harness.output.report.chart import Chart
    from harness.output.report.verdict_section import Judged
    from harness.output.views.shape import Shape
    from harness.output.views.sweeps import Sweep
    from harness.store.results import Results

MOST_FACTS = 4  # on the first screen; more are folded
MOST_REASONS = 4
# the rules of findings that speak of settings, from which a page of settings takes its headline
OF_SETTINGS = ("Page faults", "Layout", "Dtype", "Mode")
REMEDIES = {
    "invalid": "Run it again on a quiet machine: convscope doctor names what is busy.",
    "not reached": "Run it again, with a longer --time-limit if that ended it.",
    "out of memory": "Ask for smaller cases, or for another device.",
    "crashed": "convscope measure repeats one and prints what it left.",
    "timeout": "Raise visit_limit_s in [policy], or ask for smaller cases.",
}


@dataclass(frozen=True, slots=True)
class Fact:
    """A sentence after a few words, and the id of what shows it."""

    head: str
    text: str
    target: str


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with its charts; `folded` where the shape asks for them less."""

    id: str
    heading: str
    charts: tuple[Chart, ...]
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Story:
    """The whole: `picture` is on the first screen, and its title is the headline."""

    headline: str
    subtitle: str
    picture: Chart | None
    facts: tuple[Fact, ...]
    more: tuple[Fact, ...]
    sections: tuple[Section, ...]


@dataclass(frozen=True, slots=True)
class Material:
    """What a story is made from: runs, a row a point, a row a case, the shape, what was judged and found."""

    results: Results
    points: pd.DataFrame
    summary: pd.DataFrame
    shape: Shape
    judged: Sequence[Judged]
    found: Sequence[Finding]
    rankings: Sequence[Ranking]
    places: Sequence[Place]

    @property
    def measured(self) -> pd.DataFrame:
        """The rows of the summary that have a latency."""
        return self.summary[self.summary["latency_s"].notna()]


def story(
    results: Results, points: pd.DataFrame, summary: pd.DataFrame, shape: Shape, judged: Sequence[Judged]
) -> Story:
    """What is to be said of these results, by their shape."""
    rankings = ranked(results) if shape.name == "versus" else []
    places = machines_view.machines(results) if shape.name == "machines" else []
    of = Material(results, points, summary, shape, judged, rules.findings(summary), rankings, places)
    picture = _picture(of)
    headline = _headline(of, picture)
    if any(run.get("quick") for run in results.runs) and shape.name != "failed":
        headline = f"Roughly, from one repetition: {headline[:1].lower()}{headline[1:]}"
    sections = _sections(of, picture)
    facts = _facts(of, picture)
    subtitle = picture.subtitle if picture else ""
    return Story(headline, subtitle, picture, tuple(facts[:MOST_FACTS]), tuple(facts[MOST_FACTS:]), sections)


def _picture(of: Material) -> Chart | None:
    shape, lead = of.shape, of.shape.leading
    if shape.name in ("ab", "runs"):
        return next((chart for one in of.judged if (chart := _forest(one))), None)
    if shape.name == "versus":
        return ranking(of.rankings)
    if shape.name == "machines":
        return machines(of.places)
    if shape.name == "network":
        return strips(shape.networks)
    if shape.name in ("failed", "single"):
        return None
    if lead is None:
        return next((chart for sweep in shape.ways if (chart := ways(sweep))), None)
    if shape.name == "plane":
        return heat_maps(lead)
    if shape.name == "sweep":
        return savings(lead) or latency(lead)
    cases = set(lead.frame["case_id"])
    mine = (f for f in of.found if f.rule in OF_SETTINGS and f.headline and {*f.cases[:2]} <= cases)
    return settings(lead, next((finding.headline for finding in mine), ""))


def _forest(one: Judged) -> Chart | None:
    name = "-".join(one.name.lower().split())
    return forest(one.comparison, name) if one.comparison else None


def _headline(of: Material, picture: Chart | None) -> str:
    if of.shape.name == "failed":
        why = without_latency(of.points, of.summary)
        (status, message), _ = Counter(why).most_common(1)[0]
        reason = message if status in ("invalid", "not reached") else f"{status} ({message})"
        return f"{len(why)} of {len(asked_cases(of.points))} cases could not be measured: {reason}"
    if picture:
        return picture.title
    refused = [one.refusal for one in of.judged if one.refusal]
    if refused:
        return f"These runs cannot be compared: {refused[0]}"
    compared = next((one.comparison for one in of.judged if one.comparison), None)
    return verdict_text.headline(compared) if compared else _of_few(of.measured)


def _of_few(measured_cases: pd.DataFrame) -> str:
    """Of a page that has no picture: the latency of its case and how far from its roof it is; of two cases
    how many times as long one takes."""
    names = [sentence(label) for label in labels(measured_cases)]
    rows = sorted(
        zip(names, measured_cases.to_dict("records"), strict=True), key=lambda one: one[1]["latency_s"]
    )
    if len(rows) > 1:
        (fast, quick), (slow, long) = rows[0], rows[-1]
        longer = units.times(case_ratio.times(quick, long), f" as long as {fast}")
        return f"{units.capitalized(slow)} takes {longer}"
    name, row = rows[0]
    ends = f"{units.seconds(row['latency_low_s'])} to {units.seconds(row['latency_high_s'])}"
    said = f"{units.capitalized(name)} takes {units.seconds(row['latency_s'])} ({ends})"
    if row["attainable_s"] == row["attainable_s"]:
        times = units.significant(row["latency_s"] / row["attainable_s"], 2)
        said += f", {times} times its roofline time; bottleneck: {in_words(row['bound']) or 'unknown'}"
    return said


def _facts(of: Material, picture: Chart | None) -> list[Fact]:
    """What else is to be said. A finding that the headline is of stays: it says where the opposite holds."""
    if of.shape.name == "failed":
        why = Counter(without_latency(of.points, of.summary)).most_common(MOST_REASONS)
        return [
            Fact(status.capitalize(), _reason(count, message, status), "cases")
            for (status, message), count in why
        ]
    if of.shape.name in ("ab", "runs"):
        return [Fact("", text, "verdicts") for one in of.judged for text in one.sentences]
    if of.shape.name == "versus":
        texts = [*about(of.results), *ranking_text.sentences(of.rankings)]
        return [Fact("", text, "ranking") for text in texts]
    if of.shape.name == "machines":
        apart = on_machines.sentences(of.places)[1:]
        return [Fact("", text, "machines") for text in (*on_machines.ranking_sentences(of.places), *apart)]
    said = [one for one in of.found if one.rule != rules.CAVEAT]  # the badge says how wide intervals are
    if of.shape.name == "network":
        said = [*networks.findings(measured(of.shape.networks[0])[0].layers), *said]
    elsewhere = picture.id if picture else "cases"
    facts = [Fact(one.rule, one.text, case_anchor(one.cases[0]) if one.cases else elsewhere) for one in said]
    return [*facts, *_single(of.measured)] if of.shape.name == "single" else facts


def _reason(count: int, message: str, status: str) -> str:
    cases = "1 case" if count == 1 else f"{count} cases"
    return f"{cases}: {message}. {REMEDIES.get(status, '')}".strip()


def _single(measured_cases: pd.DataFrame) -> list[Fact]:
    """What else is to be said of one case, or of two."""
    facts = []
    for label, row in zip(labels(measured_cases), measured_cases.to_dict("records"), strict=True):
        rate = units.count(row["flops"] / row["latency_s"])
        known = [
            f"{rate}FLOP/s",
            f"back end {row['backend'] if isinstance(row['backend'], str) else 'unknown'}",
            f"median call {units.seconds(row['typical_s'])}",
        ]
        if row["peak_bytes"] == row["peak_bytes"]:
            held = units.size(row["resident_bytes"] + row["peak_bytes"])
            known.append(f"{held} at the peak of a call, inputs and weights included")
        facts.append(
            Fact(units.capitalized(sentence(label)), f"{', '.join(known)}.", case_anchor(row["case_id"]))
        )
    return facts


def _sections(of: Material, picture: Chart | None) -> tuple[Section, ...]:
    """The charts beside the picture. Of two sides only their ratios are drawn: their levels were not measured
    to be compared."""
    if of.shape.name in ("failed", "ab", "versus"):
        return ()
    found = _sections_of_runs(of) if of.shape.name in ("machines", "runs") else _sections_of_one(of)
    others = [
        replace(one, charts=tuple(chart for chart in one.charts if not picture or chart.id != picture.id))
        for one in found
    ]
    return tuple(section for section in others if section.charts)


def _sections_of_runs(of: Material) -> list[Section]:
    levels = _charts(latency(sweep) for sweep in of.shape.sweeps)
    return [
        Section("changes", "Other comparisons", _charts(_forest(one) for one in of.judged)),
        Section("latency", "Latency of each run", levels, folded=True),
    ]


def _sections_of_one(of: Material) -> list[Section]:
    shape, lead = of.shape, of.shape.leading
    ceilings = {run["run_id"]: run.get("ceilings") or () for run in of.results.runs}
    others = [sweep for sweep in shape.sweeps if sweep is not lead]
    drawn = others if shape.name == "settings" else shape.sweeps
    return [
        Section("savings", "Savings along other axes", _charts(savings(sweep) for sweep in others)),
        Section("networks", "Other networks", _charts(strips([net]) for net in _other_networks(of))),
        Section("why", "Anatomy: where the time of a call goes", _charts([anatomy(_explained(of))])),
        Section(
            "roof", "Roofline: distance from this machine's limits", _charts([roofline(of.summary, ceilings)])
        ),
        Section("ways", "Alternatives for one layer", _charts(ways(sweep) for sweep in shape.ways)),
        Section(
            "latency",
            "Latency",
            _charts(latency(sweep) or settings(sweep) for sweep in drawn),
            folded=shape.name == "plane",
        ),
        Section("memory", "Memory", _charts([next(filter(None, map(memory, shape.sweeps)), None)])),
    ]


def _other_networks(of: Material) -> list[Sweep]:
    """Those that the picture does not show."""
    return [net for net in of.shape.networks[1:] if net.name not in NETWORKS]


def _charts(found: Iterable[Chart | None]) -> tuple[Chart, ...]:
    return tuple(chart for chart in found if chart)


def _explained(of: Material) -> pd.DataFrame:
    """The cases whose anatomy is drawn: of a sweep three places of its usual setting, of settings the place
    with most kinds, of a network its layers in the fastest setting."""
    shape, lead = of.shape, of.shape.leading
    if lead is None:
        return of.summary
    if shape.name == "network":
        chosen: set[Any] = {layer.row["case_id"] for layer in measured(lead)[0].layers}
    elif shape.name == "settings":
        at, _ = fullest(lead.frame)
        chosen = set(lead.frame.loc[lead.frame["x"] == at, "case_id"])
    else:
        _, frame = reference(lead)
        places = sorted(set(frame["x"]))
        some = {places[0], places[len(places) // 2], places[-1]}
        chosen = set(frame.loc[frame["x"].isin(some), "case_id"])
    return of.summary[of.summary["asked_id"].isin(chosen)]
