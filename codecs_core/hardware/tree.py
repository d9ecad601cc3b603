"""Reading a host's files below a root: live, unpacked, or in a captured archive.

Rules of this module:

* Nothing leaves the root. Symbolic links are followed here, one by one, as in a chroot, for a
  captured host is a stranger's archive.
* Reading never fails. What is not there is ``None``; what cannot be read, or is not what it should
  be, is `Unknown` with the reason, is false, and equals no value.
* What was read is remembered, so that a capture holds just that.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar

__all__ = ["Directory", "Known", "Node", "Source", "Tree", "Unknown"]

_LIMIT = 64 << 10
_HOPS = 40
_TARGET = 4096
"""The length of a link's target, as Linux bounds it: an archive's may be of any."""
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENODEV, errno.ESRCH)

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Unknown:
    """A value that could not be had: the file it would have come from, and why."""

    path: str
    reason: str

    def __bool__(self) -> bool:
        return False

    def __str__(self) -> str:
        return f"unknown, because {self.path} {self.reason}"


Text: TypeAlias = str | Unknown | None
Number: TypeAlias = int | Unknown | None
Flag: TypeAlias = bool | Unknown | None
Known: TypeAlias = str | int | Unknown | None
"""What a file says, `Unknown`, or ``None`` where there is no such file."""


class Source(Protocol):
    """A file system, seen without following links. Each method raises `OSError`."""

    def link(self, path: str) -> str | None:
        """Where the link at ``path`` points, ``None`` where it is no link."""

    def read(self, path: str, limit: int) -> bytes:
        """The first ``limit`` bytes of the regular file at ``path``."""

    def entries(self, path: str) -> list[str]:
        """The names in the directory at ``path``."""

    def usable(self, path: str) -> bool:
        """Whether this user may read and write what is at ``path``."""


class Directory:
    """The source below a directory; ``/`` is this host, live."""

    def __init__(self, root: Path) -> None:
        self._root = os.fspath(root).rstrip("/")

    def link(self, path: str) -> str | None:
        """Where the link points, ``None`` where it is none."""
        try:
            return os.readlink(self._root + path)
        except OSError as error:
            if error.errno == errno.EINVAL:
                return None
            raise

    def read(self, path: str, limit: int) -> bytes:
        """The beginning of a regular file; nothing else is opened."""
        # Non-blocking, so that a pipe in the place of a file does not hold us up.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(self._root + path, flags)
        with open(descriptor, "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "is no regular file")
            data = bytearray()
            while len(data) < limit and (chunk := file.read(limit - len(data))):
                data += chunk
        return bytes(data)

    def entries(self, path: str) -> list[str]:
        """The names in a directory."""
        return os.listdir((self._root + path) or "/")

    def usable(self, path: str) -> bool:
        """Whether this user may read and write it."""
        os.lstat(self._root + path)
        return os.access(self._root + path, os.R_OK | os.W_OK)


@dataclass(slots=True)
class Node:
    """What a tree has seen at one path: the stuff of a capture."""

    link: str | None = None
    data: bytes | None = None
    listed: bool = False
    usable: bool | None = None
    error: int | None = None


@dataclass
class Tree:
    """A host's files. Paths are absolute, as the host has them."""

    source: Source
    seen: dict[str, Node] = field(default_factory=dict)
    unread: dict[str, Unknown] = field(default_factory=dict)
    """Everything that could not be read, by path."""

    def text(
        self, path: str, *, keep: Callable[[str], str] | None = None, limit: int = _LIMIT
    ) -> str | Unknown | None:
        """What the file holds, stripped.

        ``keep`` picks what is needed; a capture holds no more than that.
        """

        def read(real: str, node: Node) -> str:
            if node.data is None:
                node.data = self.source.read(real, limit)
            content = node.data.decode(errors="replace")
            if keep is not None:
                content = keep(content)
                node.data = content.encode()
            return content.strip()

        return self._at(path, read)

    def lines(
        self, path: str, *, keep: Callable[[str], str] | None = None, limit: int = _LIMIT
    ) -> list[str]:
        """The file's lines as `text` has them; none where it cannot be read."""
        content = self.text(path, keep=keep, limit=limit)
        return content.splitlines() if isinstance(content, str) else []

    def word(self, path: str) -> str | Unknown | None:
        """What the file holds, where that is one short line and not empty."""
        content = self.text(path)
        if not isinstance(content, str):
            return content
        if not content:
            return self._strange(path, "is empty")
        if not content.isprintable() or len(content) > 256:
            return self._strange(path, f"holds {content[:32]!r}, not a line of text")
        return content

    def number(self, path: str) -> int | Unknown | None:
        """The decimal or hexadecimal (``0x``) number that the file holds."""
        content = self.word(path)
        if not isinstance(content, str):
            return content
        try:
            return int(content, 16 if content.startswith("0x") else 10)
        except ValueError:
            return self._strange(path, f"holds {content[:32]!r}, not a number")

    def flag(self, path: str) -> bool | Unknown | None:
        """Whether the file holds 1 and not 0."""
        value = self.number(path)
        if isinstance(value, int) and value not in (0, 1):
            return self._strange(path, f"holds {value}, neither 0 nor 1")
        return bool(value) if isinstance(value, int) else value

    def entries(self, path: str) -> list[str]:
        """The names in the directory, sorted; none where there is no such directory."""

        def listed(real: str, node: Node) -> list[str]:
            node.listed = True
            return sorted(self.source.entries(real))

        names = self._at(path, listed)
        return names if isinstance(names, list) else []

    def target(self, path: str) -> str | Unknown | None:
        """Where the link at ``path`` leads in the end, as a path."""
        return self._at(path, lambda real, node: real)

    def name(self, path: str) -> str | Unknown | None:
        """The last part of `target`: the driver's name, for ``.../driver``."""
        target = self.target(path)
        return target.rpartition("/")[2] if isinstance(target, str) else target

    def exists(self, path: str) -> bool:
        """Whether there is anything at ``path``."""
        return isinstance(self.target(path), str)

    def usable(self, path: str) -> bool | Unknown | None:
        """Whether this user may read and write the file, a device node, say."""

        def usable(real: str, node: Node) -> bool:
            node.usable = self.source.usable(real)
            return node.usable

        return self._at(path, usable)

    def _at(self, path: str, action: Callable[[str, Node], Value]) -> Value | Unknown | None:
        try:
            real = self._resolve(path)
            node = self.seen.setdefault(real, Node())
            try:
                return action(real, node)
            except OSError as error:
                if error.errno not in _ABSENT:
                    node.error = error.errno
                raise
        except OSError as error:
            # What vanishes while it is read was not there.
            if error.errno in _ABSENT:
                return None
            reason = f"cannot be read: {os.strerror(error.errno or errno.EIO).lower()}"
            return self._strange(path, reason)

    def _resolve(self, path: str) -> str:
        """Follow every link on the way, never above the root."""
        pending = path.strip("/").split("/")[::-1]
        real: list[str] = []
        hops = 0
        while pending:
            part = pending.pop()
            if part in ("", "."):
                continue
            if part == "..":
                if real:
                    real.pop()
                continue
            here = "/".join(("", *real, part))
            target = self._link(here)
            if target is None:
                real.append(part)
                continue
            if len(target) > _TARGET:
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
            hops += 1
            if hops > _HOPS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            if target.startswith("/"):
                real.clear()
            pending.extend(target.split("/")[::-1])
        return "/".join(("", *real))

    def _link(self, path: str) -> str | None:
        node = self.seen.get(path)
        if node is None:
            node = Node()
            try:
                node.link = self.source.link(path)
            except OSError as error:
                if error.errno in _ABSENT:
                    raise
                node.error = error.errno
            self.seen[path] = node
        if node.error is not None:
            raise OSError(node.error, os.strerror(node.error))
        return node.link

    def _strange(self, path: str, reason: str) -> Unknown:
        return self.unread.setdefault(path, Unknown(path, reason))
