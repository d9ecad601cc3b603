"""What runs in processes of its own: ``python -m benchmarks.compare.workers JSON``.

``JSON`` names the work and its arguments; the answer is a line of JSON. Imports are those of the
product, so that the memory of an end is the product's.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import resource
import sys
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.processes import cpu_seconds, peak, resident
from codecs_core import (
    Receiver,
    Sender,
    StreamSink,
    StreamSource,
    TlsCredentials,
    get_codec,
)
from codecs_core.codec import DEFAULT_GEOMETRY, Geometry

PAGE = 4096
BLOCK = "pages"


def send(
    *,
    address: str,
    data: str | None,
    size: int,
    codec: str,
    packet: int,
    tls: str | None,
    parameters: dict[str, Any],
    **settings: Any,
) -> dict[str, Any]:
    """Send a file's pages out of memory, or standard input as a stream."""
    memory: Any = StreamSource(BLOCK, 0) if data is None else _mapped(data, size)
    held = 0 if data is None else size
    before = resident()
    with Sender(
        address,
        codec=codec,
        geometry=Geometry(PAGE, packet),
        tls=None if tls is None else TlsCredentials(tls),
        **settings,
        **parameters,
    ) as sender:
        sender.add_block(BLOCK, memory)
        used, started = _cpu(), time.perf_counter()
        sender.connect()
        sender.send()
        done = sender.finish()
        seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "told": done.wire_bytes,
        **_end(used, before, held),
    }


def receive(*, listen: str, size: int, stream: bool, tls: str | None) -> dict[str, Any]:
    """Receive into memory, or throw a stream away; print the address first."""
    with (
        open(os.devnull, "wb", buffering=0) as sink,
        Receiver(
            listen, tls=None if tls is None else TlsCredentials(tls), insecure=True
        ) as receiver,
    ):
        receiver.add_block(BLOCK, StreamSink(BLOCK, sink.fileno()) if stream else _memory(size))
        print(receiver.address, flush=True)
        used, before = _cpu(), resident()
        receiver.receive()
        return _end(used, before, 0 if stream else size)


def bare(
    *, data: str, size: int, codec: str, threads: int, parameters: dict[str, Any]
) -> dict[str, Any]:
    """The codec's work of both ends, in as many processes and threads, without an engine.

    Threads here compress every packet while threads of another process decompress into place the
    payloads that were made before. Zero pages are left out, as the engine leaves them out.
    """
    chosen = get_codec(codec, **parameters)
    packet = DEFAULT_GEOMETRY.packet_size
    zero = bytes(PAGE)
    with _mapped(data, size) as mapped:
        pages = (mapped[at : at + PAGE] for at in range(0, size, PAGE))
        source = memoryview(b"".join(page for page in pages if page != zero))
    payloads: list[list[bytes]] = [[] for _ in range(threads)]

    def compress(channel: int, keep: Callable[[Any], object]) -> None:
        with chosen.encoder() as encoder:
            for at in range(channel * packet, len(source), threads * packet):
                keep(encoder.encode(source[at : at + packet]))

    def decompress(channel: int) -> None:
        with chosen.decoder() as decoder:
            places = range(channel * packet, len(target), threads * packet)
            for at, payload in zip(places, payloads[channel], strict=True):
                decoder.decode_into(memoryview(payload), target[at : at + packet])

    _in_threads(threads, lambda each: compress(each, lambda it: payloads[each].append(bytes(it))))
    ready, started = os.pipe()
    child = os.fork()
    if not child:
        target = memoryview(_memory(len(source)))
        os.write(started, b"1")
        _in_threads(threads, decompress)
        os._exit(0)
    os.read(ready, 1)
    prepared = cpu_seconds(child)
    used, before = _cpu(), time.perf_counter()
    _in_threads(threads, lambda each: compress(each, len))
    near = _cpu() - used
    _, status, spent = os.wait4(child, 0)
    seconds = time.perf_counter() - before
    if status:
        raise SystemExit("decompressing failed")
    told = sum(len(payload) for each in payloads for payload in each)
    return {
        "seconds": seconds,
        "told": told,
        "near": {"cpu": near},
        "far": {"cpu": spent.ru_utime + spent.ru_stime - prepared},
    }


def copy(*, data: str, size: int, threads: int) -> dict[str, Any]:
    """Copy from memory to memory: what a move costs where there is no link at all."""
    source, target = _mapped(data, size, private=True), _memory(size)
    begin, to = (ctypes.addressof(ctypes.c_char.from_buffer(each)) for each in (source, target))
    part = size // threads
    used, before = _cpu(), time.perf_counter()
    _in_threads(threads, lambda each: ctypes.memmove(to + each * part, begin + each * part, part))
    seconds = time.perf_counter() - before
    return {"seconds": seconds, "near": {"cpu": _cpu() - used}, "far": {"cpu": 0.0}}


def encode(*, data: str, size: int, level: int, plugin: bool) -> dict[str, Any]:
    """One thread, one zlib stream, packets ended by a sync flush: the plugin's, or Python's."""
    packet = DEFAULT_GEOMETRY.packet_size
    if plugin:
        work: Callable[[memoryview], Any] = get_codec("zlib", level=level).encoder().encode
    else:
        stream = zlib.compressobj(level)

        def work(piece: memoryview) -> Any:
            return stream.compress(piece) + stream.flush(zlib.Z_SYNC_FLUSH)

    source, told = memoryview(_mapped(data, size)), 0
    used, before = _cpu(), time.perf_counter()
    for at in range(0, size, packet):
        told += len(work(source[at : at + packet]))
    seconds = time.perf_counter() - before
    return {
        "seconds": seconds, "told": told, "near": {"cpu": _cpu() - used}, "far": {"cpu": 0.0}
    }  # fmt: skip


WORK: dict[str, Callable[..., dict[str, Any]]] = {
    "send": send,
    "receive": receive,
    "bare": bare,
    "copy": copy,
    "encode": encode,
}


def _mapped(path: str, size: int, *, private: bool = False) -> mmap.mmap:
    """A file's pages, all of them present."""
    kind = mmap.MAP_PRIVATE if private else mmap.MAP_SHARED
    rights = mmap.PROT_READ | (mmap.PROT_WRITE if private else 0)
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), size, kind | mmap.MAP_POPULATE, rights)


def _memory(size: int) -> mmap.mmap:
    """Memory as QEMU lays out a guest's: huge pages where there are any, all of them present."""
    memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE)
    memory[::PAGE] = bytes(size // PAGE)
    return memory


def _cpu() -> float:
    """CPU seconds of this process and of those that it has waited for."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, kinds))


def _end(used: float, before: int, held: int) -> dict[str, Any]:
    """What this end has used since; ``held`` is how much of its memory is the data."""
    return {"end": {"cpu": _cpu() - used, "peak": peak() - held, "grown": peak() - before}}


def _in_threads(count: int, work: Callable[[int], Any]) -> None:
    threads = [threading.Thread(target=work, args=(each,)) for each in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main(arguments: Sequence[str]) -> None:
    """Do the work, and print the answer."""
    order = json.loads(arguments[0])
    print(json.dumps(WORK[order.pop("work")](**order)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
