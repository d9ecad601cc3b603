"""The codecs that advice is about, and what is published of their speed.

Advice has to name codecs; the core does so here, and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from codecs_core.none import NoneCodec

__all__ = ["FALLBACKS", "IAA", "KNOWN", "LEVELS", "NONE", "PUBLISHED", "QAT", "QEMU", "Speed"]

QAT: Final = "qatzip"
IAA: Final = "qpl"
NONE: Final = NoneCodec.name
FALLBACKS: Final = ("zstd", "lz4")
"""What serves without an accelerator: what packs tighter first."""

QEMU: Final = frozenset({QAT, IAA, NONE, "zlib", "zstd"})
"""Those that QEMU has itself, where it was built with them."""

KNOWN: Final = frozenset({QAT, IAA, NONE, *FALLBACKS})
LEVELS: Final = {QAT: 1, FALLBACKS[0]: 1, "zlib": 1}
"""The level that advice names, for the codecs of QEMU that have one: its default."""


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast a codec is: bytes of pages a second, each unit of what does the work.

    A unit is a CPU, or a device where ``accelerated``. ``channels`` is how many it takes to keep
    the devices busy. ``source`` tells where the figures are from; that of the ratio may be another.
    """

    rate: float
    ratio: float
    source: str
    accelerated: bool = False
    channels: int = 2
    packs: str = ""

    @property
    def ratio_source(self) -> str:
        """Where the ratio is from."""
        return self.packs or self.source

    def on(self, sample: str, ratio: float) -> Speed:
        """The same speed, with the ratio that a sample has."""
        return replace(self, ratio=ratio, packs=sample)


PUBLISHED: Final = {
    # 54 GB in 16.63 s by 4 devices, at 10467 Mbit/s; the link was full, so they can do more.
    QAT: Speed(
        0.81e9, 2.5, "QEMU, qatzip-compression.rst: 4 QAT devices, 8 channels", True, channels=8
    ),
    # 57.6 GB in 5.219 s by 4 devices at 48899 Mbit/s; with 8 channels it was no faster.
    IAA: Speed(
        2.7e9, 1.8, "QEMU, cover letter of the QPL series, v7: 4 IAA devices", True, channels=4
    ),
    FALLBACKS[0]: Speed(0.36e9, 2.3, "codecs_core, plugins/zstd/README.md"),
    FALLBACKS[1]: Speed(0.65e9, 1.8, "codecs_core, plugins/lz4/README.md"),
}
"""Estimates for a host that has not been measured; `multifd advise --measure` replaces them."""
