"""The commands about runs: `suites`, `report`, `merge`, `copy`, `results`, `doctor`. They translate, call and
print, as those of `main` do."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from harness.cli.options import (
    complete_runs,
    json_option,
    python_option,
    results_option,
    split_device,
    stated_store,
    store_option,
)
from harness.core.errors import (
    CasesFailed,
    StorageError,
    SuiteError,
    UsageError,
)


@click.command()
@json_option
def suites(as_json: bool) -> None:
    """List the shipped suites and those in ./suites.

    \b
    Example:  convscope suites
    """
    from harness.plan.duration import RUN_START_S, rounds_s
    from harness.plan.points import distinct_cases, expand
    from harness.plan.suite import read_suite, shipped_suites

    rows: list[dict[str, Any]] = []
    for path in shipped_suites():
        try:
            suite = read_suite(path)
            cases = distinct_cases(expand(suite))
            known = {
                "title": suite.title,
                "cases": len(cases),
                "estimated_s": RUN_START_S + rounds_s(suite.policy, cases),
            }
        except UsageError as error:  # one broken suite must not hide the others
            fault = error.faults[0] if isinstance(error, SuiteError) else error.what
            known = {"title": f"unreadable: {fault}", "cases": None, "estimated_s": None}
        rows.append({"name": path.stem, **known, "path": str(path)})
    if as_json:
        print(json.dumps(rows))
        return
    from harness.core import units
    from harness.output import terminal

    counts = [
        ("", "") if r["cases"] is None else (str(r["cases"]), units.duration(r["estimated_s"])) for r in rows
    ]
    terminal.table(
        ["suite", "cases ", "about ", "what it shows"],
        ([r["name"], *c, r["title"]] for r, c in zip(rows, counts, strict=True)),
    )
    print("\nNext: convscope plan NAME, or convscope run NAME")


@click.command()
@click.argument("runs", nargs=-1, metavar="RUN...", shell_complete=complete_runs)
@click.option("--history", "over_all", is_flag=True, help="The page over all runs of a history.")
@store_option
@results_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write.  [default: reports/<run_id>.html or reports/history.html]",
)
@json_option
def report(
    runs: tuple[str, ...],
    over_all: bool,
    store: str | None,
    results: Path,
    out: Path | None,
    as_json: bool,
) -> None:
    """Write an HTML report of one or several runs, each an id, a unique prefix, a path, or last; or of a
    history.

    \b
    Examples:  convscope report last
               convscope report 20261124T095503 --out five-kinds.html
               convscope report --history --store history
    """
    if over_all == bool(runs):
        said = "a history has all of them" if runs else "nothing is named"
        hint = "Give one or the other: convscope report last, or convscope report --history --store PATH"
        raise UsageError(said, where="RUN... or --history", hint=hint)
    from harness.output.report import write_history, write_report
    from harness.store.results import load_results
    from harness.tasks.history import history

    if over_all:
        found = history(stated_store(store))
        path = write_history(found, out or Path("reports") / "history.html")
        ids = sorted({run for one in found.standings for run in one.history.runs["run_id"]})
    else:
        loaded = load_results(*runs, results=results)
        ids = [run["run_id"] for run in loaded.runs]
        path = write_report(loaded, out or Path("reports") / f"{'-and-'.join(ids[:3])}.html")
    if as_json:
        print(json.dumps({"path": str(path), "runs": ids}))
        return
    print(f"Report written to {path}. Open it in a browser.")


@click.command(name="results")
@results_option
@json_option
def list_results(results: Path, as_json: bool) -> None:
    """List the runs in results/, oldest first.

    \b
    Example:  convscope results
    """
    from harness.store.run_folder import read_header, run_folders

    rows = []
    for path in run_folders(results):
        try:
            header = read_header(path)
            rows.append(
                {
                    "run_id": header["run_id"],
                    "suite": header["suite"]["name"],
                    "state": header["state"],
                    "quick": header["quick"],
                }
            )
        except StorageError as error:  # one broken run must not hide the others
            rows.append(
                {"run_id": path.name, "suite": None, "state": f"unreadable: {error.what}", "quick": False}
            )
        rows[-1]["path"] = str(path)
    if as_json:
        print(json.dumps(rows))
        return
    if not rows:
        print(f"No run in {results} yet.\nNext: convscope run quickstart")
        return
    from harness.output import terminal

    terminal.table(
        ["run", "suite", "state"],
        ([r["run_id"], r["suite"] or "?", r["state"] + (", quick" if r["quick"] else "")] for r in rows),
    )
    print(f"\nNext: convscope report {rows[-1]['run_id']}")


@click.command()
@click.option("--strict", is_flag=True, help="Exit with code 4 if there is a warning, for CI.")
@click.option("--probe", metavar="DEVICE", help="Use a GPU (cuda:0) for two seconds to detect other users.")
@python_option
@json_option
def doctor(strict: bool, probe: str | None, python: str | None, as_json: bool) -> None:
    """Check whether this machine is fit to measure on: what disturbs measurements, and how to fix it.

    \b
    Examples:  convscope doctor
               convscope doctor --strict
               convscope doctor --probe cuda:0
    """
    from dataclasses import asdict

    from harness.run.doctor import examine, in_short

    checks = examine()
    if probe:
        from harness.tasks.gpu_tenants import tenants

        checks.append(tenants(*split_device(probe), python))
    if as_json:
        print(json.dumps([asdict(check) for check in checks]))
    else:
        from harness.output import terminal

        terminal.table(
            ["check", "state", "found", "what to do"],
            ([c.name, terminal.STATE_SIGNS[c.state], c.found, c.advice] for c in checks),
        )
        print(f"\n{in_short(checks)}\nNext: convscope run quickstart")
    if strict and any(check.state == "warning" for check in checks):
        sys.exit(CasesFailed.code)


@click.command()
@click.argument("runs", nargs=-1, metavar="RUN RUN...", shell_complete=complete_runs)
@results_option
@json_option
def merge(runs: tuple[str, ...], results: Path, as_json: bool) -> None:
    """Make one run of several that measured parts of a suite on machines that are alike. They stay as they
    are.

    \b
    Example:  convscope merge 20261124T095503 20261124T101207
    """
    from harness.tasks.merge import merge as merged

    made = merged(runs, results=results)
    run_id = made.runs[0]["run_id"]
    if as_json:
        counts = {"cases": len(made.summary), "visits": len(made.visits)}
        print(json.dumps({"run_id": run_id, "path": str(results / run_id), **counts}))
        return
    print(
        f"{len(made.summary)} cases, {len(made.visits)} repetitions of {len(runs)} runs: {results / run_id}"
    )
    print(f"Next: convscope report {run_id}")


@click.command()
@click.argument("what", metavar="RUN|URL", shell_complete=complete_runs)
@click.argument("url", required=False)
@results_option
@json_option
def copy(what: str, url: str | None, results: Path, as_json: bool) -> None:
    """Copy a run to a bucket, or from one into results/. What was cut short goes on there with run --resume.

    \b
    Examples:  convscope copy last s3://team/runs
               convscope copy s3://team/runs/20261124T095503-channels-4f1c
    """
    from harness.store.run_copies import bring, send
    from harness.store.run_folder import find_run

    if (url or what).count("://") != 1:
        hint = "For example: convscope copy last s3://team/runs"
        raise UsageError(f"{url or what!r} is no URL", where="copy", hint=hint)
    copied = str(bring(what, results)) if url is None else send(find_run(what, results), url)
    if as_json:
        print(json.dumps({"path": copied}))
        return
    print(f"Copied to {copied}.")
    print(f"Next: convscope {f'report {Path(copied).name}' if url is None else f'copy {copied}'}")


COMMANDS = (suites, report, list_results, merge, copy, doctor)
