"""The plugin: an entry point of group ``codecs_core`` leads here."""

from __future__ import annotations

from codecs_core import hookimpl
from codecs_core.build import BuildInfo
from codecs_core.codec import Codec
from codecs_core_qpl.codec import QplCodec
from codecs_core_qpl.library import build_info

__all__ = ["BuildInfo", "QplCodec", "build_info", "codecs_core_codecs"]


@hookimpl
def codecs_core_codecs() -> list[type[Codec]]:
    """Return the codecs of this distribution."""
    return [QplCodec]
