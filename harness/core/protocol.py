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
from math import isinf
from typing import Any

VERSION = 1
STATUSES = ("ok", "skipped", "error", "out_of_memory", "timeout", "crashed", "incorrect")
MOST_BYTES = 2**28  # of a line: a hundred times what forty visits say together
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

    @property
    def has_message(self) -> bool:
        """Whether a message has been read that was not received yet: no `select` would tell of it."""
        return b"\n" in self._rest

    def receive(self, timeout_s: float | None = None) -> Message:
        """The next message. Raises ChannelTimeout after `timeout_s` seconds, ChannelClosed at the end,
        NotAMessage for garbage."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not self.has_message:
            left = None if deadline is None else max(deadline - time.monotonic(), 0)
            if not select.select([self.read_fd], [], [], left)[0]:
                raise ChannelTimeout
            data = os.read(self.read_fd, 1 << 20)
            if not data:
                raise ChannelClosed
            self._rest += data
            if len(self._rest) > MOST_BYTES:
                raise NotAMessage(f"a line of more than {MOST_BYTES:,} bytes")
        line, _, self._rest = self._rest.partition(b"\n")
        return parsed(line)

    def close(self) -> None:
        """Close both ends; safe to call twice."""
        for fd in {self.read_fd, self.write_fd}:
            with contextlib.suppress(OSError):
                os.close(fd)


def parsed(line: bytes) -> Message:
    """The object of a line. Raises NotAMessage for another, for NaN, infinity and half a character."""
    try:
        message = json.loads(line, parse_constant=_refuse, parse_float=_finite)
        if b"\\ud" in line.lower():
            json.dumps(message, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise NotAMessage(line[:200].decode(errors="replace"))
    return message


def _refuse(word: str) -> None:
    raise ValueError(word)


def _finite(digits: str) -> float:
    number = float(digits)
    if isinf(number):
        raise ValueError(digits)
    return number


def checked(answer: Message) -> Message:
    """An answer to a request, with all that whoever asked relies on. Raises NotAMessage.

    The values of a visit are columns, each with a type of its own: `columns.fits`.
    """
    kind = answer.get("is")
    if kind == "progress":
        _require(answer, latency_s=(float, int, None), turn=(int, None), of=(int, None))
    elif kind == "done":
        _require_outcome(answer)
        _require(answer, visits=(list, None))
        for visit in answer.get("visits") or ():
            if not isinstance(visit, dict) or type(visit.get("id")) is not int:
                raise NotAMessage("a visit that is no object with an id")
            _require_outcome(visit)
    elif kind not in ("ready", "turned"):
        raise NotAMessage(f"is = {str(kind)[:40]!r}")
    return answer


def _require_outcome(answer: Message) -> None:
    _require(answer, values=(dict, None), message=(str, None), error_type=(str, None))
    _require(answer, wall_s=(float, int, None))
    if answer.get("status") not in STATUSES:
        raise NotAMessage(f"status = {str(answer.get('status'))[:40]!r}")


def _require(answer: Message, **kinds: tuple[type | None, ...]) -> None:
    """Raises NotAMessage for a field of another type; None stands for one that may be missing."""
    for name, allowed in kinds.items():
        value = answer.get(name)
        if (None if value is None else type(value)) not in allowed:
            raise NotAMessage(f"{name} = {str(value)[:40]!r}")
