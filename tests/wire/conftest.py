"""What hypothesis draws the wire format from."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import pytest
from hypothesis import strategies as st

from codecs_core.codec import Geometry
from codecs_core.wire.packet import PacketHeader

U32 = (1 << 32) - 1
U64 = (1 << 64) - 1


@dataclass(frozen=True)
class Drawn:
    """Strategies for the headers that fit one geometry."""

    geometry: Geometry

    @property
    def headers(self) -> st.SearchStrategy[PacketHeader]:
        """Every header that may travel."""
        return st.integers(0, self.geometry.pages_per_packet).flatmap(self._headers)

    def _headers(self, pages: int) -> st.SearchStrategy[PacketHeader]:
        slots = self.geometry.pages_per_packet
        return st.integers(0, pages).flatmap(
            lambda normal: st.builds(
                PacketHeader,
                method=st.integers(0, 31),
                packet_num=st.integers(0, U64),
                normal_pages=st.just(normal),
                zero_pages=st.just(pages - normal),
                # Without normal pages the size means nothing: QEMU 7.2 leaves an old one there.
                next_packet_size=st.integers(1, self.geometry.max_payload)
                if normal
                else st.integers(0, U32),
                block=BLOCK_NAMES,
                offsets=st.lists(st.integers(0, U64), min_size=pages, max_size=pages).map(
                    lambda offsets: struct.pack(f">{pages}Q", *offsets)
                ),
                sync=st.booleans(),
                pages_alloc=st.integers(pages, slots),
                checksum=st.integers(0, U64),
            )
        )


BLOCK_NAMES = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=255
).filter(lambda name: len(name.encode()) < 256)


@pytest.fixture(scope="session", params=[Geometry(512, 1024), Geometry()], ids=["small", "qemu"])
def drawn(request: pytest.FixtureRequest) -> Drawn:
    """Strategies, for two pages a packet and for QEMU's sizes."""
    return Drawn(request.param)
