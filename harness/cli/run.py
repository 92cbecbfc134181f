"""The command that measures a suite. It translates, calls and prints, as those of `main` do."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from harness.cli.options import (
    add_to_history,
    add_to_option,
    axes_option,
    complete_runs,
    install_signal_handlers,
    json_option,
    measuring_options,
    require_alone,
    resume_option,
    suite_argument,
)
from harness.core.errors import CasesFailed, Stopped, UsageError
from harness.core.policy import MOST

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Unpack

    from harness.cli.options import Measuring
    from harness.output.progress_bar import RunProgress
    from harness.plan.axes import Value
    from harness.store.results import Results


class More(click.ParamType[int]):
    """A number of rounds to add."""

    name = "+N"

    def convert(self, value: Any, _param: click.Parameter | None, _ctx: click.Context | None) -> int:
        """Raises UsageError for what is none."""
        digits = str(value).removeprefix("+")
        if not digits.isdecimal() or not 0 < int(digits) <= MOST:
            raise UsageError(
                f"{str(value)[:20]!r} is no number of rounds", where="--rounds", hint="Write 4 or +4."
            )
        return int(digits)


@click.command()
@suite_argument
@axes_option
@resume_option
@click.option("--extend", metavar="RUN", shell_complete=complete_runs, help="Add rounds to a run.")
@click.option("--rounds", type=More(), help="Rounds that --extend adds: 4 or +4.")
@measuring_options()
@add_to_option
@json_option
def run(
    suite: str,
    axes: tuple[tuple[str, tuple[Value, ...]], ...],
    resume: str | None,
    extend: str | None,
    rounds: int | None,
    store: str | None,
    as_json: bool,
    **measuring: Unpack[Measuring],
) -> None:
    """Measure a suite (a name, a file, or axes alone) and keep everything in results/.

    A run that was cut short, by a kill, a full disk, Ctrl-C or --time-limit, goes on with --resume.

    \b
    Examples:  convscope run quickstart
               convscope run mysuite.toml --python ~/cuda/bin/python
               convscope run channels -a device=cuda:1 --time-limit 600
               convscope run -a kind=depthwise,standard -a in_channels=32:512:x2 -a size=56
               convscope run --resume last
               convscope run --extend last --rounds +4
    """
    from harness.output.progress_bar import RunProgress
    from harness.output.run_answer import run_answer
    from harness.store.results import load_results

    if resume or extend:
        stated = (suite, axes, measuring["quick"], resume and extend)
        require_alone("--resume" if resume else "--extend", *stated)
    if (extend is None) != (rounds is None):
        hint = "For example: --extend last --rounds +4"
        raise UsageError("belong together", where="--extend and --rounds", hint=hint)
    install_signal_handlers()
    progress = RunProgress()
    progress.say_machine()
    try:
        with progress:
            done = _measured(suite, dict(axes), resume or extend, rounds, progress, **measuring)
    except (CasesFailed, Stopped) as error:
        if progress.run is None:
            raise
        if store and isinstance(error, CasesFailed):
            add_to_history(progress.run, store)
        if as_json:
            print(json.dumps(_run_answer(progress.run)))
            sys.exit(error.code)
        run_answer(load_results(progress.run), progress.run)
        raise
    if store and progress.run:
        add_to_history(progress.run, store)
    if as_json:
        print(json.dumps(_run_answer(progress.run)))
        return
    assert progress.run is not None
    run_answer(done, progress.run)


def _measured(
    suite: str,
    axes: dict[str, tuple[Value, ...]],
    kept: str | None,
    more_rounds: int | None,
    listener: RunProgress,
    **measuring: Unpack[Measuring],
) -> Results:
    """A run that is made now, or a kept one that goes on."""
    from harness.tasks.resume import resume
    from harness.tasks.sweep import sweep

    if kept is None:
        return sweep(suite, axes=axes, listener=listener, **measuring)
    return resume(
        kept,
        sort="run",
        more_rounds=more_rounds,
        python=measuring["python"],
        results=measuring["results"],
        time_limit_s=measuring["time_limit_s"],
        wait=measuring["wait"],
        listener=listener,
    )


def _run_answer(path: Path | None) -> dict[str, Any]:
    """What `run --json` answers: how it ended, how many cases came to what, and what was found."""
    from dataclasses import asdict

    from harness.analysis.case_ratio import with_moments
    from harness.analysis.findings import findings
    from harness.store.results import load_results

    assert path is not None
    loaded = load_results(path, samples=False)
    header = loaded.runs[0]
    answer = {
        "run_id": header["run_id"],
        "path": str(path),
        "state": header["state"],
        "quick": header["quick"],
        "visits": len(loaded.visits),
    }
    cases = {str(status): int(count) for status, count in loaded.summary["status"].value_counts().items()}
    return answer | {
        "cases": cases,
        "findings": [asdict(finding) for finding in findings(with_moments(loaded.summary, loaded.visits))],
    }


COMMANDS = (run,)
