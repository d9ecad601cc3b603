"""Packets by an accelerator's library, with software behind it: what such codecs share.

It serves methods whose packets stand alone: a packet that the device fails is packed or unpacked in
software, and nothing is lost. A failure that may pass (the device is busy) costs its packet only;
any other, or too many in a row, ends the device's service for this session, with one warning a
process.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Protocol

from codecs_core.codec import (
    HARDWARE_PACKETS,
    SOFTWARE_PACKETS,
    Buffer,
    Decoder,
    Encoder,
    exactly,
)
from codecs_core.errors import CodecError, CorruptPayload

__all__ = ["Device", "DeviceError", "GuardedDecoder", "GuardedEncoder", "Session"]

_PATIENCE = 8
"""Packets in a row that may fail before a busy device counts as lost; QATzip's own
``wait_cnt_thrshold``."""


class DeviceError(CodecError):
    """A call of the library failed.

    ``passing``: the device is busy, and may serve the next packet again. ``data``: the payload may
    be to blame rather than the device.
    """

    passing: bool = False
    data: bool = False


class Session(Protocol):
    """What serves the packets: the library, in this process or in one of its own."""

    def compress(self, packet: memoryview) -> tuple[memoryview, bool]:
        """Return the payload, valid until the next call, and whether a device made it."""

    def decompress(self, payload: memoryview, packet: memoryview) -> tuple[int, bool]:
        """Fill the packet; return how many bytes came out, and whether a device did it."""

    def close(self) -> None:
        """Release the session."""


class Device:
    """A codec's device, as all channels of the process see it: its loss is told once.

    ``logger`` gets the warning.
    """

    def __init__(self, codec: str, logger: str) -> None:
        self.codec = codec
        self._log = logging.getLogger(logger)
        self._lock = threading.Lock()
        self._said = False

    def lost(self, error: Exception) -> None:
        """Warn that packets go on in software, once until the device works again."""
        with self._lock:
            said, self._said = self._said, True
        if not said:
            self._log.warning("%s; packets go on in software", error)

    def works(self) -> None:
        """Tell that the device was seen at work: should it be lost, that is news again."""
        with self._lock:
            self._said = False


class _Guard:
    """A session, and whether it still serves."""

    def __init__(
        self, device: Device, session: Session, threshold: int, *, sw_backup: bool
    ) -> None:
        self._device = device
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
        passing = isinstance(error, DeviceError) and error.passing
        if not passing or self._misses >= _PATIENCE:
            self._device.lost(error)
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
    """Packs by ``session``, and by ``software`` what that does not.

    Packets below ``threshold`` bytes are not worth the way to the device. Without ``sw_backup`` a
    failure is raised.
    """

    def __init__(
        self,
        device: Device,
        session: Session,
        software: Encoder,
        *,
        threshold: int = 0,
        sw_backup: bool = True,
    ) -> None:
        self._guard = _Guard(device, session, threshold, sw_backup=sw_backup)
        self._software = software

    def encode(self, packet: memoryview, /) -> Buffer:
        """Return the payload. Raises `CodecError`."""
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
    """Unpacks by ``session``, and by ``software`` what that does not.

    ``check`` holds what a peer announces against the packet's size, before the library sees it; it
    raises `CorruptPayload`.
    """

    def __init__(
        self,
        device: Device,
        session: Session,
        software: Decoder,
        *,
        threshold: int = 0,
        sw_backup: bool = True,
        check: Callable[[memoryview, int], None] | None = None,
    ) -> None:
        self._guard = _Guard(device, session, threshold, sw_backup=sw_backup)
        self._software = software
        self._codec = device.codec
        self._check = check

    def decode_into(self, payload: memoryview, packet: memoryview, /) -> None:
        """Fill the packet. Raises `CorruptPayload`, or `CodecError` where the device fails."""
        session = self._guard.serving(len(packet))
        if session is not None:
            if self._check is not None:
                self._check(payload, len(packet))
            try:
                produced, hardware = session.decompress(payload, packet)
            except CorruptPayload:
                raise
            except CodecError as error:
                # Whether the data or the device is to blame, the software knows.
                if not (isinstance(error, DeviceError) and error.data):
                    self._guard.missed(error)
            else:
                exactly(self._codec, produced, packet)
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
