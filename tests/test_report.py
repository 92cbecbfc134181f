"""What stands in a report, from runs made of rows: every case that can go wrong in a run must still be a page
that can be read."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.core.case import Case
from harness.core.errors import StorageError, UsageError
from harness.core.problem import KINDS
from harness.core.units import visible
from harness.output.report import write_report
from harness.store.results import Results, load_results
from tests.made_runs import (
    ALLOCATORS,
    CHANNELS_SUITE,
    FEW_SUITE,
    GROUPS_SUITE,
    NETWORK_LAYERS,
    NETWORK_SUITE,
    RUN_ID,
    Values,
    failing,
    make_run,
)
from tests.pages import Page, report

HEAD = 'schema = 1\nname = "other"\n[problem]\nsize = 28\n'
SWEEP = '[[sweep]]\nname = "few"\nkind = "depthwise"\nin_channels = [8, 16, 24]\n'
ONE = SWEEP.replace("[8, 16, 24]", "8")  # of which nothing is drawn


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The page of a run of all kinds in which nothing went wrong."""
    folder = tmp_path_factory.mktemp("kinds")
    return report(make_run(folder), tmp_path=folder)


def test_the_page_says_what_was_measured_on_what_and_whether_to_trust_it(kinds: Page) -> None:
    page = kinds
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


def test_page_faults_are_named_where_they_cost_time(kinds: Page) -> None:
    page = kinds
    assert "15 of 30 cases are slower by more than 10 % with it" in page.text
    assert re.search(r"with 500 page faults per call instead of 0", page.text)


def test_what_the_survey_saw_of_the_other_allocator_is_not_set_beside_a_latency(tmp_path: Path) -> None:
    surveyed = {
        "other_allocator_s": 1.0,
        "other_allocator_faults": 1234.0,
        "other_allocator_system_share": 0.5,
    }
    page = report(make_run(tmp_path, FEW_SUITE, change=lambda _: surveyed), tmp_path=tmp_path)
    assert "1,234" not in page.text
    assert "Page faults." not in page.text


@pytest.mark.parametrize(
    ("precision", "backend", "warned"),
    [("tf32", "CudaDepthwise2d", True), ("tf32", "Cudnn", False), ("ieee", "CudaDepthwise2d", False)],
)
def test_kinds_that_multiply_in_different_precision_are_not_compared_in_silence(
    tmp_path: Path, precision: str, backend: str, warned: bool
) -> None:
    text = FEW_SUITE.replace("[setting]", f'[setting]\nfp32_precision = "{precision}"')

    def chosen(case: Case) -> Values:
        return {
            "backend": backend
            if case.problem.kind == "depthwise"
            else "Cudnn+Cudnn"
            if case.problem.kind == "depthwise_separable"
            else "Cudnn"
        }

    page = report(make_run(tmp_path, text, change=chosen), tmp_path=tmp_path)
    assert (
        "depthwise ones in full float32 (CudaDepthwise2d): measure with fp32_precision = ieee" in page.text
    ) == warned


def test_a_case_whose_visits_lie_in_two_groups_says_so(tmp_path: Path) -> None:
    chance = random.Random(3)
    folder = make_run(
        tmp_path,
        FEW_SUITE,
        visits=8,
        change=lambda _: {"latency_s": 1e-3 * chance.choice([1, 1.5])},
    )
    summary = load_results(folder).summary
    assert summary["trust_reasons"].map(lambda reasons: reasons == ["modes"]).mean() > 0.8
    assert "modes" in report(folder, tmp_path=tmp_path).text


def test_a_run_without_page_faults_has_no_sentence_on_them(tmp_path: Path) -> None:
    page = report(
        make_run(
            tmp_path,
            FEW_SUITE.replace("[setting]", f"[setting]\n{ALLOCATORS}"),
            latency=lambda case: case.problem.flops / 1e9,
        ),
        tmp_path=tmp_path,
    )
    assert "Page faults." not in page.text


def test_where_the_time_of_a_call_goes_is_drawn_and_told(tmp_path: Path) -> None:
    """Of every call but its page faults three fifths are the convolution, a fifth a reorder and a fifth
    dispatch."""
    roofs = {"flops_per_s_float32": 1e12, "bytes_per_s_2097152": 1e11, "page_fault_s": 1e-7}
    below = [
        {"name": "any", "role": role, "calls": 1, "time_s": time_s}
        for role, time_s in (("convolution", 3e-4), ("reorder_source", 1e-4))
    ]
    run = make_run(
        tmp_path,
        FEW_SUITE,
        ceilings=[{"device": "cpu", "device_index": None, "threads_used": 4, "roofs": roofs}],
        change=lambda _: {"primitives": below, "explained_share": 0.8},
    )
    page = report(run, tmp_path=tmp_path)
    assert "anatomy" in page.figures
    assert re.search(
        r"times its roofline time; the largest part is convolution \(60 %\): .* convscope repro", page.text
    )
    (numbers,) = [found for found in page.tables if "Dispatch (µs)" in found[0]]
    row = dict(zip(numbers[0], numbers[-1], strict=True))
    parts = [
        float(row[name].replace(",", "")) for name in ("Convolution (µs)", "Reorders (µs)", "Dispatch (µs)")
    ]
    assert [part / parts[1] for part in parts] == pytest.approx([3, 1, 1], rel=0.01)
    assert sum(parts) == pytest.approx(float(row["Latency (µs)"].replace(",", "")), rel=0.01)


