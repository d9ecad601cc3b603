"""The codec: QEMU's method 4, by a device where there is one, and fast where there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from codecs_core.codec import (
    DEFAULT_GEOMETRY,
    Availability,
    Codec,
    Decoder,
    Encoder,
    Geometry,
    parameter,
)
from codecs_core.device import Device, GuardedDecoder, GuardedEncoder
from codecs_core.errors import CodecUnavailable
from codecs_core_qpl import software
from codecs_core_qpl.codes import LibraryError
from codecs_core_qpl.library import LibrarySession, build_info

__all__ = ["BACKENDS", "QplCodec"]

BACKENDS: Final = ("auto", "hardware", "libqpl", "software")
_DEVICE: Final = Device("qpl", __package__)


@dataclass(frozen=True)
class QplCodec(Codec):
    """deflate page by page, by Intel IAA, or fast in software."""

    name = "qpl"
    method = 4
    backend: str = parameter(
        "auto",
        choices=BACKENDS,
        local=True,
        help="What does the work: auto is a device where there is one, otherwise software.",
    )

    @classmethod
    def availability(cls) -> Availability:
        """Available where the software backend is; tells of libqpl and its device, too."""
        from codecs_core_qpl.probe import hardware, library_loads

        try:
            libraries = software.version()
        except CodecUnavailable as error:
            remedy = software.REMEDY
            reason = str(error).removeprefix("codec 'qpl': ").removesuffix(f"; {remedy}")
            return Availability(False, reason=reason, remedy=remedy)
        built = build_info()
        if not built.built:
            return Availability(backend=f"software ({libraries}); libqpl: {built.reason}")
        if hardware().found:
            return Availability(backend=f"hardware (libqpl {built.version})")
        missing = ", no device" if library_loads() else " is not installed"
        return Availability(backend=f"software ({libraries}); libqpl {built.version}{missing}")

    def encoder(self, geometry: Geometry = DEFAULT_GEOMETRY) -> Encoder:
        """Make the encoder of one channel. Raises `CodecUnavailable`."""
        session = self._session(geometry)
        if session is None:
            return software.encoder(geometry)
        return GuardedEncoder(_DEVICE, session, software.encoder(geometry))

    def decoder(self, geometry: Geometry = DEFAULT_GEOMETRY) -> Decoder:
        """Make the decoder of one channel. Raises `CodecUnavailable`."""
        session = self._session(geometry)
        if session is None:
            return software.decoder(geometry)
        return GuardedDecoder(_DEVICE, session, software.decoder(geometry))

    def _session(self, geometry: Geometry) -> LibrarySession | None:
        """The session that the backend asks for; ``None`` is software."""
        if self.backend == "software":
            return None
        if self.backend == "libqpl":
            return LibrarySession(geometry, hardware=False)
        from codecs_core_qpl.probe import hardware, no_hardware

        probe = hardware()
        if probe.found:
            return self._device(geometry)
        if self.backend == "hardware":
            raise no_hardware(probe.reason)
        return None

    def _device(self, geometry: Geometry) -> LibrarySession | None:
        """A session on the device; ``None`` where it gives none, which is said once."""
        try:
            session = LibrarySession(geometry, hardware=True)
        except LibraryError as error:
            if self.backend == "hardware":
                raise
            _DEVICE.lost(error)
            return None
        _DEVICE.works()
        return session
