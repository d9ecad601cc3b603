"""The standard file format of codecs that have one."""

from __future__ import annotations

import contextlib
import io
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import pytest

from codecs_core.codec import Codec
from codecs_core.errors import CorruptPayload
from codecs_core.file_format import Member
from codecs_core.guard import guarded_packer
from codecs_core.stream import open
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


def _look(data: bytes) -> Callable[[int, int], bytes]:
    return lambda offset, size: data[offset : offset + size]


class FileFormatTests:
    """The file format: one call, file objects, and the pieces that threads work on."""

    codec: ClassVar[Codec]
    patience: ClassVar[float]

    @pytest.mark.parametrize("size", [0, 1, 4096, _SIZE])
    def test_file_round_trip(self, size: int) -> None:
        """Any size, from any kind of buffer."""
        for kind in KINDS:
            data = sample(kind, size)
            for source in (data, bytearray(data), memoryview(data)):
                compressed = self.codec.compress(source)
                assert type(compressed) is bytes, f"compress() returned {type(compressed)}"
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

    def test_file_magic(self) -> None:
        """Every file begins as `Codec.magic` says, where it says so."""
        for size in (0, 1, _SIZE):
            compressed = self.codec.compress(sample("memory", size))
            assert not self.codec.magic or compressed.startswith(self.codec.magic), (
                f"a file begins with {compressed[:8]!r}, not as magic says: {self.codec.magic}"
            )
        assert all(2 <= len(each) <= 8 for each in self.codec.magic)

    def test_file_of_several_members(self) -> None:
        """Files behind each other are one file, and so are zero bytes behind it."""
        parts = [sample(kind, size) for kind, size in (("text", 5000), ("zeros", 0), ("random", 9))]
        joined = b"".join(map(self.codec.compress, parts))
        try:
            whole = self.codec.decompress(joined)
        except CorruptPayload as error:
            pytest.fail(
                f"files behind each other are refused ({error}), but a file that is appended to is "
                "that; a format that does not allow it cannot be the codec's: leave suffix out"
            )
        assert identical(whole, b"".join(parts))
        assert identical(self.codec.decompress(joined + bytes(1000)), b"".join(parts))

    @pytest.mark.parametrize("count", [0, 1, 5])
    def test_file_packer(self, count: int) -> None:
        """Pieces packed at the same time, and joined in order, are a file."""
        packer = guarded_packer(self.codec)
        whole = sample("memory", packer.piece_size)
        pieces = [whole, whole[: packer.piece_size // 3], whole[:1], whole[7:], whole][:count]
        with ThreadPoolExecutor(4) as pool:
            packed = list(pool.map(lambda each: packer.pack(memoryview(each)), pieces))
        file = b"".join([*(bytes(packer.join(each)) for each in packed), packer.end()])
        packer.close()
        assert identical(self.codec.decompress(file), b"".join(pieces))

    def test_file_measured(self) -> None:
        """A member that can be measured has these sizes, and no others are accepted."""
        for kind, size in (("zeros", 0), ("text", 1), ("memory", 4096), ("memory", _SIZE)):
            data = sample(kind, size)
            packer = guarded_packer(self.codec)
            file = bytes(packer.pack(memoryview(data)))
            packer.close()
            member = self.codec.measure(_look(file + b"behind"))
            if member is None:
                continue
            assert isinstance(member, Member), f"measure() returned {member!r}, not a Member"
            assert member == (len(file), size), (
                f"measure() said {member} of a member of {len(file)} bytes that holds {size}"
            )
            assert identical(self.codec.decompress_member(memoryview(file), size), data)
            for other, length in (
                (file, size + 1),
                (file, size - 1),
                (file[:-1], size),
                (file + b"x", size),
                (file + file, size or -1),
            ):
                if length >= 0:
                    with pytest.raises(CorruptPayload):
                        self.codec.decompress_member(memoryview(other), length)

    def test_file_measured_wherever_it_is_damaged(self) -> None:
        """Measuring takes any bytes, and what comes of them is refused or as it is read."""
        data = sample("memory", 20_000)
        compressed = self.codec.compress(data)
        chance = random.Random(0)

        def attack() -> None:
            for position in positions(len(compressed)):
                damaged = bytearray(compressed)
                damaged[position] ^= 1 << chance.randrange(8)
                self._measured_as_read(bytes(damaged))
                self._measured_as_read(compressed[:position])
            for size in (0, 3, 100):
                for magic in (b"", *self.codec.magic):
                    self._measured_as_read(magic + chance.randbytes(size))

        within(self.patience, attack)

    def _measured_as_read(self, data: bytes) -> None:
        member = self.codec.measure(_look(data))
        if member is None or not 0 < member.size <= len(data) or not 0 <= member.length <= _SIZE:
            return
        file = data[: member.size]
        try:
            decoded = self.codec.decompress_member(memoryview(file), member.length)
        except CorruptPayload:
            return
        assert identical(self.codec.decompress(file), decoded)

    @pytest.mark.parametrize("threads", [1, 3])
    def test_file_object(self, threads: int) -> None:
        """Written and read by `codecs_core.open`, appended to, and read from anywhere."""
        data = sample("memory", 3_000_000)
        file = io.BytesIO()
        for part in (data[:2_900_000], data[2_900_000:]):
            with open(file, "wb", self.codec, threads=threads) as writer:
                writer.write(part)
        assert identical(self.codec.decompress(file.getvalue()), data)
        file.seek(0)
        with open(file, "rb", self.codec, threads=threads) as reader:
            assert identical(reader.read(), data)
            for position in (2_500_000, 10, 2_999_999):
                assert reader.seek(position) == position
                assert identical(reader.read(1000), data[position : position + 1000])
            assert reader.seek(0, io.SEEK_END) == len(data)
        file.truncate(file.seek(0, io.SEEK_END) - 1)
        file.seek(0)
        with open(file, "rb", self.codec, threads=threads) as reader:
            with pytest.raises(CorruptPayload):
                reader.read()

    def test_file_given_up(self) -> None:
        """A file that is given up is refused, like one that is cut short."""
        file = io.BytesIO()
        with contextlib.suppress(InterruptedError):
            with open(file, "wb", self.codec, threads=2) as writer:
                writer.write(sample("memory", _SIZE))
                writer.flush()
                raise InterruptedError
        with pytest.raises(CorruptPayload):
            self.codec.decompress(file.getvalue())

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
