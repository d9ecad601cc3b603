"""lz4 blocks on the wire, lz4 frames as files."""

import sys

import lz4.block
import lz4.frame
import pytest
from codecs_core_lz4 import Lz4Codec

from codecs_core.errors import CodecUnavailable, CorruptPayload
from codecs_core.testing.data import sample

PACKET = 512 * 1024


@pytest.fixture(scope="module")
def packets() -> list[bytes]:
    return [sample("memory", PACKET, seed) for seed in range(4)]


def encode(codec: Lz4Codec, packets: list[bytes]) -> list[bytes]:
    with codec.encoder() as encoder:
        return [bytes(encoder.encode(memoryview(packet))) for packet in packets]


@pytest.mark.parametrize("level", [-65536, -7, 0, 1, 2, 3, 9, 12])
def test_every_packet_is_an_lz4_block(level: int, packets: list[bytes]) -> None:
    for packet, payload in zip(packets, encode(Lz4Codec(level), packets), strict=True):
        assert lz4.block.decompress(payload, uncompressed_size=PACKET) == packet


def test_packets_stand_alone(packets: list[bytes]) -> None:
    """In any order, by one decoder."""
    payloads = encode(Lz4Codec(), packets)
    buffer = bytearray(PACKET)
    with Lz4Codec().decoder() as decoder:
        for packet, payload in reversed(list(zip(packets, payloads, strict=True))):
            decoder.decode_into(memoryview(payload), memoryview(buffer))
            assert buffer == packet


def test_levels_order_the_sizes(packets: list[bytes]) -> None:
    sizes = [sum(map(len, encode(Lz4Codec(level), packets))) for level in (-30, -3, 0, 3, 9, 12)]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == len(sizes)


def test_low_levels_are_those_of_the_frame_format(packets: list[bytes]) -> None:
    assert encode(Lz4Codec(0), packets) == encode(Lz4Codec(2), packets)
    assert encode(Lz4Codec(2), packets) != encode(Lz4Codec(3), packets)


@pytest.mark.parametrize("level", [-5, 0, 12])
def test_files_are_lz4_frames(level: int, packets: list[bytes]) -> None:
    data = b"".join(packets)
    frame = Lz4Codec(level).compress(data)
    assert lz4.frame.decompress(frame) == data
    assert lz4.frame.get_frame_info(frame)["content_size"] == len(data)


def test_reads_files_of_other_writers(packets: list[bytes]) -> None:
    data = b"".join(packets)
    small = lz4.frame.compress(data, block_size=lz4.frame.BLOCKSIZE_MAX64KB, store_size=False)
    assert Lz4Codec().decompress(small) == data
    joined = lz4.frame.compress(data[:1000]) + lz4.frame.compress(b"") + small
    assert Lz4Codec().decompress(joined) == data[:1000] + data


def test_every_damage_to_a_file_is_noticed(packets: list[bytes]) -> None:
    """Files are written with a checksum, as the lz4 command does."""
    compressed = Lz4Codec().compress(packets[0])
    for position in range(0, len(compressed), len(compressed) // 50):
        damaged = bytearray(compressed)
        damaged[position] ^= 0x10
        try:
            data = Lz4Codec().decompress(damaged, max_length=2 * PACKET)
        except CorruptPayload:
            continue
        # A match that now points to another copy of the same bytes is no damage.
        assert data == packets[0]


def test_missing_library_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    from codecs_core_lz4 import codec

    for module in ("lz4", "lz4.block", "lz4.frame"):
        monkeypatch.setitem(sys.modules, module, None)
    codec._library.cache_clear()
    availability = Lz4Codec.availability()
    assert not availability.available
    assert "lz4" in availability.reason
    assert availability.remedy == "pip install lz4"
    with pytest.raises(CodecUnavailable, match="pip install lz4"):
        Lz4Codec().encoder()
