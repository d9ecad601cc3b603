"""Rebuilds one RAM block's memory from a recording.

Every packet of every channel is decoded in the order of the replay, because codecs such as zlib
and zstd keep history across packets; what belongs to other blocks is dropped. The result is what
the migration's destination had in its memory.
"""

from __future__ import annotations

from dataclasses import dataclass

from codecs_core.codec import Codec, Decoder
from codecs_core.engine.methods import method_of
from codecs_core.errors import CodecError, ProtocolError, UnknownCodec, UsageError
from codecs_core.gateway.mapped import copy_pages
from codecs_core.gateway.recording import Recording
from codecs_core.gateway.replay import Packet, replay
from codecs_core.guard import guarded_decoder
from codecs_core.memory import kernel
from codecs_core.memory.block import Block
from codecs_core.registry import codecs, get_codec
from codecs_core.wire import qemu

__all__ = ["Rebuilt", "find_block", "rebuild"]


@dataclass(frozen=True)
class Rebuilt:
    """What a block was rebuilt from. ``size`` and ``page_size`` are in bytes.

    ``normal_pages`` and ``zero_pages`` count pages as often as the recording has them.
    ``unsent_pages`` are pages that it never has; they are zero.
    """

    block: str
    size: int
    page_size: int
    normal_pages: int
    zero_pages: int
    unsent_pages: int


def find_block(recording: Recording, name: str) -> qemu.RamBlock:
    """Return what the recording says of RAM block ``name``.

    Raises `UsageError` where it has none, naming those it has.
    """
    if recording.main is None:
        raise UsageError(
            f"{recording.path} lacks the main channel, main.bin, which alone tells the names and "
            "sizes of the RAM blocks"
        )
    if name not in recording.blocks:
        known = ", ".join(map(repr, recording.blocks)) or "none"
        raise UsageError(f"{recording.path} has no RAM block {name!r}; it has {known}")
    return recording.blocks[name]


def rebuild(recording: Recording, block: Block, *, allow_unsent: bool = False) -> Rebuilt:
    """Rebuild the RAM block called ``block.name`` into ``block``, whose pages must all be zero.

    ``allow_unsent`` accepts pages that were never sent, as happens where the guest reported them
    free. Raises `UsageError` where the recording has no such block or ``block`` has not its size,
    `ProtocolError` where the recording is incomplete or breaks the format, `CorruptPayload` for
    pages that do not decode, `UnknownCodec` or `CodecUnavailable` where their codec is not here,
    `TransferError` where ``block`` cannot be written.
    """
    found = find_block(recording, block.name)
    page_size = recording.page_size_of(found)
    if (block.size, block.page_size) != (found.size, page_size):
        raise UsageError(
            f"RAM block {found.name!r} has {found.size} bytes in pages of {page_size}, not "
            f"{block.size} in pages of {block.page_size}"
        )
    work = _Rebuild(recording, block)
    try:
        work.follow_replay()
    finally:
        work.close()
    normal, zero, unsent = work.normal, work.zero, 0
    if found.mapped is not None:
        assert recording.main is not None
        normal = copy_pages(recording.main, found, block)
        zero = block.pages - normal
    else:
        unsent = work.unsent
    if unsent and not allow_unsent:
        raise ProtocolError(
            f"{recording.path}: {unsent} of the {block.pages} pages of RAM block {block.name!r} "
            "were never sent: a channel is missing, or the guest had reported them free; "
            "--allow-unsent leaves them zero"
        )
    return Rebuilt(block.name, found.size, page_size, normal, zero, unsent)


class _Rebuild:
    """One block being rebuilt: what was sent of it, and the channels' decoders."""

    def __init__(self, recording: Recording, block: Block) -> None:
        self.normal = self.zero = 0
        self.unsent = block.pages
        self._recording = recording
        self._block = block
        self._sent = bytearray(-(-block.pages // 8))
        self._scratch = memoryview(bytearray(recording.geometry.packet_size))
        self._codec: Codec | None = None
        self._decoders: dict[int, Decoder] = {}

    def close(self) -> None:
        """Release the decoders."""
        for each in self._decoders.values():
            each.close()

    def follow_replay(self) -> None:
        """Take what belongs to the block, and see that the recording is whole."""
        if missing := self._recording.missing_channels:
            names = ", ".join(f"ch{number}.bin" for number in missing)
            raise ProtocolError(f"{self._recording.path} lacks {names}, and the pages in it")
        complete = False
        name = self._block.name
        for step in replay(self._recording):
            match step:
                case Packet():
                    with self._recording.channels[step.channel].naming():
                        self._take(step)
                case qemu.ZeroPages() if step.block == name:
                    self._store(step.offsets, 0, self._scratch)
                case qemu.Page() if step.block == name:
                    self._store(step.offset.to_bytes(8), 1, memoryview(step.data))
                case qemu.RamEnd():
                    complete = True
                case qemu.DeviceState() if not complete:
                    raise ProtocolError(f"{self._recording.path}: {_unfinished(step)}")

    def _take(self, packet: Packet) -> None:
        header = packet.header
        normal = header.normal_pages
        if not header.offsets:
            return
        if header.block not in self._recording.blocks:
            raise ProtocolError(
                f"packet {header.packet_num}: there is no RAM block {header.block!r}"
            )
        ours = header.block == self._block.name
        target = self._scratch[: normal * self._block.page_size]
        if ours:
            self._block.check(header.offsets, header.packet_num)
            target = self._block.target(header.offsets, normal, self._scratch)
        if normal:
            try:
                self._decoder(packet).decode_into(packet.payload, target)
            except CodecError as error:
                raise type(error)(f"packet {header.packet_num}: {error}") from error
        if ours:
            self._store(header.offsets, normal, target)

    def _store(self, offsets: bytes, normal: int, pages: memoryview) -> None:
        self._block.store(offsets, normal, pages)
        self.normal += normal
        self.zero += len(offsets) // 8 - normal
        self.unsent -= kernel.mark(self._sent, offsets, self._block.page_size)

    def _decoder(self, packet: Packet) -> Decoder:
        method = packet.header.method
        if self._codec is None:
            self._codec = _codec_of(method, self._recording.meta.compression)
        if method != method_of(self._codec):
            raise ProtocolError(
                f"packet {packet.header.packet_num}: wire method {method}, but the recording's "
                f"codec is {self._codec.name!r}, method {method_of(self._codec)}"
            )
        if packet.channel not in self._decoders:
            self._decoders[packet.channel] = guarded_decoder(self._codec, self._recording.geometry)
        return self._decoders[packet.channel]


def _unfinished(end: qemu.DeviceState) -> str:
    if not end.device:
        return f"the main channel ends at byte {end.position}, before its RAM is complete"
    return (
        f"the state of device {end.device!r}, at byte {end.position} of the main channel, stands "
        "before the end of the RAM; its length is not told, so what follows cannot be read"
    )


def _codec_of(method: int, recorded_name: str | None) -> Codec:
    """Return the codec for a wire method; method 31 and unknown ones go by the recorded name."""
    name = codecs().by_method(method) or recorded_name
    if name is None:
        raise UnknownCodec(
            f"no installed codec speaks wire method {method}; 'multifd codecs' lists those "
            "installed",
            name=f"method {method}",
        )
    return get_codec(name)
