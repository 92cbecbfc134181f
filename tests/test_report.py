"""What stands in a report, from runs made of rows: every case that can go wrong in a run must still be a page that can be read."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import tomllib

from harness import stats
from harness.case import Case
from harness.errors import StorageError, UsageError
from harness.points import distinct_cases, expand
from harness.problem import KINDS
from harness.record import BY_NAME, case_columns
from harness.report import write_report
from harness.results import Results, RunFolder, load_results
from harness.suite import parse_suite

Values = dict[str, Any]
RUN_ID = "20261124T090000-made-0001"

KINDS_SUITE = """
schema = 1
name = "made"
title = "Five kinds & <two> layouts"
[problem]
size = 28
[setting]
memory_format = ["contiguous", "channels_last"]
allocator = ["retained", "default"]
[[sweep]]
name = "channels"
x = "in_channels"
kind = ["standard", "grouped", "depthwise", "pointwise", "depthwise_separable"]
in_channels = [16, 64, 256]
groups = 8
"""
GROUPS_SUITE = """
schema = 1
name = "groups"
title = "Groups"
[problem]
size = 28
in_channels = 64
[[sweep]]
name = "groups"
x = "groups"
kind = ["standard", "grouped", "depthwise"]
groups = [1, 2, 4, 8, 16, 32, 48, 64]
[[sweep]]
name = "kernels"
x = "kernel_size"
kind = ["depthwise", "pointwise"]
kernel_size = [1, 3, 5, 7, "3x5"]
[[sweep]]
name = "threads"
x = "threads"
kind = ["standard", "depthwise"]
threads = ["1", "2", "all"]
[[sweep]]
name = "types"
x = "dtype"
kind = ["standard", "depthwise"]
dtype = ["float32", "bfloat16", "float64"]
[[sweep]]
name = "sizes"
x = "size"
kind = ["standard", "depthwise"]
size = [7, 14, 28, 56]
[[sweep]]
name = "no_axis"
kind = ["standard", "depthwise"]
"""
NETWORK_SUITE = """
schema = 1
name = "network"
title = "A small network"
[setting]
memory_format = ["contiguous", "channels_last"]
[[sweep]]
name = "net"
layers = "net.csv"
"""
NETWORK_LAYERS = """name,repeat,in_channels,out_channels,size,kernel_size,stride,groups
stem,1,3,32,64,3,2,1
block 1 depthwise,1,32,32,32,3,1,32
block 1 pointwise,1,32,64,32,1,1,1
block 2 depthwise,5,64,64,32,3,1,64
block 2 pointwise,5,64,64,32,1,1,1
"""


def cost(case: Case) -> float:
    """Seconds a call on a machine that never was: work, bytes, and what an allocator that gives memory back takes for its faults."""
    faults = 2.0 if case.setting.allocator == "default" and case.setting.memory_format == "contiguous" else 1.0
    return faults * (case.problem.flops / 80e9 + case.problem.minimum_bytes(4) / 4e9 + 5e-6)


def make_run(
    results: Path,
    text: str = KINDS_SUITE,
    *,
    run_id: str = RUN_ID,
    visits: int = 3,
    latency: Callable[[Case], float] = cost,
    change: Callable[[Case], Values] = lambda _: {},
    reached: Callable[[Case], bool] = lambda _: True,
    arms: tuple[str, ...] = ("main",),
    spread: float = 0.01,
    **header: Any,
) -> Path:
    """A run in `results`, made of rows; `change` sets columns of a case's rows, a status among them. The folder that it lies in."""
    suite = parse_suite(tomllib.loads(text), text=text, folder=results)
    points = expand(suite)
    told = {"schema": 1, "run_id": run_id, "suite": {"name": suite.name, "title": suite.title, "text": text}, "policy": suite.policy.as_message()}
    told |= {"environments": {"e1": {"torch": "2.0-made", "cpu": "made", "instruction_set": "NONE", "threads_available": 2, "memory_bytes": 2**34}}}
    told |= {"quick": False, "state": "complete", "wall_s": 80.0, "timed_s": 31.0, "version": "0", "git": None}
    told |= {"arms": {arm: {"python": "made", "environment_id": "e1", "implementation": None} for arm in arms}, "devices": []}
    folder = RunFolder(results, told | header, points)
    for number, case in enumerate(filter(reached, distinct_cases(points))):
        for arm in arms:
            for visit in range(visits):
                folder.add(_row(run_id, arm, case, visit, number, latency(case), spread) | change(case))
    folder.close()
    path: Path = folder.path
    return path


