"""What other programs read: JUnit, markdown, pytest-benchmark's JSON, customSmallerIsBetter."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from junitparser import JUnitXml

import harness
from harness import load_results, testing
from harness.core.errors import CasesFailed
from tests.conftest import SUITE, Convscope, Stub, alone, environment

STEADY = {"spread": 0.001}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of an A/B in which one kind is slower and another crashes."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "small.toml").write_text(SUITE, encoding="utf-8")
    slow = {"match": {"kind": "depthwise"}, "latency_s": 1.1e-3} | STEADY
    scripts = {"base": [STEADY], "head": [slow, {"match": {"kind": "pointwise"}, "fault": "crash"}, STEADY]}
    base, head = (testing.interpreter(folder / name, {"cases": cases}) for name, cases in scripts.items())
    with alone(folder), pytest.raises(CasesFailed):
        harness.ab(
            folder / "small.toml",
            harness.Side(str(base)),
            harness.Side(str(head)),
            results=folder / "results",
        )
    return folder / "results"


@pytest.fixture
def regressed(made: Path, own_folder: Path) -> None:
    """The same, in the current folder."""
    shutil.copytree(made, own_folder / "results")


@pytest.mark.usefixtures("regressed")
def test_junit_has_a_failure_for_each_regression(convscope: Convscope, tmp_path: Path) -> None:
    ended = convscope("compare", "last", "--junit")
    assert ended.code == 1
    path = tmp_path / "junit.xml"
    path.write_text(ended.out, encoding="utf-8")
    (suite,) = JUnitXml.fromfile(str(path))
    assert (suite.failures, suite.errors) == (2, 2)
    failed = [case for case in suite if any(type(result).__name__ == "Failure" for result in case.result)]
    assert len(failed) == 2
    assert all("depthwise" in case.name for case in failed)
    assert all("+10" in case.result[0].message or "+9" in case.result[0].message for case in failed)


def test_junit_fails_where_the_run_itself_decides_the_exit_code(
    convscope: Convscope, suite: Path, stub: Stub, tmp_path: Path
) -> None:
    base, head = stub(STEADY, name="base"), stub(STEADY, name="head")
    text = suite.read_text(encoding="utf-8") + '\n[gate]\ninconclusive = "fail"\n'
    strict = tmp_path / "strict.toml"
    strict.write_text(text, encoding="utf-8")
    ended = convscope(
        "ab", strict, "--base-python", base, "--head-python", head, "--time-limit", "0.01", "--junit"
    )
    assert ended.code == 1
    (told,) = JUnitXml.fromstring(ended.out.encode())
    assert (told.tests, told.failures) == (1, 1)


@pytest.mark.usefixtures("regressed")
def test_markdown_says_it_in_sentences_and_a_table_worst_first(convscope: Convscope) -> None:
    ended = convscope("compare", "last", "--md")
    rows = [line for line in ended.out.splitlines() if line.startswith("| ") and "---" not in line]
    assert rows[0].startswith("| verdict | case")
    assert "regressed" in rows[1]
    assert "depthwise 8->8" in "".join(rows[1:3])
    assert len({line.count("|") for line in rows}) == 1


@pytest.fixture
def run(convscope: Convscope, suite: Path, stub: Stub) -> str:
    ended = convscope("run", suite, "--python", stub(STEADY), "--json")
    return str(ended.json["run_id"])


def test_smaller_is_better(convscope: Convscope, run: str) -> None:
    entries = convscope("export", run, "--to", "smaller-is-better").json
    assert len(entries) == 6
    assert all(entry["unit"] == "us" and entry["value"] == pytest.approx(1000, rel=0.05) for entry in entries)
    assert all({"name", "unit", "value", "range", "extra"} == entry.keys() for entry in entries)


@pytest.mark.usefixtures("regressed")
@pytest.mark.parametrize("form", ["pytest-benchmark", "smaller-is-better"])
def test_an_ab_is_not_exported_as_one_run(convscope: Convscope, form: str) -> None:
    ended = convscope("export", "last", "--to", form)
    assert ended.code == 2
    assert "several arms" in ended.err


def test_pytest_benchmark_reads_our_file(convscope: Convscope, run: str, tmp_path: Path) -> None:
    ended = convscope("export", run, "--to", "pytest-benchmark", "--out", "storage/0001_ours.json")
    assert ended.code == 0
    shown = subprocess.run(
        [sys.executable, "-m", "pytest_benchmark", "compare", "storage/0001_ours.json"],
        cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    assert "depthwise 8->8" in shown.stdout
    written = json.loads((tmp_path / "storage" / "0001_ours.json").read_text(encoding="utf-8"))
    visits = load_results(run, results=tmp_path / "results").visits
    assert (
        sum(bench["stats"]["rounds"] for bench in written["benchmarks"]) == visits["samples_s"].map(len).sum()
    )
    assert all(bench["extra_info"]["macs"] > 0 for bench in written["benchmarks"])
