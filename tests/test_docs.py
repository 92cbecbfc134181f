"""The documentation against the code: every number recomputed, every snippet run, every table rendered from
where it comes from.

Where a generated table differs, the failure prints the expected text: paste it between the two markers.
"""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
import tomllib

from harness.core import columns, protocol
from harness.core.case import ALLOWED, DEFAULTS, RUNTIMES, Case, Setting
from harness.core.policy import Policy
from harness.core.problem import KINDS, Kind, Problem
from harness.output.report.kinds_section import diagram
from harness.plan.points import expand
from harness.plan.suite import parse_suite
from harness.run.worker_process import WorkerProcess
from harness.store import history_rows
from tests.real_worker import ask

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))}
SIZE = 56


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGES[page], re.MULTILINE | re.DOTALL)


def cells(line: str) -> list[str]:
    """The cells of a table's line, without their code marks."""
    return [cell.strip().strip("`") for cell in line.strip().strip("|").split("|")]


def tables(text: str) -> list[list[dict[str, str]]]:
    """Every table of a text, as rows by column."""
    found = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    lines = [table.splitlines() for table in found]
    return [[dict(zip(cells(table[0]), cells(line), strict=True)) for line in table[2:]] for table in lines]


def region(page: str, name: str) -> str:
    """What stands between a page's two markers of a name."""
    match = re.search(rf"<!-- {name}: begin -->\n(.*?)<!-- {name}: end -->", PAGES[page], re.DOTALL)
    assert match, f"docs/{page}.md has no region {name}"
    return match[1]


# kinds.md

NUMBERS: list[list[dict[str, str]]] = [table for table in tables(PAGES["kinds"]) if "arguments" in table[0]]
ROWS = [row for table in NUMBERS for row in table]


def shape(dimensions: tuple[int, ...]) -> str:
    """A shape as the page writes it."""
    return "x".join(map(str, dimensions))


SHOWN: dict[str, Callable[[Problem], str]] = {
    "weight": lambda problem: " + ".join(map(shape, problem.weight_shapes)),
    "output": lambda problem: shape(problem.output_shape),
    "MACs": lambda problem: f"{problem.macs:,}",
    "parameters": lambda problem: f"{problem.parameters:,}",
    "least bytes": lambda problem: f"{problem.minimum_bytes(4):,}",
    "intensity": lambda problem: f"{problem.flops / problem.minimum_bytes(4):.1f}",
}


def problem_of(row: dict[str, str]) -> Problem:
    """The convolution that a row of kinds.md describes, on an image of 56x56."""
    arguments: dict[str, Any] = {
        name: int(value) for name, value in (pair.split("=") for pair in row["arguments"].split(", "))
    }
    return Problem(row["kind"], size=SIZE, **arguments)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['kind']}-{row['arguments']}")
def test_every_number_in_the_page_on_kinds_is_what_the_code_counts(row: dict[str, str]) -> None:
    problem = problem_of(row)
    written = {name: text for name, text in row.items() if name in SHOWN}
    assert written == {name: SHOWN[name](problem) for name in written}
    if "MACs over standard" in row:
        ratio = sum((Fraction(part) for part in row["MACs over standard"].split(" + ")), Fraction())
        assert ratio == Fraction(problem.macs, problem.standard.macs)


def test_no_table_of_numbers_in_the_page_on_kinds_goes_unchecked() -> None:
    assert PAGES["kinds"].count("<!-- numbers -->") == len(NUMBERS)
    assert all(set(row) <= {"kind", "arguments", "MACs over standard", *SHOWN} for row in ROWS)
    others = [row for table in tables(PAGES["kinds"]) if table not in NUMBERS for row in table]
    assert not [row for row in others if re.search(r"\d{2}", "".join(row.values()))]


def test_the_page_on_kinds_explains_every_kind_with_its_numbers_and_a_snippet() -> None:
    assert {row["kind"] for row in NUMBERS[0]} == set(KINDS)
    for kind in KINDS:
        heading = kind.replace("_", " ").capitalize()
        section = PAGES["kinds"].split(f"\n## {heading}\n")[1].split("\n## ")[0]
        assert "```python" in section, kind
        assert "**Cost.**" in section, kind


