"""Packets by libqatzip, with our own software behind it.

Each packet stands alone, so a packet that the device fails is packed or unpacked in software, and
nothing is lost. A failure that may pass (the device is busy) costs its packet only; any other, or
too many in a row, ends the device's service for this session, with one warning a process.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Protocol

from codecs_core.codec import (
    HARDWARE_PACKETS,
    SOFTWARE_PACKETS,
    Buffer,
    Decoder,
    Encoder,
    exactly,
)
from codecs_core.errors import CodecError
from codecs_core_qatzip.codes import DATA_ERRORS, TRANSIENT, LibraryError
from codecs_core_qatzip.member import members

__all__ = ["GuardedDecoder", "GuardedEncoder", "Session", "device_lost", "device_works"]

_log = logging.getLogger("codecs_core_qatzip")
_PATIENCE = 8
"""Packets in a row that may fail before a busy device counts as lost; QATzip's own
``wait_cnt_thrshold``."""


class Session(Protocol):
    """What serves the packets: libqatzip in this process, or in one of its own."""

    def compress(self, packet: memoryview) -> tuple[memoryview, bool]:
        """Return the payload, and whether a device made it."""

    def decompress(self, payload: memoryview, packet: memoryview) -> tuple[int, bool]:
        """Fill the packet; return how many bytes came out, and whether a device did it."""

    def close(self) -> None:
        """Release the session."""


class _Warning:
    """Says once that a device is lost, until one works again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._said = False

    def say(self, error: Exception) -> None:
        with self._lock:
            said, self._said = self._said, True
        if not said:
            _log.warning("%s; packets go on in software", error)

    def reset(self) -> None:
        with self._lock:
            self._said = False


_warning = _Warning()


def device_lost(error: Exception) -> None:
    """Warn, once, that packets go on in software."""
    _warning.say(error)


def device_works() -> None:
    """Tell that a device was seen at work: should it be lost, that is news again."""
    _warning.reset()


class _Guard:
    """A session, and whether it still serves."""

    def __init__(self, session: Session, threshold: int, *, sw_backup: bool) -> None:
        self._session: Session | None = session
        self._threshold = threshold
        self._sw_backup = sw_backup
        self._misses = 0
        self._hardware = 0
        self._software = 0

    def serving(self, size: int) -> Session | None:
        """The session, where it serves packets of this size."""
        return self._session if size >= self._threshold else None

    def served(self, hardware: bool) -> None:
        self._misses = 0
        if hardware:
            self._hardware += 1
        else:
            self._software += 1

    def missed(self, error: CodecError) -> None:
        """Take note of a failure. Raises it again where there is no software to go on with."""
        if not self._sw_backup:
            raise error
        self._misses += 1
        passing = isinstance(error, LibraryError) and error.code in TRANSIENT
        if not passing or self._misses >= _PATIENCE:
            device_lost(error)
            self.close()

    def in_software(self) -> None:
        self._software += 1

    def statistics(self) -> Mapping[str, int]:
        return {HARDWARE_PACKETS: self._hardware, SOFTWARE_PACKETS: self._software}

    def close(self) -> None:
        if self._session is not None:
            session, self._session = self._session, None
            session.close()


class GuardedEncoder(Encoder):
    """Packs by ``session``, and by ``software`` what that does not."""

    def __init__(
        self, session: Session, software: Encoder, threshold: int, *, sw_backup: bool
    ) -> None:
        self._guard = _Guard(session, threshold, sw_backup=sw_backup)
        self._software = software

    def encode(self, packet: memoryview, /) -> Buffer:
        """Return the packet as one or more gzip members. Raises `CodecError`."""
        session = self._guard.serving(len(packet))
        if session is not None:
            try:
                payload, hardware = session.compress(packet)
            except CodecError as error:
                self._guard.missed(error)
            else:
                self._guard.served(hardware)
                return payload
        self._guard.in_software()
        return self._software.encode(packet)

    def statistics(self) -> Mapping[str, int]:
        """Count the packets that a device made, and the others."""
        return self._guard.statistics()

    def close(self) -> None:
        """Release the session."""
        self._guard.close()
        self._software.close()


class GuardedDecoder(Decoder):
    """Unpacks by ``session``, and by ``software`` what that does not."""

    def __init__(
        self, session: Session, software: Decoder, threshold: int, *, sw_backup: bool
    ) -> None:
        self._guard = _Guard(session, threshold, sw_backup=sw_backup)
        self._software = software

    def decode_into(self, payload: memoryview, packet: memoryview, /) -> None:
        """Fill the packet. Raises `CorruptPayload`, or `CodecError` where the device fails."""
        session = self._guard.serving(len(packet))
        if session is not None:
            # What a peer announces is held against the packet before the library sees it.
            for _ in members(payload, len(packet)):
                pass
            try:
                produced, hardware = session.decompress(payload, packet)
            except LibraryError as error:
                # Whether the data or the device is to blame, the software knows.
                if error.code not in DATA_ERRORS:
                    self._guard.missed(error)
            except CodecError as error:
                self._guard.missed(error)
            else:
                exactly("qatzip", produced, packet)
                self._guard.served(hardware)
                return
        self._guard.in_software()
        self._software.decode_into(payload, packet)

    def statistics(self) -> Mapping[str, int]:
        """Count the packets that a device unpacked, and the others."""
        return self._guard.statistics()

    def close(self) -> None:
        """Release the session."""
        self._guard.close()
        self._software.close()
