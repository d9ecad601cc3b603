"""The conformance suite, on each backend that works without a device."""

from codecs_core_qatzip import QatzipCodec

from codecs_core.testing import CodecContract


class TestQatzip(CodecContract):
    codec = QatzipCodec()


class TestSoftwareLevel9(CodecContract):
    codec = QatzipCodec(level=9, backend="software")
