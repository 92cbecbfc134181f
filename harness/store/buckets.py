"""A folder in a bucket, by its URL (s3://, gs://, hf://, memory://: whatever fsspec knows). Credentials are
found as the client of each does."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

URL = re.compile(r"([a-z][a-z0-9+.-]*::)*[a-z][a-z0-9+.-]+://")
# what clients call the moment at which a file was written
MOMENTS = ("LastModified", "last_modified", "updated", "mtime", "modified", "created")


def as_folder(text: str) -> Path | None:
    """The folder of this machine that is meant; None for a bucket's URL."""
    if text.startswith("file://"):
        return Path(text.removeprefix("file://"))
    return None if URL.match(text) else Path(text)


def file_system(url: str) -> tuple[Any, str]:
    """The file system of fsspec, and the path in it. Raises StorageError where nobody knows the scheme."""
    try:
        import fsspec

        system, root = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise StorageError(
            str(error), where=url, hint="pip install 'convscope[store]', and s3fs, gcsfs or huggingface_hub."
        ) from None
    system.invalidate_cache()  # others write there
    return system, root.rstrip("/")


@dataclass(frozen=True, slots=True)
class Stored:
    """A file there: bytes, and when it was written, in seconds since 1970; None where nobody tells."""

    size: int
    at: float | None

    @property
    def stamp(self) -> str:
        """Another one, where the file is another."""
        return f"{self.size} {self.at}"


@dataclass(frozen=True, slots=True)
class Bucket:
    """A folder there. Names are relative to it. Whatever its client raises is a StorageError."""

    url: str

    def files(self, below: str = "") -> dict[str, Stored]:
        """The files below a folder of it, at any depth; none where there is no such folder."""
        with self._reached() as (system, root):
            try:
                found = system.find(f"{root}/{below}".rstrip("/"), detail=True, **_strictly(system))
            except FileNotFoundError:
                found = {}
        return {
            path.removeprefix(f"{root}/"): Stored(int(facts["size"] or 0), _moment(facts))
            for path, facts in found.items()
        }

    def read(self, names: Iterable[str]) -> dict[str, bytes]:
        """What is in some files, by name; all at once where the client can."""
        wanted = list(names)
        if not wanted:
            return {}
        with self._reached() as (system, root):
            found = system.cat([f"{root}/{name}" for name in wanted])
        return {path.removeprefix(f"{root}/"): content for path, content in found.items()}

    def write(self, name: str, content: bytes) -> None:
        """Put a file there, whole or not at all."""
        with self._reached() as (system, root):
            system.pipe_file(f"{root}/{name}", content)

    def delete(self, name: str) -> None:
        """Take a file away."""
        with self._reached() as (system, root):
            system.rm_file(f"{root}/{name}")

    @contextmanager
    def _reached(self) -> Iterator[tuple[Any, str]]:
        try:
            yield file_system(self.url)
        except StorageError:
            raise
        except Exception as error:  # each client raises what it likes
            why = error or type(error).__name__
            raise StorageError(f"cannot be reached: {why}", where=self.url) from None


def _strictly(system: Any) -> dict[str, str]:
    """For fsspec's own walk, which else leaves out what it cannot list; a client that lists by itself
    raises."""
    from fsspec.asyn import AsyncFileSystem
    from fsspec.spec import AbstractFileSystem

    own = getattr(type(system), "_find", type(system).find)
    return {"on_error": "raise"} if own in (AsyncFileSystem._find, AbstractFileSystem.find) else {}


def _moment(facts: Mapping[str, Any]) -> float | None:
    found = next((facts[name] for name in MOMENTS if facts.get(name)), None)
    if isinstance(found, str):
        found = datetime.fromisoformat(found)
    if isinstance(found, datetime):
        return found.timestamp()
    return float(found) if isinstance(found, (int, float)) else None
