"""The command as a user meets it: answers, errors that say what, where and what to do, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import harness
from tests.conftest import Convscope, Stub

COMMANDS = (
    "advise",
    "cliffs",
    "doctor",
    "explain",
    "measure",
    "plan",
    "report",
    "repro",
    "results",
    "run",
    "suites",
    "trace",
    "whatif",
)


def test_help_names_every_command_and_the_exit_codes(convscope: Convscope) -> None:
    ended = convscope("--help")
    assert ended.code == 0
    assert all(name in ended.out for name in COMMANDS)
    assert "130 after Ctrl-C" in " ".join(ended.out.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(convscope: Convscope, command: str) -> None:
    ended = convscope(command, "--help")
    assert ended.code == 0
    assert "Example" in ended.out
    assert f"convscope {command}" in ended.out


TELLING = """
import sys
from harness.cli.main import main
for words in (["--help"], ["plan", "quickstart"], ["explain", "pointwise"], ["suites"]):
    try:
        main.main(words, "convscope")
    except SystemExit as ended:
        assert not ended.code, words
    loaded = {"torch", "pandas", "pyarrow", "scipy", "seaborn"} & set(sys.modules)
    assert not loaded, (words, loaded)
"""


def test_what_only_tells_imports_neither_torch_nor_pandas() -> None:
    """This is what keeps them under a second."""
    ended = subprocess.run([sys.executable, "-c", TELLING], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr


def test_version_names_torch(convscope: Convscope) -> None:
    ended = convscope("--version")
    assert f"convscope {harness.__version__} (torch " in ended.out


def test_the_public_names_are_what_the_package_says() -> None:
    assert set(harness.__all__) <= set(dir(harness))
    assert all(getattr(harness, name) is not None for name in harness.__all__)
    with pytest.raises(AttributeError):
        _ = harness.nothing


def test_explain_as_json_has_the_names_of_the_record(convscope: Convscope) -> None:
    answer = convscope(
        "explain", "depthwise_separable", "--in", "64", "--out", "128", "--size", "56", "--json"
    ).json
    assert answer == {
        "kind": "depthwise_separable",
        "input_shape": [1, 64, 56, 56],
        "weight_shapes": [[64, 1, 3, 3], [128, 64, 1, 1]],
        "output_shape": [1, 128, 56, 56],
        "parameters": 8768,
        "macs": 27_496_448,
        "flops": 54_992_896,
        "minimum_bytes": 4 * (2 * 64 * 56 * 56 + 64 * 9 + 64 * 56 * 56 + 128 * 64 + 128 * 56 * 56),
        "ratio_to_standard": pytest.approx(1 / 128 + 1 / 9),
    }


def test_explain_takes_the_arguments_of_conv2d(convscope: Convscope) -> None:
    more = [
        "--kernel",
        "3x5",
        "--stride",
        "2",
        "--padding",
        "1",
        "--dilation",
        "2",
        "--groups",
        "4",
        "--batch",
        "2",
        "--bias",
    ]
    answer = convscope(
        "explain", "grouped", "--in", "8", "--out", "16", "--height", "20", "--width", "30", *more, "--json"
    ).json
    assert answer["output_shape"] == [2, 16, 9, 12]
    assert answer["parameters"] == 16 * 2 * 15 + 16


def test_plan_as_json_counts_points_cases_and_skips_with_reasons(convscope: Convscope) -> None:
    answer = convscope(
        "plan",
        "-a",
        "kind=grouped,depthwise",
        "-a",
        "in_channels=6,8",
        "-a",
        "groups=4",
        "-a",
        "size=8",
        "--json",
    ).json
    assert (answer["points"], answer["cases"], answer["skipped"]) == (4, 3, 1)
    assert answer["reasons"] == {"groups: 4 does not divide in_channels = 6": 1}
    assert answer["estimated_s"] > 0


def test_plan_ends_with_the_command_that_measures_it(convscope: Convscope) -> None:
    told = convscope(
        "plan",
        "quickstart",
        "-a",
        "kernel_size=3x3,3x5",
        "-a",
        "out_channels=2 * in_channels",
        "-a",
        "bias=true",
        "--quick",
    ).out.splitlines()[-1]
    assert told == (
        "Next: convscope run quickstart -a kernel_size=3x3,3x5 "
        "-a 'out_channels=2 * in_channels' -a bias=true --quick"
    )


def test_plan_narrows_a_suite(convscope: Convscope) -> None:
    whole = convscope("plan", "quickstart", "--json").json
    part = convscope(
        "plan",
        "quickstart",
        "-a",
        "kind=depthwise",
        "-a",
        "in_channels=32:128:x2",
        "-a",
        "allocator=retained",
        "--json",
    ).json
    assert whole["cases"] == 40
    assert part["cases"] == 6


def test_suites_lists_what_ships(convscope: Convscope) -> None:
    names = [suite["name"] for suite in convscope("suites", "--json").json]
    assert {
        "quickstart",
        "channels",
        "groups",
        "kernel_sizes",
        "resolution",
        "dtypes",
        "threads",
        "devices",
        "mobilenet_v1",
    } <= set(names)


def test_a_broken_suite_does_not_hide_the_others(convscope: Convscope, tmp_path: Path) -> None:
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "broken.toml").write_text("schema = 1\nname =", encoding="utf-8")
    listed = {suite["name"]: suite for suite in convscope("suites", "--json").json}
    assert listed["broken"]["title"].startswith("unreadable: is not TOML")
    assert listed["quickstart"]["cases"] == 40
    assert "quickstart" in convscope("suites").out


def test_results_lists_runs(convscope: Convscope, suite: Path, stub: Stub) -> None:
    run_id = convscope("run", suite, "--python", stub(), "--quick", "--json").json["run_id"]
    listed = convscope("results", "--json").json
    assert [run["run_id"] for run in listed] == [run_id]
    assert "quick" in convscope("results").out


def test_an_empty_results_folder_is_no_error(convscope: Convscope) -> None:
    assert convscope("results", "--json").json == []
    assert "convscope run quickstart" in convscope("results").out


def test_a_run_ends_with_its_answer_and_the_next_command(
    convscope: Convscope, suite: Path, stub: Stub
) -> None:
    ended = convscope("run", suite, "--python", stub({"spread": 0}))
    assert ended.code == 0
    assert "6 cases, 18 repetitions" in ended.out
    assert ended.out.strip().splitlines()[-1].startswith("Next: convscope report ")
    assert "round 1" in ended.err


BAD_TOML = "schema = 1\nname = quickstart\n"
BAD_SUITE = """
schema = 1
name = "bad"
[policy]
roundz = 3
[[sweep]]
name = "square"
kind = ["standard", "depthwize"]
in_chanels = 3
size = 0
"""


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["run", "nowhere"], ["nowhere", "no such suite", "quickstart"]),
        (["run", "nowhere.toml"], ["nowhere.toml", "cannot be read: No such file"]),
        (["plan", "broken.toml"], ["broken.toml", "is not TOML", "line 2"]),
        (
            ["plan", "bad.toml"],
            [
                "bad.toml",
                "roundz",
                "rounds",
                'sweep "square"',
                "depthwize",
                "Did you mean depthwise",
                "in_chanels",
                "in_channels",
                "size: 0",
            ],
        ),
        (["run", "quickstart", "-a", "kind=depthwize"], ["depthwize", "Did you mean depthwise"]),
        (["run", "quickstart", "-a", "in_channels=0"], ["in_channels", "0 is below 1"]),
        (["run", "quickstart", "-a", "in_channels=1:2"], ["in_channels"]),
        (["run", "quickstart", "-a", "colour=red"], ["colour"]),
        (["plan", "groups", "-a", "kind=depthwise"], ["nothing in suite groups matches"]),
        (
            ["run", "-a", "kind=grouped", "-a", "groups=3", "-a", "in_channels=64", "-a", "size=8"],
            ["none of its 1 points", "3 does not divide in_channels"],
        ),
        (
            ["plan", "-a", "kind=standard", "-a", "in_channels=1:9999999999:1", "-a", "size=8"],
            ["9,999,999,999 values", "100,000"],
        ),
        (
            ["plan", "-a", "kind=standard", "-a", "in_channels=1:9999:1", "-a", "size=1:9999:1"],
            ["99,980,001 points", "100,000"],
        ),
        (["run"], ["kind", "must be given", "convscope run -a"]),
        (["explain", "standrd"], ["standrd", "Did you mean standard"]),
        (["explain", "depthwise", "--in", "0"], ["in_channels", "0", "at least 1"]),
        (
            ["explain", "grouped", "--in", "64", "--groups", "7"],
            ["groups", "7 does not divide in_channels = 64", "Use 1, 2, 4"],
        ),
        (["explain", "pointwise", "--kernel", "3"], ["kernel_size", "standard, not pointwise"]),
        (["measure", "depthwise", "--dtype", "float31"], ["dtype", "float31", "float32"]),
        (["measure", "depthwise", "--device", "cuda:x"], ["cuda:x"]),
        (
            ["measure", "depthwise", "--python", "/nowhere/python"],
            ["/nowhere/python", "No such file", "--python PATH"],
        ),
        (["report", "last"], ["no run yet", "convscope run quickstart"]),
        (["report"], ["RUN"]),
        (["rum"], ["rum", "Did you mean run"]),
    ],
    ids=lambda value: (
        " ".join(value)
        if isinstance(value, list) and isinstance(value[0], str) and " " not in value[0]
        else ""
    ),
)
def test_bad_input_says_what_where_and_what_to_do(
    convscope: Convscope, stub: Stub, tmp_path: Path, arguments: list[str], what: list[str]
) -> None:
    (tmp_path / "broken.toml").write_text(BAD_TOML, encoding="utf-8")
    (tmp_path / "bad.toml").write_text(BAD_SUITE, encoding="utf-8")
    python = str(stub())
    ended = convscope(*arguments, CONVSCOPE_PYTHON=python)
    assert ended.code == 2
    assert ended.out == ""
    for text in what:
        assert text in ended.err
    assert len(ended.err.splitlines()) <= 12
    assert not (tmp_path / "results").exists()
    as_json = convscope(*arguments, "--json", CONVSCOPE_PYTHON=python)
    assert as_json.code == 2
    assert set(json.loads(as_json.out)) == {"code", "message", "where", "hint"}


def test_an_interpreter_without_torch_is_named(
    convscope: Convscope, suite: Path, stub: Stub, tmp_path: Path
) -> None:
    ended = convscope(
        "run",
        suite,
        "--python",
        stub(no_torch="/usr/bin/python3 has no torch that can be imported: No module named 'torch'"),
    )
    assert ended.code == 2
    assert "has no torch" in ended.err
    assert "--python PATH" in ended.err
    assert not (tmp_path / "results").exists()


def test_something_that_is_no_worker_is_named(convscope: Convscope, suite: Path) -> None:
    ended = convscope("run", suite, "--python", "/bin/false")
    assert ended.code == 2
    assert "/bin/false" in ended.err


@pytest.mark.parametrize(
    "asked",
    [
        "grouped --in 8 --groups 4 --stride 2 --kernel 3x5 --height 9 --width 7 --bias",
        "grouped --in 128 --groups 64 --size 8",
        "standard --in 8 --kernel 5 --padding 1",
        "standard --in 8 --kernel 4 --padding 1",
        "depthwise --in 8 --kernel 5 --dilation 2",
        "pointwise --in 8 --out 16 --batch 2",
    ],
)
def test_the_next_command_measures_the_problem_that_was_explained(convscope: Convscope, asked: str) -> None:
    explained = convscope("explain", *asked.split())
    *following, measure = explained.out.strip().splitlines()[-1].split()[3:]
    assert (explained.code, measure) == (0, "--measure")
    assert (
        convscope("explain", *following, "--json").json == convscope("explain", *asked.split(), "--json").json
    )


def test_a_terminal_without_the_signs_gets_their_numbers(convscope: Convscope, stub: Stub) -> None:
    ended = convscope(
        "explain",
        "depthwise",
        "--in",
        "8",
        "--measure",
        "--python",
        stub({"latency_s": 2e-5}),
        PYTHONIOENCODING="ascii",
    )
    assert ended.code == 0, ended.err
    assert r"\xb5s" in ended.out


def test_a_page_does_not_replace_what_is_no_file(
    convscope: Convscope, suite: Path, stub: Stub, tmp_path: Path
) -> None:
    convscope("run", suite, "--python", stub(), "--quick")
    (tmp_path / "folder").mkdir()
    ended = convscope("report", "last", "--out", "folder")
    assert ended.code == 2
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_run_of_one_case_has_a_report(convscope: Convscope, stub: Stub) -> None:
    """All of its figures lie within a few per cent."""
    case = ["-a", "kind=depthwise", "-a", "in_channels=8", "-a", "size=8"]
    assert convscope("run", *case, "--python", stub()).code == 0
    assert convscope("report", "last").code == 0


def test_a_results_folder_that_cannot_be_written_loses_nothing(
    convscope: Convscope, suite: Path, stub: Stub, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("a file", encoding="utf-8")
    ended = convscope("run", suite, "--python", stub(), "--results", "taken")
    assert ended.code == 2
    assert "taken" in ended.err
    assert "--results" in ended.err
    assert (tmp_path / "taken").read_text(encoding="utf-8") == "a file"


def test_the_interpreter_may_come_from_the_environment(convscope: Convscope, suite: Path, stub: Stub) -> None:
    assert (
        convscope("run", suite, "--quick", "--json", CONVSCOPE_PYTHON=str(stub())).json["state"] == "complete"
    )
