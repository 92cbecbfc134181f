"""Runs in a bucket: copied there and back, or kept there by `--results URL`; and nothing else comes out of
one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from harness.core.columns import Row
from harness.core.errors import StorageError
from harness.store.buckets import Bucket
from harness.store.results import load_results
from harness.store.run_folder import RunFolder
from harness.store.visit_files import read_visits
from tests.conftest import Convscope, Stub, environment

fsspec = pytest.importorskip("fsspec")
SWEEP = ("-a", "kind=depthwise,standard", "-a", "in_channels=16:160:16", "-a", "size=14")


@pytest.fixture
def memory() -> Iterator[str]:
    """A bucket in the memory of this process."""
    system = fsspec.filesystem("memory")
    yield "memory://team/runs"
    with suppress(FileNotFoundError):
        system.rm("/team", recursive=True)


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


@pytest.mark.parametrize("kind", ["memory", "bucket"])
def test_results_may_lie_in_a_bucket(
    convscope: Convscope, stub: Stub, tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    """Measured by one machine, read, compared with its baseline and reported by another, that has a cache of
    its own."""
    url = request.getfixturevalue(kind)
    there = ("--results", url)
    for _ in range(2):
        assert (
            convscope(
                "run", *SWEEP[:2], "-a", "in_channels=16,32", "-a", "size=14", "--python", stub(), *there
            ).code
            == 0
        )
    assert not (tmp_path / "results").exists()
    other = str(tmp_path / "other")
    (first, second) = convscope("results", *there, "--json", XDG_CACHE_HOME=other).json
    assert (first["state"], second["state"]) == ("complete", "complete")
    assert not list(Path(second["path"]).glob("*.parquet")), "nothing is fetched that nobody asked for"
    assert convscope("report", "last", *there, XDG_CACHE_HOME=other).code == 0
    saved = convscope("baseline", "save", "main", first["run_id"], *there, XDG_CACHE_HOME=other)
    assert saved.code == 0, saved.err
    compared = convscope("compare", "main", "last", *there, "--json")
    assert (compared.code, compared.json["counts"]["same"]) == (0, 4), compared.err
    system, root = fsspec.core.url_to_fs(url)
    system.rm(f"{root}/{first['run_id']}", recursive=True)
    assert [run["run_id"] for run in convscope("results", *there, "--json").json] == [second["run_id"]]


def test_what_was_written_is_there_before_it_ends(
    convscope: Convscope, stub: Stub, tmp_path: Path, memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that goes away: another has what was sent, and goes on."""
    monkeypatch.setattr("harness.store.uploads.SEND_EVERY_S", 0.0)
    there = ("--results", memory)
    kept = fsspec.filesystem("memory").store
    sizes: list[int] = []
    gone: dict[str, Any] = {}
    add = RunFolder.add

    def adding(self: RunFolder, row: Row) -> None:
        add(self, row)
        sizes.append(1)
        if len(sizes) == 30:
            gone.update({name: file.getvalue() for name, file in kept.items() if name.startswith("/team/")})

    monkeypatch.setattr(RunFolder, "add", adding)
    assert convscope("run", *SWEEP, "--python", stub(), *there).code == 0
    fsspec.filesystem("memory").rm("/team", recursive=True)
    for name, content in gone.items():
        fsspec.filesystem("memory").pipe_file(name, content)
    other = str(tmp_path / "other")
    (run,) = convscope("results", *there, "--json", XDG_CACHE_HOME=other).json
    assert run["state"] == "killed"
    resumed = convscope("run", "--resume", "last", *there, "--json", XDG_CACHE_HOME=other)
    assert (resumed.code, resumed.json["cases"]) == (0, {"ok": 20}), resumed.err
    found = load_results(
        "last", results=tmp_path / "other" / "convscope" / "buckets" / Path(run["path"]).parent.name
    )
    assert not found.visits.duplicated(["case_id", "round"]).any()
    (run,) = convscope("results", *there, "--json").json
    assert run["state"] == "complete"
    assert {Path(name).name for name in kept if name.startswith("/team/runs")} == {
        "run.json",
        "points.parquet",
        "cases.parquet",
        "measurements.parquet",
        "journal.jsonl",
    }


def half_sent(convscope: Convscope, python: Path, memory: str, patch: pytest.MonkeyPatch) -> tuple[str, Path]:
    """A run whose last sending fails: its id, and its folder here."""
    write, done = Bucket.write, RunFolder.close

    def closing(self: RunFolder, **changes: object) -> None:
        patch.setattr(Bucket, "write", refusing)
        done(self, **changes)

    def refusing(self: Bucket, name: str, content: bytes) -> None:
        raise StorageError("cannot be reached: the token has expired", where=self.url)

    patch.setattr(RunFolder, "close", closing)
    ended = convscope("run", *SWEEP, "--quick", "--python", python, "--results", memory)
    assert (ended.code, "the token has expired" in ended.err) == (2, True), ended.err
    folder = Path(ended.err.partition("Kept in ")[2].partition(";")[0])
    assert (folder / "measurements.parquet").is_file()
    patch.setattr(RunFolder, "close", done)
    patch.setattr(Bucket, "write", write)
    return folder.name, folder


