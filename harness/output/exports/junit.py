"""A comparison as JUnit XML, one testcase a case and metric: a regression is a failure, what cannot be
compared an error, no verdict skipped.

Where the run itself decides the exit code, because it was stopped or did not reach cases that the gate wants
judged, it is one more testcase.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from harness.output.verdict_text import change

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from harness.analysis.comparison import Comparison

OUTCOMES = {
    "regressed": "failure",
    "not comparable": "error",
    "missing": "error",
    "inconclusive": "skipped",
    "new": "skipped",
}


def render(comparison: Comparison) -> str:
    """The XML, as text."""
    rows = comparison.shown.to_dict("records")
    outcomes = [_outcome(row, comparison) for row in rows]
    whole = _of_the_run(comparison)
    outcomes += [whole[0]] if whole else []
    counts = {
        f"{kind}s" if kind != "skipped" else kind: str(outcomes.count(kind))
        for kind in ("failure", "error", "skipped")
    }
    suites = ET.Element("testsuites")
    suite = ET.SubElement(suites, "testsuite", {"name": "convscope", "tests": str(len(outcomes))} | counts)
    for row, outcome in zip(rows, outcomes[: len(rows)], strict=True):
        case = ET.SubElement(
            suite, "testcase", classname=f"convscope.{row['kind']}.{row['metric']}", name=row["label"]
        )
        if outcome:
            ET.SubElement(case, outcome, message=_message(row))
    if whole:
        ET.SubElement(
            ET.SubElement(suite, "testcase", classname="convscope.run", name="the run"),
            whole[0],
            message=whole[1],
        )
    ET.indent(suites)
    return ET.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _outcome(row: Mapping[Any, Any], comparison: Comparison) -> str | None:
    fails = row["verdict"] == "inconclusive" and comparison.gate.inconclusive == "fail"
    return "failure" if fails else OUTCOMES.get(row["verdict"])


def _of_the_run(comparison: Comparison) -> tuple[str, str] | None:
    """What is wrong with the run as a whole: a failure or an error, and what it is."""
    if comparison.completeness.unreached and comparison.gate.inconclusive == "fail":
        return "failure", f"{comparison.completeness.unreached} cases were not reached"
    if comparison.stopped:
        return "error", f"the run was not finished ({comparison.completeness.ended})"
    return ("error", "nothing was compared") if comparison.verdicts.empty else None


def _message(row: Mapping[Any, Any]) -> str:
    said = " ".join(part for part in (row["verdict"], change(row), row["reason"]) if part)
    # XML 1.0 has no control characters, and a kernel's message may
    return "".join(letter for letter in said if letter >= " ")
