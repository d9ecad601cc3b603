"""libqpl, typed: one session an encoder or decoder, one call a packet.

A session on a device has a job for each page of a packet. The queues belong to nobody: the jobs of
all sessions meet there.
"""

from __future__ import annotations

import functools
import importlib
from types import ModuleType
from typing import Any

from codecs_core import build
from codecs_core.build import BuildInfo
from codecs_core.codec import Geometry
from codecs_core.errors import CodecUnavailable
from codecs_core_qpl.codes import LibraryError
from codecs_core_qpl.payload import Wrong, corrupt

__all__ = ["LibrarySession", "binding", "build_info"]


def build_info(flag: str = "qpl") -> BuildInfo:
    """Tell how the plugin was built: what came of ``enable-qpl``, or of ``enable-isal``."""
    return build.build_info(__package__, flag)


@functools.cache
def binding() -> ModuleType:
    """Import the binding to libqpl. Raises `CodecUnavailable`."""
    built = build_info()
    if not built.built:
        raise CodecUnavailable(
            f"codec 'qpl': there is no binding to libqpl ({built.reason}); remedy: install "
            "libqpl 1.5.0 or later (libqpl-dev in Debian unstable), then "
            "pip install --force-reinstall --no-binary codecs-core-qpl "
            "codecs-core-qpl -C enable-qpl=enabled",
            name="qpl",
        )
    try:
        return importlib.import_module("codecs_core_qpl._binding")
    except ImportError as error:
        raise CodecUnavailable(
            f"codec 'qpl': the binding to libqpl {built.version} does not load: {error}; "
            "remedy: install libqpl1",
            name="qpl",
        ) from error


class LibrarySession:
    """A session of libqpl, on a device or on its software path.

    Raises `LibraryError` for libqpl's failures, `CorruptPayload` for lengths that lie.
    """

    def __init__(self, geometry: Geometry, *, hardware: bool) -> None:
        module = binding()
        self._ffi: Any = module.ffi
        self._lib: Any = module.lib
        self._page_size = geometry.page_size
        self._hardware = hardware
        self._payload = bytearray(geometry.packet_size + 4 * geometry.pages_per_packet)
        self._output = self._ffi.from_buffer(self._payload)
        self._served: Any = self._ffi.new("uint32_t *")
        self._page: Any = self._ffi.new("uint32_t *")
        status = self._ffi.new("int *")
        session = self._lib.cq_open(hardware, geometry.pages_per_packet, geometry.page_size, status)
        if not session:
            raise LibraryError("to start", status[0])
        self._session: Any = self._ffi.gc(session, self._lib.cq_close)

    def compress(self, packet: memoryview) -> tuple[memoryview, bool]:
        """Return the payload, valid until the next call, and whether a device made all of it."""
        pages = len(packet) // self._page_size
        size: int = self._lib.cq_compress(
            self._session,
            self._ffi.from_buffer(packet),
            pages,
            self._page_size,
            self._output,
            self._served,
        )
        if size < 0:
            raise LibraryError("to compress", -size)
        return memoryview(self._payload)[:size], self._all_served(pages)

    def decompress(self, payload: memoryview, packet: memoryview) -> tuple[int, bool]:
        """Fill the packet. Returns its size, and whether a device did all of it."""
        pages = len(packet) // self._page_size
        wrong: int = self._lib.cq_decompress(
            self._session,
            self._ffi.from_buffer(payload),
            len(payload),
            self._ffi.from_buffer(packet, require_writable=True),
            pages,
            self._page_size,
            self._page,
            self._served,
        )
        if wrong < 0:
            raise LibraryError("to decompress", -wrong)
        if wrong:
            raise corrupt(Wrong(wrong), self._page[0], payload, pages, self._page_size)
        return len(packet), self._all_served(pages)

    def close(self) -> None:
        """Give the jobs back."""
        if self._session is not None:
            session, self._session = self._session, None
            self._ffi.release(session)

    def _all_served(self, pages: int) -> bool:
        return self._hardware and self._served[0] == pages
