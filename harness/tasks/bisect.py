"""Which commit made a case slower: `git bisect`, where each step is measured in turns with the good commit.

In: two commits of the repository in the current folder, a case, and a command that builds a checkout. Out: a
`Bisected`. The user's own checkout is not touched: each side has a worktree of its own, and an interpreter of
its own that is first on the PATH of the build.

A step is bad where its ratio to the good commit is surely above half of what the bad one has, good where it
is surely below, and skipped where `MOST_RUNS` runs do not tell. In the end the commit is measured against its
own parent: a difference that is not there was the machine's, or that of several commits.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from math import exp, log, log1p
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.analysis.change_points import LEAST
from harness.analysis.pair_effects import pair_ratios
from harness.core.case import DEFAULTS, written
from harness.core.errors import CasesFailed, UsageError
from harness.core.interval import Interval
from harness.core.problem import FIELDS, FIXED_AXES
from harness.core.stats import student_t
from harness.plan.points import distinct_cases, expand, prepare
from harness.plan.suite import parse_suite
from harness.run.worker_process import default_python
from harness.store.mirrors import results_folder
from harness.tasks.ab import ab
from harness.tasks.sides import Side

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from harness.core.case import Case
    from harness.plan.axes import Value
    from harness.plan.suite import Suite

MOST_RUNS = 4  # A/Bs of a step: some 80 pairs
SURE = 0.99  # confidence of each step, so that a dozen of them are right together in nine of ten
FIRST_BAD = re.compile(r"^([0-9a-f]{40}) is the first bad commit", re.MULTILINE)
GOOD, BAD, SKIP = "good", "bad", "skip"


@dataclass(frozen=True, slots=True)
class Step:
    """A commit that was tried: its ratio to the good one with a 99 % interval, None where it could not be
    built or does not compute the case; what git was told."""

    commit: str
    ratio: Interval | None
    verdict: str


@dataclass(frozen=True, slots=True)
class Bisected:
    """What came of it. `commit`: the first bad one with its subject, None where the difference is `not
    reproducible`, for the `reason`; `ratio`: of that commit to its parent; `whole`: of bad to good."""

    commit: str | None
    subject: str
    ratio: Interval | None
    whole: Interval
    steps: tuple[Step, ...]
    reason: str = ""


def find_case(suite: str, text: str, axes: Mapping[str, tuple[Value, ...]]) -> Case:
    """The one case of a suite whose id begins so, or whose label has all these words. Raises UsageError."""
    cases = distinct_cases(expand(prepare(suite, axes)))
    words = text.split()
    found = [one for one in cases if one.case_id.startswith(text) or set(words) <= set(one.label.split())]
    if len(found) != 1:
        said = "more than one case is meant" if found else "there is no such case"
        labels = "; ".join(one.label for one in (found or cases)[:6])
        raise UsageError(said, where=text, hint=f"For example: {labels}")
    return found[0]


def bisect(
    good: str,
    bad: str,
    case: Case,
    build: str,
    *,
    built_python: str | None = None,
    results: str | Path = "results",
    tell: Callable[[Step], None] = lambda _: None,
) -> Bisected:
    """Find the commit after `good`, up to `bad`, that made a case slower.

    `build`: a shell command that is run in each checkout. `built_python`: the interpreter that it leaves,
    relative to the checkout; without it each side has an environment of its own that also sees what this
    interpreter has. Every A/B is kept in `results`; `tell` hears of each step. Raises UsageError for what git
    does not know, and where good or bad cannot be built.
    """
    _require_own_code()
    ends = [_git(Path.cwd(), "rev-parse", "--verify", f"{name}^{{commit}}") for name in (good, bad)]
    if _git(Path.cwd(), "merge-base", *ends) != ends[0]:
        raise UsageError(f"is no ancestor of {bad}", where=good, hint="Give a good commit that bad contains.")
    with _sides(ends, build, built_python) as (base, head):
        measure = _Measure(case, base, head, results_folder(results))
        base.at(ends[0])
        head.at(ends[1])
        whole, verdict = measure(log1p(LEAST))
        if verdict != BAD:
            return Bisected(None, "", None, whole, (), f"{bad} is not surely slower than {good}")
        first, steps = _narrowed(measure, ends, log(whole.value) / 2, tell)
        if first is None:
            return Bisected(None, "", None, whole, steps, "too many commits could not be built or told apart")
        base.at(_git(base.folder, "rev-parse", f"{first}^"))
        head.at(first)
        own, verdict = measure(0.0)
        subject = _git(head.folder, "show", "-s", "--format=%s", first)
        if verdict != BAD:
            return Bisected(
                None, subject, own, whole, steps, f"{first[:8]} is not surely slower than its parent"
            )
        return Bisected(first, subject, own, whole, steps)


def _require_own_code() -> None:
    """Raises UsageError where PYTHONPATH leads into the repository: both sides would run the same code, that
    of the user's checkout."""
    repository = Path(_git(Path.cwd(), "rev-parse", "--show-toplevel")).resolve()
    value = os.environ.get("PYTHONPATH", "")
    for entry in value.split(os.pathsep) if value else ():
        if Path(entry).resolve().is_relative_to(repository):
            raise UsageError(
                f"{entry or 'an empty entry'} is in this repository, so both sides would run its code",
                where="PYTHONPATH",
                hint="Unset PYTHONPATH: what --build installs is found without it.",
            )


