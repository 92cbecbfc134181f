"""The page on what can go wrong, and what no other file of tests has of it: a disk that fills up."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest

from harness import load_results
from harness.core import errors
from tests.conftest import Convscope, Stub

PAGE = Path(__file__).parents[1] / "docs" / "faults.md"


def test_every_exit_code_of_an_error_has_a_row_on_the_page_of_faults() -> None:
    rows = re.findall(r"^\|.*\|(.*)\|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    told = {int(code) for row in rows for code in re.findall(r"\d+", row)}
    ours = {
        kind.code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.ConvscopeError)
    }
    assert told == ours | {0, 141}


def test_a_disk_that_fills_up_ends_a_run_which_goes_on_when_there_is_room(
    convscope: Convscope, suite: Path, stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync, left = os.fsync, iter(range(10))

    def full(file: int) -> None:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(file)

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        ended = convscope("run", suite, "--python", stub({"spread": 0}))
    assert ended.code == 2
    assert "cannot be written: No space left on device" in ended.err
    kept = load_results("last", results=tmp_path / "results").visits
    assert 0 < len(kept) < 18
    assert convscope("run", "--resume", "last").code == 0
    visits = load_results("last", results=tmp_path / "results").visits
    assert visits.groupby("case_id").size().tolist() == [3] * 6
