"""How far may a figure be believed on this machine: ours, and those of the tools that people use today?

    python benchmarks/calibrate.py                       a campaign: every method, in random order,
                                                         kept in results/calibration/
    python benchmarks/calibrate.py --pool FOLDER FOLDER  the table of campaigns that were kept
    python benchmarks/calibrate.py --device cuda         on a GPU, 32 images at once, beside triton's do_bench

Ten cases. A process of a method is one start of it that gives a figure and an interval for every case; ours
is a whole run, its planner, workers and surveys included, and the peers may time a case for as long as that
makes their wall equal to ours so far. Truth is the method's own: the median of its figure over all its
processes of the campaign. Columns of the table:

    rms error     of a process's figure against the truth, over cases and processes
    cv            between the processes of a case, median over the cases
    covers        share of intervals that hold the truth
    A/A           share of ordered pairs of processes in which some case seems more than 5 % slower
    wall a case   seconds, process starts included
    bias          truth over that of blocked_autorange (on a CPU with the heap kept), median over the cases
                  (and the farthest). Theirs is a median of samples whatever ran beside it, ours a low
                  quantile, so ours is lower
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import subprocess
import sys
import time
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
from peers import KEPT, PEERS
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from harness import sweep
from harness.core.case import Case
from harness.core.errors import CasesFailed
from harness.plan.axes import Value
from harness.plan.points import distinct_cases, expand, prepare
from harness.plan.suite import Suite
from harness.store.results import load_results

HERE = Path(__file__).parent
OURS = {"convscope, max_rounds 3": 3, "convscope": None}  # None: as the suite says, until tight
METHODS = {
    "cpu": [*OURS, *PEERS["cpu"], *(f"{peer}, heap kept" for peer in PEERS["cpu"])],
    "cuda": [*OURS, *PEERS["cuda"]],
}
REFERENCES = ("blocked_autorange, heap kept", "blocked_autorange")  # the first that was measured
AXES: dict[str, dict[str, tuple[Value, ...]]] = {"cpu": {}, "cuda": {"device": ("cuda",), "batch": (32,)}}
FALSE_ALARM = 1.05
START_S = {"pyperf": 1.5}  # a case: pyperf imports torch for each; the others once for all ten
START_OTHERS_S = 0.25
Row = dict[str, Any]


def ours(most_rounds: int | None, device: str, folder: Path) -> list[Row]:
    """One whole run, in this process; its visits stay in `folder`. A case without a figure has no row."""
    suite = calibration(device)
    if most_rounds:
        suite = replace(suite, policy=replace(suite.policy, max_rounds=most_rounds))
    try:
        summary = sweep(suite, results=folder).summary
    except CasesFailed as failed:  # a case without a valid visit has no figure, and no error either
        summary = load_results(failed.where).summary
    rows = summary[["case_id", "latency_s", "latency_low_s", "latency_high_s"]].dropna()
    return [
        dict(zip(("case_id", "value_s", "low_s", "high_s"), row, strict=True))
        for row in rows.itertuples(index=False)
    ]


def calibration(device: str) -> Suite:
    """The suite of ten cases."""
    return prepare(HERE / "calibration.toml", AXES[device])


def one(method: str, device: str, folder: Path, cases: Path, seconds: float) -> tuple[list[Row], float]:
    """One process of a method: a row a case with a figure, and wall seconds a case, which stand in each row
    too."""
    if method in OURS:
        command = [sys.executable, __file__, "--ours", method, device, str(folder / "runs")]
    else:
        peer = method.removesuffix(", heap kept")
        command = [
            sys.executable,
            str(HERE / "peers.py"),
            peer,
            str(cases),
            str(max(0.1, seconds - START_S.get(peer, START_OTHERS_S))),
        ]
    variables = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    began = time.perf_counter()
    done = subprocess.run(
        command,
        env=variables | (KEPT if method.endswith("heap kept") else {}),
        capture_output=True,
        text=True,
    )
    wall_s = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"{method}: {done.stderr[-2000:]}")
    answer = json.loads(done.stdout.splitlines()[-1])
    rows = (
        answer
        if method in OURS
        else [
            dict(zip(("case_id", "value_s", "low_s", "high_s"), (case, *f), strict=True))
            for case, f in answer.items()
        ]
    )
    a_case_s = wall_s / len(json.loads(cases.read_text()))
    return [row | {"method": method, "wall_s": a_case_s} for row in rows], a_case_s


def campaign(
    processes: int, methods: list[str], device: str, folder: Path, seconds: float | None
) -> pd.DataFrame:
    """Every method so many times, in random order within each round of them; kept after every process."""
    folder.mkdir(parents=True)
    cases: list[Case] = distinct_cases(expand(calibration(device)))
    path = folder.resolve() / "cases.json"
    path.write_text(json.dumps([case.as_message() for case in cases]))
    # of ours, a case; the first one fills the page cache
    walls = [one("convscope" if seconds is None else "convscope, max_rounds 3", device, folder, path, 0)[1]]
    rows: list[Row] = []
    columns = (
        TextColumn("{task.description}"),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=processes * len(methods))
        for number in range(processes):
            for method in random.sample(methods, len(methods)):
                progress.update(task, description=method)
                began = datetime.now(timezone.utc)
                found, wall_s = one(method, device, folder, path, seconds or fmean(walls))
                walls += [wall_s] * (method == "convscope")
                rows += [
                    row | {"process": number, "campaign": folder.name, "started_at": began} for row in found
                ]
                pd.DataFrame(rows).to_parquet(folder / "figures.parquet")
                progress.advance(task)
    return pd.DataFrame(rows)


def table(figures: pd.DataFrame) -> pd.DataFrame:
    """One row a method. `figures`: a row a method, process and case, of one campaign or several; errors are
    against each campaign's own truth."""
    key = ["campaign", "method", "case_id"]
    figures = figures.join(figures.groupby(key)["value_s"].median().rename("truth_s"), on=key)
    measured = [
        name for name in dict.fromkeys(METHODS["cpu"] + METHODS["cuda"]) if (figures["method"] == name).any()
    ]
    reference = figures[figures["method"] == next((name for name in REFERENCES if name in measured), "")]
    figures = figures.join(
        reference.groupby(["campaign", "case_id"])["value_s"].median().rename("reference_s"),
        on=["campaign", "case_id"],
    )
    rows = [_method_row(method, figures[figures["method"] == method]) for method in measured]
    return pd.DataFrame(rows).set_index("method")