def _narrowed(
    measure: _Measure, ends: list[str], limit: float, tell: Callable[[Step], None]
) -> tuple[str | None, tuple[Step, ...]]:
    """Let git bisect; the first bad commit, None where git gave up."""
    head, steps = measure.head, list[Step]()
    said = _git(head.folder, "bisect", "start", ends[1], ends[0])
    while not (found := FIRST_BAD.search(said)):
        commit = _git(head.folder, "rev-parse", "HEAD")
        try:
            head.build()
            ratio, verdict = measure(limit)
            steps.append(Step(commit, ratio, verdict))
        except (BuildFailed, CasesFailed):  # nor can it be measured where it does not compute the case
            steps.append(Step(commit, None, SKIP))
        tell(steps[-1])
        said = _git(head.folder, "bisect", steps[-1].verdict, may_fail=True)
        if "only 'skip'ped commits left" in said:
            return None, tuple(steps)
    return found[1], tuple(steps)


@dataclass(frozen=True, slots=True)
class _Measure:
    """A case on both sides, in as many A/Bs as it takes."""

    case: Case
    base: _Checkout
    head: _Checkout
    results: Path

    def __call__(self, limit: float) -> tuple[Interval, str]:
        """The ratio of head to base with its interval; whether its logarithm is surely above `limit` (bad),
        below it (good), or neither (skip)."""
        logs: list[float] = []
        for _ in range(MOST_RUNS):
            run = ab(
                suite_of(self.case),
                base=Side(self.base.python),
                head=Side(self.head.python),
                results=self.results,
            )
            pairs = pair_ratios(run.visits.assign(match_id=run.visits["asked_id"]))
            logs += pairs["ratio"].dropna().tolist()
            if len(logs) < 2:
                continue
            ratio = _pooled(logs)
            if log(ratio.low) > limit or log(ratio.high) < limit:
                return ratio, BAD if log(ratio.low) > limit else GOOD
        if len(logs) < 2:
            raise UsageError("was not measured on both sides", where=self.case.label, hint="convscope doctor")
        return _pooled(logs), SKIP


def _pooled(logs: list[float]) -> Interval:
    """The mean of pairs with its interval, by Student's t."""
    count = len(logs)
    mean = sum(logs) / count
    error = (sum((x - mean) ** 2 for x in logs) / (count - 1) / count) ** 0.5
    half = student_t((1 + SURE) / 2, count - 1) * error
    return Interval(exp(mean), exp(mean - half), exp(mean + half))


