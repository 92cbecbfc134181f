"""A child that does one thing and ends, and the parent that relays for it.

The worker imports torch and computes nothing, so a forked child starts warm (15 to 40 ms against 1.5 s for a fresh interpreter)
and still has a heap, threads and counters of its own. Its crash, leak or endless loop dies with it. The parent alone writes to
the planner, so that a child killed in the middle of a line cannot spoil the protocol.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import time
from typing import TYPE_CHECKING

from harness.protocol import Channel, ChannelClosed, Message
from harness.worker.environment import NotSupported
from harness.worker.visit import Dropped, Incorrect, OutOfTime

if TYPE_CHECKING:
    from collections.abc import Callable

    Work = Callable[[Channel], dict[str, object]]

OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "not enough memory", "cannot allocate memory")


def attempt(work: Work, link: Channel) -> Message:
    """Do the work in this process; whatever it raises becomes a status."""
    try:
        return {"status": "ok", "values": work(link)}
    except NotSupported as error:
        return {"status": "skipped", "message": str(error)}
    except Dropped as error:
        return {"status": "skipped", "message": f"partner {error}"}
    except Incorrect as error:
        return {"status": "incorrect", "message": str(error)}
    except OutOfTime as error:
        return {"status": "timeout", "message": str(error)}
    except Exception as error:  # whatever a case raises is a result
        memory = isinstance(error, MemoryError) or any(text in str(error).lower() for text in OUT_OF_MEMORY)
        status = "out_of_memory" if memory else "error"
        return {"status": status, "error_type": type(error).__name__, "message": str(error)[:2000]}


def in_child(work: Work, planner: Channel) -> Message:
    """Do the work in a forked child, pass messages both ways, and return what it came to once it has ended.

    `wall_s` in the values counts from before the fork to after the end. Raises ChannelClosed when the planner is gone.
    """
    began = time.perf_counter()
    pid, link = _start(work, planner)
    outcome: Message | None = None
    try:
        while True:
            readable, _, _ = select.select([link.read_fd, planner.read_fd], [], [])
            if planner.read_fd in readable:
                message = planner.receive()
                if message["do"] == "drop":
                    return {"status": "skipped", "message": f"partner {message.get('why', 'gone')}"}
                link.send(message)
            if link.read_fd in readable:
                message = link.receive()
                if message["is"] == "done":
                    outcome = message
                else:
                    planner.send(message)
    except ChannelClosed:
        if outcome is None and _gone(planner):
            raise
    finally:
        status = _end(pid, link, kill=outcome is None)
    if outcome is None:
        return {"status": "crashed", "message": _death(status)}
    outcome.get("values", {})["wall_s"] = time.perf_counter() - began
    return outcome


def _start(work: Work, planner: Channel) -> tuple[int, Channel]:
    down_read, down_write = os.pipe()
    up_read, up_write = os.pipe()
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
        planner.close()
        link = Channel(down_read, up_write)
        link.send({"is": "done", **attempt(work, link)})
        code = 0
    finally:
        os._exit(code)


def _end(pid: int, link: Channel, *, kill: bool) -> int:
    """Close the link and reap the child; its wait status. A child that has not answered by now is ended by force if it does not end itself."""
    link.close()
    reaped, status = os.waitpid(pid, os.WNOHANG) if kill else os.waitpid(pid, 0)
    if not reaped:
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    return status


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
