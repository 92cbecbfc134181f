"""What a command ends with, by real processes: 1 means regressed, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from filelock import FileLock

from harness.core import errors
from tests.conftest import Convscope, Stub, environment
from tests.made_runs import FEW_SUITE, make_run

Started = Callable[..., subprocess.Popen[str]]
FULL = Path("/dev/full")
# containers often set PYTHONUNBUFFERED
BUFFERED = pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])


@pytest.fixture
def start(tmp_path: Path) -> Started:
    """Starts the command in an empty folder; `fault` is Python that runs in its process before it."""

    def started(
        *arguments: str | Path,
        fault: str = "",
        out: int | IO[str] = subprocess.PIPE,
        err: int = subprocess.PIPE,
        unbuffered: str = "",
    ) -> Any:
        variables = environment(tmp_path) | {"PYTHONUNBUFFERED": unbuffered}
        if fault:
            (tmp_path / "fault").mkdir()
            (tmp_path / "fault" / "sitecustomize.py").write_text(fault, encoding="utf-8")
            variables["PYTHONPATH"] = str(tmp_path / "fault")
        command = [sys.executable, "-m", "harness", *map(str, arguments)]
        return subprocess.Popen(
            command, cwd=tmp_path, env=variables, stdin=subprocess.DEVNULL, stdout=out, stderr=err, text=True
        )

    return started


@pytest.fixture
def unread() -> Iterator[int]:
    """A pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


def end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out or "", err or ""


def raises(error: str, where: str = "harness.run.doctor", name: str = "examine") -> str:
    """A fault: a function that raises."""
    return (
        f"import {where} as module\n\n\n"
        f"def faulty(*_, **__):\n    raise {error}\n\n\nmodule.{name} = faulty\n"
    )


@pytest.mark.parametrize(
    "error",
    [
        "KeyError('column')",
        "EOFError()",
        "FileNotFoundError(2, 'gone', 'x')",
        "MemoryError()",
        "RuntimeError('two\\nlines')",
    ],
)
def test_an_error_of_ours_ends_with_70_and_asks_for_a_report(start: Started, error: str) -> None:
    code, out, err = end(start("doctor", fault=raises(error)))
    assert (code, out) == (70, "")
    assert "Traceback" in err
    assert f"Error: internal error: {error.partition('(')[0]}" in err
    assert "report this internal error" in err.splitlines()[-1]
    assert "convscope doctor --json" in err.splitlines()[-1]


def test_so_does_one_before_any_command_is_known(start: Started) -> None:
    code, _, err = end(
        start("--version", fault=raises("RuntimeError('no metadata')", "importlib.metadata", "version"))
    )
    assert code == 70
    assert "Error: internal error: RuntimeError: no metadata" in err


def test_with_json_such_an_error_is_an_object_and_the_traceback_stands_beside_it(start: Started) -> None:
    code, out, err = end(start("doctor", "--json", fault=raises("KeyError('column')")))
    answer = json.loads(out)
    assert (code, answer["code"], answer["where"], answer["message"]) == (
        70,
        70,
        "internal error",
        "KeyError: 'column'",
    )
    assert "convscope doctor --json" in answer["hint"]
    assert "in faulty" in err


@pytest.mark.parametrize("arguments", [["doctor"], ["doctor", "--json"], ["--version"]], ids=" ".join)
def test_ctrl_c_ends_with_130_wherever_it_comes(start: Started, arguments: list[str]) -> None:
    where = (
        ("importlib.metadata", "version") if arguments == ["--version"] else ("harness.run.doctor", "examine")
    )
    code, out, err = end(start(*arguments, fault=raises("KeyboardInterrupt", *where)))
    assert code == 130
    assert "Traceback" not in err
    assert "stopped" in (out if "--json" in arguments else err)


def test_a_second_ctrl_c_while_the_first_is_told_ends_with_130_too(start: Started) -> None:
    fault = raises("KeyboardInterrupt") + raises(
        "KeyboardInterrupt", "harness.core.errors", "Stopped.__str__"
    )
    assert end(start("doctor", fault=fault))[0] == 130


@BUFFERED
@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["suites", "--json"],
        ["plan", "quickstart"],
        ["report", "nothing", "--json"],
    ],
    ids=" ".join,
)
def test_a_pipe_that_nobody_reads_ends_with_141_and_without_a_word(
    start: Started, unread: int, arguments: list[str], unbuffered: str
) -> None:
    assert end(start(*arguments, out=unread, unbuffered=unbuffered)) == (141, "", "")


