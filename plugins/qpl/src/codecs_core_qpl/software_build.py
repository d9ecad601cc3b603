"""Builds ``codecs_core_qpl._software`` in cffi's API mode, with pkg-config's flags."""

from __future__ import annotations

import os
from pathlib import Path

import cffi

_HERE = Path(__file__).parent
_FLAGS = os.environ.get("CODECS_CORE_QPL_CFLAGS", "").split()

ffibuilder = cffi.FFI()
ffibuilder.cdef((_HERE / "software.h").read_text())
ffibuilder.set_source_pkgconfig(
    "codecs_core_qpl._software",
    ["libisal", "libdeflate"],
    (_HERE / "software.c").read_text(),
    include_dirs=[str(_HERE)],
    extra_compile_args=["-O2", "-g0", "-Wall", "-Wextra", *_FLAGS],
    extra_link_args=_FLAGS,
    py_limited_api=True,
)
