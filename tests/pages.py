"""A page as a reader without a screen has it, for the tests of reports."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

from harness.output.report import write_report
from harness.store.results import load_results


class Page(HTMLParser):
    """A page as a reader without a screen has it: its words, figures, links, ids, and tables as lists of
    texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.figures: list[str] = []
        self.links: list[str] = []
        self.headings: list[str] = []
        self.ids: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.words: list[str] = []
        self.source = text
        self._silent = 0
        self._in_cell = False
        self._in_heading = False
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
        self._in_heading |= tag in ("h1", "h2", "h3")
        if tag in ("h1", "h2", "h3"):
            self.headings.append("")
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
        self._in_heading &= tag not in ("h1", "h2", "h3")

    def handle_data(self, data: str) -> None:
        """Words of the page, and of the cell that is open."""
        if not self._silent:
            self.words.append(data)
            if self._in_heading:
                self.headings[-1] += data
            if self._in_cell:
                self.tables[-1][-1][-1] += data.strip()

    @property
    def headline(self) -> str:
        """The first heading."""
        return self.headings[0]

    def case_rows(self) -> list[dict[str, str]]:
        """The rows of the table of cases, by heading."""
        heading, *rows = next(table for table in self.tables if table[0][-1] == "Case")
        return [dict(zip(heading, row, strict=True)) for row in rows]


def report(*runs: Path, tmp_path: Path) -> Page:
    """The page over these runs."""
    return Page(
        write_report(load_results(*runs), tmp_path / "reports" / "page.html").read_text(encoding="utf-8")
    )
