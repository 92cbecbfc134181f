"""Runs in a bucket: `--results s3://team/runs` is a folder of this machine that follows one there.

    <user's cache>/convscope/buckets/<digest of the URL>/.bucket      the URL
                                                         <run>/...    as in results/
In: the URL of a folder of runs. Out: a folder here, in which every run and every baseline of the bucket has
its run.json, and all of its files once it is asked for. What is written here is sent: a run when it begins,
every half minute and when it ends, so that little is lost with its machine.

A run whose writer was killed here is newer here than there, and stays as it is, until it has ended on another
machine.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from platformdirs import user_cache_path

from harness.core.errors import StorageError
from harness.store.buckets import Bucket, is_url
from harness.store.files import whole, write_text
from harness.store.run_header import RUN_FILE
from harness.store.run_lock import is_written, was_written

if TYPE_CHECKING:
    from collections.abc import Mapping

MARK = ".bucket"
SEND_EVERY_S = 30.0
# what may be taken from a bucket: a run's files, those of its check, and a run that is a baseline
FILES = re.compile(r"(check/)?[A-Za-z0-9_]+(-\d+)?\.(json|jsonl|parquet)")
RUNS = re.compile(r"(baselines/\w[\w.-]*/)?[A-Za-z0-9][\w.-]*")


def results_folder(results: str | Path) -> Path:
    """The folder of this machine for one of runs, which may be the URL of a bucket. Raises StorageError where
    that cannot be reached."""
    if not is_url(str(results)):
        return Path(results)
    url = str(results).rstrip("/")
    folder = Path(user_cache_path("convscope")) / "buckets" / sha256(url.encode()).hexdigest()[:12]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / MARK, url)
        Mirror(folder, Bucket(url)).look()
    except OSError as error:
        raise StorageError(f"cannot be written: {error.strerror}", where=str(folder)) from None
    return folder


def fetched(run: Path) -> Path:
    """The folder of a run, with all of its files: those that a bucket has and this machine has not are
    copied. Raises StorageError."""
    if mirror := mirror_of(run):
        mirror.fetch(run)
    return run


def sent(run: Path) -> Path:
    """The folder of a run, whose files a bucket has now, if it follows one. Raises StorageError."""
    if upload := upload_of(run):
        upload.send()
    return run


def mirror_of(run: Path) -> Mirror | None:
    """Where a run follows a bucket."""
    for folder in (run.parent, *run.parents[2:3]):  # of a baseline that of results/
        if (folder / MARK).is_file():
            return Mirror(folder, Bucket((folder / MARK).read_text(encoding="utf-8")))
    return None


def upload_of(run: Path) -> Upload | None:
    """What sends a run while it is written, if it follows a bucket."""
    mirror = mirror_of(run)
    return Upload(mirror.bucket, run, mirror.name_of(run)) if mirror else None


@dataclass(frozen=True, slots=True)
class Mirror:
    """A folder of runs that follows one in a bucket."""

    folder: Path
    bucket: Bucket

    def look(self) -> None:
        """Have run.json of every run that is there, and no run that is not."""
        names = [name for name in self.bucket.sizes() if PurePosixPath(name).name == RUN_FILE]
        runs = {name.removesuffix(f"/{RUN_FILE}") for name in names}
        there = {run for run in runs if RUNS.fullmatch(run)}
        kept = [*self.folder.glob(f"*/{RUN_FILE}"), *self.folder.glob(f"baselines/*/*/{RUN_FILE}")]
        for run in (path.parent for path in kept):
            if self.name_of(run) not in there and not was_written(run):
                shutil.rmtree(run)
        for name, content in self.bucket.read(f"{name}/{RUN_FILE}" for name in there).items():
            run = (self.folder / name).parent
            if was_written(run):
                if is_written(run) or _is_running(content):
                    continue
                shutil.rmtree(run)
            keep({name: content}, self.folder)

    def fetch(self, run: Path) -> None:
        """Have all files of a run, and none that is no longer there."""
        if was_written(run):
            return
        name = self.name_of(run)
        there = {path.removeprefix(f"{name}/"): size for path, size in self.bucket.sizes(name).items()}
        there = {file: size for file, size in there.items() if FILES.fullmatch(file)}
        here = {file: (run / file).stat().st_size for file in files_of(run)}
        wanted = [file for file, size in there.items() if here.get(file) != size]
        keep(self.bucket.read(f"{name}/{file}" for file in wanted), self.folder)
        for file in here.keys() - there:
            (run / file).unlink()

    def name_of(self, run: Path) -> str:
        """As the bucket calls it."""
        return run.relative_to(self.folder).as_posix()


@dataclass(slots=True)
class Upload:
    """A run that is sent to a bucket, under a name; what has been sent already is not, until it changes."""

    bucket: Bucket
    run: Path
    name: str
    _kept: dict[str, tuple[int, int]] = field(default_factory=dict)
    _at: float = 0.0

    def now_and_then(self) -> None:
        """Send what has changed, every half minute. A bucket that cannot be reached is tried again then."""
        if time.monotonic() - self._at > SEND_EVERY_S:
            try:
                self.send()
            except StorageError:
                self._at = time.monotonic()

    def send(self) -> None:
        """Send what has changed, what others point to first; then take away there what is gone here. Raises
        StorageError."""
        here = files_of(self.run)
        for file in here:
            stat = (self.run / file).stat()
            stamp = stat.st_size, stat.st_mtime_ns
            if self._kept.get(file) != stamp:
                self.bucket.write(f"{self.name}/{file}", (self.run / file).read_bytes())
                self._kept[file] = stamp
        for path in self.bucket.sizes(self.name):
            if path.removeprefix(f"{self.name}/") not in here:
                self.bucket.delete(path)
        self._at = time.monotonic()


def _is_running(header: bytes) -> bool:
    try:
        return bool(json.loads(header)["state"] == "running")
    except (ValueError, KeyError, TypeError):  # whoever reads it says so
        return True


def files_of(run: Path) -> list[str]:
    """The files of a run, in an order in which a copy that ends anywhere is one that can be read: without
    run.json it is no run, and the journal is emptied into a part that is there before."""
    found = (path.relative_to(run).as_posix() for path in sorted(run.rglob("*")) if path.is_file())
    last = ("journal.jsonl", RUN_FILE)
    return sorted(filter(FILES.fullmatch, found), key=lambda file: last.index(file) if file in last else -1)


def keep(content: Mapping[str, bytes], folder: Path) -> None:
    """Write files, each whole, by name. Raises StorageError."""
    try:
        for name, one in content.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with whole(folder / name, "wb") as file:
                file.write(one)
    except OSError as error:
        raise StorageError(f"cannot be written: {error.strerror}", where=str(folder)) from None