@pytest.mark.parametrize("kind", KINDS)
def test_the_diagram_of_a_kind_is_that_of_the_report(kind: Kind) -> None:
    """Blue, which is legible on light and dark pages alike."""
    drawn = str(diagram(kind)).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" color="#4a72e8" ', 1)
    path = DOCS / "images" / "kinds" / f"{kind}.svg"
    assert path.read_text(encoding="utf-8") == drawn + "\n", f"write this into {path}:\n{drawn}"


def test_the_numbers_in_the_text_on_kinds_are_right() -> None:
    """Those that stand in sentences: 1,806,336 + 25,690,112, MobileNetV1 in FLOPs, 54 against 28."""
    text = PAGES["kinds"]
    sums = [
        tuple(int(number.replace(",", "")) for number in found)
        for found in re.findall(r"([\d,]+) \+ ([\d,]+) = ([\d,]+)\.", text)
    ]
    assert sums == [(1_806_336, 25_690_112, 27_496_448)]
    assert 1_806_336 + 25_690_112 == 27_496_448
    assert "567,716,352 MACs, which is 1,135,432,704 FLOPs" in text
    assert 2 * 567_716_352 == 1_135_432_704
    assert "3.7 times as many" in text
    assert round(54 * 54 / (28 * 28), 1) == 3.7


@pytest.mark.parametrize("number", range(len(blocks("kinds", "python"))))
def test_every_snippet_in_the_page_on_kinds_runs_and_checks_shapes(number: int) -> None:
    source = blocks("kinds", "python")[number]
    assert "assert " in source
    exec(compile(source, f"docs/kinds.md, snippet {number + 1}", "exec"), {"__name__": "snippet"})


# formats.md


def rendered_columns() -> str:
    """The table of columns, made from the code."""
    head = "| column | type | unit | meaning | part |\n| --- | --- | --- | --- | --- |\n"
    return head + "".join(
        f"| {' | '.join(text or ' ' for text in (column.name, f'`{column.type}`', column.unit, column.meaning, column.part))} |\n"  # noqa: E501
        for column in columns.COLUMNS
    )


def rendered_settings() -> str:
    """The table of settings, made from the case."""
    open_ended = {
        "threads": ("a number", "all"),
        "autotune": ("false", "true"),
        "implementation": ("torch", *RUNTIMES, "another package's name", "module:attribute"),
    }
    head = "| setting | allowed | default |\n| --- | --- | --- |\n"
    values = {
        name: str(value).lower() if isinstance(value, bool) else value for name, value in DEFAULTS.items()
    }
    return head + "".join(
        f"| {name} | {', '.join(ALLOWED.get(name) or open_ended[name])} | {value} |\n"
        for name, value in values.items()
    )


def rendered_history() -> str:
    """The table of a history's columns, made from the code."""

    def word(kind: pa.DataType) -> str:
        known = {pa.types.is_dictionary: "dictionary", pa.types.is_timestamp: "timestamp"}
        return next((name for test, name in known.items() if test(kind)), str(kind))

    head = "| column | type | meaning |\n| --- | --- | --- |\n"
    return head + "".join(
        f"| {field.name} | `{word(field.type)}` | {field.meaning} |\n" for field in history_rows.FIELDS
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("columns", rendered_columns()),
        ("settings", rendered_settings()),
        ("history", rendered_history()),
    ],
)
def test_the_tables_of_columns_and_settings_are_made_from_the_code(name: str, expected: str) -> None:
    assert region("formats", name) == expected, (
        f"put this between the markers of {name} in docs/formats.md:\n\n{expected}"
    )


def test_the_policy_table_states_every_key_with_its_default() -> None:
    (table,) = tables(region("formats", "policy"))
    shown = {name: "none" if value is None else str(value) for name, value in Policy().as_message().items()}
    assert {row["key"]: row["default"] for row in table} == shown


