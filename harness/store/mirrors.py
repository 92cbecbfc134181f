"""Runs in a bucket: `--results s3://team/runs` is a folder of this machine that follows one there.

    <user's cache>/convscope/buckets/<digest of the URL>/.bucket            the URL
                                                         <run>/.there.json  what the bucket had, by file
                                                               .unsent      the bucket may lack something
                                                               .elsewhere   another machine writes it
                                                               ...          as in results/
In: the URL of a folder of runs. Out: a folder here, in which every run and every baseline of the bucket has
its run.json, and all of its files once it is asked for. What is written here is sent: a run when it begins,
every half minute and when it ends.

Nothing that was measured is lost: a run is marked unsent before its first byte, and until all of it was sent;
so long it is neither fetched nor taken away. It is sent again with the next command. Where another machine
went on with it meanwhile, that is an error, and both copies stay.
"""

from __future__ import annotations

import re
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from platformdirs import user_cache_path

from harness.core.errors import StorageError
from harness.store import uploads
from harness.store.buckets import Bucket, Stored, as_folder
from harness.store.files import whole, write_text
from harness.store.run_header import RUN_FILE
from harness.store.run_lock import held, was_written
from harness.store.uploads import (
    FILES,
    UNSENT,
    Upload,
    files_of,
    remember,
    remembered,
    require_older,
    say_killed,
)
from harness.store.visit_files import storing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MARK, ELSEWHERE = ".bucket", ".elsewhere"
ALIVE = 2.0  # times as long as until the next sending: what was written so lately is still written
# a run, and one that is a baseline
RUNS = re.compile(r"(baselines/\w[\w.-]*/)?[A-Za-z0-9][\w.-]*")


def results_folder(results: str | Path, *, look: bool = True) -> Path:
    """The folder of this machine for one of runs, which may be the URL of a bucket. Raises StorageError where
    that cannot be reached. Without `look` it is as it was at the last command."""
    if (local := as_folder(str(results))) is not None:
        return local
    url = str(results).rstrip("/")
    folder = _folder_of(url)
    if look:
        with storing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            write_text(folder / MARK, url)
            Mirror(folder, Bucket(url)).look()
    return folder


def _folder_of(url: str) -> Path:
    return Path(user_cache_path("convscope")) / "buckets" / sha256(url.encode()).hexdigest()[:12]


def mirror_of(run: Path) -> Mirror | None:
    """Where a run follows a bucket. A mark that lies anywhere but in our cache is nobody's."""
    for folder in (run.parent, *run.parents[2:3]):  # of a baseline that of results/
        if (folder / MARK).is_file():
            url = (folder / MARK).read_text(encoding="utf-8")
            if folder.resolve() == _folder_of(url).resolve():
                return Mirror(folder, Bucket(url))
    return None


def upload_of(run: Path) -> Upload | None:
    """What sends a run, if it follows a bucket."""
    mirror = mirror_of(run)
    return Upload(mirror.bucket, run, mirror.name_of(run)) if mirror else None


def fetched(run: Path) -> Path:
    """The folder of a run, with all of its files: those that a bucket has and this machine has not are
    copied. Raises StorageError."""
    if mirror := mirror_of(run):
        mirror.fetch(run)
    return run


def unsent(run: Path, *, of: Path | None = None) -> None:
    """Mark a run of which a bucket will lack something from now on, if it follows one; `of`: where it will
    lie."""
    if mirror_of(of or run):
        (run / UNSENT).touch()


def sent(run: Path) -> Path:
    """The folder of a run, all of which a bucket has now, if it follows one. Raises StorageError."""
    if upload := upload_of(run):
        upload.finish()
    return run


def is_elsewhere(run: Path) -> bool:
    """Whether another machine seems to write a run, by how lately the bucket got a file of it."""
    return (run / ELSEWHERE).exists() and not (run / UNSENT).exists()


