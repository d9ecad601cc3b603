"""The contract: parameters, their spellings, their errors, and what every codec inherits."""

from __future__ import annotations

import dataclasses
import io
import pickle
from dataclasses import dataclass
from typing import Any, BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecs_core.codec import (
    Buffer,
    Codec,
    Decoder,
    Encoder,
    Geometry,
    Parameter,
    exactly,
    parameter,
)
from codecs_core.errors import CodecError, CorruptPayload, ParameterError, UsageError
from codecs_core.file_format import Look, Member


class Session(Encoder, Decoder):
    def __init__(self) -> None:
        self.closed = 0

    def encode(self, packet: memoryview, /) -> Buffer:
        return packet

    def decode_into(self, payload: memoryview, packet: memoryview, /) -> None:
        packet[:] = payload

    def close(self) -> None:
        self.closed += 1


class Zeros(io.RawIOBase):
    """As many zeros as ever are asked for: the worst of decompression bombs."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        buffer[:] = bytes(len(buffer))
        return len(buffer)


@dataclass(frozen=True)
class Sample(Codec):
    name = "sample"
    method = 9

    level: int = parameter(3, minimum=1, maximum=9, help="Effort.")
    window_log: int = parameter(0, minimum=0, help="Window.")
    offset: int = parameter(0, maximum=7, help="Offset.")
    seed: int = parameter(0, help="Seed.")
    long: bool = parameter(False, help="Look far back.")
    note: str = parameter("", help="A note.")
    backend: str = parameter("auto", choices=("auto", "soft"), local=True, help="Who works.")

    def encoder(self, geometry: Geometry | None = None) -> Encoder:
        return Session()

    def decoder(self, geometry: Geometry | None = None) -> Decoder:
        return Session()

    def open_reader(self, source: BinaryIO, /) -> BinaryIO:
        return io.BufferedReader(Zeros())


@dataclass(frozen=True)
class Bare(Codec):
    """A codec without parameters and without a file format."""

    name = "bare"

    def encoder(self, geometry: Geometry | None = None) -> Encoder:
        return Session()

    def decoder(self, geometry: Geometry | None = None) -> Decoder:
        return Session()


@dataclass(frozen=True)
class Told(Bare):
    """A codec whose member of six bytes tells its size, and which has the defaults besides."""

    length: int = parameter(5, help="What the member tells.")

    def measure(self, look: Look, /) -> Member | None:
        return Member(6, self.length)

    def open_reader(self, source: BinaryIO, /) -> BinaryIO:
        return io.BytesIO(b"plain")


@dataclass(frozen=True)
class Whole(Told):
    def decompress_member(self, data: memoryview, length: int, /) -> bytes:
        return b"whole"

    def open_reader(self, source: BinaryIO, /) -> BinaryIO:
        raise CorruptPayload("read piece by piece")


class TestGeometry:
    def test_defaults_are_qemus(self) -> None:
        geometry = Geometry()
        assert (geometry.page_size, geometry.packet_size) == (4096, 524288)
        assert geometry.pages_per_packet == 128
        assert geometry.max_payload == 1 << 20

    @pytest.mark.parametrize(
        ("page_size", "packet_size"), [(512, 512), (4096, 4096), (1 << 21, 1 << 21)]
    )
    def test_bounds_are_inclusive(self, page_size: int, packet_size: int) -> None:
        assert Geometry(page_size, packet_size).pages_per_packet >= 1

    @pytest.mark.parametrize(
        ("page_size", "packet_size", "complaint"),
        [
            (0, 4096, "page size 0"),
            (-4096, 4096, "page size -4096"),
            (256, 4096, "page size 256"),
            (4095, 524288, "page size 4095"),
            (1 << 22, 1 << 22, "page size 4194304"),
            (4096, 2048, "packet size 2048"),
            (4096, 12288, "packet size 12288"),
            (4096, 1 << 22, "packet size 4194304"),
        ],
    )
    def test_other_sizes_are_refused(
        self, page_size: int, packet_size: int, complaint: str
    ) -> None:
        with pytest.raises(UsageError, match=f"^{complaint} is not a power of two between"):
            Geometry(page_size, packet_size)


class TestParameters:
    def test_are_the_fields_in_order_under_qemus_names(self) -> None:
        assert [each.name for each in Sample.parameters()] == [
            "multifd-sample-level",
            "multifd-sample-window-log",
            "multifd-sample-offset",
            "multifd-sample-seed",
            "multifd-sample-long",
            "multifd-sample-note",
            "multifd-sample-backend",
        ]
        assert Bare.parameters() == ()

    def test_carry_what_was_declared(self) -> None:
        assert Sample.parameters()[0] == Parameter(
            name="multifd-sample-level",
            field="level",
            kind=int,
            default=3,
            minimum=1,
            maximum=9,
            choices=None,
            help="Effort.",
            local=False,
        )

    @pytest.mark.parametrize(
        ("field", "expectation"),
        [
            ("level", "a value between 1 and 9"),
            ("window_log", "a value of at least 0"),
            ("offset", "a value of at most 7"),
            ("seed", "an integer"),
            ("long", "true or false"),
            ("note", "a string"),
            ("backend", "one of auto, soft"),
        ],
    )
    def test_say_what_they_expect(self, field: str, expectation: str) -> None:
        found = next(each for each in Sample.parameters() if each.field == field)
        assert found.expectation == expectation

    @given(st.integers())
    def test_range_is_inclusive(self, level: int) -> None:
        if 1 <= level <= 9:
            assert Sample(level=level).level == level
        else:
            with pytest.raises(ParameterError) as caught:
                Sample(level=level)
            assert str(caught.value) == (
                f"multifd-sample-level expects a value between 1 and 9, not {level} (default 3)"
            )
            assert caught.value.parameter == "multifd-sample-level"
            assert caught.value.value == level

    @pytest.mark.parametrize(
        ("field", "value", "message"),
        [
            ("level", "3", "multifd-sample-level expects a value between 1 and 9, not '3'"),
            ("level", 3.0, "multifd-sample-level expects a value between 1 and 9, not 3.0"),
            ("level", True, "multifd-sample-level expects a value between 1 and 9, not True"),
            ("level", None, "multifd-sample-level expects a value between 1 and 9, not None"),
            ("window_log", -1, "multifd-sample-window-log expects a value of at least 0, not -1"),
            ("offset", 8, "multifd-sample-offset expects a value of at most 7, not 8"),
            ("seed", b"", "multifd-sample-seed expects an integer, not b''"),
            ("long", 1, "multifd-sample-long expects true or false, not 1"),
            ("note", 1, "multifd-sample-note expects a string, not 1"),
            ("backend", "hard", "multifd-sample-backend expects one of auto, soft, not 'hard'"),
            ("backend", [], r"multifd-sample-backend expects one of auto, soft, not \[\]"),
        ],
    )
    def test_misfits_name_the_parameter_the_range_and_the_value(
        self, field: str, value: object, message: str
    ) -> None:
        with pytest.raises(ParameterError, match=rf"^{message} \(default "):
            Sample.from_parameters({field: value})

    def test_local_ones_stay_out_of_the_handshake(self) -> None:
        assert Sample(level=5, backend="soft").wire_parameters() == {
            "level": 5,
            "window_log": 0,
            "offset": 0,
            "seed": 0,
            "long": False,
            "note": "",
        }

    def test_wire_parameters_make_the_codec_again(self) -> None:
        codec = Sample(level=7, long=True, note="x")
        assert Sample.from_parameters(codec.wire_parameters()) == codec


class TestFromParameters:
    @pytest.mark.parametrize(
        "spelling",
        ["window_log", "window-log", "multifd_sample_window_log", "multifd-sample-window-log"],
    )
    def test_takes_every_spelling(self, spelling: str) -> None:
        assert Sample.from_parameters({spelling: 4}) == Sample(window_log=4)

    def test_refuses_one_parameter_under_two_spellings(self) -> None:
        with pytest.raises(ParameterError, match=r"multifd-sample-level gives .* 'level' .* again"):
            Sample.from_parameters({"level": 1, "multifd-sample-level": 2})

    def test_names_what_there_is_where_a_parameter_is_unknown(self) -> None:
        with pytest.raises(ParameterError) as caught:
            Sample.from_parameters({"lvel": 1})
        assert str(caught.value).startswith(
            "codec 'sample' has no parameter 'lvel'; it has multifd-sample-level, "
        )
        with pytest.raises(ParameterError, match=r"it has no parameters$"):
            Bare.from_parameters({"level": 1})


class TestCodec:
    def test_is_a_value(self) -> None:
        assert Sample(level=5) == Sample(level=5) != Sample(level=6)
        assert len({Sample(level=5), Sample(level=5), Sample()}) == 2
        with pytest.raises(dataclasses.FrozenInstanceError):
            Sample().level = 4

    @pytest.mark.parametrize("codec", [Sample(level=8, note="é"), Bare(), Geometry(512, 1024)])
    def test_is_picklable(self, codec: object) -> None:
        assert pickle.loads(pickle.dumps(codec)) == codec

    def test_is_available_unless_it_says_otherwise(self) -> None:
        assert Sample.availability().available

    def test_without_a_file_format_says_so(self) -> None:
        with pytest.raises(CodecError, match="'bare' has no file format"):
            Bare().compress(b"")
        with pytest.raises(CodecError, match="'bare' has no file format"):
            Bare().decompress(b"")

    @pytest.mark.parametrize("limit", [0, 1, 4096, 3 << 20])
    def test_decompress_stops_at_max_length(self, limit: int) -> None:
        with pytest.raises(CorruptPayload, match=f"more than max_length={limit} bytes"):
            Sample().decompress(b"", max_length=limit)

    def test_decompress_refuses_a_negative_bound(self) -> None:
        with pytest.raises(UsageError, match="max_length=-1 is negative"):
            Sample().decompress(b"", max_length=-1)

    def test_decompress_takes_one_member_whole(self) -> None:
        """In one call where its size is told and plausible; a default is enough for the rest."""
        data = memoryview(b"packed")
        assert Told(5).decompress(data) == Told(5).decompress_member(data, 5) == b"plain"
        assert Whole(5).decompress(bytearray(data)) == b"whole"
        for length, limit in ((5, 4), (0, None), (6001, None)):
            with pytest.raises(CorruptPayload, match="piece by piece"):
                Whole(length).decompress(data, max_length=limit)
        with pytest.raises(CorruptPayload, match="piece by piece"):
            Whole(5).decompress(b"packed and more")

    @pytest.mark.parametrize("kind", [Codec, Encoder, Decoder])
    def test_contract_is_abstract(self, kind: type) -> None:
        with pytest.raises(TypeError, match="abstract"):
            kind()


def test_sessions_close_at_the_end_of_with() -> None:
    session = Session()
    with session as entered:
        assert entered is session
        assert not session.closed
    assert session.closed == 1
    with pytest.raises(ZeroDivisionError), session:
        raise ZeroDivisionError
    assert session.closed == 2


def test_exactly() -> None:
    packet = memoryview(bytes(8))
    exactly("sample", 8, packet)
    for produced in (0, 7, 9):
        with pytest.raises(CorruptPayload, match=f"^sample: .* {produced} bytes, .* announced 8$"):
            exactly("sample", produced, packet)
