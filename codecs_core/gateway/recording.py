"""Opens what was recorded of a migration: finds its files and tells what they are.

A recording is a directory of ``main.bin`` (the main channel), ``ch<id>.bin`` (one for each multifd
channel) and perhaps ``meta.json``; or one such file alone; or a file that QEMU wrote with
``mapped-ram``. Each may be compressed in the file format of an installed codec, which the file
name's ending tells. What a file holds is told by its first bytes, and nothing in it is trusted.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final
from uuid import UUID

import msgspec

from codecs_core.codec import Geometry
from codecs_core.errors import CodecError, ProtocolError, UsageError
from codecs_core.registry import codecs, get_codec
from codecs_core.wire import packet, qemu

__all__ = [
    "CHUNK",
    "PACKET_SIZE",
    "Meta",
    "Recording",
    "Source",
    "main_steps",
    "pass_over",
    "read_up_to",
]

_NAME: Final = re.compile(r"(main|ch\d{1,3})\.bin(\.\w+)?")
CHUNK: Final = 256 * 1024
"""How many bytes of a file are read at a time."""
_META_LIMIT: Final = 1 << 20
PACKET_SIZE: Final = 512 * 1024
"""What a full packet holds in every version of QEMU, in bytes."""


class Meta(msgspec.Struct, frozen=True):
    """What is used of ``meta.json``: how many channels there were, and the codec's name."""

    channels: int | None = None
    compression: str | None = None


@dataclass(frozen=True)
class Source:
    """One file of a recording, and the codec that it is compressed with, if any."""

    path: Path
    codec: str | None = None

    @classmethod
    def of(cls, path: Path) -> Source:
        """Choose the codec by the file name's ending.

        Raises `UsageError` for what is there and no regular file: it could not be read twice.
        """
        if path.exists() and not path.is_file():
            raise UsageError(f"{path} is neither a directory nor a regular file")
        return cls(path, codecs().by_suffix(path))

    @contextlib.contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Open the file to read what it holds, decompressed; errors in there name the file.

        Raises `OSError` where it cannot be opened.
        """
        with self.naming(), self.path.open("rb") as file:
            if self.codec is None:
                yield file
            else:
                with get_codec(self.codec).open_reader(file) as reader:
                    yield reader

    @contextlib.contextmanager
    def naming(self) -> Iterator[None]:
        """Put the file's name before what is wrong with its contents."""
        try:
            yield
        except (ProtocolError, CodecError) as error:
            raise type(error)(f"{self.path.name}: {error}") from error

    def head(self, size: int) -> bytes:
        """Return the first ``size`` bytes, or all there are."""
        with self.open() as file:
            return read_up_to(file, size)


@dataclass(frozen=True)
class Recording:
    """A recorded migration, or the part of one that ``path`` holds.

    ``main`` is the main channel or the mapped-ram file. ``configuration`` and ``blocks`` were
    read from it.
    """

    path: Path
    main: Source | None = None
    channels: Mapping[int, Source] = field(default_factory=dict)
    meta: Meta = field(default_factory=Meta)
    configuration: qemu.Configuration | None = None
    blocks: Mapping[str, qemu.RamBlock] = field(default_factory=dict)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Recording:
        """Find out what stands at ``path``.

        Raises `UsageError` for a directory that is no recording, `ProtocolError` where a file
        breaks the format or files do not belong together, `OSError` where they cannot be read.
        """
        path = Path(path)
        meta = Meta()
        if path.is_dir():
            sources = _sources(path)
            meta = _read_meta(path / "meta.json")
        else:
            sources = [Source.of(path)]
        main: Source | None = None
        channels: dict[int, Source] = {}
        uuids: dict[UUID, Source] = {}
        for source in sources:
            head = source.head(packet.INIT_SIZE)
            if head[:4] == qemu.MAGIC:
                if main is not None:
                    raise _twice("the main channel", main, source)
                main = source
            elif head[:4] == packet.MAGIC.to_bytes(4):
                with source.naming():
                    init = packet.ChannelInit.decode(head)
                if init.channel in channels:
                    raise _twice(f"channel {init.channel}", channels[init.channel], source)
                channels[init.channel] = source
                uuids[init.uuid] = source
            else:
                raise ProtocolError(_not_a_recording(source, head))
        if len(uuids) > 1:
            names = " and ".join(each.path.name for each in uuids.values())
            raise ProtocolError(f"{path}: {names} are of two migrations; their uuids differ")
        configuration, blocks = _blocks(main) if main is not None else (None, {})
        recording = cls(path, main, dict(sorted(channels.items())), meta, configuration, blocks)
        if recording.mapped and channels:
            raise ProtocolError(f"{path}: a mapped-ram file has no channels beside it")
        return recording

    @property
    def geometry(self) -> Geometry:
        """Sizes of page and packet, in bytes."""
        if self.configuration is None:
            return Geometry()
        return Geometry(self.configuration.page_size, PACKET_SIZE)

    def page_size_of(self, block: qemu.RamBlock) -> int:
        """The size in bytes of the pages in which ``block`` was recorded."""
        return self.geometry.page_size if block.mapped is None else block.mapped.page_size

    @property
    def mapped(self) -> bool:
        """Whether this is a mapped-ram file."""
        return any(block.mapped is not None for block in self.blocks.values())

    @property
    def missing_channels(self) -> list[int]:
        """The channels that a directory lacks, by its ``meta.json`` and its highest channel."""
        if self.mapped or not self.path.is_dir():
            return []
        count = max(min(self.meta.channels or 0, 256), max(self.channels, default=-1) + 1)
        return [number for number in range(count) if number not in self.channels]


