"""A run that is sent to a bucket: all of it at once, or while it is measured.

In: the folder of a run. Out: its files in the bucket, in an order in which a copy that ends anywhere can be
read. A run is marked unsent before its first byte, and until all of it was sent.
"""

from __future__ import annotations

import json
import re
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from harness.core.errors import StorageError
from harness.store.files import write_text
from harness.store.run_header import RUN_FILE
from harness.store.visit_files import JOURNAL_FILE, MEASUREMENTS_FILE, storing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.store.buckets import Bucket

THERE, UNSENT = ".there.json", ".unsent"  # what the bucket had, by file; it may lack something
SEND_EVERY_S = 30.0
# what may be taken from a bucket: a run's files, and those of its check
FILES = re.compile(r"(check/)?[A-Za-z0-9_]+(-\d+)?\.(json|jsonl|parquet)")
PART = re.compile(r"(check/)?part-\d+\.parquet")


@dataclass(slots=True)
class Upload:
    """A run that is sent to a bucket, under a name; what has been sent already is not, until it changes."""

    bucket: Bucket
    run: Path
    name: str
    _kept: dict[str, tuple[int, int]] = field(default_factory=dict)
    _at: float = 0.0

    def begin(self) -> None:
        """Mark it unsent. What the bucket had when this machine last looked is not sent again."""
        (self.run / UNSENT).touch()
        known = remembered(self.run)
        for file in files_of(self.run):
            stamp = self._stamp(file)
            if known.get(file, "").partition(" ")[0] == str(stamp[0]):
                self._kept[file] = stamp

    def now_and_then(self) -> None:
        """Send what has changed, every half minute, between measurements: a thread would disturb them. A
        bucket that cannot be reached is tried again then."""
        if time.monotonic() - self._at > SEND_EVERY_S:
            with suppress(StorageError):
                self.send()
            self._at = time.monotonic()

    def send(self) -> None:
        """Send what has changed, what others point to first; then take away there the parts that became one
        file here. Raises StorageError."""
        require_older(self.bucket, self.name, self.run)
        with storing(self.run):
            here = files_of(self.run)
            for file in here:
                stamp = self._stamp(file)
                if self._kept.get(file) != stamp:
                    self.bucket.write(f"{self.name}/{file}", (self.run / file).read_bytes())
                    self._kept[file] = stamp
        stored = self.bucket.files(self.name)
        there = {path.removeprefix(f"{self.name}/"): one for path, one in stored.items()}
        for file in there:
            if PART.fullmatch(file) and file not in here and MEASUREMENTS_FILE in here:
                self.bucket.delete(f"{self.name}/{file}")
        if (self.run / UNSENT).exists():
            remember(self.run, {file: there[file].stamp for file in here if file in there})
        self._at = time.monotonic()

    def finish(self) -> None:
        """Send all of it. Raises StorageError, which says where it is kept."""
        try:
            self.send()
        except StorageError as error:
            hint = f"Kept in {self.run}; the next command with this bucket sends it. {error.hint}".strip()
            raise StorageError(error.what, where=error.where, hint=hint) from None
        (self.run / UNSENT).unlink(missing_ok=True)

    def _stamp(self, file: str) -> tuple[int, int]:
        stat = (self.run / file).stat()
        return stat.st_size, stat.st_mtime_ns


def require_older(bucket: Bucket, name: str, run: Path) -> None:
    """Raises StorageError where a run went on in a bucket, and not here: what this machine has would replace
    it."""
    path = f"{name}/{RUN_FILE}"
    if not (run / RUN_FILE).is_file() or path not in bucket.files(name):
        return
    here = _resumed((run / RUN_FILE).read_bytes())
    there = _resumed(bucket.read([path])[path])
    if here[: len(there)] != there:
        raise StorageError(
            "has gone on on another machine, and some of it is here alone",
            where=str(run),
            hint=f"Copy this folder if you need it. Once its {UNSENT} is deleted, the bucket's run is taken.",
        )


def files_of(run: Path) -> list[str]:
    """The files of a run, in an order in which a copy that ends anywhere is one that can be read: without
    run.json it is no run, and the journal is emptied into a part that is there before."""
    found = (path.relative_to(run).as_posix() for path in sorted(run.rglob("*")) if path.is_file())
    last = (JOURNAL_FILE, RUN_FILE)

    def place(file: str) -> int:
        name = PurePosixPath(file).name
        return last.index(name) if name in last else -1

    return sorted(filter(FILES.fullmatch, found), key=place)


def remembered(run: Path) -> dict[str, str]:
    """What the bucket had of a run, when this machine last looked; nothing where that cannot be read."""
    with suppress(OSError, ValueError):
        found = json.loads((run / THERE).read_bytes())
        return {str(name): str(stamp) for name, stamp in found.items()}
    return {}


def remember(run: Path, stamps: Mapping[str, str]) -> None:
    with storing(run):
        write_text(run / THERE, json.dumps({**remembered(run), **stamps}))


def say_killed(run: Path) -> None:
    """Have run.json say so of a run whose writer is gone: else others take it for one that is measured."""
    with suppress(OSError, ValueError, AttributeError):
        header = json.loads((run / RUN_FILE).read_bytes())
        if header.get("state") == "running":
            write_text(run / RUN_FILE, json.dumps(header | {"state": "killed"}, indent=1) + "\n")


def _resumed(header: bytes) -> list[Any]:
    """When a run was resumed, of its run.json; whoever reads it says what is wrong with it."""
    with suppress(ValueError, AttributeError):
        found = json.loads(header).get("resumed_at") or []
        return found if isinstance(found, list) else []
    return []
