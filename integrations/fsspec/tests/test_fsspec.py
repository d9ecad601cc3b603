"""Compressions of fsspec: by name, by ending, on file systems near and far."""

from __future__ import annotations

import gzip
import io
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import codecs_core_fsspec
import fsspec
import lz4.frame
import pytest
import zstandard
from codecs_core_fsspec import infer, register
from fsspec import AbstractFileSystem
from fsspec.compression import compr
from fsspec.spec import AbstractBufferedFile
from fsspec.utils import compressions

import codecs_core
from codecs_core.errors import CorruptPayload, UnknownCodec, UsageError
from codecs_core.testing.data import sample

DATA = sample("memory", (2 << 20) + 5)
NAMES = ("lz4", "qatzip", "zlib", "zstd")


@pytest.fixture(autouse=True)
def _registrations() -> Iterator[None]:
    """What a test registers is gone after it."""
    kept, endings = dict(compr), dict(compressions)
    yield
    for registered, before in ((compr, kept), (compressions, endings)):
        registered.clear()
        registered.update(before)


def write(url: str, data: bytes = DATA, **options: Any) -> None:
    with fsspec.open(url, "wb", **options) as file:
        for at in range(0, len(data), 300_000):
            file.write(data[at : at + 300_000])


def read(url: str, **options: Any) -> bytes:
    with fsspec.open(url, "rb", **options) as file:
        return file.read()


@pytest.mark.parametrize("name", [*(f"codecs_core.{name}" for name in NAMES), "qatzip"])
@pytest.mark.parametrize("place", ["", "memory://test/"])
def test_files_come_back(name: str, place: str, tmp_path: Path) -> None:
    url = place + str(tmp_path / "file")
    write(url, compression=name)
    assert read(url, compression=name) == DATA
    with fsspec.open(url, "rb", compression=name) as file:
        assert file.read(5) == DATA[:5]
        assert b"".join(file) == DATA[5:]


def test_text_and_empty_files(tmp_path: Path) -> None:
    path = str(tmp_path / "text.gz")
    with fsspec.open(path, "wt", compression="qatzip", encoding="utf-8") as file:
        file.write("Fuß\n" * 1000)
    with fsspec.open(path, "rt", compression="qatzip", encoding="utf-8") as file:
        assert file.readlines() == ["Fuß\n"] * 1000
    write(path, b"", compression="qatzip")
    assert read(path, compression="qatzip") == b""


def test_files_are_those_of_the_formats_own_tools(tmp_path: Path) -> None:
    for name, theirs in (
        ("qatzip", gzip.open),
        ("codecs_core.zstd", zstandard.open),
        ("codecs_core.lz4", lz4.frame.open),
    ):
        write(str(tmp_path / name), compression=name)
        with theirs(tmp_path / name, "rb") as file:
            assert file.read() == DATA
        with theirs(tmp_path / name, "wb") as file:
            file.write(DATA)
        assert read(str(tmp_path / name), compression=name) == DATA


def test_fsspecs_own_names_and_endings_stay() -> None:
    """Seen by a fresh interpreter: before and after the import."""
    code = """if True:
        import fsspec.compression, fsspec.utils
        names, endings = dict(fsspec.compression.compr), dict(fsspec.utils.compressions)
        import codecs_core_fsspec
        assert names.items() <= fsspec.compression.compr.items()
        assert endings.items() <= fsspec.utils.compressions.items()
        print(*sorted(fsspec.compression.compr.keys() - names.keys()))
        print(*sorted(fsspec.utils.compressions.items() - endings.items()))
    """
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names, endings = told.stdout.splitlines()
    assert {"codecs_core.zstd", "codecs_core.qatzip", "qatzip", "zlib"} <= set(names.split())
    assert "zstd" not in names.split()
    assert "codecs_core.qpl" not in names.split()
    assert endings == "('zz', 'codecs_core.zlib')"


def test_endings_are_taken_over_when_asked(tmp_path: Path) -> None:
    url = str(tmp_path / "file.gz")
    infer("qatzip", "zstd")
    assert compressions["gz"] == "codecs_core.qatzip"
    assert compressions["zst"] == "codecs_core.zstd"
    write(url, compression="infer")
    assert b"QZ" in Path(url).read_bytes()[:16]
    assert read(url, compression="infer") == DATA


