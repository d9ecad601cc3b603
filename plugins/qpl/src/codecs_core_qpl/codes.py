"""libqpl's statuses: what those mean that tell a user something, and of what kind the others are.

Names and values are those of ``qpl/c_api/status.h``.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from codecs_core.device import DeviceError

__all__ = ["LibraryError", "meaning"]


class _Status(NamedTuple):
    name: str
    meaning: str
    remedy: str = ""


_QUEUES = "enable a shared user queue: multifd devices"
_PAGE_FAULT = "let the queue wait for pages: accel-config config-wq … -b 1"

_STATUSES: Final = {
    2: _Status("QPL_STS_MORE_OUTPUT_NEEDED", "the output does not fit a page"),
    3: _Status("QPL_STS_MORE_INPUT_NEEDED", "a page's stream has no end"),
    5: _Status("QPL_STS_QUEUES_ARE_BUSY_ERR", "all work queues are full", "add queues or devices"),
    6: _Status("QPL_STS_LIBRARY_INTERNAL_ERR", "libqpl failed"),
    8: _Status("QPL_STS_NOT_SUPPORTED_BY_WQ", "the work queue allows no deflate"),
    101: _Status("QPL_STS_NO_MEM_ERR", "there is not enough memory"),
    303: _Status("QPL_STS_INTL_PAGE_FAULT", "a page to read was not there", _PAGE_FAULT),
    319: _Status("QPL_STS_TRANSFER_SIZE_INVALID", "no work queue takes jobs of a page"),
    431: _Status("QPL_STS_INTL_W_PAGE_FAULT", "a page to write was not there", _PAGE_FAULT),
    500: _Status("QPL_STS_INIT_HW_NOT_SUPPORTED", "this host has no device", "multifd devices"),
    501: _Status(
        "QPL_STS_INIT_LIBACCEL_NOT_FOUND",
        "libaccel-config is not there",
        "apt-get install libaccel-config1",
    ),
    502: _Status("QPL_STS_INIT_LIBACCEL_ERROR", "libaccel-config failed", "multifd devices"),
    503: _Status(
        "QPL_STS_INIT_WORK_QUEUES_NOT_AVAILABLE",
        "no enabled work queue that this user may use was found",
        _QUEUES,
    ),
}
_PASSING: Final = frozenset({5, 303, 431})
"""The queues may have room, and the pages be there, the next time."""

_DATA: Final = frozenset({2, 3, *range(200, 300)})
"""What a damaged stream leads to: the codes of a device's completion record, and their like."""

_KINDS: Final = (
    (300, "the device or its driver failed; remedy: look at dmesg"),
    (200, "the data is damaged"),
    (50, "a parameter does not fit this version of libqpl"),
)


def meaning(status: int) -> str:
    """A status in words, with its name, and the remedy where there is one."""
    known = _STATUSES.get(status)
    if known is None:
        kind = next((text for least, text in _KINDS if status >= least), "libqpl failed")
        return f"status {status}: {kind}"
    text = f"{known.name}: {known.meaning}"
    return f"{text}; remedy: {known.remedy}" if known.remedy else text


class LibraryError(DeviceError):
    """libqpl failed ``call`` with ``status``."""

    def __init__(self, call: str, status: int) -> None:
        super().__init__(f"qpl: libqpl failed {call}: {meaning(status)}")
        self.call = call
        self.status = status
        self.passing = status in _PASSING
        self.data = status in _DATA

    def __reduce__(self) -> tuple[object, ...]:
        return LibraryError, (self.call, self.status)
