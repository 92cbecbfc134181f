"""Finding the commit that made a case slower: real repositories, real A/Bs, stubs for what is measured."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from harness import testing
from tests.conftest import Convscope

CHOSEN = ("-a", "kind=standard", "-a", "in_channels=8", "-a", "size=14", "--case", "standard")


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=one", "-c", "user.email=one@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Any:
    """Makes one with a commit for each latency in milliseconds; None for one that cannot be built. Each
    commit has a stub interpreter of that latency, which the build copies. Returns the commits."""

    def make(*latencies: float | None) -> list[str]:
        git(tmp_path, "init", "--quiet", "--initial-branch=main", "project")
        folder, commits = tmp_path / "project", []
        for number, latency in enumerate(latencies):
            for path in folder.glob("stub-python"):
                path.unlink()
            if latency is not None:
                script = {"cases": [{"latency_s": latency * 1e-3, "spread": 0.002}]}
                made = testing.interpreter(tmp_path / f"stub-{number}", script)
                (folder / "stub-python").write_bytes(made.read_bytes())
            (folder / "number").write_text(str(number), encoding="utf-8")
            git(folder, "add", "--all")
            git(folder, "commit", "--quiet", "-m", f"change {number}")
            commits.append(git(folder, "rev-parse", "HEAD"))
        return commits

    return make


def search(convscope: Convscope, tmp_path: Path, good: str, bad: str, *more: str) -> Any:
    build = ("--build", "mkdir -p built && cp stub-python built/ && chmod +x built/stub-python")
    ends = ("--good", good, "--bad", bad)
    return convscope(
        "bisect",
        *CHOSEN,
        *ends,
        *build,
        "--built-python",
        "built/stub-python",
        "--results",
        tmp_path / "results",
        *more,
        cwd=tmp_path / "project",
    )


def test_the_commit_that_is_slower_is_named_with_its_ratio(
    convscope: Convscope, repository: Any, tmp_path: Path
) -> None:
    commits = repository(1, 1, 1.2, 1.2)
    (tmp_path / "project" / "mine").write_text("not committed", encoding="utf-8")
    ended = search(convscope, tmp_path, commits[0], "main", "--json")
    assert ended.code == 0
    answer = json.loads(ended.out)
    assert (answer["commit"], answer["subject"]) == (commits[2], "change 2")
    assert answer["change"]["ratio"] == pytest.approx(1.2, rel=0.01)
    assert {step["verdict"] for step in answer["steps"]} == {"good", "bad"}
    folder = tmp_path / "project"
    assert git(folder, "rev-parse", "--abbrev-ref", "HEAD") == "main", "the user's checkout is not touched"
    assert git(folder, "status", "--porcelain") == "?? mine"
    assert len(git(folder, "worktree", "list").splitlines()) == 1


def test_a_commit_that_cannot_be_built_is_passed_over(
    convscope: Convscope, repository: Any, tmp_path: Path
) -> None:
    commits = repository(1, 1, None, 1, 1.25)
    ended = search(convscope, tmp_path, commits[0], commits[-1])
    assert ended.code == 0
    assert ended.out.startswith(f"{commits[4][:12]} (change 4) takes 1.2")
    assert "cannot be built" in ended.err


def test_equal_commits_are_not_reproducible(convscope: Convscope, repository: Any, tmp_path: Path) -> None:
    commits = repository(1, 1)
    ended = search(convscope, tmp_path, commits[0], commits[-1])
    assert ended.code == 3
    assert ended.out.startswith("Not reproducible: ")


def test_what_cannot_be_meant_is_said(convscope: Convscope, repository: Any, tmp_path: Path) -> None:
    commits = repository(1, 1)
    for good, bad in (("nothing", "main"), (commits[1], commits[0])):
        assert search(convscope, tmp_path, good, bad).code == 2
    assert "no such case" in search(convscope, tmp_path, *commits, "--case", "depthwise").err
    failing = search(convscope, tmp_path, *commits, "--build", "echo no compiler >&2; exit 7")
    assert failing.code == 2
    assert "the build ended with 7: no compiler" in failing.err


@pytest.mark.parametrize("entry", ["", "."])
def test_code_that_both_sides_would_share_is_refused(
    convscope: Convscope, repository: Any, tmp_path: Path, entry: str
) -> None:
    repository(1, 1)
    ended = convscope(
        *("bisect", *CHOSEN, "--good", "main^", "--bad", "main", "--build", "true"),
        cwd=tmp_path / "project",
        PYTHONPATH=f"{tmp_path}:{entry}",
    )
    assert ended.code == 2
    assert "both sides would run its code" in ended.err
