"""Sets of files on a Dask cluster, and the codecs in its connections: ``codecs_core.dask``.

A name in this package for the distribution ``codecs-core-dask``, which brings Dask along::

    from codecs_core.dask import transcode

    transcode(sources, targets, "qatzip")
"""

from __future__ import annotations

try:
    from codecs_core_dask import (
        Outcome,
        Report,
        TranscodeFailed,
        register,
        settings,
        transcode,
        verify,
    )
except ModuleNotFoundError as error:
    if error.name != "codecs_core_dask":
        raise
    raise ModuleNotFoundError(
        "codecs_core.dask needs codecs-core-dask; remedy: pip install codecs-core-dask",
        name=error.name,
    ) from None

__all__ = [
    "Outcome",
    "Report",
    "TranscodeFailed",
    "register",
    "settings",
    "transcode",
    "verify",
]
