"""The page over many runs, and the site around it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.output.report import write_history
from harness.output.report.history_page import MOST_RUNS
from harness.tasks.history import add, history
from tests.conftest import Convscope
from tests.made_history import CASES, MANY, commit, fill
from tests.made_runs import make_run
from tests.pages import Page

SMALL_SUITE = """
schema = 1
name = "small"
[[sweep]]
name = "one"
kind = ["standard", "pointwise"]
in_channels = 16
size = 14
"""


def page(store: Path, tmp_path: Path) -> tuple[Page, str]:
    text = write_history(history(str(store)), tmp_path / "history.html").read_text(encoding="utf-8")
    return Page(text), text


@pytest.mark.parametrize("runs", [1, 2, 3, 30])
def test_every_case_is_drawn_and_every_run_listed(tmp_path: Path, runs: int) -> None:
    fill(str(tmp_path / "store"), runs, lambda run, case: 1.06 if run >= 20 and case == 1 else 1.0, MANY)
    found, text = page(tmp_path / "store", tmp_path)
    kinds = {case.problem.kind for case in MANY}
    assert {f"kind-{kind.replace('_', '-')}-0" for kind in kinds} <= set(found.figures)
    assert text.count('class="panel"') == len(MANY) + 1
    index = found.tables[-1]
    assert [row[1] for row in index[1:]] == [commit(number)[:8] for number in reversed(range(runs))]
    assert len(found.ids) == len(set(found.ids))
    assert not re.search(r'(?:src|href)="(?!#|data:)', text), "it fetches nothing"


def test_a_change_is_the_headline_and_stands_between_two_commits(tmp_path: Path) -> None:
    fill(str(tmp_path / "store"), 30, lambda run, case: 1.06 if run >= 20 and case == 1 else 1.0)
    found, text = page(tmp_path / "store", tmp_path)
    assert found.headline.startswith("1 unblessed change for the worse in 30 runs, 3 cases; largest: +")
    assert f"between {commit(19)[:8]} and {commit(20)[:8]}" in found.headline
    assert CASES[1].label in found.text
    assert f"between {commit(19)[:8]} and {commit(20)[:8]}</title>" in text, (
        "the band says it when pointed at"
    )


def test_releases_and_versions_are_marks(tmp_path: Path) -> None:
    fill(str(tmp_path / "store"), 10)
    fill(str(tmp_path / "store"), 1, first=10, tag="v1.4")
    fill(str(tmp_path / "store"), 10, first=11, torch="2.14.0")
    found, _ = page(tmp_path / "store", tmp_path)
    assert "v1.4" in found.text
    assert "torch 2.14.0" in found.text


def test_text_from_outside_is_text(tmp_path: Path) -> None:
    fill(str(tmp_path / "store"), 4, suite="<script>alert(1)</script>", cpu="<b>", anchor="<i>")
    _, text = page(tmp_path / "store", tmp_path)
    assert "<script>alert" not in text
    assert "<b>" not in text
    assert "<i>" not in text


def test_of_many_runs_the_newest_are_listed_and_the_rest_counted(tmp_path: Path) -> None:
    fill(str(tmp_path / "store"), MOST_RUNS + 7, cases=CASES[:1], ratio=lambda run, case: 1.0)
    found, _ = page(tmp_path / "store", tmp_path)
    assert len(found.tables[-1]) == MOST_RUNS + 1
    assert "the store has 7 more" in found.text


def test_the_command_writes_it_where_it_is_told(convscope: Convscope, tmp_path: Path) -> None:
    fill(str(tmp_path / "store"), 3)
    assert convscope("report", "--history", "--store", "store").code == 0
    assert (tmp_path / "reports" / "history.html").is_file()
    ended = convscope("report", "--history", "--store", "store", "--out", "here.html", "--json")
    assert ended.json["path"] == str(tmp_path / "here.html")
    for wrong in (("report",), ("report", "last", "--history", "--store", "store"), ("report", "--history")):
        assert convscope(*wrong).code == 2


def test_a_site_leads_from_its_index_to_the_report_of_every_run(convscope: Convscope, tmp_path: Path) -> None:
    for number in range(3):
        run = make_run(
            tmp_path / "results",
            SMALL_SUITE,
            run_id=f"2026100{number + 1}T120000-made-{number:04x}",
        )
        add(run, store=str(tmp_path / "store"))
    (tmp_path / "results" / "20261001T120000-made-0000" / "measurements.parquet").write_bytes(b"torn")
    ended = convscope("site", "public", "--store", "store", "--json")
    assert (ended.code, ended.json["new_reports"]) == (0, 2)
    index = Page((tmp_path / "public" / "index.html").read_text(encoding="utf-8"))
    links = [link for link in index.links if not link.startswith("#")]
    assert len(links) == 2
    assert all((tmp_path / "public" / link).is_file() for link in links)
    assert convscope("site", "public", "--store", "store", "--json").json["new_reports"] == 0
