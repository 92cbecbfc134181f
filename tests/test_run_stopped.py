"""Runs that are stopped, killed or waited for, as processes, against a stub worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness import load_results
from tests.conftest import Convscope, Stub, environment


class Waiting:
    """A run, as a process, whose worker hangs in its third visit; memory is short, so that each is alone."""

    def __init__(self, suite: Path, python: Path, tmp_path: Path) -> None:
        self.results = tmp_path / "results"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "harness", "run", str(suite), "--python", str(python)],
            cwd=tmp_path,
            env=environment(tmp_path),
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr
        for line in self.process.stderr:  # a line a visit: after the first, the run is under way
            if line.startswith("round 1"):
                break

    def end(self) -> tuple[int, str]:
        _, err = self.process.communicate(timeout=30)
        return self.process.returncode, err


@pytest.fixture
def waiting(suite: Path, stub: Stub, tmp_path: Path) -> Waiting:
    return Waiting(
        suite, stub({"fault": "hang", "after": 2, "spread": 0}, environment={"memory_bytes": 2**27}), tmp_path
    )


def test_ctrl_c_keeps_what_is_done(waiting: Waiting) -> None:
    waiting.process.send_signal(signal.SIGINT)
    code, err = waiting.end()
    assert code == 130
    assert "are kept" in err
    loaded = load_results("last", results=waiting.results)
    assert loaded.runs[0]["state"] == "interrupted"
    assert len(loaded.visits) >= 1
    assert (loaded.visits["status"] == "ok").all()


def test_whoever_ends_a_job_politely_gets_what_ctrl_c_gives(waiting: Waiting) -> None:
    waiting.process.terminate()
    code, _ = waiting.end()
    assert code == 130
    assert load_results("last", results=waiting.results).runs[0]["state"] == "interrupted"


def test_kill_loses_the_visit_in_flight_and_nothing_else(waiting: Waiting) -> None:
    waiting.process.kill()
    waiting.end()
    loaded = load_results("last", results=waiting.results)
    assert loaded.runs[0]["state"] == "killed"
    assert len(loaded.visits) >= 1


def test_a_second_run_fails_at_once_or_waits_and_says_so(
    waiting: Waiting, suite: Path, stub: Stub, convscope: Convscope, tmp_path: Path
) -> None:
    """One measurement a device: two at once spoil each other."""
    python = stub({"spread": 0}, name="quick")
    refused = convscope("run", suite, "--python", python, "--no-wait")
    assert refused.code == 75
    assert "cpu: another measurement is running" in refused.err
    second = subprocess.Popen(
        [sys.executable, "-m", "harness", "run", str(suite), "--python", str(python)],
        cwd=tmp_path,
        env=environment(tmp_path),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert second.stderr
    # stops reading there
    assert any("Another convscope run is using cpu; waiting" in line for line in second.stderr)
    os.kill(waiting.process.pid, signal.SIGKILL)
    waiting.end()
    second.communicate(timeout=60)
    assert second.returncode == 0
