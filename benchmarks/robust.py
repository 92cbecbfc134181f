"""What a run withstands, with stub workers: nothing that was finished is lost, and nothing ends in a
traceback.

    python benchmarks/robust.py kills --times 300     SIGKILL at random moments to the planner, its worker, or
                                                      both; each run is resumed until it is complete
    python benchmarks/robust.py writes                the n-th write fails, for every n of a run
    python benchmarks/robust.py worker --times 1000   what a worker answers is mutated
    python benchmarks/robust.py folders --times 2000  bytes of a kept run are flipped, and it is loaded
    python benchmarks/robust.py suites --times 10000  suites that come along are mutated, and planned
    python benchmarks/robust.py crowd --times 50      commands at once in one folder

Exit code 1 where something was lost or a traceback was seen; `--seed` draws other moments and mutations.
Ctrl-C ends a part early, and says what was seen until then.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil

from harness import testing
from harness.core.errors import ConvscopeError
from harness.store.results import load_results
from harness.store.run_folder import run_folders
from harness.store.visit_files import VISIT_KEY, read_visits

SUITE = """
schema = 1
name = "robust"
title = "Six small cases"
[policy]
rounds = 3
max_rounds = 4
[[sweep]]
name = "channels"
x = "in_channels"
size = 8
kind = ["standard", "depthwise", "pointwise"]
in_channels = [8, 16]
"""
CASES, TYPICAL_S = 6, 4.0  # seconds of a run here: the moments of kills are drawn from these
LIMIT_S = 120.0
FAILS = """
import builtins, errno, io, os, sys
left = int(sys.argv.pop(1))
def failing(real):
    def call(*a, **k):
        global left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*a, **k)
    return call
import harness.store.files as files, harness.store.visit_files as visits
os.fsync = failing(os.fsync)
import pathlib
pathlib.Path.replace = failing(pathlib.Path.replace)
visits.VisitLog._append = failing(visits.VisitLog._append)
from harness.cli.main import main
main()
"""


class Bench:
    """A folder with a suite, stub interpreters, and what was seen to go wrong."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.random = folder, random.Random(seed)
        self.suite = folder / "robust.toml"
        self.suite.write_text(SUITE, encoding="utf-8")
        self.python = testing.interpreter(folder / "stub", {"cases": [{"spread": 0.001}]})
        self.faults: list[str] = []
        self.seen: Counter[str] = Counter()
        (folder / "tmp").mkdir()

    def start(
        self, *words: object, program: tuple[str, ...] = ("-m", "harness"), **variables: str
    ) -> subprocess.Popen[str]:
        """A command of convscope, with folders of its own for locks and for what is learned."""
        own = {"TMPDIR": str(self.folder / "tmp"), "XDG_CACHE_HOME": str(self.folder / "cache")}
        return subprocess.Popen(
            [sys.executable, *program, *map(str, words)],
            cwd=self.folder,
            env=dict(os.environ) | own | {"COLUMNS": "120"} | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )

    def ended(self, process: subprocess.Popen[str], what: str) -> tuple[int, str]:
        """How it ended; a traceback is a fault, and so is a command that hangs."""
        try:
            out, _ = process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            out, _ = process.communicate()
            self.faults.append(f"{what}: hangs")
        if "Traceback" in out:
            self.faults.append(f"{what}: {out[-600:]}")
        self.seen[f"exit {process.returncode}"] += 1
        return process.returncode, out

    def result(self) -> int:
        """Say what was seen. Returns the exit code."""
        print(", ".join(f"{name}: {count}" for name, count in sorted(self.seen.items())))
        for fault in self.faults[:20]:
            print(f"FAULT {fault}")
        print(f"{len(self.faults)} faults")
        return int(bool(self.faults))


def keys(run: Path) -> set[tuple[Any, ...]]:
    """The visits that are on disk."""
    table = read_visits(run).table
    return set(zip(*(table.column(name).to_pylist() for name in VISIT_KEY), strict=True))


def kills(bench: Bench, times: int) -> None:
    """Runs and A/Bs, killed and resumed until they are complete."""
    whole: dict[str, dict[str, int]] = {}
    killed = 0
    while killed < times:
        command = bench.random.choice(["run", "ab"])
        words: list[object] = (
            ["run", bench.suite, "--python", bench.python]
            if command == "run"
            else ["ab", bench.suite, "--base-python", bench.python, "--head", "memory_format=channels_last"]
        )
        results = bench.folder / f"results-{killed}"
        run, lost = None, set[tuple[Any, ...]]()
        for _ in range(40):
            going_on = ["--resume", run] if run else words[1:]
            process = bench.start(command, *going_on, "--results", results)
            killed += _kill_some(bench, process)
            code, _ = bench.ended(process, f"{command} {killed}")
            folders = run_folders(results)
            if not folders:
                continue  # killed before it began
            run = folders[-1]
            now = keys(run)
            if lost - now:
                bench.faults.append(f"{run}: {len(lost - now)} finished visits are lost")
            lost |= now
            if code in (0, 1, 3, 4) or (code == 2 and load_results(run).runs[0]["state"] == "complete"):
                break
        else:
            bench.faults.append(f"{run}: is not complete after 40 attempts")
        assert run is not None
        loaded = load_results(run)
        counted = Counter(loaded.visits.query("status == 'ok'")["case_id"])
        bench.seen[f"{command} {loaded.runs[0]['state']}"] += 1
        if min(counted.values(), default=0) < 3 or len(counted) < CASES:
            whole[run.name] = dict(counted)
            bench.faults.append(f"{run}: visits by case {sorted(counted.values())}")
        shutil.rmtree(results)
    print(f"{killed} kills")


