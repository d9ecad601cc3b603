"""The conformance suite, on lz4."""

from codecs_core_lz4 import Lz4Codec

from codecs_core.testing import CodecContract


class TestLz4(CodecContract):
    codec = Lz4Codec()
