"""Files of recorded migrations: inspected, and their blocks rebuilt."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from codecs_core import compress
from codecs_core.errors import CodecError, ProtocolError, UsageError
from codecs_core.gateway.inspect import inspect
from codecs_core.gateway.rebuild import rebuild
from codecs_core.gateway.recording import Recording
from codecs_core.memory.block import MemoryBlock
from codecs_core.registry import codecs
from tests.conftest import MainStream
from tests.fuzz.target import entries, packed, target
from tests.fuzz.targets.wire import JSON, MAIN_TOKENS, main_streams
from tests.gateway.conftest import ChannelWriter

SUFFIXES = [info.suffix for info in codecs().values() if info.suffix]
NAMES = ["main.bin", "ch0.bin", "ch1.bin", "meta.json", "file.mig"]
NAMES += [f"{name}{suffix}" for name in ("main.bin", "ch0.bin") for suffix in SUFFIXES]
_LARGEST = 1 << 20
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Where files are quick to come and go."""


def seeds() -> Iterator[bytes]:
    main = MainStream().start({"pc.ram": 16384}, MainStream.flush())
    main.part(MainStream.zero(0, "pc.ram"), MainStream.flush()).end(MainStream.flush())
    stream = bytes(main.devices("cpu").data)
    for codec in ("none", "zlib", "zstd", "qatzip"):
        channels = [
            bytes(ChannelWriter(number, codec).send(pages).sync().send(pages).sync().sync().data)
            for number, pages in enumerate(({1: 7, 2: 0}, {3: 9}))
        ]
        meta = json.dumps({"channels": 2, "compression": codec}).encode()
        yield packed((0, stream), (1, channels[0]), (2, channels[1]), (3, meta))
    for number, name in enumerate(NAMES):
        if name.startswith("main.bin."):
            suffix = name.removeprefix("main.bin")
            reader = codecs().by_suffix(name)
            assert reader is not None
            beside = NAMES.index(f"ch0.bin{suffix}")
            yield packed(
                (number, compress(stream, codec=reader)),
                (beside, compress(channels[0], codec=reader)),
            )
    yield from (packed((4, each)) for each in main_streams())


@target(
    "recordings",
    seeds=seeds,
    refuses=(UsageError, ProtocolError, CodecError),
    tokens=MAIN_TOKENS + JSON,
    size=16 << 10,
    memory=16 << 20,
)
def recordings(data: bytes) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        place = Path(name)
        for number, content in entries(data):
            (place / NAMES[number % len(NAMES)]).write_bytes(content)
        alone = place / "file.mig"
        _look(alone if alone.exists() else place)


def _look(path: Path) -> None:
    recording = Recording.open(path)
    json.dumps(inspect(recording).as_dict())
    for block in recording.blocks.values():
        if block.size <= _LARGEST:
            memory = MemoryBlock(block.name, bytearray(block.size), recording.page_size_of(block))
            done = rebuild(recording, memory, allow_unsent=True)
            assert 0 <= done.unsent_pages <= memory.pages
