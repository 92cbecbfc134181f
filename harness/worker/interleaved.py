"""Visits whose blocks are interleaved: a child each, of which one measures a block while the others are
stopped.

In: by number, what each child does. Out: by number, what it came to. A machine that others share changes its
speed from one moment to the next, and keeps it for longer than a visit is: a visit in one go meets one such
moment, and its blocks say the same thing twelve times. Spread over all that its round takes, they meet
twelve, and cases that are compared with each other met the same ones.
"""

from __future__ import annotations

import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from harness.core.protocol import ChannelClosed, ChannelTimeout
from harness.worker.fork import Child

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.core.protocol import Channel, Message
    from harness.worker.fork import Work


def measure(
    works: Mapping[int, Work], turns: int, limit_s: float, together_s: float, planner: Channel
) -> dict[int, Message]:
    """Start all, one after the other, then a turn each, in an order drawn anew for each turn. `limit_s` holds
    for each of them, without the time that it was stopped; after `together_s` no turn begins, and who is not
    done comes to nothing. Raises ChannelClosed when the planner is gone."""
    ends = time.monotonic() + together_s
    children: dict[int, Child] = {}
    answers: dict[int, Message] = {}
    try:
        for identity, work in works.items():
            if time.monotonic() > ends:
                break
            try:
                children[identity] = Child(work, [planner, *(other.link for other in children.values())])
            except OSError as error:  # too many processes, or too little memory for another
                answers[identity] = {
                    "status": "error",
                    "error_type": type(error).__name__,
                    "message": f"no process for it: {error.strerror}",
                }
                continue
            _until_it_waits(children, identity, limit_s, answers)
        for turn in range(turns):
            if not children or time.monotonic() > ends:
                break
            for identity in random.sample(sorted(children), len(children)):
                children[identity].go_on()
                with suppress(ChannelClosed):  # it ended while it was stopped, as the next line finds
                    children[identity].link.send({"do": "turn"})
                _until_it_waits(children, identity, limit_s, answers)
            planner.send({"is": "progress", "turn": turn + 1, "of": turns})
    finally:
        for child in children.values():
            child.end()
    return answers


def _until_it_waits(
    children: dict[int, Child], identity: int, limit_s: float, answers: dict[int, Message]
) -> None:
    """Stop a child once it has set up or done its turn; one that is over leaves the others."""
    child = children[identity]
    late = False
    try:
        if child.take(limit_s - child.active_s)["is"] != "done":
            child.stop()
            return
    except ChannelTimeout:
        late = True
    except ChannelClosed:  # it died
        pass
    ended = children.pop(identity).end()
    answers[identity] = {"status": "timeout", "message": f"no answer within {limit_s:g} s"} if late else ended
