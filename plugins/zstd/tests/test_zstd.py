"""zstd as QEMU speaks it, and as files."""

import io
import random
import sys

import pytest
import zstandard
from codecs_core_zstd import ZstdCodec, frame

from codecs_core.errors import CodecUnavailable, CorruptPayload
from codecs_core.testing.checks import peak_growth
from codecs_core.testing.data import sample

PAGE = 4096
PACKET = 128 * PAGE
FLUSH = zstandard.COMPRESSOBJ_FLUSH_BLOCK


@pytest.fixture(scope="module")
def packets() -> list[bytes]:
    return [sample("memory", PACKET, seed) for seed in range(4)]


def encode(codec: ZstdCodec, packets: list[bytes]) -> list[bytes]:
    with codec.encoder() as encoder:
        return [bytes(encoder.encode(memoryview(packet))) for packet in packets]


def decode(payloads: list[bytes], size: int = PACKET) -> list[bytes]:
    packets = []
    with ZstdCodec().decoder() as decoder:
        for payload in payloads:
            packet = bytearray(size)
            decoder.decode_into(memoryview(payload), memoryview(packet))
            packets.append(bytes(packet))
    return packets


@pytest.mark.parametrize("level", range(21))
def test_libzstd_reads_every_level_as_one_frame(level: int, packets: list[bytes]) -> None:
    """As QEMU's destination does: one frame, read packet by packet, never at its end."""
    some = packets[:2] if level > 12 else packets
    frame = zstandard.ZstdDecompressor().decompressobj()
    for packet, payload in zip(some, encode(ZstdCodec(level), some), strict=True):
        assert frame.decompress(payload) == packet
        assert not frame.eof


@pytest.mark.parametrize(("level", "window"), [(1, 512 << 10), (3, 2 << 20), (20, 32 << 20)])
def test_frame_header_is_qemus(level: int, window: int, packets: list[bytes]) -> None:
    header = zstandard.get_frame_parameters(encode(ZstdCodec(level), packets[:1])[0])
    assert header.content_size == zstandard.CONTENTSIZE_UNKNOWN
    assert header.window_size == window
    assert not header.has_checksum
    assert header.dict_id == 0


def test_level_zero_is_the_default_of_libzstd(packets: list[bytes]) -> None:
    assert encode(ZstdCodec(0), packets) == encode(ZstdCodec(3), packets)


def test_more_effort_packs_better(packets: list[bytes]) -> None:
    sizes = [sum(map(len, encode(ZstdCodec(level), packets))) for level in (1, 3, 9, 18)]
    assert sizes == sorted(sizes, reverse=True)


def test_history_reaches_across_packets() -> None:
    noise = random.Random(1).randbytes(PACKET // 2)
    first, second = encode(ZstdCodec(), [noise + noise, noise + noise])
    assert len(second) < len(first) / 20


@pytest.mark.parametrize("level", [1, 5, 20])
def test_reads_what_qemu_writes(level: int, packets: list[bytes]) -> None:
    """Pages one by one, and a flush after the last of the packet."""
    frame = zstandard.ZstdCompressor(level=level).compressobj()
    payloads = []
    for packet in packets[:4]:
        pages = [packet[at : at + PAGE] for at in range(0, PACKET, PAGE)]
        payloads.append(b"".join(map(frame.compress, pages)) + frame.flush(FLUSH))
    assert decode(payloads) == packets[:4]


def test_flush_after_every_page_is_read(packets: list[bytes]) -> None:
    """Many small blocks, as another writer may make them."""
    frame = zstandard.ZstdCompressor().compressobj()
    pages = [packets[0][at : at + PAGE] for at in range(0, PACKET, PAGE)]
    payload = b"".join(frame.compress(page) + frame.flush(FLUSH) for page in pages)
    assert decode([payload]) == packets[:1]


def test_empty_blocks_mean_nothing(packets: list[bytes]) -> None:
    first, second = encode(ZstdCodec(), packets[:2])
    assert decode([first + bytes(3), second + bytes(6)]) == packets[:2]


def test_pages_beyond_the_packet_do_not_wait_for_the_next(packets: list[bytes]) -> None:
    """The library keeps what did not fit; it must not come out as the next packet's pages."""
    payloads = encode(ZstdCodec(), packets[:1])
    with pytest.raises(CorruptPayload, match="more"):
        decode(payloads, PACKET - PAGE)
    with pytest.raises(CorruptPayload, match="fewer"):
        decode(payloads, PACKET + PAGE)


def test_window_beyond_level_20_is_refused(packets: list[bytes]) -> None:
    """The frame's header makes the decoder allocate its window."""
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=26)
    frame = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    payload = frame.compress(packets[0]) + frame.flush(FLUSH)
    with pytest.raises(CorruptPayload, match="memory"):
        decode([payload])


