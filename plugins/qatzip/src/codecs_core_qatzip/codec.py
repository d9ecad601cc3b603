"""The codec: QEMU's method 16, by a device where there is one, and fast where there is none."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

from codecs_core.codec import (
    DEFAULT_GEOMETRY,
    Availability,
    Buffer,
    Codec,
    Decoder,
    Encoder,
    Geometry,
    parameter,
)
from codecs_core.device import Device, GuardedDecoder, GuardedEncoder
from codecs_core.errors import CodecUnavailable, CorruptPayload, ParameterError
from codecs_core.file_format import FilePacker, Look, Member
from codecs_core.reader import open_members
from codecs_core_qatzip import member
from codecs_core_qatzip.codes import LibraryError
from codecs_core_qatzip.library import build_info
from codecs_core_qatzip.packer import MembersPacker
from codecs_core_qatzip.software import (
    REMEDY,
    SoftwareDecoder,
    SoftwareEncoder,
    library,
    versions,
)

if TYPE_CHECKING:
    from codecs_core.device import Session
    from codecs_core.reader import Decompressor
    from codecs_core_qatzip.library import LibrarySession, Settings

__all__ = ["BACKENDS", "QatzipCodec"]

BACKENDS: Final = ("auto", "hardware", "libqatzip", "software")
_DEVICE: Final = Device("qatzip", __package__)


@dataclass(frozen=True)
class QatzipCodec(Codec):
    """gzip by Intel QuickAssist, or fast in software."""

    name = "qatzip"
    method = 16
    suffix = ".gz"
    magic = (member.MAGIC,)
    level: int = parameter(1, minimum=1, maximum=9, help="Effort: 1 is fastest, 9 packs tightest.")
    backend: str = parameter(
        "auto",
        choices=BACKENDS,
        local=True,
        help="What does the work: auto is a device where there is one, otherwise software.",
    )
    sw_backup: bool = parameter(
        True, local=True, help="Go on in software where the device fails; otherwise end."
    )
    hw_buff_sz: int = parameter(
        64 << 10,
        minimum=1 << 10,
        maximum=512 << 10,
        local=True,
        help="Bytes a request to the device, a power of two: the size of a gzip member.",
    )
    input_sz_thrshold: int = parameter(
        1024,
        minimum=128,
        maximum=512 << 10,
        local=True,
        help="Bytes below which a packet is not worth the way to the device.",
    )
    huffman_hdr: str = parameter(
        "dynamic",
        choices=("dynamic", "static"),
        local=True,
        help="The device's Huffman tables: dynamic packs better, static is faster.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hw_buff_sz.bit_count() != 1:
            name = "multifd-qatzip-hw-buff-sz"
            raise ParameterError(
                f"{name} expects a power of two between 1024 and 524288, not {self.hw_buff_sz} "
                "(default 65536)",
                parameter=name,
                value=self.hw_buff_sz,
            )

    @classmethod
    def availability(cls) -> Availability:
        """Available where the software backend is; tells of libqatzip and its device, too."""
        from codecs_core_qatzip.probe import hardware, library_loads

        try:
            software = versions()
        except CodecUnavailable as error:
            reason = str(error).removeprefix("codec 'qatzip': ").removesuffix(f"; {REMEDY}")
            return Availability(False, reason=reason, remedy=REMEDY)
        built = build_info()
        if not built.built:
            return Availability(backend=f"software ({software}); libqatzip: {built.reason}")
        if hardware().found:
            return Availability(backend=f"hardware (libqatzip {built.version})")
        missing = ", no device" if library_loads() else " is not installed"
        return Availability(backend=f"software ({software}); libqatzip {built.version}{missing}")

    def encoder(self, geometry: Geometry = DEFAULT_GEOMETRY) -> Encoder:
        """Make the encoder of one channel. Raises `CodecUnavailable`."""
        session = self._session(geometry, compress=True)
        software = SoftwareEncoder(self.level)
        if session is None:
            return software
        return GuardedEncoder(
            _DEVICE, session, software, threshold=self._threshold(), sw_backup=self.sw_backup
        )

    def decoder(self, geometry: Geometry = DEFAULT_GEOMETRY) -> Decoder:
        """Make the decoder of one channel. Raises `CodecUnavailable`."""
        session = self._session(geometry, compress=False)
        software = SoftwareDecoder()
        if session is None:
            return software
        return GuardedDecoder(
            _DEVICE,
            session,
            software,
            threshold=self._threshold(),
            sw_backup=self.sw_backup,
            check=member.check,
        )

    def compress(self, data: Buffer, /) -> bytes:
        """Return ``data`` as a gzip file: a member for each 512 KiB."""
        source = memoryview(data).cast("B")
        result = io.BytesIO()
        with self.encoder() as encoder:
            for at in range(0, max(len(source), 1), DEFAULT_GEOMETRY.packet_size):
                result.write(encoder.encode(source[at : at + DEFAULT_GEOMETRY.packet_size]))
        return result.getvalue()

    def decompress(self, data: Buffer, /, *, max_length: int | None = None) -> bytes:
        """Return what a gzip file decodes to; raises as `Codec.decompress` does.

        A file of QATzip's members, which tell their sizes, is decoded packet by packet: by the
        device where there is one, otherwise by libdeflate. Any other is read by ISA-L.
        """
        source = memoryview(data).cast("B")
        packets = member.packets(source, DEFAULT_GEOMETRY.packet_size)
        if packets is None or not _within(packets, max_length):
            return super().decompress(data, max_length=max_length)
        decoded: list[Buffer] = []
        with self.decoder() as decoder:
            for each in packets:
                if isinstance(decoder, SoftwareDecoder):
                    # Whole members, which need not be copied into a packet before they are joined.
                    decoded += decoder.decode(each.data, each.source_size)
                else:
                    packet = bytearray(each.source_size)
                    decoder.decode_into(each.data, memoryview(packet))
                    decoded.append(packet)
        return b"".join(decoded)

    def open_reader(self, source: BinaryIO, /) -> BinaryIO:
        """Read the members of a gzip file, whoever wrote it."""
        igzip_lib = library("isal.igzip_lib")

        def start(head: bytes) -> Decompressor:
            member: Decompressor = igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_GZIP)
            return member

        return open_members(source, codec=self.name, start=start, errors=(igzip_lib.IsalError,))

    def file_packer(self) -> FilePacker:
        """Make what packs a file: a member for each 512 KiB, as `compress` writes them."""
        return MembersPacker(self.encoder)

    def measure(self, look: Look, /) -> Member | None:
        """Tell the sizes of a member with QATzip's extra field."""
        return member.measure(look)

    def decompress_member(self, data: memoryview, length: int, /) -> bytes:
        """Return what a member decodes to, in one call."""
        igzip_lib = library("isal.igzip_lib")
        stream = igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_GZIP)
        try:
            # libdeflate would not tell what is left over behind the end of its stream.
            content: bytes = stream.decompress(data, length + 1)
        except igzip_lib.IsalError as error:
            raise CorruptPayload(f"qatzip: the data is damaged: {error}") from error
        if len(content) != length or not stream.eof or stream.unused_data:
            raise CorruptPayload("qatzip: a member is not of the sizes that its header announces")
        return content

    def _threshold(self) -> int:
        # libqatzip by itself decides this for itself.
        return 0 if self.backend == "libqatzip" else self.input_sz_thrshold

    def _session(self, geometry: Geometry, *, compress: bool) -> Session | None:
        """The session that the backend asks for; ``None`` is software."""
        from codecs_core_qatzip.library import Settings

        settings = Settings(
            level=self.level,
            hw_buff_sz=self.hw_buff_sz,
            input_sz_thrshold=self.input_sz_thrshold,
            huffman_hdr=self.huffman_hdr,
            sw_backup=self.backend == "libqatzip" and self.sw_backup,
        )
        if self.backend == "libqatzip":
            from codecs_core_qatzip.apart import SessionApart

            return SessionApart(settings, geometry, compress=compress)
        if self.backend == "software":
            return None
        from codecs_core_qatzip.probe import hardware, no_hardware

        probe = hardware()
        if probe.found:
            return self._device(settings, geometry, compress=compress)
        if self.backend == "hardware":
            raise no_hardware(probe.reason)
        return None

    def _device(
        self, settings: Settings, geometry: Geometry, *, compress: bool
    ) -> LibrarySession | None:
        """A session on the device; ``None`` where it gives none, which is said once."""
        from codecs_core_qatzip.library import LibrarySession

        try:
            session = LibrarySession(settings, geometry, compress=compress)
        except LibraryError as error:
            if self.backend == "hardware" or not self.sw_backup:
                raise
            _DEVICE.lost(error)
            return None
        _DEVICE.works()
        return session


def _within(packets: list[member.Member], max_length: int | None) -> bool:
    return max_length is None or sum(each.source_size for each in packets) <= max_length
