"""Suite files as tests: `pytest suites/regression.toml` collects one test a case.

The cases that are selected are measured in one run of our own engine, kept in results/ like any other; each
test then shows its case's samples to pytest-benchmark's `benchmark` fixture, so that its table and files are
of the same calls. Without pytest-benchmark a test passes when its case was measured. Every pytest of an
environment loads this module, so it imports nothing heavy until a suite is collected.
"""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from itertools import chain
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from harness.core.problem import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.core.case import Case
    from harness.store.results import Results

NAMED_BY = ("device", "dtype", "memory_format", "computation", "mode", "allocator")


def pytest_configure(config: pytest.Config) -> None:
    """The marks that our tests carry."""
    config.addinivalue_line("markers", "convscope: a case of a convscope suite")
    for kind in KINDS:
        config.addinivalue_line("markers", f"{kind}: a case of this kind of convolution")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where runs are kept, what is measured and for how long."""
    group = parser.getgroup("convscope")
    group.addoption(
        "--convscope-results",
        default="results",
        metavar="DIR",
        help="Folder of convscope's runs (default: results).",
    )
    group.addoption(
        "--convscope-python",
        metavar="PATH",
        help="Interpreter to measure in (default: CONVSCOPE_PYTHON, else this one).",
    )
    group.addoption(
        "--convscope-time-limit",
        type=float,
        metavar="SECONDS",
        help="Measure a suite no longer than this (default: as it says).",
    )
    parser.addini("convscope_time_limit", "The default of --convscope-time-limit, in seconds.", default="")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> SuiteFile | None:
    """A TOML file that is named on the command line; none is looked for."""
    if file_path.suffix == ".toml" and parent.session.isinitpath(file_path):
        collected: SuiteFile = SuiteFile.from_parent(parent, path=file_path)
        return collected
    return None


class SuiteFile(pytest.File):
    """A suite, whose cases are its tests."""

    _measured: Measured | str | None = None

    def collect(self) -> Iterator[CaseTest]:
        """A test a case. Raises CollectError with every fault of the file."""
        from harness.core.errors import UsageError
        from harness.plan.points import distinct_cases, expand
        from harness.plan.suite import read_suite

        try:
            cases = distinct_cases(expand(read_suite(self.path)))
        except UsageError as error:
            raise self.CollectError(str(error)) from None
        for case in cases:
            yield CaseTest.of(self, case)

    def measured(self) -> Measured:
        """The run of all tests of this file that were selected, made when the first of them needs it. Fails
        the test where there is none."""
        if self._measured is None:
            from harness.core.errors import ConvscopeError, Stopped

            try:
                self._measured = Measured(self._sweep())
            except Stopped as error:
                pytest.exit(str(error), returncode=Stopped.code)
            except ConvscopeError as error:
                self._measured = str(error)
        if isinstance(self._measured, str):
            pytest.fail(self._measured, pytrace=False)
        return self._measured

    def _sweep(self) -> Results:
        from harness.core.errors import CasesFailed
        from harness.output.progress_bar import RunProgress
        from harness.store.results import load_results
        from harness.tasks.sweep import sweep

        selected = {
            item.case.case_id
            for item in self.session.items
            if isinstance(item, CaseTest) and item.parent is self
        }
        capture = self.config.pluginmanager.getplugin("capturemanager")
        shown = capture.global_and_fixture_disabled() if capture else nullcontext()
        with shown, RunProgress() as progress:
            progress.say("")
            try:
                return sweep(
                    self.path,
                    only=selected,
                    results=self.config.getoption("--convscope-results"),
                    python=self.config.getoption("--convscope-python"),
                    time_limit_s=self._time_limit_s(),
                    quick=bool(self.config.getoption("--benchmark-disable", False)),
                    listener=progress,
                )
            except CasesFailed as error:
                return load_results(error.where)

    def _time_limit_s(self) -> float | None:
        """By option, else by ini, else None. Raises UsageError for what is no number."""
        from harness.core.errors import UsageError

        asked, stated = (
            self.config.getoption("--convscope-time-limit"),
            str(self.config.getini("convscope_time_limit")),
        )
        try:
            return asked if asked is not None or not stated else float(stated)
        except ValueError:
            raise UsageError(
                f"{stated!r} is no number of seconds", where="convscope_time_limit", hint="Write 60."
            ) from None


class Unmeasured(pytest.PytestWarning):
    """A case that could not be measured now, and was not judged."""


class Measured:
    """A run as its tests look at it."""

    def __init__(self, results: Results) -> None:
        from harness.analysis.summary import is_valid

        self.rows: dict[str, dict[Any, Any]] = {
            row["case_id"]: row for row in results.summary.to_dict("records")
        }
        self.planned = set(results.points["case_id"].dropna())
        self.visits = results.visits[is_valid(results.visits)]

    def samples(self, case: Case) -> list[float]:
        """Of all valid visits of a case, seconds a call."""
        own = self.visits[self.visits["case_id"] == case.case_id]
        return [float(sample) for samples in own["samples_s"] for sample in samples]


class Replay:
    """A timer whose readings make pytest-benchmark see given durations, in seconds: it is read before and
    after each call."""

    def __init__(self) -> None:
        self._readings: Iterator[float] = iter(())

    def load(self, durations: list[float]) -> None:
        """What the next calls are to have taken."""
        self._readings = chain.from_iterable((0.0, duration) for duration in durations)

    def __call__(self) -> float:
        """The next reading."""
        return next(self._readings)


class CaseTest(pytest.Function):
    """One case."""

    case: Case
    timer: Replay

    @classmethod
    def of(cls, parent: SuiteFile, case: Case) -> CaseTest:
        """The test of a case, named by its label, marked by its kind, found by -k with its settings."""
        benchmarks = parent.config.pluginmanager.hasplugin("benchmark")
        made: CaseTest = cls.from_parent(
            parent, name=case.label, callobj=_with_benchmark if benchmarks else _alone
        )
        made.case, made.timer = case, Replay()
        made.add_marker("convscope")
        made.add_marker(case.problem.kind)
        if benchmarks:
            made.add_marker(pytest.mark.benchmark(group=case.problem.kind, timer=made.timer, warmup=False))
        made.extra_keyword_matches.update(
            {case.problem.kind, *(str(getattr(case.setting, name)) for name in NAMED_BY)}
        )
        return made

    def setup(self) -> None:
        """As pytest does; not beside other workers, who would spoil the figures."""
        if hasattr(self.config, "workerinput") or self.config.getoption("numprocesses", None):
            pytest.skip("convscope does not measure beside pytest-xdist's workers: run this file without -n")
        super().setup()

    def measured(self) -> tuple[dict[Any, Any], list[float]]:
        """The summary of the case, and its samples. Fails or skips the test where it has no figure."""
        assert isinstance(self.parent, SuiteFile)
        found = self.parent.measured()
        row = found.rows.get(self.case.case_id)
        if row is None and self.case.case_id not in found.planned:
            pytest.skip(f"not measured: device {self.case.setting.device} is not present")
        if row is None:
            self._leave("not measured: the time limit came first")
        if row["status"] == "skipped":
            pytest.skip(row["message"])
        if row["status"] == "invalid":
            self._leave(f"not measured: {row['message']}")
        if row["status"] != "ok":
            pytest.fail(f"{row['status']}: {row['message']}", pytrace=False)
        return row, found.samples(self.case)

    def _leave(self, why: str) -> NoReturn:
        """Skip the test, with a warning that no option hides: a test that always skips must not look like one
        that passes."""
        warnings.warn(Unmeasured(f"{self.name}: {why}"), stacklevel=2)
        pytest.skip(why)


def _with_benchmark(benchmark: Any, request: pytest.FixtureRequest) -> None:
    """The body of a test where pytest-benchmark is there."""
    from harness.output.exports.pytest_benchmark import extra_info

    row, samples = request.node.measured()
    benchmark.extra_info.update(extra_info(row))
    request.node.timer.load(samples)
    benchmark.pedantic(lambda: None, rounds=len(samples), iterations=1)


def _alone(request: pytest.FixtureRequest) -> None:
    """The body of a test where it is not."""
    request.node.measured()
