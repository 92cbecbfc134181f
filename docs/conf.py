"""The documents as a site: Sphinx with furo and MyST, its reference generated from the code."""

from __future__ import annotations

from pathlib import Path

import tomllib

HERE = Path(__file__).parent
SUITES = HERE.parent / "suites"

project = "Convscope"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_click"]
html_theme = "furo"
html_title = "Convscope"
exclude_patterns = ["_build"]
myst_heading_anchors = 3
autodoc_typehints = "description"
autodoc_member_order = "bysource"


def setup(_: object) -> None:
    """Write the list of suites, from the suites."""
    rows = ["| suite | what it shows | sweeps along |", "| --- | --- | --- |"]
    for path in sorted(SUITES.glob("*.toml")):
        suite = tomllib.loads(path.read_text(encoding="utf-8"))
        axes = dict.fromkeys(str(sweep.get("x", "")) for sweep in suite["sweep"])
        rows.append(f"| `{path.stem}` | {suite['title']} | {', '.join(filter(None, axes))} |")
    text = "\n".join(rows) + "\n"
    target = HERE / "reference" / "_suites.md"
    if not target.exists() or target.read_text(encoding="utf-8") != text:
        target.write_text(text, encoding="utf-8")
