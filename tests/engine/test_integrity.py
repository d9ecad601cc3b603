"""Checksums and digests at work: what is damaged on the way is never acknowledged."""

from __future__ import annotations

import errno
import json
import os
import selectors
import socket
import threading
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_64

from codecs_core import (
    Block,
    ChecksumMismatch,
    CodecsCoreError,
    CorruptPayload,
    FileBlock,
    LinkTimeout,
    MemoryBlock,
    ProtocolError,
    Receiver,
    RemoteError,
    Sender,
    StreamSink,
    StreamSource,
    TransferError,
    UsageError,
    get_codec,
)
from codecs_core.codec import Buffer
from codecs_core.engine.channel import ReceivingChannel, SendingChannel
from codecs_core.engine.methods import method_of
from codecs_core.engine.packing import Packing, Unpacker
from codecs_core.engine.round import Round
from codecs_core.engine.sync import SyncBarrier
from codecs_core.memory.block import PageRun
from codecs_core.registry import Registry
from codecs_core.wire import checksum as sums
from codecs_core.wire import control
from codecs_core.wire.packet import header_size

from .conftest import GEOMETRY, Peer, Running, packet

PAGE = GEOMETRY.page_size
HEADER = header_size(GEOMETRY)
MEMORY = b"".join((os.urandom(PAGE), bytes(PAGE), b"guest ram " * 52, bytes(20))).ljust(
    7 * PAGE, b"x"
) + bytes(PAGE)
"""Pages that do not compress, compress, and are zero: three packets' worth with a SYNC."""


class Wire:
    """Both ends of a channel without a connection: what is sent can be damaged before it comes."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.data = memoryview(b"")

    def send(self, buffers: Sequence[Buffer]) -> None:
        self.sent.append(b"".join(map(bytes, buffers)))

    def end(self) -> None:
        pass

    def count(self) -> None:
        pass

    def backlog(self) -> int | None:
        return None

    def confirm(self) -> None:
        pass

    def receive_into(self, buffer: memoryview) -> int:
        count = min(len(buffer), len(self.data))
        buffer[:count] = self.data[:count]
        self.data = self.data[count:]
        return count


def sent(codec: str, memory: Any = MEMORY, *, checksum: bool = True) -> list[bytes]:
    """The packets of a block, and a SYNC behind them."""
    wire = Wire()
    methods = {method_of(get_codec(codec)): get_codec(codec)}
    packer = Packing(methods, GEOMETRY, adaptive=False).packer()
    channel = SendingChannel(0, wire, packer, GEOMETRY, iter(range(99)), checksum=checksum)
    block = memory if isinstance(memory, Block) else MemoryBlock("ram", memory, PAGE)
    channel.send_round(Round(block.runs(GEOMETRY.pages_per_packet)))
    channel.send_sync()
    channel.close()
    return wire.sent


def received(codec: str, data: bytes, block: Block, *, checksum: bool = True) -> list[int]:
    """Receive a channel's bytes into ``block``; the numbers of the SYNCs that passed."""
    wire = Wire()
    wire.data = memoryview(data)
    synced: list[int] = []
    channel = ReceivingChannel(
        0,
        wire,
        Unpacker({method_of(get_codec(codec)): get_codec(codec)}, GEOMETRY),
        GEOMETRY,
        {"ram": block},
        SyncBarrier(1),
        synced.append,
        checksum=checksum,
    )
    try:
        channel.run()
    finally:
        channel.close()
    return synced


