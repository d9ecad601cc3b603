"""``multifd compress`` and ``multifd decompress``: in the manner of gzip, and as careful."""

from __future__ import annotations

import gzip
import io
import os
import pty
import signal
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from codecs_core import compress, decompress
from codecs_core.stream import open as open_file

from .conftest import MULTIFD, Start, content, end

Run = Callable[..., Any]
DATA = content(1 << 20)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a file in it, and the place to be."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").write_bytes(DATA)
    return tmp_path


def names(place: Path) -> list[str]:
    return sorted(os.listdir(place))


def test_there_and_back(multifd: Run, here: Path) -> None:
    os.chmod(here / "a", 0o640)
    os.utime(here / "a", ns=(10**18 + 7, 10**18 + 5))
    result = multifd("compress", "a")
    assert (result.status, result.out, result.err) == (0, "", "")
    assert names(here) == ["a.gz"]
    assert gzip.decompress((here / "a.gz").read_bytes()) == DATA
    for name in ("a.gz", "a"):
        found = (here / name).stat()
        assert stat.S_IMODE(found.st_mode) == 0o640
        assert found.st_mtime_ns == 10**18 + 5
        if name == "a.gz":
            assert multifd("decompress", "a.gz").status == 0
            assert names(here) == ["a"]
    assert (here / "a").read_bytes() == DATA


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_the_owner_is_kept(multifd: Run, here: Path) -> None:
    os.chown(here / "a", 1234, 2345)
    assert multifd("compress", "a").status == 0
    found = (here / "a.gz").stat()
    assert (found.st_uid, found.st_gid) == (1234, 2345)


