"""Connections that are lost in a transfer are made again, and nothing is lost with them."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from uuid import uuid4

import pytest

from codecs_core import LinkError, Receiver, Sender
from codecs_core.errors import CodecsCoreError
from codecs_core.wire import control as wire
from codecs_core.wire.packet import ChannelInit
from tests.way import Way


class Transfer:
    """A receiver, and the way to it."""

    def __init__(self, size: int) -> None:
        self.copy = bytearray(size)
        self.refusals: list[str] = []
        self.receiver = Receiver("tcp:127.0.0.1:0", timeout=10, on_refusal=self.refusals.append)
        self.receiver.add_block("ram", self.copy)
        self.way = Way(self.receiver.address)
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._receive)
        self.thread.start()

    def _receive(self) -> None:
        try:
            self.receiver.receive()
        except BaseException as error:
            self.error = error

    def close(self) -> None:
        self.receiver.close()
        self.thread.join()
        self.way.close()


@pytest.fixture
def transfer() -> Iterator[Callable[[int], Transfer]]:
    threads = threading.active_count()
    with ExitStack() as stack:

        def make(size: int) -> Transfer:
            made = Transfer(size)
            stack.callback(made.close)
            return made

        yield make
    assert threading.active_count() == threads


def memory(size: int) -> bytearray:
    return bytearray(random.Random(5).randbytes(1 << 20) * (size >> 20))


@pytest.mark.parametrize("codec", ["none", "zlib", "zstd", "qatzip"])
def test_all_connections_cut_again_and_again(
    transfer: Callable[[int], Transfer], codec: str
) -> None:
    size = 64 << 20
    there, data = transfer(size), memory(size)
    with Sender(there.way.address, codec=codec, channels=3, timeout=10, retry_for=20) as sender:
        sender.add_block("ram", data)
        ended = threading.Event()

        def cut() -> None:
            seen = 0
            while not ended.wait(0.01):
                if there.way.passed > seen + (9 << 20):
                    seen = there.way.passed
                    there.way.cut()

        cutter = threading.Thread(target=cut)
        cutter.start()
        try:
            sender.send("ram")
            sender.sync()
            data[:4096] = bytes(4096)
            sender.send_pages("ram", [0, 9])
            sender.finish()
        finally:
            ended.set()
            cutter.join()
    there.thread.join()
    assert there.error is None
    assert there.copy == data
    assert sender.progress().repairs >= 3
    assert there.receiver.progress().repairs >= sender.progress().repairs


@pytest.mark.parametrize("number", [0, 1, 2])
def test_one_connection_cut(transfer: Callable[[int], Transfer], number: int) -> None:
    """The control connection, or one channel."""
    size = 16 << 20
    there, data = transfer(size), memory(size)
    with Sender(there.way.address, codec="zstd", timeout=10, retry_for=20) as sender:
        sender.add_block("ram", data)
        sender.send_pages("ram", range(100))
        sender.sync()
        there.way.cut(lambda each: each == number)
        time.sleep(0.2)
        sender.send("ram")
    there.thread.join()
    assert there.error is None, there.error
    assert there.copy == data


def test_a_cut_behind_the_last_byte(transfer: Callable[[int], Transfer]) -> None:
    """All is sent when the way is lost: what was on it comes all the same."""
    size = 16 << 20
    there, data = transfer(size), memory(size)
    with Sender(there.way.address, timeout=10, retry_for=20) as sender:
        sender.add_block("ram", data)
        sender.send("ram")
        there.way.cut()
    there.thread.join()
    assert there.error is None, there.error
    assert there.copy == data


def test_a_way_that_is_closed_for_a_while(transfer: Callable[[int], Transfer]) -> None:
    size = 16 << 20
    there, data = transfer(size), memory(size)
    with Sender(there.way.address, timeout=10, retry_for=20) as sender:
        sender.add_block("ram", data)
        sender.send_pages("ram", range(100))
        there.way.open = False
        there.way.cut()

        def reopen() -> None:
            time.sleep(1)
            there.way.open = True

        opener = threading.Thread(target=reopen)
        opener.start()
        sender.send("ram")
        opener.join()
    there.thread.join()
    assert there.error is None, there.error
    assert there.copy == data


def test_a_way_that_stays_closed(transfer: Callable[[int], Transfer]) -> None:
    there, data = transfer(1 << 20), memory(1 << 20)
    with pytest.raises(LinkError, match="no other could be made"):
        with Sender(there.way.address, timeout=3, retry_for=1) as sender:
            sender.add_block("ram", data)
            sender.send("ram")
            there.way.open = False
            there.way.cut()
            sender.sync()
    there.thread.join()
    assert isinstance(there.error, LinkError)


def test_without_retries_a_cut_is_the_end(transfer: Callable[[int], Transfer]) -> None:
    there, data = transfer(1 << 20), memory(1 << 20)
    with pytest.raises(CodecsCoreError):
        with Sender(there.way.address, timeout=10) as sender:
            sender.add_block("ram", data)
            sender.send("ram")
            there.way.cut()
            sender.sync()
    there.thread.join()
    assert isinstance(there.error, CodecsCoreError)


def refuse(there: Transfer, words: bytes) -> bytes:
    host, port = there.receiver.address.removeprefix("tcp:").rsplit(":", 1)
    with socket.create_connection((host, int(port)), 10) as stranger:
        stranger.settimeout(10)
        stranger.sendall(words)
        answer = b""
        with suppress(ConnectionResetError):
            while data := stranger.recv(4096):
                answer += data
        return answer


def test_strangers_at_the_door(transfer: Callable[[int], Transfer]) -> None:
    there, data = transfer(1 << 20), memory(1 << 20)
    with Sender(there.way.address, timeout=10, retry_for=20) as sender:
        sender.add_block("ram", data)
        sender.send("ram")
        sender.sync()
        assert refuse(there, ChannelInit(uuid4(), 0).encode()) == b""
        for rejoin in (wire.Rejoin("0" * 32, 0, 0), wire.Rejoin("0" * 32, 255, 1 << 40)):
            answer = refuse(there, wire.PREAMBLE + wire.encode(rejoin))
            assert b"another session's token" in answer
        token = there.receiver._keeper._token  # type: ignore[union-attr]
        for number, count, why in ((7, 0, b"no link 7"), (0, 5, b"the peer has 5 bytes")):
            rejoin = wire.Rejoin(token, number, count)
            assert why in refuse(there, wire.PREAMBLE + wire.encode(rejoin)), why
        sender.sync()
    there.thread.join()
    assert there.error is None, there.error
    assert there.copy == data
