"""The commands about many runs: `history` with its `add` and `bless`, `site` and `bisect`. They translate,
call and print, as those of `main` do."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.options import (
    anchor_options,
    axes_option,
    complete_runs,
    install_signal_handlers,
    json_option,
    results_option,
    stated_store,
    store_option,
    suite_argument,
)
from harness.core.errors import NotComparable

if TYPE_CHECKING:
    from harness.plan.axes import Value


@click.group(invoke_without_command=True)
@store_option
@click.option("--case", default="", metavar="TEXT", help="Only cases whose label has these words, or by id.")
@click.option("--since", default="", metavar="DATE|COMMIT", help="Only changes since then.")
@click.option("--fail", is_flag=True, help="Exit with 1 if there is an unblessed change for the worse.")
@results_option
@json_option
@click.pass_context
def history(
    ctx: click.Context,
    store: str | None,
    case: str,
    since: str,
    fail: bool,
    results: Path,
    as_json: bool,
) -> None:
    """Show what every case cost over the runs of a store, and when that changed. Worst first.

    A change is at least 2 %, kept by two runs, and lies between two commits. Runs that were measured against
    an anchor (`convscope ab --base-python ANCHOR`) are followed by their ratio to it. Baselines in the folder
    of the runs that are older than a change are told.

    \b
    Examples:  convscope history --store history
               convscope history --store s3://bucket/history --since 2026-10-01 --fail
               convscope history --store history --case "depthwise 128"
    """
    if ctx.invoked_subcommand is not None:
        return
    from harness.output import history_text, terminal
    from harness.tasks.history import history as judged
    from harness.tasks.history import stale_baselines

    found = judged(_stated(ctx, store), case=case, since=since)
    stale = stale_baselines(found, results)
    if as_json:
        print(json.dumps(history_text.as_json(found, stale)))
    else:
        terminal.history(found, stale)
    if fail:
        sys.exit(found.code)


def _stated(ctx: click.Context, store: str | None) -> str:
    """The store that a command, or `history` before it, was given. Raises UsageError."""
    return stated_store(store or (ctx.parent.params.get("store") if ctx.parent else None))


@history.command(name="add")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", shell_complete=complete_runs)
@store_option
@anchor_options
@results_option
@json_option
@click.pass_context
def add_runs(
    ctx: click.Context,
    runs: tuple[str, ...],
    store: str | None,
    results: Path,
    anchor: str | None,
    joins: str | None,
    as_json: bool,
) -> None:
    """Add runs to the store. Adding one again changes nothing.

    \b
    Examples:  convscope history add last --store history
               convscope history add last --store history --anchor "torch 2.12" --joins "torch 2.13"
    """
    from harness.tasks.history import add

    where = _stated(ctx, store)
    added = add(*runs, store=where, results=results, anchor=anchor, joins=joins)
    if as_json:
        print(json.dumps({"store": where, "runs": added}))
        return
    print(f"Added to {where}: {' '.join(added)}\nNext: convscope history --store {where}")


@history.command(name="bless")
@click.argument("change", metavar="CHANGE")
@click.option("--why", required=True, help="The reason, kept in the store.")
@store_option
@json_option
@click.pass_context
def bless_change(ctx: click.Context, change: str, why: str, store: str | None, as_json: bool) -> None:
    """Accept a change, by its id: it is still shown, and fails no build any more.

    \b
    Example:  convscope history bless 3f2a91c0 --why "padding is checked now" --store history
    """
    from harness.output import history_text
    from harness.tasks.history import bless

    finding = bless(_stated(ctx, store), change, why)
    if as_json:
        print(json.dumps({"id": finding.id, "why": why}))
        return
    print(f"Blessed {history_text.sentence(finding)}")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@store_option
@results_option
@json_option
def site(folder: Path, store: str | None, results: Path, as_json: bool) -> None:
    """Write the history and the reports of its runs into FOLDER, for any file server or GitHub Pages.

    \b
    Example:  convscope site public --store history
    """
    from harness.output.site import write_site
    from harness.tasks.history import history as judged

    index, made = write_site(judged(stated_store(store)), results, folder)
    if as_json:
        print(json.dumps({"path": str(index), "new_reports": made}))
        return
    print(f"Written to {index}, with {made} new reports. Next: python -m http.server -d {folder}")


@click.command()
@suite_argument
@click.option("--good", required=True, metavar="REF", help="A commit that is fast enough.")
@click.option("--bad", required=True, metavar="REF", help="A later one that is slower.")
@click.option("--case", required=True, metavar="TEXT", help="One case, by words of its label or its id.")
@click.option("--build", required=True, metavar="COMMAND", help="Builds a checkout; run by a shell in it.")
@click.option(
    "--built-python",
    metavar="PATH",
    help="Interpreter that the build leaves, relative to the checkout.  [default: an environment per side, "
    "first on the PATH of the build]",
)
@axes_option
@results_option
@json_option
def bisect(
    suite: str,
    good: str,
    bad: str,
    case: str,
    build: str,
    built_python: str | None,
    axes: tuple[tuple[str, tuple[Value, ...]], ...],
    results: Path,
    as_json: bool,
) -> None:
    """Find the commit of this repository that made a case slower, each step measured in turns with the good
    commit.

    Your checkout is not touched. Exit code 3 where the difference is not reproducible.

    \b
    Example:  convscope bisect regression -a implementation=mykernels:depthwise --case "depthwise 128->128"
                  --good v1.2 --bad main --build "pip install ."
    """
    from harness.output import history_text
    from harness.tasks.bisect import bisect as search
    from harness.tasks.bisect import find_case

    install_signal_handlers()
    found = search(
        good,
        bad,
        find_case(suite, case, dict(axes)),
        build,
        built_python=built_python,
        results=results,
        tell=lambda step: print(history_text.bisect_step(step), file=sys.stderr, flush=True),
    )
    if as_json:
        print(json.dumps(history_text.bisected_json(found)))
    else:
        print(history_text.bisected(found))
    sys.exit(0 if found.commit else NotComparable.code)


COMMANDS = (history, site, bisect)
