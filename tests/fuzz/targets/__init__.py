"""The fuzz targets, one module for each kind of bytes; importing this fills the table."""

from tests.fuzz.targets import codecs, command, hosts, kernel, qatzip, recordings, wire

__all__ = ["codecs", "command", "hosts", "kernel", "qatzip", "recordings", "wire"]
