"""The PEP 517 backend of every distribution here: setuptools', with sdists that stand alone.

What all distributions share (VERSION, LICENSE, this module) is a symbolic link in a plugin's
directory. An sdist gets the files themselves, and is the same to the byte whenever and by whomever
it is made; ``SOURCE_DATE_EPOCH`` gives the time that its files have.
"""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (
    build_editable,
    build_wheel,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

EPOCH = 315532800
"""1980-01-01, before which a wheel's files cannot be."""


def build_sdist(sdist_directory: str, config_settings: Mapping[str, Any] | None = None) -> str:
    """Build an sdist, as PEP 517 has it: in the distribution's own directory."""
    name: str = build_meta.build_sdist(sdist_directory, config_settings)
    archive = Path(sdist_directory, name)
    archive.write_bytes(_repacked(archive))
    return name


def _repacked(archive: Path) -> bytes:
    """Return an sdist without its links, and without what tells who made it and when."""
    time = int(os.environ.get("SOURCE_DATE_EPOCH", EPOCH))
    raw = io.BytesIO()
    with tarfile.open(archive) as old, tarfile.open(fileobj=raw, mode="w") as new:
        for member in sorted(old.getmembers(), key=lambda each: each.name):
            if member.isdir():
                continue
            if member.issym() or member.islnk():
                data = Path(*Path(member.name).parts[1:]).read_bytes()
            else:
                file = old.extractfile(member)
                assert file is not None
                data = file.read()
            fresh = tarfile.TarInfo(member.name)
            fresh.mode = 0o755 if member.mode & 0o100 and not member.issym() else 0o644
            fresh.mtime, fresh.size = time, len(data)
            new.addfile(fresh, io.BytesIO(data))
    return gzip.compress(raw.getvalue(), mtime=time)