def test_the_closed_sets_in_the_page_on_formats_are_those_of_the_record() -> None:
    (table,) = [table for table in tables(PAGES["formats"]) if set(table[0]) == {"column", "values"}]
    assert {row["column"]: tuple(row["values"].split(", ")) for row in table} == {
        "status": protocol.STATUSES,
        "trust": columns.TRUST,
        "trust_reasons": columns.TRUST_REASONS,
        "stop_reason": columns.STOP_REASONS,
    }


def test_the_descriptor_ids_and_label_in_the_page_on_formats_are_those_of_the_case() -> None:
    case = Case(Problem("depthwise", in_channels=128, size=56), Setting(memory_format="channels_last"))
    text = PAGES["formats"]
    assert case.descriptor in text.splitlines()
    assert re.findall(r"(?:problem_id|case_id) `([0-9a-f]{16})`", text) == [case.problem_id, case.case_id]
    assert f"`{case.label}`" in text


@pytest.mark.parametrize("number", range(len(blocks("formats", "toml"))))
def test_every_suite_in_the_page_on_formats_reads_and_can_be_measured(number: int) -> None:
    points = expand(parse_suite(tomllib.loads(blocks("formats", "toml")[number])))
    assert points
    assert [point.skip_reason for point in points if point.skip_reason] == []


def test_the_layer_list_in_the_page_on_formats_is_the_head_of_a_shipped_one() -> None:
    text = blocks("formats", "text")[-1]
    assert (ROOT / "suites" / "layers" / "mobilenet_v1.csv").read_text(encoding="utf-8").startswith(text)


# design.md


def test_the_rooms_in_the_design_are_those_of_the_code() -> None:
    (listing,) = [block for block in blocks("design", "text") if block.startswith("harness/")]
    rooms = {line.split("/")[0].strip() for line in listing.splitlines() if line.startswith("  ")}
    assert rooms == {path.parent.name for path in (ROOT / "harness").glob("*/__init__.py")}


def test_the_files_that_the_pages_name_are_there() -> None:
    for page in (*DOCS.glob("*.md"), ROOT / "CONTRIBUTING.md", ROOT / "README.md"):
        for room, path in re.findall(
            r"`(core|plan|analysis|store|run|tasks|output|cli|worker)/([\w/]+\.py)`",
            page.read_text(encoding="utf-8"),
        ):
            assert (ROOT / "harness" / room / path).is_file(), f"{page.name} names {room}/{path}"


def test_the_links_between_pages_lead_somewhere() -> None:
    for page, text in PAGES.items():
        for target in re.findall(r"\]\(([^)#:]+)[^):]*\)", text):
            assert (DOCS / target).exists(), f"docs/{page}.md links to {target}"


def test_the_counts_that_the_design_promises_come_out() -> None:
    shared: dict[str, Any] = {"in_channels": 64, "out_channels": 128, "size": 56}
    counts = [
        Problem("standard", **shared).macs,
        Problem("grouped", groups=4, **shared).macs,
        Problem("depthwise", in_channels=64, size=56).macs,
        Problem("pointwise", **shared).macs,
        Problem("depthwise_separable", **shared).macs,
    ]
    (sentence,) = re.findall(r"These must come out: (.*?)MobileNetV1", PAGES["design"], re.DOTALL)
    assert [int(number.replace(",", "")) for number in re.findall(r"\d+(?:,\d{3})+", sentence)] == counts


# own_kernel.md


@pytest.mark.torch
def test_the_kernel_in_the_docs_is_right_and_can_be_measured(
    worker: WorkerProcess, implementations: Path
) -> None:
    (code,) = blocks("own_kernel", "python")
    (implementations / "mykernels.py").write_text(code, encoding="utf-8")
    mine = Setting(implementation="mykernels:depthwise")
    plain, strided = (Case(Problem("depthwise", in_channels=8, size=14, stride=n), mine) for n in (1, 2))
    values = ask(worker, "survey", plain)["values"]
    assert 0 < values["error"] <= values["error_bound"]
    assert ask(worker, "visit", plain)["status"] == "ok"
    refused = ask(worker, "visit", strided)
    assert refused["status"] == "error", "its factory refuses a stride"
    assert "only depthwise, stride 1" in refused["message"]