def _row(run_id: str, arm: str, case: Case, visit: int, number: int, latency_s: float, spread: float) -> Values:
    chance = random.Random(f"{run_id} {arm} {case.case_id} {visit}")
    centre = latency_s * chance.lognormvariate(0, spread)
    samples = [centre * chance.uniform(0.999, 1.001) for _ in range(30)]
    ends = list(range(3, 31, 3))
    default = case.setting.allocator == "default"
    output = case.setting.element_bytes * case.problem.output_shape[1] * case.problem.output_shape[2] * case.problem.output_shape[3]
    row = dict.fromkeys(BY_NAME) | case_columns(case) | stats.describe(samples, ends, 1e-9)
    row |= {"schema": 1, "run_id": run_id, "arm": arm, "environment_id": "e1", "round": visit + 1, "position": number, "turns": 0}
    row |= {"started_at": datetime(2026, 11, 24, 9, 0, tzinfo=timezone.utc) + timedelta(seconds=number), "process": f"{arm}-{visit}-{number}"}
    row |= {"status": "ok", "trust": "ok", "trust_reasons": [], "samples_s": samples, "block_ends": ends, "calls_per_sample": 1, "wall_s": 0.3}
    row |= {"device_name": "made", "threads_used": int(case.setting.threads) if case.setting.threads != "all" else 4, "clock": "host"}
    row |= {"macs_fvcore": case.problem.macs, "peak_bytes": 3 * output, "workspace_bytes": 2 * output, "resident_bytes": output}
    return row | {"minor_faults_per_call": 500.0 if default and case.setting.memory_format == "contiguous" else 0.1}


def failing(message: str, status: str = "out_of_memory") -> Values:
    """The columns of a visit that came to nothing."""
    nothing = [name for name, column in BY_NAME.items() if column.part in ("visit", "survey") and column.nullable]
    return dict.fromkeys(nothing) | {"status": status, "message": message, "trust": "unknown"}


class Page(HTMLParser):
    """A page as a reader without a screen has it: its words, figures, links, ids, and tables as lists of texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.figures: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.words: list[str] = []
        self._silent = 0
        self._in_cell = False
        self.feed(text)
        self.text = re.sub(r"\s+", " ", "".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect what is asked for."""
        found = dict(attrs)
        self._silent += tag in ("script", "style")
        if found.get("id"):
            self.ids.append(str(found["id"]))
        if tag == "figure":
            self.figures.append(str(found["id"]))
        if tag == "a":
            self.links.append(str(found["href"]))
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        """Scripts and styles are no words; a cell ends."""
        self._silent -= tag in ("script", "style")
        self._in_cell &= tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        """Words of the page, and of the cell that is open."""
        if not self._silent:
            self.words.append(data)
            if self._in_cell:
                self.tables[-1][-1][-1] += data.strip()

    def case_rows(self) -> list[dict[str, str]]:
        """The rows of the table of cases, by heading."""
        heading, *rows = self.tables[-1]
        return [dict(zip(heading, row, strict=True)) for row in rows]


def report(*runs: Path, tmp_path: Path) -> Page:
    """The page over these runs."""
    return Page(write_report(load_results(*runs), tmp_path / "reports" / "page.html").read_text(encoding="utf-8"))


def test_the_page_says_what_was_measured_on_what_and_whether_to_trust_it(tmp_path: Path) -> None:
    page = report(make_run(tmp_path), tmp_path=tmp_path)
    for words in (
        "Five kinds & <two> layouts",
        RUN_ID,
        "2026-11-24 09:00 UTC",
        "1 min 20 s",
        "complete",
        "2.0-made",
        "NONE",
        "180 ok (100 %)",
        "60 of 60 cases",
    ):
        assert words in page.text
    assert "none failed" in page.text
    assert "Quick run" not in page.text


