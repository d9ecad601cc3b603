"""Every packet by the codec that its channel chooses: between real ends, and against bad ones."""

from __future__ import annotations

import itertools
import json
import random
import re
import socket
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest

from codecs_core import (
    CodecError,
    CodecUnavailable,
    Geometry,
    ProtocolError,
    Receiver,
    RemoteError,
    Sender,
    get_codec,
    guard,
)
from codecs_core.cli.progress import summary
from codecs_core.codec import DEFAULT_GEOMETRY
from codecs_core.engine.adapt import Chooser
from codecs_core.engine.methods import Adaptive
from codecs_core.engine.packing import (
    AdaptivePacker,
    Packer,
    Packing,
    Unpacker,
    looks_random,
)
from codecs_core.engine.sampling import _samples
from codecs_core.wire import control

from .conftest import Peer, Running, packet
from .test_hostile_sender import DATA, fails_with

SEVERAL = Adaptive(
    (get_codec("zstd"), get_codec("zstd", level=3), get_codec("zlib"), get_codec("lz4"))
)
PACKET = DEFAULT_GEOMETRY.packet_size


class Stubborn(Chooser):
    """Uses one candidate after the other, so that all of them are seen."""

    def __init__(self, *settings: Any, **more: Any) -> None:
        # A channel is a thread, and takes its own turns.
        self._mine = threading.local()
        super().__init__(*settings, **more)

    @property
    def current(self) -> int:
        return getattr(self._mine, "turns", 0) % len(self._candidates)

    def took(self, elapsed: float, size: int, *, busy: bool) -> None:
        super().took(elapsed, size, busy=busy)
        self._mine.turns = getattr(self._mine, "turns", 0) + 1


@pytest.fixture
def in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codecs_core.engine.packing.Chooser", Stubborn)
    # It is asked for every packet, however fast the link takes one as it is.
    monkeypatch.setattr("codecs_core.engine.packing._OFTEN", 0.0)


