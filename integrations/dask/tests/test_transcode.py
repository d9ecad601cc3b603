"""Sets of files on a cluster: written once, whole, whatever dies meanwhile."""

from __future__ import annotations

import gzip
import importlib
import os
import pickle
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import codecs_core_dask
import pytest
import zstandard
from codecs_core_dask import Report, TranscodeFailed, cluster, transcode, verify
from codecs_core_dask.file import File, temporary_of
from codecs_core_dask.file import transcode as transcode_file
from codecs_core_dask.report import Outcome, Status
from distributed import Client
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

import codecs_core
from codecs_core.errors import CodecError, CorruptPayload, TransferError, UsageError
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
    report = transcode(iter(urls), iter(into), "qatzip", client=client, progress=seen.append)
    for source, target in zip(urls, into, strict=True):
        assert gzip.decompress(path(target).read_bytes()) == path(source).read_bytes()
    assert report.counts == {Status.WRITTEN: 4}
    counts = [len(each.outcomes) for each in seen]
    assert counts == sorted(set(counts)) and counts[0] == 1 and counts[-1] == 4
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


def test_what_is_wrong_with_one_url_or_file_is_that_files_affair(
    client: Client, tmp_path: Path
) -> None:
    """URLs that lead nowhere, and a frame that asks for a window of 2 TiB."""
    urls = sources(tmp_path, 1)
    hostile = tmp_path / "in/hostile.zst"
    hostile.write_bytes(b"\x28\xb5\x2f\xfd\x00\xf8" + bytes(100))
    urls += [f"file://{hostile}", "nowhere://in/2.bin", urls[0]]
    into = [*targets(tmp_path, urls[:3], ".gz"), "nowhere://out/3.gz"]
    with pytest.raises(TranscodeFailed) as caught:
        transcode(urls, into, "qatzip", client=client, retries=0)
    report = caught.value.report
    assert report.counts == {Status.WRITTEN: 1, Status.FAILED: 3}
    assert {each.source: each.error.split(":")[0] for each in report.failed} == {
        urls[0]: "ValueError",
        urls[1]: "CorruptPayload",
        urls[2]: "ValueError",
    }
    assert names(tmp_path / "out") == ["0.gz"]


