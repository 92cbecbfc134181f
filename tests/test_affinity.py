"""Threads that have a processor each, for a while."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

import pytest

from harness.worker.affinity import a_processor_each

pytestmark = pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="no schedstat here")


def processors_of_threads() -> dict[int, set[int]]:
    """Of this process, by thread; those of other tests may end meanwhile."""
    found: dict[int, set[int]] = {}
    for path in Path("/proc/self/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            found[int(path.name)] = os.sched_getaffinity(int(path.name))
    return found


def test_the_threads_that_compute_have_a_processor_each_and_are_free_again_afterwards() -> None:
    processors = os.sched_getaffinity(0)
    end = threading.Event()

    def compute() -> None:
        while not end.is_set():
            pass

    computing = [threading.Thread(target=compute) for _ in range(len(processors) - 1)]
    for thread in computing:
        thread.start()
    with a_processor_each(len(processors)) as bound:
        held = [mine for mine in processors_of_threads().values() if len(mine) == 1]
    after = processors_of_threads()
    end.set()
    for thread in computing:
        thread.join()
    if len(processors) == 1:
        assert not bound
    else:
        assert bound
        assert set[int]().union(*held) == processors
        assert len(held) == len(processors)
    assert all(mine == processors for mine in after.values())


def test_threads_are_free_again_after_an_error_and_so_are_those_started_meanwhile() -> None:
    processors = os.sched_getaffinity(0)
    end = threading.Event()
    other = threading.Thread(target=end.wait)
    other.start()  # two threads, where there are two processors
    later = threading.Thread(target=end.wait)
    with pytest.raises(KeyError), a_processor_each(len(processors)):
        later.start()
        raise KeyError
    assert all(mine == processors for mine in processors_of_threads().values())
    end.set()
    for thread in (other, later):
        thread.join()


@pytest.mark.parametrize("threads", [0, 1, 10_000])
def test_another_number_of_threads_than_of_processors_is_left_alone(threads: int) -> None:
    processors = os.sched_getaffinity(0)
    with a_processor_each(threads) as bound:
        assert not bound
        assert all(mine == processors for mine in processors_of_threads().values())
