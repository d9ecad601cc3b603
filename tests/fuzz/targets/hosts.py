"""A host's files below /sys, /proc and /etc, and the archives in which they travel."""

from __future__ import annotations

import errno
import functools
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

from codecs_core.errors import UsageError
from codecs_core.hardware import capture
from codecs_core.hardware.inventory import take
from codecs_core.hardware.tree import Directory, Node, Tree
from codecs_core.hardware.usable import accelerators
from tests.fuzz.target import entries, packed, target

HOSTS = Path(__file__).parents[2] / "hosts"
NAMES = ("qat-vfio", "both-more-iaa")
FILE = os.memfd_create("capture")


class Memory:
    """A source of files in memory: those of a host, some of them changed."""

    def __init__(self, nodes: dict[str, Node]) -> None:
        self.nodes = nodes
        self.names: dict[str, list[str]] = {}
        for path in nodes:
            directory, _, name = path.rpartition("/")
            self.names.setdefault(directory, []).append(name)

    def _at(self, path: str) -> Node:
        node = self.nodes.get(path)
        if node is None:
            raise OSError(errno.ENOENT, "")
        if node.error:
            raise OSError(node.error, "")
        return node

    def link(self, path: str) -> str | None:
        return self._at(path).link

    def read(self, path: str, limit: int) -> bytes:
        data = self._at(path).data
        if data is None:
            raise OSError(errno.EISDIR, "")
        return data[:limit]

    def entries(self, path: str) -> list[str]:
        self._at(path)
        return self.names.get(path, [])

    def usable(self, path: str) -> bool:
        return self._at(path).usable is True


@functools.cache
def seen(name: str) -> dict[str, Node]:
    """What an inventory sees of a host, and the directories on the way."""
    tree = Tree(Directory(HOSTS / name))
    take(tree)
    nodes = {path: node for path, node in tree.seen.items() if not node.error}
    for path in list(nodes):
        while path := path.rpartition("/")[0]:
            nodes.setdefault(path, Node())
    return dict(sorted(nodes.items()))


def edits() -> Iterator[bytes]:
    """Some files' contents; the first number chooses the host."""
    for number, name in enumerate(NAMES):
        nodes = list(seen(name).values())
        files = [i for i, node in enumerate(nodes) if node.data is not None]
        for some in (files[:8], files[8:16], files[-8:]):
            parts = [(i, b"D" + (nodes[i].data or b"")[:900]) for i in some if i < 256]
            yield packed((number, b""), *parts)


@target(
    "hosts.files",
    seeds=edits,
    refuses=(),
    tokens=[b"0x8086", b"\x00\x04L/..", b"\x00\x02E\x0d", b"\x00\x05Niax9", b"9" * 99, b"\n\n"],
    memory=4 << 20,
)
def files(data: bytes) -> None:
    """Whatever the files hold, an inventory comes of them, and a capture that reads the same."""
    (first, _), *parts = entries(data) or [(0, b"")]
    nodes = dict(seen(NAMES[first % len(NAMES)]))
    paths = list(nodes)
    for number, part in parts:
        path = paths[(number + len(part)) % len(paths)]
        text = part[1:].replace(b"\0", b"").decode(errors="surrogateescape")
        match part[:1]:
            case b"L" if text:
                nodes[path] = Node(link=text)
            case b"E":
                nodes[path] = Node(error=(errno.EACCES, errno.EIO, errno.EINVAL)[len(part) % 3])
            case b"N" if text.strip("."):
                nodes[f"{path}/{text.replace('/', ':')}"] = Node(data=b"0x8086")
            case _:
                nodes[path] = Node(data=part[1:])
    tree = Tree(Memory(nodes))
    found = take(tree)
    plain = json.dumps(found.as_dict())
    accelerators(found)
    # A capture costs ten times an inventory.
    if len(data) % 8 == 0:
        written = io.BytesIO()
        capture.write(tree.seen, written)
        assert json.dumps(take(Tree(_archive(written.getvalue()))).as_dict()) == plain


def archives() -> Iterator[bytes]:
    written = io.BytesIO()
    nodes = {
        "/sys": Node(listed=True),
        "/sys/a": Node(link="b"),
        "/sys/c": Node(data=b"1\n", usable=True),
        "/sys/d": Node(error=13),
    }
    capture.write(nodes, written)
    yield written.getvalue()


@target("hosts.archive", seeds=archives, refuses=UsageError, size=12 << 10, memory=8 << 20)
def archive(data: bytes) -> None:
    json.dumps(take(Tree(_archive(data))).as_dict())


def _archive(data: bytes) -> capture.Archive:
    os.ftruncate(FILE, 0)
    os.pwrite(FILE, data, 0)
    return capture.Archive(Path(f"/proc/self/fd/{FILE}"))
