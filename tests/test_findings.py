"""What a run says in sentences: each rule where it holds, and silence where nothing holds."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.analysis.case_ratio import with_moments
from harness.analysis.finding import Finding
from harness.analysis.findings import CAVEAT, findings
from harness.analysis.summary import summarize
from harness.core.case import Case, Setting
from harness.core.problem import Problem
from harness.store.results import load_results
from tests.made_runs import KINDS_SUITE, cost, make_run
from tests.visits import visit

RECORDED = Path(__file__).parent / "data" / "aa_pairs.parquet"
LAYERS = """
schema = 1
name = "made"
[problem]
size = 28
"""


SHUFFLED = (
    LAYERS
    + """
[[sweep]]
name = "labels"
x = "in_channels"
kind = ["standard", "depthwise", "pointwise"]
in_channels = [16, 32, 64, 128]
allocator = ["retained", "default"]
"""
)


def found(tmp_path: Path, text: str = KINDS_SUITE, **made: Any) -> dict[str, Finding]:
    """By rule, what a made run says."""
    return {finding.rule: finding for finding in of_run(make_run(tmp_path, text, **made))}


def of_run(path: Path) -> list[Finding]:
    """What a run says."""
    loaded = load_results(path)
    return findings(with_moments(loaded.summary, loaded.visits))


def of_visits(rows: list[dict[str, Any]]) -> list[Finding]:
    """What these visits say."""
    visits = pd.DataFrame(rows)
    return findings(with_moments(summarize(visits), visits))


def test_page_faults_are_told_with_what_they_cost(tmp_path: Path) -> None:
    said = found(tmp_path)["Page faults"]
    assert "2.0 times as long (1.9 to 2.2), with 500 page faults per call" in said.text
    assert said.strength == pytest.approx(2.0, rel=0.05)


def test_a_layout_is_told_where_it_helps_and_where_it_costs(tmp_path: Path) -> None:
    def by_layout(case: Case) -> float:
        worse = {"depthwise": "contiguous", "standard": "channels_last"}.get(case.problem.kind)
        return cost(case) * (1.5 if case.setting.memory_format == worse else 1)

    said = found(tmp_path, latency=by_layout)["Layout"]
    assert "faster than contiguous" in said.text
    assert "slower than contiguous" in said.text
    assert said.strength > 1.4


def test_flops_that_bought_no_time_are_told(tmp_path: Path) -> None:
    slow = {"depthwise": 20.0}
    said = found(tmp_path, latency=lambda case: 1e-4 * slow.get(case.problem.kind, 1.0))[
        "Fewer FLOPs, more time"
    ]
    assert said.text.startswith("Depthwise")
    assert said.strength == pytest.approx(20, rel=0.1)


def test_a_group_count_that_falls_off_is_told(tmp_path: Path) -> None:
    text = LAYERS + (
        '[[sweep]]\nname = "g"\nx = "groups"\nkind = ["standard", "grouped"]\n'
        "in_channels = 64\ngroups = [2, 4, 8, 16, 32]\n"
    )
    said = found(tmp_path, text, latency=lambda case: cost(case) * (9 if case.problem.groups == 32 else 1))[
        "Groups"
    ]
    assert "32 groups take" in said.text


def test_a_jump_along_an_axis_is_told_with_its_cause(tmp_path: Path) -> None:
    text = (
        LAYERS
        + '[[sweep]]\nname = "c"\nx = "in_channels"\nkind = "standard"\nin_channels = [16, 32, 64, 128]\n'
    )
    said = found(
        tmp_path,
        text,
        latency=lambda case: cost(case) * (6 if case.problem.in_channels > 64 else 1),
        change=lambda case: {"backend": "Slow2d" if case.problem.in_channels > 64 else "Mkldnn"},
    )["Jumps"]
    assert "From 64 to 128 channels" in said.text
    assert "from Mkldnn to Slow2d" in said.text
    assert "other" not in said.text
    assert said.cases == tuple(
        Case(Problem("standard", in_channels=channels, size=28), Setting()).case_id for channels in (64, 128)
    )


def test_a_jump_along_kernels_is_told_though_some_are_not_square(tmp_path: Path) -> None:
    kernels = 'kernel_size = ["3", "5", "7", "9", "1x9", "9x1"]'
    text = (
        LAYERS
        + f'[[sweep]]\nname = "k"\nx = "kernel_size"\nkind = "depthwise"\nin_channels = 32\n{kernels}\n'
    )
    said = found(
        tmp_path, text, latency=lambda case: cost(case) * (6 if case.problem.kernel_size[0] > 5 else 1)
    )["Jumps"]
    assert "From 5 to" in said.text


def test_a_jump_along_heights_of_one_width_is_told(tmp_path: Path) -> None:
    text = LAYERS + (
        '[[sweep]]\nname = "h"\nx = "height"\nkind = "depthwise"\n'
        "in_channels = 32\nheight = [7, 14, 28, 56, 112]\n"
    )
    said = found(tmp_path, text, latency=lambda case: cost(case) * (6 if case.problem.height > 28 else 1))[
        "Jumps"
    ]
    assert "From 28 to" in said.text


def test_a_dtype_that_helps_here_and_not_there_is_told(tmp_path: Path) -> None:
    text = LAYERS + (
        '[[sweep]]\nname = "d"\nkind = ["standard", "depthwise"]\n'
        'in_channels = 64\ndtype = ["float32", "bfloat16"]\n'
    )

    def halved(case: Case) -> float:
        return cost(case) * (
            0.5 if case.setting.dtype == "bfloat16" and case.problem.kind == "standard" else 1
        )

    assert (
        "bfloat16 is faster than float32 for 1 of 2 cases"
        in found(tmp_path, text, latency=halved)["Dtype"].text
    )


def test_a_mode_that_helps_is_told(tmp_path: Path) -> None:
    text = (
        LAYERS
        + '[[sweep]]\nname = "m"\nkind = "depthwise"\nin_channels = [32, 64]\nmode = ["eager", "compile"]\n'
    )
    said = found(
        tmp_path, text, latency=lambda case: cost(case) * (0.5 if case.setting.mode == "compile" else 1)
    )["Mode"]
    assert "compile is faster than eager for 2 of 2 cases" in said.text


def test_the_caveat_comes_first(tmp_path: Path) -> None:
    said = of_run(make_run(tmp_path, policy={"target_width": 1e-6}))
    assert [said[0].rule, len(said) > 1] == ["Wide intervals", True]


def test_launches_are_told_where_the_host_takes_longer_than_the_device(tmp_path: Path) -> None:
    said = found(
        tmp_path,
        change=lambda case: {
            "device_s": 5e-6,
            "dispatch_s": 2e-5 if case.problem.kind == "depthwise" else 4e-6,
        },
    )["Launches"]
    assert said.strength == pytest.approx(4)


def test_memory_that_a_kind_takes_is_told(tmp_path: Path) -> None:
    said = found(
        tmp_path,
        change=lambda case: {"peak_bytes": 10**8 if case.problem.kind == "depthwise_separable" else 10**6},
    )["Memory"]
    assert re.match(r"Depthwise separable.* needs .* % more memory than standard", said.text)


def test_what_was_seen_beside_wide_intervals_is_told(tmp_path: Path) -> None:
    said = found(
        tmp_path,
        visits=2,
        change=lambda case: (
            {"trust": "noisy", "trust_reasons": ["load"]} if case.problem.kind == "grouped" else {}
        ),
    )
    assert "load" in said["Wide intervals"].text


@pytest.mark.slow
def test_nothing_is_found_in_visits_of_one_case_under_shuffled_labels(tmp_path: Path) -> None:
    """A hundred runs of 24 cases, each visit drawn from 160 recorded ones of a single case, over an hour on a
    shared machine."""
    recorded = pd.read_parquet(RECORDED)
    figures = (
        recorded[recorded["case_id"] == recorded["case_id"].iloc[0]][["base_median_s", "head_median_s"]]
        .to_numpy()
        .ravel()
    )
    random = np.random.default_rng(0)
    cases = [
        Case.from_row(row)
        for row in load_results(make_run(tmp_path, SHUFFLED, visits=1)).summary.to_dict("records")
    ]
    for _ in range(100):
        rows = []
        for case in cases:
            for number, latency in enumerate(random.choice(figures, 3, replace=False)):
                facts = {
                    "latency_s": latency,
                    "place_figures_s": [latency] * 4,
                    "process": f"{case.case_id} {number}",
                }
                rows.append(visit("main", case, None, [latency]) | facts)
        assert {finding.rule for finding in of_visits(rows)} <= {CAVEAT}


def test_a_run_without_a_figure_says_nothing(tmp_path: Path) -> None:
    assert of_run(make_run(tmp_path, reached=lambda _: False)) == []


def test_cases_that_met_the_same_moments_are_told_apart_though_neither_is_known_well() -> None:
    """Visits of either are slowed by up to three times, and so apart that no interval is past the other;
    depthwise and grouped compute less than standard, and are not ranked with it."""
    chance = np.random.default_rng(0)
    takes = {"standard": 2e-3, "depthwise": 1e-4, "grouped": 1.2e-3, "depthwise_separable": 1e-3}
    cases = [Case(Problem(kind, in_channels=8, size=14), Setting()) for kind in takes if kind != "grouped"]
    cases += [Case(Problem("grouped", in_channels=8, size=14, groups=groups), Setting()) for groups in (2, 4)]
    rows = []
    for number in range(3):
        slowed = np.linspace(1, 3, 3)[number] * (1 + chance.exponential(0.2, 24))
        began = {"turns": 24, "started_at": datetime(2026, 11, 28, 9, number, tzinfo=timezone.utc)}
        for case in cases:
            blocks = takes[case.problem.kind] * slowed * chance.lognormal(0, 0.01, 24)
            rows.append(
                visit("main", case, None, list(blocks)) | began | {"process": f"{case.case_id} {number}"}
            )
    said = {finding.rule: finding for finding in of_visits(rows)}
    assert "2.0 times as fast (2.0 to 2.0)" in said["Depthwise separable"].text
    apart = [
        row | {"started_at": row["started_at"] + timedelta(seconds=number)} for number, row in enumerate(rows)
    ]
    assert {finding.rule for finding in of_visits(apart)} <= {CAVEAT}
