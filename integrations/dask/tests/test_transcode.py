"""Sets of files on a cluster: written once, whole, whatever dies meanwhile."""

from __future__ import annotations

import gzip
import os
import pickle
import re
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import zstandard
from codecs_core_dask import Report, TranscodeFailed, cluster, transcode, verify
from codecs_core_dask.file import File, temporary_of
from codecs_core_dask.file import transcode as transcode_file
from codecs_core_dask.report import Outcome, Status
from distributed import Client

import codecs_core
from codecs_core.errors import CorruptPayload, TransferError, UsageError
from codecs_core.testing.data import sample

DATA = sample("memory", 1 << 20)


def sources(place: Path, count: int = 4, size: int = 1 << 20) -> list[str]:
    """Files of different content and size."""
    urls = []
    for number in range(count):
        path = place / "in" / f"{number}.bin"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(sample("memory", size + number, number))
        urls.append(f"file://{path}")
    return urls


def targets(place: Path, urls: list[str], ending: str) -> list[str]:
    return [f"file://{place}/out/{Path(url).stem}{ending}" for url in urls]


def path(url: str) -> Path:
    return Path(url.removeprefix("file://"))


def names(place: Path) -> list[str]:
    """All files, temporary ones among them."""
    return sorted(each.name for each in place.iterdir())


def test_files_are_compressed(client: Client, tmp_path: Path) -> None:
    urls = sources(tmp_path)
    into = targets(tmp_path, urls, ".gz")
    seen: list[Report] = []
    report = transcode(urls, into, "qatzip", client=client, progress=seen.append)
    for source, target in zip(urls, into, strict=True):
        assert gzip.decompress(path(target).read_bytes()) == path(source).read_bytes()
    assert report.counts == {Status.WRITTEN: 4}
    assert [len(each.outcomes) for each in seen] == [1, 2, 3, 4]
    assert report.size == report.source_size == sum(path(url).stat().st_size for url in urls)
    assert report.target_size == sum(path(url).stat().st_size for url in into)
    assert re.fullmatch(r"4 of 4 files: 4 written; 4194310 bytes in \d+", str(report)), str(report)
    assert names(tmp_path / "out") == ["0.gz", "1.gz", "2.gz", "3.gz"]


def test_files_are_recompressed_and_decompressed(client: Client, tmp_path: Path) -> None:
    """The codec of a source follows from its ending, or is given."""
    urls = sources(tmp_path, 2)
    packed, again, plain = (targets(tmp_path, urls, each) for each in (".gz", ".zst", ".raw"))
    transcode(urls, packed, "qatzip", client=client)
    transcode(packed, again, codecs_core.get_codec("zstd", level=3), client=client)
    report = transcode(again, plain, None, source_codec="zstd", client=client)
    for source, zst, raw in zip(urls, again, plain, strict=True):
        data = path(source).read_bytes()
        assert (
            zstandard.ZstdDecompressor().decompressobj().decompress(path(zst).read_bytes()) == data
        )
        assert path(raw).read_bytes() == data
    assert report.target_size == report.size


def test_the_same_call_again_does_what_is_left(client: Client, tmp_path: Path) -> None:
    urls = sources(tmp_path)
    into = targets(tmp_path, urls, ".gz")
    transcode(urls, into, "qatzip", client=client)
    kept = path(into[0]).stat().st_mtime_ns
    path(into[1]).unlink()
    path(into[2]).write_bytes(path(into[2]).read_bytes()[:-9])
    path(into[3]).write_bytes(codecs_core.compress(b"of another file", codec="qatzip"))
    report = transcode(urls, into, "qatzip", client=client)
    assert report.counts == {Status.WRITTEN: 3, Status.SKIPPED: 1}
    assert path(into[0]).stat().st_mtime_ns == kept
    for source, target in zip(urls, into, strict=True):
        assert gzip.decompress(path(target).read_bytes()) == path(source).read_bytes()


def test_files_are_verified(client: Client, tmp_path: Path) -> None:
    urls = sources(tmp_path, 3)
    into = targets(tmp_path, urls, ".gz")
    transcode(urls, into, "qatzip", client=client)
    report = verify(into, client=client)
    assert report.counts == {Status.VERIFIED: 3}
    assert report.size == sum(path(url).stat().st_size for url in urls)
    path(into[1]).write_bytes(path(into[1]).read_bytes()[:-1])
    with pytest.raises(TranscodeFailed, match=r"1\.gz: \w+: .*cut short") as caught:
        verify(into, client=client, retries=0)
    assert caught.value.report.counts == {Status.VERIFIED: 2, Status.FAILED: 1}


