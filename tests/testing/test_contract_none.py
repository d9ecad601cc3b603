"""The conformance kit on the engine's own codec."""

from codecs_core.none import NoneCodec
from codecs_core.testing import CodecContract


class TestNone(CodecContract):
    codec = NoneCodec()
