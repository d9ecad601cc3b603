"""Small recordings, written page by page, in which every detail can be chosen."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from codecs_core import get_codec
from codecs_core.gateway.recording import Recording
from codecs_core.wire.packet import BY_NAME, ChannelInit, PacketHeader

PAGE = 4096


class ChannelWriter:
    """Writes a multifd channel as QEMU does: ``channel.send({0: b"a"}).sync()``.

    Pages are given by their number and the byte that fills them; 0 makes a zero page.
    """

    def __init__(self, number: int, codec: str = "none", uuid: int = 1) -> None:
        self.data = bytearray(ChannelInit(UUID(int=uuid), number).encode())
        self._codec = get_codec(codec)
        self._encoder = self._codec.encoder()

    def send(
        self,
        pages: dict[int, int],
        *,
        number: int = 0,
        block: str = "pc.ram",
        sync: bool = False,
        **overrides: Any,
    ) -> ChannelWriter:
        normal = [page for page, fill in pages.items() if fill]
        zero = [page for page, fill in pages.items() if not fill]
        packet = b"".join(bytes([pages[page]]) * PAGE for page in normal)
        payload = bytes(self._encoder.encode(memoryview(packet))) if normal else b""
        offsets = [page * PAGE for page in normal + zero]
        fields: dict[str, Any] = {
            "method": BY_NAME if self._codec.method is None else self._codec.method,
            "packet_num": number,
            "normal_pages": len(normal),
            "zero_pages": len(zero),
            "next_packet_size": len(payload),
            "block": block,
            "offsets": struct.pack(f">{len(offsets)}Q", *offsets),
            "sync": sync,
            "pages_alloc": 128,
        }
        self.data += PacketHeader(**(fields | overrides)).encode() + payload
        return self

    def sync(self, number: int = 0) -> ChannelWriter:
        self.data += PacketHeader(method=0, packet_num=number, sync=True).encode()
        return self


@pytest.fixture(scope="session")
def channel() -> type[ChannelWriter]:
    return ChannelWriter


@pytest.fixture
def record(tmp_path: Path) -> Callable[..., Recording]:
    """Write a recording of a main stream and channels, and open it."""

    def write(main: Any, *channels: Any, meta: dict[str, Any] | None = None) -> Recording:
        directory = tmp_path / "recording"
        directory.mkdir(exist_ok=True)
        if main is not None:
            (directory / "main.bin").write_bytes(main.data)
        for number, each in enumerate(channels):
            (directory / f"ch{number}.bin").write_bytes(each.data)
        if meta is not None:
            (directory / "meta.json").write_text(json.dumps(meta))
        return Recording.open(directory)

    return write
