"""Interpreters made ready to measure: asked once what they are, then a worker per device, and another after
one was lost.

In: the path of an interpreter, a device, a seed, a policy. Out: answers; a worker that hangs or dies is an
answer too.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.core.errors import DeviceError
from harness.run.worker_process import Hello, WorkerGone, WorkerProcess, WorkerTimeout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from harness.core.policy import Policy
    from harness.core.protocol import Message


# a virtual machine's memory grows as it is used; equal cards are interchangeable
PASSING = frozenset({"memory_bytes", "persistence", "uuid"})


@dataclass(frozen=True, slots=True)
class Interpreter:
    """An interpreter as a run keeps it: its path, and what it said of its environment and its devices."""

    python: str
    environment_id: str
    environment: dict[str, Any] = field(repr=False)
    devices: list[dict[str, Any]] = field(repr=False)


@dataclass(frozen=True)
class Connection:
    """A worker that has said what it is; it serves for the survey and no longer."""

    python: str
    worker: WorkerProcess
    hello: Hello

    @property
    def interpreter(self) -> Interpreter:
        """What is kept of it."""
        return Interpreter(self.python, self.environment_id, self.hello.environment, self.hello.devices)

    @property
    def environment_id(self) -> str:
        """First 12 hex digits of SHA-256 over the facts of the environment and of its accelerators, but for
        those that come and go."""
        lasting = {name: value for name, value in self.hello.environment.items() if name not in PASSING}
        accelerators = [device["facts"] for device in self.hello.devices if "facts" in device]
        lasting |= {
            "accelerators": [
                {name: value for name, value in facts.items() if name not in PASSING}
                for facts in accelerators
            ]
        }
        return hashlib.sha256(json.dumps(lasting, sort_keys=True).encode()).hexdigest()[:12]


@contextlib.contextmanager
def connect(python: str) -> Iterator[Connection]:
    """Start an interpreter and ask what it is and which devices it has. Raises InterpreterError."""
    worker = WorkerProcess(python)
    try:
        yield Connection(python, worker, worker.hello())
    finally:
        worker.kill()


def require_devices(hello: Hello, asked: Iterable[str], placement: dict[str, int]) -> None:
    """Raises DeviceError for a type or an index that is not there."""
    have = [
        device["type"] if device["index"] is None else f"{device['type']}:{device['index']}"
        for device in hello.devices
    ]
    for kind in asked:
        wanted = f"{kind}:{placement[kind]}" if kind in placement else kind
        if wanted not in have and wanted not in hello.device_types:
            lost = f" {hello.message}" * bool(hello.message)
            raise DeviceError(
                f"{wanted} was not found",
                where="device",
                hint=f"This interpreter's torch sees {', '.join(have)}.{lost}",
            )


def device_name(kind: str, placement: dict[str, int]) -> str:
    """A device as torch and our locks name it: `cpu`, `cuda:0`."""
    return "cpu" if kind == "cpu" else f"{kind}:{placement.get(kind, 0)}"


class DeviceWorker:
    """A worker for one device: a borrowed one, or one started when it is first needed; and another after it
    was lost. A context manager."""

    def __init__(
        self, python: str, device: str, seed: int, policy: Policy, borrowed: WorkerProcess | None = None
    ) -> None:
        self._python, self._device, self._seed, self._policy, self._borrowed = (
            python,
            device,
            seed,
            policy,
            borrowed,
        )
        self._worker: WorkerProcess | None = None
        self._connected = False
        if borrowed and borrowed.alive:
            borrowed.configure(device, seed, policy)
            self._worker, self._connected = borrowed, True

    def __enter__(self) -> DeviceWorker:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._worker and self._worker is not self._borrowed:
            self._worker.__exit__(kind)

    def ask(
        self, request: Message, limit_s: float, on_progress: Callable[[Message], None] = lambda _: None
    ) -> Message:
        """The answer to a request; from a worker that is lost, a `done` that says so. A turn may not start a
        worker, the others may."""
        began = time.monotonic()
        try:
            if request["do"] not in ("turn", "drop"):
                self.open()
            if self._worker is None or not self._worker.alive:
                raise WorkerGone("the worker ended while it waited")
            answer = self._worker.ask(request, limit_s, on_progress)
        except WorkerTimeout as error:
            answer = {"is": "done", "status": "timeout", "message": str(error)}
        except WorkerGone as error:
            answer = {"is": "done", "status": "crashed", "message": str(error)}
        if (
            self._device != "cpu"
            and self._worker
            and answer["is"] == "done"
            and answer["status"] not in ("ok", "skipped")
        ):
            self._worker.kill()  # an error of a CUDA context stays: every later call would raise it again
        return {**answer, "wall_s": time.monotonic() - began}

    def start(self) -> None:
        """Start a worker where none runs, and do not wait for it: two of them come up in the time of one."""
        if self._worker is None or not self._worker.alive:
            self.end()  # its pipes are still open
            self._worker = WorkerProcess(self._python)
            self._connected = False

    def open(self) -> None:
        """Have a worker that is ready. Raises InterpreterError."""
        self.start()
        if not self._connected:
            assert self._worker is not None
            self._worker.hello(devices=False)
            self._worker.configure(self._device, self._seed, self._policy)
            self._connected = True

    def end(self) -> None:
        """End the worker now, with whatever its device's allocator holds."""
        if self._worker:
            self._worker.kill()
