"""The codecs of zarr 3: arrays come back, through its shards and threads, in either format."""

from __future__ import annotations

import json
import pickle
import threading
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
from codecs_core_zarr import chunk, numcodec
from codecs_core_zarr.zarr3 import CodecsCore, Lz4, Qatzip, Zlib, Zstd
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.core.array_spec import ArrayConfig, ArraySpec

from codecs_core.errors import CodecError, CorruptPayload, ParameterError, UsageError
from codecs_core.testing.data import sample

NAMED = (Lz4, Qatzip, Zlib, Zstd)
ALL = (*(each() for each in NAMED), CodecsCore("zstd", level=3))

each_codec = pytest.mark.parametrize("codec", ALL, ids=repr)


def waves(*shape: int, dtype: str = "f4") -> np.ndarray[Any, Any]:
    """Numbers as an instrument gives them."""
    steps = np.arange(np.prod(shape)).reshape(shape)
    return np.round(1000 * np.sin(steps / 500)).astype(dtype)


def chunks(store: Any) -> dict[str, bytes]:
    """What is stored, metadata aside."""
    return {
        key: value.to_bytes()
        for key, value in store._store_dict.items()
        if not key.endswith((".json", ".zarray", ".zattrs"))
    }


@each_codec
@pytest.mark.parametrize("dtype", ["f4", "i8", "u1", "?", "c16", "S5", "M8[s]", ">u2"])
@pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning")
def test_arrays_come_back(codec: CodecsCore, dtype: str) -> None:
    data = waves(50, 70, dtype="i8").astype(dtype)
    store = zarr.storage.MemoryStore()
    zarr.create_array(store, data=data, chunks=(20, 30), compressors=codec)
    again = zarr.open_array(store, mode="r")
    assert np.array_equal(again[:], data)
    assert again.compressors == (codec,)


@each_codec
@settings(max_examples=8, deadline=None)
@given(
    shape=st.tuples(*2 * [st.integers(1, 20)]),
    inner=st.tuples(*2 * [st.integers(1, 9)]),
    shards=st.integers(1, 3),
    seed=st.integers(0, 9),
)
def test_shards_come_back(
    codec: CodecsCore, shape: tuple[int, int], inner: tuple[int, int], shards: int, seed: int
) -> None:
    data = np.frombuffer(sample("memory", 2 * shape[0] * shape[1], seed), "u2").reshape(shape)
    store = zarr.storage.MemoryStore()
    array = zarr.create_array(
        store,
        shape=shape,
        dtype="u2",
        chunks=inner,
        shards=(shards * inner[0], shards * inner[1]),
        compressors=codec,
    )
    array[:] = data
    again = zarr.open_array(store, mode="r")
    assert np.array_equal(again[:], data)
    assert np.array_equal(again[::3, -1], data[::3, -1])


@pytest.mark.filterwarnings("ignore:Combining a `sharding_indexed` codec:UserWarning")
def test_a_whole_shard_may_be_compressed() -> None:
    """With the least chunks: the index is sixteen times what they hold."""
    serializer = zarr.codecs.ShardingCodec(chunk_shape=(1,))
    store = zarr.storage.MemoryStore()
    data = waves(1000, dtype="u1")
    zarr.create_array(store, data=data, chunks=(1000,), serializer=serializer, compressors=Qatzip())
    assert np.array_equal(zarr.open_array(store)[:], data)


def test_strings_of_any_length() -> None:
    data = np.array(["page " * n for n in range(50)], dtype="O")
    store = zarr.storage.MemoryStore()
    array = zarr.create_array(store, shape=50, chunks=20, dtype="string", compressors=Zstd())
    array[:] = data
    assert list(zarr.open_array(store)[:]) == list(data)


def test_codecs_stand_behind_each_other() -> None:
    data = waves(300, 300)
    store = zarr.storage.MemoryStore()
    compressors = [zarr.codecs.Crc32cCodec(), Qatzip(), Zstd()]
    zarr.create_array(store, data=data, chunks=(100, 100), compressors=compressors)
    assert np.array_equal(zarr.open_array(store)[:], data)


@each_codec
def test_large_chunks_many_at_a_time(codec: CodecsCore) -> None:
    data = waves(6, 700, 1000)
    with zarr.config.set({"async.concurrency": 8, "threading.max_workers": 4}):
        store = zarr.storage.MemoryStore()
        zarr.create_array(store, data=data, chunks=(1, 700, 1000), compressors=codec)
        assert np.array_equal(zarr.open_array(store)[:], data)


def test_what_metadata_holds() -> None:
    """Stored beside arrays: these lines must not change."""
    assert [json.dumps(each.to_dict()) for each in ALL] == [
        '{"name": "codecs_core.lz4", "configuration": {"level": 0}}',
        '{"name": "codecs_core.qatzip", "configuration": {"level": 1}}',
        '{"name": "codecs_core.zlib", "configuration": {"level": 1}}',
        '{"name": "codecs_core.zstd", "configuration": {"level": 1}}',
        '{"name": "codecs_core", "configuration": {"codec": "zstd", "level": 3}}',
    ]