def suite_of(case: Case) -> Suite:
    """A suite of this case alone."""
    names = [name for name in ("kind", *FIELDS) if name not in FIXED_AXES[case.problem.kind]]
    stated: dict[str, Any] = {name: getattr(case.problem, name) for name in names}
    stated |= {name: getattr(case.setting, name) for name in DEFAULTS}
    sweep = {name: written(value) if isinstance(value, tuple) else value for name, value in stated.items()}
    return parse_suite({"schema": 1, "name": "bisect", "sweep": [{"name": "case", **sweep}]})


# Checkouts


class BuildFailed(UsageError):
    """A commit that cannot be built."""


@dataclass(frozen=True, slots=True)
class _Checkout:
    """A worktree of one side, how it is built, and the interpreter that is measured then."""

    folder: Path
    command: str
    python: str
    variables: Mapping[str, str]

    def at(self, commit: str) -> None:
        """Check a commit out and build it. Raises BuildFailed."""
        _git(self.folder, "checkout", "--detach", "--quiet", commit)
        self.build()

    def build(self) -> None:
        """Build what is checked out. Raises BuildFailed."""
        done = subprocess.run(  # noqa: S602  # the user's own command
            self.command,
            shell=True,
            cwd=self.folder,
            env=self.variables,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            last = (done.stderr or done.stdout).strip().splitlines()[-1:]
            raise BuildFailed(f"the build ended with {done.returncode}: {''.join(last)}", where=self.command)


@contextmanager
def _sides(ends: list[str], build: str, built_python: str | None) -> Iterator[tuple[_Checkout, _Checkout]]:
    """Two worktrees of the repository in the current folder, gone in the end."""
    repository = Path.cwd()
    room = Path(tempfile.mkdtemp(prefix="convscope-bisect-"))
    try:
        found = []
        for name, commit in zip(("base", "head"), ends, strict=True):
            folder = room / name
            _git(repository, "worktree", "add", "--detach", "--quiet", str(folder), commit)
            variables = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
            if built_python:
                python = folder / built_python
            else:
                python = _environment(room / f"{name}-environment")
                variables |= {"VIRTUAL_ENV": str(python.parents[1])}
                variables["PATH"] = f"{python.parent}{os.pathsep}{variables.get('PATH', '')}"
            found.append(_Checkout(folder, build, str(python), variables))
        yield found[0], found[1]
    finally:
        shutil.rmtree(room, ignore_errors=True)
        _git(repository, "worktree", "prune", may_fail=True)


def _environment(folder: Path) -> Path:
    """An environment that sees what the measured interpreter has, and what is installed in it besides; its
    interpreter."""
    parent = default_python()
    subprocess.run([parent, "-m", "venv", str(folder)], check=True, capture_output=True)
    python = folder / "bin" / "python"
    ask = "import sysconfig; print(sysconfig.get_path('purelib')); print(sysconfig.get_path('platlib'))"
    theirs = subprocess.run([parent, "-c", ask], check=True, capture_output=True, text=True).stdout.split()
    own = subprocess.run([str(python), "-c", ask], check=True, capture_output=True, text=True).stdout.split()
    path = Path(own[0]) / "convscope-bisect.pth"
    path.write_text("\n".join(dict.fromkeys(theirs)) + "\n", encoding="utf-8")
    return python


def _git(folder: Path, *arguments: str, may_fail: bool = False) -> str:
    """What git says. Raises UsageError where it fails, unless it may."""
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True)
    except OSError as error:
        raise UsageError(f"git cannot be run: {error.strerror}", where="git") from None
    if done.returncode and not may_fail:
        raise UsageError(
            (done.stderr or done.stdout).strip().partition("\n")[0],
            where=f"git {' '.join(arguments)}",
            hint="Run it in a git repository, with commits that it has.",
        )
    return (done.stdout + done.stderr).strip()