def test_every_link_within_the_page_has_its_target_and_ids_are_unique(kinds: Page) -> None:
    page = kinds
    assert len(page.ids) == len(set(page.ids))
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)


def test_nothing_is_fetched_and_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    results = load_results(make_run(tmp_path, HEAD + SWEEP))
    first = write_report(results, tmp_path / "1.html").read_bytes()
    assert first == write_report(results, tmp_path / "2.html").read_bytes()
    markup = re.sub(rb"<script>.*?</script>", b"", first, flags=re.DOTALL)
    assert not re.findall(rb"https?://(?!www\.w3\.org/)|@import|url\((?!#)", markup)
    assert not re.findall(rb"<(?:img|iframe|object|embed)\b|\ssrc=", markup)


def test_every_axis_of_a_sweep_gets_its_chart_and_flat_lines_are_explained(tmp_path: Path) -> None:
    page = report(make_run(tmp_path, GROUPS_SUITE), tmp_path=tmp_path)
    names = ("groups", "kernels", "threads", "types", "sizes")
    assert [f"latency-{name}" for name in names] == [
        name for name in page.figures if name.startswith("latency-")
    ]
    assert "savings-groups" in page.figures
    assert "Hollow: standard and depthwise do not depend on this axis" in page.text
    assert "1 point has no latency" in page.text  # 48 does not divide 64
    assert "48 does not divide" in page.text


def test_a_case_that_many_points_lead_to_is_one_row_of_the_table(tmp_path: Path) -> None:
    text = GROUPS_SUITE.partition('[[sweep]]\nname = "kernels"')[0]
    rows = report(make_run(tmp_path, text), tmp_path=tmp_path).case_rows()
    assert [(row["Kind"], row["Groups"]) for row in rows if row["Kind"] == "standard"] == [("standard", "1")]
    assert [row["Outcome"] for row in rows if "48" in row["Outcome"]] != []


def test_cases_stand_in_the_order_of_the_suite_with_units_in_their_headings(kinds: Page) -> None:
    rows = kinds.case_rows()
    assert [row["Kind"] for row in rows[::12]] == [kind.replace("_", " ") for kind in KINDS]
    assert {"Latency (µs)", "± (%)", "MACs (M)", "GB/s", "Peak above inputs (KiB)", "Size (px)"} <= set(
        rows[0]
    )
    assert rows[0]["MACs (M)"] == "1.81"  # 28 * 28 * 16 * 16 * 9


def test_failed_cases_are_rows_with_their_reason_and_counted_in_the_head(tmp_path: Path) -> None:
    def change(case: Case) -> Values:
        return failing("no room for <b>0.5 GB</b>") if case.problem.kind == "standard" else {}

    page = report(make_run(tmp_path, FEW_SUITE, change=change), tmp_path=tmp_path)
    assert "4 of 5 cases have a latency and 1 failed" in page.text
    assert "1 × out of memory: no room for <b>0.5 GB</b>" in page.text  # escaped: it is text
    assert sum("no room" in row["Outcome"] for row in page.case_rows()) == 1


def test_a_run_that_was_stopped_before_its_first_visit_is_a_page(tmp_path: Path) -> None:
    page = report(
        make_run(
            tmp_path, FEW_SUITE, reached=lambda _: False, state="interrupted", wall_s=None, timed_s=None
        ),
        tmp_path=tmp_path,
    )
    assert "Interrupted" in page.text
    assert "5 were not reached" in page.text
    assert {row["Outcome"] for row in page.case_rows()} == {"not reached: the run ended before this case"}


def test_a_quick_run_is_marked_and_states_no_difference(tmp_path: Path) -> None:
    page = report(make_run(tmp_path, FEW_SUITE, visits=1, quick=True), tmp_path=tmp_path)
    assert "Quick run: approximate, cannot be a baseline." in page.text
    assert "5 cases have fewer than three processes" in page.text
    assert "Depthwise separable." not in page.text
    assert "quick run ·" in page.text


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("time_limit", "Stopped by its time limit"),
        ("running", "Killed: finished measurements are complete"),  # nobody holds its lock
        ("failed", "Ended by an error: finished measurements are complete"),
        ("other", "Not finished: other"),
    ],
)
def test_a_run_that_did_not_finish_says_so(tmp_path: Path, state: str, words: str) -> None:
    assert words in report(make_run(tmp_path, HEAD + ONE, state=state), tmp_path=tmp_path).text


