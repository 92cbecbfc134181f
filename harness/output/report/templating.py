"""Templates filled in. Style, script and DataTables are inlined from the files beside this one; text from
outside (titles, messages, names of layers) is escaped by Jinja."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_HERE = Path(__file__).parent


def filled(template: str, **values: Any) -> str:
    """A page as text. Each value must be there that the template names."""
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shared = {
        "css": inlined("templates/page.css"),
        "script": inlined("templates/page.js"),
        "datatables": inlined("vendor/datatables.min.js"),
    }
    return environment.get_template(template).render(**shared, **values)


def inlined(name: str) -> Markup:
    """A file of ours as part of a page. The script of a page ends at the first closing tag, wherever it
    stands: there is none."""
    text = (_HERE / name).read_text(encoding="utf-8")
    assert "</script" not in text and "</style" not in text
    return Markup(text)  # noqa: S704  # ours, or vendored
