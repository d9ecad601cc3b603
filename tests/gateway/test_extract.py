from __future__ import annotations

import hashlib
import resource
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from codecs_core.errors import CorruptPayload, TransferError, UsageError
from codecs_core.gateway.extract import extract
from codecs_core.gateway.recording import Recording
from codecs_core.memory.file import FileBlock
from codecs_core.wire.mapped_ram import MappedRam

PAGE = 4096


def test_every_recording_to_a_sparse_file(rebuildable: Any, tmp_path: Path) -> None:
    output = tmp_path / "ram.bin"
    rebuilt = extract(Recording.open(rebuildable.path), "pc.ram", output)
    digest = hashlib.sha256(output.read_bytes()).hexdigest()
    assert digest == rebuildable.digests()["pc.ram"]
    assert output.stat().st_size == rebuilt.size == 32 << 20
    assert output.stat().st_blocks * 512 < 9 << 20
    assert list(tmp_path.iterdir()) == [output]


def test_an_existing_file_is_replaced_on_demand_only(bundled: Any, tmp_path: Path) -> None:
    recording = Recording.open(bundled["none-ch2"].path)
    output = tmp_path / "out"
    output.write_bytes(b"mine")
    with pytest.raises(UsageError, match="out exists; --force replaces it"):
        extract(recording, "pc.rom", output)
    assert output.read_bytes() == b"mine"
    extract(recording, "pc.rom", output, force=True)
    assert output.stat().st_size == 128 << 10
    with pytest.raises(UsageError, match="is a directory"):
        extract(recording, "pc.rom", tmp_path, force=True)
    with pytest.raises(TransferError, match=r"absent/out cannot be made: .*absent is no directory"):
        extract(recording, "pc.rom", tmp_path / "absent/out")


@pytest.mark.parametrize("force", [False, True])
def test_a_failure_leaves_no_file_behind(bundled: Any, tmp_path: Path, force: bool) -> None:
    directory = bundled["zlib-ch4"].unpack(tmp_path / "unpacked")
    data = bytearray((directory / "ch3.bin").read_bytes())
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    (directory / "ch3.bin").write_bytes(data)
    output = tmp_path / "output" / "ram.bin"
    output.parent.mkdir()
    if force:
        output.write_bytes(b"before")
    with pytest.raises(CorruptPayload, match=r"^ch3\.bin: packet \d+: zlib: "):
        extract(Recording.open(directory), "pc.ram", output, force=force)
    assert [each.read_bytes() for each in output.parent.iterdir()] == [b"before"] * force


def test_a_disk_that_fills(bundled: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = Recording.open(bundled["none-ch2"].path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    create = FileBlock.create

    def limited(*arguments: Any, **more: Any) -> FileBlock:
        block = create(*arguments, **more)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
        return block

    monkeypatch.setattr(FileBlock, "create", limited)
    try:
        with pytest.raises(TransferError, match=r"writing .*ram\.bin.*: File too large"):
            extract(recording, "pc.ram", tmp_path / "ram.bin")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_memory_is_bounded_whatever_the_size(main_stream: Any, tmp_path: Path) -> None:
    size = 16 << 30
    places = MappedRam(PAGE, 1 << 16, 1 << 20)
    head = main_stream(capabilities=("mapped-ram",)).open_list(size)
    tail = main_stream()
    tail.data.clear()
    tail.close().end().devices("cpu")
    path = tmp_path / "huge.mig"
    with path.open("wb") as file:
        file.write(head.data + head.text("pc.ram") + size.to_bytes(8) + places.encode())
        for page in (0, size // PAGE - 1):
            file.seek(places.bitmap_offset + page // 8)
            file.write(bytes([1 << page % 8]))
            file.seek(places.pages_offset + page * PAGE)
            file.write(b"\7" * PAGE)
        file.write(tail.data)
    output = tmp_path / "ram.bin"
    recording = Recording.open(path)
    tracemalloc.start()
    rebuilt = extract(recording, "pc.ram", output)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (rebuilt.size, rebuilt.normal_pages) == (size, 2)
    assert output.stat().st_blocks * 512 <= 16 * PAGE
    with output.open("rb") as file:
        assert file.read(2 * PAGE) == b"\7" * PAGE + bytes(PAGE)
        file.seek(size - 2 * PAGE)
        assert file.read() == bytes(PAGE) + b"\7" * PAGE
    assert peak < 16 << 20
