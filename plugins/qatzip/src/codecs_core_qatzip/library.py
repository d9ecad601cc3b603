"""libqatzip, typed: one session an encoder or decoder, one call a packet.

A session belongs to one thread at a time. Its buffers come from libqatzip, pinned, so that the
device reads and writes them without a copy of the library's own; where there are none to be had,
from the heap.
"""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from codecs_core import build
from codecs_core.build import BuildInfo
from codecs_core.codec import Geometry
from codecs_core.errors import CodecUnavailable
from codecs_core_qatzip.codes import LibraryError

__all__ = ["LibrarySession", "Settings", "binding", "build_info"]

_BUF_ERROR = -3


def build_info() -> BuildInfo:
    """Tell how the plugin was built, and against which version of libqatzip."""
    return build.build_info(__package__, "qatzip")


@functools.cache
def binding() -> ModuleType:
    """Import the binding to libqatzip. Raises `CodecUnavailable`."""
    built = build_info()
    if not built.built:
        raise CodecUnavailable(
            f"codec 'qatzip': there is no binding to libqatzip ({built.reason}); remedy: install "
            "libqatzip-dev (qatzip-devel on Fedora, openSUSE and RHEL), then "
            "pip install --force-reinstall --no-binary codecs-core-qatzip "
            "codecs-core-qatzip -C enable-qatzip=enabled",
            name="qatzip",
        )
    try:
        module = importlib.import_module("codecs_core_qatzip._binding")
    except ImportError as error:
        raise CodecUnavailable(
            f"codec 'qatzip': the binding to libqatzip {built.version} does not load: {error}; "
            "remedy: install libqatzip3 (qatzip-libs or qatzip on Fedora, openSUSE and RHEL)",
            name="qatzip",
        ) from error
    module.lib.cq_silence()
    return module


@dataclass(frozen=True, slots=True)
class Settings:
    """How libqatzip is set up; the names are those of its ``QzSessionParams``, sizes in bytes."""

    level: int = 1
    hw_buff_sz: int = 64 << 10
    input_sz_thrshold: int = 1024
    huffman_hdr: str = "dynamic"
    sw_backup: bool = False


class LibrarySession:
    """A session of libqatzip for one direction. Raises `LibraryError` for every failure.

    ``in_hardware`` tells whether the session is attached to a device. Where it is not, and the
    settings allow it, libqatzip works in software.
    """

    def __init__(self, settings: Settings, geometry: Geometry, *, compress: bool) -> None:
        module = binding()
        self._ffi: Any = module.ffi
        self._lib: Any = module.lib
        self._packet_size = geometry.packet_size
        self._session: Any = self._ffi.new("QzSession_T *")
        self._is_set_up = False
        self._freed: list[Any] = []
        self._written: Any = self._ffi.new("unsigned int *")
        self._software: Any = self._ffi.new("int *")
        try:
            self._set_up(settings, compress)
            if compress:
                bound = self._lib.qzMaxCompressedLength(geometry.packet_size, self._session)
                self._capacity = max(int(bound), geometry.max_payload)
                self._input = self._pinned(geometry.packet_size)
                self._output = self._pinned(self._capacity) or self._heap(self._capacity)
            else:
                self._input = self._pinned(geometry.max_payload)
                self._output = self._pinned(geometry.packet_size) or self._heap(
                    geometry.packet_size
                )
        except BaseException:
            self.close()
            raise

    def compress(self, packet: memoryview) -> tuple[memoryview, bool]:
        """Return the payload, valid until the next call, and whether a device made it."""
        code = self._lib.cq_compress(
            self._session,
            self._ffi.from_buffer(packet),
            len(packet),
            self._input,
            self._output,
            self._capacity,
            self._written,
            self._software,
        )
        if code < 0:
            raise LibraryError("qzCompressExt", code)
        payload = memoryview(self._ffi.buffer(self._output, self._written[0]))
        return payload, self.in_hardware and not self._software[0]

    def decompress(self, payload: memoryview, packet: memoryview) -> tuple[int, bool]:
        """Fill the packet if the payload decodes to its size.

        Returns that size and whether a device did it.
        """
        code = self._lib.cq_decompress(
            self._session,
            self._ffi.from_buffer(payload),
            len(payload),
            self._input,
            self._output,
            self._ffi.from_buffer(packet, require_writable=True),
            len(packet),
            self._written,
            self._software,
        )
        if code < 0:
            raise LibraryError("qzDecompressExt", code)
        return int(self._written[0]), self.in_hardware and not self._software[0]

    def close(self) -> None:
        """Give the session and its memory back."""
        for memory in self._freed:
            self._lib.qzFree(memory)
        self._freed = []
        if self._is_set_up:
            self._is_set_up = False
            self._lib.qzTeardownSession(self._session)
            self._lib.qzClose(self._session)

    def _set_up(self, settings: Settings, compress: bool) -> None:
        lib = self._lib
        self._check("qzInit", lib.qzInit(self._session, settings.sw_backup))
        self._is_set_up = True
        params = self._ffi.new("QzSessionParamsDeflate_T *")
        self._check("qzGetDefaultsDeflate", lib.qzGetDefaultsDeflate(params))
        common = params.common_params
        common.direction = lib.QZ_DIR_COMPRESS if compress else lib.QZ_DIR_DECOMPRESS
        common.comp_lvl = settings.level
        common.sw_backup = settings.sw_backup
        common.hw_buff_sz = settings.hw_buff_sz
        common.input_sz_thrshold = settings.input_sz_thrshold
        params.huffman_hdr = (
            lib.QZ_STATIC_HDR if settings.huffman_hdr == "static" else lib.QZ_DYNAMIC_HDR
        )
        params.data_fmt = lib.QZ_DEFLATE_GZIP_EXT
        code = lib.qzSetupSessionDeflate(self._session, params)
        self._check("qzSetupSessionDeflate", code)
        self.setup_code: int = code
        self.in_hardware: bool = code == 0 and self._session.hw_session_stat == 0

    def _check(self, call: str, code: int) -> None:
        if code < 0:
            raise LibraryError(call, code)

    def _pinned(self, size: int) -> Any:
        """Pinned memory where a device can use it; ``NULL`` where there is none."""
        if not self.in_hardware:
            return self._ffi.NULL
        memory = self._lib.qzMalloc(size, 0, self._lib.PINNED_MEM)
        if memory == self._ffi.NULL:
            return memory
        self._freed.append(memory)
        return self._ffi.cast("unsigned char *", memory)

    def _heap(self, size: int) -> Any:
        return self._ffi.new("unsigned char[]", size)