def test_first_sentences_state_figures_and_lead_to_their_charts(tmp_path: Path) -> None:
    page = report(make_run(tmp_path, latency=lambda case: 1.001e-3 if case.problem.kind == "depthwise" else 2.5e-3, spread=1e-9), tmp_path=tmp_path)
    assert "Fastest kind. At 256 input channels, contiguous, retained allocator, depthwise (1.00 ms) is fastest" in page.text
    assert "takes 2.5 times as long" in page.text
    assert {"#latency-channels", "#work"} <= set(page.links)


def test_page_faults_are_named_where_they_cost_time(tmp_path: Path) -> None:
    page = report(make_run(tmp_path), tmp_path=tmp_path)
    assert "15 of 30 cases are slower so, past their intervals and by more than 10 %" in page.text
    assert re.search(r"with 500 minor faults a call instead of 0", page.text)


def test_the_other_allocator_of_the_survey_stands_in_for_a_case_that_was_not_asked_for(tmp_path: Path) -> None:
    text = KINDS_SUITE.replace('allocator = ["retained", "default"]\n', "")
    surveyed = {"other_allocator_s": 1.0, "other_allocator_faults": 1234.0, "other_allocator_system_share": 0.5}
    page = report(make_run(tmp_path, text, change=lambda _: surveyed), tmp_path=tmp_path)
    assert "allocators" in page.figures
    assert "One short loop a case, without an interval" in page.text
    assert "1,234" in page.text
    assert "past their intervals" not in page.text.partition("One short loop")[2][:300]


@pytest.mark.parametrize(
    ("precision", "backend", "warned"), [("tf32", "CudaDepthwise2d", True), ("tf32", "Cudnn", False), ("ieee", "CudaDepthwise2d", False)]
)
def test_kinds_that_multiply_in_different_precision_are_not_compared_in_silence(tmp_path: Path, precision: str, backend: str, warned: bool) -> None:
    text = KINDS_SUITE.replace("[setting]", f'[setting]\nfp32_precision = "{precision}"')

    def chosen(case: Case) -> Values:
        return {"backend": backend if case.problem.kind == "depthwise" else "Cudnn+Cudnn" if case.problem.kind == "depthwise_separable" else "Cudnn"}

    page = report(make_run(tmp_path, text, change=chosen), tmp_path=tmp_path)
    assert ("depthwise ones in full float32 (CudaDepthwise2d): measure with fp32_precision = ieee" in page.text) == warned


def test_a_case_whose_visits_lie_in_two_groups_says_so(tmp_path: Path) -> None:
    chance = random.Random(3)
    folder = make_run(
        tmp_path, KINDS_SUITE.replace("[16, 64, 256]", "[16]"), visits=8, change=lambda _: {"latency_s": 1e-3 * chance.choice([1, 1.5])}
    )
    summary = load_results(folder).summary
    assert summary["trust_reasons"].map(lambda reasons: reasons == ["modes"]).mean() > 0.8
    assert "modes" in report(folder, tmp_path=tmp_path).text


def test_a_run_without_page_faults_has_no_sentence_on_them(tmp_path: Path) -> None:
    page = report(make_run(tmp_path, latency=lambda case: case.problem.flops / 1e9), tmp_path=tmp_path)
    assert "Page faults." not in page.text
    assert "0 of 30 cases are slower under the default allocator" in page.text


def test_every_link_within_the_page_has_its_target_and_ids_are_unique(tmp_path: Path) -> None:
    page = report(make_run(tmp_path), tmp_path=tmp_path)
    assert len(page.ids) == len(set(page.ids))
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)


def test_nothing_is_fetched_and_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    results = load_results(make_run(tmp_path))
    first = write_report(results, tmp_path / "1.html").read_bytes()
    assert first == write_report(results, tmp_path / "2.html").read_bytes()
    markup = re.sub(rb"<script>.*?</script>", b"", first, flags=re.DOTALL)
    assert not re.findall(rb"https?://(?!www\.w3\.org/)|@import|url\((?!#)", markup)
    assert not re.findall(rb"<(?:img|iframe|object|embed)\b|\ssrc=", markup)


