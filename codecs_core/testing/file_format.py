"""The standard file format of codecs that have one."""

from __future__ import annotations

import contextlib
import io
import random
from typing import ClassVar

import pytest

from codecs_core.codec import Codec
from codecs_core.errors import CorruptPayload
from codecs_core.testing.checks import identical, peak_growth, positions, within
from codecs_core.testing.data import KINDS, sample

__all__ = ["FileFormatTests"]

_SIZE = 300_000
_BOMB = 96 << 20
_MEMORY_BOUND = 48 << 20


class _Pipe(io.RawIOBase):
    """A source that gives a few bytes at a time and cannot seek."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        return self._data.read(97 if size < 0 else min(size, 97))


class FileFormatTests:
    """`Codec.compress`, `Codec.decompress` and `Codec.open_reader`."""

    codec: ClassVar[Codec]
    patience: ClassVar[float]

    @pytest.mark.parametrize("size", [0, 1, 4096, _SIZE])
    def test_file_round_trip(self, size: int) -> None:
        """Any size, from any kind of buffer."""
        for kind in KINDS:
            data = sample(kind, size)
            for source in (data, bytearray(data), memoryview(data)):
                compressed = self.codec.compress(source)
                assert type(compressed) is bytes
                assert identical(self.codec.decompress(bytearray(compressed)), data)

    def test_file_max_length(self) -> None:
        """The bound is inclusive; one byte less is refused."""
        for size in (0, 1, _SIZE):
            compressed = self.codec.compress(sample("memory", size))
            assert len(self.codec.decompress(compressed, max_length=size)) == size
            if size:
                with pytest.raises(CorruptPayload, match="max_length"):
                    self.codec.decompress(compressed, max_length=size - 1)

    def test_file_cut_short(self) -> None:
        """A file that ends anywhere too early is refused, the empty one too."""
        for kind in ("memory", "random", "zeros"):
            compressed = self.codec.compress(sample(kind, _SIZE))

            def attack(compressed: bytes = compressed) -> None:
                for length in positions(len(compressed)):
                    with pytest.raises(CorruptPayload):
                        self.codec.decompress(compressed[:length], max_length=_SIZE)

            within(self.patience, attack)

    def test_file_damaged(self) -> None:
        """Damage is refused, or goes unseen where the format has no checksum."""
        compressed = self.codec.compress(sample("memory", _SIZE))
        chance = random.Random(0)

        def attack() -> None:
            for position in positions(len(compressed)):
                damaged = bytearray(compressed)
                damaged[position] ^= 1 << chance.randrange(8)
                self._refused_or_read(bytes(damaged))
            for size in (1, 10, 1000, _SIZE):
                self._refused_or_read(sample("random", size))
                self._refused_or_read(compressed + sample("random", size))

        within(self.patience, attack)

    def _refused_or_read(self, data: bytes) -> None:
        with contextlib.suppress(CorruptPayload):
            self.codec.decompress(data, max_length=2 * _SIZE)

    def test_file_reader(self) -> None:
        """A file object that reads in any steps, from a pipe, and leaves its source open."""
        data = sample("memory", _SIZE)
        compressed = self.codec.compress(data)
        source = _Pipe(compressed)
        with self.codec.open_reader(source) as reader:  # type: ignore[arg-type]
            assert reader.readable()
            pieces = [reader.read(size) for size in (1, 2, 1000, 100_000)]
            assert [len(piece) for piece in pieces] == [1, 2, 1000, 100_000]
            assert identical(b"".join(pieces) + reader.read(), data)
            assert reader.read(1) == b""
        assert not source.closed

    def test_file_bomb(self) -> None:
        """Reading a little of a file needs little memory, whatever it holds."""
        compressed = self.codec.compress(bytes(_BOMB))

        def read_a_little() -> None:
            with self.codec.open_reader(io.BytesIO(compressed)) as reader:
                assert reader.read(1000) == bytes(1000)
            with pytest.raises(CorruptPayload):
                self.codec.decompress(compressed, max_length=1000)

        growth = peak_growth(lambda: within(self.patience, read_a_little))
        assert growth < _MEMORY_BOUND, f"1000 bytes cost {growth >> 20} MiB of memory"
