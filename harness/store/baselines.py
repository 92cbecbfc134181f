"""Runs with a name, to compare later ones with.

    results/baselines/<name>/<run_id>/     a run's folder, copied; one an environment is enough,
                                           several may lie side by side
In: results. Out: the baseline that fits a run, or an error that names the fields that do not and says how to
make one.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from typing import TYPE_CHECKING, Any

from harness.analysis.comparability import Differences, differing, facts, in_words, informative, likeness
from harness.core.errors import NoBaseline, NotComparable, StorageError, UsageError, nearest
from harness.store.mirrors import sent, unsent
from harness.store.results import Results, load_results
from harness.store.run_folder import read_header
from harness.store.run_header import RUN_FILE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FOLDER = "baselines"
# states of a run whose every visit is whole; what is missing of the latter its cases tell
WHOLE = ("complete", "time_limit")


def save(name: str, run: Results, folder: Path, results: Path) -> Path:
    """Keep a run, whose folder is given, as a baseline. Raises UsageError for one that is not to be trusted,
    StorageError."""
    if not is_name(name):
        raise UsageError(
            f"{name!r} cannot name a baseline", where="NAME", hint="Use letters, digits, _, - and ."
        )
    faults = unfit(run)
    if faults:
        raise UsageError(
            f"cannot be a baseline: {'; '.join(faults)}",
            where=run.runs[0]["run_id"],
            hint="Give it time for three rounds.",
        )
    target = results / FOLDER / name / folder.resolve().name
    partial = target.with_name(f".{target.name}.partial")  # a hidden one is never taken for a baseline
    try:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(folder, partial, ignore=shutil.ignore_patterns(".*"))
        unsent(partial, of=target)
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
    except OSError as error:
        raise StorageError(
            f"cannot be written: {error.strerror or error}",
            where=str(target),
            hint="Name another folder with --results.",
        ) from None
    return sent(target)


def is_name(text: str) -> bool:
    """Whether it can name a baseline, which is a folder."""
    return bool(re.fullmatch(r"\w[\w.-]*", text))


def unfit(run: Results) -> list[str]:
    """Why a run cannot be a baseline; empty for one that can."""
    header, summary = run.runs[0], run.summary
    found = []
    if run.arms != {"main"}:
        found.append("it holds several arms")
    if header["quick"]:
        found.append("it is a quick run")
    if header["state"] not in WHOLE:
        found.append(f"it was not finished ({header['state']})")
    skipped = set(summary.loc[summary["status"] == "skipped", "case_id"])
    asked = set(run.points["case_id"].dropna()) - skipped
    if few := asked - set(summary.loc[summary["interval"] == "between", "case_id"]):
        found.append(f"{len(few)} of {len(asked)} cases have no figure from three processes")
    return found if asked else [*found, "it has no case"]


def saved(results: Path) -> list[dict[str, Any]]:
    """Every baseline that can be read, by name: name, run_id, suite, path, cpu, torch."""
    rows = []
    for path, header in _readable(_kept(results, "*")).items():
        known = facts(header, "main")
        about = {
            "name": path.parent.name,
            "run_id": header["run_id"],
            "suite": header["suite"]["name"],
            "path": str(path),
        }
        rows.append(about | {name: known.get(name) for name in ("cpu", "torch")})
    return rows


def exists(name: str, results: Path) -> bool:
    """Whether something is kept under this name."""
    return is_name(name) and bool(_kept(results, name))


def fitting(name: str, head: Results, results: Path, *, same_suite: bool = False) -> Results:
    """The baseline of a name whose environment and devices are like the run's; of several, one of the same
    suite that differs least in what informs, the latest. With `same_suite` no other fits.

    Raises NoBaseline where there is no such name, NotComparable where none fits, StorageError where none can
    be read.
    """
    header = head.runs[0]
    make = f"convscope baseline save {name} {header['run_id']}"
    paths = _kept(results, name) if is_name(name) else []
    if not paths:
        names = sorted({row["name"] for row in saved(results)})
        known = nearest(name, names) if names else "There is none yet."
        raise NoBaseline(
            "there is no such baseline and no such run", where=name, hint=f"{known} To make it: {make}"
        )
    headers = _readable(paths) or {path: read_header(path) for path in paths}
    apart = {
        path: differing(likeness(known, "main"), likeness(header, "main")) for path, known in headers.items()
    }
    alike = {path: load_results(path, samples=False) for path in headers if not apart[path]}
    apart |= {path: _other_devices(known, head) for path, known in alike.items()}
    if same_suite:
        for path, other in headers.items():
            apart[path] |= differing({"suite": other["suite"]["name"]}, {"suite": header["suite"]["name"]})
    fit = [path for path in headers if not apart[path]]
    if not fit:
        closest = min(headers, key=lambda path: len(apart[path]))
        hint = f"To make one that does: {make}, or compare with --create."
        raise NotComparable(
            f"no baseline fits this machine: {in_words(apart[closest])}", where=name, hint=hint
        )

    def distance(path: Path) -> tuple[bool, int]:
        other = headers[path]["suite"]["name"] != header["suite"]["name"]
        return other, len(informative(facts(headers[path], "main"), facts(header, "main")))

    return alike[min(reversed(fit), key=distance)]


def _other_devices(known: Results, head: Results) -> Differences:
    """The devices of two runs, where they have none in common."""
    devices = [set(run.visits["device_name"].dropna()) for run in (known, head)]
    if devices[0] & devices[1] or not all(devices):
        return {}
    base, own = (" and ".join(sorted(names)) for names in devices)
    return {"device": (base, own)}


def _kept(results: Path, name: str) -> list[Path]:
    """The folders under a name, oldest first."""
    return sorted(path.parent for path in (results / FOLDER).glob(f"{name}/[!.]*/{RUN_FILE}"))


def _readable(paths: Sequence[Path]) -> dict[Path, dict[str, Any]]:
    """The headers that can be read: one broken folder must not hide the others."""
    found = {}
    for path in paths:
        with contextlib.suppress(StorageError):
            found[path] = read_header(path)
    return found
