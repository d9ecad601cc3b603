"""The conformance suite, on zstd."""

from codecs_core_zstd import ZstdCodec

from codecs_core.testing import CodecContract


class TestZstd(CodecContract):
    codec = ZstdCodec()
