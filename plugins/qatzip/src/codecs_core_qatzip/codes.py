"""libqatzip's return codes: their names, what they mean and what to do about them.

Names and values are those of ``qatzip.h``. Codes from 0 on are no failures: the call was served,
though perhaps in software.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from codecs_core.device import DeviceError

__all__ = ["LibraryError", "meaning", "name"]


class _Code(NamedTuple):
    name: str
    meaning: str
    remedy: str = ""


_DRIVER = "load the driver of the device (modprobe qat_4xxx) and look at dmesg"
_INSTANCES = "give the process an instance: more virtual functions, or the service dc on them"
_MEMORY = "raise the limit of locked memory (ulimit -l), or lower hw-buff-sz"

_CODES: Final = {
    0: _Code("QZ_OK", "done"),
    1: _Code("QZ_DUPLICATE", "initialised before"),
    2: _Code("QZ_FORCE_SW", "software was asked for"),
    11: _Code("QZ_NO_HW", "works in software: no device", "multifd devices"),
    12: _Code("QZ_NO_MDRV", "works in software: no memory driver", _DRIVER),
    13: _Code("QZ_NO_INST_ATTACH", "works in software: no instance is free", _INSTANCES),
    14: _Code("QZ_LOW_MEM", "works in software: too little pinned memory", _MEMORY),
    15: _Code("QZ_LOW_DEST_MEM", "works in software: too little pinned memory", _MEMORY),
    16: _Code("QZ_UNSUPPORTED_FMT", "works in software: no device knows the format"),
    100: _Code("QZ_NONE", "not initialised"),
    -1: _Code("QZ_PARAMS", "a parameter does not fit this version of libqatzip"),
    -2: _Code("QZ_FAIL", "the device or its driver failed", "look at dmesg; reset the device"),
    -3: _Code("QZ_BUF_ERROR", "the output does not fit its buffer"),
    -4: _Code("QZ_DATA_ERROR", "the data is damaged"),
    -5: _Code("QZ_TIMEOUT", "the device did not answer in time", "look at dmesg"),
    -100: _Code("QZ_INTEG", "the device's result fails its check", "take the device out of use"),
    -101: _Code("QZ_NOSW_NO_HW", "no device", "multifd devices"),
    -102: _Code("QZ_NOSW_NO_MDRV", "no memory driver", _DRIVER),
    -103: _Code("QZ_NOSW_NO_INST_ATTACH", "no instance is free", _INSTANCES),
    -104: _Code("QZ_NOSW_LOW_MEM", "too little pinned memory", _MEMORY),
    -105: _Code("QZ_NO_SW_AVAIL", "libqatzip was built without its software fallback"),
    -116: _Code("QZ_NOSW_UNSUPPORTED_FMT", "no device knows the format"),
    -117: _Code("QZ_POST_PROCESS_ERROR", "post-processing failed"),
    -118: _Code("QZ_METADATA_OVERFLOW", "the metadata does not fit"),
    -119: _Code("QZ_OUT_OF_RANGE", "a value is out of its range"),
    -200: _Code("QZ_NOT_SUPPORTED", "this libqatzip does not support the call"),
}

_TRANSIENT: Final = frozenset({-5, -103, -104})
"""Failures of one packet, after which the next may be served again: a device that is busy."""

_DATA_ERRORS: Final = frozenset({-3, -4, -100, -116})
"""Failures to decompress for which the data may be to blame, rather than the device."""


def name(code: int) -> str:
    """The name of a return code: ``QZ_NOSW_NO_HW``."""
    return _CODES[code].name if code in _CODES else f"code {code}"


def meaning(code: int) -> str:
    """A return code in words, with its name, and the remedy where there is one."""
    known = _CODES.get(code)
    if known is None:
        return f"code {code}, which this version does not know"
    text = f"{known.name}: {known.meaning}"
    return f"{text}; remedy: {known.remedy}" if known.remedy else text


class LibraryError(DeviceError):
    """A call of libqatzip failed: ``call`` with ``code``."""

    def __init__(self, call: str, code: int) -> None:
        super().__init__(f"qatzip: {call} failed with {meaning(code)}")
        self.call = call
        self.code = code
        self.passing = code in _TRANSIENT
        self.data = code in _DATA_ERRORS

    def __reduce__(self) -> tuple[object, ...]:
        return LibraryError, (self.call, self.code)
