"""The whole battery as one class."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from codecs_core.codec import DEFAULT_GEOMETRY, Codec, Geometry
from codecs_core.testing.candidates import CandidateTests
from codecs_core.testing.file_format import FileFormatTests
from codecs_core.testing.hostile import HostileTests
from codecs_core.testing.listing import ListingTests
from codecs_core.testing.packets import PacketTests
from codecs_core.testing.parameters import ParameterTests
from codecs_core.testing.sessions import SessionTests

__all__ = ["CodecContract"]

_OF_PACKETS = (PacketTests, HostileTests, SessionTests, CandidateTests)


class CodecContract(
    PacketTests,
    HostileTests,
    SessionTests,
    ParameterTests,
    CandidateTests,
    FileFormatTests,
    ListingTests,
):
    """All that the contract promises of a codec. Subclass it, and set `codec`.

    The tests of the file format apply where the codec has a `suffix`; those of the listing
    unless `listed` is false. A decode that hangs is only caught where it releases the GIL, so
    set a timeout for the whole run too.
    """

    codec: ClassVar[Codec]
    """The codec to test, with any parameters."""

    listed: ClassVar[bool] = True
    """Whether the codec is installed as a plugin; turn it off for one that is not."""

    geometries: ClassVar[tuple[Geometry, ...]] = (
        Geometry(4096, 64 << 10),
        DEFAULT_GEOMETRY,
        Geometry(4096, 2 << 20),
        Geometry(64 << 10, 64 << 10),
    )
    """The sizes to make round trips with, in addition to the default ones."""

    patience: ClassVar[float] = 60.0
    """How many seconds a series of hostile payloads may take before it counts as hanging."""

    _does_one_packet: ClassVar[bool | None] = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._does_one_packet = None
        codec = getattr(cls, "codec", None)
        if not isinstance(codec, Codec):
            raise TypeError(f"{cls.__qualname__} needs a codec to test: codec = MyCodec()")
        if codec.suffix is None:
            cls._leave_out(FileFormatTests)
        if not cls.listed:
            cls._leave_out(ListingTests)

    @pytest.fixture(autouse=True)
    def _needs_one_packet(self, request: pytest.FixtureRequest) -> None:
        """A codec that cannot do one packet fails once, and not in forty tests."""
        name = request.function.__name__
        if name == "test_one_packet" or not any(name in vars(part) for part in _OF_PACKETS):
            return
        if self._does_one_packet is None:
            try:
                self.test_one_packet()
            except KeyboardInterrupt:
                raise
            # Whatever it is, the test that is about it shows it.
            except BaseException:
                type(self)._does_one_packet = False
            else:
                type(self)._does_one_packet = True
        if not self._does_one_packet:
            pytest.skip("one packet does not come back, see test_one_packet")

    @classmethod
    def _leave_out(cls, tests: type) -> None:
        """Hide from pytest the tests of a part that does not concern this codec."""
        for name in vars(tests):
            if name.startswith("test_"):
                setattr(cls, name, None)