def test_names_of_ones_own_have_parameters(tmp_path: Path) -> None:
    register("tight", "qatzip", level=9)
    register("tight", codecs_core.get_codec("qatzip", level=9))
    write(str(tmp_path / "tight"), compression="tight")
    write(str(tmp_path / "fast"), compression="qatzip")
    assert (tmp_path / "tight").stat().st_size < (tmp_path / "fast").stat().st_size
    assert read(str(tmp_path / "tight"), compression="gzip") == DATA


class UploadedFile(AbstractBufferedFile):  # type: ignore[misc]
    """A file that is there once it is closed, as those of object stores."""

    def _initiate_upload(self) -> None:
        self.parts: list[bytes] = []

    def _upload_chunk(self, final: bool = False) -> bool:
        self.parts.append(self.buffer.getvalue())
        if final:
            self.fs.objects[self.path] = b"".join(self.parts)
        return True

    def _fetch_range(self, start: int, end: int) -> bytes:
        return bytes(self.fs.objects[self.path][start:end])


class ObjectStore(AbstractFileSystem):  # type: ignore[misc]
    protocol = "store"
    cachable = False

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[str, bytes] = {}

    def _open(self, path: str, mode: str = "rb", block_size: Any = None, **options: Any) -> Any:
        size = len(self.objects.get(path, b""))
        return UploadedFile(self, path, mode, block_size=1 << 20, size=size, **options)


@pytest.mark.parametrize("name", ["qatzip", "codecs_core.zstd"])
def test_a_file_that_is_closed_is_uploaded(name: str) -> None:
    """While its user still holds it: nothing is left for the garbage collector to do."""
    store = ObjectStore()
    with store.open("page", "wb", compression=name) as file:
        file.write(DATA)
    assert codecs_core.decompress(store.objects["page"], codec=name.split(".")[-1]) == DATA
    assert file.closed
    with store.open("page", "rb", compression=name) as file:
        assert file.read(5) == DATA[:5]
        file.seek(-5, 2)
        assert file.read() == DATA[-5:]
    with store.open("page", "rt", compression=name, encoding="latin-1") as file:
        assert file.read() == io.TextIOWrapper(io.BytesIO(DATA), "latin-1").read()


@pytest.mark.parametrize("cache", ["filecache", "simplecache"])
def test_files_come_through_caches(cache: str, tmp_path: Path) -> None:
    write(str(tmp_path / "page.gz"), compression="qatzip")
    for _ in range(2):
        url = f"{cache}::file://{tmp_path}/page.gz"
        options = {cache: {"cache_storage": str(tmp_path / "kept")}}
        assert read(url, compression="qatzip", **options) == DATA
    # Or unpacked when it comes into the cache.
    fs = fsspec.filesystem(
        "filecache",
        target_protocol="file",
        compression="qatzip",
        cache_storage=str(tmp_path / "unpacked"),
    )
    with fs.open(str(tmp_path / "page.gz"), "rb") as file:
        assert file.read() == DATA


def test_files_of_a_transaction_are_there_at_its_end(tmp_path: Path) -> None:
    fs = fsspec.filesystem("file")
    with fs.transaction:
        with fs.open(str(tmp_path / "page.gz"), "wb", compression="qatzip") as file:
            file.write(DATA)
        assert not (tmp_path / "page.gz").exists()
    assert gzip.decompress((tmp_path / "page.gz").read_bytes()) == DATA


def test_files_are_appended_to_and_never_clobbered(tmp_path: Path) -> None:
    url = str(tmp_path / "page.gz")
    for mode in ("ab", "ab"):
        with fsspec.open(url, mode, compression="qatzip") as file:
            file.write(b"page")
    assert read(url, compression="qatzip") == b"pagepage"
    with pytest.raises(FileExistsError), fsspec.open(url, "xb", compression="qatzip"):
        pass
    opened = pickle.loads(pickle.dumps(fsspec.open(url, "rb", compression="qatzip")))
    with opened as file:
        assert file.read() == b"pagepage"


def test_what_cannot_be_inferred() -> None:
    with pytest.raises(UsageError, match="'qpl' has no file format"):
        infer("qpl")
    with pytest.raises(UnknownCodec, match="'snappy'; installed: none, "):
        infer("snappy")
    assert codecs_core_fsspec.__all__ == ["infer", "register"]


def test_damage_is_an_error(tmp_path: Path) -> None:
    write(str(tmp_path / "file"), compression="qatzip")
    whole = (tmp_path / "file").read_bytes()
    (tmp_path / "file").write_bytes(whole[:-9])
    with pytest.raises(CorruptPayload):
        read(str(tmp_path / "file"), compression="qatzip")