def test_a_run_whose_last_sending_fails_is_sent_with_the_next_command(
    convscope: Convscope, stub: Stub, tmp_path: Path, memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, folder = half_sent(convscope, stub(), memory, monkeypatch)
    there = ("--results", memory)
    (listed,) = convscope("results", *there, "--json").json
    assert (listed["run_id"], listed["state"]) == (run_id, "complete")
    other = {"XDG_CACHE_HOME": str(tmp_path / "other")}
    assert convscope("report", "last", *there, **other).code == 0
    assert len(load_results(folder).visits) == 20


def test_of_a_run_that_went_on_elsewhere_nothing_is_lost_on_either_machine(
    convscope: Convscope, stub: Stub, tmp_path: Path, memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, folder = half_sent(convscope, stub(), memory, monkeypatch)
    monkeypatch.setattr("harness.store.uploads.SEND_EVERY_S", 0.0)
    there, other = ("--results", memory), {"XDG_CACHE_HOME": str(tmp_path / "other")}
    resumed = convscope("run", "--resume", "last", *there, "--json", **other)
    assert (resumed.code, resumed.json["cases"]) == (0, {"ok": 20}), resumed.err
    for words in (("report", "last"), ("run", "--resume", run_id), ("copy", str(folder), memory)):
        ended = convscope(*words, *there)
        assert (ended.code, "has gone on on another machine" in ended.err) == (2, True), ended.err
    assert len(load_results("last", results=other_folder(tmp_path / "other")).visits) == 20
    (folder / ".unsent").unlink()  # as the error says
    assert convscope("report", "last", *there).code == 0


def other_folder(cache: Path) -> Path:
    (folder,) = (cache / "convscope" / "buckets").iterdir()
    return folder


def test_a_run_that_another_machine_writes_is_not_resumed(
    convscope: Convscope, stub: Stub, tmp_path: Path, memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    half_sent(convscope, stub(), memory, monkeypatch)  # just now, and not to its end
    there, other = ("--results", memory), {"XDG_CACHE_HOME": str(tmp_path / "other")}
    (listed,) = convscope("results", *there, "--json", **other).json
    assert listed["state"] == "running"
    assert convscope("run", "--resume", "last", *there, **other).code == 75


def test_a_run_that_was_killed_here_goes_on_here(
    convscope: Convscope, stub: Stub, memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once: that this machine sent it just now makes it nobody else's."""
    _, folder = half_sent(convscope, stub(), memory, monkeypatch)
    header = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    (folder / "run.json").write_text(json.dumps(header | {"state": "running"}), encoding="utf-8")
    (folder / "run.lock").touch()  # as a killed writer leaves it
    resumed = convscope("run", "--resume", "last", "--results", memory, "--json")
    assert (resumed.code, resumed.json["cases"]) == (0, {"ok": 20}), resumed.err


def test_a_writer_that_others_took_for_dead_replaces_nothing_of_theirs(
    convscope: Convscope, stub: Stub, tmp_path: Path, memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    close, system = RunFolder.close, fsspec.filesystem("memory")

    def closing(self: RunFolder, **changes: Any) -> None:
        path = f"/team/runs/{self.path.name}/run.json"
        header = json.loads(system.cat_file(path)) | {"resumed_at": ["2026-11-29T09:00:00+00:00"]}
        system.pipe_file(path, json.dumps(header).encode())
        close(self, **changes)

    monkeypatch.setattr(RunFolder, "close", closing)
    ended = convscope("run", *SWEEP, "--quick", "--python", stub(), "--results", memory)
    assert (ended.code, "has gone on on another machine" in ended.err) == (2, True), ended.err
    (header,) = (path for path in system.find("/team") if path.endswith("run.json"))
    assert b"resumed_at" in system.cat_file(header)
    folder = Path(ended.err.partition("Kept in ")[2].partition(";")[0])
    assert len(read_visits(folder).table) == 20


def test_what_a_bucket_has_beside_a_run_stays_there(
    convscope: Convscope, stub: Stub, tmp_path: Path, memory: str
) -> None:
    assert convscope("run", *SWEEP, "--quick", "--python", stub()).code == 0
    run = only_run(tmp_path)
    system = fsspec.filesystem("memory")
    system.pipe_file(f"/team/runs/{run.name}/notes.md", b"mine")
    assert convscope("copy", "last", memory).code == 0
    assert system.cat_file(f"/team/runs/{run.name}/notes.md") == b"mine"


def test_a_mark_that_lies_in_a_strangers_folder_is_nobodys(
    convscope: Convscope, stub: Stub, tmp_path: Path, memory: str
) -> None:
    assert convscope("run", *SWEEP, "--quick", "--python", stub()).code == 0
    (tmp_path / "results" / ".bucket").write_text(memory, encoding="utf-8")
    assert convscope("report", "last").code == 0
    assert fsspec.filesystem("memory").find("/team") == []


def test_a_run_from_another_bucket_is_sent_to_this_one(
    convscope: Convscope, stub: Stub, tmp_path: Path, memory: str
) -> None:
    assert convscope("run", *SWEEP, "--quick", "--python", stub()).code == 0
    run = only_run(tmp_path)
    assert convscope("copy", "last", "memory://team/others").code == 0
    copied = convscope("copy", f"memory://team/others/{run.name}", "--results", memory)
    assert (copied.code, f"report {run.name}" in copied.out) == (0, True), copied.err
    other = {"XDG_CACHE_HOME": str(tmp_path / "other")}
    assert convscope("report", run.name, "--results", memory, **other).code == 0


def test_a_bucket_that_cannot_be_reached_is_an_error_before_anything_is_measured(
    convscope: Convscope, stub: Stub, tmp_path: Path
) -> None:
    ended = convscope("run", *SWEEP, "--python", stub(), "--results", "nothing://team/runs")
    assert (ended.code, "nothing" in ended.err) == (2, True), ended.err


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
