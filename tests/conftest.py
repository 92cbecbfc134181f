"""What tests share: a stub interpreter, the command as a process, and a results folder of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from harness import testing

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


def environment(tmp_path: Path) -> dict[str, str]:
    """The variables of a command under test: its own folders for locks and for what is learned of the machine,
    none of the user's settings, no word of the pytest that runs the test."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CONVSCOPE", "PYTEST_"))}
    locks = tmp_path / "tmp"
    locks.mkdir(exist_ok=True)
    return kept | {"TMPDIR": str(locks), "XDG_CACHE_HOME": str(tmp_path / "cache"), "NO_COLOR": "1", "COLUMNS": "200"}


@pytest.fixture
def convscope(tmp_path: Path) -> Convscope:
    """Runs the command as a user would, in an empty folder: `convscope("plan", "quickstart")`."""

    def run(*arguments: str | Path, cwd: Path = tmp_path, **variables: str) -> Ended:
        ended = subprocess.run(
            [sys.executable, "-m", "harness", *map(str, arguments)],
            cwd=cwd,
            env=environment(tmp_path) | variables,
            capture_output=True,
            text=True,
            timeout=300,
            stdin=subprocess.DEVNULL,
        )
        assert "Traceback" not in ended.stderr, ended.stderr
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    return run


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder as the current one, and the variables of a command under test: for calls of `harness.tasks.measure` in this process."""
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("tempfile.tempdir", None)  # looked up anew
    monkeypatch.chdir(tmp_path)
    return tmp_path


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