def test_so_does_one_that_is_closed_after_a_line(start: Started, tmp_path: Path) -> None:
    """As `convscope results | head -1`: 2,000 lines of 100 signs and more are more than the pipe holds, so
    that it still writes."""
    for number in range(2000):
        run = tmp_path / "results" / f"{number:0100}"
        run.mkdir(parents=True)
        (run / "run.json").touch()
    process = start("results")
    assert process.stdout
    assert process.stdout.readline().split() == ["run", "suite", "state"]
    process.stdout.close()
    process.stdout = None
    assert end(process) == (141, "", "")


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The second took half as long again."""
    folder = tmp_path_factory.mktemp("two runs")
    return [
        make_run(folder, FEW_SUITE, run_id=f"{name}-made", factors={"main": factor})
        for name, factor in (("first", 1.0), ("second", 1.5))
    ]


@BUFFERED
def test_a_verdict_that_nobody_reads_is_141_too(
    start: Started, two_runs: list[Path], convscope: Convscope, unread: int, unbuffered: str
) -> None:
    assert convscope("compare", *two_runs).code == 1, "regressed"
    assert end(start("compare", *two_runs, out=unread, unbuffered=unbuffered)) == (141, "", "")


@BUFFERED
@pytest.mark.parametrize("arguments", [["rum"], ["report", "nothing"]], ids=" ".join)
def test_so_is_an_error_that_nobody_reads(
    start: Started, unread: int, arguments: list[str], unbuffered: str
) -> None:
    assert end(start(*arguments, err=unread, unbuffered=unbuffered)) == (141, "", "")


@BUFFERED
def test_so_is_the_talk_of_a_run(
    start: Started, suite: Path, stub: Stub, unread: int, unbuffered: str
) -> None:
    assert end(start("run", suite, "--python", stub(), err=unread, unbuffered=unbuffered)) == (141, "", "")


@pytest.mark.skipif(not FULL.exists(), reason="Linux has it")
@BUFFERED
@pytest.mark.parametrize("arguments", [["--help"], ["suites", "--json"]], ids=" ".join)
def test_a_full_disk_is_no_error_of_ours(start: Started, arguments: list[str], unbuffered: str) -> None:
    with FULL.open("w") as full:
        code, _, err = end(start(*arguments, out=full, unbuffered=unbuffered))
    assert code == errors.StorageError.code
    if "--json" not in arguments:
        assert err == "Error: no space left on the device\n"


def test_where_stdout_was_closed_beforehand_a_command_ends_as_ever(tmp_path: Path) -> None:
    def code(*arguments: str) -> int:
        shell = ["/bin/sh", "-c", 'exec "$@" >&- 2>&-', "sh", sys.executable, "-m", "harness", *arguments]
        return subprocess.run(
            shell, cwd=tmp_path, env=environment(tmp_path), check=False, timeout=60
        ).returncode

    assert (code("--help"), code("rum")) == (0, 2)


@pytest.mark.parametrize("as_json", [False, True])
def test_a_busy_device_ends_with_75(
    convscope: Convscope, suite: Path, stub: Stub, tmp_path: Path, as_json: bool
) -> None:
    environment(tmp_path)
    with FileLock(tmp_path / "tmp" / "convscope-cpu.lock"):
        ended = convscope("run", suite, "--python", stub(), "--no-wait", *(["--json"] if as_json else []))
    assert ended.code == 75
    if as_json:
        assert (ended.json["code"], ended.json["where"]) == (75, "cpu")
    else:
        assert "another measurement is running" in ended.err


def test_every_exit_code_is_told_by_help_and_by_the_design(convscope: Convscope) -> None:
    ours = {
        kind.code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.ConvscopeError)
    }
    assert 1 not in ours, "a verdict, and no error"
    design = (Path(__file__).parents[1] / "docs" / "design.md").read_text(encoding="utf-8")
    for text in (convscope("--help").out, design):
        told = " ".join(text.partition("Exit codes")[2].partition("\n\n")[0].split())
        assert {int(word) for word in told.replace(",", " ").split() if word.isdecimal()} == ours | {
            0,
            1,
            141,
        }