def read_up_to(file: BinaryIO, size: int) -> bytes:
    """Read ``size`` bytes, or all there are; memory grows with what is there."""
    parts = []
    while size and (part := file.read(min(size, CHUNK))):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def pass_over(file: BinaryIO, count: int) -> int:
    """Go ``count`` bytes ahead, or to the file's end; return how many bytes that was."""
    if file.seekable():
        position = file.tell()
        count = min(count, file.seek(0, os.SEEK_END) - position)
        file.seek(position + count)
        return count
    passed = 0
    while passed < count and (part := file.read(min(count - passed, CHUNK))):
        passed += len(part)
    return passed


def main_steps(main: Source) -> Iterator[qemu.Event | qemu.Description]:
    """Yield what the main channel says, and at last the description of its devices.

    Raises `ProtocolError` and `CorruptPayload`, naming the file.
    """
    parser = qemu.MainParser()
    with main.open() as file:
        while chunk := file.read(CHUNK):
            yield from parser.feed(chunk)
            if parser.skippable:
                parser.skip(pass_over(file, parser.skippable))
        description = parser.close()
        if description is not None:
            yield description


def _sources(directory: Path) -> list[Source]:
    matches = {entry: _NAME.fullmatch(entry.name) for entry in sorted(directory.iterdir())}
    sources = []
    for entry, match in matches.items():
        if match is None:
            continue
        source = Source.of(entry)
        if match[2] and source.codec is None:
            raise UsageError(
                f"{entry}: no installed codec reads {match[2]!r} files; 'multifd codecs' lists "
                "those installed"
            )
        sources.append(source)
    if not sources:
        found = ", ".join(repr(entry.name) for entry in list(matches)[:5]) or "nothing"
        raise UsageError(
            f"{directory} is no recording: it holds {found}, but no main.bin and no ch<id>.bin; "
            "a mapped-ram file is given by its own path"
        )
    return sources


def _read_meta(path: Path) -> Meta:
    try:
        with path.open("rb") as file:
            text = read_up_to(file, _META_LIMIT)
    except FileNotFoundError:
        return Meta()
    try:
        return msgspec.json.decode(text, type=Meta)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(
            f"{path}: {error}; without this file, its contents are found out"
        ) from None


def _blocks(main: Source) -> tuple[qemu.Configuration | None, dict[str, qemu.RamBlock]]:
    """Read the main channel up to the end of its list of blocks."""
    configuration = None
    blocks: dict[str, qemu.RamBlock] = {}
    for step in main_steps(main):
        if isinstance(step, qemu.Configuration):
            configuration = step
        elif isinstance(step, qemu.RamBlock):
            blocks[step.name] = step
        else:
            break
    return configuration, blocks


def _twice(what: str, first: Source, second: Source) -> ProtocolError:
    return ProtocolError(f"{first.path.name} and {second.path.name} both hold {what}")


def _not_a_recording(source: Source, head: bytes) -> str:
    if not head:
        return f"{source.path} is empty"
    hint = (
        "" if source.codec else "; a compressed file needs the ending of its format, and its codec"
    )
    return (
        f"{source.path} begins with {head[:4].hex(' ')}, so it is no channel of a migration and no "
        f"mapped-ram file{hint}"
    )
