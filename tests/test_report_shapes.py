"""Headline, picture and order of a report, by what its runs are about."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import harness
from harness.core.case import Case
from tests.conftest import Stub
from tests.made_runs import (
    CHANNELS_SUITE,
    FEW_SUITE,
    KINDS_SUITE,
    NETWORK_LAYERS,
    NETWORK_SUITE,
    Values,
    cost,
    failing,
    make_run,
)
from tests.pages import report

HEAD = 'schema = 1\nname = "other"\n[problem]\nsize = 28\n'
SWEEP = '[[sweep]]\nname = "few"\nkind = "depthwise"\nin_channels = [8, 16, 24]\n'


def test_a_sweep_says_what_a_saving_brings_with_its_interval(tmp_path: Path) -> None:
    page = report(
        make_run(
            tmp_path,
            CHANNELS_SUITE,
            latency=lambda case: 1.001e-3 if case.problem.kind == "depthwise_separable" else 2.5e-3,
            spread=1e-9,
        ),
        tmp_path=tmp_path,
    )
    assert re.fullmatch(
        r"At 64 input channels depthwise separable is 2\.5 times as fast as standard \(2\.[45] to 2\.[56]\), "
        r"with 1/7\.89 of the MACs",  # 9 * 64 / (9 + 64)
        page.headline,
    )
    assert page.figures[0] == "savings-channels"


def test_only_what_computes_the_same_is_ranked(tmp_path: Path) -> None:
    """Depthwise is by far the fastest here, and no layer by itself."""
    page = report(make_run(tmp_path, CHANNELS_SUITE), tmp_path=tmp_path)
    assert "is fastest" not in page.text
    assert "depthwise (part of a layer)" in page.text


def test_a_run_where_everything_failed_is_a_page_without_charts(tmp_path: Path) -> None:
    page = report(
        make_run(tmp_path, FEW_SUITE, change=lambda _: failing("killed", "crashed"), visits=1),
        tmp_path=tmp_path,
    )
    assert page.figures == []
    assert page.headline == "5 of 5 cases could not be measured: crashed (killed)"
    assert "convscope measure repeats one" in page.text
    assert all(row["Latency (µs)"] == "" for row in page.case_rows())


def test_runs_of_different_machines_are_set_side_by_side(tmp_path: Path) -> None:
    """On one a kind takes as long as its MACs say; on the other all but standard takes twice as long."""

    def on(device: str) -> Callable[[Case], Values]:
        return lambda case: {"device_name": device}

    def of_the_other(case: Case) -> float:
        return 1e-5 if case.problem.kind == "standard" else 2e-5

    slow = make_run(tmp_path, CHANNELS_SUITE, change=on("EPYC"))
    other = make_run(
        tmp_path, CHANNELS_SUITE, run_id="20261125T090000-made-0002", change=on("H200"), latency=of_the_other
    )
    page = report(slow, other, tmp_path=tmp_path)
    assert re.fullmatch(
        r"At 16->16 at 28x28 grouped is \S+ times as fast as standard \(.*\) on EPYC, "
        r"and standard is 2\.\d times as fast as grouped \(.*\) on H200; "
        r"machines disagree at (\d) of \1 layers",
        page.headline,
    ), page.headline
    assert page.figures[0] == "machines"
    assert "On H200 standard is fastest, " in page.text
    assert "Cannot be compared" not in page.text
    same = report(
        slow, make_run(tmp_path, CHANNELS_SUITE, run_id="again", change=on("EPYC")), tmp_path=tmp_path
    )
    assert "machines" not in same.figures, "two runs of one device are compared"
    again = make_run(tmp_path, CHANNELS_SUITE, run_id="20261126T090000-made-0003", change=on("EPYC"))
    assert "machines" not in report(slow, other, again, tmp_path=tmp_path).figures


def test_a_network_is_told_as_a_whole_and_layer_by_layer(tmp_path: Path) -> None:
    page = report(
        make_run(tmp_path, NETWORK_SUITE, latency=lambda _: 1.0015e-3, spread=1e-9), tmp_path=tmp_path
    )
    assert page.figures[0] == "network-net"
    assert re.match(r"13 convolutions with \w+ take 13\.0 ms \(1[23]\.\d ms to 13\.\d ms\)", page.headline)
    assert re.search(r"5 equal layers \(block 2 (?:depth|point)wise\) take 38 % of the time\.", page.text)
    assert "convscope whatif LAYERS.csv --replace" in page.text
    (layers,) = [found for found in page.tables if "Cumulative (%)" in found[0]]
    rows = [dict(zip(layers[0], row, strict=True)) for row in layers[1:]]
    assert [row["Layer"] for row in rows] == [line.split(",")[0] for line in NETWORK_LAYERS.splitlines()[1:]]
    assert [row["Share (%)"] for row in rows] == ["7.69", "7.69", "7.69", "38.5", "38.5"]
    assert rows[-1]["Cumulative (%)"] == "100"
    macs = [864 * 32**2, 288 * 32**2, 2048 * 32**2, 5 * 576 * 32**2, 5 * 4096 * 32**2]
    assert [float(row["MACs (%)"]) for row in rows] == pytest.approx(
        [100 * one / sum(macs) for one in macs], rel=0.01
    )
    parameters = [864, 288, 2048, 5 * 576, 5 * 4096]
    assert [float(row["Parameters (%)"]) for row in rows] == pytest.approx(
        [100 * one / sum(parameters) for one in parameters], rel=0.01
    )


def test_a_network_with_layers_missing_says_so_and_whole_settings_come_first(tmp_path: Path) -> None:
    def change(case: Case) -> Values:
        lost = case.setting.memory_format == "contiguous" and case.problem.kind == "standard"
        return failing("no room") if lost else {}

    page = report(make_run(tmp_path, NETWORK_SUITE, change=change), tmp_path=tmp_path)
    assert page.headline.startswith("13 convolutions with channels_last take ")
    text = NETWORK_SUITE.replace('["contiguous", "channels_last"]', '"contiguous"')
    one = report(make_run(tmp_path, text, run_id="one", change=change), tmp_path=tmp_path)
    assert one.headline.endswith("; 1 layer has no latency")


def test_a_replacement_is_told_as_a_gain_with_its_interval(tmp_path: Path) -> None:
    after = NETWORK_LAYERS.replace("32,64,32,1,1,1", "32,64,32,1,1,4").replace(
        "64,64,32,1,1,1", "64,64,32,1,1,4"
    )
    (tmp_path / "after.csv").write_text(after, encoding="utf-8")
    text = 'schema = 1\nname = "whatif"\n[[sweep]]\nname = "before"\nlayers = "net.csv"\n'
    text += '[[sweep]]\nname = "after"\nlayers = "after.csv"\n'
    page = report(
        make_run(
            tmp_path, text, latency=lambda case: 1e-3 if case.problem.groups == 4 else 2e-3, spread=1e-9
        ),
        tmp_path=tmp_path,
    )
    assert re.match(
        r"After the replacement the convolutions take 20\.0 ms instead of 26\.0 ms: "
        r"1\.3 times as fast \(1\.\d to 1\.\d\), with \d+ % of the MACs",
        page.headline,
    )


def test_several_runs_are_told_apart_and_compared(tmp_path: Path) -> None:
    text = KINDS_SUITE.replace("[16, 64, 256]", "[16, 64]")
    first = make_run(tmp_path, text)
    second = make_run(
        tmp_path,
        text,
        run_id="20261125T090000-made-0002",
        latency=lambda case: cost(case) * (2 if case.problem.kind == "grouped" else 1),
    )
    page = report(first, second, tmp_path=tmp_path)
    assert "Run A" in page.text
    assert "20261125T090000-made-0002" in page.text
    assert re.match(r"8 of 40 cases regressed; worst: grouped .*, \+\d+\.\d % \(\+", page.headline)
    assert page.figures[0] == "forest-b-against-a"
    assert "run A, contiguous, retained allocator" in page.text


def test_what_all_cases_share_is_in_the_headline(tmp_path: Path) -> None:
    first = make_run(tmp_path, CHANNELS_SUITE, visits=6)
    second = make_run(
        tmp_path,
        CHANNELS_SUITE,
        run_id="20261125T090000-made-0002",
        visits=6,
        latency=lambda case: 1.5 * cost(case),
    )
    page = report(first, second, tmp_path=tmp_path)
    assert re.match(r"All cases together regressed: \+\d+\.\d % \(", page.headline)


def test_two_cases_are_compared_and_no_chart_is_drawn_of_them(tmp_path: Path) -> None:
    text = KINDS_SUITE.partition("[[sweep]]")[0].partition("[setting]")[0]
    text += '[[sweep]]\nname = "two"\nkind = ["standard", "depthwise_separable"]\nin_channels = 64\n'
    page = report(make_run(tmp_path, text, spread=1e-9), tmp_path=tmp_path)
    assert re.match(r"Standard takes \d\.\d times as long as depthwise separable \(", page.headline)
    assert page.figures == []


def test_runs_of_different_processors_are_not_compared(tmp_path: Path) -> None:
    first = make_run(tmp_path, FEW_SUITE)
    other = {"e1": {"torch": "2.0-made", "cpu": "another", "threads_available": 2}}
    second = make_run(tmp_path, FEW_SUITE, run_id="20261125T090000-made-0002", environments=other)
    page = report(first, second, tmp_path=tmp_path)
    assert page.headline.startswith("These runs cannot be compared")
    assert "another" in page.headline
    assert not [name for name in page.figures if name.startswith("forest")]


def test_of_an_ab_only_ratios_of_pairs_are_drawn(tmp_path: Path) -> None:
    page = report(make_run(tmp_path, FEW_SUITE, arms=("base", "head")), tmp_path=tmp_path)
    assert page.figures == ["forest-a"]
    assert "Not for comparison." in page.text
    assert not re.search("times as (?:fast|long)", page.text)


def test_a_head_of_another_implementation_stands_beside_its_base(
    suite: Path, stub: Stub, own_folder: Path
) -> None:
    python = str(stub({"spread": 0.001}))
    run = harness.ab(suite, harness.Side(python), harness.Side(python, "mine:layer"))
    page = report(own_folder / "results" / run.runs[0]["run_id"], tmp_path=own_folder)
    assert "6 of 6 cases have a latency" in page.text
    assert page.figures == ["forest-a"]
    assert re.match(r"Nothing regressed: \d of 6 cases the same", page.headline)
    assert "not reached" not in page.text


def test_an_ab_beside_another_run_reached_what_it_reached(tmp_path: Path) -> None:
    ab = make_run(
        tmp_path, HEAD + SWEEP, arms=("base", "head"), reached=lambda case: case.problem.in_channels == 16
    )
    text = "cases were not measured and have no verdict"
    alone = re.search(rf"(\d+) {text}", report(ab, tmp_path=tmp_path).text)
    together = re.search(
        rf"(\d+) {text}",
        report(
            ab, make_run(tmp_path, HEAD + SWEEP, run_id="20261125T090000-made-0002"), tmp_path=tmp_path
        ).text,
    )
    assert alone
    assert together
    assert alone[1] == together[1]


def test_ways_to_have_one_layer_are_not_summed_up_as_a_network(tmp_path: Path) -> None:
    rows = 'rows = [{ layer = "whole" }, { layer = "half", repeat = 2, out_channels = 32 }'
    rows += ', { layer = "third", repeat = 3, out_channels = 16 }]'
    ways = f'[[sweep]]\nname = "ways"\nkind = "standard"\nin_channels = 64\n{rows}\n'
    page = report(
        make_run(tmp_path, HEAD + ways, latency=lambda _: 1.0015e-3, spread=1e-9), tmp_path=tmp_path
    )
    assert re.fullmatch(r"third ×3 takes 3\.0 times as long as whole ×1 \([23]\.\d to 3\.\d\)", page.headline)
    assert "convolutions take" not in page.text


def test_several_arms_are_a_matrix_with_a_ranking_of_each_case(
    suite: Path, stub: Stub, tmp_path: Path, own_folder: Path
) -> None:
    python = str(stub({"match": {"memory_format": "channels_last"}, "latency_s": 0.5e-3}, {"spread": 0.001}))
    sides = {
        "nchw": harness.Side(python),
        "nhwc": harness.Side(python, axes={"memory_format": "channels_last"}),
        "<one>": harness.Side(python, axes={"threads": "1"}),
    }
    run = harness.versus(sides, suite, pairs=3)
    page = report(tmp_path / "results" / run.runs[0]["run_id"], tmp_path=tmp_path)
    assert re.match(
        r"nhwc is fastest in 6 of 6 cases; most for \w+ .*, where .* takes \d\.\d+ times \(", page.headline
    )
    assert page.figures == ["ranking"]
    assert "nchw takes 2.0" in page.text
    (ranking,) = [found for found in page.tables if "Times the fastest" in found[0]]
    assert len(ranking) == 1 + 6 * 3
    assert "Not for comparison." in page.text
