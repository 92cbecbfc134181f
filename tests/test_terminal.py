"""What a terminal shows: lines that fit, the finding first, a sweep as a grid, a network in its order, and
verdicts that can be read at a glance."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.case import Case
from harness.core.gate import Gate
from harness.output import terminal, verdict_text
from harness.output.run_answer import run_answer
from harness.store.results import load_results
from harness.tasks.compare import judge, judge_two
from tests.made_runs import (
    CEILINGS,
    KINDS_SUITE,
    NETWORK_LAYERS,
    NETWORK_SUITE,
    SUITES,
    Values,
    below,
    cost,
    failing,
    make_run,
)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 80 columns, as COLUMNS tells it through a pipe."""
    monkeypatch.setenv("COLUMNS", "80")


def answer(run: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines of `run`'s answer."""
    run_answer(load_results(run), Path("results") / run.name)
    return capsys.readouterr().out.splitlines()


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("name", SUITES)
def test_no_line_of_a_runs_answer_is_wider_than_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    lines = answer(make_run(tmp_path, SUITES[name], ceilings=CEILINGS, change=below), capsys)
    assert [line for line in lines if len(line) > 80] == []
    assert lines[-1].startswith("Next: convscope report results/")


@pytest.mark.usefixtures("narrow")
def test_a_sweep_is_a_finding_and_a_grid_of_places_and_kinds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = KINDS_SUITE.replace('allocator = ["retained", "default"]\n', "")
    lines = answer(make_run(tmp_path, text), capsys)
    assert lines[0].startswith("At 64 input channels depthwise separable is ")
    heading = next(
        line for line in lines if "standard" in line and "separable" in line and "times" not in line
    )
    assert heading.split() == [
        "input",
        "channels",
        "standard",
        "grouped",
        "separable",
        "depthwise",
        "pointwise",
    ]
    rows = [line.split() for line in lines if re.match(r" +(16|64|256) ", line)]
    assert [row[0] for row in rows] == ["16", "64", "256"] * 2  # two layouts
    assert {"contiguous", "channels_last"} <= set(lines)


@pytest.mark.usefixtures("narrow")
def test_a_network_keeps_its_order_and_has_a_total(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = answer(make_run(tmp_path, NETWORK_SUITE), capsys)
    assert re.match(r"13 convolutions with \w+ take [\d.]+ ms \(", lines[0])
    layers = [line.split("  ")[0].strip() for line in lines if re.search(r"  x\d ", line)]
    assert layers == [line.split(",")[0] for line in NETWORK_LAYERS.splitlines()[1:]]


@pytest.mark.usefixtures("narrow")
def test_cases_without_a_latency_are_counted_with_their_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(case: Case) -> Values:
        lost = case.problem.kind == "grouped" and case.problem.in_channels == 16
        return failing("no room") if lost else {}

    run = make_run(tmp_path, change=change)
    lines = answer(run, capsys)
    assert "x 4 of 60 cases: out of memory: no room" in lines
    assert any(line.startswith("56 of 60 cases have a latency") for line in lines)
    assert any(" x " in line for line in lines if re.match(r" +16 ", line))


@pytest.mark.usefixtures("narrow")
def test_no_line_of_a_comparison_is_wider_than_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = make_run(tmp_path)
    second = make_run(tmp_path, run_id="20261125T090000-made-0002", latency=lambda case: 1.5 * cost(case))
    terminal.comparison(judge_two(load_results(first), load_results(second)))
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if len(line) > 80] == []
    assert re.match(r"All cases together regressed", lines[0])
    # the last line says it again: a long table scrolls the first away
    assert re.match(r"Regressed|Nothing regressed|Slower, not confirmed", lines[-1])


def test_a_wide_terminal_has_both_latencies_and_the_interval(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    run = make_run(tmp_path, KINDS_SUITE, arms=("base", "head"))
    terminal.comparison(judge(load_results(run)))
    lines = capsys.readouterr().out.splitlines()
    heading = next(line for line in lines if line.strip().startswith("case"))
    assert heading.split()[-4:] == ["base", "head", "pairs", "why"]
    assert [line for line in lines if re.search(r"[+-]\d\.\d % \([+-]?\d.* to ", line)]


def test_a_tolerance_of_nothing_is_drawn_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = load_results(make_run(tmp_path, KINDS_SUITE, arms=("base", "head")))
    terminal.comparison(judge(run, Gate(tolerance={"latency_s": 0.0})))
    assert "60 inconclusive" in " ".join(capsys.readouterr().out.split())


def test_words_that_all_cases_share_stand_once() -> None:
    labels = [
        "standard 64->64 k3 1x64x56x56 cpu float32 channels_last",
        "depthwise 64->128 k3 1x64x56x56 cpu float32 contiguous",
        "all 2 cases together",
    ]
    rows = [{"label": label, "match_id": "all" if label.startswith("all") else label} for label in labels]
    names, shared = verdict_text.short_names(rows)
    assert shared == "k3 batch=1 56x56 cpu float32"
    assert names == ["standard 64 channels_last", "depthwise 64->128 contiguous", "all 2 cases together"]


def row_of(ratio: float, low: float, high: float) -> dict[str, Any]:
    """A verdict's row, as far as a gauge looks at it."""
    ends = {"ratio": ratio, "ratio_low": low, "ratio_high": high}
    return {"metric": "latency_s", "tolerance": 0.02} | ends


def test_a_gauge_shows_tolerance_interval_and_change() -> None:
    assert verdict_text.gauge(row_of(1.0, 0.99, 1.01), 0.08, 17) == "      |-o-|"
    assert verdict_text.gauge(row_of(1.06, 1.05, 1.2), 0.08, 17) == "      | . |  -o->"
    assert verdict_text.gauge(row_of(1.5, 1.4, 1.6), 0.08, 17) == "      | . |     >"


@given(
    changes=st.tuples(*[st.floats(min_value=-0.9, max_value=9.0)] * 3).map(sorted),
    reach=st.floats(min_value=0.01, max_value=1.0),
)
def test_a_gauge_is_never_longer_than_it_may_be(changes: list[float], reach: float) -> None:
    low, middle, high = (1 + change for change in changes)
    drawn = verdict_text.gauge(row_of(middle, low, high), reach, 17)
    assert len(drawn) <= 17
    assert set(drawn) <= set(" -o|.<>")
    assert drawn.count("o") <= 1
