"""The report in a browser: nothing is fetched, nothing fails, nothing overlaps; light, dark, narrow, and
without JavaScript.

Needs Chromium on the path, and playwright. Set CONVSCOPE_AXE to axe-core's `axe.min.js` to have accessibility
checked by it too.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from harness.core.case import Case
from harness.output.report import write_history, write_report
from harness.store.results import load_results
from harness.tasks.history import history
from tests.made_history import MANY, fill
from tests.made_runs import (
    CEILINGS,
    GROUPS_SUITE,
    KINDS_SUITE,
    NETWORK_SUITE,
    PLANE_SUITE,
    SETTINGS_SUITE,
    Values,
    below,
    cost,
    failing,
    make_run,
)

pytestmark = pytest.mark.browser
playwright = pytest.importorskip("playwright.sync_api")

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]
EXPLAINED: dict[str, Any] = {"ceilings": CEILINGS, "change": below}
# Axes that count or name, and so have no unit; every other axis states one in parentheses.
WITHOUT_UNIT = {
    "Input channels",
    "Output channels",
    "Groups",
    "Threads",
    "Dtype",
    "Memory format",
    "Computation",
    "Mode",
    "Cache",
    "Allocator",
    "Device",
}
OVERLAPS = """figure => {
  const found = [];
  const shared = (p, q) => [Math.min(p.right, q.right) - Math.max(p.left, q.left), Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top)];
  for (const svg of figure.querySelectorAll(".panel svg")) {
    const frame = svg.getBoundingClientRect();
    const texts = [...svg.querySelectorAll("text")].map(t => [t.textContent.trim(), t.getBoundingClientRect()]).filter(([text]) => text);
    texts.forEach(([text, box], i) => {
      const [width, height] = shared(box, frame);
      if (width < box.width - 1 || height < box.height - 1) found.push(`${text} leaves its drawing`);
      for (const [other, place] of texts.slice(i + 1)) {
        const [across, down] = shared(box, place);
        if (across > 0.5 && down > 2) found.push(`${text} | ${other}`); // line boxes are a little taller than their letters
      }
    });
  }
  return found;
}"""  # noqa: E501


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("there is no chromium on the path")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Callable[[str], Path]:
    """A report of each shape, by its name; drawn when it is first asked for, by one of pytest-xdist's
    workers for all of them."""
    folder = tmp_path_factory.mktemp("browser")
    if worker_id != "master":
        folder = tmp_path_factory.getbasetemp().parent

    def page(name: str) -> Path:
        place = folder / f"page {name}"
        with FileLock(folder / f"{name}.lock"):
            if not place.exists():
                place.mkdir()
                if name == "history":
                    write_history(history(forty_runs(place)), place / "page.html")
                else:
                    write_report(load_results(*RUNS[name](place)), place / "page.html")
        return place / "page.html"

    return page


def forty_runs(folder: Path) -> str:
    """A store of them."""
    store = str(folder / "store")
    fill(store, 30, lambda run, case: 1.05 if run >= 18 and case == 1 else 1.0, MANY)
    fill(store, 1, first=30, tag="v1.4", ratio=lambda run, case: 1.05 if case == 1 else 1.0, cases=MANY)
    fill(store, 9, lambda run, case: 1.05 if case == 1 else 1.0, MANY, first=31, torch="2.14.0")
    return store


def two_runs(folder: Path) -> list[Path]:
    first = make_run(folder, KINDS_SUITE, **EXPLAINED)
    identity = "20261125T090000-made-0002"
    return [
        first,
        make_run(folder, KINDS_SUITE, run_id=identity, latency=lambda case: 1.5 * cost(case), spread=0.1),
    ]


def axes(folder: Path) -> list[Path]:
    def change(case: Case) -> Values:
        return failing("no room") if case.setting.dtype == "float64" else {}

    return [make_run(folder, GROUPS_SUITE, change=change)]


def ranking(folder: Path) -> list[Path]:
    arms = {"nchw": 1.0, "nhwc, one thread": 1.3, "<bf16>": 0.7}
    return [make_run(folder, GROUPS_SUITE, arms=tuple(arms), factors=arms, comparison="versus")]


def machines(folder: Path) -> list[Path]:
    """Two, that disagree at most layers; names as long as real ones."""

    def on(device: str) -> Callable[[Case], Values]:
        return lambda case: {"device_name": device}

    slow = make_run(folder, KINDS_SUITE, change=on("AMD EPYC 9654 96-Core Processor"))
    identity = "20261125T090000-made-0002"
    quick = lambda case: 2e-5 * (1 if case.problem.kind == "standard" else 1.7)  # noqa: E731
    return [
        slow,
        make_run(folder, KINDS_SUITE, run_id=identity, latency=quick, change=on("NVIDIA H200 at 600 W")),
    ]


def failures(folder: Path) -> list[Path]:
    return [make_run(folder, KINDS_SUITE, visits=1, change=lambda _: failing("killed by SIGSEGV", "crashed"))]


def explained(text: str) -> Callable[[Path], list[Path]]:
    return lambda folder: [make_run(folder, text, **EXPLAINED)]


RUNS: dict[str, Callable[[Path], list[Path]]] = {
    "kinds": explained(KINDS_SUITE),
    "runs": two_runs,
    "axes": axes,
    "network": explained(NETWORK_SUITE),
    "plane": explained(PLANE_SUITE),
    "settings": explained(SETTINGS_SUITE),
    "pairs": lambda folder: [make_run(folder, KINDS_SUITE, arms=("base", "head"), spread=0.03)],
    "ranking": ranking,
    "machines": machines,
    "failures": failures,
}


NAMES = [*RUNS, "history"]
DRAWN = [name for name in NAMES if name != "failures"]


def opened(browser: Any, path: Path, **context: Any) -> tuple[Any, list[str]]:
    """The report in a fresh window, and everything that went wrong or was asked for
    beside the file itself."""
    page = browser.new_context(**context).new_page()
    heard: list[str] = []
    page.on("console", lambda message: heard.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on(
        "request",
        lambda request: heard.append(request.url) if request.url not in (path.as_uri(), "data:,") else None,
    )
    page.goto(path.as_uri())
    return page, heard


@pytest.fixture(scope="module")
def windows(browser: Any, pages: Callable[[str], Path]) -> Callable[..., Any]:
    """A report in a window of a size, for tests that only look: it stays open for the next one."""
    window = cache(lambda name: opened(browser, pages(name))[0])

    def sized(name: str, width: int = 1280, height: int = 720) -> Any:
        page = window(name)
        page.set_viewport_size({"width": width, "height": height})
        return page

    return sized


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", NAMES)
def test_the_page_loads_in_silence_and_fetches_nothing(
    browser: Any, pages: Callable[[str], Path], name: str, scheme: str
) -> None:
    page, heard = opened(browser, pages(name), color_scheme=scheme)
    assert heard == []
    page.context.close()


def test_dark_is_dark_and_charts_follow(browser: Any, pages: Callable[[str], Path]) -> None:
    seen = {}
    for scheme in ("light", "dark"):
        page, _ = opened(browser, pages("kinds"), color_scheme=scheme)
        seen[scheme] = page.evaluate(
            "[getComputedStyle(document.body).backgroundColor, "
            "getComputedStyle(document.querySelector('.panel svg text')).fill]"
        )
        page.context.close()
    assert seen["light"] == ["rgb(255, 255, 255)", "rgb(27, 30, 36)"]
    assert seen["dark"] == ["rgb(21, 24, 29)", "rgb(230, 232, 236)"]


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("name", NAMES)
def test_every_figure_is_drawn_named_and_legible_and_the_page_does_not_scroll_sideways(
    windows: Callable[..., Any], name: str, width: int
) -> None:
    page = windows(name, width, 900)
    figures = page.query_selector_all("figure")
    assert bool(figures) == (name != "failures")
    for figure in figures:
        drawings = figure.query_selector_all(".panel svg")
        assert figure.get_attribute("aria-label")
        assert drawings
        for drawing in drawings:
            box = drawing.bounding_box()
            assert drawing.get_attribute("role") in ("img", "group")
            assert drawing.get_attribute("aria-label")
            assert box["width"] > (200 if name == "history" else 300)  # small multiples are small
            assert box["height"] > 60
        assert figure.evaluate(OVERLAPS) == [], figure.get_attribute("id")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize(("width", "height", "limit"), [(1300, 800, 700), (420, 900, 900)])
@pytest.mark.parametrize("name", DRAWN)
def test_the_first_screen_has_a_headline_with_a_figure_below_it(
    windows: Callable[..., Any], name: str, width: int, height: int, limit: int
) -> None:
    page = windows(name, width, height)
    assert page.locator("figure").first.bounding_box()["y"] < limit
    # a number with its interval
    assert re.search(r"\d.*\([+-]?[\d.]+(?: \S+)? to [+-]?[\d.]+", page.locator("h1").inner_text())


@pytest.mark.parametrize("name", DRAWN)
def test_every_chart_has_marks_that_say_what_they_are(windows: Callable[..., Any], name: str) -> None:
    page = windows(name)
    counts = page.evaluate(
        "[...document.querySelectorAll('figure')]"
        ".map(f => [f.id, f.querySelectorAll('.panel svg title').length])"
    )
    assert counts
    assert [figure for figure, marks in counts if marks < 3] == []
    assert page.evaluate(
        "[...document.querySelectorAll('.panel svg a')]"
        ".every(a => document.querySelector(a.getAttribute('href')))"
    )


@pytest.mark.parametrize("name", ["runs", "axes", "network"])
def test_every_axis_has_a_name_with_its_unit(windows: Callable[..., Any], name: str) -> None:
    """Strips of a network are parts of a whole, and have none."""
    page = windows(name)
    texts = page.evaluate(
        "[...document.querySelectorAll('figure:not([id^=network]) .panel svg')]"
        ".map(s => [...s.querySelectorAll('text')].map(t => t.textContent.trim()))"
    )
    for drawing in texts:
        titles = [
            text for text in drawing if text in WITHOUT_UNIT or re.fullmatch(r"[A-Z][^()]*\([^()]+\)", text)
        ]
        assert titles, drawing


def test_the_table_of_cases_sorts_by_value_and_filters(browser: Any, pages: Callable[[str], Path]) -> None:
    page, _ = opened(browser, pages("kinds"))
    heading = page.query_selector("#cases-table thead th:has-text('Latency')")
    column = heading.evaluate("th => [...th.parentNode.children].indexOf(th) + 1")

    def values() -> list[float]:
        return [
            float(text.replace(",", ""))
            for text in page.eval_on_selector_all(
                f"#cases-table tbody td:nth-child({column})", "all => all.map(td => td.textContent)"
            )
        ]

    before = values()
    heading.click()
    # sorting waits for a pause of the browser
    page.wait_for_selector("#cases-table th[aria-sort='ascending']")
    assert values() == sorted(before) != before
    heading.click()
    page.wait_for_selector("#cases-table th[aria-sort='descending']")
    assert values() == sorted(before, reverse=True)
    page.fill("#cases input[type=search]", "pointwise channels_last")
    assert len(values()) == 6
    page.context.close()


def test_the_page_can_be_read_without_javascript(browser: Any, pages: Callable[[str], Path]) -> None:
    page, _ = opened(browser, pages("kinds"), java_script_enabled=False)
    assert page.locator("#cases-table tbody tr").count() == 60
    assert page.locator("#cases-table tbody tr").first.is_visible()
    assert page.locator("figure .panel svg").first.is_visible()
    page.locator("details summary").first.click()
    assert page.locator("details table").first.is_visible()
    page.context.close()


def test_it_can_be_printed(browser: Any, pages: Callable[[str], Path]) -> None:
    page, _ = opened(browser, pages("kinds"), color_scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("nav").is_visible()
    assert page.pdf().startswith(b"%PDF")
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", NAMES)
def test_axe_finds_no_fault(browser: Any, pages: Callable[[str], Path], name: str, scheme: str) -> None:
    axe = os.environ.get("CONVSCOPE_AXE")
    if not axe:
        pytest.skip("CONVSCOPE_AXE does not name axe.min.js")
    page, _ = opened(browser, pages(name), color_scheme=scheme, bypass_csp=True)
    page.evaluate(Path(axe).read_text(encoding="utf-8"))
    found = page.evaluate(
        "axe.run().then(r => r.violations.map(v => [v.id, v.nodes.length, "
        "v.nodes[0].html.slice(0, 200), v.nodes[0].failureSummary]))"
    )
    assert found == []
    page.context.close()
