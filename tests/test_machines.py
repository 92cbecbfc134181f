"""Several machines: which kind is fastest on each, where they disagree, and what a call costs."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from harness.analysis.machines import places, price, ranking, sentences
from tests.conftest import Convscope, Stub

EPYC, GPU = "EPYC", "H200"


def row(machine: str, place: str, kind: str, latency_s: float, half: float = 0.02) -> dict[str, object]:
    return {
        "machine": machine,
        "place": place,
        "kind": kind,
        "latency_s": latency_s,
        "latency_low_s": (1 - half) * latency_s,
        "latency_high_s": (1 + half) * latency_s,
    }


def measured(*rows: dict[str, object]) -> pd.DataFrame:
    return pd.DataFrame(list(rows))


APART = (
    row(EPYC, "64", "depthwise_separable", 1e-3),
    row(EPYC, "64", "standard", 2e-3),
    row(GPU, "64", "depthwise_separable", 3e-5),
    row(GPU, "64", "standard", 2e-5),
)


def test_machines_disagree_where_each_has_a_kind_that_is_faster_than_the_others_kind() -> None:
    (found,) = places(measured(*APART))
    assert found.disagree
    (text,) = sentences([found])
    assert "depthwise separable wins on EPYC (1.00 ms) and standard wins on H200 (20.0 µs)" in text


def test_they_do_not_where_intervals_overlap() -> None:
    near = [*APART[:2], row(GPU, "64", "depthwise_separable", 2.02e-5), APART[3]]
    (found,) = places(measured(*near))
    assert not found.disagree
    assert "No two machines disagree" in sentences([found])[0]


def test_a_layer_counts_where_two_machines_measured_two_kinds_each() -> None:
    assert places(measured(*APART[:3])) == [], "one kind on the GPU"
    assert places(measured(*APART[:2])) == [], "one machine"


def test_the_fastest_setting_of_a_kind_counts() -> None:
    (found,) = places(measured(*APART, row(GPU, "64", "depthwise_separable", 1e-5)))
    assert found.fastest[GPU].kind == "depthwise_separable"


def test_a_part_is_no_rival_of_the_layer_that_it_is_a_part_of() -> None:
    (found,) = places(
        measured(*APART, row(EPYC, "64", "depthwise", 1e-4), row(EPYC, "64", "pointwise", 1e-4))
    )
    assert list(found.fastest[EPYC].latencies) == ["depthwise_separable", "standard"]


def test_a_machine_on_which_the_whole_layer_failed_is_left_out() -> None:
    """There its parts alone would be fastest."""
    parts = [row(GPU, "64", kind, 1e-6) for kind in ("depthwise", "pointwise")]
    assert places(measured(*APART[:2], *parts)) == []


def test_kinds_rank_by_the_geometric_mean_over_layers() -> None:
    more = [row(EPYC, "128", "depthwise_separable", 1e-3), row(EPYC, "128", "standard", 8e-3)]
    more += [row(GPU, "128", "depthwise_separable", 1e-5), row(GPU, "128", "standard", 1e-5)]
    found = places(measured(*APART, *more))
    assert ranking(found, EPYC) == pytest.approx({"depthwise_separable": 1.0, "standard": 4.0})


def test_a_million_calls_of_a_millisecond_are_a_thousand_seconds() -> None:
    assert price(1e-3, 3.6) == pytest.approx(1.0)


def test_the_command_compares_two_runs(convscope: Convscope, stub: Stub, tmp_path: Path) -> None:
    slow = {"values": {"device_name": EPYC}}
    cpu = stub({"match": {"kind": "standard"}, "latency_s": 4e-3, **slow}, slow, name="cpu")
    fast = {"values": {"device_name": GPU}}
    gpu = stub(
        {"match": {"kind": "standard"}, "latency_s": 1e-4, **fast}, fast, name="gpu", environment={"cpu": "b"}
    )
    for python in (cpu, gpu):
        words = ("-a", "kind=standard,depthwise_separable", "-a", "in_channels=16,32", "-a", "size=14")
        assert convscope("run", *words, "--python", python).code == 0
    runs = sorted(path.name for path in (tmp_path / "results").iterdir())
    ended = convscope("machines", *runs, "--price", f"{GPU}=3.60", "--json")
    assert ended.code == 0, ended.err
    assert [place["disagree"] for place in ended.json["places"]] == [True, True]
    fastest = ended.json["places"][0]["fastest"]
    assert fastest[GPU]["kind"] == "standard"
    assert fastest[GPU]["price_per_million_calls"] == pytest.approx(0.1, rel=0.1)
    shown = convscope("machines", *runs)
    assert "! 16->16 at 14x14" in shown.out
    for words, said in (
        ((runs[0],), "no two machines"),
        ((*runs, "--price", "EPIC=1"), "Did you mean EPYC"),
        ((*runs, "--price", "EPYC=-1"), "no machine with a price"),
    ):
        refused = convscope("machines", *words)
        assert (refused.code, said in refused.err) == (2, True), refused.err
