"""Sender and receiver, over real sockets: what arrives, what is counted, what is refused."""

from __future__ import annotations

import mmap
import random
import signal
import socket
import threading
from array import array
from multiprocessing import resource_tracker, shared_memory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codecs_core import (
    Block,
    FileBlock,
    Geometry,
    LinkError,
    MemoryBlock,
    ParameterError,
    Receiver,
    RemoteError,
    Sender,
    StreamSink,
    TransferError,
    UnknownCodec,
    UsageError,
)
from codecs_core.registry import Registry
from codecs_core.transport.link import Link

from .conftest import GEOMETRY, Running

PAGE = 4096
# It lives as long as the process, so it is no leak of a test.
resource_tracker.ensure_running()
SIZES = (0, 1, PAGE - 1, PAGE, PAGE + 1, 5 * 512 * 1024 + 9)


def content(size: int, seed: int = 0) -> bytearray:
    """Pages of which some are zero, some compress, some do not."""
    generator = random.Random(seed)
    kinds = [bytes(PAGE), b"guest memory " * 316, generator.randbytes(PAGE)]
    return bytearray(b"".join(generator.choices(kinds, k=-(-size // PAGE)))[:size])


@pytest.mark.parametrize("codec", list(Registry()))
@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("uri", ["tcp:127.0.0.1:0", "tcp:[::1]:0", "unix"])
def test_blocks_arrive(codec: str, channels: int, uri: str, tmp_path: Any) -> None:
    blocks = {f"block {size}": content(size) for size in SIZES}
    # What was there before must not shine through zero pages.
    copies = {name: bytearray(b"\xff") * len(data) for name, data in blocks.items()}
    with Receiver(f"unix:{tmp_path}/s" if uri == "unix" else uri) as receiver:
        for name, copy in copies.items():
            receiver.add_block(name, copy)
        receiving = Running(receiver.receive)
        with Sender(receiver.address, codec=codec, channels=channels) as sender:
            for name, data in blocks.items():
                sender.add_block(name, data)
            sender.send()
        received = receiving.result()
    assert copies == blocks
    sent = sender.progress()
    pages = sum(-(-len(data) // PAGE) for data in blocks.values())
    assert sent.pages == sent.total_pages == received.pages == received.total_pages == pages
    assert (sent.normal_pages, sent.zero_pages) == (received.normal_pages, received.zero_pages)
    assert len(sent.channels) == len(received.channels) == channels
    assert sent.codec == received.codec == codec
    # Each channel began with an init, which the receiver's reception took.
    assert sent.wire_bytes == received.wire_bytes + 64 * channels


@settings(max_examples=25)
@given(
    st.lists(
        st.lists(st.integers(0, 99), min_size=1, max_size=60, unique=True), min_size=1, max_size=4
    ),
    st.integers(1, 4),
)
def test_rounds_of_dirty_pages(rounds: list[list[int]], channels: int) -> None:
    """After each SYNC the receiver has exactly what the sender had."""
    memory, copy = content(100 * 512), bytearray(100 * 512)
    with Receiver("tcp:127.0.0.1:0") as receiver:
        receiver.add_block("ram", copy)
        receiving = Running(receiver.receive)
        geometry = Geometry(512, 4096)
        with Sender(receiver.address, codec="zstd", channels=channels, geometry=geometry) as sender:
            sender.add_block("ram", memory)
            sender.send("ram")
            sender.sync()
            assert copy == memory
            for number, dirty in enumerate(rounds):
                for page in dirty:
                    fill = bytes([number + page & 0xFF]) * 512
                    memory[page * 512 : (page + 1) * 512] = fill
                sender.send_pages("ram", dirty)
                sender.sync()
                assert copy == memory
        assert receiving.result().syncs == len(rounds) + 1


@pytest.mark.parametrize("kind", ["bytearray", "mmap", "numpy", "array", "shared memory"])
def test_any_buffer_is_memory(kind: str) -> None:
    data = bytes(content(PAGE * 40))
    shared = shared_memory.SharedMemory(create=True, size=len(data))
    mapped = mmap.mmap(-1, len(data))
    try:
        target: Any = {
            "bytearray": bytearray(len(data)),
            "mmap": mapped,
            "numpy": np.zeros((40, PAGE // 8), dtype=np.uint64),
            "array": array("I", bytes(len(data))),
            "shared memory": shared.buf,
        }[kind]
        with Receiver("tcp:127.0.0.1:0") as receiver:
            receiver.add_block("ram", target)
            receiving = Running(receiver.receive)
            with Sender(receiver.address) as sender:
                sender.add_block("ram", data)
                sender.send()
            receiving.result()
        assert bytes(memoryview(target).cast("B")) == data
    finally:
        mapped.close()
        shared.close()
        shared.unlink()


@pytest.mark.parametrize("codec", list(Registry()))
def test_one_connection_carries_a_session(codec: str) -> None:
    data, copy = content(SIZES[-1]), bytearray(SIZES[-1])
    ours, theirs = socket.socketpair()
    with ours, theirs:
        with Receiver(f"fd:{theirs.fileno()}") as receiver:
            receiver.add_block("ram", copy)
            receiving = Running(receiver.receive)
            with Sender(f"fd:{ours.fileno()}", codec=codec) as sender:
                sender.add_block("ram", data)
                sender.send()
                sender.sync()
                sender.send_pages("ram", [3, 1])
            assert receiving.result().syncs == 1
        assert len(sender.progress().channels) == 1
    assert copy == data


def test_a_listening_descriptor() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        copy = bytearray(PAGE)
        with Receiver(f"fd:{listening.fileno()}") as receiver:
            receiver.add_block("ram", copy)
            receiving = Running(receiver.receive)
            with Sender(f"tcp:127.0.0.1:{port}", channels=3) as sender:
                sender.add_block("ram", b"x" * PAGE)
                sender.send()
            receiving.result()
    assert copy == b"x" * PAGE


def test_progress_grows_and_ends_complete() -> None:
    data = content(40 * 512 * 1024)
    snapshots = []
    with Receiver("tcp:127.0.0.1:0") as receiver:
        receiver.add_block("ram", bytearray(len(data)))
        receiving = Running(receiver.receive)
        with Sender(receiver.address, codec="zlib") as sender:
            sender.add_block("ram", data)
            sending = Running(sender.send)
            while sending._thread.is_alive():
                snapshots.append(sender.progress())
            sending.result()
        receiving.result()
    pages = [each.pages for each in snapshots]
    assert pages == sorted(pages)
    done = sender.progress()
    assert done.pages == done.total_pages
    assert done.eta == 0
    assert done.ratio == pytest.approx(len(data) / done.wire_bytes)
    assert done.as_dict()["ratio"] == done.ratio
    assert all(each.codec_seconds > 0 for each in done.channels if each.normal_pages)


def test_the_sender_is_told_last() -> None:
    """What is done when all is stored has been done before the sender hears of it."""
    order = []
    with Receiver("tcp:127.0.0.1:0") as receiver:
        receiver.add_block("ram", bytearray(PAGE))
        receiving = Running(receiver.receive, lambda: order.append("stored"))
        with Sender(receiver.address) as sender:
            sender.add_block("ram", b"x" * PAGE)
            sender.send()
        order.append("told")
        receiving.result()
    assert order == ["stored", "told"]


def test_blocks_are_closed_whether_used_or_not(tmp_path: Any) -> None:
    """The two ends own the blocks that they are given."""
    blocks = [FileBlock.create(tmp_path / name, 1, name) for name in ("a", "b")]
    with Receiver("tcp:127.0.0.1:0") as receiver:
        for block in blocks:
            receiver.add_block(block.name, block)
        receiving = Running(receiver.receive)
        with Sender(receiver.address) as sender:
            sender.add_block("a", b"1")
            sender.send()
        receiving.result()
    assert (tmp_path / "a").read_bytes() == b"1"


class TestRefusal:
    """What the two ends do not agree on fails both, with the same reason."""

    @pytest.mark.parametrize(
        ("announced", "here", "reason"),
        [
            ({"a": 1}, {}, "there is no block 'a' here; there are: none"),
            ({"a": 1}, {"b": 1}, "there is no block 'a' here; there are: 'b'"),
            ({"a": 2}, {"a": 1}, "block 'a' has 1 bytes in pages of 4096 here"),
        ],
    )
    def test_of_blocks(self, announced: Any, here: Any, reason: str) -> None:
        with Receiver("tcp:127.0.0.1:0") as receiver:
            for name, size in here.items():
                receiver.add_block(name, bytearray(size))
            receiving = Running(receiver.receive)
            with pytest.raises(RemoteError, match=f"refuses: {reason}"):
                with Sender(receiver.address) as sender:
                    for name, size in announced.items():
                        sender.add_block(name, bytes(size))
                    sender.send()
            with pytest.raises(TransferError, match=reason):
                receiving.result()

    def test_of_two_streams(self) -> None:
        def sink(name: str, size: int | None, page_size: int) -> Block:
            return StreamSink(name, 1, size, page_size)

        with Receiver("tcp:127.0.0.1:0", open_block=sink) as receiver:
            receiving = Running(receiver.receive)
            with pytest.raises(RemoteError, match="more than one block is a stream"):
                with Sender(receiver.address) as sender:
                    sender.add_block("a", b"")
                    sender.add_block("b", b"")
                    sender.connect()
            assert isinstance(receiving.wait(), TransferError)

    def test_of_what_the_receiver_cannot_do_in_the_end(self) -> None:
        def fail() -> None:
            raise TransferError("no room for the name")

        with Receiver("tcp:127.0.0.1:0") as receiver:
            receiver.add_block("a", bytearray(1))
            receiving = Running(receiver.receive, fail)
            with pytest.raises(RemoteError, match="no room for the name"):
                with Sender(receiver.address) as sender:
                    sender.add_block("a", b"1")
                    sender.send()
            with pytest.raises(TransferError, match="no room for the name"):
                receiving.result()


class Failing(MemoryBlock):
    """A block that fails after some packets."""

    def __init__(self, name: str, memory: Any, error: BaseException) -> None:
        super().__init__(name, memory)
        self._error = error
        self._left = 3
        self._lock = threading.Lock()

    def _count(self) -> None:
        with self._lock:
            self._left -= 1
            if self._left <= 0:
                raise self._error

    def read(self, run: Any, scratch: memoryview) -> memoryview:
        self._count()
        return super().read(run, scratch)

    def store(self, offsets: bytes, normal: int, packet: memoryview) -> None:
        self._count()
        super().store(offsets, normal, packet)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (TransferError("reading x: it broke"), "reading x: it broke"),
        (OSError(5, "Input/output error"), "Input/output error"),
        (ZeroDivisionError("oh"), r"internal error \(ZeroDivisionError: oh\)"),
        (MemoryError(), "out of memory"),
    ],
)
class TestFailureInTheMiddle:
    def test_of_the_sender(self, error: BaseException, told: str) -> None:
        data = content(20 * 512 * 1024)
        with Receiver("tcp:127.0.0.1:0") as receiver:
            receiver.add_block("ram", bytearray(len(data)))
            receiving = Running(receiver.receive)
            expected = TransferError if isinstance(error, MemoryError) else type(error)
            with pytest.raises(expected):
                with Sender(receiver.address) as sender:
                    sender.add_block("ram", Failing("ram", data, error))
                    sender.send()
            with pytest.raises(RemoteError, match=told):
                receiving.result()

    def test_of_the_receiver(self, error: BaseException, told: str) -> None:
        data = content(200 * 512 * 1024)
        with Receiver("tcp:127.0.0.1:0") as receiver:
            receiver.add_block("ram", Failing("ram", bytearray(len(data)), error))
            receiving = Running(receiver.receive)
            with pytest.raises(RemoteError, match=told):
                with Sender(receiver.address) as sender:
                    sender.add_block("ram", data)
                    sender.send()
            assert receiving.wait() is not None


def test_an_exception_in_the_with_block_is_told() -> None:
    with Receiver("tcp:127.0.0.1:0") as receiver:
        receiver.add_block("ram", bytearray(PAGE))
        receiving = Running(receiver.receive)
        with pytest.raises(KeyError):
            with Sender(receiver.address) as sender:
                sender.add_block("ram", bytes(PAGE))
                sender.send()
                raise KeyError("mine")
        with pytest.raises(RemoteError, match="KeyError"):
            receiving.result()


def test_ctrl_c_while_sending() -> None:
    """In the main thread, where it arrives."""
    data = content(200 * 512 * 1024)

    class Interrupted(MemoryBlock):
        def read(self, run: Any, scratch: memoryview) -> memoryview:
            if run.first == 50 * 128:
                signal.raise_signal(signal.SIGINT)
            return super().read(run, scratch)

    with Receiver("tcp:127.0.0.1:0") as receiver:
        receiver.add_block("ram", bytearray(len(data)))
        receiving = Running(receiver.receive)
        with pytest.raises(KeyboardInterrupt):
            with Sender(receiver.address) as sender:
                sender.add_block("ram", Interrupted("ram", data))
                sender.send()
        with pytest.raises(RemoteError, match=r"^the other end was interrupted$"):
            receiving.result()


def test_closing_from_another_thread() -> None:
    with Receiver("tcp:127.0.0.1:0") as receiver:
        receiving = Running(receiver.receive)
        receiver.close()
        with pytest.raises(TransferError, match="was closed before it had finished"):
            receiving.result()


def test_no_receiver() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(LinkError, match=f"connecting to tcp:127.0.0.1:{port}: Connection refused"):
        with Sender(f"tcp:127.0.0.1:{port}") as sender:
            sender.send()


class TestMisuse:
    def test_of_the_constructor(self) -> None:
        for options, message in (
            ({"channels": 0}, "between 1 and 255, not 0"),
            ({"channels": 256}, "between 1 and 255, not 256"),
            ({"timeout": 0}, "seconds above 0"),
        ):
            with pytest.raises(UsageError, match=message):
                Sender("tcp:h:1", **options)
        with pytest.raises(UsageError, match="seconds above 0"):
            Receiver("tcp:127.0.0.1:0", timeout=-1)
        with pytest.raises(UnknownCodec):
            Sender("tcp:h:1", codec="absent")
        with pytest.raises(ParameterError, match="multifd-zstd-level"):
            Sender("tcp:h:1", codec="zstd", level=99)
        ours, theirs = socket.socketpair()
        with ours, theirs, pytest.raises(UsageError, match="carries 1 channel, not 2"):
            Sender(f"fd:{ours.fileno()}", channels=2)

    def test_of_blocks(self) -> None:
        with pytest.raises(UsageError, match="no block 'b'; added: 'a'"):
            with Sender("tcp:127.0.0.1:1") as sender:
                sender.add_block("a", b"")
                sender.send("b")
        sender = Sender("tcp:127.0.0.1:1")
        sender.add_block("a", bytes(PAGE))
        for name, memory, message in (
            ("a", b"", "was added before"),
            ("", b"", "1 to 255 bytes"),
            ("\0", b"", "1 to 255 bytes"),
            ("é" * 128, b"", "1 to 255 bytes"),
            ("b", 7, "memoryview: a bytes-like object is required"),
            ("b", memoryview(bytes(8))[::2], "block 'b'"),
            ("b", MemoryBlock("c", b""), "cannot be added as 'b'"),
            ("b", MemoryBlock("b", b"", 512), "pages of 4096"),
        ):
            with pytest.raises(UsageError, match=message):
                sender.add_block(name, memory)
        with pytest.raises(UsageError, match="1 pages; there is no page 1"):
            sender.send_pages("a", [1])
        sender.close()
        with pytest.raises(TransferError, match="closed before"):
            sender.send()
        with Receiver("tcp:127.0.0.1:0") as receiver:
            with pytest.raises(UsageError, match="read-only"):
                receiver.add_block("a", b"")

    def test_of_the_order(self) -> None:
        with Receiver("tcp:127.0.0.1:0") as receiver:
            receiver.add_block("a", bytearray(1))
            receiving = Running(receiver.receive)
            with Sender(receiver.address, geometry=GEOMETRY) as sender:
                sender.add_block("a", b"1")
                sender.send()
                with pytest.raises(UsageError, match="before the first is sent"):
                    sender.add_block("b", b"")
                done = sender.finish()
                with pytest.raises(UsageError, match="the sender is closed"):
                    sender.send()
            assert sender.progress() == done
            receiving.result()
            with pytest.raises(UsageError, match="serves one sender"):
                receiver.receive()


@pytest.mark.parametrize("connection", [0, 1, 2])
def test_a_sender_closed_while_it_connects_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, connection: int
) -> None:
    """By another thread, while the control connection or a channel is being made."""
    with Receiver("tcp:127.0.0.1:0", timeout=2.0) as receiver:
        receiver.add_block("ram", bytearray(4096))
        receiving = Running(receiver.receive)
        sender = Sender(receiver.address, channels=2)
        sender.add_block("ram", bytearray(4096))
        dial, left = sender._dial, iter(range(connection))

        def dial_and_close() -> Link:
            link = dial()
            if next(left, None) is None:
                Running(sender.close).result()
            return link

        monkeypatch.setattr(sender, "_dial", dial_and_close)
        with pytest.raises(TransferError, match="closed before it had finished"):
            sender.connect()
        assert receiving.wait() is not None