@pytest.mark.parametrize("sized", [True, False])
def test_reads_files_of_other_writers(sized: bool, packets: list[bytes]) -> None:
    """With and without a content size, several frames, skippable ones between."""
    data = b"".join(packets)
    compressor = zstandard.ZstdCompressor(write_content_size=sized, write_checksum=sized)
    write = compressor.compress
    skippable = bytes.fromhex("502a4d18 04000000") + b"note"
    assert ZstdCodec().decompress(write(data)) == data
    joined = skippable + write(data[:1000]) + write(b"") + skippable + write(data[1000:])
    assert ZstdCodec().decompress(joined) == data


def test_files_are_zstd_frames(packets: list[bytes]) -> None:
    data = b"".join(packets)
    for level in (0, 1, 19):
        frame = ZstdCodec(level).compress(data[:PACKET])
        assert zstandard.ZstdDecompressor().decompress(frame) == data[:PACKET]


def test_every_damage_to_a_file_is_noticed(packets: list[bytes]) -> None:
    """Files are written with a checksum, as the zstd command does."""
    compressed = ZstdCodec().compress(packets[0])
    assert zstandard.get_frame_parameters(compressed).has_checksum
    for position in range(0, len(compressed), len(compressed) // 50):
        damaged = bytearray(compressed)
        damaged[position] ^= 0x10
        with pytest.raises(CorruptPayload):
            ZstdCodec().decompress(damaged, max_length=2 * PACKET)


def test_window_of_a_file_is_bounded() -> None:
    """A file may ask for what the zstd command grants without options, and no more."""
    for window_log, granted in ((27, True), (28, False)):
        parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=window_log)
        compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        frame = compressor.compress(b"page") + compressor.flush()
        if granted:
            assert ZstdCodec().decompress(frame) == b"page"
        else:
            with pytest.raises(CorruptPayload, match="memory"):
                ZstdCodec().decompress(frame)


def test_a_stream_of_many_tiny_blocks_needs_little_memory() -> None:
    """A file of others, without its size: four bytes of it may hold 128 KiB."""
    blocks = (1 << 17 << 3 | 1 << 1).to_bytes(3, "little") + b"z"
    file = frame.MAGIC + b"\x00\x78" + blocks * 800 + (1).to_bytes(3, "little")

    def read_a_little() -> None:
        with ZstdCodec().open_reader(io.BytesIO(file)) as reader:
            assert reader.read(1000) == b"z" * 1000

    assert peak_growth(read_a_little) < 50 << 20
    assert ZstdCodec().decompress(file) == bytes(800 << 17).replace(b"\0", b"z")


def test_portions_hold_few_blocks_wherever_the_input_is_cut(packets: list[bytes]) -> None:
    plain = packets[0][:50_000] * 40
    for checksum in (False, True):
        for sized in (False, True):
            compressor = zstandard.ZstdCompressor(write_checksum=checksum, write_content_size=sized)
            file = compressor.compress(plain)
            for step in (1, 2, 3, 1000, len(file)):
                blocks, left, taken = frame.Blocks(), b"", 0
                decoder = zstandard.ZstdDecompressor().decompressobj()
                for at in range(0, len(file), step):
                    left += file[at : at + step]
                    while portion := blocks.portion(memoryview(left)):
                        assert len(decoder.decompress(left[:portion])) <= 512 << 10
                        taken += portion
                        left = left[portion:]
                assert (decoder.eof, taken, left) == (True, len(file), b"")


def test_missing_library_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    from codecs_core_zstd import codec

    monkeypatch.setitem(sys.modules, "zstandard", None)
    codec._library.cache_clear()
    availability = ZstdCodec.availability()
    assert not availability.available
    assert "zstandard" in availability.reason
    assert availability.remedy == "pip install zstandard"
    with pytest.raises(CodecUnavailable, match="pip install zstandard"):
        ZstdCodec().encoder()
