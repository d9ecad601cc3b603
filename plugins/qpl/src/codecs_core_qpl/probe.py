"""Whether libqpl reaches a device here: asked once a process."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from codecs_core.codec import Geometry
from codecs_core.errors import CodecError, CodecUnavailable
from codecs_core_qpl.library import LibrarySession, binding

__all__ = ["Probe", "hardware", "library_loads", "no_hardware"]

_SAMPLE = b"page" * 1024
_GEOMETRY = Geometry(len(_SAMPLE), len(_SAMPLE))


@dataclass(frozen=True, slots=True)
class Probe:
    """Whether a device served a page; where none did, ``reason`` says what failed."""

    found: bool
    reason: str = ""


@functools.cache
def hardware() -> Probe:
    """Probe for a device, once a process."""
    try:
        session = LibrarySession(_GEOMETRY, hardware=True)
        try:
            session.compress(memoryview(_SAMPLE))
        finally:
            session.close()
    except CodecUnavailable as error:
        return Probe(False, str(error).removeprefix("codec 'qpl': "))
    except CodecError as error:
        return Probe(False, str(error).removeprefix("qpl: "))
    # A queue that is full has a device behind it.
    return Probe(True)


def no_hardware(reason: str) -> CodecUnavailable:
    """Explain why ``backend=hardware`` cannot be had; ``reason`` is what the probe says."""
    from codecs_core.hardware.missing import no_hardware

    return no_hardware("qpl", reason, has_library=library_loads(), otherwise="dmesg")


def library_loads() -> bool:
    """Tell whether there is a binding, and its library on this host."""
    try:
        binding()
    except CodecUnavailable:
        return False
    return True
