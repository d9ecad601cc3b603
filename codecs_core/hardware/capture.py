"""A captured host: the files that an inventory reads, in a tar archive that travels.

Only what `Tree` has kept is written. A file that could not be read has the error's number in a
header of its own, so that the archive shows the host as the user who captured it saw it. A device
node becomes an empty file whose mode says whether that user could use it.

Paths lead to files, and may hold what concerns nobody: a virtual bus names its devices by UUIDs, a
library may lie in somebody's home directory. Such parts are numbered instead, the same part always
alike.

An archive is a stranger's: it is plain, since a compressed one may hold more than any memory, and
the number and the sizes of its members are bounded.
"""

from __future__ import annotations

import errno
import io
import os
import re
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from codecs_core.errors import UsageError
from codecs_core.hardware.tree import Node

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import BinaryIO

__all__ = ["Archive", "write"]

_ERROR = "CODECS_CORE.errno"
_MEMBERS = 100_000
_MEMBER_SIZE = 1 << 20
_ARCHIVE_SIZE = 64 << 20
_PATH_LENGTH = 4096
_ERROR_NUMBERS = range(1, 4096)
_PRIVATE = re.compile(r"(?<=/home/)[^/]+|(?i:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")


class Archive:
    """The source in a captured archive; it is held in memory.

    Raises `UsageError` where the file is no such archive, `OSError` where it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._nodes: dict[str, Node] = {"": Node()}
        self._children: dict[str, set[str]] = {"": set()}
        total = 0
        try:
            # Not compressed: such a file may announce, and hold, more than any memory.
            with tarfile.open(path, "r:") as archive:
                for number, member in enumerate(archive):
                    total += member.size
                    if number >= _MEMBERS or member.size > _MEMBER_SIZE or total > _ARCHIVE_SIZE:
                        raise UsageError(
                            f"{path} is no capture: it has more than {_MEMBERS} members, one of "
                            f"more than {_MEMBER_SIZE} bytes, or more than {_ARCHIVE_SIZE} in all"
                        )
                    self._add(archive, member)
        except (tarfile.TarError, EOFError, ValueError) as error:
            if isinstance(error, UsageError):
                raise
            raise UsageError(
                f"{path} is neither a directory nor a capture of 'multifd devices --capture': "
                f"{error}"
            ) from error

    def _add(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        if len(member.name) > _PATH_LENGTH:
            raise ValueError(f"a member's name has {len(member.name)} characters")
        parts = [part for part in member.name.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise UsageError(f"{member.name!r} leads out of the archive")
        at = ""
        for part in parts:
            self._children.setdefault(at, set()).add(part)
            at = f"{at}/{part}"
            self._nodes.setdefault(at, Node())
        node = self._nodes[at]
        if member.isdir():
            self._children.setdefault(at, set())
        elif member.issym():
            node.link = member.linkname
        elif member.isreg():
            file = archive.extractfile(member)
            node.data = file.read() if file else b""
        node.usable = member.mode & 0o600 == 0o600
        number = member.pax_headers.get(_ERROR, "")
        node.error = int(number) if number else None
        if number and node.error not in _ERROR_NUMBERS:
            raise ValueError(f"{member.name} could not be read because of error {number}")

    def _node(self, path: str) -> Node:
        node = self._nodes.get(path)
        if node is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return node

    def link(self, path: str) -> str | None:
        """Where the link points, ``None`` where it is none."""
        node = self._node(path)
        return node.link if node.link is not None else self._checked(path).link

    def read(self, path: str, limit: int) -> bytes:
        """The beginning of a file."""
        node = self._checked(path)
        if node.data is None:
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        return node.data[:limit]

    def entries(self, path: str) -> list[str]:
        """The names in a directory."""
        self._checked(path)
        if path not in self._children:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return list(self._children[path])

    def usable(self, path: str) -> bool:
        """Whether the user who captured it could read and write it."""
        return bool(self._checked(path).usable)

    def _checked(self, path: str) -> Node:
        node = self._node(path)
        if node.error is not None:
            raise OSError(node.error, os.strerror(node.error))
        return node


def write(nodes: Mapping[str, Node], file: BinaryIO) -> None:
    """Write what a tree has seen as a tar archive, without owners, times and private names."""
    directories = {path.rpartition("/")[0] for path in nodes}
    known: dict[str, str] = {}

    def scrubbed(path: str) -> str:
        return _PRIVATE.sub(
            lambda match: known.setdefault(match[0], f"private-{len(known) + 1}"), path
        )

    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, node in sorted(nodes.items()):
            member = tarfile.TarInfo(scrubbed(path).lstrip("/"))
            data = node.data or b""
            if not member.name:
                continue
            if node.link is not None:
                member.type, member.linkname = tarfile.SYMTYPE, scrubbed(node.link)
            elif path in directories or node.listed:
                member.type, member.mode = tarfile.DIRTYPE, 0o755
            else:
                member.size = len(data)
                member.mode = 0o600 if node.usable or node.data is not None else 0
            if node.error is not None:
                member.pax_headers = {_ERROR: str(node.error)}
            archive.addfile(member, io.BytesIO(data))
