"""A codec that breaks its contract: one error that names the plugin, and what it did."""

from __future__ import annotations

import re
import textwrap
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

import codecs_core
from codecs_core import guard
from codecs_core.codec import DEFAULT_GEOMETRY, Codec
from codecs_core.errors import BrokenPlugin, CodecError, CodecUnavailable, CorruptPayload
from codecs_core.guard import blamed, guarded_decoder, guarded_encoder, guarded_packer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Plugins

PACKET = memoryview(bytes(range(256)) * 16)
NAMED = r"codec 'alpha' \(fake-alpha 1\.0\) breaks its contract: "
AUTHOR = "; report it to the plugin's author, or uninstall it$"
SOURCE = """
import array
from dataclasses import dataclass
from codecs_core import *
from codecs_core.file_format import FilePacker

class Odd(Exception):
    def __str__(self):
        raise RuntimeError("no words")

class Own(CorruptPayload):
    def __init__(self, code, *, place):
        super().__init__(f"code {{code}} at {{place}}")

class E(Encoder):
    def encode(self, packet, /):
        {encode}

    def statistics(self):
        {statistics}

class D(Decoder):
    def decode_into(self, payload, packet, /):
        {decode}

class P(FilePacker):
    piece_size = {piece_size}

    def pack(self, piece, /):
        {pack}

@dataclass(frozen=True)
class Alpha(Codec):
    name = "alpha"

    def encoder(self, geometry=None):
        {encoder}

    def decoder(self, geometry=None):
        {decoder}

    def file_packer(self):
        {packer}

@hookimpl
def codecs_core_codecs():
    return [Alpha]
"""
SOUND = {
    "encode": "return packet",
    "statistics": "return {'packets': 1}",
    "decode": "packet[:] = payload",
    "piece_size": "1 << 20",
    "pack": "return bytes(piece)",
    "encoder": "return E()",
    "decoder": "return D()",
    "packer": "return P()",
}


def alpha(plugins: Plugins, **parts: str) -> Codec:
    plugins.install("alpha", source=textwrap.dedent(SOURCE.format(**{**SOUND, **parts})))
    return codecs_core.get_codec("alpha")


ENCODE = {
    "nothing": ("pass", r"encode\(\) returned None, not contiguous bytes"),
    "text": ("return 'x'", r"encode\(\) returned an object of type 'str', not contiguous bytes"),
    "parts": ("return [b'x']", r"encode\(\) returned an object of type 'list', not"),
    "every other byte": ("return packet[::2]", "type 'memoryview', not contiguous bytes"),
    "no bytes": ("return b''", r"encode\(\) made 0 bytes of a packet of 4096; 1 to 1048576 are"),
    "too many": ("return bytes(1048577)", "made 1048577 bytes of a packet of 4096; 1 to 1048576"),
    "an odd error": (
        "raise KeyError('x')",
        r"encode\(\) raised KeyError: 'x' \(fake_alpha, li",
    ),
    "an assertion": ("assert 0", r"encode\(\) raised AssertionError \(fake_alpha, line "),
    "an exit": ("raise SystemExit(3)", r"encode\(\) raised SystemExit: 3 \("),
    "an error of the system": ("raise OSError(28, 'No space')", r"OSError: \[Errno 28\] No space"),
    "an error without words": ("raise Odd", "raised Odd: its message cannot be had"),
    "many lines": ("raise ValueError('one\\n\\ntwo')", "raised ValueError: one; two "),
    "a long story": ("raise ValueError('x' * 9999)", "raised ValueError: x{400}… "),
}


@pytest.mark.parametrize(("encode", "what"), ENCODE.values(), ids=ENCODE)
def test_encode(plugins: Plugins, encode: str, what: str) -> None:
    encoder = guarded_encoder(alpha(plugins, encode=encode), DEFAULT_GEOMETRY)
    with pytest.raises(BrokenPlugin, match=f"{NAMED}.*{what}.*{AUTHOR}") as caught:
        encoder.encode(PACKET)
    assert caught.value.name == "alpha"


def test_a_transfer_ends_with_it_at_both_ends(plugins: Plugins, tmp_path: Path) -> None:
    codec = alpha(plugins, encode="raise SystemExit(3)")
    what = f"{NAMED}encode\\(\\) raised SystemExit: 3 .*{AUTHOR}"
    with ThreadPoolExecutor(1) as pool, codecs_core.Receiver(f"unix:{tmp_path}/s") as receiver:
        receiver.add_block("ram", bytearray(1 << 20))
        received = pool.submit(receiver.receive)
        with (
            pytest.raises(BrokenPlugin, match=what),
            codecs_core.Sender(receiver.address, codec=codec) as sender,
        ):
            sender.add_block("ram", bytearray(b"page" * (1 << 18)))
            sender.send("ram")
        with pytest.raises(codecs_core.RemoteError, match=what):
            received.result(30)


def test_payloads_are_bytes_of_whatever_kind(plugins: Plugins) -> None:
    codec = alpha(plugins, encode="return array.array('I', [1, 2])")
    assert len(guarded_encoder(codec, DEFAULT_GEOMETRY).encode(PACKET)) == 8


DECODE = {
    "returns the pages": ("return bytes(payload)", "it writes to the packet that it is given"),
    "writes more": ("packet[:] = bytes(payload) + b'x'", "raised ValueError: memoryview assign"),
    "an exit": ("raise SystemExit(3)", "raised SystemExit: 3"),
}


