"""The codecs of numcodecs: what it asks of a codec, and what their metadata and chunks hold."""

from __future__ import annotations

import array
import ctypes
import gzip
import json
import lzma
import pickle
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import lz4.frame
import numcodecs
import numpy as np
import pytest
import zstandard
from codecs_core_zarr import chunk
from codecs_core_zarr.numcodec import CodecsCore, Lz4, Qatzip, Zlib, Zstd
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_st

from codecs_core.errors import CodecError, CorruptPayload, ParameterError, UnknownCodec, UsageError
from codecs_core.testing.data import KINDS, sample

NAMED = (Lz4, Qatzip, Zlib, Zstd)
ALL = (*(each() for each in NAMED), CodecsCore("zstd", level=3))

each_codec = pytest.mark.parametrize("codec", ALL, ids=repr)


def any_arrays() -> st.SearchStrategy[np.ndarray[Any, Any]]:
    """Arrays of every kind of number, of bytes and times, of 0 to 3 dimensions, also empty."""
    kinds = st.one_of(
        numpy_st.scalar_dtypes(),
        numpy_st.byte_string_dtypes(min_len=1, max_len=4),
        numpy_st.array_dtypes(numpy_st.integer_dtypes(), max_size=2),
    )
    return numpy_st.arrays(kinds, numpy_st.array_shapes(min_dims=0, min_side=0, max_side=9))


@each_codec
@settings(max_examples=50, deadline=None)
@given(data=any_arrays())
def test_any_array_comes_back(codec: CodecsCore, data: np.ndarray[Any, Any]) -> None:
    encoded = codec.encode(data)
    assert codec.decode(encoded) == data.tobytes()
    out = np.empty_like(data)
    assert codec.decode(encoded, out=out) is out
    assert out.tobytes() == data.tobytes()


@each_codec
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [0, 1, 4095, (2 << 20) + 7])
def test_any_bytes_come_back(codec: CodecsCore, kind: str, size: int) -> None:
    data = sample(kind, size)
    for buffer in (data, bytearray(data), memoryview(data)):
        encoded = codec.encode(buffer)
    assert codec.decode(encoded) == codec.decode(memoryview(encoded)) == data
    assert codec.decode(encoded, out=bytearray(size)).tobytes() == data


@each_codec
def test_whatever_has_contiguous_memory_is_a_buffer(codec: CodecsCore) -> None:
    numbers = np.arange(8, dtype="i4")
    for buffer in (
        array.array("i", numbers),
        (ctypes.c_int * 8)(*numbers),
        memoryview(numbers),
        memoryview(numbers).cast("B"),
        numbers.reshape(2, 2, 2),
        np.ma.masked_array(numbers),
    ):
        encoded = codec.encode(buffer)
        assert codec.decode(np.frombuffer(encoded, "u1")) == numbers.tobytes()
        if not isinstance(buffer, memoryview):
            out: Any = type(buffer)("i", bytes(32)) if type(buffer) is array.array else buffer
            codec.decode(encoded, out=out)
            assert bytes(out) == numbers.tobytes()
    for refused in ([1, 2], "text", None):
        with pytest.raises(TypeError, match="bytes-like"):
            codec.encode(refused)
    with pytest.raises(ValueError, match="read-only"):
        codec.decode(codec.encode(numbers), out=numbers.tobytes())


@each_codec
def test_memory_order_is_kept_and_gaps_are_refused(codec: CodecsCore) -> None:
    """As numcodecs' own codecs do."""
    data = np.arange(24, dtype="i4").reshape(4, 6)
    columns = np.asfortranarray(data)
    assert codec.decode(codec.encode(columns)) == columns.tobytes(order="A")
    out = np.empty_like(columns)
    codec.decode(codec.encode(columns), out=out)
    assert np.array_equal(out, data)
    with pytest.raises(ValueError, match="contiguous"):
        codec.encode(data[:, ::2])
    with pytest.raises(TypeError, match="object arrays"):
        codec.encode(np.array([None]))


@each_codec
def test_the_buffer_bounds_what_a_chunk_decodes_to(codec: CodecsCore) -> None:
    bomb = codec.encode(bytes(1 << 24))
    for size in (0, 1, 1 << 12):
        with pytest.raises(CorruptPayload, match="decodes to more than"):
            codec.decode(bomb, out=np.empty(size, "u1"))
    with pytest.raises(CorruptPayload, match="decodes to 4 bytes, not to the 5"):
        codec.decode(codec.encode(b"page"), out=bytearray(5))