def test_a_group_that_is_not_kept_may_read_nothing(
    multifd: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError

    os.chmod(here / "a", 0o664)
    monkeypatch.setattr(os, "fchown", refuse)
    assert multifd("compress", "a").status == 0
    assert stat.S_IMODE((here / "a.gz").stat().st_mode) == 0o604


@pytest.mark.parametrize("codec", ["zstd", "lz4", "zlib", "qatzip"])
def test_every_codec(multifd: Run, here: Path, codec: str) -> None:
    assert multifd("compress", "-k", "a", "--multifd-compression", codec, "-p", "2").status == 0
    [packed] = set(names(here)) - {"a"}
    assert decompress((here / packed).read_bytes(), codec=codec) == DATA
    (here / "a").unlink()
    assert multifd("compress", "-d", "-k", packed).status == 0
    assert names(here) == ["a", packed]
    assert (here / "a").read_bytes() == DATA


@pytest.mark.parametrize(
    ("codec", "digit", "level"),
    [("zstd", 1, 1), ("zstd", 6, 13), ("zstd", 9, 20), ("lz4", 1, 1), ("lz4", 9, 12),
     ("qatzip", 4, 4), ("zlib", 9, 9)],
)  # fmt: skip
def test_digits_are_levels(multifd: Run, here: Path, codec: str, digit: int, level: int) -> None:
    (here / "b").write_bytes(DATA[:300_000])
    assert multifd("compress", f"-{digit}", "b", "--multifd-compression", codec).status == 0
    [packed] = set(names(here)) - {"a"}
    expected = io.BytesIO()
    with open_file(expected, "wb", codec, level=level) as writer:
        writer.write(DATA[:300_000])
    assert (here / packed).read_bytes() == expected.getvalue()


def test_nothing_is_replaced(multifd: Run, here: Path) -> None:
    (here / "a.gz").write_bytes(b"mine")
    result = multifd("compress", "a")
    assert result.status == 2
    assert result.err == "multifd: error: a: a.gz exists; --force replaces it\n"
    assert (here / "a.gz").read_bytes() == b"mine"
    assert names(here) == ["a", "a.gz"]
    assert multifd("compress", "-f", "a").status == 0
    assert names(here) == ["a.gz"]


def test_several_files_go_on_after_an_error(multifd: Run, here: Path) -> None:
    (here / "b").write_bytes(b"b")
    (here / "d").mkdir()
    os.symlink("b", here / "link")
    os.mkfifo(here / "fifo")
    result = multifd("compress", "nothing", "d", "link", "fifo", "a", "b")
    assert result.status == 1
    assert result.err.splitlines() == [
        "multifd: error: nothing: No such file or directory",
        "multifd: error: d is a directory; name the files in it",
        "multifd: error: link is a symbolic link; --force follows it",
        "multifd: error: fifo is no regular file; --stdout reads it nevertheless",
    ]
    assert names(here) == ["a.gz", "b.gz", "d", "fifo", "link"]
    assert multifd("compress", "d", "a.gz").status == 2


def test_what_is_not_to_be_touched(multifd: Run, here: Path) -> None:
    os.link(here / "a", here / "other")
    for arguments, message in (
        (("compress", "a"), "a has 2 names, one of which would go; --keep, or --force"),
        (("decompress", "a"), "a does not end like a compressed file"),
        (("compress", "a", "--multifd-compression", "qpl"), "'qpl' has no file format"),
        (("compress", "a", "--multifd-compression", "none"), "'none' has no file format"),
        (("compress", "-3", "a", "--multifd-compression", "qpl"), "has no levels; -3 means"),
        (("compress", "-d", "-3", "a.gz"), "-3 is for compressing, and -d is given"),
        (("compress", "--multifd-qatzip-level", "3", "-4", "a"), "both give the level"),
        (("decompress", "--multifd-zstd-level", "3", "a"), "needs the codec; remedy"),
        (("compress", "--json", "-c", "a"), "cannot both go to standard output"),
    ):
        result = multifd(*arguments)
        assert result.status == 2
        assert message in result.err
        assert result.err.count("\n") == 1
        assert names(here) == ["a", "other"]
    (here / "x.gz").write_bytes(gzip.compress(b""))
    assert "x.gz ends in .gz already" in multifd("compress", "x.gz").err
    assert multifd("compress", "-k", "a").status == 0


def test_damaged_files_leave_nothing(multifd: Run, here: Path) -> None:
    packed = zstandard.compress(DATA)
    for name, file, message in (
        ("cut.zst", packed[:-9], "cut.zst: zstd: the data is cut short"),
        ("garbage.zst", packed + b"garbage", "garbage.zst: zstd: the data is damaged"),
        ("plain.gz", DATA, "plain.gz: qatzip: the data is damaged"),
        ("empty.gz", b"", "empty.gz: qatzip: the data is cut short"),
    ):
        (here / name).write_bytes(file)
        result = multifd("decompress", name)
        assert result.status == 1
        assert message in result.err
        assert names(here) == ["a", name]
        (here / name).unlink()


def test_a_source_that_changes_stays(
    multifd: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def change(fd: int) -> None:
        with open(here / "a", "ab") as file:
            file.write(b"new")
        fsync(fd)

    monkeypatch.setattr(os, "fsync", change)
    result = multifd("compress", "a")
    assert (result.status, result.err) == (
        1,
        "multifd: error: a has changed meanwhile; it stays as it is\n",
    )
    assert names(here) == ["a"]


def test_the_source_goes_after_the_result_is_stored(
    multifd: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(fd: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    result = multifd("compress", "a")
    assert (result.status, result.err) == (1, "multifd: error: a: Input/output error\n")
    assert names(here) == ["a"]


def test_every_error_names_its_file(multifd: Run, here: Path) -> None:
    """One whose name is a part of the message, too."""
    (here / "a").rename(here / "o")
    with open("/dev/full", "wb") as full, pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fdopen", lambda fd, *args, **options: (os.close(fd), full)[1])
        result = multifd("compress", "o")
    assert (result.status, result.err) == (1, "multifd: error: o: No space left on device\n")
    assert names(here) == ["o"]


def test_tar_files_have_names_of_their_own(multifd: Run, here: Path) -> None:
    for codec, name in (("qatzip", "b.tgz"), ("zstd", "b.tzst"), ("lz4", "b.tlz4")):
        (here / name).write_bytes(compress(DATA, codec=codec))
        assert (
            f"{name} ends in {name[1:]} already"
            in multifd("compress", name, "--multifd-compression", codec).err
        )
        assert multifd("decompress", name).status == 0
        assert names(here) == ["a", "b.tar"]
        assert (here / "b.tar").read_bytes() == DATA
        (here / "b.tar").unlink()
    (here / ".tgz").write_bytes(compress(DATA, codec="qatzip"))
    assert "does not end like a compressed file" in multifd("decompress", ".tgz").err


def test_json(multifd: Run, here: Path) -> None:
    result = multifd("compress", "--json", "a", "b", "--multifd-compression", "zstd")
    assert result.status == 1
    done, failed = result.json["files"]
    assert done.pop("seconds") > 0
    assert done == {
        "source": "a", "output": "a.zst", "codec": "zstd", "source_bytes": len(DATA),
        "output_bytes": (here / "a.zst").stat().st_size,
    }  # fmt: skip
    assert failed == {
        "source": "b",
        "error": {"kind": "FileNotFoundError", "message": "b: No such file or directory"},
    }


def test_what_is_counted(multifd: Run, here: Path) -> None:
    """All of a file, by whom it was written and whatever is behind its members."""
    for packed in (compress(DATA, codec="qatzip"), gzip.compress(DATA), gzip.compress(b"") * 2):
        (here / "b.gz").write_bytes(packed + bytes(500))
        [done] = multifd("decompress", "--json", "b.gz").json["files"]
        assert done["source_bytes"] == len(packed) + 500
        assert done["output_bytes"] == (here / "b").stat().st_size
        (here / "b").unlink()


def test_verbose(multifd: Run, here: Path) -> None:
    result = multifd("compress", "-v", "a")
    assert result.err.startswith("a: 1.0 MiB to ") and result.err.endswith("; a.gz\n")
    assert " by qatzip, ratio " in result.err
    assert multifd("decompress", "-v", "a.gz").err.endswith("; a\n")


# Other processes: standard streams, terminals, signals.


def test_streams(start: Start, here: Path) -> None:
    packed = end(start("compress", "-", "--multifd-compression", "zstd", stdin=-1), DATA)
    assert (packed[0], packed[2]) == (0, "")
    assert zstandard.ZstdDecompressor().decompressobj().decompress(packed[1]) == DATA
    assert end(start("decompress", stdin=-1), packed[1]) == (0, DATA, "")
    assert end(start("compress", "-dc", stdin=-1), gzip.compress(DATA)) == (0, DATA, "")
    (here / "b.zst").write_bytes(packed[1])
    (here / "c.gz").write_bytes(compress(b"more", codec="qatzip"))
    assert end(start("decompress", "-c", "b.zst", "c.gz")) == (0, DATA + b"more", "")
    assert names(here) == ["a", "b.zst", "c.gz"]
    status, out, err = end(start("decompress", "-", stdin=-1), packed[1][:-5])
    assert (status, err) == (1, "multifd: error: -: zstd: the data is cut short\n")
    assert DATA.startswith(out)
    status, _, err = end(start("decompress", stdin=-1), b"neither")
    assert (status, err) == (
        2,
        "multifd: error: -: the file is in no format of an installed codec; remedy: name the "
        "codec, or install the one that wrote it\n",
    )


def test_standard_input_is_used_up(here: Path) -> None:
    (here / "b.gz").write_bytes(compress(DATA, codec="qatzip"))
    for command in ("decompress", "compress"):
        done = subprocess.run(
            f"{{ {MULTIFD} {command} -p 2 > out; cat; }} < b.gz",
            shell=True, capture_output=True, check=False,
        )  # fmt: skip
        assert (done.stdout, done.stderr) == (b"", b"")
    assert gzip.decompress((here / "out").read_bytes()) == (here / "b.gz").read_bytes()


def test_who_reads_no_further(here: Path) -> None:
    """A pipe that breaks ends the command without a word."""
    (here / "big").write_bytes(DATA * 8)
    done = subprocess.run(
        f"{MULTIFD} compress -c big | head -c 10 | wc -c; echo ${{PIPESTATUS[0]}}",
        shell=True, executable="/bin/bash", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout.split(), done.stderr) == (["10", "1"], "")


def test_closed_streams(here: Path) -> None:
    """As cron and daemons may leave them."""

    def run(command: str) -> tuple[int, str]:
        done = subprocess.run(
            f"{MULTIFD} {command}", shell=True, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stderr

    assert run("compress - <&-") == (
        2,
        "multifd: error: -: standard input is closed; name a file, or pipe something in\n",
    )
    assert run("compress -c a >&-") == (
        2,
        "multifd: error: a: standard output is closed; remedy: > FILE\n",
    )
    assert run("recv unix:s - >&-") == (
        2,
        "multifd: error: standard output is closed; remedy: > FILE\n",
    )
    assert names(here) == ["a"]
    assert run("compress a >&- <&-") == (0, "")
    assert names(here) == ["a.gz"]
    assert run("decompress nothing.gz 2>&-") == (1, "")


def test_terminals(here: Path) -> None:
    master, slave = pty.openpty()
    try:
        for arguments, message in (
            (["compress", "-c", "a"], "compressed data is not for a terminal"),
            (["decompress"], "standard input is a terminal"),
        ):
            done = subprocess.run(
                [MULTIFD, *arguments], stdin=slave, stdout=slave, stderr=subprocess.PIPE, text=True,
                check=False,
            )  # fmt: skip
            assert done.returncode == 2
            assert message in done.stderr
    finally:
        os.close(master)
        os.close(slave)
    assert names(here) == ["a"]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_leaves_nothing(start: Start, here: Path, signum: signal.Signals) -> None:
    (here / "big").write_bytes(DATA * 24)
    process = start("compress", "-9", "big", "--multifd-compression", "zstd")
    deadline = time.monotonic() + 30
    while not any(name.startswith(".") for name in names(here)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signum)
    assert end(process) == (130, b"", "multifd: interrupted\n")
    assert names(here) == ["a", "big"]
