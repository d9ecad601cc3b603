"""The real libqatzip beside ours: each reads what the other writes."""

from __future__ import annotations

import gzip
import os
import random
import re
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path
from struct import unpack_from

import pytest
from codecs_core_qatzip import QatzipCodec, build_info
from codecs_core_qatzip.apart import SessionApart
from codecs_core_qatzip.codes import meaning, name
from codecs_core_qatzip.library import Settings
from codecs_core_qatzip.probe import Probe, hardware
from hypothesis import given
from hypothesis import strategies as st

from codecs_core.codec import Decoder, Encoder, Geometry, exactly
from codecs_core.errors import CodecError, CodecUnavailable, CorruptPayload
from codecs_core.testing.data import sample

MIB = 1 << 20
GEOMETRY = Geometry(4096, MIB)
SIZES = [1, 2, 1023, 1024, 4096, 65535, 65536, 65537, 512 << 10, MIB]
DATA = sample("memory", MIB // 2, 1) + sample("text", MIB // 4, 2) + sample("random", MIB // 4, 3)


class LibqatzipDecoder(Decoder):
    """libqatzip alone, without our software behind it."""

    def __init__(self) -> None:
        self.session = SessionApart(Settings(sw_backup=True), GEOMETRY, compress=False)

    def decode_into(self, payload: memoryview, packet: memoryview, /) -> None:
        exactly("libqatzip", self.session.decompress(payload, packet)[0], packet)

    def close(self) -> None:
        self.session.close()


class LibqatzipEncoder(Encoder):
    """libqatzip alone, without our software behind it."""

    def __init__(self, level: int) -> None:
        self.session = SessionApart(Settings(level, sw_backup=True), GEOMETRY, compress=True)

    def encode(self, packet: memoryview, /) -> memoryview:
        return self.session.compress(packet)[0]

    def close(self) -> None:
        self.session.close()


@pytest.fixture(scope="module")
def theirs() -> Iterator[Decoder]:
    """libqatzip, reading."""
    with LibqatzipDecoder() as decoder:
        yield decoder


@pytest.fixture(scope="module", params=range(1, 10))
def level(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def their_encoder(level: int) -> Iterator[Encoder]:
    """libqatzip, writing."""
    with LibqatzipEncoder(level) as encoder:
        yield encoder


def decode(decoder: Decoder, payload: bytes, size: int) -> bytes:
    packet = bytearray(size)
    decoder.decode_into(memoryview(payload), memoryview(packet))
    return bytes(packet)


def piece(size: int) -> bytes:
    """``size`` bytes that are neither all alike nor all random."""
    at = random.Random(size).randrange(MIB)
    return (DATA[at:] + DATA)[:size]


@pytest.mark.parametrize("size", SIZES)
def test_each_reads_the_other(
    theirs: Decoder, their_encoder: Encoder, level: int, size: int
) -> None:
    data = memoryview(piece(size))
    ours = QatzipCodec(level, backend="software")
    written = bytes(ours.encoder(GEOMETRY).encode(data))
    assert decode(theirs, written, size) == data
    assert decode(ours.decoder(GEOMETRY), bytes(their_encoder.encode(data)), size) == data


def test_the_member_is_theirs_to_the_byte(their_encoder: Encoder, level: int) -> None:
    """All but the deflate stream and its length: header, checksum and size."""
    data = memoryview(DATA[: 512 << 10])
    ours = bytes(QatzipCodec(level, backend="software").encoder(GEOMETRY).encode(data))
    member = bytes(their_encoder.encode(data))
    assert ours[:20] == member[:20]
    assert ours[-8:] == member[-8:]
    for each in (ours, member):
        assert unpack_from("<I", each, 20)[0] == len(each) - 32
        assert zlib.decompress(each[24:-8], -15) == data


@given(size=st.integers(1, MIB), level=st.integers(1, 9))
def test_libqatzip_reads_any_size_at_any_level(theirs: Decoder, size: int, level: int) -> None:
    data = piece(size)
    written = bytes(
        QatzipCodec(level, backend="software").encoder(GEOMETRY).encode(memoryview(data))
    )
    assert decode(theirs, written, size) == data


@given(sizes=st.lists(st.integers(1, 100_000), min_size=1, max_size=9))
def test_both_read_any_number_of_members(theirs: Decoder, sizes: list[int]) -> None:
    encoder = QatzipCodec(backend="software").encoder(GEOMETRY)
    pieces = [piece(size) for size in sizes]
    payload = b"".join(bytes(encoder.encode(memoryview(each))) for each in pieces)
    whole = b"".join(pieces)
    assert decode(theirs, payload, len(whole)) == whole
    assert decode(QatzipCodec(backend="software").decoder(GEOMETRY), payload, len(whole)) == whole


def test_the_gzip_command_and_the_stdlib_read_packets(level: int) -> None:
    data = DATA[: 512 << 10]
    encoder = QatzipCodec(level, backend="software").encoder()
    written = bytes(encoder.encode(memoryview(data))) * 2
    assert gzip.decompress(written) == data * 2
    done = subprocess.run(["gzip", "-dc"], input=written, capture_output=True, check=True)
    assert done.stdout == data * 2


def test_a_file_is_gzip_and_any_gzip_file_is_read() -> None:
    data = DATA + DATA[:12345]
    codec = QatzipCodec(6)
    written = codec.compress(data)
    assert gzip.decompress(written) == data
    assert codec.decompress(written) == data
    assert codec.decompress(gzip.compress(data) + written) == data * 2
    assert gzip.decompress(codec.compress(b"")) == b""


def test_a_long_run_of_libqatzip_leaves_this_process_alone(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Its fallback leaks a thread-specific key a call, of which a process has about 1000."""
    page = DATA[:4096]
    with QatzipCodec(backend="libqatzip").encoder() as encoder:
        for _ in range(5000):
            payload = bytes(encoder.encode(memoryview(page)))
        assert encoder.statistics() == {"hardware_packets": 0, "software_packets": 5000}
    assert decode(QatzipCodec().decoder(), payload, 4096) == page
    assert capfd.readouterr() == ("", "")


def test_libqatzip_ends_with_its_session() -> None:
    before = set(os.listdir("/proc/self/fd"))
    encoder = QatzipCodec(backend="libqatzip").encoder()
    process = encoder._guard._session._process  # type: ignore[attr-defined]
    assert process.poll() is None
    encoder.close()
    assert process.returncode == 0
    encoder.close()
    del encoder
    assert set(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("sw_backup", [True, False])
def test_libqatzip_that_dies_is_survived_or_told(
    caplog: pytest.LogCaptureFixture, sw_backup: bool
) -> None:
    data = DATA[:65536]
    codec = QatzipCodec(backend="libqatzip", sw_backup=True)
    with codec.encoder() as encoder:
        guard = encoder._guard  # type: ignore[attr-defined]
        guard._sw_backup = sw_backup
        guard._session._process.kill()
        if sw_backup:
            payload = bytes(encoder.encode(memoryview(data)))
            assert decode(QatzipCodec().decoder(), payload, len(data)) == data
            assert "the process that runs libqatzip is lost" in caplog.text
        else:
            with pytest.raises(CodecError, match="the process that runs libqatzip is lost"):
                encoder.encode(memoryview(data))


def test_what_libqatzip_calls_damaged_is_corrupt() -> None:
    payload = bytearray(QatzipCodec(backend="software").encoder().encode(memoryview(DATA[:65536])))
    payload[500] ^= 0xFF
    with QatzipCodec(backend="libqatzip").decoder() as decoder, pytest.raises(CorruptPayload):
        decode(decoder, bytes(payload), 65536)


def test_this_host_has_the_binding_and_no_device() -> None:
    assert build_info().built
    assert build_info().version in (QatzipCodec.availability().backend)
    if not hardware().found:
        with pytest.raises(CodecUnavailable, match="backend hardware"):
            QatzipCodec(backend="hardware").encoder()


def test_every_return_code_of_the_header_has_its_name_and_a_meaning(
    build_environment: dict[str, str],
) -> None:
    asked = ["pkg-config", "--variable=includedir", "qatzip"]
    done = subprocess.run(asked, env=build_environment, capture_output=True, text=True, check=True)
    header = Path(done.stdout.strip(), "qatzip.h").read_text()
    listed = header[header.index("#define QZ_OK ") : header.index("#define QZ_MAX_ALGORITHMS")]
    codes = dict(re.findall(r"^#define (QZ_\w+) +\((-?\d+)\)", listed, re.MULTILINE))
    assert len(codes) > 20
    for name_, code in codes.items():
        assert name(int(code)) == name_
        assert meaning(int(code)).startswith(f"{name_}: ")
    assert "-77" in meaning(-77)


def test_a_wheel_may_be_installed_where_the_library_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codecs_core_qatzip.probe.library_loads", lambda: False)
    monkeypatch.setattr("codecs_core_qatzip.probe.hardware", lambda: Probe(False, "no library"))
    backend = QatzipCodec.availability().backend
    assert backend.endswith(f"libqatzip {build_info().version} is not installed")
