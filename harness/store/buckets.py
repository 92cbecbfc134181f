"""A folder in a bucket, by its URL (s3://, gs://, hf://, memory://: whatever fsspec knows). Credentials are
found as the client of each does."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.core.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://")


def is_url(text: str) -> bool:
    """Whether it names a bucket and no folder of this machine."""
    return bool(SCHEME.match(text)) and not text.startswith("file://")


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
class Bucket:
    """A folder there. Names are relative to it. Whatever its client raises is a StorageError."""

    url: str

    def sizes(self, below: str = "") -> dict[str, int]:
        """The files below a folder of it, at any depth, each with its size in bytes; none where there is no
        such folder."""
        with self._reached() as (system, root):
            found = system.find(f"{root}/{below}".rstrip("/"), detail=True)
        return {path.removeprefix(f"{root}/"): int(facts["size"] or 0) for path, facts in found.items()}

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
            raise StorageError(
                f"cannot be reached: {error or type(error).__name__}", where=self.url
            ) from None