def flipped(data: bytes, bit: int) -> bytes:
    bad = bytearray(data)
    bad[bit // 8] ^= 1 << bit % 8
    return bytes(bad)


@pytest.mark.parametrize("codec", list(Registry()))
class TestAnyBit:
    """A bit of a channel's bytes is flipped."""

    def test_of_none(self, codec: str) -> None:
        copy = bytearray(len(MEMORY))
        assert received(codec, b"".join(sent(codec)), MemoryBlock("ram", copy, PAGE)) == [1]
        assert copy == MEMORY

    def test_of_a_header(self, codec: str) -> None:
        """Packets of both kinds of pages, of zero pages alone, and the SYNC."""
        packets = sent(codec)
        before = 0
        for each in packets:
            for bit in range(0, 8 * HEADER, 1 if codec == "none" else 37):
                bad = flipped(b"".join(packets), 8 * before + bit)
                with pytest.raises(ChecksumMismatch, match="it was damaged on the way"):
                    received(codec, bad, MemoryBlock("ram", bytearray(len(MEMORY)), PAGE))
            before += len(each)

    @given(data=st.data())
    def test_of_anything(self, codec: str, data: st.DataObject) -> None:
        """It is noticed, by the kind of error that fits, or changes no page."""
        packets = sent(codec)
        whole = b"".join(packets)
        bit = data.draw(st.integers(0, 8 * len(whole) - 1))
        at = bit // 8
        for each in packets:
            if at < len(each):
                break
            at -= len(each)
        copy = bytearray(len(MEMORY))
        failed: CodecsCoreError | None = None
        try:
            received(codec, flipped(whole, bit), MemoryBlock("ram", copy, PAGE))
        except CodecsCoreError as error:
            failed = error
        if at < HEADER:
            assert isinstance(failed, ProtocolError)
        else:
            assert isinstance(failed, CorruptPayload) or copy == MEMORY


@pytest.mark.parametrize("codec", list(Registry()))
def test_packets_that_change_their_payloads(codec: str) -> None:
    """Each is sound, but not with the other's header."""
    first, second = sent("none", os.urandom(2 * GEOMETRY.packet_size))[:2]
    data = first[:HEADER] + second[HEADER:]
    with pytest.raises(CorruptPayload, match="packet 0: its pages have the checksum"):
        received("none", data, MemoryBlock("ram", bytearray(8 * PAGE), PAGE))


def test_a_file_gets_no_page_before_it_is_checked(tmp_path: Path) -> None:
    """Nor does a stream: what went into a pipe cannot be taken back."""
    bad = flipped(b"".join(sent("none")), 8 * (HEADER + 5))
    file = FileBlock.create(tmp_path / "a", len(MEMORY), "ram", PAGE)
    written: list[int] = []
    with open(tmp_path / "b", "wb") as pipe:
        for block in (file, StreamSink("ram", pipe.fileno(), len(MEMORY), PAGE)):
            with pytest.raises(CorruptPayload):
                received("none", bad, block)
            written.append(os.stat(tmp_path / ("a" if block is file else "b")).st_blocks)
    file.close()
    assert written == [0, 0]


def test_without_checksums_the_format_is_qemus() -> None:
    plain = b"".join(sent("none", checksum=False))
    sealed = b"".join(sent("none"))
    assert plain != sealed
    at = 0
    for each in sent("none", checksum=False):
        assert each[36:64] == bytes(28)
        header = bytearray(sealed[at : at + HEADER])
        sums.clear(header)
        assert header == each[:HEADER]
        at += len(each)


class TestLiveMemory:
    """Memory that changes while it is sent."""

    @pytest.fixture
    def changing(self, monkeypatch: pytest.MonkeyPatch) -> bytearray:
        memory = bytearray(b"a" * GEOMETRY.packet_size)
        seal = sums.seal

        def seal_and_change(header: memoryview, pages: int = 0) -> None:
            seal(header, pages)
            memory[:] = b"b" * len(memory)

        monkeypatch.setattr(sums, "seal", seal_and_change)
        return memory

    def test_is_noticed(self, changing: bytearray) -> None:
        data = b"".join(sent("none", changing))
        with pytest.raises(CorruptPayload, match="or changed while they were sent"):
            received("none", data, MemoryBlock("ram", bytearray(len(changing)), PAGE))

    def test_is_sent_as_it_was_when_it_is_told(self, changing: bytearray) -> None:
        data = b"".join(sent("none", MemoryBlock("ram", changing, PAGE, live=True)))
        copy = bytearray(len(changing))
        received("none", data, MemoryBlock("ram", copy, PAGE))
        assert copy == b"a" * len(changing)
        assert changing == b"b" * len(changing)

    def test_of_chosen_pages(self) -> None:
        block = MemoryBlock("ram", bytes(range(256)) * 8, PAGE, live=True)
        scratch = memoryview(bytearray(GEOMETRY.packet_size))
        run = PageRun(block, 0, 2, array("Q", [0, 3]))
        pages = block.read(run, scratch)
        assert pages.obj is scratch.obj
        assert pages == bytes(range(256)) * 4


class TestHostile:
    """A sender that agrees on checksums, and sends wrong ones."""

    @pytest.fixture
    def joined(self, against_receiver: tuple[Peer, Running]) -> tuple[Peer, Running, socket.socket]:
        peer, running = against_receiver
        channel = peer.channel(peer.agree(checksum=sums.CHECKSUM))
        return peer, running, channel

    def fails(self, peer: Peer, running: Running, kind: type[Exception], message: str) -> None:
        reason = peer.reason()
        error = running.wait()
        assert type(error) is kind, error
        assert message in str(error)
        assert reason == str(error)

    def sealed(self, data: bytes, *, pages: bytes | None = None) -> bytes:
        raw = bytearray(packet(data, 0)[:HEADER])
        sums.seal(raw, sums.of_pages(data if pages is None else pages))
        return bytes(raw) + data

    def test_of_pages(self, joined: tuple[Peer, Running, socket.socket]) -> None:
        peer, running, channel = joined
        channel.sendall(self.sealed(b"x" * PAGE, pages=b"y" * PAGE))
        self.fails(peer, running, ChecksumMismatch, "packet 7: its pages have the checksum")

    def test_of_a_header(self, joined: tuple[Peer, Running, socket.socket]) -> None:
        peer, running, channel = joined
        channel.sendall(packet(b"x" * PAGE, 0))
        self.fails(peer, running, ChecksumMismatch, "not 0000000000000000 as it says")

    def test_of_what_was_said(self, joined: tuple[Peer, Running, socket.socket]) -> None:
        peer, running, channel = joined
        channel.sendall(self.sealed(b"x" * PAGE))
        channel.close()
        done = control.Done(1, 0, 0, {})
        peer.send(control.seal(done, xxh3_64(b"another HELLO, another ACCEPT")))
        self.fails(peer, running, ChecksumMismatch, "a message was damaged on the way")

    def test_that_are_left_out_in_the_end(
        self, joined: tuple[Peer, Running, socket.socket]
    ) -> None:
        peer, running, channel = joined
        channel.close()
        peer.send(control.Done(0, 0, 0, {}))
        self.fails(peer, running, ChecksumMismatch, "DONE has the checksum None")

    def test_of_another_kind(self, against_receiver: tuple[Peer, Running]) -> None:
        peer, running = against_receiver
        peer.control.sendall(control.PREAMBLE)
        hello = control.encode(peer.hello(checksum=sums.CHECKSUM)).replace(b"xxh3-64", b"crc-064")
        peer.control.sendall(hello)
        self.fails(peer, running, ProtocolError, "Invalid enum value 'crc-064'")

    @pytest.mark.parametrize(
        ("agreed", "digests"), [(None, {"ram": "0" * 32}), ("full", {}), ("full", {"r": "0" * 32})]
    )
    def test_with_digests_of_other_blocks(
        self, against_receiver: tuple[Peer, Running], agreed: Any, digests: dict[str, str]
    ) -> None:
        peer, running = against_receiver
        peer.channel(peer.agree(verify=agreed)).close()
        peer.send(control.Done(0, 0, 0, {}, digests=digests))
        self.fails(peer, running, ProtocolError, "DONE brings the digests of ")

    def test_with_a_digest_that_differs(self, against_receiver: tuple[Peer, Running]) -> None:
        peer, running = against_receiver
        peer.channel(peer.agree(verify="full")).close()
        peer.send(control.Done(0, 0, 0, {}, digests={"ram": "0" * 32}))
        self.fails(peer, running, TransferError, "block 'ram' is not here what it is at the sender")


class Flipping:
    """Leads connections on to ``target``; one bit of the first of them changes on the way.

    ``bit`` counts from the first byte that the sender says, or with ``back`` the receiver.
    """

    def __init__(self, target: str, bit: int, *, back: bool) -> None:
        host, port = target.removeprefix("tcp:").split(":")
        self._target = (host, int(port))
        self._bits = {back: bit}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp:127.0.0.1:{self._listener.getsockname()[1]}"
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._ends: list[socket.socket] = [self._listener]
        self._closing = threading.Event()
        self._running = Running(self._serve)

    def close(self) -> None:
        self._closing.set()
        self._running.result()
        self._selector.close()
        for each in self._ends:
            each.close()

    def _serve(self) -> None:
        while not self._closing.is_set():
            for key, _ in self._selector.select(0.01):
                with suppress(OSError):
                    if key.data is None:
                        self._accept()
                    else:
                        self._pass(key.fileobj, *key.data)

    def _accept(self) -> None:
        near, far = self._listener.accept()[0], socket.socket()
        first = len(self._ends) == 1
        self._ends += [near, far]
        far.connect(self._target)
        self._selector.register(near, selectors.EVENT_READ, (far, False, first))
        self._selector.register(far, selectors.EVENT_READ, (near, True, first))

    def _pass(self, inlet: Any, outlet: socket.socket, back: bool, first: bool) -> None:
        data = bytearray(inlet.recv(1 << 16))
        if not data:
            self._selector.unregister(inlet)
            outlet.shutdown(socket.SHUT_WR)
        if first and back in self._bits:
            bit = self._bits[back]
            if bit < 8 * len(data):
                data[bit // 8] ^= 1 << bit % 8
                del self._bits[back]
            else:
                self._bits[back] = bit - 8 * len(data)
        outlet.sendall(data)


class TestControlBits:
    """A bit of the control connection flips: what is named then is what was sent, or nothing."""

    NAMES = ("a", "b")

    def outcome(self, bit: int, *, back: bool) -> dict[str, bytes] | None:
        """The blocks that the receiver gave their names, if it did; otherwise both have failed."""
        made: dict[str, bytearray] = {}
        named: dict[str, bytes] = {}

        def take(name: str, size: int | None, page_size: int) -> Block:
            made[name] = bytearray(size or 0)
            block = MemoryBlock(name, made[name], page_size)
            block.reads_zero = name == "a"
            return block

        def name_them() -> None:
            named.update({name: bytes(each) for name, each in made.items()})

        failed = False
        with Receiver("tcp:127.0.0.1:0", open_block=take, timeout=0.3) as receiver:
            receiving = Running(receiver.receive, name_them)
            proxy = Flipping(receiver.address, bit, back=back)
            try:
                with Sender(proxy.address, channels=1, timeout=0.3) as sender:
                    for name in self.NAMES:
                        sender.add_block(name, MEMORY)
                    sender.send()
            except CodecsCoreError:
                failed = True
            finally:
                proxy.close()
            error = receiving.wait()
        if error is None:
            assert named
        else:
            assert isinstance(error, CodecsCoreError)
            assert failed
        return named or None

    # HELLO has less than 300 bytes, ACCEPT and ACK less than 100.
    @pytest.mark.parametrize(
        ("back", "bits"), [(False, range(0, 2400, 31)), (True, range(0, 600, 23))]
    )
    def test_of_either_end(self, back: bool, bits: range) -> None:
        outcomes = [self.outcome(bit, back=back) for bit in bits]
        whole = dict.fromkeys(self.NAMES, MEMORY)
        assert [each for each in outcomes if each not in (None, whole)] == []
        assert None in outcomes


def test_a_message_whose_length_is_damaged_is_not_waited_for(
    against_receiver: tuple[Peer, Running],
) -> None:
    """Signs of life go on behind it, and look like its body."""
    peer, running = against_receiver
    peer.control.sendall(control.PREAMBLE)
    frame = bytearray(control.encode(peer.hello()))
    frame[2] ^= 8
    peer.control.sendall(frame)
    with peer.alive():
        reason = peer.reason()
    running.wait()
    assert reason is not None
    assert "of a message's" in reason


def test_a_packet_whose_frame_is_damaged_is_not_waited_for() -> None:
    """Over one connection: DONE and all signs of life look like the rest of a frame."""
    ours, theirs = socket.socketpair()
    with theirs, Receiver(f"fd:{theirs.fileno()}", timeout=0.6) as receiver:
        receiver.add_block("ram", bytearray(4096))
        running = Running(receiver.receive)
        peer = Peer(ours)
        peer.agree(checksum=sums.CHECKSUM, shared=True)
        frame = bytearray(control.encode(control.Data(sent("none")[-1])))
        frame[2] ^= 8
        ours.sendall(frame)
        peer.send(control.Done(0, 0, 0, {}))
        with peer.alive():
            error = running.wait()
        peer.close()
    assert type(error) is LinkTimeout
    assert "bytes of a packet did not come" in str(error)


def test_an_older_sender_is_served(against_receiver: tuple[Peer, Running]) -> None:
    """Its HELLO knows no checksum, and its packets have none."""
    peer, running = against_receiver
    channel = peer.channel(peer.agree())
    channel.sendall(packet(b"x" * PAGE, 0))
    channel.close()
    peer.send(control.Done(1, 0, 0, {}))
    assert isinstance(peer.receive(), control.Ack)
    peer.close()
    done = running.result()
    assert (done.pages, done.checksum, done.verified) == (1, False, False)


@pytest.mark.parametrize("checksum", [True, False])
def test_progress_tells_whether_packets_are_checked(checksum: bool) -> None:
    copy = bytearray(len(MEMORY))
    with Receiver("tcp:127.0.0.1:0") as receiver:
        receiver.add_block("ram", copy)
        receiving = Running(receiver.receive)
        with Sender(receiver.address, checksum=checksum) as sender:
            sender.add_block("ram", MEMORY)
            sender.send()
        received = receiving.result()
    for done in (sender.progress(), received):
        assert json.loads(json.dumps(done.as_dict()))["checksum"] is checksum
        assert not done.verified
    assert copy == MEMORY


class Damaged(FileBlock):
    """A file that its disk has changed."""

    def sync(self) -> None:
        super().sync()
        os.pwrite(self._fd, b"!", 3 * PAGE)


class TestVerify:
    """``verify="full"``: whole blocks, compared in the end."""

    def transfer(
        self, source: Block | bytes, target: Block | bytearray, **options: Any
    ) -> tuple[Any, Any]:
        with Receiver("tcp:127.0.0.1:0") as receiver:
            receiver.add_block("ram", target)
            receiving = Running(receiver.receive)
            try:
                with Sender(receiver.address, verify="full", **options) as sender:
                    sender.add_block("ram", source)
                    sender.send()
            finally:
                received = receiving.wait()
        return sender.progress(), received

    @pytest.mark.parametrize("size", [0, 1, 4096, (1 << 20) + 1, (3 << 20) - 1])
    @pytest.mark.parametrize("kind", ["memory", "file", "sink"])
    def test_of_what_is_the_same(self, tmp_path: Path, size: int, kind: str) -> None:
        data = (MEMORY * (size // len(MEMORY) + 1))[:size]
        (tmp_path / "a").write_bytes(data)
        with open(tmp_path / "c", "wb") as file:
            target: Block | bytearray = {
                "memory": lambda: bytearray(size),
                "file": lambda: FileBlock.create(tmp_path / "b", size, "ram"),
                "sink": lambda: StreamSink("ram", file.fileno(), size),
            }[kind]()
            done, error = self.transfer(FileBlock.open(tmp_path / "a", "ram"), target)
        assert error is None
        assert done.verified
        assert done.as_dict()["verified"] is True

    @pytest.mark.parametrize("size", [0, 1, 4096, (3 << 20) - 1])
    def test_of_streams(self, tmp_path: Path, size: int) -> None:
        data = (MEMORY * (size // len(MEMORY) + 1))[:size]
        (tmp_path / "a").write_bytes(data)
        with open(tmp_path / "a", "rb") as source, open(tmp_path / "b", "wb") as sink:
            done, error = self.transfer(
                StreamSource("ram", source.fileno()), StreamSink("ram", sink.fileno())
            )
        assert error is None
        assert done.verified
        assert (tmp_path / "b").read_bytes() == data

    def test_of_what_the_disk_has_changed(self, tmp_path: Path) -> None:
        block = Damaged.create(tmp_path / "b", len(MEMORY), "ram")
        with pytest.raises(RemoteError, match="block 'ram' is not here what it is at the sender"):
            self.transfer(MEMORY, block)

    def test_of_a_source_that_changed_meanwhile(self) -> None:
        memory = bytearray(MEMORY)

        class Changing(MemoryBlock):
            def content(self) -> Iterator[memoryview]:
                memory[5] ^= 1
                return super().content()

        with pytest.raises(RemoteError, match="or changed while it was sent"):
            self.transfer(Changing("ram", memory), bytearray(len(MEMORY)))

    def test_of_a_block_that_cannot_be_read_back(self) -> None:
        class Odd(MemoryBlock):
            content = Block.content

        with pytest.raises(RemoteError, match="block 'ram' cannot be read as a whole"):
            self.transfer(MEMORY, Odd("ram", bytearray(len(MEMORY))))

    def test_without_checksums(self) -> None:
        done, error = self.transfer(MEMORY, bytearray(len(MEMORY)), checksum=False)
        assert error is None
        assert (done.verified, done.checksum) == (True, False)

    def test_of_nothing_else(self) -> None:
        with pytest.raises(UsageError, match="verify expects none or full, not 'half'"):
            Sender("tcp:127.0.0.1:1", verify="half")  # type: ignore[arg-type]


class TestStableStorage:
    """``sync_on_finish``: first on the disk, then acknowledged."""

    @pytest.fixture
    def events(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        seen: list[str] = []
        fsync = os.fsync

        def record(fd: int) -> None:
            fsync(fd)
            seen.append(os.path.basename(os.readlink(f"/proc/self/fd/{fd}")))

        monkeypatch.setattr(os, "fsync", record)
        return seen

    def transfer(
        self,
        tmp_path: Path,
        named: Callable[[], None] | None = None,
        **options: Any,
    ) -> BaseException | None:
        with open(tmp_path / "b", "wb") as sink:
            with Receiver("tcp:127.0.0.1:0", **options) as receiver:
                receiver.add_block("ram", FileBlock.create(tmp_path / "a", len(MEMORY), "ram"))
                receiver.add_block("more", StreamSink("more", sink.fileno(), len(MEMORY)))
                receiving = Running(receiver.receive, named)
                try:
                    with Sender(receiver.address) as sender:
                        sender.add_block("ram", MEMORY)
                        sender.add_block("more", MEMORY)
                        sender.send()
                except RemoteError:
                    assert receiving.wait() is not None
                return receiving.wait()

    def test_comes_before_the_name_and_the_acknowledgement(
        self, tmp_path: Path, events: list[str]
    ) -> None:
        assert self.transfer(tmp_path, lambda: events.append("named")) is None
        assert events == ["a", "b", "named"]

    def test_may_be_waived(self, tmp_path: Path, events: list[str]) -> None:
        assert self.transfer(tmp_path, sync_on_finish=False) is None
        assert events == []

    @pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
    @pytest.mark.parametrize("which", ["a", "b"])
    def test_that_fails_is_never_acknowledged(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, which: str
    ) -> None:
        named: list[str] = []

        def fail(fd: int) -> None:
            if os.readlink(f"/proc/self/fd/{fd}").endswith(f"/{which}"):
                raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "fsync", fail)
        error = self.transfer(tmp_path, lambda: named.append("named"))
        assert type(error) is TransferError
        assert f"cannot be brought to stable storage: {os.strerror(code)}" in str(error)
        assert named == []
