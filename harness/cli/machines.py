"""The command that compares machines. It translates, calls and prints, as those of `main` do."""

from __future__ import annotations

import json
from math import isfinite
from typing import TYPE_CHECKING, Any

import click

from harness.cli.options import complete_runs, json_option, results_option
from harness.core.errors import UsageError, nearest

if TYPE_CHECKING:
    from pathlib import Path


class Price(click.ParamType[tuple[str, float]]):
    """A machine and what it costs an hour."""

    name = "MACHINE=PRICE"

    def convert(
        self, value: Any, _param: click.Parameter | None, _ctx: click.Context | None
    ) -> tuple[str, float]:
        """Raises UsageError for what is none."""
        name, _, text = str(value).rpartition("=")
        try:
            price = float(text)
        except ValueError:
            price = -1.0
        if not name or not isfinite(price) or price <= 0:
            raise UsageError(
                f"{str(value)[:40]!r} is no machine with a price",
                where="--price",
                hint="For example: --price 'NVIDIA H200=3.50', for an hour.",
            )
        return name, price


@click.command()
@click.argument("runs", nargs=-1, metavar="RUN RUN...", required=True, shell_complete=complete_runs)
@click.option("--price", "prices", type=Price(), multiple=True, help="What a machine costs an hour.")
@results_option
@json_option
def machines(
    runs: tuple[str, ...], prices: tuple[tuple[str, float], ...], results: Path, as_json: bool
) -> None:
    """Compare machines by runs of the same suite: which kind is fastest on each, and where they disagree.

    \b
    Examples:  convscope machines 20261124T095503 20261124T101207
               convscope machines RUN RUN --price 'NVIDIA H200=3.50' --price 'AMD EPYC 9654=4.10'
    """
    from harness.analysis.machines import as_json as machines_as_json
    from harness.analysis.machines import places
    from harness.output import machines_text
    from harness.output.views.machines import on_machines
    from harness.store.results import load_results

    frame = on_machines(load_results(*runs, results=results, samples=False))
    for name, _ in prices:
        if name not in set(frame["machine"]):
            known = list(dict.fromkeys(frame["machine"]))
            raise UsageError(
                f"{name!r} is no machine of these runs", where="--price", hint=nearest(name, known)
            )
    found = places(frame)
    if not found:
        raise UsageError(
            "no two machines measured the same layer with two kinds each",
            where="machines",
            hint="Measure one suite on each: convscope run channels",
        )
    if as_json:
        print(json.dumps(machines_as_json(found, dict(prices))))
        return
    machines_text.answer(found, dict(prices))


COMMANDS = (machines,)
