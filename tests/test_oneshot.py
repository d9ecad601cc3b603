"""One call: by name, with parameters, or with a codec made before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from codecs_core import (
    CodecError,
    CorruptPayload,
    ParameterError,
    UsageError,
    compress,
    decompress,
    get_codec,
)

if TYPE_CHECKING:
    from tests.conftest import Plugins

XOR = """
key: int = parameter(1, minimum=0, maximum=255, help="What every byte is combined with.")

def compress(self, data):
    return bytes([self.key]) + bytes(byte ^ self.key for byte in data)

def open_reader(self, source):
    import io

    key, *rest = source.read()
    return io.BytesIO(bytes(byte ^ key for byte in rest))
"""


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_there_and_back(plugins: Plugins, kind: type) -> None:
    plugins.install("xor", body=XOR)
    packed = compress(kind(b"abc"), codec="xor", key=2)
    assert packed == b"\x02c`a"
    assert decompress(kind(packed), codec="xor") == b"abc"
    codec = get_codec("xor", key=2)
    assert compress(b"abc", codec=codec) == packed
    assert decompress(packed, codec=codec) == b"abc"


def test_max_length_is_the_largest_result(plugins: Plugins) -> None:
    plugins.install("xor", body=XOR)
    packed = compress(bytes(3), codec="xor")
    assert decompress(packed, codec="xor", max_length=3) == bytes(3)
    with pytest.raises(CorruptPayload, match="more than max_length=2"):
        decompress(packed, codec="xor", max_length=2)
    assert decompress(b"", codec="none", max_length=0) == b""


def test_errors(plugins: Plugins) -> None:
    plugins.install("xor", body=XOR)
    plugins.install("plain")
    with pytest.raises(ParameterError, match="multifd-xor-key expects a value between 0 and 255"):
        compress(b"", codec="xor", key=256)
    with pytest.raises(UsageError, match="is a codec already"):
        compress(b"", codec=get_codec("xor"), key=2)
    with pytest.raises(CodecError, match="'plain' has no file format"):
        compress(b"", codec="plain")
