"""The inventory of a host: what there is of accelerators, and what their use depends on."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codecs_core.errors import UsageError
from codecs_core.hardware import host, iaa, qat
from codecs_core.hardware.capture import Archive
from codecs_core.hardware.tree import Directory, Tree, Unknown

if TYPE_CHECKING:
    from codecs_core.hardware.tree import Number, Text

__all__ = ["Inventory", "inventory", "open_tree", "take"]


@dataclass(frozen=True, slots=True)
class Inventory:
    """What was found on a host, and in ``unread`` what could not be read, and why.

    ``firmware`` maps the names of the files that the devices' drivers need to whether they are
    there; ``locked_memory`` is in bytes.
    """

    kernel: Text
    cpu: host.Cpu
    iommu: host.Iommu
    modules: tuple[str, ...]
    firmware: dict[str, bool]
    qat: tuple[qat.QatDevice, ...]
    qat_service: host.QatService
    iaa: tuple[iaa.IaaDevice, ...]
    libraries: tuple[host.Library, ...]
    huge_pages: tuple[host.HugePages, ...]
    locked_memory: Number
    unread: tuple[Unknown, ...]

    def library(self, name: str) -> host.Library | None:
        """The library of that name, where it is installed."""
        return next((each for each in self.libraries if each.name == name and each.path), None)

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON. What is unknown is an object with its path and the reason."""
        return {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self)}


def inventory(root: str | os.PathLike[str] = "/") -> Inventory:
    """Take the inventory of this host, or of one below ``root``: a directory or a capture.

    It only reads, needs no privileges, and says what it could not read. Raises `UsageError` where
    ``root`` is neither, `OSError` where it cannot be opened.
    """
    return take(open_tree(root))


def open_tree(root: str | os.PathLike[str] = "/") -> Tree:
    """Open a host's files. Raises as `inventory`."""
    path = Path(root)
    if path.is_dir():
        return Tree(Directory(path))
    if not path.exists():
        raise UsageError(f"{path} does not exist; give a directory or a captured host's archive")
    return Tree(Archive(path))


def take(tree: Tree) -> Inventory:
    """Read everything from a tree, which then holds what a capture of the host needs."""
    devices = qat.read(tree)
    found = Inventory(
        kernel=host.kernel(tree),
        cpu=host.cpu(tree),
        iommu=host.iommu(tree),
        modules=host.modules(tree),
        firmware={
            name: host.firmware(tree, name)
            for name in sorted({each.model.firmware for each in devices if not each.virtual})
        },
        qat=devices,
        qat_service=host.qat_service(tree),
        iaa=iaa.read(tree),
        libraries=host.libraries(tree),
        huge_pages=host.huge_pages(tree),
        locked_memory=host.locked_memory(tree),
        unread=(),
    )
    unread = tuple(sorted(tree.unread.values(), key=lambda each: each.path))
    return dataclasses.replace(found, unread=unread)


def _plain(value: Any) -> Any:
    if isinstance(value, Unknown):
        return {"unknown": value.reason, "path": value.path}
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value
