"""The conformance kit catches what it says: every defect here fails the test that it should."""

import bz2
import ctypes
import itertools
import os
import re
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, Self

import pytest

from codecs_core.codec import (
    DEFAULT_GEOMETRY,
    Availability,
    Buffer,
    Codec,
    Decoder,
    Encoder,
    Geometry,
    exactly,
    parameter,
)
from codecs_core.errors import CodecUnavailable, CorruptPayload
from codecs_core.file_format import FilePacker, Look, Member
from codecs_core.reader import open_members
from codecs_core.testing import CodecContract

pytest_plugins = ["pytester"]


class SoundEncoder(Encoder):
    def encode(self, packet: memoryview, /) -> Buffer:
        return zlib.compress(packet, 1)


class SoundDecoder(Decoder):
    def decode_into(self, payload: memoryview, packet: memoryview, /) -> None:
        stream = zlib.decompressobj()
        try:
            pages = stream.decompress(payload, len(packet) + 1)
        except zlib.error as error:
            raise CorruptPayload(str(error)) from error
        exactly("sound", len(pages), packet)
        if not stream.eof or stream.unused_data:
            raise CorruptPayload("cut short or overlong")
        packet[:] = pages


@dataclass(frozen=True)
class Sound(Codec):
    """Every packet a zlib stream."""

    name = "sound"
    effort: int = parameter(1, minimum=0, maximum=3, help="Effort.")

    def encoder(self, geometry: Geometry = DEFAULT_GEOMETRY) -> Encoder:
        return SoundEncoder()

    def decoder(self, geometry: Geometry = DEFAULT_GEOMETRY) -> Decoder:
        return SoundDecoder()


class TestSound(CodecContract):
    codec = Sound()
    listed = False


class LosesAPage(SoundDecoder):
    def decode_into(self, payload: memoryview, packet: memoryview, /) -> None:
        super().decode_into(payload, packet)
        if len(packet) > 4096:
            packet[-4096:] = bytes(4096)


class WritesBehind(SoundDecoder):
    def decode_into(self, payload: memoryview, packet: memoryview, /) -> None:
        super().decode_into(payload, packet)
        end = ctypes.addressof(ctypes.c_char.from_buffer(packet)) + len(packet)
        ctypes.memset(end, 0xEE, 1)


class WritesInFront(SoundDecoder):
    def decode_into(self, payload: memoryview, packet: memoryview, /) -> None:
        super().decode_into(payload, packet)
        ctypes.memset(ctypes.addressof(ctypes.c_char.from_buffer(packet)) - 1, 0xEE, 1)


class LeavesTheTail(Decoder):
    """Takes what comes for enough."""

    def decode_into(self, payload: memoryview, packet: memoryview, /) -> None:
        try:
            pages = zlib.decompressobj().decompress(payload, len(packet))
        except zlib.error as error:
            raise CorruptPayload(str(error)) from error
        packet[: len(pages)] = pages


class PadsWithZeros(LeavesTheTail):
    def decode_into(self, payload: memoryview, packet: memoryview, /) -> None:
        packet[:] = bytes(len(packet))
        super().decode_into(payload, packet)


class RaisesTheLibrarysError(SoundDecoder):
    def decode_into(self, payload: memoryview, packet: memoryview, /) -> None:
        packet[:] = zlib.decompress(payload)


class HangsOnNoise(SoundDecoder):
    def decode_into(self, payload: memoryview, packet: memoryview, /) -> None:
        try:
            super().decode_into(payload, packet)
        except CorruptPayload:
            time.sleep(5)
            raise


class InflatesAll(SoundDecoder):
    """Finds out how much it is when all is there; the stream of streams makes it much."""

    def decode_into(self, payload: memoryview, packet: memoryview, /) -> None:
        pages = bytearray()
        rest = bytes(payload)
        while rest:
            stream = zlib.decompressobj()
            try:
                pages += stream.decompress(rest)
            except zlib.error as error:
                raise CorruptPayload(str(error)) from error
            if not stream.eof:
                raise CorruptPayload("cut short")
            rest = stream.unused_data
        exactly("sound", len(pages), packet)
        packet[:] = pages


class KeepsThePayload(SoundDecoder):
    def decode_into(self, payload: memoryview, packet: memoryview, /) -> None:
        super().decode_into(payload, packet)
        self.last = payload