def test_every_axis_of_a_sweep_gets_its_chart_and_flat_lines_are_explained(tmp_path: Path) -> None:
    page = report(make_run(tmp_path, GROUPS_SUITE), tmp_path=tmp_path)
    names = ("groups", "kernels", "threads", "types", "sizes", "no-axis")
    assert [f"latency-{name}" for name in names] == [name for name in page.figures if name.startswith("latency-")]
    assert "Hollow and dotted: standard and depthwise without this axis" in page.text
    assert "1 point has no figure" in page.text  # 48 does not divide 64
    assert "48 does not divide" in page.text


def test_a_case_that_many_points_lead_to_is_one_row_of_the_table(tmp_path: Path) -> None:
    text = GROUPS_SUITE.partition('[[sweep]]\nname = "kernels"')[0]
    rows = report(make_run(tmp_path, text), tmp_path=tmp_path).case_rows()
    assert [(row["Kind"], row["Groups"]) for row in rows if row["Kind"] == "standard"] == [("standard", "1")]
    assert [row["Outcome"] for row in rows if "48" in row["Outcome"]] != []


def test_cases_stand_in_the_order_of_the_suite_with_units_in_their_headings(tmp_path: Path) -> None:
    rows = report(make_run(tmp_path), tmp_path=tmp_path).case_rows()
    assert [row["Kind"] for row in rows[::12]] == [kind.replace("_", " ") for kind in KINDS]
    assert {"Latency (µs)", "± (%)", "MACs (M)", "Peak (KiB)", "Size (px)"} <= set(rows[0])
    assert rows[0]["MACs (M)"] == "1.81"  # 28 * 28 * 16 * 16 * 9


def test_failed_cases_are_rows_with_their_reason_and_counted_in_the_head(tmp_path: Path) -> None:
    def change(case: Case) -> Values:
        return failing("no room for <b>0.5 GB</b>") if case.problem.kind == "standard" else {}

    page = report(make_run(tmp_path, change=change), tmp_path=tmp_path)
    assert "48 of 60 cases have a figure and 12 failed" in page.text
    assert "12 × out of memory: no room for <b>0.5 GB</b>" in page.text  # escaped: it is text
    assert sum("no room" in row["Outcome"] for row in page.case_rows()) == 12


def test_a_run_where_everything_failed_is_a_page_without_charts(tmp_path: Path) -> None:
    page = report(make_run(tmp_path, change=lambda _: failing("killed", "crashed"), visits=1), tmp_path=tmp_path)
    assert page.figures == []
    assert "No charts" in page.text
    assert "No case has a figure." in page.text
    assert all(row["Latency (µs)"] == "" for row in page.case_rows())


def test_a_run_that_was_stopped_before_its_first_visit_is_a_page(tmp_path: Path) -> None:
    page = report(make_run(tmp_path, reached=lambda _: False, state="interrupted", wall_s=None, timed_s=None), tmp_path=tmp_path)
    assert "Interrupted" in page.text
    assert "60 were not reached" in page.text
    assert {row["Outcome"] for row in page.case_rows()} == {"not reached: the run ended before"}


def test_a_quick_run_is_marked_and_states_no_difference(tmp_path: Path) -> None:
    page = report(make_run(tmp_path, visits=1, quick=True), tmp_path=tmp_path)
    assert "Quick run: rough figures, no baseline." in page.text
    assert "60 cases stand on fewer than three processes" in page.text
    assert "Fastest kind" not in page.text
    assert "from fewer than three processes" in page.text


@pytest.mark.parametrize(
    ("state", "words"), [("time_limit", "Stopped by its time limit"), ("running", "still running, or killed"), ("failed", "Not finished: failed")]
)
def test_a_run_that_did_not_finish_says_so(tmp_path: Path, state: str, words: str) -> None:
    assert words in report(make_run(tmp_path, state=state), tmp_path=tmp_path).text


