"""A child that does one thing and ends, and the parent that relays for it.

The worker imports torch and computes nothing, so a forked child starts warm (15 to 40 ms against 1.5 s for a
fresh interpreter) and still has a heap, threads and counters of its own. Its crash, leak or endless loop dies
with it. The parent alone writes to the planner, so that a child killed in the middle of a line cannot spoil
the protocol.
"""

from __future__ import annotations

import ctypes
import gc
import os
import select
import signal
import sys
import time
from typing import TYPE_CHECKING

from harness.core.protocol import PARTNER, Channel, ChannelClosed, Message
from harness.worker.correctness import Incorrect
from harness.worker.environment import NotSupported
from harness.worker.visit import Dropped, OutOfTime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Work = Callable[[Channel], dict[str, object]]

PR_SET_PDEATHSIG = 1  # linux/prctl.h
WAITS = ("ready", "turned")  # what a child says before it waits for its turn
END_LIMIT_S = 0.5  # for a process that closed its pipe
OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "not enough memory", "cannot allocate memory")


def attempt(work: Work, link: Channel) -> Message:
    """Do the work in this process; whatever it raises becomes a status."""
    try:
        return {"status": "ok", "values": work(link)}
    except NotSupported as error:
        return {"status": "skipped", "message": str(error)}
    except Dropped as error:
        return {"status": "skipped", "message": f"{PARTNER}{error}"}
    except Incorrect as error:
        return {"status": "incorrect", "message": str(error)}
    except OutOfTime as error:
        return {"status": "timeout", "message": str(error)}
    except (Exception, SystemExit) as error:  # whatever a case raises is a result
        memory = isinstance(error, MemoryError) or any(text in str(error).lower() for text in OUT_OF_MEMORY)
        status = "out_of_memory" if memory else "error"
        return {
            "status": status,
            "error_type": type(error).__name__,
            "message": str(error)[:2000] or type(error).__name__,
        }


class Child:
    """A forked process that does one thing: passed messages, stopped while it waits, and reaped.

    Stopped, none of its threads runs: those of OpenMP else spin for milliseconds after a call, on processors
    that another child measures on. `active_s`: seconds from its start to its end, without those that it was
    stopped for. `apart`: channels that are not its own.
    """

    def __init__(self, work: Work, apart: Iterable[Channel]) -> None:
        self.active_s = 0.0
        self._since = time.perf_counter()
        self._pid, self.link = _start(work, apart)
        self.outcome: Message | None = None
        self._ends_by_itself = False

    def take(self, timeout_s: float | None = None) -> Message:
        """Its next message. Raises ChannelClosed where it ended without one, ChannelTimeout where none came
        within the time."""
        try:
            message = self.link.receive(timeout_s)
        except ChannelClosed:
            self._ends_by_itself = True
            raise
        if message["is"] == "done":
            self.outcome = message
        return message

    def stop(self) -> None:
        """Until `go_on`."""
        os.kill(self._pid, signal.SIGSTOP)
        self.active_s += time.perf_counter() - self._since

    def go_on(self) -> None:
        """After `stop`."""
        self._since = time.perf_counter()
        os.kill(self._pid, signal.SIGCONT)

    def end(self) -> Message:
        """What it came to, with its `wall_s`, once it is reaped; one that has not said so is ended by force
        if it does not end itself."""
        self.link.close()
        if self.outcome is None:
            reaped, status = self._reaped(END_LIMIT_S if self._ends_by_itself else 0.0)
        else:
            reaped, status = os.waitpid(self._pid, 0)
        if not reaped:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            return {"status": "crashed", "message": "the process gave no answer, and was ended"}
        if self.outcome is None:
            return {"status": "crashed", "message": _death(status)}
        self.outcome.get("values", {})["wall_s"] = self.active_s + time.perf_counter() - self._since
        return self.outcome

    def _reaped(self, limit_s: float) -> tuple[int, int]:
        """As waitpid, which has no limit: a process closes its pipe a moment before it can be reaped."""
        ends = time.monotonic() + limit_s
        while True:
            reaped, status = os.waitpid(self._pid, os.WNOHANG)
            if reaped or time.monotonic() >= ends:
                return reaped, status
            time.sleep(END_LIMIT_S / 100)


def in_child(work: Work, planner: Channel) -> Message:
    """Do the work in a child, pass messages both ways, stop it while it waits for its turn, and return what
    it came to once it has ended.

    Raises ChannelClosed when the planner is gone.
    """
    child = Child(work, [planner])
    try:
        # until it says what it came to: a process that a kernel forked may hold the pipe for longer
        while child.outcome is None:
            said = child.link.has_message
            readable = [] if said else select.select([child.link.read_fd, planner.read_fd], [], [])[0]
            if planner.read_fd in readable:
                message = planner.receive()
                if message["do"] == "drop":
                    return {"status": "skipped", "message": f"{PARTNER}{message.get('why', 'gone')}"}
                child.go_on()
                child.link.send(message)
            if said or child.link.read_fd in readable:
                message = child.take()
                if message["is"] in WAITS:
                    child.stop()
                if message["is"] != "done":
                    planner.send(message)
    except ChannelClosed:
        if child.outcome is None and _gone(planner):
            raise
    finally:
        ended = child.end()
    return ended


def _start(work: Work, apart: Iterable[Channel]) -> tuple[int, Channel]:
    down_read, down_write = os.pipe()
    up_read, up_write = os.pipe()
    parent = os.getpid()
    gc.freeze()  # a collection in the child would touch, and so copy, every page of what torch's import left
    pid = os.fork()
    if pid:
        os.close(down_read)
        os.close(up_write)
        return pid, Channel(up_read, down_write)
    code = 1
    try:
        os.close(down_write)
        os.close(up_read)
        for channel in apart:
            channel.close()
        _die_with(parent)
        link = Channel(down_read, up_write)
        link.send({"is": "done", **attempt(work, link)})
        code = 0
    finally:
        os._exit(code)


def _die_with(parent: int) -> None:
    """Have Linux end this process when its parent ends: stopped, it would never find out."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def _gone(planner: Channel) -> bool:
    """Whether the planner's end is closed: readable, with nothing to read."""
    readable, _, _ = select.select([planner.read_fd], [], [], 0)
    return bool(readable)


def _death(status: int) -> str:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        hint = " (out of memory?)" if number == signal.SIGKILL else ""
        return f"the process was killed by {signal.Signals(number).name}{hint}"
    return f"the process ended with exit code {os.waitstatus_to_exitcode(status)} and no answer"
