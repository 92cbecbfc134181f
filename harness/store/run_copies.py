"""A run as it is copied to a bucket and back, by the URL of a folder there (s3://, gs://, hf://: whatever
fsspec knows). Credentials are found as the client of each does.

In: the folder of a run, or its URL. Out: the same at the other end. run.json comes last: a copy without it is
no run.
"""

from __future__ import annotations

import re
import shutil
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from harness.core.errors import StorageError
from harness.store.run_folder import LOCK_FILE, RUN_FILE, read_header

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# what a run's files may be called, and the folder of its check: nothing else is taken from a bucket
NAMES = re.compile(r"(check/)?[A-Za-z0-9_]+(-\d+)?\.(json|jsonl|parquet)")


def send(run: Path, url: str) -> str:
    """Copy a run into a folder of a bucket; its URL there. A run that was cut short is copied as it is.
    Raises StorageError."""
    run_id = read_header(run)["run_id"]
    names = [path.relative_to(run).as_posix() for path in sorted(run.rglob("*")) if path.is_file()]
    names = [name for name in names if NAMES.fullmatch(name) and name not in (RUN_FILE, LOCK_FILE)]
    with _reaching(url):
        system, root = _system(url)
        for name in (*names, RUN_FILE):
            system.pipe_file(f"{root}/{run_id}/{name}", (run / name).read_bytes())
    return f"{url.rstrip('/')}/{run_id}"


def bring(url: str, results: Path) -> Path:
    """Copy a run from a bucket into a folder of results; where it lies now. Raises StorageError, also where
    it is there already."""
    url = url.rstrip("/")
    run_id = url.rpartition("/")[2]
    target, partial = results / run_id, results / f".{run_id}.partial"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", run_id):
        raise StorageError(f"{run_id!r} is no name of a run", where=url)
    if target.exists():
        raise StorageError("is there already", where=str(target), hint="Name another folder with --results.")
    try:
        with _reaching(url):
            system, root = _system(url)
            found = [str(PurePosixPath(path).relative_to(root)) for path in system.find(root)]
            if RUN_FILE not in found:
                raise StorageError("there is no run", where=url)
            for name in filter(NAMES.fullmatch, found):
                path = partial / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(system.cat_file(f"{root}/{name}"))
            read_header(partial)
            partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def _system(url: str) -> tuple[Any, str]:
    try:
        import fsspec

        system, root = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise StorageError(
            str(error), where=url, hint="pip install 'convscope[store]', and s3fs, gcsfs or huggingface_hub."
        ) from None
    system.invalidate_cache()
    return system, root.rstrip("/")


@contextmanager
def _reaching(url: str) -> Iterator[None]:
    """What the client of a bucket says, as our error: each raises what it likes."""
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        raise StorageError(f"cannot be reached: {error or type(error).__name__}", where=url) from None
