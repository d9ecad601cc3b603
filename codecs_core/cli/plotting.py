"""``--plot FILE``: what every command that draws shares."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from codecs_core.errors import TransferError, UsageError
from codecs_core.memory.output import OutputFile

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["check_plot", "plot_option", "save_plot"]

_ENDINGS = (".png", ".svg")

plot_option = click.option(
    "--plot",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw it, into FILE.png or FILE.svg; needs matplotlib.",
)


def check_plot(path: Path) -> None:
    """Find out before any work is done whether a picture can be drawn into ``path``.

    Raises `UsageError` for another ending than ``.png`` or ``.svg``, or without matplotlib;
    `TransferError` where nothing can be written there.
    """
    if path.suffix.lower() not in _ENDINGS:
        raise UsageError(
            f"--plot {path}: pictures are drawn as {' or '.join(_ENDINGS)}; give FILE such an "
            "ending"
        )
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError(
            "drawing needs matplotlib, which is not installed; remedy: pip install "
            "'codecs-core[plot]'"
        )
    OutputFile(path, force=True)
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise TransferError(f"{path} cannot be made: {path.parent} cannot be written to")


def save_plot(figure: Figure, path: Path) -> None:
    """Write the picture, replacing what was there; it appears when it is whole.

    Raises `TransferError` where it cannot be written.
    """
    import matplotlib

    kind = path.suffix.lower()[1:]
    # The same picture is the same file; text in it stays text.
    fixed = {"Date": None} if kind == "svg" else {}
    style: dict[Any, Any] = {"svg.hashsalt": "multifd", "svg.fonttype": "none"}
    with matplotlib.rc_context(style), OutputFile(path, force=True) as output:
        try:
            figure.savefig(output.partial, format=kind, metadata=fixed)
        except OSError as error:
            raise TransferError(f"{path} cannot be made: {error.strerror}") from error
        output.commit()
