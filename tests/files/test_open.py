"""`codecs_core.open`: modes, codecs by name or by content, text, and what is refused."""

from __future__ import annotations

import functools
import gzip
import io
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

import codecs_core
from codecs_core import CodecError, ParameterError, UnknownCodec, UsageError, get_codec

from .conftest import FORMATS, data


@pytest.mark.parametrize("codec", FORMATS)
def test_the_suffix_names_the_codec(tmp_path: Path, codec: str) -> None:
    path = tmp_path / f"file{FORMATS[codec].suffix}"
    with codecs_core.open(path, "wb") as writer:
        assert writer.codec == get_codec(codec)
        writer.write(b"abc")
    assert FORMATS[codec].read(path.read_bytes()) == b"abc"
    with codecs_core.open(os.fspath(path)) as reader:
        assert reader.codec == get_codec(codec)
        assert reader.read() == b"abc"


@pytest.mark.parametrize("codec", FORMATS)
def test_the_content_names_the_codec(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "file.zst"
    path.write_bytes(FORMATS[codec].write(b"abc"))
    with codecs_core.open(os.fsencode(path)) as reader:
        assert (reader.codec.name, reader.read()) == (codec, b"abc")
    with codecs_core.open(io.BytesIO(path.read_bytes())) as reader:
        assert (reader.codec.name, reader.read()) == (codec, b"abc")


def test_a_file_that_nothing_names(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"neither")
    for file in (path, path.open("rb")):
        with pytest.raises(UsageError, match=r"file is in no format of an installed codec; remedy"):
            codecs_core.open(file)
        if isinstance(file, io.IOBase):
            assert not file.closed
            file.close()
    with pytest.raises(UsageError, match=r"/new does not tell the codec to write with"):
        codecs_core.open(tmp_path / "new", "wb")
    with pytest.raises(UsageError, match="a file object does not tell the codec"):
        codecs_core.open(io.BytesIO(), "wb")
    assert os.listdir(tmp_path) == ["file"]


def test_modes(tmp_path: Path) -> None:
    path = tmp_path / "file.gz"
    for mode, expected in (("w", b"1"), ("wb", b"2"), ("a", b"23"), ("ab", b"234")):
        with codecs_core.open(path, mode) as writer:
            assert writer.mode == f"{mode[0]}b"
            assert writer.writable() and not writer.readable() and not writer.seekable()
            writer.write(expected[-1:])
        with codecs_core.open(path, "r") as reader:
            assert reader.mode == "rb"
            assert reader.readable() and reader.seekable() and not reader.writable()
            assert reader.read() == expected
        assert gzip.decompress(path.read_bytes()) == expected
    for mode in ("x", "xb", "xt"):
        with pytest.raises(FileExistsError):
            codecs_core.open(path, mode)
        with codecs_core.open(tmp_path / f"{mode}.gz", mode):
            pass
    for mode in ("", "rw", "r+", "U", "rtb", "wbt", "br"):
        with pytest.raises(UsageError, match="is none of r, w, a and x"):
            codecs_core.open(path, mode)


def test_codecs_and_their_parameters(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for options in ({"level": 9}, {"multifd_zstd_level": 9}):
        with codecs_core.open(path, "wb", "zstd", **options) as writer:
            assert writer.codec == get_codec("zstd", level=9)
    with codecs_core.open(path, "wb", get_codec("zstd", level=2)) as writer:
        assert writer.codec == get_codec("zstd", level=2)
    path.unlink()
    with pytest.raises(ParameterError, match="multifd-zstd-level expects"):
        codecs_core.open(path, "wb", "zstd", level=99)
    with pytest.raises(UnknownCodec):
        codecs_core.open(path, "wb", "nothing")
    for mode in ("rb", "wb"):
        with pytest.raises(CodecError, match="'qpl' has no file format of its own"):
            codecs_core.open(io.BytesIO(), mode, "qpl")
    for threads in (0, -1, 1.0, True, "2", 10**6):
        with pytest.raises(UsageError, match="is not a number between 1 and"):
            codecs_core.open(path, "wb", "zstd", threads=threads)
    assert not path.exists()


def test_no_codec_is_a_codec(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with codecs_core.open(path, "wb", "none") as writer:
        writer.write(data())
    assert path.read_bytes() == data()
    with codecs_core.open(path, "rb", "none") as reader:
        assert reader.read(10) == data()[:10]
        reader.seek(1000)
        assert reader.read() == data()[1000:]


@pytest.mark.parametrize("file", [3, None, object(), ["a"]])
def test_what_is_no_file(file: Any) -> None:
    with pytest.raises(UsageError, match="is neither a path nor a binary file"):
        codecs_core.open(file, "rb", "zstd")


def test_files_of_the_wrong_kind(tmp_path: Path) -> None:
    """They are refused at once, not where a writer is closed."""

    class Readable:
        def read(self, size: int) -> bytes:
            return b""

    with pytest.raises(UsageError, match="is neither a path nor a binary file of mode 'w'"):
        codecs_core.open(Readable(), "wb", "zstd")  # type: ignore[call-overload]
    with (tmp_path / "text").open("w") as text:
        with pytest.raises(UsageError, match="is a text file; remedy: open it in binary mode"):
            codecs_core.open(text, "wb", "zstd")  # type: ignore[call-overload]


def test_errors_of_the_file_system_are_its_own(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        codecs_core.open(tmp_path / "nothing.gz")
    with pytest.raises(IsADirectoryError):
        codecs_core.open(tmp_path, "wb", "zstd")
    with pytest.raises(NotADirectoryError):
        codecs_core.open("/dev/null/file.gz", "wb")


@pytest.mark.parametrize("codec", FORMATS)
def test_text(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "file"
    lines = [f"line {number}: äöü" for number in range(20_000)]
    with codecs_core.open(path, "wt", codec, encoding="latin-1", newline="\r\n") as writer:
        print(*lines, sep="\n", file=writer)
    assert FORMATS[codec].read(path.read_bytes()).count(b"\r\n") == len(lines)
    with codecs_core.open(path, "at", codec, encoding="latin-1") as writer:
        writer.write("end")
    with codecs_core.open(path, "rt", codec, encoding="latin-1") as reader:
        assert isinstance(reader, io.TextIOWrapper)
        assert [line.rstrip("\n") for line in reader] == [*lines, "end"]
    with codecs_core.open(path, "rt", codec, encoding="ascii", errors="replace") as reader:
        assert reader.readline() == "line 0: \ufffd\ufffd\ufffd\n"
        place = reader.tell()
        second = reader.readline()
        reader.seek(place)
        assert reader.readline() == second


def test_text_options_need_text(tmp_path: Path) -> None:
    for options in ({"encoding": "ascii"}, {"errors": "strict"}, {"newline": ""}):
        with pytest.raises(UsageError, match="mode 'wb' is binary"):
            codecs_core.open(tmp_path / "file.gz", "wb", **options)
    (tmp_path / "file.gz").write_bytes(b"mine")
    with pytest.raises(LookupError):
        codecs_core.open(tmp_path / "file.gz", "wt", encoding="no-such-encoding")
    with pytest.raises(ValueError, match="newline"):
        codecs_core.open(tmp_path / "file.gz", "wt", newline="x")
    assert (tmp_path / "file.gz").read_bytes() == b"mine"


def test_what_is_pickled_is_what_opens(tmp_path: Path) -> None:
    """Not an open file: like those of `gzip` it cannot be."""
    codec = get_codec("zstd", level=5)
    opener = functools.partial(codecs_core.open, mode="wb", codec=codec, threads=2)
    with pickle.loads(pickle.dumps(opener))(tmp_path / "file") as writer:
        assert writer.codec == codec
        with pytest.raises(TypeError, match="an open file cannot be pickled; its codec can"):
            pickle.dumps(writer)
    with codecs_core.open(tmp_path / "file", codec=codec) as reader:
        with pytest.raises(TypeError, match="an open file cannot be pickled"):
            pickle.dumps(reader)


def test_files_below(tmp_path: Path) -> None:
    """A file that is given stays open, and begins where it stands."""
    path = tmp_path / "file"
    with path.open("w+b") as below:
        below.write(b"head")
        with codecs_core.open(below, "wb", "lz4") as writer:
            writer.write(b"abc")
            assert (writer.name, writer.fileno()) == (str(path), below.fileno())
        below.seek(4)
        with codecs_core.open(below) as reader:
            assert reader.read() == b"abc"
            assert reader.seek(1) == 1
            assert reader.read() == b"bc"
            assert (reader.name, reader.fileno()) == (str(path), below.fileno())
        assert not below.closed
    with codecs_core.open(path, "wb", "lz4") as writer:
        assert writer.name == str(path)
        assert os.path.samestat(os.fstat(writer.fileno()), path.stat())


def test_closed_files(tmp_path: Path) -> None:
    path = tmp_path / "file.gz"
    writer = codecs_core.open(path, "wb")
    writer.close()
    reader = codecs_core.open(path)
    reader.close()
    for file in (writer, reader):
        file.close()
        assert file.closed
        for use in (file.tell, file.fileno, file.seekable, lambda f=file: f.name):
            with pytest.raises(ValueError, match="closed file"):
                use()
    for use in (reader.read, reader.readline, reader.peek, reader.read1, reader.readable):
        with pytest.raises(ValueError, match="closed file"):
            use()
    for use in (writer.flush, writer.writable, lambda: writer.write(b"")):
        with pytest.raises(ValueError, match="closed file"):
            use()


def test_the_wrong_direction(tmp_path: Path) -> None:
    path = tmp_path / "file.gz"
    with codecs_core.open(path, "wb") as writer:
        for use in (writer.read, writer.read1, writer.readline, lambda: writer.seek(0)):
            with pytest.raises(io.UnsupportedOperation):
                use()
    with codecs_core.open(path) as reader:
        for use in (lambda: reader.write(b""), lambda: reader.truncate()):
            with pytest.raises(io.UnsupportedOperation):
                use()
