"""The return path's messages."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecs_core import ProtocolError
from codecs_core.wire.return_path import Message, MessageType, ReturnPathParser

MESSAGES = st.lists(
    st.builds(Message, st.sampled_from(MessageType), st.binary(max_size=512)), max_size=8
)


@given(messages=MESSAGES, size=st.integers(1, 600))
def test_messages_in_pieces_of_any_size(messages: list[Message], size: int) -> None:
    data = b"".join(struct.pack(">HH", m.type, len(m.body)) + m.body for m in messages)
    parser = ReturnPathParser()
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    assert [each for piece in pieces for each in parser.feed(piece)] == messages


@pytest.mark.parametrize("data", [struct.pack(">HH", 9, 4), struct.pack(">HH", 2, 513), bytes(4)])
def test_what_is_no_message(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="return path has a message"):
        ReturnPathParser().feed(data)


def test_the_last_word() -> None:
    good, bad, other = ReturnPathParser().feed(
        struct.pack(">HHI", 1, 4, 0) + struct.pack(">HHI", 1, 4, 1) + struct.pack(">HHI", 2, 4, 0)
    )
    assert (good.arrived, bad.arrived, other.arrived) == (True, False, None)
