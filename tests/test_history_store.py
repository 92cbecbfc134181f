"""The store of many runs: nothing lost and nothing half seen, whoever writes beside whom and dies when."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.core.errors import StorageError
from harness.store.history_rows import HISTORY_SCHEMA
from harness.store.history_store import LOOSE, PACKS, RUNS, HistoryStore
from tests.made_history import CASES, commit, fill, rows

WRITER = """
import sys
from harness.store.history_store import HistoryStore
from tests.made_history import rows
for number in range(int(sys.argv[2]), int(sys.argv[3])):
    HistoryStore(sys.argv[1]).add(rows(number, [1.0, 1.0, 1.0]))
    print(number, flush=True)
"""
ROOT = Path(__file__).parents[1]


def seen(store: HistoryStore) -> list[str]:
    """The commits in a store, each with all of its cases, or the test fails."""
    found = store.read(["commit"]).to_pandas()["commit"].astype(str).value_counts()
    assert set(found) <= {len(CASES)}
    return sorted(found.index)


def writer(store: Path, first: int, last: int) -> subprocess.Popen[str]:
    """A process that adds these runs, and says a number for each that it has added."""
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(store), str(first), str(last)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("scheme", ["", "memory://"])
def test_what_was_added_is_read_and_adding_it_again_changes_nothing(tmp_path: Path, scheme: str) -> None:
    store = fill(f"{scheme}{tmp_path}/store", 3, apart=True)
    assert seen(store) == [commit(number) for number in range(3)]
    store.add(rows(1, [1.0, 1.0, 1.0]))
    assert seen(store) == [commit(number) for number in range(3)]
    assert store.read().schema.equals(HISTORY_SCHEMA)


@pytest.mark.parametrize("scheme", ["", "memory://"])
def test_many_runs_are_packed_and_still_there(tmp_path: Path, scheme: str) -> None:
    store = fill(f"{scheme}{tmp_path}/store", LOOSE + 5, apart=True)
    assert len(seen(store)) == LOOSE + 5
    assert (len(store._names(PACKS)), len(store._names(RUNS))) == (1, 5)


def test_of_a_run_that_was_added_again_the_later_rows_count_packed_or_not(tmp_path: Path) -> None:
    store = fill(str(tmp_path), LOOSE, apart=True)
    again = rows(3, [2.0, 2.0, 2.0], added_at=rows(9, [1, 1, 1])["added_at"][0].as_py())
    store.add(again)
    found = store.read().to_pandas()
    assert set(found.loc[found["commit"] == commit(3), "ratio"]) == {2.0}
    store.pack(store._names(RUNS))
    assert store.read().num_rows == len(CASES) * LOOSE


def test_a_packer_that_died_before_it_deleted_leaves_no_row_twice(tmp_path: Path) -> None:
    store = fill(str(tmp_path), 6, apart=True)
    files = {path: path.read_bytes() for path in (tmp_path / RUNS).iterdir()}
    store.pack(store._names(RUNS))
    for path, content in list(files.items())[2:]:  # these it did not come to
        path.write_bytes(content)
    assert seen(store) == [commit(number) for number in range(6)]
    store.pack(store._names(RUNS))  # the next one takes them again
    assert seen(store) == [commit(number) for number in range(6)]


def test_a_reader_looks_again_for_as_long_as_a_packer_takes_files_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A packer deletes file by file, and a reader may meet a deletion with every look."""
    store = fill(str(tmp_path), 12, apart=True)
    listed, read_by_others = HistoryStore._names, HistoryStore(str(tmp_path))

    def overtaken(self: HistoryStore, room: str) -> list[str]:
        names = listed(self, room)
        if self is store and room == RUNS and len(names) > 1:
            read_by_others.pack(names[:1])
        return names

    monkeypatch.setattr(HistoryStore, "_names", overtaken)
    assert seen(store) == [commit(number) for number in range(12)]


def test_a_file_that_is_listed_and_cannot_be_found_is_said(tmp_path: Path) -> None:
    store = fill(str(tmp_path), 2, apart=True)
    (tmp_path / RUNS / "lost.parquet").symlink_to(tmp_path / "nowhere")
    with pytest.raises(StorageError, match="cannot be read"):
        store.read()


def test_two_writers_at_once_lose_nothing_and_a_reader_sees_whole_runs(tmp_path: Path) -> None:
    count = LOOSE + 8
    store = HistoryStore(str(tmp_path))
    with writer(tmp_path, 0, count) as one, writer(tmp_path, 1000, 1000 + count) as other:
        while one.poll() is None or other.poll() is None:
            seen(store)
    assert (one.returncode, other.returncode) == (0, 0)
    assert seen(store) == [commit(first + number) for first in (0, 1000) for number in range(count)]


@pytest.mark.parametrize("adds", [1, LOOSE - 2])
def test_whoever_is_killed_loses_no_run_that_was_added(tmp_path: Path, adds: int) -> None:
    """kill -9 amid an addition, and about when a packing begins."""
    with writer(tmp_path, 0, 1000) as process:
        assert process.stdout
        added = [int(process.stdout.readline()) for _ in range(adds)]
        process.send_signal(signal.SIGKILL)
        added += [int(line) for line in process.stdout.read().split()]
    store = HistoryStore(str(tmp_path))
    kept = seen(store)
    assert set(kept) >= {commit(number) for number in added}
    assert len(kept) <= len(added) + 1
    fill(str(tmp_path), LOOSE + 2, first=2000, apart=True)  # and whoever comes later is not disturbed
    assert set(seen(store)) >= {*kept, *(commit(number) for number in range(2000, 2000 + LOOSE + 2))}


def test_an_empty_folder_is_an_empty_store_and_a_broken_file_is_said(tmp_path: Path) -> None:
    store = HistoryStore(str(tmp_path / "none"))
    assert store.read().num_rows == 0
    assert store.blessed() == []
    fill(str(tmp_path / "none"), 1, apart=True)
    (tmp_path / "none" / RUNS / "torn.parquet").write_bytes(b"PAR1")
    with pytest.raises(StorageError, match="cannot be read"):
        store.read()


def test_a_file_where_the_store_should_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("", encoding="utf-8")
    with pytest.raises(StorageError, match="cannot be written"):
        fill(str(tmp_path / "store"), 1, apart=True)


def test_a_store_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    HistoryStore(str(tmp_path)).add(rows(0, [1.0, 1.0, 1.0], schema=2))
    with pytest.raises(StorageError, match="version 2") as refused:
        HistoryStore(str(tmp_path)).read()
    assert "Upgrade" in refused.value.hint


def test_an_unknown_kind_of_url_is_said_with_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as refused:
        HistoryStore("nowhere://bucket/history").read()
    assert "convscope[store]" in refused.value.hint


def test_a_bucket_takes_two_writers_and_packs(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[1])  # where the writers find `fill`
    url = f"{bucket}/history"
    writers = [
        multiprocessing.get_context("spawn").Process(
            target=fill, args=(url, LOOSE), kwargs={"first": first, "apart": True}
        )
        for first in (0, 1000)
    ]
    for one in writers:
        one.start()
    began = time.monotonic()
    while any(one.is_alive() for one in writers) and time.monotonic() - began < 120:
        seen(HistoryStore(url))
    for one in writers:
        one.join()
    store = HistoryStore(url)
    assert seen(store) == [commit(first + number) for first in (0, 1000) for number in range(LOOSE)]
    assert store._names(PACKS)