def test_the_arrays_metadata(tmp_path: Path) -> None:
    codec = Qatzip(level=3, backend="software")
    zarr.create_array(tmp_path / "a", shape=9, chunks=3, dtype="f4", compressors=codec)
    stored = json.loads((tmp_path / "a/zarr.json").read_text())
    assert stored["codecs"][-1] == {"name": "codecs_core.qatzip", "configuration": {"level": 3}}


def test_a_codec_is_given_by_its_metadata() -> None:
    for given_, made in (
        ({"name": "codecs_core.qatzip", "configuration": {"level": 4}}, Qatzip(level=4)),
        ({"name": "codecs_core", "configuration": {"codec": "zstd"}}, CodecsCore("zstd")),
    ):
        array = zarr.create_array({}, shape=9, dtype="f4", compressors=given_)
        assert array.compressors == (made,)


@each_codec
def test_codecs_are_values(codec: CodecsCore) -> None:
    for again in (pickle.loads(pickle.dumps(codec)), type(codec).from_dict(codec.to_dict())):
        assert again == codec and hash(again) == hash(codec) and repr(again) == repr(codec)
    assert codec != CodecsCore("zstd", level=7)
    assert len({*ALL, *ALL}) == len(ALL)


@pytest.mark.usefixtures("xz")
def test_codecs_of_other_authors() -> None:
    codec = CodecsCore("xz", level=6)
    store = zarr.storage.MemoryStore()
    zarr.create_array(store, data=waves(90, 90), chunks=(20, 20), compressors=codec)
    again = zarr.open_array(store, mode="r")
    assert np.array_equal(again[:], waves(90, 90))
    assert again.compressors == (pickle.loads(pickle.dumps(codec)),)


def test_what_concerns_one_host_is_not_compared() -> None:
    here = Qatzip(level=3, backend="software")
    assert here == Qatzip(level=3)
    assert repr(pickle.loads(pickle.dumps(here))) == "Qatzip(level=3, backend='software')"


@pytest.mark.parametrize(
    ("name", "configuration", "kind", "said"),
    [
        ("codecs_core", {"codec": "qpl"}, CodecError, "'qpl' has no file format"),
        ("codecs_core.zstd", {"level": 99}, ParameterError, "between 0 and 20, not 99"),
        ("codecs_core.zstd", {"clevel": 1}, ParameterError, "no parameter 'clevel'"),
        ("codecs_core.zstd", {"codec": "lz4"}, ParameterError, "no parameter 'codec'"),
        ("codecs_core.zstd", {"self": 1}, ParameterError, "no parameter 'self'"),
        ("codecs_core.zstd", None, UsageError, "parameters by name, and is not None"),
        ("codecs_core", [1], UsageError, r"parameters by name, and is not \[1\]"),
        ("codecs_core", {"level": 1}, UsageError, "needs the name of a codec"),
    ],
)
def test_metadata_that_makes_no_codec(name: str, configuration: Any, kind: Any, said: str) -> None:
    with pytest.raises(kind, match=said):
        zarr.create_array(
            {}, shape=9, dtype="f4", compressors={"name": name, "configuration": configuration}
        )


def test_metadata_of_another_codec_makes_none() -> None:
    for other in ({"name": "gzip", "configuration": {"level": 1}}, Zstd().to_dict(), {}):
        with pytest.raises(UsageError, match=r"does not make a 'codecs_core\.qatzip'"):
            Qatzip.from_dict(other)
    assert Qatzip.from_dict({"name": "codecs_core.qatzip"}) == Qatzip()


@each_codec
def test_zarr_may_call_it_without_a_loop(codec: CodecsCore) -> None:
    """As its newer pipelines do, for a codec that has these two methods."""
    array = zarr.create_array({}, data=waves(64), compressors=codec)
    spec = ArraySpec(
        shape=(64,),
        dtype=array.metadata.data_type,
        fill_value=0,
        config=ArrayConfig.from_dict({}),
        prototype=zarr.core.buffer.default_buffer_prototype(),
    )
    plain = spec.prototype.buffer.from_bytes(waves(64).tobytes())
    encoded = codec._encode_sync(plain, spec)
    assert codec._codec.decompress(encoded.to_bytes()) == plain.to_bytes()
    assert codec._decode_sync(encoded, spec).to_bytes() == plain.to_bytes()
    if protocol := getattr(zarr.abc.codec, "SupportsSyncCodec", None):
        assert isinstance(codec, protocol)


