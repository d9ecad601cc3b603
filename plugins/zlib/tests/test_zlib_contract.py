"""The conformance suite, on zlib."""

from codecs_core_zlib import ZlibCodec

from codecs_core.testing import CodecContract


class TestZlib(CodecContract):
    codec = ZlibCodec()