def test_what_became_of_the_files_is_told_where_nothing_can_be_cleared(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """Workers may reach what the client does not."""

    def unreachable(url: str, **options: Any) -> Any:
        raise ConnectionError(f"{url} is not reached from here")

    monkeypatch.setattr(cluster, "url_to_fs", unreachable)
    urls = sources(tmp_path, 1)
    report = transcode(urls, targets(tmp_path, urls, ".gz"), "qatzip", client=client)
    assert report.counts == {Status.WRITTEN: 1}
    assert "ConnectionError: temporary files beside the targets may be left" in caplog.text


def test_file_systems_whose_listings_take_no_options_are_cleared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of SFTP."""

    class Plain(LocalFileSystem):
        def ls(self, path: str, detail: bool = False) -> Any:
            return super().ls(path, detail)

    monkeypatch.setattr(cluster, "url_to_fs", lambda url: (Plain(), url))
    (tmp_path / ".a.gz.01234567.89abcdef.part").touch()
    (tmp_path / ".b.gz.01234567.89abcdef.part").touch()
    cluster._clear([f"{tmp_path}/a.gz"], {})
    assert names(tmp_path) == [".b.gz.01234567.89abcdef.part"]


def test_a_result_that_is_lost_is_a_failure() -> None:
    class Lost:
        status = "finished"

        def result(self) -> Any:
            raise RuntimeError("the worker took it along")

    outcome = cluster._outcome(Lost(), File("a", None, "b"))
    assert outcome == Outcome(
        "a", "b", Status.FAILED, error="RuntimeError: the worker took it along"
    )


def test_progress_of_many_small_files(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told now and then, for each report takes in all of them; the first and the last always."""
    urls = sources(tmp_path, 12, 100)
    into = targets(tmp_path, urls, ".gz")
    monkeypatch.setattr(cluster, "_INTERVAL", 1e9)
    seen: list[Report] = []
    transcode(urls, into, "qatzip", client=client, progress=seen.append)
    assert [len(each.outcomes) for each in seen] == [1, 12]


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


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    """A file system as object stores are: it copies and removes where others rename."""
    yield MemoryFileSystem()
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


def in_memory(memory: MemoryFileSystem, source: bytes, target: str = "out.gz") -> File:
    memory.pipe("/in.gz", source)
    codec = codecs_core.get_codec("qatzip")
    return File("memory://in.gz", codec, f"memory://{target}", codec, "01234567")


def test_names_that_look_like_patterns(memory: MemoryFileSystem) -> None:
    for target in ("out[1].gz", "out/*.gz", "[out]/?.gz", "plain.gz"):
        its = in_memory(memory, codecs_core.compress(DATA, codec="qatzip"), target)
        assert transcode_file(its).status is Status.WRITTEN
        assert gzip.decompress(memory.cat_file(f"/{target}")) == DATA
    assert len(memory.store) == 5


def test_a_target_that_is_gone_since_it_was_listed(
    memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    its = in_memory(memory, codecs_core.compress(DATA, codec="qatzip"))
    monkeypatch.setattr(MemoryFileSystem, "exists", lambda *_: True)
    assert transcode_file(its).status is Status.WRITTEN


def test_why_a_write_failed_is_told_first(
    memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    its = in_memory(memory, codecs_core.compress(DATA, codec="qatzip")[:-9])
    monkeypatch.setattr(MemoryFileSystem, "rm_file", _never)
    with pytest.raises(CorruptPayload):
        transcode_file(its)


def _never(*_: Any) -> None:
    raise NotImplementedError("nothing is removed here")


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
        (["a", "b"], ["c", f"file://{Path.cwd()}/c"], "/c is the target of several"),
        (["a", "b"], ["c", "d/../c"], "d/../c is the target of several"),
        (["a", "b"], ["memory://c", "memory:///c"], "memory:///c is the target of several"),
        (["a"], [f"file://{Path.cwd()}/a"], "/a is a source and a target"),
        (["here/a"], ["there/a"], "there/a is a source and a target"),
        ("a", ["b"], "a is one URL, where a list"),
        (["b"], Path("a"), "a is one URL, where a list"),
    ],
)
def test_pairs_that_make_no_sense(
    from_: Any, to: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "here/a" in from_:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "here").mkdir()
        (tmp_path / "there").symlink_to("here")
    with pytest.raises(UsageError, match=said):
        transcode(from_, to, "qatzip")


def test_files_of_one_name_in_several_places() -> None:
    """On two hosts, in two buckets, within two archives."""
    for other in ("ftp://b/c", "ftp://a:22/c", "zip://c::b", "nowhere://c", "/c", "c"):
        cluster._check(["d", "e"], ["ftp://a/c", other])


def test_a_codec_without_a_file_format() -> None:
    for codec, source_codec in (("qpl", None), ("qatzip", "qpl")):
        with pytest.raises(CodecError, match="has no file format of its own"):
            transcode(["a"], ["b"], codec, source_codec=source_codec)


def test_nothing_is_verified_that_is_not_decoded() -> None:
    with pytest.raises(UsageError, match=r"b\.bin does not tell its codec .* give codec="):
        verify(["a.gz", "b.bin"])


def test_a_client_that_would_wait_for_itself() -> None:
    with pytest.raises(UsageError, match="the client is asynchronous"):
        verify(["a.gz"], client=SimpleNamespace(asynchronous=True))  # type: ignore[arg-type]


def test_the_name_within_the_core(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import codecs_core, sys; assert 'dask' not in sys.modules; codecs_core.dask.transcode"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert codecs_core.dask.transcode is transcode
    assert codecs_core.dask.__all__ == codecs_core_dask.__all__
    for missing, said in (("codecs_core_dask", "pip install codecs-core-dask"), ("xxhash", "halt")):
        with monkeypatch.context() as patch:
            for name in [each for each in sys.modules if each.startswith("codecs_core_dask")]:
                patch.delitem(sys.modules, name)
            patch.delitem(sys.modules, "codecs_core.dask")
            patch.setitem(sys.modules, missing, None)
            with pytest.raises(ModuleNotFoundError, match=said):
                importlib.import_module("codecs_core.dask")


def test_no_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "get_client", _no_client)
    with pytest.raises(UsageError, match="make one"):
        verify(["a.gz"])


def _no_client() -> None:
    raise ValueError("No global client found and no address provided")


def test_nothing_to_do(client: Client) -> None:
    assert str(transcode([], [], "qatzip", client=client)) == "0 of 0 files: none done"
    assert Outcome("a", None, Status.FAILED).error == ""
