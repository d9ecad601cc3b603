"""Standard streams, also those that cron or a daemon has left closed."""

from __future__ import annotations

import fcntl
import os
import sys
from typing import BinaryIO, Final

from codecs_core.errors import UsageError

__all__ = ["fill_standard_streams", "standard_input", "standard_output"]

_USELESS: Final = (os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)
"""How each stream is opened that was closed. Input cannot be read, and output not be written: who
needs them fails. Messages are lost."""


def fill_standard_streams() -> None:
    """Put something where a standard stream was closed, so that no file or link takes its place."""
    for fd, mode in enumerate(_USELESS):
        try:
            os.fstat(fd)
        except OSError:
            # The lowest number that is free.
            os.set_inheritable(os.open(os.devnull, mode), True)
    for fd, (name, how) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            setattr(sys, name, open(fd, how, closefd=False))  # noqa: SIM115


def standard_input() -> int:
    """Return the descriptor of standard input, to read from.

    Raises `UsageError` where nothing was put in: it is closed, or a terminal.
    """
    fd = sys.stdin.fileno()
    if _is_useless(fd):
        raise UsageError("standard input is closed; name a file, or pipe something in")
    if os.isatty(fd):
        raise UsageError("standard input is a terminal; name a file, or pipe something in")
    return fd


def standard_output() -> BinaryIO:
    """Return standard output, to write bytes to; text before them is written.

    Raises `UsageError` where it is closed.
    """
    if _is_useless(sys.stdout.fileno()):
        raise UsageError("standard output is closed; remedy: > FILE")
    sys.stdout.flush()
    return sys.stdout.buffer


def _is_useless(fd: int) -> bool:
    return fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == _USELESS[fd]
