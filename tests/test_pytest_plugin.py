"""Suite files as tests, in a pytest of their own, against a stub worker."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from harness import load_results
from tests.conftest import Convscope, Ended, Stub, environment, in_this_process

STEADY = {"spread": 0.001}
ONCE = "--benchmark-disable"  # one visit a case, where a figure is not what is asked
# pytest-benchmark says so of a test that fails before it has figures
UNUSED = "ignore:Benchmark fixture was not used"
OPTIONS = ("-p", "no:randomly", "--strict-markers", "-W", "error", "-W", UNUSED, "-rA")


@pytest.fixture
def run_pytest(tmp_path: Path, stub: Stub) -> Any:
    """Runs pytest in an empty folder, in this process: `run_pytest("small.toml", "-k", "depthwise")`; or as
    one of its own, where it starts others."""

    def run(*arguments: str | Path, cases: tuple[dict[str, Any], ...] = (), process: bool = False) -> Ended:
        python = stub(*cases, STEADY, name="measured")
        words = [*OPTIONS, f"--convscope-python={python}", *map(str, arguments)]
        if not process:
            with warnings.catch_warnings(record=True):  # what it says after its last test is its own
                return in_this_process(
                    lambda: sys.exit(pytest.main(words)),
                    ["pytest", *words],
                    cwd=tmp_path,
                    variables=environment(tmp_path),
                )
        ended = subprocess.run(
            [sys.executable, "-m", "pytest", *words],
            cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    return run


def test_a_suite_is_a_test_a_case_measured_in_one_run(run_pytest: Any, suite: Path, tmp_path: Path) -> None:
    ended = run_pytest(suite, process=True)
    assert ended.code == 0, ended.out
    assert "6 passed" in ended.out
    assert "depthwise 8->8 k3 1x8x14x14 cpu float32" in ended.out
    loaded = load_results(results=tmp_path / "results")
    assert len(loaded.runs) == 1
    assert len(loaded.visits) == 18


def test_a_case_that_pads_unevenly_is_a_test_like_any_other(
    run_pytest: Any, suite: Path, tmp_path: Path
) -> None:
    padded = tmp_path / "padded.toml"
    text = suite.read_text(encoding="utf-8")
    padded.write_text(text.replace("[problem]", '[problem]\npadding = "0+1"'), encoding="utf-8")
    ended = run_pytest(padded, ONCE, "-k", "depthwise and float32")
    assert "depthwise 8->8 k3 p0+1 1x8x14x14 cpu float32" in ended.out
    assert "2 passed" in ended.out


@pytest.mark.parametrize("chosen", [("-m", "depthwise"), ("-k", "depthwise and float32")])
def test_what_is_selected_is_measured_and_nothing_else(
    run_pytest: Any, suite: Path, tmp_path: Path, chosen: tuple[str, ...]
) -> None:
    ended = run_pytest(suite, ONCE, *chosen)
    assert "2 passed, 4 deselected" in ended.out
    assert set(load_results(results=tmp_path / "results").visits["kind"]) == {"depthwise"}


def test_pytest_benchmark_holds_the_samples_that_we_hold(
    run_pytest: Any, suite: Path, tmp_path: Path
) -> None:
    assert run_pytest(suite, "--benchmark-json=out.json").code == 0
    written = {
        bench["name"]: bench
        for bench in json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["benchmarks"]
    }
    loaded = load_results(results=tmp_path / "results")
    assert len(written) == 6
    for row in loaded.summary.to_dict("records"):
        bench = next(b for b in written.values() if b["extra_info"]["descriptor"] == row["descriptor"])
        ours = [
            x
            for samples in loaded.visits[loaded.visits["case_id"] == row["case_id"]]["samples_s"]
            for x in samples
        ]
        assert bench["stats"]["data"] == ours
        assert bench["group"] == row["kind"]
        assert bench["extra_info"]["macs"] == row["macs"]
        assert bench["extra_info"]["peak_bytes"] == row["peak_bytes"]


def test_saved_figures_and_our_export_are_baselines_for_it(
    run_pytest: Any, suite: Path, convscope: Convscope
) -> None:
    assert run_pytest(suite, "--benchmark-save=first").code == 0
    slower = {"match": {"kind": "depthwise"}, "latency_s": 1.3e-3} | STEADY
    again = run_pytest(
        suite,
        "--benchmark-compare=0001",
        "--benchmark-compare-fail=median:10%",
        cases=(slower,),
        process=True,
    )
    assert again.code != 0
    assert "Performance has regressed" in again.out + again.err
    exported = convscope("export", "last", "--to", "pytest-benchmark", "--out", "ours.json")
    assert exported.code == 0
    held = run_pytest(
        suite,
        "-W",
        "default",
        "--benchmark-compare=ours.json",
        "--benchmark-compare-fail=median:10%",
        cases=(slower,),
    )
    assert held.code == 0, held.out  # it warns of another machine: ours is named by its CPU alone
    assert "(ours)" in held.out, "it found them under their names"


def test_a_case_that_fails_is_a_test_that_fails(run_pytest: Any, suite: Path) -> None:
    ended = run_pytest(
        suite, cases=({"match": {"kind": "pointwise"}, "fault": "error", "message": "no kernel"},)
    )
    assert ended.code == 1
    assert "2 failed, 4 passed" in ended.out
    assert "error: no kernel" in ended.out
    assert "Traceback" not in ended.out


def test_an_interpreter_that_is_none_fails_every_test_with_one_sentence(run_pytest: Any, suite: Path) -> None:
    ended = run_pytest(suite, "--convscope-python=/nowhere")
    assert ended.code == 1
    assert "6 failed" in ended.out
    assert "/nowhere: cannot be started" in ended.out
    assert "Traceback" not in ended.out


def test_what_is_not_there_is_skipped(run_pytest: Any, suite: Path) -> None:
    with suite.open("a", encoding="utf-8") as file:
        file.write('device = ["cpu", "cuda"]\n')
    ended = run_pytest(suite, ONCE, "-p", "no:capture")
    assert "6 passed, 6 skipped" in ended.out
    assert "device cuda is not present" in ended.out


def test_a_suite_with_faults_is_an_error_that_names_them(run_pytest: Any, suite: Path) -> None:
    suite.write_text(suite.read_text(encoding="utf-8").replace("in_channels", "in_chanels"), encoding="utf-8")
    ended = run_pytest(suite)
    assert ended.code == 2
    assert "in_chanels" in ended.out


def test_with_benchmarks_disabled_a_case_is_visited_once(
    run_pytest: Any, suite: Path, tmp_path: Path
) -> None:
    assert run_pytest(suite, ONCE).code == 0
    assert load_results(results=tmp_path / "results").runs[0]["quick"] is True


def test_skipped_benchmarks_measure_nothing(run_pytest: Any, suite: Path, tmp_path: Path) -> None:
    assert "6 skipped" in run_pytest(suite, "--benchmark-skip").out
    assert not (tmp_path / "results").exists()


def test_beside_other_workers_it_measures_nothing_and_says_so(
    run_pytest: Any, suite: Path, tmp_path: Path
) -> None:
    ended = run_pytest(suite, "-n", "1", "--benchmark-disable", process=True)
    assert "6 skipped" in ended.out
    assert "run this file without -n" in ended.out
    assert not (tmp_path / "results").exists()


def test_it_works_without_pytest_benchmark(run_pytest: Any, suite: Path) -> None:
    assert "6 passed" in run_pytest(suite, "-p", "no:benchmark").out


def test_a_toml_file_that_nobody_named_is_left_alone(run_pytest: Any, suite: Path) -> None:
    assert run_pytest(".").code == 5, "no tests collected"


def test_loading_it_costs_no_import_of_weight() -> None:
    code = (
        "import sys, pytest; before = set(sys.modules); import harness.pytest_plugin; "
        "print(*sorted(set(sys.modules) - before))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {name.partition(".")[0] for name in loaded} & {
        "click",
        "numpy",
        "pandas",
        "pyarrow",
        "pydantic",
        "rich",
        "scipy",
        "torch",
    }


def test_what_cannot_be_measured_is_a_warning_by_name(run_pytest: Any, suite: Path) -> None:
    disturbed = {"match": {"kind": "depthwise"}, "fault": "invalid"}
    ended = run_pytest(suite, "-W", "default", cases=(disturbed,))
    assert ended.code == 0, ended.out
    assert "4 passed, 2 skipped" in ended.out
    assert "Unmeasured: depthwise 8->8 k3 1x8x14x14 cpu float32: not measured: all" in ended.out


def test_a_time_limit_is_an_option_or_an_ini(run_pytest: Any, suite: Path, tmp_path: Path) -> None:
    def limit() -> float | None:
        return load_results("last", results=tmp_path / "results").runs[0]["policy"]["time_limit_s"]

    assert run_pytest(suite, ONCE, "-o", "convscope_time_limit=50").code == 0
    assert limit() == 50
    assert run_pytest(suite, ONCE, "-o", "convscope_time_limit=50", "--convscope-time-limit=40").code == 0
    assert limit() == 40
    wrong = run_pytest(suite, "-o", "convscope_time_limit=soon")
    assert "'soon' is no number of seconds" in wrong.out
