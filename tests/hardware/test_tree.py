"""Reading below a root: nothing outside, nothing raised, everything explained."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from codecs_core.hardware.tree import Directory, Tree, Unknown
from tests.hardware.conftest import Faulty


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(Directory(tmp_path))


def write(root: Path, path: str, content: str | bytes = b"") -> None:
    place = root / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.mark.parametrize(
    ("content", "word", "number", "flag"),
    [
        ("1\n", "1", 1, True),
        ("0", "0", 0, False),
        ("0x8086\n", "0x8086", 0x8086, None),
        ("-1\n", "-1", -1, None),
        ("up\n", "up", None, None),
        ("", None, None, None),
        ("\n \n", None, None, None),
        ("two\nlines", None, None, None),
        (b"\xff\xfe\0", None, None, None),
        ("1" * 5000, None, None, None),
        ("0xzz", "0xzz", None, None),
    ],
)
def test_values(
    tree: Tree,
    tmp_path: Path,
    content: str | bytes,
    word: str | None,
    number: int | None,
    flag: bool | None,
) -> None:
    """What is not of the kind asked for is unknown, and says what there is instead."""
    write(tmp_path, "/value", content)
    for read, expected in ((tree.word, word), (tree.number, number), (tree.flag, flag)):
        value = read("/value")
        if expected is None:
            assert isinstance(value, Unknown)
            assert value.path == "/value"
            assert str(value).startswith("unknown, because /value ")
            assert not value
        else:
            assert value == expected
            assert type(value) is type(expected)


def test_what_is_not_there_is_none(tree: Tree, tmp_path: Path) -> None:
    write(tmp_path, "/file", "1")
    for path in ("/none", "/none/below", "/file/below"):
        assert tree.text(path) is None
        assert tree.word(path) is None
        assert tree.number(path) is None
        assert tree.flag(path) is None
        assert tree.target(path) is None
        assert tree.name(path) is None
        assert tree.usable(path) is None
        assert not tree.exists(path)
        assert tree.entries(path) == []
        assert tree.lines(path) == []
    assert not tree.unread


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ENODEV, errno.ENOTDIR, errno.ESRCH])
def test_what_vanishes_while_it_is_read_is_none(tmp_path: Path, number: int) -> None:
    write(tmp_path, "/a/value", "1")
    source = Faulty(Directory(tmp_path))
    tree = Tree(source)
    assert tree.exists("/a/value")
    source.faults = {"/a/value": number}
    assert tree.text("/a/value") is None
    assert not tree.unread


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EIO, errno.EINVAL])
def test_what_cannot_be_read_is_unknown(tmp_path: Path, number: int) -> None:
    write(tmp_path, "/a/value", "1")
    tree = Tree(Faulty(Directory(tmp_path), {"/a/value": number}))
    value = tree.number("/a/value")
    assert isinstance(value, Unknown)
    assert os.strerror(number).lower() in value.reason
    assert tree.unread == {"/a/value": value}


def test_a_directory_that_cannot_be_read(tmp_path: Path) -> None:
    write(tmp_path, "/a/value", "1")
    tree = Tree(Faulty(Directory(tmp_path), {"/a": errno.EACCES}))
    assert tree.entries("/a") == []
    assert isinstance(tree.text("/a/value"), Unknown)
    assert set(tree.unread) == {"/a", "/a/value"}


def test_links_are_followed_as_in_a_chroot(tree: Tree, tmp_path: Path) -> None:
    write(tmp_path, "/sys/devices/x/value", "7")
    for path, target in {
        "/sys/bus/x": "../devices/x",
        "/absolute": "/sys/devices/x",
        "/above": "../../../../sys/devices/x",
        "/chain": "absolute",
        "/dots": "./sys/../sys/devices/./x/",
    }.items():
        place = tmp_path / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)
        assert tree.number(f"{path}/value") == 7
        assert tree.target(path) == "/sys/devices/x"
        assert tree.name(path) == "x"


def test_nothing_outside_is_read(tmp_path: Path) -> None:
    write(tmp_path, "/secret", "outside")
    root = tmp_path / "root"
    root.mkdir()
    for name, target in {
        "up": "../secret",
        "absolute": str(tmp_path / "secret"),
        "sly": "../root/../secret",
    }.items():
        (root / name).symlink_to(target)
        assert Tree(Directory(root)).text(f"/{name}") is None
    assert Tree(Directory(root)).text("/../secret") is None


def test_links_in_a_circle(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    value = tree.text("/a")
    assert isinstance(value, Unknown)
    assert "symbolic links" in value.reason


def test_a_pipe_in_the_place_of_a_file(tree: Tree, tmp_path: Path) -> None:
    """It would block whoever opens it."""
    os.mkfifo(tmp_path / "pipe")
    assert isinstance(tree.text("/pipe"), Unknown)


def test_a_directory_in_the_place_of_a_file(tree: Tree, tmp_path: Path) -> None:
    write(tmp_path, "/a/b")
    assert isinstance(tree.text("/a"), Unknown)


def test_reading_is_bounded(tree: Tree, tmp_path: Path) -> None:
    write(tmp_path, "/big", b"x" * (1 << 20))
    text = tree.text("/big")
    assert isinstance(text, str)
    assert len(text) == 64 << 10


def test_nodes_of_devices(tmp_path: Path) -> None:
    write(tmp_path, "/dev/ours")
    write(tmp_path, "/dev/theirs")
    tree = Tree(Faulty(Directory(tmp_path), {"/dev/theirs": False}))
    assert tree.usable("/dev/ours") is True
    assert tree.usable("/dev/theirs") is False
    assert tree.usable("/dev/none") is None


def test_keeps_what_it_needs_alone(tree: Tree, tmp_path: Path) -> None:
    write(tmp_path, "/proc/cmdline", "secret=1 intel_iommu=on")
    assert tree.text("/proc/cmdline", keep=lambda text: text.partition(" ")[2]) == "intel_iommu=on"
    assert tree.seen["/proc/cmdline"].data == b"intel_iommu=on"
