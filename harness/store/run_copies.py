"""A run as it is copied to a bucket and back. In: the folder of a run, or its URL. Out: the same at the other
end."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

from harness.core.errors import StorageError
from harness.store.buckets import Bucket
from harness.store.mirrors import keep, sent, unsent
from harness.store.run_folder import read_header
from harness.store.run_header import RUN_FILE
from harness.store.uploads import FILES, Upload, say_killed
from harness.store.visit_files import storing

if TYPE_CHECKING:
    from pathlib import Path


def send(run: Path, url: str) -> str:
    """Copy a run into a folder of a bucket; its URL there. A run that was cut short is copied as it is.
    Raises StorageError, also where it went on there."""
    header = read_header(run)
    run_id = header["run_id"]
    if header["state"] == "killed":
        say_killed(run)
    Upload(Bucket(url), run, run_id).send()
    return f"{url.rstrip('/')}/{run_id}"


def bring(url: str, results: Path) -> Path:
    """Copy a run from a bucket into a folder of results; where it lies now. Raises StorageError, also where
    it is there already."""
    run_id = url.rstrip("/").rpartition("/")[2]
    target, partial = results / run_id, results / f".{run_id}.partial"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", run_id):
        raise StorageError(f"{run_id!r} is no name of a run", where=url)
    if target.exists():
        raise StorageError("is there already", where=str(target), hint="Name another folder with --results.")
    bucket = Bucket(url)
    found = bucket.files()
    if RUN_FILE not in found:
        raise StorageError("there is no run", where=url)
    try:
        with storing(target):
            keep(bucket.read(filter(FILES.fullmatch, found)), partial)
            read_header(partial)
            unsent(partial, of=target)
            partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return sent(target)
