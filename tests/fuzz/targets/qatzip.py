"""The gzip members of QATzip, of which libqatzip is shown none that was not walked along."""

from __future__ import annotations

import zlib

from codecs_core_qatzip import member

from codecs_core.errors import CorruptPayload
from tests.fuzz.target import target


def seeds() -> list[bytes]:
    parts = [b"a" * 512, bytes(100)]
    packed = [
        member.pack(1, len(part), zlib.crc32(part), zlib.compress(part, wbits=-15))
        for part in parts
    ]
    return [bytes([2, 0]) + packed[0], bytes([2, 100]) + b"".join(packed)]


@target("qatzip.member", seeds=seeds, refuses=CorruptPayload)
def members(data: bytes) -> None:
    """The members are all of the payload, and together decode to what is expected."""
    expected = int.from_bytes(data[:2])
    payload = data[2:]
    found = list(member.members(memoryview(payload), expected))
    assert b"".join(each.data for each in found) == payload
    assert sum(each.source_size for each in found) == expected
