"""A thousand sessions in one process: no thread, no descriptor and no memory stays with them."""

from __future__ import annotations

import gc
import os
import re
import threading
import tracemalloc
from contextlib import suppress
from pathlib import Path

from codecs_core import CodecsCoreError, Geometry, Receiver, Sender

from .verdict import Call, open_files

GEOMETRY = Geometry(512, 2048)
CODECS = ("none", "zstd", "lz4")
GROWTH = 6 << 20
"""Bytes of resident memory that the allocator may take longer to settle."""
KEPT = 100 << 10
"""Bytes of objects that 100 sessions may leave: caches that fill, not a session's buffers."""


def test_a_thousand_sessions_leave_nothing_behind() -> None:
    use(100)
    before = usage()
    use(1000)
    after = usage()
    assert after["VmRSS"] - before.pop("VmRSS") < GROWTH
    del after["VmRSS"]
    assert after == before


def test_sessions_keep_no_object() -> None:
    use(30)
    tracemalloc.start()
    try:
        use(30)
        before, _ = tracemalloc.get_traced_memory()
        use(100)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < KEPT


def use(count: int) -> None:
    for number in range(count):
        session(number)
    gc.collect()


def session(number: int) -> None:
    """Most succeed; of eight, one is refused by the receiver, and one fails at the sender."""
    memory, copy = os.urandom(4096), bytearray(4096)
    refused, fails = number % 8 == 3, number % 8 == 5
    with Receiver("tcp:127.0.0.1:0") as receiver:
        receiver.add_block("ram", bytearray(1) if refused else copy)
        receiving = Call(receiver.receive)
        with suppress(CodecsCoreError, KeyError):
            with Sender(
                receiver.address,
                codec=CODECS[number % len(CODECS)],
                channels=1 + number % 3,
                geometry=GEOMETRY,
            ) as sender:
                sender.add_block("ram", memory)
                sender.send()
                if fails:
                    raise KeyError
        assert receiving.ends(20)
    assert (receiving.error is not None) == (refused or fails), receiving.error
    assert refused or fails or copy == memory


def usage() -> dict[str, int]:
    """Threads, descriptors, and bytes of memory, resident and locked."""
    status = Path("/proc/self/status").read_text()
    sizes = dict(re.findall(r"^(VmRSS|VmLck):\s+(\d+) kB", status, re.MULTILINE))
    return {
        "threads": threading.active_count(),
        "files": open_files(),
        **{name: int(size) << 10 for name, size in sizes.items()},
    }
