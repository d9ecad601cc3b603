"""The contract, and what is special about xz."""

import lzma

from codecs_core_xz import XzCodec

from codecs_core.testing import CodecContract


class TestXz(CodecContract):
    codec = XzCodec()


def test_files_are_those_of_the_xz_command() -> None:
    assert lzma.decompress(XzCodec().compress(b"page" * 1024)) == b"page" * 1024