def _kill_some(bench: Bench, process: subprocess.Popen[str]) -> int:
    """Wait a random time, then kill the planner, its workers, or all. Returns whether something was."""
    ends = time.monotonic() + bench.random.uniform(0, TYPICAL_S)
    while time.monotonic() < ends and process.poll() is None:
        time.sleep(0.005)
    if process.poll() is not None:
        return 0
    who = bench.random.choice(["planner", "worker", "all"])
    try:
        children = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return 0
    victims = (children if who != "planner" else []) + ([process] if who != "worker" else [])
    for victim in victims:
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.send_signal(signal.SIGKILL)
    bench.seen[f"killed {who}"] += bool(victims)
    return int(bool(victims))


def writes(bench: Bench, _: int) -> None:
    """A run whose n-th write finds no room, until one is not reached."""
    program = bench.folder / "fails.py"
    program.write_text(FAILS, encoding="utf-8")
    for n in range(10_000):
        results = bench.folder / f"results-{n}"
        words = ("run", bench.suite, "--python", bench.python, "--results", results)
        code, out = bench.ended(bench.start(n, *words, program=(str(program),)), f"write {n}")
        if code == 0:
            print(f"{n} writes of a run, each failed once")
            return
        if code != 2:
            bench.faults.append(f"write {n}: exit {code}: {out[-300:]}")
        shown = len(re.findall(r"^round \d", out, re.MULTILINE))
        for run in run_folders(results):
            if len(keys(run)) < shown:
                bench.faults.append(f"write {n}: {shown} visits were shown, {len(keys(run))} are kept")
            code, out = bench.ended(bench.start("run", "--resume", run), f"resume {n}")
            if code and "is complete" not in out:
                bench.faults.append(f"resume {n}: exit {code}: {out[-300:]}")
        shutil.rmtree(results, ignore_errors=True)


def worker(bench: Bench, times: int) -> None:
    """Runs whose worker answers with mutated lines."""
    hostile, suite = bench.folder / "hostile", bench.folder / "short.toml"
    suite.write_text(SUITE.replace("max_rounds = 4", "visit_limit_s = 0.3"), encoding="utf-8")

    def one(seed: int) -> None:
        script = {"cases": [{"spread": 0.001}], "mutate": seed}
        python = testing.interpreter(hostile / str(seed), script)
        results = hostile / str(seed) / "results"
        # a worker that falls silent is waited for, and no longer than this
        words = ("run", suite, "--quick", "--time-limit", 5, "--python", python, "--results", results)
        process = bench.start(*words, TMPDIR=str(hostile / str(seed)))
        code, out = bench.ended(process, f"dialogue {seed}")
        if code not in (0, 2, 4):
            bench.faults.append(f"dialogue {seed}: exit {code}: {out[-300:]}")
        _load(bench, results, f"dialogue {seed}")
        shutil.rmtree(hostile / str(seed))

    with ThreadPoolExecutor(8) as pool:  # most of the time is waiting
        list(pool.map(one, [bench.random.randrange(2**31) for _ in range(times)]))


def _load(bench: Bench, results: Path, what: str) -> None:
    try:
        load_results(results=results).summary  # noqa: B018  # it is computed here
    except ConvscopeError:
        bench.seen["refused"] += 1
    except Exception as error:
        bench.faults.append(f"{what}: {type(error).__name__}: {error}")


def folders(bench: Bench, times: int) -> None:
    """A kept run of whose files some bytes are others."""
    from harness.cli.main import main

    code, _ = bench.ended(bench.start("run", bench.suite, "--python", bench.python), "run")
    assert code == 0
    run = run_folders(bench.folder / "results")[-1]
    shutil.copy(run / "measurements.parquet", bench.folder / "kept.parquet")
    journal = "".join(
        json.dumps(row | {"started_at": row["started_at"].isoformat()}) + "\n"
        for row in read_visits(run).table.to_pylist()
    )
    (run / "journal.jsonl").write_text(journal, encoding="utf-8")
    files = sorted(path.name for path in run.iterdir())
    for n in range(times):
        copy = Path(shutil.copytree(run, bench.folder / "damaged" / f"20260101T000000-damaged-{n:04d}"))
        if bench.random.random() < 0.5:
            (copy / "measurements.parquet").unlink()
        name = bench.random.choice([one for one in files if (copy / one).is_file()])
        _damage(bench.random, copy / name)
        _load(bench, copy.parent, f"damaged {n} {name}")
        for words in (["results"], ["report", "last", "--out", str(bench.folder / "page.html")]):
            if n % 20 and words[0] == "report":
                continue  # drawing takes most of the time
            _in_process(bench, main, [*words, "--results", str(copy.parent)], f"damaged {n} {name}")
        shutil.rmtree(copy)