def _method_row(method: str, own: pd.DataFrame) -> Row:
    error = own["value_s"] / own["truth_s"] - 1
    by_case = own.groupby(["campaign", "case_id"])["value_s"]
    bias = (
        (
            own.groupby(["campaign", "case_id"])[["truth_s", "reference_s"]]
            .first()
            .eval("truth_s / reference_s")
            - 1
        )
        .groupby("case_id")
        .mean()
    )
    return {
        "method": method,
        "processes": len(own[["campaign", "process"]].drop_duplicates()),
        "rms_error": float(np.sqrt((error**2).mean())),
        "between_cv": float((by_case.std() / by_case.mean()).median()),
        "covers": float(((own["low_s"] <= own["truth_s"]) & (own["truth_s"] <= own["high_s"])).mean()),
        "false_alarms": false_alarms(own),
        "wall_s": float(own["wall_s"].mean()),
        "bias": float(bias.median()),
        "bias_farthest": float(bias.loc[bias.abs().idxmax()]) if bias.notna().any() else float("nan"),
    }


def false_alarms(own: pd.DataFrame) -> float:
    """Share of ordered pairs of processes of one campaign in which some case is more than 5 % slower."""
    alarms = []
    for _, group in own.groupby("campaign"):
        by_process = group.pivot(index="process", columns="case_id", values="value_s").to_numpy()
        alarms += [
            bool((head > FALSE_ALARM * base).any()) for base, head in itertools.permutations(by_process, 2)
        ]
    return float(np.mean(alarms)) if alarms else float("nan")


def markdown(methods: pd.DataFrame) -> str:
    """The table as people read it."""
    head = (
        "| method | processes | rms error | cv | covers | A/A false +5 % | wall a case | bias (farthest) |\n|"
        + " --- |" * 8
    )
    lines = [
        f"| {method} | {row.processes:.0f} | {row.rms_error:.1%} | {row.between_cv:.1%} "
        f"| {row.covers:.0%} | {row.false_alarms:.0%} "
        f"| {row.wall_s:.2f} s | {row.bias:+.1%} ({row.bias_farthest:+.1%}) |"
        for method, row in methods.iterrows()
    ]
    # of one process there is no spread
    return "\n".join([head, *lines]).replace("+nan%", "-").replace("nan%", "-")


def main() -> int:
    """Measure, or pool what was measured; print the table and keep it beside the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, default=20, help="of each method (default: 20)")
    parser.add_argument("--device", choices=list(METHODS), default="cpu")
    parser.add_argument(
        "--methods", nargs="+", metavar="METHOD", help="only these (default: all of the device)"
    )
    parser.add_argument(
        "--pool", nargs="+", type=Path, metavar="FOLDER", help="measure nothing; campaigns that were kept"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        help="a case, for the peers (default: what makes their wall equal to ours so far)",
    )
    parser.add_argument("--ours", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.ours:
        method, device, where = asked.ours
        print(json.dumps(ours(OURS[method], device, Path(where))))
        return 0
    if asked.pool:
        figures = pd.concat([pd.read_parquet(folder / "figures.parquet") for folder in asked.pool])
        print(markdown(table(figures)))
        return 0
    methods = asked.methods or METHODS[asked.device]
    if unknown := set(methods) - set(METHODS[asked.device]):
        parser.error(
            f"no method on {asked.device}: {', '.join(sorted(unknown))}; "
            f"there are {', '.join(METHODS[asked.device])}"
        )
    folder = Path("results", "calibration", datetime.now().strftime("%Y%m%d-%H%M%S"))
    found = table(campaign(asked.processes, methods, asked.device, folder, asked.seconds))
    found.to_parquet(folder / "methods.parquet")
    (folder / "table.md").write_text(markdown(found) + "\n")
    print(markdown(found))
    print(f"\nkept in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
