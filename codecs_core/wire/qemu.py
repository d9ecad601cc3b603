"""QEMU's main migration stream, read up to the end of its RAM, without I/O.

Rules of this module:

* Sections of the stream tell no length. Only a section's own device can read its state, so this
  reads the configuration and the sections of ``ram`` and stops at the first state of any other
  device: what follows is counted, not read. QEMU sends that state when the RAM is complete.
* The description (vmdesc) that QEMU appends behind the device state is found from the stream's
  end, of which a bounded tail is kept.
* Every count and size is checked before anything grows by it.

Source: QEMU's ``migration/savevm.c`` and ``migration/ram.c``, checked against recorded
migrations of QEMU 7.2 and 10.0.
"""

from __future__ import annotations

import struct
from collections.abc import Generator
from dataclasses import dataclass
from typing import Final, TypeAlias

import msgspec

from codecs_core.codec import Buffer
from codecs_core.errors import ProtocolError, TruncatedStream
from codecs_core.wire.mapped_ram import HEADER_SIZE, MappedRam

__all__ = [
    "MAGIC",
    "Configuration",
    "Description",
    "Device",
    "DeviceState",
    "Event",
    "MainParser",
    "Page",
    "RamBlock",
    "RamEnd",
    "SyncPoint",
    "ZeroPages",
]

MAGIC: Final = b"QEVM"
VERSION: Final = 3
MAX_BLOCKS: Final = 4096
MAX_PAGES: Final = 1 << 32
"""The most pages of a block: 16 TiB, more RAM than any guest has in one."""
MAX_DESCRIPTION: Final = 8 << 20
_MAX_CAPABILITIES: Final = 256
_ZERO_BATCH: Final = 4096

_EOF, _START, _PART, _END, _FULL, _SUBSECTION = range(6)
_DESCRIPTION, _CONFIGURATION, _COMMAND = 0x06, 0x07, 0x08
_OPEN_RETURN_PATH = 1
_FOOTER = 0x7E
_RAM_VERSION = 4

_ZERO, _MEM_SIZE, _PAGE, _EOS, _CONTINUE = 0x02, 0x04, 0x08, 0x10, 0x20
_MULTIFD_FLUSH = 0x200


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the stream says of its machine: type, page size in bytes, capabilities it lists."""

    machine: str
    page_size: int
    capabilities: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RamBlock:
    """A RAM block: its name and size in bytes, and in a mapped-ram file the place of its pages."""

    name: str
    size: int
    mapped: MappedRam | None = None


@dataclass(frozen=True, slots=True)
class ZeroPages:
    """Pages of ``block`` that are zero; ``offsets`` is packed like a packet's, big-endian u64."""

    block: str
    offsets: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """A page sent on the main channel itself, as without multifd."""

    block: str
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class SyncPoint:
    """Here the destination waits for one SYNC on every multifd channel."""


@dataclass(frozen=True, slots=True)
class RamEnd:
    """The RAM is complete."""


@dataclass(frozen=True, slots=True)
class DeviceState:
    """At byte ``position`` the state of ``device`` begins, and what can be read ends.

    ``device`` is empty where the stream has no device state at all.
    """

    position: int
    device: str


Event: TypeAlias = Configuration | RamBlock | ZeroPages | Page | SyncPoint | RamEnd | DeviceState


class Device(msgspec.Struct, frozen=True):
    """One device of the description."""

    name: str
    instance_id: int


class Description(msgspec.Struct, frozen=True):
    """The description (vmdesc) at the stream's end: page size in bytes, and the devices."""

    page_size: int
    devices: list[Device]


