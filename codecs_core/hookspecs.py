"""The hooks that a plugin may implement; this file is all the host promises to call.

A plugin is a module (or any object) named by an entry point of group ``codecs_core``.
It marks its functions with `hookimpl`::

    from codecs_core import hookimpl

    @hookimpl
    def codecs_core_codecs():
        return [MyCodec]
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from codecs_core.accelerator import Accelerator
    from codecs_core.codec import Codec

NAME = "codecs_core"
"""The pluggy project and the entry-point group."""

hookspec = pluggy.HookspecMarker(NAME)
hookimpl = pluggy.HookimplMarker(NAME)


@hookspec
def codecs_core_codecs() -> Iterable[type[Codec]]:  # type: ignore[empty-body]
    """Return the codec classes that this plugin provides.

    Called once for each entry point that names the plugin, when its codec is first asked for
    or all are listed. One of the classes must bear the name of the entry point that led here.
    Import the codec's library in `Codec.availability` or later, so that a missing library makes
    the codec *unavailable, with a remedy* instead of the plugin *broken*.
    """


@hookspec
def codecs_core_accelerators(root: Path) -> Iterable[Accelerator]:  # type: ignore[empty-body]
    """Return the devices that this plugin's codecs can use on the host below ``root``.

    Optional. Called by ``multifd devices`` and ``multifd advise``. ``root`` is ``/`` on a live
    host, and a directory or a captured archive elsewhere: read nothing outside of it, and return
    nothing where it cannot be read. QAT and IAA are known to the core already.
    """


__all__ = ["NAME", "codecs_core_accelerators", "codecs_core_codecs", "hookimpl", "hookspec"]
