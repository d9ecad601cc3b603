"""Builds the C kernel, and takes along what tools/share.py has made; the rest: pyproject.toml."""

from itertools import groupby
from pathlib import Path

from setuptools import setup

SHARE = sorted(path for path in Path("share").rglob("*") if path.is_file())

setup(
    cffi_modules=["codecs_core/memory/kernel_build.py:ffibuilder"],
    data_files=[
        (str(place), [str(path) for path in files])
        for place, files in groupby(SHARE, key=lambda path: path.parent)
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
