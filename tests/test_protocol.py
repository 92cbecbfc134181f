"""The pipe: whole messages, whatever the pieces they come in."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from harness.core.protocol import Channel, ChannelClosed, ChannelTimeout, NotAMessage


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    down_read, down_write = os.pipe()
    up_read, up_write = os.pipe()
    near, far = Channel(up_read, down_write), Channel(down_read, up_write)
    yield near, far
    near.close()
    far.close()


def test_a_message_arrives_as_it_was_sent(ends: tuple[Channel, Channel]) -> None:
    near, far = ends
    near.send({"do": "visit", "label": "3 µs", "values": [1, 2.5, None]})
    assert far.receive(1) == {"do": "visit", "label": "3 µs", "values": [1, 2.5, None]}


def test_a_message_in_pieces_and_two_in_one_piece_are_told_apart(ends: tuple[Channel, Channel]) -> None:
    near, far = ends
    os.write(near.write_fd, b'{"a":')
    with pytest.raises(ChannelTimeout):
        far.receive(0)
    os.write(near.write_fd, b'1}\n{"b":2}\n')
    assert far.receive(1) == {"a": 1}
    assert far.receive(0) == {"b": 2}


@pytest.mark.parametrize("line", [b"nonsense\n", b"[1]\n", b"\xff\xfe\n"])
def test_what_is_no_message_says_so(ends: tuple[Channel, Channel], line: bytes) -> None:
    near, far = ends
    os.write(near.write_fd, line)
    with pytest.raises(NotAMessage):
        far.receive(1)


def test_an_end_that_is_gone_is_noticed_by_reader_and_writer(ends: tuple[Channel, Channel]) -> None:
    near, far = ends
    near.close()
    with pytest.raises(ChannelClosed):
        far.receive(1)
    with pytest.raises(ChannelClosed):
        far.send({})


def test_a_number_that_json_does_not_have_is_refused(ends: tuple[Channel, Channel]) -> None:
    near, _ = ends
    with pytest.raises(ValueError, match="not JSON compliant"):
        near.send({"x": float("nan")})
