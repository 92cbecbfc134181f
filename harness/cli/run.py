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
    each_option,
    install_signal_handlers,
    json_option,
    measuring_options,
    on_option,
    require_alone,
    resume_option,
    suite_argument,
)
from harness.cluster import LOCAL
from harness.core.errors import CasesFailed, Stopped, UsageError
from harness.core.policy import MOST

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Unpack

    from harness.cli.options import Measuring
    from harness.output.progress_bar import RunProgress
    from harness.plan.axes import Value


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
@on_option
@each_option
@measuring_options()
@add_to_option
@json_option
def run(
    suite: str,
    axes: tuple[tuple[str, tuple[Value, ...]], ...],
    resume: str | None,
    extend: str | None,
    rounds: int | None,
    on: str | None,
    each: bool,
    store: str | None,
    as_json: bool,
    **measuring: Unpack[Measuring],
) -> None:
    """Measure a suite (a name, a file, or axes alone) and keep everything in results/.

    A run that was cut short, by a kill, a full disk, Ctrl-C or --time-limit, goes on with --resume. With --on
    all devices of a Ray cluster measure: machines that are alike share the cases, others measure all of them.

    \b
    Examples:  convscope run quickstart
               convscope run mysuite.toml --python ~/cuda/bin/python
               convscope run channels -a device=cuda:1 --time-limit 600
               convscope run -a kind=depthwise,standard -a in_channels=32:512:x2 -a size=56
               convscope run --resume last
               convscope run --extend last --rounds +4
               convscope run channels -a device=cuda:all
               convscope run channels --on ray://head:10001
    """
    from harness.output.progress_bar import RunProgress

    if resume or extend:
        stated = (suite, axes, measuring["quick"], resume and extend)
        require_alone("--resume" if resume else "--extend", *stated)
    if (extend is None) != (rounds is None):
        hint = "For example: --extend last --rounds +4"
        raise UsageError("belong together", where="--extend and --rounds", hint=hint)
    on = on or _implied(dict(axes))
    if each and on is None:
        raise UsageError("needs --on", where="--each", hint="For example: --on local --each")
    install_signal_handlers()
    progress = RunProgress()
    if on is None:
        progress.say_machine()
    ended: CasesFailed | Stopped | None = None
    try:
        with progress:
            if on is not None:
                _measure_on(on, suite, dict(axes), resume, extend, progress, each=each, **measuring)
            else:
                _measure(suite, dict(axes), resume or extend, rounds, progress, **measuring)
    except (CasesFailed, Stopped) as error:
        if not progress.runs:
            raise
        ended = error
    if store and not isinstance(ended, Stopped):
        for path in progress.runs:
            add_to_history(path, store)
    _answer(progress.runs, ended, as_json=as_json, together=on is not None)


def _implied(axes: Mapping[str, tuple[Value, ...]]) -> str | None:
    """The cluster that `cuda:all` means; None where no such device is asked for."""
    return LOCAL if any(str(value).endswith(":all") for value in axes.get("device", ())) else None


def _answer(
    runs: Sequence[Path], ended: CasesFailed | Stopped | None, *, as_json: bool, together: bool
) -> None:
    """What each run came to; `together`: as those of a cluster. Raises what ended them."""
    if as_json:
        answers = [_run_answer(path) for path in runs]
        print(json.dumps({"runs": answers} if together else answers[0]))
        sys.exit(0 if ended is None else ended.code)
    from harness.output.run_answer import run_answer
    from harness.store.results import load_results

    for path in runs:
        run_answer(load_results(path), path)
    if ended is not None:
        raise ended


def _measure(
    suite: str,
    axes: dict[str, tuple[Value, ...]],
    kept: str | None,
    more_rounds: int | None,
    listener: RunProgress,
    **measuring: Unpack[Measuring],
) -> None:
    """A run that is made now, or a kept one that goes on."""
    from harness.tasks.resume import resume
    from harness.tasks.sweep import sweep

    if kept is None:
        sweep(suite, axes=axes, listener=listener, **measuring)
        return
    resume(
        kept,
        sort="run",
        more_rounds=more_rounds,
        python=measuring["python"],
        results=measuring["results"],
        time_limit_s=measuring["time_limit_s"],
        wait=measuring["wait"],
        listener=listener,
    )


def _measure_on(
    on: str,
    suite: str,
    axes: dict[str, tuple[Value, ...]],
    resume: str | None,
    extend: str | None,
    listener: RunProgress,
    *,
    each: bool,
    **measuring: Unpack[Measuring],
) -> None:
    """The same on a cluster."""
    from harness.tasks.cluster_sweep import cluster_resume, cluster_sweep

    if extend:
        raise UsageError("cannot be extended on a cluster", where=extend, hint="Start a new run.")
    if not measuring["wait"]:
        raise UsageError("devices of a cluster are waited for", where="--no-wait", hint="Leave it out.")
    if resume:
        cluster_resume(
            resume,
            on=on,
            results=measuring["results"],
            python=measuring["python"],
            time_limit_s=measuring["time_limit_s"],
            listener=listener,
        )
        return
    cluster_sweep(
        suite,
        on=on,
        axes=axes,
        each=each,
        results=measuring["results"],
        python=measuring["python"],
        quick=measuring["quick"],
        time_limit_s=measuring["time_limit_s"],
        listener=listener,
    )


def _run_answer(path: Path) -> dict[str, Any]:
    """What `run --json` answers: how it ended, how many cases came to what, and what was found."""
    from dataclasses import asdict

    from harness.analysis.case_ratio import with_moments
    from harness.analysis.findings import findings
    from harness.store.results import load_results

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