def test_noisy_and_invalid_visits_are_counted_with_their_reasons(tmp_path: Path) -> None:
    def change(case: Case) -> Values:
        if case.problem.kind == "standard":
            return {"trust": "invalid", "trust_reasons": ["load"]}
        return {"trust": "noisy", "trust_reasons": ["drift", "outliers"]} if case.problem.kind == "grouped" else {}

    page = report(make_run(tmp_path, change=change), tmp_path=tmp_path)
    for words in ("108 ok (60 %)", "36 noisy (20 %)", "36 invalid (20 %)", "36 × drift", "36 × load"):
        assert words in page.text
    assert "48 of 60 cases have a figure" in page.text


def test_layers_are_shown_with_their_repeats(tmp_path: Path) -> None:
    (tmp_path / "net.csv").write_text(NETWORK_LAYERS, encoding="utf-8")
    page = report(make_run(tmp_path, NETWORK_SUITE, latency=lambda _: 1e-3, spread=1e-9), tmp_path=tmp_path)
    assert "network-net" in page.figures
    assert "13 convolutions take 13.0 ms in all" in page.text
    assert "block 2 depthwise ×5" in page.text


def test_several_runs_are_told_apart_and_compared(tmp_path: Path) -> None:
    first = make_run(tmp_path)
    second = make_run(tmp_path, run_id="20261125T090000-made-0002", latency=lambda case: cost(case) * (2 if case.problem.kind == "grouped" else 1))
    page = report(first, second, tmp_path=tmp_path)
    assert "Run A" in page.text
    assert "20261125T090000-made-0002" in page.text
    assert "Of 60 cases that both measured, 12 are slower in run B and 0 faster" in page.text
    assert "sides-run-a-run-b" in page.figures
    assert "run A, contiguous, retained allocator" in page.text


def test_arms_of_one_run_are_compared_like_runs(tmp_path: Path) -> None:
    page = report(make_run(tmp_path, arms=("base", "head")), tmp_path=tmp_path)
    assert "sides-arm-base-arm-head" in page.figures


def test_a_count_that_fvcore_does_not_share_is_shown(tmp_path: Path) -> None:
    page = report(make_run(tmp_path, change=lambda case: {"macs_fvcore": 7} if case.problem.kind == "pointwise" else {}), tmp_path=tmp_path)
    assert "fvcore counts other MACs than we do in 12 cases" in page.text
    assert "MACs by fvcore (M)" in page.case_rows()[0]


def test_columns_that_a_machine_cannot_fill_leave_their_charts_out(tmp_path: Path) -> None:
    unknown = dict.fromkeys(("peak_bytes", "workspace_bytes", "minor_faults_per_call", "macs_fvcore", "threads_used"))
    text = KINDS_SUITE.replace('allocator = ["retained", "default"]\n', "")
    page = report(make_run(tmp_path, text, change=lambda _: unknown), tmp_path=tmp_path)
    assert page.figures == ["latency-channels", "work"]


def test_the_five_kinds_are_explained_with_exact_counts(tmp_path: Path) -> None:
    """The counts are those of a 3x3 convolution, 64 to 128 channels at 56x56, worked out by hand."""
    page = report(make_run(tmp_path), tmp_path=tmp_path)
    for count in ("231,211,008", "57,802,752", "1,806,336", "25,690,112", "27,496,448"):
        assert count in page.text


def test_a_report_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run to report"):
        write_report(load_results(results=tmp_path), tmp_path / "page.html")


def test_a_place_that_cannot_be_written_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    results: Results = load_results(make_run(tmp_path / "results"))
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(StorageError, match="cannot be written"):
        write_report(results, tmp_path / "file" / "page.html")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(StorageError, match="cannot be written"):
        write_report(results, tmp_path / "folder.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.html", "results"]


def test_importing_the_report_draws_nothing_in() -> None:
    code = "import sys, harness.report; sys.exit(sorted({'seaborn', 'matplotlib', 'jinja2', 'pandas'} & set(sys.modules)) != [])"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