@each_codec
def test_without_a_buffer_numcodecs_limit_bounds_it(
    codec: CodecsCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = codec.encode(bytes(4097))
    monkeypatch.setattr(chunk.decode, "__defaults__", (4096,))
    with pytest.raises(CorruptPayload, match="decodes to more than"):
        codec.decode(encoded)
    monkeypatch.setattr(chunk, "MAX_BUFFER", 4096)
    with pytest.raises(ValueError, match="> 4096 bytes"):
        codec.encode(bytes(4097))


@each_codec
def test_damage_is_noticed(codec: CodecsCore) -> None:
    encoded = codec.encode(sample("memory", 1 << 16))
    for damaged in (b"", encoded[:-1], encoded[:20], encoded + b"junk", b"junk" + encoded):
        with pytest.raises(CorruptPayload):
            codec.decode(damaged)


def test_what_metadata_holds() -> None:
    """Stored beside arrays: these lines must not change."""
    assert [json.dumps(each.get_config()) for each in ALL] == [
        '{"id": "codecs_core.lz4", "level": 0}',
        '{"id": "codecs_core.qatzip", "level": 1}',
        '{"id": "codecs_core.zlib", "level": 1}',
        '{"id": "codecs_core.zstd", "level": 1}',
        '{"id": "codecs_core", "codec": "zstd", "level": 3}',
    ]


@each_codec
def test_metadata_makes_the_codec_again(codec: CodecsCore) -> None:
    config = json.loads(json.dumps(codec.get_config()))
    again = numcodecs.get_codec(config)
    assert type(again) is type(codec)
    assert again == codec and repr(again) == repr(codec)
    assert pickle.loads(pickle.dumps(codec)) == codec
    assert eval(repr(codec)) == codec


def test_what_concerns_one_host_is_not_stored() -> None:
    """But it goes to other processes, and repr shows it."""
    codec = Qatzip(level=3, backend="software")
    assert codec.get_config() == {"id": "codecs_core.qatzip", "level": 3}
    assert codec == Qatzip(level=3) != Qatzip(level=4)
    assert codec != numcodecs.GZip(3) and codec != 3
    assert repr(pickle.loads(pickle.dumps(codec))) == "Qatzip(level=3, backend='software')"
    assert repr(Qatzip(level=3)) == "Qatzip(level=3)"
    assert repr(CodecsCore("zstd", level=3)) == "CodecsCore('zstd', level=3)"


def test_ids_are_not_those_of_numcodecs() -> None:
    for each in (*NAMED, CodecsCore):
        assert each.codec_id.split(".")[0] == "codecs_core"
    theirs = numcodecs.get_codec({"id": "zstd"})
    assert type(theirs) is numcodecs.Zstd


@pytest.mark.usefixtures("xz")
def test_codecs_of_other_authors() -> None:
    codec = numcodecs.get_codec({"id": "codecs_core", "codec": "xz", "level": 6})
    assert codec == CodecsCore("xz", level=6) != CodecsCore("xz")
    assert repr(codec) == "CodecsCore('xz', level=6)"
    data = sample("memory", 100_000)
    encoded = codec.encode(data)
    assert lzma.decompress(encoded) == data
    assert pickle.loads(pickle.dumps(codec)).decode(encoded) == data


def test_chunks_are_files_of_the_formats_own_tools() -> None:
    data = sample("memory", (1 << 20) + 5)
    assert gzip.decompress(Qatzip().encode(data)) == data
    assert bytes(numcodecs.GZip().decode(Qatzip().encode(data))) == data
    assert bytes(numcodecs.Zlib().decode(Zlib().encode(data))) == data
    assert zlib.decompress(Zlib().encode(data)) == data
    assert bytes(numcodecs.Zstd().decode(Zstd().encode(data))) == data
    assert zstandard.ZstdDecompressor().decompress(Zstd().encode(data)) == data
    assert lz4.frame.decompress(Lz4().encode(data)) == data


def test_chunks_of_others_are_read() -> None:
    """Of arrays whose metadata is changed to ours, say, to read them faster."""
    data = sample("memory", (1 << 20) + 5)
    assert Qatzip().decode(numcodecs.GZip(5).encode(data)) == data
    assert Zlib().decode(numcodecs.Zlib(5).encode(data)) == data
    assert Zstd().decode(numcodecs.Zstd(5).encode(data)) == data


@pytest.mark.parametrize(
    ("config", "kind", "said"),
    [
        ({"id": "codecs_core", "codec": "snappy"}, UnknownCodec, "no codec is called 'snappy'"),
        ({"id": "codecs_core", "codec": "qpl"}, CodecError, "'qpl' has no file format"),
        ({"id": "codecs_core", "codec": "none"}, CodecError, "'none' has no file format"),
        ({"id": "codecs_core.zstd", "level": 99}, ParameterError, "between 0 and 20, not 99"),
        ({"id": "codecs_core.zstd", "clevel": 1}, ParameterError, "no parameter 'clevel'"),
        ({"id": "codecs_core.zstd", "codec": "lz4"}, ParameterError, "no parameter 'codec'"),
        ({"id": "codecs_core.zstd", "self": 1}, ParameterError, "no parameter 'self'"),
        ({"id": "codecs_core", "level": 1}, UsageError, "needs the name of a codec"),
    ],
)
def test_metadata_that_makes_no_codec(config: dict[str, Any], kind: Any, said: str) -> None:
    with pytest.raises(kind, match=said):
        numcodecs.get_codec(config)


@each_codec
def test_threads_share_a_codec(codec: CodecsCore) -> None:
    pages = [sample("memory", 50_000, seed) for seed in range(16)]
    before = threading.active_count()
    with ThreadPoolExecutor(4) as pool:
        encoded = list(pool.map(codec.encode, pages))
        assert list(pool.map(codec.decode, encoded)) == pages
    assert threading.active_count() == before
