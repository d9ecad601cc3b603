"""The payloads, the files and the parameters of every installed codec: the registry says which."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator

import msgspec

from codecs_core.codec import Codec, Geometry
from codecs_core.errors import CorruptPayload, ParameterError
from codecs_core.registry import State, codecs, get_codec
from codecs_core.stream import open
from codecs_core.testing import data as sample_data
from tests.fuzz.target import entries, packed, target

GEOMETRY = Geometry(512, 8192)
LONGEST = 1 << 20
CANARY = bytes(range(64))


def samples() -> Iterator[bytes]:
    """Packets of one page to all that fit, of every kind of data."""
    for number, kind in enumerate(sample_data.KINDS):
        yield sample_data.sample(kind, 512 * (1, 16, 3, 2, 8, 4)[number % 6])


def payloads(codec: Codec) -> Iterator[bytes]:
    """Channels of two packets, each after the number of its pages, counted from 0."""
    for packet in samples():
        with codec.encoder(GEOMETRY) as encoder:
            parts = [bytes(encoder.encode(memoryview(each))) for each in (packet, packet[-512:])]
        yield packed((len(packet) // 512 - 1, parts[0]), (0, parts[1]))


def decode(codec: Codec, data: bytes) -> None:
    """A payload is refused, or fills its packet to the last byte, and nothing beside it."""
    with codec.decoder(GEOMETRY) as first, codec.decoder(GEOMETRY) as second:
        for number, part in entries(data):
            size = 512 * (1 + number % 16)
            payload = memoryview(part)[: GEOMETRY.max_payload]
            results: list[bytes | CorruptPayload] = []
            for decoder, fill in ((first, b"\0"), (second, b"\xa5")):
                around = bytearray(CANARY + fill * size + CANARY)
                packet = memoryview(around)[len(CANARY) : len(CANARY) + size]
                try:
                    decoder.decode_into(payload, packet)
                    results.append(bytes(packet))
                except CorruptPayload as error:
                    results.append(error)
                assert around.startswith(CANARY) and around.endswith(CANARY)
            if isinstance(results[0], CorruptPayload):
                assert isinstance(results[1], CorruptPayload)
                raise results[0]
            assert results[0] == results[1]


def read(codec: Codec, data: bytes) -> None:
    """A file decodes to the same bytes, or not, however much of it is asked for at once."""
    results: list[bytes | CorruptPayload] = []
    for size in (LONGEST, 1000):
        try:
            with codec.open_reader(io.BytesIO(data)) as reader:
                found = bytearray()
                while len(found) < LONGEST and (part := reader.read(size)):
                    found += part
            results.append(bytes(found[:LONGEST]))
        except CorruptPayload as error:
            results.append(error)
    if isinstance(results[0], CorruptPayload):
        assert isinstance(results[1], CorruptPayload)
        raise results[0]
    assert results[0] == results[1]


def open_and_seek(codec: Codec, data: bytes) -> None:
    """A file object gives no other bytes than the codec's own reader, wherever it is read from."""
    with open(io.BytesIO(data), "rb", codec, threads=1) as file:
        found = file.read(LONGEST)
        with codec.open_reader(io.BytesIO(data)) as reader:
            assert reader.read(LONGEST) == found
        if len(found) == LONGEST:
            return
        for place in (len(found) // 2, 0, len(found)):
            assert file.seek(place) == place
            assert file.read(100) == found[place : place + 100]
        with open(io.BytesIO(data), "rb", codec, threads=1) as fresh:
            assert fresh.seek(-1 if found else 0, io.SEEK_END) == max(0, len(found) - 1)
            assert fresh.read() == found[-1:]


def measure(codec: Codec, data: bytes) -> None:
    """The sizes of a member are true, or decoding it is refused."""
    member = codec.measure(lambda offset, size: data[offset : offset + size])
    if member is None or not 0 <= member.length <= LONGEST or not 0 < member.size <= len(data):
        raise CorruptPayload("not measured")
    decoded = codec.decompress_member(memoryview(data)[: member.size], member.length)
    assert len(decoded) == member.length
    assert codec.decompress(data[: member.size], max_length=member.length) == decoded


def there_and_back(codec: Codec, data: bytes) -> None:
    """What an encoder writes its decoder reads; so with files."""
    with codec.encoder(GEOMETRY) as encoder, codec.decoder(GEOMETRY) as decoder:
        for at in range(0, len(data) - 511, 2048):
            packet = data[at : at + 2048]
            packet = packet[: len(packet) // 512 * 512]
            result = bytearray(len(packet))
            if packet:
                payload = bytes(encoder.encode(memoryview(packet)))
                assert len(payload) <= GEOMETRY.max_payload
                decoder.decode_into(memoryview(payload), memoryview(result))
            assert result == packet
    if codec.suffix is not None:
        assert codec.decompress(codec.compress(data), max_length=len(data)) == data


def give(codec: Codec, data: bytes) -> None:
    """A codec's parameters as a handshake brings them: JSON of whatever kind."""
    try:
        values = msgspec.json.decode(data, type=dict[str, bool | int | str])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return
    made = type(codec).from_parameters(values)
    assert type(codec).from_parameters(made.wire_parameters()).wire_parameters() == (
        made.wire_parameters()
    )


def parameters(codec: Codec) -> Iterator[bytes]:
    yield b"{}"
    yield msgspec.json.encode(codec.wire_parameters())
    yield msgspec.json.encode({each.name: each.default for each in codec.parameters()})


def files(codec: Codec) -> Iterator[bytes]:
    """Files of one member, and one of two."""
    yield codec.compress(b"")
    yield from (codec.compress(each) for each in samples())
    yield codec.compress(b"ab" * 999) + codec.compress(bytes(99999))
    yield codec.compress(b"ab" * 999) + bytes(100) + codec.compress(b"more")


def register(codec: Codec) -> None:
    """Make the targets of a codec."""
    name = codec.name
    words = [each.name.encode() for each in codec.parameters()]
    for kind, run, seeds, refuses, tokens in (
        ("decoder", decode, payloads, CorruptPayload, ()),
        ("reader", read, files, CorruptPayload, ()),
        ("file", open_and_seek, files, CorruptPayload, codec.magic),
        ("measure", measure, files, CorruptPayload, codec.magic),
        ("round-trip", there_and_back, lambda codec: samples(), (), ()),
        ("parameters", give, parameters, ParameterError, words),
    ):
        if kind in ("reader", "file", "measure") and codec.suffix is None:
            continue
        if kind == "measure" and type(codec).measure is Codec.measure:
            continue
        target(
            f"{kind}.{name}",
            seeds=functools.partial(seeds, codec),
            refuses=refuses,
            tokens=tokens,
            size=16 << 10,
            memory=8 << 20,
        )(functools.partial(run, codec))


for name, info in codecs().items():
    if info.state is State.LOADED:
        register(get_codec(name))
