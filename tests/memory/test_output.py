"""Names that last: what `OutputFile` does with ``sync``, and when that fails."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from codecs_core import TransferError
from codecs_core.memory.output import OutputFile


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What the directory held each time that it was brought to stable storage."""
    seen: list[list[str]] = []
    fsync = os.fsync

    def record(fd: int) -> None:
        assert stat.S_ISDIR(os.fstat(fd).st_mode)
        fsync(fd)
        seen.append(sorted(os.listdir(fd)))

    monkeypatch.setattr(os, "fsync", record)
    return seen


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that cannot be brought to stable storage."""

    def fail(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)


@pytest.mark.parametrize("force", [True, False])
def test_a_name_is_synced_once_it_is_there(
    tmp_path: Path, synced: list[list[str]], force: bool
) -> None:
    with OutputFile(tmp_path / "a", force=force, sync=True) as output:
        output.partial.write_bytes(b"data")
        output.commit()
    assert synced == [["a"]]


def test_a_name_is_not_synced_unasked(tmp_path: Path, synced: list[list[str]]) -> None:
    with OutputFile(tmp_path / "a") as output:
        output.partial.write_bytes(b"data")
        output.commit()
    assert synced == []


@pytest.mark.usefixtures("broken")
def test_a_name_that_does_not_last_is_taken_back(tmp_path: Path) -> None:
    with pytest.raises(TransferError, match="a cannot be made: Input/output error"):
        with OutputFile(tmp_path / "a", sync=True) as output:
            output.partial.write_bytes(b"data")
            output.commit()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("broken")
def test_what_replaced_a_file_stays(tmp_path: Path) -> None:
    """The old file is gone; the new one is whole."""
    (tmp_path / "a").write_bytes(b"before")
    with pytest.raises(TransferError, match="a cannot be made: Input/output error"):
        with OutputFile(tmp_path / "a", force=True, sync=True) as output:
            output.partial.write_bytes(b"data")
            output.commit()
    assert (tmp_path / "a").read_bytes() == b"data"


def test_a_name_may_be_taken_back(tmp_path: Path) -> None:
    with OutputFile(tmp_path / "a") as output:
        output.withdraw()
        output.partial.write_bytes(b"data")
        output.commit()
        output.withdraw()
        output.withdraw()
    assert list(tmp_path.iterdir()) == []
