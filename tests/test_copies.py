"""A run is copied to a bucket and back, goes on there, and nothing else comes out of a bucket."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.store.results import load_results
from tests.conftest import Convscope, Stub, environment

fsspec = pytest.importorskip("fsspec")
SWEEP = ("-a", "kind=depthwise,standard", "-a", "in_channels=16:160:16", "-a", "size=14")


@pytest.fixture
def memory() -> Iterator[str]:
    """A bucket in the memory of this process."""
    yield "memory://team/runs"
    fsspec.filesystem("memory").store.clear()


def only_run(tmp_path: Path) -> Path:
    (run,) = (tmp_path / "results").iterdir()
    return run


def test_a_run_comes_back_as_it_was(convscope: Convscope, stub: Stub, tmp_path: Path, memory: str) -> None:
    assert convscope("run", *SWEEP, "--quick", "--python", stub()).code == 0
    run = only_run(tmp_path)
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    sent = convscope("copy", "last", memory, "--json")
    assert (sent.code, sent.json["path"]) == (0, f"{memory}/{run.name}"), sent.err
    again = convscope("copy", sent.json["path"])
    assert (again.code, "is there already" in again.err) == (2, True)
    shutil.rmtree(run)
    assert convscope("copy", sent.json["path"]).code == 0
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
    assert convscope("report", "last").code == 0


def test_nothing_else_comes_out_of_a_bucket(
    convscope: Convscope, stub: Stub, tmp_path: Path, memory: str
) -> None:
    assert convscope("run", *SWEEP, "--quick", "--python", stub()).code == 0
    run = only_run(tmp_path)
    assert convscope("copy", "last", memory).code == 0
    system = fsspec.filesystem("memory")
    for name in ("evil.py", "check/../../evil.json", ".run.json.partial", "deep/er/run.json"):
        system.pipe_file(f"/team/runs/{run.name}/{name}", b"x")
    shutil.rmtree(run)
    assert convscope("copy", f"{memory}/{run.name}").code == 0
    assert {path.suffix for path in run.rglob("*") if path.is_file()} <= {".json", ".jsonl", ".parquet"}
    assert not list(tmp_path.rglob("evil*"))
    assert not (run / "deep").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("last",), "is no URL"),
        (("memory://team/runs/none",), "there is no run"),
        (("memory://team/runs/..",), "no name of a run"),
        (("nothing://team/runs/one",), "nothing"),
    ],
)
def test_what_is_no_run_and_no_bucket_is_an_error(
    convscope: Convscope, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    ended = convscope("copy", *words)
    assert (ended.code, said in ended.err) == (2, True), ended.err
    assert not list((tmp_path / "results").glob(".*")), "nothing is left behind"


def test_a_run_that_was_killed_goes_on_elsewhere(
    convscope: Convscope, stub: Stub, tmp_path: Path, bucket: str
) -> None:
    """Killed, copied to a bucket, copied from there, resumed, kept in a history in the bucket, reported."""
    command = [sys.executable, "-m", "harness", "run", *SWEEP, "--python", str(stub())]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment(tmp_path) | {"PYTHONPATH": str(Path(__file__).parents[1])},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        told = 0
        while told < 25:
            told += process.stderr.readline().startswith("round")
        process.kill()
    run = only_run(tmp_path)
    kept = len(load_results(run).visits)
    assert kept >= 25
    sent = convscope("copy", "last", f"{bucket}/runs", "--json")
    assert sent.code == 0, sent.err
    shutil.rmtree(run)
    assert convscope("copy", sent.json["path"]).code == 0
    resumed = convscope("run", "--resume", "last", "--store", f"{bucket}/history", "--json")
    assert (resumed.code, resumed.json["cases"]) == (0, {"ok": 20}), resumed.err
    assert resumed.json["visits"] > kept
    assert convscope("history", "--store", f"{bucket}/history").code == 0
    assert convscope("report", "last").code == 0
