"""Rankings of arms in words: headline, a block of lines a case, JSON values.

In: `Ranking`s. Out: text, or JSON values.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from harness.analysis.arm_changes import changes_of
from harness.analysis.ranking import NOTABLE_ERROR
from harness.core import units

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.analysis.ranking import Place, Ranking
    from harness.core.interval import Interval

METHOD = (
    "All intervals of a case hold together at 95 % (Bonferroni). = means: not told apart from the fastest."
)


def headline(found: Sequence[Ranking], reference: str | None = None) -> str:
    """Who is fastest, and by how much, in one sentence. `reference`: the arm whose distance is told, in place
    of that of the next one that is told apart."""
    known = [one for one in found if one.first]
    if not known:
        return "No case could be ranked."
    if len(known) == 1:
        return f"{_alone(known[0], reference)}."
    wins = Counter(one.first[0] for one in known if len(one.first) == 1)
    said = [f"{arm} is fastest in {count} of {len(found)} cases" for arm, count in wins.most_common()]
    tied = sum(len(one.first) > 1 for one in known)
    said += [f"{tied} {'case has' if tied == 1 else 'cases have'} no single fastest arm"] * bool(tied)
    clear = [
        (one.label, one.places[1]) for one in known if len(one.first) == 1 and one.places[1].over_fastest
    ]
    if clear:
        label, second = max(clear, key=lambda one: one[1].over_fastest.value if one[1].over_fastest else 1.0)
        assert second.over_fastest
        said.append(f"most for {label}, where {second.arm} takes {times(second.over_fastest)} as long")
    return f"{'; '.join(said)}."


def sentences(found: Sequence[Ranking]) -> list[str]:
    """A sentence a case: who is fastest, by how much, and who cannot be told from it."""
    return [f"{one.label}: {_alone(one, None)}." for one in found if one.first]


def _alone(one: Ranking, reference: str | None) -> str:
    """Of one case."""
    first, *others = one.places
    said = f"{first.arm} is fastest, {units.seconds(first.latency_s or 0.0)}"
    if len(one.first) > 1:
        said = f"{first.arm} looks fastest; {' and '.join(one.first[1:])} cannot be told from it"
    beside = next((place for place in others if place.arm == reference), None)
    beside = beside or next((place for place in others if place.over_fastest and not place.tied), None)
    if beside and beside.over_fastest:
        said += f"; {beside.arm} takes {times(beside.over_fastest)} as long"
    return said


def times(ratio: Interval) -> str:
    """`1.60 times (1.52 to 1.69)`."""
    value, low, high = (units.significant(end) for end in (ratio.value, ratio.low, ratio.high))
    return f"{value} times ({low} to {high})"


def headings(reference: str | None = None) -> list[str]:
    """Of the table of `lines`."""
    beside = f"times {reference}" if reference else "times as long"
    return ["", "arm", "latency ", beside, "peak memory ", ""]


def lines(one: Ranking, reference: str | None = None) -> list[list[str]]:
    """A case's arms as the cells of a table."""
    errors = [place.error for place in one.places if place.error]
    least = min(errors, default=0.0)
    return [
        _line(number, place, one.over(reference, place.arm) if reference else place.over_fastest, least)
        for number, place in enumerate(one.places, 1)
    ]


def _line(number: int, place: Place, ratio: Interval | None, least_error: float) -> list[str]:
    if place.latency_s is None:
        return ["!", place.arm, "", "", "", place.message or ""]
    error = place.error / least_error if place.error and least_error else 1.0
    return [
        "=" if place.tied else str(number),
        place.arm,
        units.seconds(place.latency_s),
        "" if ratio is None or ratio.low == ratio.high else times(ratio).replace(" times", ""),
        "" if place.peak_bytes is None else units.size(place.peak_bytes),
        f"numeric error {units.significant(error, 2)} times the smallest" if error >= NOTABLE_ERROR else "",
    ]


def as_json(header: Mapping[str, Any], found: Sequence[Ranking]) -> dict[str, Any]:
    """A run's rankings as JSON values, by their own names; ratios as a list of pairs of arms."""
    cases = [
        {
            "asked_id": one.asked_id,
            "label": one.label,
            "places": [asdict(place) for place in one.places],
            "ratios": [
                {"base": base, "other": other, **asdict(ratio)} for (base, other), ratio in one.ratios.items()
            ],
        }
        for one in found
    ]
    arms = {arm: changes_of(header, arm) for arm in header["arms"]}
    return {"run": header["run_id"], "state": header["state"], "arms": arms, "cases": cases}
