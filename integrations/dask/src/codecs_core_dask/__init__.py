"""The codecs of codecs-core for Dask.

Importing this module makes every installed codec that has a file format a compression of
``distributed``, for connections and for what workers spill to disk; name it as a preload, and all
processes of a cluster know them. `transcode` and `verify` work on sets of files on a cluster.
"""

from __future__ import annotations

from codecs_core_dask.cluster import transcode, verify
from codecs_core_dask.compression import register, settings
from codecs_core_dask.report import Outcome, Report, TranscodeFailed

__all__ = [
    "Outcome",
    "Report",
    "TranscodeFailed",
    "register",
    "settings",
    "transcode",
    "verify",
]

register()
