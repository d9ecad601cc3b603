"""Builds the C kernel, and takes along what tools/share.py has made; the rest: pyproject.toml."""

import sysconfig
from itertools import groupby
from pathlib import Path

from setuptools import setup

SHARE = sorted(path for path in Path("share").rglob("*") if path.is_file())
# Interpreters without a GIL have no limited API; cffi knows, but a wheel must be told.
LIMITED = {} if sysconfig.get_config_var("Py_GIL_DISABLED") else {"py_limited_api": "cp311"}

setup(
    cffi_modules=["codecs_core/memory/kernel_build.py:ffibuilder"],
    data_files=[
        (str(place), [str(path) for path in files])
        for place, files in groupby(SHARE, key=lambda path: path.parent)
    ],
    options={"bdist_wheel": LIMITED},
)
