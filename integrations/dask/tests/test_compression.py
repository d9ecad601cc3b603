"""Compressions of distributed: what all processes of a cluster agree on, and what they send."""

from __future__ import annotations

import re
from pathlib import Path

import dask
import numpy as np
import pytest
import yaml
from codecs_core_dask import compression, settings
from distributed.protocol import deserialize_bytes, serialize_bytes
from distributed.protocol.compression import compressions, get_compression_settings, maybe_compress

import codecs_core
from codecs_core.errors import CorruptPayload
from codecs_core.testing.data import sample

NAMES = ("codecs_core.lz4", "codecs_core.qatzip", "codecs_core.zlib", "codecs_core.zstd", "qatzip")

each_name = pytest.mark.parametrize("name", NAMES)


@each_name
@pytest.mark.parametrize("size", [0, 1, 50_000, (2 << 20) + 7])
def test_messages_come_back(name: str, size: int) -> None:
    data = sample("memory", size)
    each = compressions[name]
    assert each.name == name
    for message in (data, bytearray(data), memoryview(data), memoryview(np.frombuffer(data, "u1"))):
        assert bytes(each.decompress(memoryview(each.compress(message)))) == data


@each_name
def test_distributed_compresses_with_it(name: str) -> None:
    """It does where that saves something: what it sends is then called by the name."""
    numbers = np.arange(100_000)
    used, frame = maybe_compress(memoryview(numbers).cast("B"), compression=name)
    assert used == name
    assert len(frame) < numbers.nbytes * 0.7
    assert maybe_compress(sample("random", 100_000), compression=name)[0] is None
    with dask.config.set({"distributed.comm.compression": name}):
        assert get_compression_settings("distributed.comm.compression") == name
        sent = serialize_bytes(numbers, compression=name)
    assert len(sent) < numbers.nbytes * 0.7
    assert np.array_equal(deserialize_bytes(sent), numbers)


def test_what_distributed_means_by_a_name_stays() -> None:
    for name in ("zlib", "lz4", "zstd", "auto"):
        assert "codecs_core" not in repr(compressions[name])
    assert "codecs_core.qpl" not in compressions


def test_a_message_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "MAX_LENGTH", 1000)
    message = compressions["qatzip"].compress(bytes(1001))
    with pytest.raises(CorruptPayload, match="max_length=1000"):
        compressions["qatzip"].decompress(message)


def test_parameters_come_from_the_configuration() -> None:
    data = sample("memory", 1 << 20)
    fast = compressions["qatzip"].compress(data)
    compression._codec.cache_clear()
    with dask.config.set({"codecs-core.qatzip": {"level": 9, "backend": "software"}}):
        tight = compressions["qatzip"].compress(data)
    compression._codec.cache_clear()
    assert len(tight) < len(fast)


def test_the_configuration_file_of_the_docs_is_that_of_settings() -> None:
    page = (Path(__file__).parents[3] / "docs/data-stack.md").read_text()
    (text,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    written = yaml.safe_load(text)
    with dask.config.set(settings("qatzip", spill="codecs_core.zstd")):
        for process in ("scheduler", "nanny", "worker", "client"):
            told = written["distributed"][process]["preload"]
            assert dask.config.get(f"distributed.{process}.preload") == told
        comm, worker = written["distributed"]["comm"], written["distributed"]["worker"]
        assert dask.config.get("distributed.comm.compression") == comm["compression"]
        spill = dask.config.get("distributed.worker.memory.spill-compression")
        assert spill == worker["memory"]["spill-compression"]
    codecs_core.get_codec("qatzip", **written["codecs-core"]["qatzip"])


def test_settings_keep_other_preloads() -> None:
    with dask.config.set({"distributed.worker.preload": ["another"]}):
        with dask.config.set(settings("qatzip")):
            chosen = settings("qatzip", spill="codecs_core.zstd")
    assert chosen["distributed.worker.preload"] == ["another", "codecs_core_dask"]
    assert chosen["distributed.comm.compression"] == "qatzip"
    assert chosen["distributed.worker.memory.spill-compression"] == "codecs_core.zstd"