@pytest.mark.filterwarnings("ignore:Consolidated metadata:zarr.errors.ZarrUserWarning")
@pytest.mark.filterwarnings("ignore:Consolidated metadata:UserWarning")
def test_consolidated_metadata_names_the_codec() -> None:
    store = zarr.storage.MemoryStore()
    group = zarr.create_group(store)
    group.create_array("waves", data=waves(99), chunks=10, compressors=CodecsCore("zstd", level=3))
    zarr.consolidate_metadata(store)
    again = zarr.open_consolidated(store)["waves"]
    assert np.array_equal(again[:], waves(99))
    assert again.compressors == (CodecsCore("zstd", level=3),)


def test_a_chunk_of_qatzip_is_a_gzip_file() -> None:
    store = zarr.storage.MemoryStore()
    data = waves(1000, 1000)
    zarr.create_array(store, data=data, chunks=(1000, 1000), compressors=Qatzip())
    (only,) = chunks(store).values()
    assert bytes(numcodecs.GZip().decode(only)) == data.tobytes()


@pytest.mark.parametrize(
    ("codec", "theirs"),
    [
        (Qatzip(), {"name": "gzip", "configuration": {"level": 1}}),
        (Zstd(), {"name": "zstd", "configuration": {"level": 1, "checksum": True}}),
    ],
)
def test_other_metadata_leads_other_readers(
    codec: CodecsCore, theirs: dict[str, Any], tmp_path: Path
) -> None:
    """The chunks stay as they are, whichever codec wrote them and whichever is named."""
    data = waves(300, 300)
    for written, named in ((codec, theirs), (theirs, codec.to_dict())):
        zarr.create_array(tmp_path, data=data, chunks=(99, 99), compressors=written, overwrite=True)
        metadata = json.loads((tmp_path / "zarr.json").read_text())
        metadata["codecs"][-1] = named
        (tmp_path / "zarr.json").write_text(json.dumps(metadata))
        again = zarr.open_array(tmp_path, mode="r")
        assert again.metadata.codecs[-1].to_dict() == named
        assert np.array_equal(again[:], data)


@each_codec
def test_a_chunk_cannot_grow_without_bound(codec: CodecsCore) -> None:
    store = zarr.storage.MemoryStore()
    array = zarr.create_array(store, data=waves(64), compressors=codec)
    (key,) = chunks(store)
    bomb = codec._codec.compress(bytes(1 << 24))
    store._store_dict[key] = zarr.core.buffer.default_buffer_prototype().buffer.from_bytes(bomb)
    with pytest.raises(CorruptPayload, match="decodes to more than max_length=12288"):
        array[:]


@each_codec
def test_a_damaged_chunk_is_an_error(codec: CodecsCore) -> None:
    store = zarr.storage.MemoryStore()
    array = zarr.create_array(store, data=waves(6400), compressors=codec)
    ((key, value),) = chunks(store).items()
    make = zarr.core.buffer.default_buffer_prototype().buffer.from_bytes
    store._store_dict[key] = make(value[:-1])
    with pytest.raises(CorruptPayload):
        array[:]


def test_chunks_are_coded_off_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """In threads, where the codecs release the GIL."""
    threads = set()
    for work in ("encode", "decode"):
        original = getattr(chunk, work)

        def spied(*arguments: Any, original: Any = original) -> bytes:
            threads.add(threading.current_thread().name)
            return original(*arguments)

        monkeypatch.setattr(chunk, work, spied)
    store = zarr.storage.MemoryStore()
    zarr.create_array(store, data=waves(100), chunks=10, compressors=Zstd())
    assert np.array_equal(zarr.open_array(store)[:], waves(100))
    assert threads and not [each for each in threads if each in ("MainThread", "zarr_io")]


@pytest.mark.parametrize("name", ["Lz4", "Qatzip", "Zlib", "Zstd"])
def test_format_2_takes_the_codecs_of_numcodecs(name: str) -> None:
    codec = getattr(numcodec, name)()
    store = zarr.storage.MemoryStore()
    data = waves(60, 70)
    zarr.create_array(store, data=data, chunks=(25, 25), compressors=codec, zarr_format=2)
    again = zarr.open_array(store, mode="r")
    assert np.array_equal(again[:], data)
    assert again.compressors == (codec,)
    assert json.loads(store._store_dict[".zarray"].to_bytes())["compressor"] == codec.get_config()


def test_format_2_takes_them_as_filters_and_behind_others() -> None:
    data = np.arange(120, dtype="i4").reshape(10, 12)
    delta = numcodecs.Delta(dtype="i4")
    for filters, compressor in (
        ([delta], numcodec.Qatzip()),
        ([delta, numcodec.Zstd()], None),
        (None, numcodec.Lz4()),
    ):
        store = zarr.storage.MemoryStore()
        array = zarr.create_array(
            store,
            shape=data.shape,
            dtype=data.dtype,
            chunks=(5, 5),
            order="F",
            filters=filters,
            compressors=compressor,
            zarr_format=2,
        )
        array[:] = data
        assert np.array_equal(zarr.open_array(store)[:], data)
