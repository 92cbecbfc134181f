"""The planner's end of the pipe: a worker started in any interpreter, asked, waited for, and ended.

In: the path of an interpreter. Out: its answers, or one of two errors: it did not answer in time, or it is
gone. The interpreter needs torch and nothing of ours: a bootstrap of a few lines registers the package by its
folder, so that the planner's own site-packages stay hidden from it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core import protocol
from harness.core.errors import InterpreterError
from harness.core.protocol import Channel, ChannelClosed, ChannelTimeout, Message, NotAMessage
from harness.core.shapes import DEVICE, ENVIRONMENT, faults

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.core.policy import Policy

BOOTSTRAP = """
import importlib.util, runpy, sys
folder = sys.argv.pop(1)
if sys.path[0] == "":
    sys.path.append(sys.path.pop(0))  # an implementation may lie in the current folder, but nothing there may stand in for torch
spec = importlib.util.spec_from_file_location("harness", folder + "/__init__.py", submodule_search_locations=[folder])
sys.modules["harness"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["harness"])
runpy.run_module("harness.worker", run_name="__main__", alter_sys=True)
"""
START_LIMIT_S = 180.0  # importing a CUDA build of torch from a cold disk takes a minute
QUIT_LIMIT_S = 10.0
ALLOCATOR_VARIABLES = ("MALLOC_", "GLIBC_TUNABLES")


def default_python() -> str:
    """The interpreter that is measured unless another is named: CONVSCOPE_PYTHON, else this one."""
    return os.environ.get("CONVSCOPE_PYTHON") or sys.executable


class WorkerTimeout(Exception):
    """The worker did not answer within the limit; it has been ended."""


class WorkerGone(Exception):
    """The worker ended, or answered with something that is no message. The text says how."""


@dataclass(frozen=True)
class Hello:
    """What a worker says of itself: its environment's facts, its devices, and why others that are there
    cannot be used."""

    environment: dict[str, Any]
    devices: list[dict[str, Any]]
    message: str = ""

    @property
    def device_types(self) -> set[str]:
        """The types of device that it can measure on."""
        return {device["type"] for device in self.devices}


class WorkerProcess:
    """A running worker. A context manager: leaving it ends the worker."""

    def __init__(self, python: str) -> None:
        self.python = python
        self._log = tempfile.TemporaryFile("w+b")  # noqa: SIM115  # lives as long as the worker
        variables = {
            name: value for name, value in os.environ.items() if not name.startswith(ALLOCATOR_VARIABLES)
        }
        if not variables.get("OMP_NUM_THREADS"):  # empty is as good as none, and libgomp warns of it
            variables.pop("OMP_NUM_THREADS", None)
        try:
            self._process = subprocess.Popen(
                [python, "-c", BOOTSTRAP, str(Path(__file__).parents[1])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                env=variables,
                start_new_session=True,  # Ctrl-C reaches the planner alone, which then decides
            )
        except OSError as error:
            self._log.close()
            raise InterpreterError(
                f"cannot be started: {error.strerror}",
                where=python,
                hint="Name a Python with torch: --python PATH",
            ) from None
        assert self._process.stdin and self._process.stdout
        self._channel = Channel(self._process.stdout.fileno(), self._process.stdin.fileno())

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.quit()
        else:
            self.kill()

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def hello(self, *, devices: bool = True) -> Hello:
        """Greet it; `devices`: have it look for accelerators, which starts and ends a context on each. Raises
        InterpreterError where no worker comes up or its protocol is another."""
        hint = "Name a Python with torch: --python PATH"
        try:
            self._channel.send({"do": "hello", "protocol": protocol.VERSION, "devices": devices})
            answer = self._channel.receive(START_LIMIT_S)
        except (ChannelTimeout, ChannelClosed, NotAMessage) as error:
            reason = (
                f"no answer within {START_LIMIT_S:.0f} s"
                if isinstance(error, ChannelTimeout)
                else self._log_tail() or "no worker came up"
            )
            self.kill()
            raise InterpreterError(reason, where=self.python, hint=hint) from None
        if _greets(answer):
            found = [
                {"index": None} | {name: value for name, value in device.items() if value is not None}
                for device in answer["devices"]
            ]
            return Hello(answer["environment"], found, str(answer.get("message") or ""))
        self.kill()
        what = str(
            answer.get("message")
            or f"is no worker of protocol {protocol.VERSION}: it answered {str(answer)[:80]}"
        )
        raise InterpreterError(what, where=self.python, hint=hint)

    def configure(self, device: str, seed: int, policy: Policy) -> None:
        """Say what holds for every request that follows."""
        self._send({"do": "configure", "device": device, "seed": seed, "policy": policy.as_message()})

    def ask(
        self, request: Message, limit_s: float, on_progress: Callable[[Message], None] = lambda _: None
    ) -> Message:
        """Send a request and wait for its `ready`, `turned` or `done`. Raises WorkerTimeout after `limit_s`
        seconds, however often it says how far it is, and WorkerGone."""
        self._send(request)
        ends = time.monotonic() + limit_s
        while True:
            try:
                answer = protocol.checked(self._channel.receive(max(ends - time.monotonic(), 0.0)))
            except ChannelTimeout:
                self.kill()
                raise WorkerTimeout(f"no answer within {limit_s:g} s") from None
            except ChannelClosed:
                raise self._gone() from None
            except NotAMessage as error:
                self.kill()
                raise WorkerGone(f"the worker answered with something that is no message: {error}") from None
            if answer.get("is") != "progress":
                return answer
            on_progress(answer)

    def quit(self) -> None:
        """Ask it to end, and end it where it does not."""
        if not self.alive:
            return self.kill()
        with contextlib.suppress(ChannelClosed, ChannelTimeout, NotAMessage):
            self._channel.send({"do": "quit"})
            while True:  # its end closes the pipe
                self._channel.receive(QUIT_LIMIT_S)
        return self.kill()

    def kill(self) -> None:
        """End it and all its children now; safe to call twice."""
        if self._process.returncode is None:  # not yet reaped: the number is still its own
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            if stream:
                with contextlib.suppress(OSError):
                    stream.close()

    def _log_tail(self) -> str:
        """The last line that it wrote to its log; empty once it has been ended."""
        if self._log.closed:
            return ""
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def _send(self, message: Message) -> None:
        if not self.alive:  # its pipe may be closed, and its descriptors another's
            raise self._gone()
        try:
            self._channel.send(message)
        except ChannelClosed:
            raise self._gone() from None

    def _gone(self) -> WorkerGone:
        self._process.wait()
        code = self._process.returncode
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        tail = self._log_tail()
        return WorkerGone(f"the worker {how}" + (f": {tail}" if tail else ""))


def _greets(answer: Message) -> bool:
    """Whether an answer holds what a worker of this protocol says of itself."""
    said = {"is": "string", "protocol": "int64", "environment": ENVIRONMENT, "devices": [DEVICE]}
    return (
        not any(faults(said, answer))
        and (answer["is"], answer["protocol"]) == ("hello", protocol.VERSION)
        and (answer["environment"].get("threads_available") or 0) > 0
    )