def text(packets: int) -> bytearray:
    """Pages that pack well, others each time, and some that do not pack at all."""
    chance = random.Random(1)
    words = [chance.randbytes(12) for _ in range(500)]
    parts = [b"".join(chance.choices(words, k=PACKET // 12 + 1))[:PACKET] for _ in range(packets)]
    parts[packets // 2] = chance.randbytes(PACKET)
    return bytearray(b"".join(parts))


def transfer(uri: str, data: bytearray, **settings: Any) -> tuple[bytearray, Any, Any]:
    copy = bytearray(len(data))
    with Receiver(uri) as receiver:
        receiver.add_block("ram", copy)
        receiving = Running(receiver.receive)
        with Sender(receiver.address, **settings) as sender:
            sender.add_block("ram", data)
            sender.send()
        return copy, sender.progress(), receiving.result()


@pytest.mark.parametrize("uri", ["tcp:127.0.0.1:0", "unix"])
@pytest.mark.parametrize("settings", [{}, {"channels": 1}, {"retry_for": 5.0, "checksum": False}])
def test_pages_arrive(uri: str, settings: dict[str, Any], tmp_path: Any) -> None:
    data = text(24)
    uri = f"unix:{tmp_path}/s" if uri == "unix" else uri
    copy, sent, received = transfer(uri, data, codec="auto", **settings)
    assert copy == data
    assert sent.codec == received.codec == "auto"
    assert sum(sent.methods.values()) == sum(received.methods.values()) == 24
    assert sent.methods == received.methods


@pytest.mark.usefixtures("in_turn")
def test_each_method_has_a_history_of_its_own() -> None:
    """All are mixed on every channel, and each decoder sees its own packets in order."""
    data = text(40)
    copy, sent, received = transfer("tcp:127.0.0.1:0", data, codec=SEVERAL)
    assert copy == data
    assert set(sent.methods) == {"none", "zstd", "zstd level 3", "zlib", "lz4"}
    assert sent.methods == received.methods


def test_tells_what_it_uses_and_why() -> None:
    _, sent, _ = transfer("tcp:127.0.0.1:0", text(24), codec="auto")
    shown = json.loads(json.dumps(sent.as_dict()))
    assert shown["methods"] == sent.methods
    # One channel may have been fast enough for all of it.
    by_channel: Counter[str] = Counter()
    for channel in shown["channels"]:
        by_channel.update(channel["methods"])
        assert channel["reason"]
    assert by_channel == sent.methods
    (first, *_), share = sent.methods, max(sent.methods.values()) / 24
    assert f"with auto ({first} {share:.0%}" in summary(sent)


def test_one_codec_has_no_choice_to_explain() -> None:
    _, sent, _ = transfer("tcp:127.0.0.1:0", text(2), codec="zstd", level=3)
    assert sent.methods == {"zstd level 3": 2}
    assert {each.reason for each in sent.channels} == {""}
    assert "auto" not in summary(sent)


@pytest.mark.usefixtures("in_turn")
def test_a_receiver_without_some_of_the_codecs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sender does without them, too."""
    from codecs_core.engine import methods

    made = methods._made

    def without(name: str, *rest: Any) -> Any:
        return made("absent" if name == "zstd" else name, *rest)

    monkeypatch.setattr(methods, "_made", without)
    data = text(24)
    copy, sent, _ = transfer("tcp:127.0.0.1:0", data, codec=SEVERAL)
    assert copy == data
    assert set(sent.methods) == {"none", "zlib", "lz4"}


def test_an_older_receiver_is_told_of() -> None:
    """It does not know the field, and says so; the sender says what to do."""
    listener = socket.create_server(("127.0.0.1", 0))

    def play() -> None:
        sock, _ = listener.accept()
        peer = Peer(sock)
        peer._exactly(control.PREAMBLE_SIZE)
        assert isinstance(peer.receive(), control.Hello)
        peer.send(control.Error("HELLO message: Object contains unknown field `methods`"))
        with suppress(OSError, EOFError):
            peer.receive()
        peer.close()

    running = Running(play)
    with pytest.raises(RemoteError, match=r"does not know codec 'auto' .*remedy: name a codec"):
        with Sender(f"tcp:127.0.0.1:{listener.getsockname()[1]}", codec="auto") as sender:
            sender.add_block("ram", bytearray(4096))
    running.result()
    listener.close()


@pytest.mark.parametrize("methods", [[], [2], [0, 9]])
def test_a_receiver_that_takes_what_was_not_offered(
    script: Callable[[Callable[[Peer, socket.socket], None]], str], methods: list[int]
) -> None:
    def play(peer: Peer, listener: socket.socket) -> None:
        peer.send(control.Accept(uuid4().hex, methods=methods))
        assert "must be some of them" in (peer.reason() or "")

    with pytest.raises(ProtocolError, match=r"of \[0, 2, 31, 1, 30\]|must be some of them"):
        with Sender(script(play), codec=SEVERAL) as sender:
            sender.add_block("ram", bytearray(4096))


class TestHostileSender:
    METHODS = [control.Method(0, "none", {}), control.Method(30, "lz4", {})]

    def test_a_method_that_was_not_agreed_on(self, against_receiver: tuple[Peer, Running]) -> None:
        peer = against_receiver[0]
        token = peer.agree(codec="auto", methods=self.METHODS)
        peer.channel(token).sendall(packet(DATA, 0, method=2))
        fails_with(against_receiver, ProtocolError, "method 2, but method 0, 30 were agreed")

    def test_a_method_that_the_receiver_does_not_have(
        self, against_receiver: tuple[Peer, Running]
    ) -> None:
        peer = against_receiver[0]
        absent = control.Method(29, "absent", {})
        token = peer.agree(codec="auto", methods=[*self.METHODS, absent])
        peer.channel(token).sendall(packet(DATA, 0, method=29))
        fails_with(against_receiver, ProtocolError, "method 29, but method 0, 30 were agreed")

    def test_raw_pages_under_a_codecs_method(self, against_receiver: tuple[Peer, Running]) -> None:
        peer = against_receiver[0]
        token = peer.agree(codec="auto", methods=self.METHODS)
        peer.channel(token).sendall(packet(DATA, 0, method=30))
        peer, running = against_receiver
        peer.reason()
        assert isinstance(running.wait(), CodecError)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"methods": []}, "without method 0"),
            ({"methods": [control.Method(0, "zstd", {})]}, "offers codec 'zstd' as method 0"),
            ({"methods": [METHODS[0]] * 2}, "offers codec 'none' as method 0"),
            ({"methods": METHODS, "codec": "zstd"}, "and codec 'zstd'"),
        ],
    )
    def test_offers_that_are_refused(
        self, against_receiver: tuple[Peer, Running], changes: dict[str, Any], message: str
    ) -> None:
        peer, running = against_receiver
        peer.control.sendall(control.PREAMBLE)
        peer.send(peer.hello(**({"codec": "auto"} | changes)))
        answer = peer.receive()
        assert isinstance(answer, control.Reject)
        assert message in answer.reason
        running.wait()

    def test_more_methods_than_there_are_numbers(
        self, against_receiver: tuple[Peer, Running]
    ) -> None:
        peer = against_receiver[0]
        peer.control.sendall(control.PREAMBLE)
        peer.send(peer.hello(codec="auto", methods=[self.METHODS[0]] * 33))
        fails_with(against_receiver, ProtocolError, "`array` of length <= 32")


class TestPackers:
    def packer(self) -> Packer:
        packer = Packing(SEVERAL.methods, DEFAULT_GEOMETRY, adaptive=True).packer()
        assert isinstance(packer, AdaptivePacker)
        return packer

    def test_one_encoder_and_one_decoder_at_a_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Those of samples included; what was counted by all before is not forgotten."""
        alive: list[object] = []
        most = 0

        def counted(kind: str) -> Callable[..., Any]:
            make = getattr(guard, f"guarded_{kind}")

            def made(*args: Any) -> Any:
                nonlocal most
                session = make(*args)
                close = session.close
                alive.append(session)
                most = max(most, len(alive))
                session.close = lambda: (alive.remove(session), close())
                session.statistics = lambda: {"made": 1}
                return session

            return made

        for module, kind in (
            ("packing", "encoder"),
            ("packing", "decoder"),
            ("sampling", "encoder"),
        ):
            monkeypatch.setattr(f"codecs_core.engine.{module}.guarded_{kind}", counted(kind))
        unpacker = Unpacker(SEVERAL.methods, DEFAULT_GEOMETRY)
        assert unpacker.decoder(0) is None
        for method in (2, 2, 31, 0, 2):
            unpacker.decoder(method)
        assert unpacker.statistics() == {"made": 3}
        unpacker.close()
        packer = self.packer()
        used = []
        for number in range(7):
            packer.encode(memoryview(text(3))[:PACKET])
            used.append(packer.method)
            packer._chooser._model.use(1 + number % 3)  # type: ignore[attr-defined]
        packer.close()
        assert packer.statistics()["made"] == len(list(itertools.groupby(used))) >= 6
        assert not alive
        assert most == 2

    def test_a_history_that_only_the_receiver_has_is_not_gone_on_with(self) -> None:
        """A codec fails with its first packet, when the one before it is closed already."""

        class Failing(type(get_codec("lz4"))):  # type: ignore[misc]
            def encoder(self, geometry: Geometry = DEFAULT_GEOMETRY) -> Any:
                encoder = super().encoder(geometry)
                encode = encoder.encode

                def once(packet: memoryview) -> Any:
                    if not working:
                        raise CodecError("it has had enough")
                    return encode(packet)

                encoder.encode = once
                return encoder

        working = True
        methods = {0: get_codec("none"), 2: get_codec("zstd"), 31: Failing(), 1: get_codec("zlib")}
        packer = Packing(methods, DEFAULT_GEOMETRY, adaptive=True).packer()
        unpacker = Unpacker(methods, DEFAULT_GEOMETRY)
        pages, served = memoryview(text(3))[:PACKET], []
        # Candidates are in the order of the methods.
        for candidate in (1, 1, 2, 1, 3, 1):
            packer._chooser._samples.wanted = ()  # type: ignore[attr-defined]
            packer._chooser._model.use(candidate)  # type: ignore[attr-defined]
            working = candidate != 2
            payload = packer.encode(pages)
            served.append(packer.method)
            target = memoryview(bytearray(PACKET))
            decode_into = unpacker.decoder(packer.method)
            if decode_into is not None:
                decode_into(memoryview(payload), target)
                assert target == pages
        assert served == [2, 2, 0, 0, 1, 0]
        assert "its history went with lz4" in packer.reason()
        packer.close()
        unpacker.close()

    def test_says_of_a_link_only_what_it_has_seen(self) -> None:
        packer = self.packer()
        assert packer.reason() == "the link has not been waited for yet: none is quick enough"
        packer.close()

    def test_noise_is_sent_as_it_is(self) -> None:
        """But for one packet in sixteen, which shows whether it is noise."""
        chance, packer = random.Random(2), self.packer()
        packer.encode(memoryview(text(2))[:PACKET])
        packer._chooser._model.use(1)  # type: ignore[attr-defined]
        for _ in range(32):
            packer.encode(memoryview(chance.randbytes(PACKET)))
        assert packer.packets["none"] == 30
        packer.close()

    def test_what_only_looks_like_noise_is_found_out(self) -> None:
        """A page of noise, again and again: every codec shrinks that."""
        page = random.Random(3).randbytes(4096)
        packer = self.packer()
        packer.encode(memoryview(text(2))[:PACKET])
        before = packer.packets.get("none", 0)
        packer._chooser._model.use(1)  # type: ignore[attr-defined]
        pages = memoryview(page * (PACKET // 4096))
        assert looks_random(pages)
        for _ in range(20):
            packer.encode(pages)
        assert packer.packets.get("none", 0) == before
        packer.close()

    @pytest.mark.parametrize("size", [4096, 16384, 40960, PACKET])
    def test_looks_at_packets_of_any_size(self, size: int) -> None:
        assert looks_random(memoryview(random.Random(4).randbytes(size))) == (size >= 16384)
        assert not looks_random(memoryview(b"guest memory " * size)[:size])

    def test_a_codec_that_cannot_encode_here_is_left_out(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Broken(type(get_codec("lz4"))):  # type: ignore[misc]
            def encoder(self, geometry: Geometry = DEFAULT_GEOMETRY) -> Any:
                raise CodecError("its device is on fire")

        packing = Packing(
            {0: get_codec("none"), 31: Broken(), 2: get_codec("zstd")},
            DEFAULT_GEOMETRY,
            adaptive=True,
        )
        packer = packing.packer()
        for at in range(8):
            packer.encode(memoryview(text(8))[at * PACKET :][:PACKET])
        assert set(packer.packets) <= {"none", "zstd"}
        assert packing.costs.lost == {1}
        packer.close()

    def test_a_codec_that_makes_nothing_is_left_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing would be the best ratio of all."""
        lz4 = get_codec("lz4")
        encoder = type(lz4.encoder())
        monkeypatch.setattr(encoder, "encode", lambda *_: b"")
        packing = Packing({0: get_codec("none"), 31: lz4}, DEFAULT_GEOMETRY, adaptive=True)
        packer = packing.packer()
        for at in range(4):
            packer.encode(memoryview(text(4))[at * PACKET :][:PACKET])
        assert packer.packets == {"none": 4}
        assert packing.costs.lost == {1}
        packer.close()

    @pytest.mark.parametrize("page_size", [512, 4096, 1 << 17, 1 << 21])
    def test_samples_are_whole_pages(self, page_size: int) -> None:
        for pages in range(1, 1 + min(128, (1 << 21) // page_size)):
            packet = memoryview(bytes(pages * page_size))
            sizes = [len(each) for each in _samples(packet, page_size, 0)]
            assert sizes
            assert all(size and size % page_size == 0 for size in sizes), (pages, sizes)
            assert sum(sizes) <= len(packet)


class TestFailing:
    """A codec that works at first, and then does not: what was sent before must still decode."""

    @pytest.fixture
    def transfer_with(
        self, monkeypatch: pytest.MonkeyPatch, in_turn: None
    ) -> Callable[[Exception], Any]:
        def run(error: Exception) -> Any:
            encoder = type(get_codec("zstd").encoder())
            encode = encoder.encode
            left = iter(range(6))

            def failing(session: Any, packet: memoryview) -> Any:
                payload = encode(session, packet)
                if len(packet) == PACKET and next(left, None) is None:
                    raise error
                return payload

            monkeypatch.setattr(encoder, "encode", failing)
            data = text(60)
            # One channel, so that it is certain whose turn it is when the codec fails: zstd's.
            copy, sent, received = transfer("tcp:127.0.0.1:0", data, codec=SEVERAL, channels=1)
            assert copy == data
            assert sent.methods == received.methods
            return sent

        return run

    @pytest.mark.parametrize(
        "error",
        [
            CodecError("the device was reset"),
            CodecUnavailable("the device was reset", name="zstd"),
            ZeroDivisionError("the device was reset"),
        ],
    )
    def test_is_done_without(
        self, transfer_with: Callable[[Exception], Any], error: Exception
    ) -> None:
        """Also where it is a defect of the plugin's: nobody has asked for just this codec."""
        sent = transfer_with(error)
        assert sent.methods["zstd"] + sent.methods["zstd level 3"] == 6
        assert sum(sent.methods.values()) == 60
        reasons = " ".join(each.reason for each in sent.channels)
        assert re.search("; zstd has failed: .*the device was reset", reasons)


@pytest.mark.parametrize("geometry", [Geometry(4096, 4096), Geometry(512, 2048)])
def test_small_packets_are_sampled_too(geometry: Geometry) -> None:
    """They are all there is to learn from."""
    packing = Packing(SEVERAL.methods, geometry, adaptive=True)
    packer = packing.packer()
    packer.encode(memoryview(text(2))[: geometry.packet_size])
    assert packing.costs.known(1)
    packer.close()


@pytest.mark.usefixtures("in_turn")
def test_a_receiver_that_insists_on_a_device_it_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does without that codec; the transfer does not end with the first packet of it."""

    def decoder(codec: Any, geometry: Geometry = DEFAULT_GEOMETRY) -> Any:
        raise CodecUnavailable("there is no device", name="lz4")

    monkeypatch.setattr(type(get_codec("lz4")), "decoder", decoder)
    data = text(24)
    copy, sent, _ = transfer("tcp:127.0.0.1:0", data, codec=SEVERAL)
    assert copy == data
    assert set(sent.methods) == {"none", "zstd", "zstd level 3", "zlib"}
