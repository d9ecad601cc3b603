"""Migrations recorded on their way, and sent again: nothing is changed, nothing looks whole."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from codecs_core import CodecsCoreError, LinkError, LinkTimeout, TransferError, UsageError
from codecs_core.gateway.player import Player
from codecs_core.gateway.record import Recorder
from codecs_core.gateway.recording import Recording
from codecs_core.wire.packet import INIT_SIZE, ChannelInit
from tests.conftest import MainStream, Recorded

OPEN_RETURN_PATH = struct.pack(">BHH", 8, 1, 0)
ARRIVED = struct.pack(">HHI", 1, 4, 0)
FAILED = struct.pack(">HHI", 1, 4, 1)


class Destination:
    """Takes ``count`` connections, the main channel first, and answers when all have ended."""

    def __init__(self, place: Path, count: int, answer: bytes) -> None:
        self.uri = f"unix:{place}"
        self.streams: dict[str, bytes] = {}
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(str(place))
        self.server.listen(16)
        self.server.settimeout(20)
        self.thread = threading.Thread(target=self._take, args=(count, answer))
        self.thread.start()

    def _take(self, count: int, answer: bytes) -> None:
        with ExitStack() as stack:
            links: list[socket.socket] = []
            threads = []
            for number in range(count):
                try:
                    link = stack.enter_context(self.server.accept()[0])
                except OSError:
                    break
                link.settimeout(20)
                links.append(link)
                threads.append(threading.Thread(target=self._read, args=(number, link)))
                threads[-1].start()
            for each in threads:
                each.join()
            if links:
                with suppress(OSError):
                    links[0].sendall(answer)

    def _read(self, number: int, link: socket.socket) -> None:
        stream = bytearray()
        with suppress(OSError):
            while data := link.recv(1 << 16):
                stream += data
        name = "main.bin"
        if number:
            name = f"ch{ChannelInit.decode(stream[:INIT_SIZE]).channel}.bin"
        self.streams[name] = bytes(stream)

    def close(self) -> None:
        with suppress(OSError):
            self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()
        self.thread.join()


@pytest.fixture
def destination(tmp_path: Path) -> Iterator[Callable[..., Destination]]:
    threads = threading.active_count()
    with ExitStack() as stack:

        def start(count: int, answer: bytes = b"") -> Destination:
            made = Destination(tmp_path / "destination", count, answer)
            stack.callback(made.close)
            return made

        yield start
    assert threading.active_count() == threads


def migrate(path: str, streams: dict[str, bytes]) -> bytes:
    """Send a migration as a source does, and return the answers."""
    with ExitStack() as stack:
        links = {}
        for name in sorted(streams, reverse=True):
            links[name] = stack.enter_context(socket.socket(socket.AF_UNIX))
            links[name].settimeout(20)
            links[name].connect(path)
            with suppress(BrokenPipeError):
                links[name].sendall(streams[name])
        for link in links.values():
            link.shutdown(socket.SHUT_WR)
        answer = bytearray()
        with suppress(OSError):
            while data := links["main.bin"].recv(1 << 16):
                answer += data
        return bytes(answer)


def record(
    place: Path, destination: Destination, streams: dict[str, bytes], **settings: Any
) -> tuple[Any, bytes]:
    """Record a migration; return what the recorder says, or raises, and the answers."""
    with Recorder(
        f"unix:{place}/source", destination.uri, place / "recording", timeout=5, **settings
    ) as recorder:
        outcome: list[Any] = []

        def run() -> None:
            try:
                outcome.append(recorder.record())
            except CodecsCoreError as error:
                outcome.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        answer = migrate(str(place / "source"), streams)
        thread.join()
    return outcome[0], answer


def leftovers(place: Path) -> list[str]:
    return sorted(each.name for each in place.iterdir() if "recording" in each.name)


@pytest.mark.parametrize("codec", ["none", "zstd", "qatzip", "lz4", "zlib"])
def test_every_byte_of_a_migration(
    destination: Callable[..., Destination], tmp_path: Path, bundled: Any, codec: str
) -> None:
    original = bundled["zlib-ch4"] if "zlib-ch4" in bundled else next(iter(bundled.values()))
    streams = {each: original.raw(each) for each in original.files()}
    target = destination(len(streams), ARRIVED)
    recorded, answer = record(tmp_path, target, streams, codec=codec)
    assert target.streams == streams
    assert answer == ARRIVED
    assert recorded.passed_bytes == sum(map(len, streams.values()))
    assert recorded.channels == len(streams) - 1
    written = Recording.open(tmp_path / "recording")
    assert written.main is not None
    for source in (written.main, *written.channels.values()):
        with source.open() as file:
            assert file.read() == streams[source.path.name.split(".bin")[0] + ".bin"]
    assert json.loads((tmp_path / "recording/meta.json").read_text())["channels"] == len(
        written.channels
    )
    assert leftovers(tmp_path) == ["recording"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda main: main[:-40], "broke off"),
        (lambda main: main + OPEN_RETURN_PATH, "never said"),
    ],
)
def test_what_did_not_come_to_its_end_is_no_recording(
    destination: Callable[..., Destination],
    tmp_path: Path,
    channel: Any,
    change: Callable[[bytes], bytes],
    reason: str,
) -> None:
    main = bytes(MainStream().start({"pc.ram": 1 << 20}).part().end().data)
    streams = {"main.bin": change(main), "ch0.bin": bytes(channel(0).send({1: 7}).data)}
    outcome, _ = record(tmp_path, destination(2), streams)
    assert isinstance(outcome, TransferError)
    assert reason in str(outcome)
    assert leftovers(tmp_path) == []


def test_the_destination_says_that_it_has_failed(
    destination: Callable[..., Destination], tmp_path: Path, channel: Any
) -> None:
    main = bytes(MainStream().start({"pc.ram": 1 << 20}).end().data)
    streams = {"main.bin": main, "ch0.bin": bytes(channel(0).send({1: 7}).data)}
    outcome, _ = record(tmp_path, destination(2, FAILED), streams)
    assert "destination says" in str(outcome)
    assert leftovers(tmp_path) == []


def test_a_main_channel_that_nobody_can_read_passes_all_the_same(
    destination: Callable[..., Destination], tmp_path: Path, channel: Any
) -> None:
    streams = {"main.bin": b"QEVM" + bytes(500), "ch0.bin": bytes(channel(0).send({1: 7}).data)}
    target = destination(2)
    outcome, _ = record(tmp_path, target, streams)
    assert outcome.channels == 1
    assert target.streams == streams


def test_no_destination(tmp_path: Path, destination: Callable[..., Destination]) -> None:
    target = destination(0)
    target.close()
    outcome, answer = record(tmp_path, target, {"main.bin": b"QEVM" + bytes(60)})
    assert isinstance(outcome, LinkError)
    assert answer == b""
    assert leftovers(tmp_path) == []


def test_what_exists_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "recording").mkdir()
    (tmp_path / "recording/main.bin").touch()
    with pytest.raises(UsageError, match="exists; give a new name"):
        Recorder(f"unix:{tmp_path}/s", "unix:/nowhere", tmp_path / "recording")
    with pytest.raises(TransferError, match="is no directory"):
        Recorder(f"unix:{tmp_path}/s", "unix:/nowhere", tmp_path / "no/recording")
    with pytest.raises(UsageError, match="gives one connection"):
        Recorder("exec:true", "unix:/nowhere", tmp_path / "other")


@pytest.mark.parametrize("rate", [None, 20e6])
def test_a_recording_is_played(
    destination: Callable[..., Destination], rebuildable: Recorded, rate: float | None
) -> None:
    recording = Recording.open(rebuildable.path)
    if recording.mapped:
        with pytest.raises(UsageError, match="mapped-ram file"):
            Player(recording, "unix:/nowhere")
        return
    streams = {each: rebuildable.raw(each) for each in rebuildable.files()}
    target = destination(len(streams))
    played = Player(recording, target.uri, rate=rate, timeout=10).play()
    target.close()
    assert target.streams == streams
    assert played.arrived is None
    assert played.sent_bytes == sum(map(len, streams.values()))
    if rate:
        assert played.seconds > 0.8 * played.sent_bytes / rate - 0.1


def play(tmp_path: Path, target: Destination, channel: Any) -> Any:
    place = tmp_path / "made"
    place.mkdir()
    main = MainStream()
    main.data += OPEN_RETURN_PATH
    (place / "main.bin").write_bytes(main.start({"pc.ram": 1 << 20}).end().data)
    (place / "ch0.bin").write_bytes(channel(0).send({1: 7}).data)
    return Player(Recording.open(place), target.uri, timeout=5).play()


def test_the_destinations_word(
    destination: Callable[..., Destination], tmp_path: Path, channel: Any
) -> None:
    assert play(tmp_path, destination(2, ARRIVED), channel).arrived is True


@pytest.mark.parametrize(
    ("answer", "reason"), [(FAILED, "has failed"), (b"", "without saying"), (b"xyzw", "message")]
)
def test_the_destination_does_not_say_that_it_has_arrived(
    destination: Callable[..., Destination],
    tmp_path: Path,
    channel: Any,
    answer: bytes,
    reason: str,
) -> None:
    with pytest.raises(CodecsCoreError, match=reason):
        play(tmp_path, destination(2, answer), channel)


def test_a_destination_that_takes_nothing(tmp_path: Path, channel: Any) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "silent"))
        server.listen(4)
        started = time.monotonic()
        target: Any = type("Silent", (), {"uri": f"unix:{tmp_path}/silent"})
        with pytest.raises(LinkTimeout, match="taken nothing"):
            play(tmp_path, target, channel)
        assert time.monotonic() - started < 20


def test_a_part_of_a_recording_is_not_played(tmp_path: Path, bundled: Any) -> None:
    original = next(each for each in bundled.values() if not each.meta["mapped_ram"])
    whole = original.unpack(tmp_path / "whole")
    with pytest.raises(UsageError, match="no main channel"):
        Player(Recording.open(whole / "ch0.bin"), "unix:/nowhere")
    (whole / "ch0.bin").unlink()
    with pytest.raises(UsageError, match="lacks channel 0"):
        Player(Recording.open(whole), "unix:/nowhere")