def _in_process(bench: Bench, main: Callable[..., object], words: list[str], what: str) -> None:
    """A command of this process; an exit code that is none of a user's mistakes is a fault."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            main(words, "convscope")
    except SystemExit as ended:
        bench.seen[f"exit {ended.code}"] += 1
        if ended.code not in (0, None, 2, 3, 4):
            out.seek(0)
            bench.faults.append(f"{what}: {' '.join(words)}: exit {ended.code}: {out.read()[-600:]}")


def _damage(chance: random.Random, path: Path) -> None:
    """Flip, cut, repeat or replace some of a file's bytes."""
    data = bytearray(path.read_bytes())
    for _ in range(chance.choice((1, 1, 3, 20))):
        at = chance.randrange(len(data) + 1)
        how = chance.randrange(4)
        if how == 0 and data:
            data[at % len(data)] ^= 1 << chance.randrange(8)
        elif how == 1:
            del data[at : at + chance.randrange(50)]
        elif how == 2:
            data[at:at] = data[at : at + chance.randrange(50)]
        else:
            data[at : at + 4] = chance.choice(
                (b"null", b"1e999", b"-1", b'"\\ud800"', b"[[[[", b"\x00\xff", b"NaN")
            )
    path.write_bytes(data)


def suites(bench: Bench, times: int) -> None:
    """The suites that come along, changed in their structure or their text, and planned."""
    from harness.plan.points import expand
    from harness.plan.suite import read_suite, shipped_suites

    texts = [path.read_text(encoding="utf-8") for path in shipped_suites()]
    words = sorted({word for text in texts for word in re.findall(r"[\w.]+|[^\s\w]", text)})
    home = shipped_suites()[0].parent
    for layers in home.rglob("*.csv"):
        copy = bench.folder / layers.relative_to(home)
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(layers, copy)
    path = bench.folder / "mutated.toml"
    for n in range(times):
        tokens = re.findall(r"\s+|[\w.]+|[^\s\w]", bench.random.choice(texts))
        for _ in range(bench.random.choice((1, 1, 2, 5, 20))):
            at = bench.random.randrange(len(tokens))
            other = bench.random.choice(
                (*words, str(bench.random.randrange(10**12)), "-1", '"', "]", "[", "nan")
            )
            tokens[at : at + bench.random.randrange(3)] = [other] * bench.random.choice((1, 1, 2))
        path.write_text("".join(tokens), encoding="utf-8")
        try:
            expand(read_suite(path))
            bench.seen["planned"] += 1
        except ConvscopeError:
            bench.seen["refused"] += 1
        except Exception as error:
            kept = bench.folder / f"fault-{n}.toml"
            shutil.copy(path, kept)
            bench.faults.append(f"suite {n}: {type(error).__name__}: {error}: {kept.read_text()[:2000]}")


def crowd(bench: Bench, times: int) -> None:
    """Commands at once, in one results folder, on one device."""
    kinds: tuple[tuple[object, ...], ...] = (
        ("run", bench.suite, "--quick", "--python", bench.python),
        ("run", bench.suite, "--quick", "--python", bench.python, "--no-wait"),
        ("results",),
        ("plan", bench.suite),
        ("report", "last", "--out", bench.folder / "page.html"),
        ("baseline", "list"),
    )
    code, _ = bench.ended(bench.start(*kinds[0]), "first")
    assert code == 0

    def one(n: int) -> tuple[int, tuple[object, ...], str]:
        words = kinds[n % len(kinds)]
        code, out = bench.ended(bench.start(*words), f"command {n}")
        return code, words, out

    with ThreadPoolExecutor(times) as pool:
        for code, words, out in pool.map(one, range(times)):
            if code and not (code == 75 and "--no-wait" in words):
                bench.faults.append(f"{' '.join(map(str, words))}: exit {code}: {out[-300:]}")
    for run in run_folders(bench.folder / "results"):
        if (loaded := load_results(run)).runs[0]["state"] == "complete" and len(loaded.visits) != CASES:
            bench.faults.append(f"{run}: {len(loaded.visits)} visits")


PARTS: dict[str, tuple[Callable[[Bench, int], None], int]] = {
    "kills": (kills, 300),
    "writes": (writes, 0),
    "worker": (worker, 1000),
    "folders": (folders, 2000),
    "suites": (suites, 10_000),
    "crowd": (crowd, 50),
}


def main() -> None:
    """Do one part, in a folder that is removed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--times", type=int)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    part, usual = PARTS[asked.part]
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), asked.seed)
        with contextlib.suppress(KeyboardInterrupt):
            part(bench, usual if asked.times is None else asked.times)
        code = bench.result()
    print(f"{asked.part}: {time.monotonic() - began:.0f} s")
    sys.exit(code)


if __name__ == "__main__":
    main()
