"""``--checksum``, ``--verify`` and ``--sync-on-finish``, from process to process."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from codecs_core import TransferError
from codecs_core.cli.log import Log
from codecs_core.cli.progress import summary
from codecs_core.cli.recv import _Destination
from codecs_core.engine.progress import Progress

MULTIFD = str(Path(sys.executable).with_name("multifd"))


@pytest.mark.parametrize("source", ["a", "-"])
@pytest.mark.parametrize(
    ("options", "checksum", "verified"),
    [
        ((), True, False),
        (("--no-checksum",), False, False),
        (("--verify", "full"), True, True),
        (("--no-checksum", "--verify", "full"), False, True),
    ],
)
def test_both_ends_say_what_was_checked(
    tmp_path: Path, source: str, options: tuple[str, ...], checksum: bool, verified: bool
) -> None:
    data = os.urandom(100_000) + bytes(3 << 20)
    (tmp_path / "a").write_bytes(data)
    receiver = subprocess.Popen(
        [MULTIFD, "recv", "tcp:127.0.0.1:0", "b", "--json"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with receiver, open(tmp_path / "a", "rb") as stdin:
        assert receiver.stderr is not None
        address = receiver.stderr.readline().split()[-1].decode()
        sender = subprocess.run(
            [MULTIFD, "send", source, address, "--json", *options],
            cwd=tmp_path,
            stdin=stdin,
            capture_output=True,
            check=True,
            timeout=60,
        )
        out, _ = receiver.communicate(timeout=60)
    assert receiver.returncode == 0
    for each in (json.loads(sender.stdout), json.loads(out)):
        assert (each["checksum"], each["verified"]) == (checksum, verified)
    assert (tmp_path / "b").read_bytes() == data


@pytest.mark.parametrize(
    ("checksum", "verified", "words"),
    [
        (True, False, "; every packet checked"),
        (False, False, "; no packet checked"),
        (True, True, "; every packet checked, whole blocks compared"),
        (False, True, "; no packet checked, whole blocks compared"),
    ],
)
def test_the_summary_says_what_was_checked(checksum: bool, verified: bool, words: str) -> None:
    progress = Progress("zstd", 4096, 1.0, 0, 0, 0, checksum=checksum, verified=verified)
    assert summary(progress).endswith(words)


def test_the_summary_says_what_was_there_already() -> None:
    progress = Progress("zstd", 4096, 1.0, 0, 0, 0, held_pages=512)
    assert "; 0 of 512 pages zero; 2.0 MiB were there already; " in summary(progress)


class TestNames:
    """Several files: all of them get their names, or none."""

    @pytest.fixture
    def two(self, tmp_path: Path) -> Any:
        with ExitStack() as stack:
            target = _Destination(str(tmp_path), stack, Log(), force=False, sync=True, resume=False)
            for name in "ab":
                block = target.open_block(name, 1, 4096)
                block.close()
            yield target

    def test_are_given(self, two: _Destination, tmp_path: Path) -> None:
        two.commit()
        assert sorted(each.name for each in tmp_path.iterdir()) == ["a", "b"]

    def test_that_is_taken_meanwhile(self, two: _Destination, tmp_path: Path) -> None:
        (tmp_path / "b").write_bytes(b"theirs")
        with pytest.raises(TransferError, match="b cannot be made: File exists"):
            two.commit()
        assert not (tmp_path / "a").exists()
        assert (tmp_path / "b").read_bytes() == b"theirs"

    def test_that_do_not_last(
        self, two: _Destination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The second time the directory cannot be brought to stable storage."""
        left = [None]

        def fail(fd: int) -> None:
            if not left:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            left.pop()

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(TransferError, match="b cannot be made: Input/output error"):
            two.commit()
        assert not (tmp_path / "a").exists()
        assert not (tmp_path / "b").exists()
