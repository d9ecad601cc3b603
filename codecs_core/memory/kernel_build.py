"""Builds ``codecs_core.memory._kernel`` from kernel.c, in cffi's API mode.

cffi releases the GIL around every call of the result. Debugging information would name the
place of the build, and make every build another: CODECS_CORE_KERNEL_CFLAGS=-g asks for it.
"""

from __future__ import annotations

import os
from pathlib import Path

import cffi

_HERE = Path(__file__).parent
_FLAGS = os.environ.get("CODECS_CORE_KERNEL_CFLAGS", "").split()

ffibuilder = cffi.FFI()
ffibuilder.cdef((_HERE / "kernel.h").read_text())
ffibuilder.set_source(
    "codecs_core.memory._kernel",
    (_HERE / "kernel.c").read_text(),
    extra_compile_args=["-O3", "-g0", "-std=c11", "-Wall", "-Wextra", *_FLAGS],
    extra_link_args=_FLAGS,
    py_limited_api=True,
)

if __name__ == "__main__":
    ffibuilder.compile(verbose=True)
