"""Builds ``codecs_core_qatzip._binding`` in cffi's API mode, with pkg-config's flags."""

from __future__ import annotations

import os
from pathlib import Path

import cffi

_HERE = Path(__file__).parent
_FLAGS = os.environ.get("CODECS_CORE_QATZIP_CFLAGS", "").split()

ffibuilder = cffi.FFI()
ffibuilder.cdef((_HERE / "binding.h").read_text())
ffibuilder.set_source_pkgconfig(
    "codecs_core_qatzip._binding",
    ["qatzip"],
    (_HERE / "binding.c").read_text(),
    extra_compile_args=["-O2", "-g0", "-Wall", "-Wextra", *_FLAGS],
    extra_link_args=_FLAGS,
    py_limited_api=True,
)
