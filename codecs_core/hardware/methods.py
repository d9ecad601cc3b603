"""The codecs that QEMU's document chooses between, and those to fall back on.

Advice has to name codecs; the core does so here, and nowhere else.
"""

from __future__ import annotations

from typing import Final

from codecs_core.none import NoneCodec

__all__ = ["IAA", "NONE", "QAT"]

QAT: Final = "qatzip"
IAA: Final = "qpl"
NONE: Final = NoneCodec.name