def test_noisy_and_invalid_visits_are_counted_with_their_reasons(tmp_path: Path) -> None:
    def change(case: Case) -> Values:
        if case.problem.kind == "standard":
            return {"trust": "invalid", "trust_reasons": ["load"]}
        return (
            {"trust": "noisy", "trust_reasons": ["drift", "outliers"]}
            if case.problem.kind == "grouped"
            else {}
        )

    page = report(make_run(tmp_path, FEW_SUITE, change=change), tmp_path=tmp_path)
    for words in ("9 ok (60 %)", "3 noisy (20 %)", "3 invalid (20 %)", "3 × drift", "3 × load"):
        assert words in page.text
    assert "4 of 5 cases have a latency" in page.text


def test_kernels_that_are_not_square_have_names_of_their_own(tmp_path: Path) -> None:
    sweep = (
        '[[sweep]]\nname = "k"\nx = "kernel_size"\nkind = "depthwise"\n'
        'in_channels = 16\nkernel_size = ["1x1", "1x9", "9x1", "9x9"]\n'
    )
    page = report(make_run(tmp_path, HEAD + sweep), tmp_path=tmp_path)
    for name in ("1x9 kernel", "9x1 kernel"):
        assert name in page.text


def test_a_count_that_fvcore_does_not_share_is_shown(tmp_path: Path) -> None:
    page = report(
        make_run(
            tmp_path,
            FEW_SUITE,
            change=lambda case: {"macs_fvcore": 7} if case.problem.kind == "pointwise" else {},
        ),
        tmp_path=tmp_path,
    )
    assert "fvcore's MAC count differs in 1 case" in page.text
    assert "MACs by fvcore (M)" in page.case_rows()[0]


def test_columns_that_a_machine_cannot_fill_leave_their_charts_out(tmp_path: Path) -> None:
    unknown = dict.fromkeys(
        ("peak_bytes", "workspace_bytes", "minor_faults_per_call", "macs_fvcore", "threads_used")
    )
    page = report(make_run(tmp_path, CHANNELS_SUITE, change=lambda _: unknown), tmp_path=tmp_path)
    assert page.figures == ["savings-channels", "latency-channels"]


def test_the_five_kinds_are_explained_with_exact_counts(kinds: Page) -> None:
    """The counts are those of a 3x3 convolution, 64 to 128 channels at 56x56, worked out by hand."""
    page = kinds
    for count in ("231,211,008", "57,802,752", "1,806,336", "25,690,112", "27,496,448"):
        assert count in page.text


HOSTILE = ["$a_b^$", "<b>layer</b>", "\u202eright to left", "x" * 3000, "{{ name }}"]


def test_a_hostile_name_is_text(tmp_path: Path) -> None:
    heading, *rows = NETWORK_LAYERS.splitlines()
    layers = [f"{name},{row.partition(',')[2]}" for name, row in zip(HOSTILE, rows, strict=True)]
    (tmp_path / "net.csv").write_text("\n".join([heading, *layers]), encoding="utf-8")
    page = report(make_run(tmp_path, NETWORK_SUITE), tmp_path=tmp_path)
    for name in HOSTILE:
        assert visible(name) in page.text
    assert "\u202e" not in page.text
    assert len(page.ids) == len(set(page.ids))


def test_every_mark_says_what_it_is_and_every_finding_leads_somewhere(kinds: Page) -> None:
    text = kinds.source
    marks = re.findall(r'<a href="#case-[0-9a-f]{8}" tabindex="-1">', text)
    assert len(marks) > 60
    facts = re.findall(r"<li>(.*?)</li>", text.partition('class="facts"')[2].partition("</ul>")[0], re.DOTALL)
    assert facts
    assert all('<a href="#' in fact for fact in facts)


def test_a_report_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run to report"):
        write_report(load_results(results=tmp_path), tmp_path / "page.html")


def test_a_place_that_cannot_be_written_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    results: Results = load_results(make_run(tmp_path / "results", FEW_SUITE))
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(StorageError, match="cannot be written"):
        write_report(results, tmp_path / "file" / "page.html")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(StorageError, match="cannot be written"):
        write_report(results, tmp_path / "folder.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.html", "results"]


def test_importing_the_report_draws_nothing_in() -> None:
    code = (
        "import sys, harness.output.report; "
        "sys.exit(sorted({'seaborn', 'matplotlib', 'jinja2', 'pandas'} & set(sys.modules)) != [])"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
