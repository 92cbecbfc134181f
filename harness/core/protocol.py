"""What crosses the pipe: protocol 1, a JSON object a line, UTF-8, no NaN.

    planner -> worker   {"do": "hello" | "configure" | "survey" | "visit" | "visits" | "turn" | "drop" |
                               "ceilings" | "tenants" | "trace" | "quit", ...}
    worker -> planner   {"is": "hello" | "progress" | "ready" | "turned" | "done", ...}

A `Channel` is either end, over file descriptors, so that a child forked by the worker can hold one too.
Reading waits with select and keeps no more than the bytes after the last line, so nothing is lost between two
readers that take turns.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import time
from dataclasses import dataclass, field
from typing import Any

VERSION = 1
PARTNER = "partner "  # begins the message of a visit that was left by those it took turns with
Message = dict[str, Any]


class ChannelClosed(Exception):
    """The other end is gone."""


class ChannelTimeout(Exception):
    """Nothing came within the time allowed."""


class NotAMessage(Exception):
    """A line came that is no JSON object."""


@dataclass
class Channel:
    """One end of a pair of pipes: whole messages in, whole messages out."""

    read_fd: int
    write_fd: int
    _rest: bytes = field(default=b"", repr=False)

    def send(self, message: Message) -> None:
        """Write one message. Raises ChannelClosed when nobody reads."""
        data = json.dumps(message, allow_nan=False, separators=(",", ":")).encode() + b"\n"
        try:
            while data:
                data = data[os.write(self.write_fd, data) :]
        except BrokenPipeError:
            raise ChannelClosed from None

    def receive(self, timeout_s: float | None = None) -> Message:
        """The next message. Raises ChannelTimeout after `timeout_s` seconds, ChannelClosed at the end,
        NotAMessage for garbage."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while b"\n" not in self._rest:
            left = None if deadline is None else max(deadline - time.monotonic(), 0)
            if not select.select([self.read_fd], [], [], left)[0]:
                raise ChannelTimeout
            data = os.read(self.read_fd, 1 << 16)
            if not data:
                raise ChannelClosed
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            raise NotAMessage(line[:200].decode(errors="replace"))
        return message

    def close(self) -> None:
        """Close both ends; safe to call twice."""
        for fd in {self.read_fd, self.write_fd}:
            with contextlib.suppress(OSError):
                os.close(fd)