def test_one_file_that_fails_does_not_hold_up_the_others(client: Client, tmp_path: Path) -> None:
    urls = sources(tmp_path, 3)
    into = targets(tmp_path, urls, ".gz")
    path(urls[1]).unlink()
    with pytest.raises(TranscodeFailed, match=r"1\.bin: FileNotFoundError") as caught:
        transcode(urls, into, "qatzip", client=client, retries=1)
    assert caught.value.report.counts == {Status.WRITTEN: 2, Status.FAILED: 1}
    assert names(tmp_path / "out") == ["0.gz", "2.gz"]
    assert isinstance(caught.value, TransferError)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_worker_may_die_in_the_midst_of_it(client: Client, tmp_path: Path) -> None:
    """Killed while files are on their way: all arrive, and nothing is left beside them."""
    urls = sources(tmp_path, 8, 2 << 20)
    into = targets(tmp_path, urls, ".gz")
    level = codecs_core.get_codec("qatzip", level=9)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.3.gz.01234567.89abcdef.part").write_bytes(b"of an earlier run")
    killed: list[int] = []

    def kill(report: Report) -> None:
        """After the first file: a worker that has another in hand."""
        if killed:
            return
        busy = next(each for each, tasks in client.processing().items() if tasks)
        killed.append(client.run(os.getpid, workers=[busy])[busy])
        os.kill(killed[0], signal.SIGKILL)

    report = transcode(urls, into, level, client=client, progress=kill)
    assert killed
    # A file that the dead worker had finished, and not yet told of, is skipped by the next.
    assert set(report.counts) <= {Status.WRITTEN, Status.SKIPPED}
    assert Counter(each.source for each in report.outcomes) == Counter(urls)
    for source, target in zip(urls, into, strict=True):
        assert gzip.decompress(path(target).read_bytes()) == path(source).read_bytes()
    assert names(tmp_path / "out") == [f"{number}.gz" for number in range(8)]


def test_an_interrupted_run_is_run_again(client: Client, tmp_path: Path) -> None:
    urls = sources(tmp_path)
    into = targets(tmp_path, urls, ".gz")

    def interrupt(report: Report) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        transcode(urls, into, "qatzip", client=client, progress=interrupt)
    report = transcode(urls, into, "qatzip", client=client)
    assert report.counts[Status.SKIPPED] >= 1
    assert len(report.outcomes) == 4 and not report.failed
    assert names(tmp_path / "out") == ["0.gz", "1.gz", "2.gz", "3.gz"]


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source.gz"
    source.write_bytes(codecs_core.compress(DATA, codec="qatzip")[:-9])
    codec = codecs_core.get_codec("qatzip")
    its = File(str(source), codec, str(tmp_path / "out/target.gz"), codec, "01234567")
    with pytest.raises(CorruptPayload):
        transcode_file(its)
    assert names(tmp_path / "out") == []


def test_what_was_written_is_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    source.write_bytes(DATA)
    from codecs_core_dask import file

    original = file._read

    def other(fs: Any, place: str, codec: Any) -> Any:
        found = original(fs, place, codec)
        return file._Content(found.size, b"other") if place.endswith(".part") else found

    monkeypatch.setattr(file, "_read", other)
    its = File(str(source), None, str(tmp_path / "target"), None, "01234567")
    with pytest.raises(TransferError, match="reads otherwise"):
        transcode_file(its)
    assert names(tmp_path) == ["source"]


def test_temporary_names() -> None:
    assert temporary_of("/a/.b.gz.01234567.89abcdef.part") == "b.gz"
    assert temporary_of("/a/b.gz.part") is None
    assert temporary_of("/a/.b.gz.0123.89abcdef.part") is None


@pytest.mark.parametrize(
    ("from_", "to", "said"),
    [
        (["a", "b"], ["c"], "2 sources, but 1 targets"),
        (["a", "b"], ["c", "c"], "c is the target of several"),
        (["a", "b"], ["b", "c"], "b is a source and a target"),
        ("a", ["b"], "lists of URLs"),
    ],
)
def test_pairs_that_make_no_sense(from_: Any, to: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        transcode(from_, to, "qatzip")


def test_no_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "get_client", _no_client)
    with pytest.raises(UsageError, match="make one"):
        verify(["a.gz"])


def _no_client() -> None:
    raise ValueError("No global client found and no address provided")


def test_nothing_to_do(client: Client) -> None:
    assert str(transcode([], [], "qatzip", client=client)) == "0 of 0 files: none done"
    assert Outcome("a", None, Status.FAILED).error == ""
