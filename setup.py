"""Builds the C kernel; everything else stands in pyproject.toml."""

from setuptools import setup

setup(
    cffi_modules=["codecs_core/memory/kernel_build.py:ffibuilder"],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
