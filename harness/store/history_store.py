"""Where history is kept: a folder, or a bucket by its URL, that only ever grows.

    STORE/runs/<run_id>.<digest>.parquet     the rows of one run, as it was added (`history_rows`)
          packs/<digest>.parquet             the rows of many runs: what `pack` made of their files
          blessed/<change>.<digest>.json     a change that was accepted, by whom and why

Two writers never write one name unless they write the same bytes: a name ends with a digest of what is in it.
A file is there whole or not at all: locally it takes its name when all of it is on disk, in a bucket it is a
single PUT, and nothing is ever renamed or changed there. Packing writes the pack first and then deletes what
it read, so whoever dies between leaves rows twice, and readers drop those. A reader whose files were packed
away meanwhile looks again.
"""

from __future__ import annotations

import json
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs
import pyarrow.parquet as pq

from harness.core.errors import StorageError
from harness.store.buckets import as_folder, file_system
from harness.store.files import whole
from harness.store.history_rows import HISTORY_SCHEMA, HISTORY_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

RUNS, PACKS, BLESSED = "runs", "packs", "blessed"
LOOSE = 32  # files of single runs, from which on they are packed: a file costs a reader half a millisecond


@dataclass(frozen=True)
class HistoryStore:
    """A store by its path or URL (s3://, gs://, memory://: whatever fsspec knows). A folder that is not there
    is an empty store. Raises StorageError where it cannot be read or written."""

    url: str

    def add(self, rows: pa.Table) -> str:
        """Keep the rows of one run; the name of their file. It is there whole when this returns. Packs what
        has gathered."""
        content = _as_parquet(rows)
        name = f"{RUNS}/{rows['run_id'][0].as_py()}.{_digest(content)}.parquet"
        with self._storing("written"):
            self._write(name, content)
            loose = self._names(RUNS)
            if len(loose) >= LOOSE:
                self.pack(loose)
        return name

    def pack(self, names: Sequence[str]) -> None:
        """Write the rows of these files as one, then delete them. Whoever else packs them writes the same."""
        with suppress(FileNotFoundError):  # another packer was faster
            content = _as_parquet(self._load(sorted(names)))
            self._write(f"{PACKS}/{_digest(content)}.parquet", content)
            for name in names:
                with suppress(FileNotFoundError):
                    self._delete(name)

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of every run, each once; of a run that was added again, the later ones."""
        wanted = list(columns or HISTORY_SCHEMA.names)
        read = list(dict.fromkeys([*wanted, "run_id", "arm", "case_id", "added_at", "schema"]))
        with self._storing("read"):
            names = self._all_names()
            while True:
                try:
                    return _each_once(self._load(names, read)).select(wanted)
                except FileNotFoundError:  # noqa: PERF203  # a look at a time
                    fresh = self._all_names()
                    if set(names) <= set(fresh):  # listed and not there: no packer took it
                        raise
                    names = fresh

    def _all_names(self) -> list[str]:
        """Loose files first: what a packer deletes meanwhile is in the packs that are listed after."""
        return self._names(RUNS) + self._names(PACKS)

    def bless(self, change: str, about: dict[str, Any]) -> None:
        """Keep that a change was accepted."""
        content = json.dumps(about, indent=1, allow_nan=False).encode()
        with self._storing("written"):
            self._write(f"{BLESSED}/{change}.{_digest(content)}.json", content)

    def blessed(self) -> list[dict[str, Any]]:
        """Every change that was accepted, as `bless` was given it."""
        with self._storing("read"):
            return [json.loads(self._read(name)) for name in self._names(BLESSED)]

    def _load(self, names: Sequence[str], columns: Sequence[str] | None = None) -> pa.Table:
        if not names:
            return HISTORY_SCHEMA.empty_table().select(list(columns or HISTORY_SCHEMA.names))
        files = ds.dataset(
            [self._path(name) for name in names],
            schema=HISTORY_SCHEMA,
            format="parquet",
            filesystem=self._arrow,
        )
        return files.to_table(columns=columns)

    # The three things that a folder and a bucket do differently.

    @property
    def _local(self) -> Path | None:
        """The folder; None for a bucket."""
        return as_folder(self.url)

    @property
    def _remote(self) -> Any:
        """The file system of fsspec and the path in it."""
        return file_system(self.url)

    @property
    def _arrow(self) -> Any:
        if self._local is not None:
            return pa.fs.LocalFileSystem()
        return pa.fs.PyFileSystem(pa.fs.FSSpecHandler(self._remote[0]))

    def _path(self, name: str) -> str:
        return str(self._local / name) if self._local is not None else f"{self._remote[1]}/{name}"

    def _names(self, room: str) -> list[str]:
        """The files of a room, sorted; hidden ones are not whole yet."""
        if self._local is not None:
            paths: list[str] = [str(path) for path in (self._local / room).glob("[!.]*")]
        else:
            system, root = self._remote
            system.invalidate_cache()
            try:
                paths = system.ls(f"{root}/{room}", detail=False)
            except FileNotFoundError:
                paths = []
        return sorted(f"{room}/{path.rpartition('/')[2]}" for path in paths if not path.endswith("/"))

    def _write(self, name: str, content: bytes) -> None:
        if self._local is None:
            self._remote[0].pipe_file(self._path(name), content)
            return
        path = self._local / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path, "wb") as file:
            file.write(content)

    def _read(self, name: str) -> bytes:
        if self._local is not None:
            return (self._local / name).read_bytes()
        content: bytes = self._remote[0].cat_file(self._path(name))
        return content

    def _delete(self, name: str) -> None:
        if self._local is not None:
            (self._local / name).unlink()
        else:
            self._remote[0].rm_file(self._path(name))

    @contextmanager
    def _storing(self, how: str) -> Iterator[None]:
        """What the system or a bucket says, as our error."""
        try:
            yield
        except StorageError:
            raise
        except Exception as error:
            ours = isinstance(error, (OSError, ValueError, pa.ArrowException))
            if not ours and self._local is not None:  # the client of a bucket raises what it likes
                raise
            raise StorageError(
                f"the store cannot be {how}: {error}", where=self.url, hint="Name another with --store."
            ) from None


def _each_once(rows: pa.Table) -> pa.Table:
    """Without what a run was added before, and without what a packer that died left twice. Raises
    StorageError for rows of a newer program."""
    newest = pc.max(rows["schema"]).as_py() or 0
    if newest > HISTORY_VERSION:
        raise StorageError(
            f"holds rows of version {newest}, this convscope knows {HISTORY_VERSION}",
            where="store",
            hint="Upgrade convscope.",
        )
    keys = rows.select(["run_id", "added_at"]).to_pandas()
    latest = keys.groupby("run_id", observed=True)["added_at"].transform("max")
    if not (kept := keys["added_at"] == latest).all():
        rows = rows.filter(pa.array(kept))
    keys = rows.select(["run_id", "arm", "case_id"]).to_pandas()
    twice = keys.duplicated()
    return rows.filter(pa.array(~twice)) if twice.any() else rows


def _as_parquet(rows: pa.Table) -> bytes:
    """The same rows give the same bytes."""
    buffer = pa.BufferOutputStream()
    pq.write_table(rows.cast(HISTORY_SCHEMA), buffer, compression="zstd")
    content: bytes = buffer.getvalue().to_pybytes()
    return content


def _digest(content: bytes) -> str:
    return sha256(content).hexdigest()[:12]