@dataclass(frozen=True, slots=True)
class Mirror:
    """A folder of runs that follows one in a bucket."""

    folder: Path
    bucket: Bucket

    def look(self) -> None:
        """Have run.json of every run that is there, and no run that is not; send what was not sent."""
        for run in self._having(UNSENT):
            with suppress(StorageError), held(run) as free:  # whoever asks for this run hears of it
                if free:
                    self._finish(run)
        files = self.bucket.files()
        there = {str(PurePosixPath(name).parent) for name in files if PurePosixPath(name).name == RUN_FILE}
        there = {name for name in there if RUNS.fullmatch(name)}
        for run in self._having(RUN_FILE):
            if self.name_of(run) not in there and not (run / UNSENT).exists() and not was_written(run):
                shutil.rmtree(run, ignore_errors=True)
        wanted = [name for name in there if self._is_new(name, files[f"{name}/{RUN_FILE}"])]
        keep(self.bucket.read(f"{name}/{RUN_FILE}" for name in wanted), self.folder)
        for name in wanted:
            remember(self.folder / name, {RUN_FILE: files[f"{name}/{RUN_FILE}"].stamp})
        self._see_who_writes(there, files)

    def _having(self, file: str) -> list[Path]:
        """The runs here, and the baselines, that have a file; none that is being made."""
        found = [*self.folder.glob(f"[!.]*/{file}"), *self.folder.glob(f"baselines/*/[!.]*/{file}")]
        return [path.parent for path in found]

    def _is_new(self, name: str, header: Stored) -> bool:
        run = self.folder / name
        known = (run / RUN_FILE).is_file() and remembered(run).get(RUN_FILE) == header.stamp
        return not known and not (run / UNSENT).exists()

    def _see_who_writes(self, runs: set[str], files: Mapping[str, Stored]) -> None:
        moments: dict[str, list[float]] = {name: [] for name in runs}
        for path, stored in files.items():
            name = str(PurePosixPath(path).parent).removesuffix("/check")
            if name in moments and stored.at is not None:
                moments[name].append(stored.at)
        for name, at in moments.items():
            _mark_alive(self.folder / name, at)

    def fetch(self, run: Path, *, ours: bool = False) -> None:
        """Have all files of a run, and none that is no longer there; one that was not sent to the end is
        sent. `ours`: this process holds its lock. Raises StorageError."""
        if ours:
            self._fetch(run)
            return
        with held(run) as free:  # whoever writes it has more than the bucket
            if free:
                self._fetch(run)

    def _fetch(self, run: Path) -> None:
        name = self.name_of(run)
        if (run / UNSENT).exists():
            self._finish(run)
            return
        stored = self.bucket.files(name)
        _mark_alive(run, [one.at for one in stored.values() if one.at is not None])
        there = {path.removeprefix(f"{name}/"): one for path, one in stored.items()}
        there = {file: one for file, one in there.items() if FILES.fullmatch(file)}
        if RUN_FILE not in there:
            raise StorageError("is no longer there", where=f"{self.bucket.url}/{name}")
        known, here = remembered(run), files_of(run)
        wanted = [file for file, one in there.items() if file not in here or known.get(file) != one.stamp]
        keep(self.bucket.read(f"{name}/{file}" for file in wanted), self.folder)
        with storing(run):
            for file in set(here) - set(there):
                (run / file).unlink(missing_ok=True)
        remember(run, {file: one.stamp for file, one in there.items()})

    def _finish(self, run: Path) -> None:
        """Send a run whose writer is gone and did not come to it; its lock is held."""
        if (run / RUN_FILE).is_file():
            require_older(self.bucket, self.name_of(run), run)
            say_killed(run)
            Upload(self.bucket, run, self.name_of(run)).finish()
            (run / ELSEWHERE).unlink(missing_ok=True)

    def name_of(self, run: Path) -> str:
        """As the bucket calls it."""
        return run.relative_to(self.folder).as_posix()


def _mark_alive(run: Path, moments: Sequence[float]) -> None:
    """Whether a bucket got a file of a run so lately that somebody writes it."""
    if time.time() - max(moments, default=0.0) < ALIVE * uploads.SEND_EVERY_S:
        (run / ELSEWHERE).touch()
    else:
        (run / ELSEWHERE).unlink(missing_ok=True)


def keep(content: Mapping[str, bytes], folder: Path) -> None:
    """Write files, each whole, by name. Raises StorageError."""
    with storing(folder):
        for name, one in content.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with whole(folder / name, "wb") as file:
                file.write(one)
