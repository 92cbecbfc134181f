"""A comparison as markdown, for the job summary of a CI service: under 1 MiB, which is what those take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.output.verdict_text import SIGNS, amount, change, counted, sentences, subject, visible_rows

if TYPE_CHECKING:
    from harness.analysis.comparison import Comparison

MOST_BYTES = 2**20 - 2**12  # a little less than a mebibyte, for what is said after the table
HEAD = (
    "| verdict | case | base | head | change (90 % interval) | pairs | why |\n"
    "| --- | --- | ---: | ---: | --- | ---: | --- |\n"
)


def render(comparison: Comparison) -> str:
    """Sentences, then a table, worst first; rows that do not fit are counted."""
    names = " against ".join(f"`{name}`" for name in reversed(comparison.names))
    said = "\n\n".join(_plain(sentence) for sentence in sentences(comparison))
    lines = [f"## Convscope: {names}\n\n{said}\n\n{HEAD}"]
    left = MOST_BYTES - len(lines[0].encode())
    rows = visible_rows(comparison)
    for number, row in enumerate(rows):
        verdict = f"{SIGNS[row['verdict']]} {row['verdict']}"
        cells = [
            verdict,
            subject(row),
            amount(row, "base"),
            amount(row, "head"),
            change(row),
            counted(row),
            row["reason"] or "",
        ]
        line = "| " + " | ".join(map(_plain, cells)) + " |\n"
        left -= len(line.encode())
        if left < 0:
            lines.append(f"\n{len(rows) - number} more rows do not fit here.\n")
            break
        lines.append(line)
    return "".join(lines)


def _plain(text: str) -> str:
    """Text that markdown leaves alone, on one line."""
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())
