"""What the two ends agree on before a page is sent: a sender's offer, and a receiver's terms.

Both are settings and blocks. Neither knows a connection: `Sender` and `Receiver` send the messages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from codecs_core.codec import DEFAULT_GEOMETRY, Geometry
from codecs_core.engine.methods import Choice, Methods, answered, offered
from codecs_core.errors import ProtocolError, UsageError
from codecs_core.memory.block import Block, MemoryBlock
from codecs_core.wire import control as wire
from codecs_core.wire.checksum import CHECKSUM
from codecs_core.wire.packet import BLOCK_NAME_SIZE

__all__ = ["BlockFactory", "Offer", "Terms", "Verify", "check_retry_for"]

Verify: TypeAlias = Literal["none", "full"]
BlockFactory = Callable[[str, int | None, int], Block]
"""Makes the block for a name, a size in bytes (``None``: a stream) and a page size."""


def check_retry_for(seconds: float) -> None:
    """Raise `UsageError` for a time in which no lost connection can be made again."""
    if not 0 <= seconds <= 86400:
        raise UsageError(f"retry_for={seconds}: give a number of seconds from 0 to 86400")


@dataclass
class Offer:
    """What a sender offers; the fields are those of `Sender`, ``shared`` is HELLO's.

    Raises `UsageError` for values that cannot be offered.
    """

    codec: Choice
    channels: int
    geometry: Geometry
    shared: bool
    checksum: bool
    verify: Verify
    resume: bool
    retry_for: float
    blocks: dict[str, Block] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 1 <= self.channels <= 255:
            raise UsageError(
                f"multifd-channels expects a value between 1 and 255, not {self.channels}"
            )
        if self.verify not in get_args(Verify):
            raise UsageError(f"verify expects none or full, not {self.verify!r}")
        check_retry_for(self.retry_for)
        if self.shared:
            # There is no other connection to be had.
            self.retry_for = 0.0

    @property
    def verifies(self) -> bool:
        """Whether whole blocks are compared in the end."""
        return self.verify == "full"

    def add(self, name: str, memory: Any) -> Block:
        """Announce a block, see `Sender.add_block`. Raises `UsageError`."""
        if name in self.blocks:
            raise UsageError(f"block {name!r} was added before")
        if not 0 < len(name.encode()) < BLOCK_NAME_SIZE or "\0" in name:
            raise UsageError(
                f"block name {name!r}: 1 to {BLOCK_NAME_SIZE - 1} bytes of UTF-8 without NUL"
            )
        page_size = self.geometry.page_size
        block = memory if isinstance(memory, Block) else MemoryBlock(name, memory, page_size)
        if (block.name, block.page_size) != (name, page_size):
            raise UsageError(
                f"block {block.name!r} with pages of {block.page_size} bytes cannot be added as "
                f"{name!r} with pages of {page_size}"
            )
        self.blocks[name] = block
        return block

    def block(self, name: str) -> Block:
        """Return the block of that name. Raises `UsageError` where there is none."""
        if name not in self.blocks:
            known = ", ".join(map(repr, self.blocks)) or "none"
            raise UsageError(f"there is no block {name!r}; added: {known}")
        return self.blocks[name]

    def hello(self) -> wire.Hello:
        """Return the message that makes the offer."""
        return wire.Hello(
            page_size=self.geometry.page_size,
            packet_size=self.geometry.packet_size,
            channels=self.channels,
            **offered(self.codec),
            blocks=[wire.BlockInfo(name, each.size) for name, each in self.blocks.items()],
            shared=self.shared,
            checksum=CHECKSUM if self.checksum else None,
            verify="full" if self.verifies else None,
            resume=self.resume,
            retry_for=self.retry_for,
        )


class Terms:
    """What a receiver takes, and once it has taken an offer: the codec, and blocks to store in.

    ``codec`` is its name, ``methods`` are those that packets may have.
    ``open_block`` and ``parameters`` are those of `Receiver`. ``one_stream``: there is but one
    connection, at ``address``.
    """

    def __init__(
        self,
        address: str,
        *,
        one_stream: bool,
        open_block: BlockFactory | None,
        parameters: Mapping[str, Mapping[str, Any]],
    ) -> None:
        self.codec = ""
        self.methods: Methods = {}
        self.geometry = DEFAULT_GEOMETRY
        self.blocks: dict[str, Block] = {}
        self.shared = False
        self.checksum = False
        self.verify = False
        self._address = address
        self._one_stream = one_stream
        self._open_block = open_block
        self._parameters = parameters
        self._added: dict[str, Any] = {}

    def add(self, name: str, memory: Any) -> None:
        """Have a block at hand, see `Receiver.add_block`. Raises `UsageError`."""
        if name in self._added:
            raise UsageError(f"block {name!r} was added before")
        if not isinstance(memory, Block) and memoryview(memory).readonly:
            raise UsageError(f"block {name!r}: the buffer is read-only")
        self._added[name] = memory

    def take(self, hello: wire.Hello) -> None:
        """Prepare for what the sender offers, or raise what is wrong with it."""
        if hello.relay:
            raise UsageError(
                "a relay sends migrations of QEMU; take them by 'multifd relay ingress'"
            )
        if self._one_stream and not hello.shared:
            raise UsageError(
                f"{self._address} is one connection, which carries one channel; "
                "remedy: send with --multifd-channels 1"
            )
        if hello.shared and hello.channels != 1:
            raise ProtocolError(f"{hello.channels} channels cannot share the control connection")
        self.shared = hello.shared
        self.checksum = hello.checksum is not None
        self.verify = hello.verify is not None
        self.geometry = Geometry(hello.page_size, hello.packet_size)
        self.methods = answered(hello, self._parameters)
        self.codec = hello.codec
        for each in hello.blocks:
            if each.name in self.blocks:
                raise ProtocolError(f"block {each.name!r} was announced twice")
            self.blocks[each.name] = self._block_for(each)
        if sum(each.ordered for each in self.blocks.values()) > 1:
            raise UsageError("more than one block is a stream; send streams one by one")

    def check(self, done: wire.Done) -> None:
        """Raise `ProtocolError` where DONE does not tell what was agreed on."""
        streams = {name for name, each in self.blocks.items() if each.size is None}
        if done.sizes.keys() != streams:
            raise ProtocolError(f"DONE tells the sizes of {sorted(done.sizes)}, not {streams}")
        verified = set(self.blocks) if self.verify else set()
        if done.digests.keys() != verified:
            raise ProtocolError(
                f"DONE brings the digests of {sorted(done.digests)}, not {sorted(verified)}"
            )

    def close(self) -> None:
        """Close all blocks, the offered and the added ones."""
        given = (each for each in self._added.values() if isinstance(each, Block))
        for block in {*self.blocks.values(), *given}:
            block.close()

    def _block_for(self, info: wire.BlockInfo) -> Block:
        page_size = self.geometry.page_size
        added = self._added.get(info.name)
        if isinstance(added, Block):
            block = added
        elif added is not None:
            block = MemoryBlock(info.name, added, page_size)
        elif self._open_block is not None:
            block = self._open_block(info.name, info.size, page_size)
        else:
            known = ", ".join(map(repr, self._added)) or "none"
            raise UsageError(f"there is no block {info.name!r} here; there are: {known}")
        if block.page_size != page_size or (block.size != info.size and not block.ordered):
            block.close()
            raise UsageError(
                f"block {info.name!r} has {block.size} bytes in pages of {block.page_size} here; "
                f"the sender's has {info.size} in pages of {page_size}"
            )
        return block
