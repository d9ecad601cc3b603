"""libqatzip in a process of its own: the backend ``libqatzip``.

Without a device, libqatzip's fallback looks for one at every call, prints on stderr and leaks a
thread-specific key, of which a process has about a thousand. In a process of its own that hurts
nobody: it has no other use for keys, and its stderr goes nowhere. Packets and payloads lie in
memory that both processes share; a request and its answer are a few bytes on a socket.
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import socket
import subprocess
import sys
from dataclasses import asdict
from struct import Struct
from typing import Final

from codecs_core.codec import Geometry
from codecs_core.errors import CodecError, CodecUnavailable
from codecs_core_qatzip.codes import LibraryError
from codecs_core_qatzip.environment import environment
from codecs_core_qatzip.library import LibrarySession, Settings, binding

__all__ = ["SessionApart"]

_REQUEST: Final = Struct("=QQ")
"""Bytes that go in, bytes that are to come out."""
_ANSWER: Final = Struct("=iQ?")
"""Return code, bytes that came out, whether a device made them."""
_TIMEOUT: Final = 60.0
"""Seconds a packet may take; libqatzip packs one in a few milliseconds."""


class SessionApart:
    """A session of libqatzip, served by a process of its own. Raises `CodecError`."""

    def __init__(self, settings: Settings, geometry: Geometry, *, compress: bool) -> None:
        binding()
        self._call = "qzCompressExt" if compress else "qzDecompressExt"
        self._split = geometry.max_payload
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(_TIMEOUT)
        size = geometry.max_payload * 2
        fd = os.memfd_create("qatzip")
        try:
            os.ftruncate(fd, size)
            self._shared = mmap.mmap(fd, size)
            self._memory = memoryview(self._shared)
            work = {
                "settings": asdict(settings),
                "geometry": asdict(geometry),
                "compress": compress,
                "socket": theirs.fileno(),
                "memory": fd,
            }
            self._process = subprocess.Popen(
                [sys.executable, "-m", __spec__.name, json.dumps(work)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(fd, theirs.fileno()),
                env=environment(),
            )
        except BaseException:
            self._socket.close()
            raise
        finally:
            theirs.close()
            os.close(fd)
        try:
            self._await("qzSetupSessionDeflate")
        except BaseException:
            self.close()
            raise

    def compress(self, packet: memoryview) -> tuple[memoryview, bool]:
        """Return the payload, valid until the next call, and whether a device made it."""
        self._memory[: len(packet)] = packet
        size, hardware = self._ask(len(packet), 0)
        return self._memory[self._split : self._split + size], hardware

    def decompress(self, payload: memoryview, packet: memoryview) -> tuple[int, bool]:
        """Fill the packet; return how many bytes came out, and whether a device did it."""
        self._memory[: len(payload)] = payload
        size, hardware = self._ask(len(payload), len(packet))
        if size == len(packet):
            packet[:] = self._memory[self._split : self._split + size]
        return size, hardware

    def close(self) -> None:
        """End the process."""
        self._socket.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ask(self, given: int, wanted: int) -> tuple[int, bool]:
        try:
            self._socket.send(_REQUEST.pack(given, wanted))
        except OSError as error:
            raise self._lost(error) from error
        return self._await(self._call)

    def _await(self, call: str) -> tuple[int, bool]:
        try:
            answer = self._socket.recv(_ANSWER.size)
        except OSError as error:
            raise self._lost(error) from error
        if len(answer) != _ANSWER.size:
            raise self._lost(EOFError("it has ended"))
        code, size, hardware = _ANSWER.unpack(answer)
        if code < 0:
            raise LibraryError(call, code)
        if size > len(self._memory) - self._split:
            raise CodecError(f"qatzip: libqatzip made {size} bytes of a packet")
        return size, hardware

    def _lost(self, error: Exception) -> CodecError:
        self._process.kill()
        status = self._process.wait()
        return CodecError(f"qatzip: the process that runs libqatzip is lost ({error}; {status=})")


def _serve(work: dict[str, object]) -> None:
    """Answer requests until the other end closes the socket."""
    # Ctrl-C reaches the whole group; the other process decides when this one ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settings = Settings(**work["settings"])  # type: ignore[arg-type]
    geometry = Geometry(**work["geometry"])  # type: ignore[arg-type]
    compress = bool(work["compress"])
    split = geometry.max_payload
    shared = mmap.mmap(int(str(work["memory"])), 2 * geometry.max_payload)
    memory = memoryview(shared)
    with socket.socket(fileno=int(str(work["socket"]))) as channel:
        try:
            session = LibrarySession(settings, geometry, compress=compress)
        except LibraryError as error:
            channel.send(_ANSWER.pack(error.code, 0, False))
            return
        channel.send(_ANSWER.pack(0, 0, session.in_hardware))
        while request := channel.recv(_REQUEST.size):
            given, wanted = _REQUEST.unpack(request)
            try:
                if compress:
                    payload, hardware = session.compress(memory[:given])
                    size = len(payload)
                    if size <= len(memory) - split:
                        memory[split : split + size] = payload
                else:
                    size, hardware = session.decompress(
                        memory[:given], memory[split : split + wanted]
                    )
            except LibraryError as error:
                channel.send(_ANSWER.pack(error.code, 0, False))
            else:
                channel.send(_ANSWER.pack(0, size, hardware))
        session.close()


if __name__ == "__main__":
    try:
        _serve(json.loads(sys.argv[1]))
    except (CodecUnavailable, BrokenPipeError) as error:
        sys.exit(str(error))