@pytest.mark.parametrize(("decode", "what"), DECODE.values(), ids=DECODE)
def test_decode(plugins: Plugins, decode: str, what: str) -> None:
    decoder = guarded_decoder(alpha(plugins, decode=decode), DEFAULT_GEOMETRY)
    with pytest.raises(BrokenPlugin, match=rf"{NAMED}decode_into\(\) .*{what}.*{AUTHOR}"):
        decoder.decode_into(PACKET, memoryview(bytearray(PACKET)))


@pytest.mark.parametrize("kind", [KeyboardInterrupt, MemoryError, CorruptPayload, CodecError])
def test_what_the_contract_knows_passes(plugins: Plugins, kind: type[BaseException]) -> None:
    codec = alpha(plugins, decode=f"raise {kind.__name__}('so')")
    with pytest.raises(kind, match=r"^so$") as caught:
        guarded_decoder(codec, DEFAULT_GEOMETRY).decode_into(PACKET, PACKET)
    assert type(caught.value) is kind


def test_an_error_of_the_plugins_own_kind_becomes_ours(plugins: Plugins) -> None:
    """It could not be made anew with the packet's number."""
    codec = alpha(plugins, decode="raise Own(3, place=7)")
    with pytest.raises(CorruptPayload, match=r"^code 3 at 7$") as caught:
        guarded_decoder(codec, DEFAULT_GEOMETRY).decode_into(PACKET, PACKET)
    assert type(caught.value) is CorruptPayload


MAKERS = {
    "nothing": ("pass", "returned None, which is no {kind}"),
    "a class": ("return {letter}", "returned an object of type 'ABCMeta', which is no {kind}"),
    "itself": ("return self", "returned an object of type 'Alpha', which is no {kind}"),
    "an odd error": ("return {{}}['x']", "raised KeyError: 'x'"),
}


@pytest.mark.parametrize(("body", "what"), MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize(
    ("call", "kind", "make"),
    [
        ("encoder", "Encoder", lambda codec: guarded_encoder(codec, DEFAULT_GEOMETRY)),
        ("decoder", "Decoder", lambda codec: guarded_decoder(codec, DEFAULT_GEOMETRY)),
        ("packer", "FilePacker", guarded_packer),
    ],
)
def test_what_makes_them(
    plugins: Plugins, call: str, kind: str, make: Any, body: str, what: str
) -> None:
    codec = alpha(plugins, **{call: body.format(letter=call[0].upper())})
    with pytest.raises(BrokenPlugin, match=rf"{NAMED}.*{call}\(\) {what.format(kind=kind)}"):
        make(codec)


def test_a_device_that_is_missing_is_told_as_it_is(plugins: Plugins) -> None:
    codec = alpha(plugins, encoder="raise CodecUnavailable('no device', name='alpha')")
    with pytest.raises(CodecUnavailable, match=r"^no device$"):
        guarded_encoder(codec, DEFAULT_GEOMETRY)


@pytest.mark.parametrize("body", ["pass", "return [1]", "return {}['x']", "return {1: 2, 'a': .5}"])
def test_no_transfer_fails_for_its_counters(plugins: Plugins, body: str) -> None:
    codec = alpha(plugins, statistics=body)
    assert guarded_encoder(codec, DEFAULT_GEOMETRY).statistics() == {}


@pytest.mark.parametrize("size", ["0", "-1", "1.5", "None"])
def test_pieces_of_no_size(plugins: Plugins, size: str) -> None:
    codec = alpha(plugins, piece_size=size)
    with pytest.raises(BrokenPlugin, match=rf"{NAMED}its packer's piece_size is {size}, not"):
        guarded_packer(codec)


def test_pieces_that_are_not_packed(plugins: Plugins) -> None:
    packer = guarded_packer(alpha(plugins, pack="bytes(piece)"))
    with pytest.raises(BrokenPlugin, match=rf"{NAMED}pack\(\) returned None, not contiguous"):
        packer.pack(PACKET)


def test_an_unexpected_error_is_traced_to_the_plugin(plugins: Plugins) -> None:
    codec = alpha(plugins, packer="return {}['x']")
    with pytest.raises(KeyError) as caught:
        codec.file_packer()
    place = r"\(fake_alpha, line \d+\) in the plugin for codec 'alpha' \(fake-alpha 1\.0\)"
    assert re.fullmatch(f"KeyError: 'x' {place}{AUTHOR}", blamed(caught.value))


def test_an_unexpected_error_of_nobodys_plugin(plugins: Plugins) -> None:
    alpha(plugins)
    with pytest.raises(ZeroDivisionError) as caught:
        _ = 1 / 0
    assert blamed(caught.value) == "ZeroDivisionError: division by zero"


@pytest.mark.parametrize(
    "kind", [guard._GuardedEncoder, guard._GuardedDecoder, guard._GuardedPacker]
)
def test_no_default_takes_the_place_of_what_a_plugin_has(kind: type) -> None:
    (contract,) = kind.__bases__
    methods = {name for name, value in vars(contract).items() if callable(value)}
    public = {name for name in methods if not name.startswith("_")}
    assert public
    assert public <= vars(kind).keys()
