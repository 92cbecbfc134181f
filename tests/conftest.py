"""What tests share: a stub interpreter, the command, and a results folder of their own."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import settings

from harness import testing
from harness.cli.main import main
from harness.run import doctor
from harness.run.worker_process import WorkerProcess
from tests import real_worker

os.environ["OMP_WAIT_POLICY"] = "passive"  # torch's threads spin else, on processors that other tests use
doctor.LOOK_S = 0.02  # what other processes do is asked before every run, and no test depends on the answer

settings.register_profile("no times", deadline=None)  # a shared machine stalls, and no test asserts a time
settings.load_profile("no times")

Script = dict[str, Any]


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.out)


Convscope = Callable[..., Ended]
Stub = Callable[..., Path]


@pytest.fixture
def stub(tmp_path: Path) -> Callable[..., Path]:
    """Makes a stub interpreter: `stub(case, case, environment={...})`."""

    def make(*cases: Script, name: str = "stub", **script: Any) -> Path:
        return testing.interpreter(tmp_path / name, {"cases": list(cases), **script})

    return make


@pytest.fixture
def arms(stub: Stub) -> Any:
    """Makes a base and a head, the head with these entries before the usual one."""

    steady = {"spread": 0.001}

    def make(
        *head: dict[str, Any], base: tuple[dict[str, Any], ...] = (), **script: Any
    ) -> tuple[Path, Path]:
        return stub(*base, steady, name="base", **script), stub(*head, steady, name="head", **script)

    return make


@pytest.fixture(scope="session")
def implementations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which `worker` finds kernels.py and whatever else a test writes there."""
    folder = tmp_path_factory.mktemp("implementations")
    shutil.copy(Path(__file__).with_name("kernels.py"), folder)
    return folder


@pytest.fixture(scope="session")
def worker(implementations: Path) -> Iterator[WorkerProcess]:
    """A real worker; one for all tests, since every visit and every survey is a process of its own."""
    with chdir(implementations):
        running = real_worker.started()
    with running:
        yield running


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an empty bucket: S3 as moto serves it, with no rename and no folder. `nox -s store`."""
    server = pytest.importorskip("moto.server")
    s3fs = pytest.importorskip("s3fs")
    thread = server.ThreadedMotoServer(port=0)
    thread.start()
    host, port = thread.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "one",
        "AWS_SECRET_ACCESS_KEY": "two",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    name = f"bucket-{port}"  # moto keeps its buckets for as long as the process lives
    s3fs.S3FileSystem().mkdir(name)
    yield f"s3://{name}"
    thread.stop()


def environment(tmp_path: Path) -> dict[str, str]:
    """The variables of a command under test: its own folders for locks and for what is learned of the
    machine, none of the user's settings, no word of the pytest that runs the test."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("CONVSCOPE", "PYTEST_"))
    }
    locks = tmp_path / "tmp"
    locks.mkdir(exist_ok=True)
    return kept | {
        "TMPDIR": str(locks),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "NO_COLOR": "1",
        "COLUMNS": "200",
    }


@pytest.fixture
def convscope(tmp_path: Path) -> Convscope:
    """Runs the command in an empty folder, in this process: `convscope("plan", "quickstart")`. What a process
    alone can show, as exit codes that the system makes, signals and closed streams, is in test_exit_codes and
    test_run."""

    def run(*arguments: str | Path, cwd: Path = tmp_path, **variables: str) -> Ended:
        words = list(map(str, arguments))
        ended = in_this_process(
            lambda: main.main(words, "convscope"),
            ["convscope", *words],
            cwd=cwd,
            variables=environment(tmp_path) | variables,
        )
        assert "Traceback" not in ended.err, ended.err
        return ended

    return run


def in_this_process(
    command: Callable[[], object], words: list[str], *, cwd: Path, variables: dict[str, str]
) -> Ended:
    """What a command that was called by these words came to, in a folder, with these variables and no
    other."""
    with pytest.MonkeyPatch.context() as patch, _handlers_kept():
        for name in os.environ.keys() - variables.keys():
            patch.delenv(name)
        for name, value in variables.items():
            patch.setenv(name, value)
        patch.setattr("tempfile.tempdir", None)  # looked up anew
        patch.setattr("sys.argv", words)
        patch.chdir(cwd)
        streams = {
            name: _stream(errors, variables)
            for name, errors in (("stdout", "strict"), ("stderr", "backslashreplace"))
        }
        for name, stream in streams.items():
            patch.setattr(sys, name, stream)
        patch.setattr("sys.stdin", io.StringIO())
        code = _ending(command)
    out, err = (_written(stream) for stream in streams.values())
    return Ended(code, out, err)


def _ending(command: Callable[[], object]) -> int:
    """The exit code of a command."""
    try:
        command()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    return 0


def _stream(errors: str, variables: dict[str, str]) -> io.TextIOWrapper:
    """As Python opens them."""
    return io.TextIOWrapper(
        io.BytesIO(), encoding=variables.get("PYTHONIOENCODING", "utf-8"), errors=errors, write_through=True
    )


def _written(stream: io.TextIOWrapper) -> str:
    stream.flush()
    return cast("io.BytesIO", stream.buffer).getvalue().decode("utf-8")


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """A command that runs long handles signals anew; pytest has its own."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """The variables of a command under test, for calls of `harness.tasks` in this process: no other run is
    waited for."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(folder).items():
            patch.setenv(name, value)
        patch.setattr("tempfile.tempdir", None)  # looked up anew
        yield


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder as the current one, and alone in it."""
    monkeypatch.chdir(tmp_path)
    with alone(tmp_path):
        yield tmp_path


SUITE = """
schema = 1
name = "small"
[policy]
max_rounds = 4
[problem]
size = 14
[[sweep]]
name = "kinds"
x = "in_channels"
kind = ["standard", "depthwise", "pointwise"]
in_channels = [8, 16]
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A suite of six cases."""
    path = tmp_path / "small.toml"
    path.write_text(SUITE, encoding="utf-8")
    return path
