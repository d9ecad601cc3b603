"""What was sent is kept until it is acknowledged; acknowledgements are made up for."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecs_core.errors import LinkError, ProtocolError
from codecs_core.transport.lasting import WINDOW, LastingLink
from codecs_core.transport.link import Link
from codecs_core.transport.window import Window


@given(st.data())
def test_a_window_holds_what_is_not_acknowledged(data: st.DataObject) -> None:
    window, stream = Window(64), b""
    for _ in range(data.draw(st.integers(1, 20))):
        piece = data.draw(st.binary(max_size=window.room))
        window.append([piece[:3], piece[3:]])
        stream += piece
        count = data.draw(st.integers(window.acknowledged, window.sent))
        assert b"".join(window.rest(count)) == stream[count:]
        window.acknowledge(count)
        assert window.room == 64 - (len(stream) - count)
    for wrong in (window.sent + 1, window.acknowledged - 1):
        with pytest.raises(ProtocolError):
            window.rest(wrong)
    with pytest.raises(ProtocolError):
        window.acknowledge(window.sent + 1)


class Busy:
    """A keeper that cannot tell at first."""

    patience = 1.0

    def __init__(self) -> None:
        self.told: list[int] = []
        self.refuse = 2

    def received(self, link: LastingLink) -> bool:
        self.refuse -= 1
        if self.refuse < 0:
            self.told.append(link.received)
        return self.refuse < 0

    def ended(self, link: LastingLink) -> None:
        pass

    def lost(self, link: LastingLink, epoch: int, error: LinkError) -> None:
        raise error


def test_an_acknowledgement_that_was_left_out_is_made_up_for() -> None:
    near, far = socket.socketpair()
    keeper = Busy()
    with near, far:
        link = LastingLink(Link(near, "peer"), 0, keeper)
        buffer = memoryview(bytearray(WINDOW // 16))
        for _ in range(5):
            far.sendall(buffer)
            assert link.receive_into(buffer) == len(buffer)
        # Due after two, told as soon as it could be.
        assert keeper.told == [4 * len(buffer)]
        link.close()


def test_the_next_connection_has_the_same_limit() -> None:
    class Limited(Link):
        limit = 0

        def limit_backlog(self, size: int) -> None:
            self.limit = size

    (near, far), (later, beyond) = socket.socketpair(), socket.socketpair()
    first, second = Limited(near, "peer"), Limited(later, "peer")
    with far, beyond:
        link = LastingLink(first, 0, Busy())
        link.limit_backlog(1000)
        link.replace(second, lambda received: 0)
        assert (first.limit, second.limit) == (1000, 1000)
        link.close()
