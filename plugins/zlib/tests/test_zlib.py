"""zlib as QEMU speaks it, and as files."""

import gzip
import io
import marshal
import sys
import sysconfig
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from codecs_core_zlib import ZlibCodec
from codecs_core_zlib.levels import LEVELS

from codecs_core.errors import CodecUnavailable, CorruptPayload

PAGE = 4096
PACKET = 128 * PAGE
SYNC_MARKER = b"\x00\x00\xff\xff"


@pytest.fixture(scope="module")
def packets() -> list[bytes]:
    """Source code and byte code of Python's own library."""
    library = Path(sysconfig.get_paths()["stdlib"])
    text, code = bytearray(), bytearray()
    for path in sorted(library.glob("*.py")):
        source = path.read_bytes()
        text += source
        if len(code) < PACKET:
            code += marshal.dumps(compile(source, "", "exec"))
    data = bytes(text[: 2 * PACKET] + code[:PACKET])
    assert len(data) == 3 * PACKET
    return [data[at : at + PACKET] for at in range(0, len(data), PACKET)]


def encode(codec: ZlibCodec, packets: list[bytes]) -> list[bytes]:
    with codec.encoder() as encoder:
        return [bytes(encoder.encode(memoryview(packet))) for packet in packets]


@pytest.mark.parametrize("level", range(10))
def test_plain_zlib_reads_every_level(level: int, packets: list[bytes]) -> None:
    """As QEMU's destination does: one stream, read packet by packet, never at its end."""
    stream = zlib.decompressobj()
    for packet, payload in zip(packets, encode(ZlibCodec(level), packets), strict=True):
        assert payload.endswith(SYNC_MARKER)
        assert stream.decompress(payload) == packet
        assert not stream.eof


@pytest.mark.parametrize("level", range(10))
def test_reads_what_qemu_writes(level: int, packets: list[bytes]) -> None:
    """Pages one by one, and a sync flush after the last of the packet."""
    stream = zlib.compressobj(level)
    buffer = bytearray(PACKET)
    with ZlibCodec().decoder() as decoder:
        for packet in packets:
            pages = [packet[at : at + PAGE] for at in range(0, PACKET, PAGE)]
            payload = b"".join(map(stream.compress, pages)) + stream.flush(zlib.Z_SYNC_FLUSH)
            decoder.decode_into(memoryview(payload), memoryview(buffer))
            assert buffer == packet


@pytest.mark.parametrize("level", range(10))
def test_ratio_is_near_that_of_zlib(level: int, packets: list[bytes]) -> None:
    """The levels' table holds 0.97 on its own data; what is installed here may differ a bit."""
    stream = zlib.compressobj(level)
    reference = sum(len(stream.compress(p) + stream.flush(zlib.Z_SYNC_FLUSH)) for p in packets)
    size = sum(map(len, encode(ZlibCodec(level), packets)))
    assert reference / size > 0.95


def test_more_effort_packs_no_worse(packets: list[bytes]) -> None:
    sizes = [sum(map(len, encode(ZlibCodec(level), packets))) for level in range(len(LEVELS))]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > len(packets) * PACKET


def test_stream_that_ends_is_followed_by_nothing(packets: list[bytes]) -> None:
    buffer = memoryview(bytearray(PACKET))
    with ZlibCodec().decoder() as decoder:
        decoder.decode_into(memoryview(zlib.compress(packets[0])), buffer)
        with pytest.raises(CorruptPayload):
            decoder.decode_into(memoryview(zlib.compress(packets[1])), buffer)


def test_preset_dictionary_is_refused(packets: list[bytes]) -> None:
    stream = zlib.compressobj(zdict=packets[0][:PAGE])
    payload = stream.compress(packets[0]) + stream.flush(zlib.Z_SYNC_FLUSH)
    with ZlibCodec().decoder() as decoder, pytest.raises(CorruptPayload, match="zlib"):
        decoder.decode_into(memoryview(payload), memoryview(bytearray(PACKET)))


@pytest.mark.parametrize("level", range(10))
def test_files_are_zlib_streams(level: int, packets: list[bytes]) -> None:
    data = b"".join(packets)
    assert zlib.decompress(ZlibCodec(level).compress(data)) == data


@pytest.mark.parametrize("write", [zlib.compress, gzip.compress])
def test_reads_files_of_both_formats(write: Callable[[bytes], bytes], packets: list[bytes]) -> None:
    """Several after each other too, as `cat` joins them."""
    data = b"".join(packets)
    codec = ZlibCodec()
    assert codec.decompress(write(data)) == data
    joined = write(data[:1000]) + write(b"") + write(data[1000:])
    assert codec.decompress(joined) == data
    assert codec.open_reader(io.BytesIO(joined)).read(1500) == data[:1500]


@pytest.mark.parametrize("write", [zlib.compress, gzip.compress])
def test_every_damage_to_a_file_is_noticed(
    write: Callable[[bytes], bytes], packets: list[bytes]
) -> None:
    """Both formats end in a checksum."""
    data = packets[0]
    compressed = write(data)
    # The first bytes of a gzip member say when and on what it was made.
    for position in range(10, len(compressed), len(compressed) // 50):
        damaged = bytearray(compressed)
        damaged[position] ^= 0x10
        with pytest.raises(CorruptPayload):
            ZlibCodec().decompress(damaged, max_length=2 * len(data))


@pytest.mark.parametrize("missing", ["isal", "isal.igzip_lib", "zlib_ng.zlib_ng"])
def test_missing_library_is_named_with_its_remedy(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [name for name in sys.modules if name.startswith(f"{missing}.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, missing, None)
    availability = ZlibCodec.availability()
    assert not availability.available
    assert missing in availability.reason
    assert availability.remedy == "pip install isal zlib-ng"


def test_missing_library_makes_no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    from codecs_core_zlib import codec

    codec._library.cache_clear()
    monkeypatch.setitem(sys.modules, "isal.isal_zlib", None)
    with pytest.raises(CodecUnavailable, match="pip install"):
        ZlibCodec().decoder()
