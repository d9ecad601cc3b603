"""What the battery's tests are written in: guarded buffers, sessions, watches."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeVar

from codecs_core.codec import Buffer, Codec, Geometry
from codecs_core.errors import CorruptPayload
from codecs_core.guard import guarded_decoder, guarded_encoder

__all__ = [
    "SMALL",
    "decode",
    "encode",
    "guarded",
    "identical",
    "open_files",
    "outcome",
    "peak_growth",
    "positions",
    "resident",
    "unhurt_by",
    "within",
]

SMALL: Final = Geometry(packet_size=64 * 1024)
"""For tests of many packets."""

_GUARD: Final = 64 * 1024
_CANARY: Final = bytes(range(256)) * (_GUARD // 256)
_T = TypeVar("_T")


def identical(result: object, expected: object) -> bool:
    """Compare pages.

    Of a ``==`` in an assert, pytest would list every difference, for minutes.
    """
    return result == expected


@contextlib.contextmanager
def guarded(size: int, fill: int = 0) -> Iterator[memoryview]:
    """Lend a packet of ``size`` bytes, and fail where the memory around it was written."""
    buffer = bytearray(_CANARY + bytes([fill]) * size + _CANARY)
    yield memoryview(buffer)[_GUARD : _GUARD + size]
    assert identical(buffer[:_GUARD], _CANARY), "the decoder wrote in front of the packet"
    assert identical(buffer[_GUARD + size :], _CANARY), "the decoder wrote behind the packet"


def encode(codec: Codec, packets: Iterable[Buffer], geometry: Geometry) -> list[bytes]:
    """Return the payloads of one encoder for ``packets``, each within the geometry's bound."""
    with guarded_encoder(codec, geometry) as encoder:
        return [bytes(encoder.encode(memoryview(packet))) for packet in packets]


def decode(
    codec: Codec, payloads: Iterable[bytes], sizes: Iterable[int], geometry: Geometry
) -> list[bytes]:
    """Return what one decoder makes of ``payloads``, for packets of ``sizes`` bytes."""
    packets = []
    with guarded_decoder(codec, geometry) as decoder:
        for payload, size in zip(payloads, sizes, strict=True):
            with guarded(size) as packet:
                decoder.decode_into(memoryview(payload), packet)
                packets.append(bytes(packet))
    return packets


def outcome(
    codec: Codec, payloads: Sequence[bytes], sizes: Sequence[int], geometry: Geometry
) -> bytes | None:
    """Return what the last of ``payloads`` decodes to, or ``None`` for `CorruptPayload`.

    Decodes twice, into packets that held different bytes before: what comes out must not depend
    on them. The payloads before the last one are sound. Any other exception passes through.
    """
    *before, payload = payloads
    *sizes_before, size = sizes
    results: list[bytes | None] = []
    for fill in (0x00, 0xA5):
        with guarded_decoder(codec, geometry) as decoder, guarded(size, fill) as packet:
            for earlier, length in zip(before, sizes_before, strict=True):
                decoder.decode_into(memoryview(earlier), memoryview(bytearray(length)))
            try:
                decoder.decode_into(memoryview(payload), packet)
            except CorruptPayload:
                results.append(None)
            else:
                results.append(bytes(packet))
    assert identical(*results), "decode_into left some of the packet unwritten"
    return results[0]


def unhurt_by(payload: bytes, change: str, result: bytes | None, expected: bytes) -> None:
    """Fail unless a changed payload was refused, or the change meant nothing."""
    assert result is None or result == expected, (
        f"a payload of {len(payload)} bytes, {change}, decoded to other pages without an error"
    )


def positions(length: int, edge: int = 24, inner: int = 48) -> list[int]:
    """Offsets below ``length``: all at both edges, and some spread between."""
    spread = range(edge, length - edge, max(1, (length - 2 * edge) // inner))
    return sorted({*range(min(edge, length)), *spread, *range(max(0, length - edge), length)})


def within(seconds: float, function: Callable[[], _T]) -> _T:
    """Return what ``function`` returns; fail where it takes longer than ``seconds``."""
    results: list[_T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(function())
        # To be raised in the test's own thread, whatever it is.
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), f"the codec still hangs after {seconds:.0f} seconds"
    if errors:
        raise errors[0]
    return results[0]


def resident() -> int:
    """The memory that this process holds now, in bytes, without what its heap keeps free."""
    _trim()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def open_files() -> int:
    """How many file descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))


def peak_growth(function: Callable[[], object]) -> int:
    """By how many bytes the process grew at most while ``function`` ran."""
    # Writing 5 resets the peak to what is resident now. Where the kernel does not let us, only
    # what exceeds the peak so far counts.
    _trim()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    before = _peak()
    function()
    return _peak() - before


def _trim() -> None:
    # What the heap keeps of earlier tests would be used again by a leak, and so hide it. Of the
    # C libraries, glibc has a call for it.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _peak() -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) * 1024