class LeaksFiles(SoundDecoder):
    def __init__(self) -> None:
        self.file = os.dup(0)


class LeaksMemory(SoundDecoder):
    kept: list[bytearray] = []

    def __init__(self) -> None:
        self.kept.append(bytearray(b"x" * (256 << 10)))


class ClosesOnce(SoundDecoder):
    closed = False

    def close(self) -> None:
        if self.closed:
            raise ValueError("closed already")
        self.closed = True


class RemembersOthers(SoundDecoder):
    """History kept for all sessions in one place."""

    history = bytearray()

    def decode_into(self, payload: memoryview, packet: memoryview, /) -> None:
        super().decode_into(payload, packet)
        if self.history == packet:
            packet[0] ^= 1
        self.history[:] = packet


class GrowsNoise(SoundEncoder):
    def encode(self, packet: memoryview, /) -> Buffer:
        payload = zlib.compress(packet, 1)
        return payload * 3 if len(payload) > len(packet) else payload


class WritesToThePacket(SoundEncoder):
    def encode(self, packet: memoryview, /) -> Buffer:
        packet[0] ^= 0
        return super().encode(packet)


class SharesItsBuffer(SoundEncoder):
    buffer = bytearray(1 << 21)

    def encode(self, packet: memoryview, /) -> Buffer:
        payload = super().encode(packet)
        self.buffer[: len(payload)] = payload
        return memoryview(self.buffer)[: len(payload)]


class KeepsThePacket(SoundEncoder):
    def encode(self, packet: memoryview, /) -> Buffer:
        self.last = packet
        return super().encode(packet)


DECODERS: dict[str, list[type[Decoder]]] = {
    "test_round_trip_of_a_long_sequence": [LosesAPage, WritesBehind, WritesInFront],
    "test_another_size_than_announced": [LeavesTheTail, PadsWithZeros],
    "test_empty": [RaisesTheLibrarysError, PadsWithZeros],
    "test_noise": [RaisesTheLibrarysError, HangsOnNoise],
    "test_bomb": [InflatesAll],
    "test_no_buffer_is_kept": [KeepsThePayload],
    "test_sessions_leave_nothing_behind": [LeaksFiles, LeaksMemory],
    "test_close": [ClosesOnce],
    "test_sessions_are_independent": [RemembersOthers],
    "test_fresh_sessions_need_no_history": [RemembersOthers],
}
ENCODERS: dict[str, list[type[Encoder]]] = {
    "test_incompressible_pages_fit_a_payload": [GrowsNoise],
    "test_read_only_and_unaligned_views": [WritesToThePacket],
    "test_payload_is_valid_until_the_next_call": [SharesItsBuffer],
    "test_no_buffer_is_kept": [KeepsThePacket],
}


def fails(codec: Codec, name: str, *arguments: Any) -> None:
    """Assert that the kit's test ``name`` does not accept ``codec``."""
    given = codec

    class TestDefect(CodecContract):
        codec = given
        patience = 0.5

    test: Callable[..., None] = getattr(TestDefect(), name)
    with pytest.raises((Exception, pytest.fail.Exception)):
        test(*arguments)


@pytest.mark.parametrize(
    ("name", "defect"), [(name, each) for name, group in DECODERS.items() for each in group]
)
def test_defective_decoder_is_caught(name: str, defect: type[Decoder]) -> None:
    @dataclass(frozen=True)
    class Defective(Sound):
        def decoder(self, geometry: Geometry = DEFAULT_GEOMETRY) -> Decoder:
            return defect()

    fails(Defective(), name)


def test_a_leak_is_seen_in_a_heap_with_free_memory() -> None:
    blocks = [bytearray(b"x" * (200 << 10)) for _ in range(600)]
    kept = blocks[::50]
    del blocks
    test_defective_decoder_is_caught("test_sessions_leave_nothing_behind", LeaksMemory)
    assert kept


@pytest.mark.parametrize(
    ("name", "defect"), [(name, each) for name, group in ENCODERS.items() for each in group]
)
def test_defective_encoder_is_caught(name: str, defect: type[Encoder]) -> None:
    @dataclass(frozen=True)
    class Defective(Sound):
        def encoder(self, geometry: Geometry = DEFAULT_GEOMETRY) -> Encoder:
            return defect()

    fails(Defective(), name)