class MainParser:
    """Turns the bytes of a main channel, or of a mapped-ram file, into events.

    ``position`` counts the bytes read so far, without those that wait for more to come.
    ``blocks`` holds the RAM blocks by name, ``return_path`` tells whether the source has asked for
    one. Memory: `MAX_BLOCKS` names, one batch of zero pages
    and a tail of `MAX_DESCRIPTION` bytes. After an error the parser stays in error.
    """

    def __init__(self) -> None:
        self.position = 0
        self.blocks: dict[str, RamBlock] = {}
        self.return_path = False
        self._buffer = bytearray()
        self._tail = bytearray()
        self._events: list[Event] = []
        self._capabilities: list[str] = []
        self._mapped = False
        self._page_size = 4096
        self._flushed = False
        self._ram: int | None = None
        self._last_block = ""
        self._zeros: list[int] = []
        self._inside = "its header"
        self._failed = False
        self._skip = 0
        self._machine: Generator[int, bytes, None] | None = self._stream()
        self._wanted = next(self._machine)

    @property
    def skippable(self) -> int:
        """How many of the next bytes mean nothing here: the bitmap and pages of a mapped block.

        Feed them, or pass over them in the file and tell `skip`.
        """
        return self._skip

    def skip(self, count: int) -> None:
        """Take note that ``count`` bytes, at most `skippable`, will not be fed."""
        if not 0 <= count <= self._skip:
            raise ProtocolError(f"{count} bytes cannot be passed over here, {self._skip} can")
        self._skip -= count
        self.position += count

    def feed(self, data: Buffer) -> list[Event]:
        """Take bytes of any length and return the events they complete.

        Raises `ProtocolError` where they break the format.
        """
        if self._failed:
            raise ProtocolError("the main stream has failed before")
        self._buffer += data
        self._events = []
        self._failed = True
        used = 0
        while self._machine is not None:
            dropped = min(self._skip, len(self._buffer) - used)
            used += dropped
            self.skip(dropped)
            if self._skip or len(self._buffer) - used < self._wanted:
                break
            chunk = bytes(self._buffer[used : used + self._wanted])
            used += self._wanted
            self.position += self._wanted
            try:
                self._wanted = self._machine.send(chunk)
            except StopIteration:
                self._machine = None
        del self._buffer[:used]
        if self._machine is None:
            self.position += len(self._buffer)
            self._tail += self._buffer
            self._buffer.clear()
            del self._tail[:-MAX_DESCRIPTION]
        self._failed = False
        return self._events

    def close(self) -> Description | None:
        """Tell the parser that the stream has ended, and get its description, if there is one.

        Raises `TruncatedStream` where it ended before any device's state or the end marker.
        """
        if self._failed:
            return None
        if self._machine is not None:
            raise TruncatedStream(
                f"the main stream ends after {self.position + len(self._buffer)} bytes, inside "
                f"{self._inside}"
            )
        # JSON text holds no byte 0x06, so the last one is the description's marker, or lies in
        # the length behind it.
        last = self._tail.rfind(_DESCRIPTION)
        for marker in range(max(last - 4, 0), last + 1):
            text = self._tail[marker + 5 :]
            before = bytes([_DESCRIPTION]) + len(text).to_bytes(4)
            if text[:1] == b"{" and self._tail[marker : marker + 5] == before:
                try:
                    return msgspec.json.decode(text, type=Description)
                except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                    raise ProtocolError(f"the description of the devices: {error}") from None
        return None

    # What follows is one coroutine: it yields how many bytes it needs next.

    def _stream(self) -> Generator[int, bytes, None]:
        magic = yield 4
        if magic != MAGIC:
            raise ProtocolError(f"a main stream begins with {MAGIC!r}, not {magic!r}")
        version = yield from self._integer(4)
        if version != VERSION:
            raise ProtocolError(f"main stream version {version}; this reads version {VERSION}")
        kind = yield from self._configuration()
        while (yield from self._section(kind)):
            self._inside = "the sections, before their end marker"
            kind = yield from self._integer(1)

    def _section(self, kind: int) -> Generator[int, bytes, bool]:
        """Read the section that began with byte ``kind``; return False where reading ends."""
        position = self.position - 1
        if kind in (_START, _FULL):
            section = yield from self._integer(4)
            name = yield from self._name()
            _instance = yield from self._integer(4)
            version = yield from self._integer(4)
            if kind == _FULL or name != "ram" or self.blocks:
                self._events.append(DeviceState(position, name))
                return False
            if version != _RAM_VERSION:
                raise ProtocolError(f"section 'ram' has version {version}, not {_RAM_VERSION}")
            self._ram = section
            yield from self._ram_section(section, kind)
        elif kind in (_PART, _END):
            section = yield from self._integer(4)
            if section != self._ram:
                raise ProtocolError(
                    f"section {section} goes on at byte {position}, but it has ended or never began"
                )
            yield from self._ram_section(section, kind)
            if kind == _END:
                self._ram = None
                self._events.append(RamEnd())
        elif kind == _COMMAND:
            self._inside = "a command"
            command = yield from self._integer(2)
            length = yield from self._integer(2)
            yield length
            self.return_path = self.return_path or command == _OPEN_RETURN_PATH
        elif kind == _EOF:
            self._events.append(DeviceState(position, ""))
            return False
        else:
            raise ProtocolError(f"section type {kind:#04x} at byte {position} is unknown")
        return True

    def _configuration(self) -> Generator[int, bytes, int]:
        """Read the configuration, if there is one, and return the byte behind it."""
        self._inside = "the configuration"
        machine = ""
        kind = yield from self._integer(1)
        if kind == _CONFIGURATION:
            length = yield from self._integer(4)
            if length > 255:
                raise ProtocolError(f"the machine has a name of {length} bytes")
            machine = _text((yield length))
            kind = yield from self._integer(1)
            while kind == _SUBSECTION:
                yield from self._configuration_part()
                kind = yield from self._integer(1)
        self._mapped = "mapped-ram" in self._capabilities
        self._events.append(Configuration(machine, self._page_size, tuple(self._capabilities)))
        return kind

    def _configuration_part(self) -> Generator[int, bytes, None]:
        name = yield from self._name()
        yield from self._integer(4)
        if name == "configuration/target-page-bits":
            bits = yield from self._integer(4)
            if not 10 <= bits <= 19:
                raise ProtocolError(f"the machine has pages of 2^{bits} bytes")
            self._page_size = 1 << bits
        elif name == "configuration/capabilities":
            count = yield from self._integer(4)
            if count + len(self._capabilities) > _MAX_CAPABILITIES:
                raise ProtocolError(
                    f"the machine lists {count + len(self._capabilities)} capabilities"
                )
            for _ in range(count):
                capability = yield from self._name()
                self._capabilities.append(capability)
        elif name == "configuration/uuid":
            yield 16
        else:
            raise ProtocolError(f"the configuration has an unknown part {name!r}")

    def _ram_section(self, section: int, kind: int) -> Generator[int, bytes, None]:
        self._inside = "a section of RAM"
        flags = 0
        while not flags & _EOS:
            entry = yield from self._integer(8)
            flags = entry & (self._page_size - 1)
            offset = entry - flags
            what = flags & ~_CONTINUE
            if self._mapped and what not in (_MEM_SIZE, _EOS):
                raise ProtocolError(f"RAM flags {flags:#x} in a mapped-ram file")
            if what == _ZERO:
                yield from self._zero_page(offset, flags)
                continue
            self._send_zeros()
            if what == _PAGE:
                block = yield from self._block_of(offset, flags)
                data = yield self._page_size
                self._events.append(Page(block, offset, data))
            elif what == _MEM_SIZE and kind == _START and not self.blocks:
                yield from self._block_list(offset)
            elif what == _MULTIFD_FLUSH:
                self._flushed = True
                self._events.append(SyncPoint())
            elif what != _EOS:
                raise ProtocolError(
                    f"RAM flags {flags:#x} at byte {self.position - 8}, which this version does "
                    "not read"
                )
        # QEMU writes a flush in the very first section, or, for machine types up to 8.0, never:
        # there every end of a section is the mark. A mapped-ram file has no channels to wait for.
        if not self._flushed and not self._mapped:
            self._events.append(SyncPoint())
        footer = yield from self._integer(1)
        closed = yield from self._integer(4)
        if footer != _FOOTER or closed != section:
            raise ProtocolError(
                f"the footer of RAM section {section}, before byte {self.position}, is "
                f"{footer:#04x} {closed}"
            )

    def _block_list(self, total: int) -> Generator[int, bytes, None]:
        while total:
            name = yield from self._name()
            size = yield from self._integer(8)
            limit = min(total, MAX_PAGES * self._page_size)
            mapped = None
            if size > limit or size % self._page_size:
                raise ProtocolError(
                    f"RAM block {name!r} has {size:#x} bytes, which are no whole pages, or more "
                    f"than {limit:#x}"
                )
            if name in self.blocks:
                raise ProtocolError(f"RAM block {name!r} is listed twice")
            if len(self.blocks) == MAX_BLOCKS:
                raise ProtocolError(f"more than {MAX_BLOCKS} RAM blocks")
            if "x-ignore-shared" in self._capabilities:
                yield from self._integer(8)
            if self._mapped:
                mapped = MappedRam.decode((yield HEADER_SIZE))
                mapped.check(self.position, size)
                self._skip = mapped.pages_offset + size - self.position
            total -= size
            self.blocks[name] = RamBlock(name, size, mapped)
            self._events.append(self.blocks[name])

    def _zero_page(self, offset: int, flags: int) -> Generator[int, bytes, None]:
        if not flags & _CONTINUE:
            self._send_zeros()
        yield from self._block_of(offset, flags)
        fill = yield from self._integer(1)
        if fill:
            raise ProtocolError(f"a page at byte {self.position} is filled with {fill:#04x}")
        self._zeros.append(offset)
        if len(self._zeros) == _ZERO_BATCH:
            self._send_zeros()

    def _block_of(self, offset: int, flags: int) -> Generator[int, bytes, str]:
        if not flags & _CONTINUE:
            self._last_block = yield from self._name()
        block = self.blocks.get(self._last_block)
        if block is None:
            raise ProtocolError(f"a page of RAM block {self._last_block!r}, which is not listed")
        if offset >= block.size:
            raise ProtocolError(
                f"offset {offset:#x} lies outside RAM block {block.name!r} ({block.size:#x} bytes)"
            )
        return block.name

    def _send_zeros(self) -> None:
        if self._zeros:
            offsets = struct.pack(f">{len(self._zeros)}Q", *self._zeros)
            self._events.append(ZeroPages(self._last_block, offsets))
            self._zeros = []

    def _integer(self, size: int) -> Generator[int, bytes, int]:
        return int.from_bytes((yield size))

    def _name(self) -> Generator[int, bytes, str]:
        length = yield from self._integer(1)
        return _text((yield length))


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ProtocolError(f"the name {data!r} is not UTF-8") from None