def test_unchecked_parameters_are_caught() -> None:
    @dataclass(frozen=True)
    class Unchecked(Sound):
        def __post_init__(self) -> None:
            """Leave the checks out."""

    fails(Unchecked(), "test_parameters_past_their_bounds")


def test_undescribed_parameters_are_caught() -> None:
    @dataclass(frozen=True)
    class Undescribed(Sound):
        window: int = parameter(1, help=" ")

    fails(Undescribed(), "test_parameters_are_described")


def test_codec_that_cannot_be_pickled_is_caught() -> None:
    @dataclass(frozen=True)
    class Local(Sound):
        pass

    fails(Local(), "test_codec_is_a_value")


def test_unavailable_codec_is_caught() -> None:
    @dataclass(frozen=True)
    class Missing(Sound):
        @classmethod
        def availability(cls) -> Availability:
            return Availability(False, reason="no device", remedy="buy one")

    fails(Missing(), "test_availability")


def outcome_of(codec: Codec, name: str) -> str:
    """What the kit's test ``name`` says of ``codec``."""
    given = codec

    class TestDefect(CodecContract):
        codec = given

    with pytest.raises((Exception, pytest.fail.Exception)) as caught:
        getattr(TestDefect(), name)()
    return str(caught.value)


CANDIDATES: dict[str, tuple[str, str, str]] = {
    "the class": ("cls", "test_candidates", "not a sequence of Suggesting"),
    "an instance": ("cls()", "test_candidates", "not a sequence of Suggesting"),
    "nothing": ("None", "test_candidates", r"candidates\(\) returned None, not a sequence"),
    "a string": ("'x'", "test_candidates", "returned 'x', not a sequence"),
    "a generator": ("(cls() for _ in (1,))", "test_candidates", "not a sequence of Suggesting"),
    "classes": ("(cls,)", "test_candidates", "which is no instance of Suggesting"),
    "levels": ("(1, 2)", "test_candidates", "returned 1, which is no instance"),
    "strangers": ("(Sound(),)", "test_candidates", "which is no instance of Suggesting"),
    "one twice": ("(cls(effort=2), cls(effort=2))", "test_candidates", "effort=2.* twice"),
    "one for this end alone": (
        "(cls(), cls(threads=2))", "test_candidates", "local parameters that differ",
    ),
    "too many": ("[cls(effort=e) for e in range(4)] * 3", "test_candidates", "at most 8"),
    "out of range": ("(cls(effort=9),)", "test_candidates", "between 0 and 3, not 9"),
    "others each time": ("(cls(effort=next(COUNT)),)", "test_candidates", "and then"),
    "lossy": ("(cls(effort=3),)", "test_candidates_do_their_work", "effort=3.* changes pages"),
    "dearest first": (
        "(cls(effort=1), cls(effort=0))", "test_candidates_come_cheapest_first", "cheapest first",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("answer", "name", "message"), CANDIDATES.values(), ids=CANDIDATES)
def test_candidates_that_are_wrong_are_caught(answer: str, name: str, message: str) -> None:
    class Packs(SoundEncoder):
        def __init__(self, effort: int) -> None:
            self.effort = effort

        def encode(self, packet: memoryview, /) -> Buffer:
            pages = bytes(len(packet)) if self.effort == 3 else packet
            return zlib.compress(pages, self.effort)

    @dataclass(frozen=True)
    class Suggesting(Sound):
        __qualname__ = "Suggesting"
        threads: int = parameter(1, help="Threads.", local=True)

        @classmethod
        def candidates(cls) -> Any:
            return eval(answer, {"cls": cls, "Sound": Sound, "COUNT": COUNT})

        def encoder(self, geometry: Geometry = DEFAULT_GEOMETRY) -> Encoder:
            return Packs(self.effort)

    assert re.search(message, outcome_of(Suggesting(), name), re.S)


COUNT = itertools.cycle((0, 1))


def test_no_candidates_are_none() -> None:
    @dataclass(frozen=True)
    class Shy(Sound):
        @classmethod
        def candidates(cls) -> tuple[Self, ...]:
            return ()

    class TestShy(CodecContract):
        codec = Shy()

    TestShy().test_candidates()
    TestShy().test_candidates_do_their_work()
    TestShy().test_candidates_come_cheapest_first()


COUNTERS: dict[str, tuple[Any, str]] = {
    "nothing": (lambda n: None, r"statistics\(\) returned None, not counters"),
    "a list": (lambda n: [n], "not counters by name"),
    "a ratio": (lambda n: {"ratio": 1.5}, "counts 'ratio': 1.5"),
    "numbers as names": (lambda n: {7: n}, "counts 7: 1"),
    "falling": (lambda n: {"left": 9 - n}, "has 'left' fall to"),
    "forgetful": (lambda n: {"seen": n} if n < 3 else {}, "no longer has {'seen'}"),
}


@pytest.mark.parametrize(("counters", "message"), COUNTERS.values(), ids=COUNTERS)
def test_statistics_that_are_none_are_caught(counters: Callable[[int], Any], message: str) -> None:
    class Counting(SoundEncoder):
        packets = 0

        def encode(self, packet: memoryview, /) -> Buffer:
            self.packets += 1
            return super().encode(packet)

        def statistics(self) -> Any:
            return counters(self.packets)

    @dataclass(frozen=True)
    class Counted(Sound):
        def encoder(self, geometry: Geometry = DEFAULT_GEOMETRY) -> Encoder:
            return Counting()

    assert re.search(message, outcome_of(Counted(), "test_statistics"))


def test_sessions_that_disturb_each_other_are_told_of() -> None:
    class Shares(SoundEncoder):
        """One object for all channels, and a moment in which another takes it."""

        pages = b""

        def encode(self, packet: memoryview, /) -> Buffer:
            Shares.pages = bytes(packet)
            time.sleep(0.001)
            return zlib.compress(Shares.pages, 1)

    @dataclass(frozen=True)
    class Sharing(Sound):
        def encoder(self, geometry: Geometry = DEFAULT_GEOMETRY) -> Encoder:
            return Shares()

    words = outcome_of(Sharing(), "test_sessions_work_in_threads")
    assert "a channel that works alone fails beside others (other pages come back" in words
    assert "share nothing that they change" in words


def test_files_that_cannot_be_joined_are_told_of() -> None:
    class Single(SoundMembers):
        def decompress(self, data: Buffer, /, *, max_length: int | None = None) -> bytes:
            stream = bz2.BZ2Decompressor()
            pages = stream.decompress(data)
            if stream.unused_data:
                raise CorruptPayload("something behind it")
            return pages

    words = outcome_of(Single(), "test_file_of_several_members")
    assert "files behind each other are refused (something behind it)" in words
    assert "leave suffix out" in words


FAILURES = """
from dataclasses import dataclass
from codecs_core import Codec, Decoder, Encoder
from codecs_core.testing import CodecContract

class E(Encoder):
    def encode(self, packet, /):
        ...

class D(Decoder):
    def decode_into(self, payload, packet, /):
        packet[:] = payload

@dataclass(frozen=True)
class Mute(Codec):
    name = "mute"
    encoder = lambda self, geometry=None: E()
    decoder = lambda self, geometry=None: D()

class TestMute(CodecContract):
    codec = Mute()
"""


def test_a_codec_that_does_nothing_fails_once_and_says_why(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(FAILURES)
    result = pytester.runpytest_inprocess("-p", "no:randomly", "-p", "no:cacheprovider")
    counts = result.parseoutcomes()
    assert counts["failed"] == 2, "one packet, and the listing"
    assert counts["skipped"] > 30
    said = result.stdout.str()
    assert "contract: encode() returned None, not contiguous bytes; report it" in said
    assert "no entry point of group codecs_core is named 'mute': declare it" in said


def test_choice_without_its_device_is_no_defect() -> None:
    @dataclass(frozen=True)
    class Choosy(Sound):
        backend: str = parameter("auto", choices=("auto", "hardware"), help="Who does it.")

        def encoder(self, geometry: Geometry = DEFAULT_GEOMETRY) -> Encoder:
            if self.backend == "hardware":
                raise CodecUnavailable("no device", name=self.name)
            return super().encoder(geometry)

    class TestChoosy(CodecContract):
        codec = Choosy()

    TestChoosy().test_round_trip_at_the_bounds_of_every_parameter()


def test_codec_that_is_not_installed_is_caught() -> None:
    fails(Sound(), "test_codec_is_listed")


class SoundFile(Sound):
    """A file format that the next three get wrong."""

    suffix = ".sound"

    def compress(self, data: Buffer, /) -> bytes:
        return zlib.compress(data)


def test_file_cut_short_is_caught() -> None:
    class Lenient(SoundFile):
        def decompress(self, data: Buffer, /, *, max_length: int | None = None) -> bytes:
            try:
                return zlib.decompressobj().decompress(data)
            except zlib.error as error:
                raise CorruptPayload(str(error)) from error

    for name in ("test_file_cut_short", "test_file_max_length", "test_file_bomb"):
        fails(Lenient(), name)
    fails(Lenient(), "test_file_reader")


def test_file_that_does_not_come_back_is_caught() -> None:
    class Forgetful(SoundFile):
        def decompress(self, data: Buffer, /, *, max_length: int | None = None) -> bytes:
            return zlib.decompress(data)[:100]

    fails(Forgetful(), "test_file_round_trip", 4096)


class SoundMembers(SoundFile):
    """bzip2 streams, all of whose parts are in order."""

    def compress(self, data: Buffer, /) -> bytes:
        return bz2.compress(data)

    def open_reader(self, source: BinaryIO, /) -> BinaryIO:
        return open_members(
            source,
            codec=self.name,
            start=lambda head: bz2.BZ2Decompressor(),
            errors=(OSError,),
        )


def test_files_of_a_sound_codec_pass() -> None:
    class TestMembers(CodecContract):
        codec = SoundMembers()
        listed = False

    test = TestMembers()
    for name in ("magic", "of_several_members", "measured", "given_up"):
        getattr(test, f"test_file_{name}")()
    test.test_file_packer(5)
    test.test_file_object(2)


def test_packer_that_mixes_pieces_up_is_caught() -> None:
    class Late(FilePacker):
        """Writes every piece one too late."""

        before: Buffer = b""

        def pack(self, piece: memoryview, /) -> Buffer:
            return bz2.compress(piece)

        def join(self, packed: Buffer, /) -> Buffer:
            self.before, now = packed, self.before
            return now

        def end(self) -> Buffer:
            return b""

    class Mixed(SoundMembers):
        def file_packer(self) -> FilePacker:
            return Late()

    fails(Mixed(), "test_file_packer", 5)
    fails(Mixed(), "test_file_object", 2)


def test_file_that_looks_whole_though_given_up_is_caught() -> None:
    class Whole(FilePacker):
        def pack(self, piece: memoryview, /) -> Buffer:
            return bz2.compress(piece)

        def break_off(self) -> Buffer:
            return b""

    class Kept(SoundMembers):
        def file_packer(self) -> FilePacker:
            return Whole()

    fails(Kept(), "test_file_given_up")


def test_measures_that_are_wrong_are_caught() -> None:
    class Short(SoundMembers):
        def measure(self, look: Look, /) -> Member | None:
            return Member(20, 1)

    class Crashing(SoundMembers):
        def measure(self, look: Look, /) -> Member | None:
            assert look(0, 1) == b"B"
            return None

    class Believing(SoundMembers):
        def measure(self, look: Look, /) -> Member | None:
            file = bytes(look(0, 1 << 20)).removesuffix(b"behind")
            return Member(len(file), len(bz2.decompress(file)))

        def decompress_member(self, data: memoryview, length: int, /) -> bytes:
            return bz2.decompress(data)[:length]

    fails(Short(), "test_file_measured")
    fails(Believing(), "test_file_measured")
    fails(Crashing(), "test_file_measured_wherever_it_is_damaged")


def test_wrong_magic_is_caught() -> None:
    class Zip(SoundMembers):
        magic = (b"PK",)

    fails(Zip(), "test_file_magic")


def test_what_does_not_apply_is_left_out() -> None:
    """A codec without a file format, and one that is not installed."""
    names = [name for name in dir(TestSound) if name.startswith("test_")]
    hidden = [name for name in names if getattr(TestSound, name) is None]
    assert "test_file_round_trip" in hidden
    assert "test_codec_is_listed" in hidden
    assert all(name.startswith(("test_file_", "test_codec_")) for name in hidden)


def test_a_suite_without_a_codec_says_so() -> None:
    with pytest.raises(TypeError, match="codec = MyCodec"):
        type("TestNothing", (CodecContract,), {})
