from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from codecs_core.errors import CorruptPayload, ProtocolError, UsageError
from codecs_core.gateway.recording import Recording, pass_over, read_up_to


def test_what_a_directory_holds(bundled: Any) -> None:
    recording = Recording.open(bundled["zlib-ch4"].path)
    assert recording.main is not None
    assert recording.main.path.name == "main.bin.zst"
    assert {n: s.path.name for n, s in recording.channels.items()} == {
        n: f"ch{n}.bin.zst" for n in range(4)
    }
    assert (recording.meta.channels, recording.meta.compression) == (4, "zlib")
    assert list(recording.blocks)[:2] == ["pc.ram", "/rom@etc/acpi/tables"]
    assert recording.geometry.page_size == 4096
    assert not recording.mapped
    assert recording.missing_channels == []


def test_uncompressed_and_without_meta(bundled: Any, tmp_path: Path) -> None:
    recording = Recording.open(bundled["none-ch2"].unpack(tmp_path / "unpacked"))
    assert sorted(recording.channels) == [0, 1]
    assert recording.meta.channels is None
    assert recording.missing_channels == []


def test_contents_tell_what_a_file_is_not_its_name(bundled: Any, tmp_path: Path) -> None:
    directory = bundled["none-ch2"].unpack(tmp_path / "unpacked")
    (directory / "main.bin").rename(directory / "away")
    (directory / "ch1.bin").rename(directory / "main.bin")
    (directory / "ch0.bin").rename(directory / "ch7.bin")
    (directory / "away").rename(directory / "ch0.bin")
    recording = Recording.open(directory)
    assert recording.main is not None
    assert recording.main.path.name == "ch0.bin"
    assert recording.channels[0].path.name == "ch7.bin"
    assert recording.channels[1].path.name == "main.bin"


@pytest.mark.parametrize("name", ["main.bin.zst", "ch1.bin.zst"])
def test_one_file(bundled: Any, name: str) -> None:
    recording = Recording.open(bundled["none-ch2"].path / name)
    assert (recording.main is not None) == (name == "main.bin.zst")
    assert list(recording.channels) == ([] if name == "main.bin.zst" else [1])
    assert recording.missing_channels == []


def test_a_mapped_ram_file(bundled: Any) -> None:
    recording = Recording.open(str(bundled["mappedram-multifd-ch2"].path))
    assert recording.mapped
    assert recording.blocks["pc.ram"].size == 32 << 20
    assert recording.missing_channels == []


def test_missing_channels(bundled: Any, tmp_path: Path) -> None:
    directory = bundled["zlib-ch4"].unpack(tmp_path / "unpacked")
    (directory / "ch1.bin").unlink()
    (directory / "ch3.bin").unlink()
    assert Recording.open(directory).missing_channels == [1]
    (directory / "meta.json").write_text('{"channels": 4}')
    assert Recording.open(directory).missing_channels == [1, 3]
    (directory / "meta.json").write_text('{"channels": 1000000000000}')
    assert Recording.open(directory).missing_channels == [1, *range(3, 256)]


class TestRefused:
    def test_no_recording(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="is no recording: it holds nothing, but no main"):
            Recording.open(tmp_path)
        (tmp_path / "notes.txt").touch()
        with pytest.raises(UsageError, match=r"it holds 'notes\.txt', but no main\.bin"):
            Recording.open(tmp_path)
        with pytest.raises(FileNotFoundError):
            Recording.open(tmp_path / "absent")

    def test_a_pipe_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "main.bin")
        for path in (tmp_path, tmp_path / "main.bin"):
            with pytest.raises(UsageError, match=r"main\.bin is neither a directory nor a reg"):
                Recording.open(path)

    @pytest.mark.parametrize(
        ("name", "contents", "message"),
        [
            ("main.bin", b"", r"main\.bin is empty"),
            ("ch0.bin", b"PK\3\4", r"ch0\.bin begins with 50 4b 03 04, so it is no channel"),
            ("ch0.bin", b"\x11", r"ch0\.bin begins with 11, so"),
            ("ch0.bin", b"\x11\x22\x33\x44", r"ch0\.bin: a channel init has 64 bytes, not 4"),
            ("ch0.bin", b"\x11\x22\x33\x44\0\0\0\2" + bytes(56), r"ch0\.bin: .* version 2"),
            ("main.bin", b"QEVM\0\0\0", r"main\.bin: the main stream ends after 7 bytes"),
            ("main.bin", b"QEVM\0\0\0\2", r"main\.bin: main stream version 2"),
            ("main.bin.zst", b"QEVM\0\0\0\3", r"main\.bin\.zst: zstd: "),
        ],
    )
    def test_contents_that_are_none(
        self, name: str, contents: bytes, message: str, tmp_path: Path
    ) -> None:
        (tmp_path / name).write_bytes(contents)
        for path in (tmp_path, tmp_path / name):
            with pytest.raises((ProtocolError, CorruptPayload), match=message):
                Recording.open(path)

    def test_an_ending_that_no_codec_reads(self, tmp_path: Path) -> None:
        (tmp_path / "main.bin.qxz").write_bytes(b"QEVM")
        with pytest.raises(UsageError, match=r"main\.bin\.qxz: no installed codec reads '\.qxz'"):
            Recording.open(tmp_path)

    def test_a_compressed_file_that_is_cut_short(self, bundled: Any, tmp_path: Path) -> None:
        whole = (bundled["none-ch2"].path / "main.bin.zst").read_bytes()
        (tmp_path / "main.bin.zst").write_bytes(whole[:5])
        with pytest.raises(CorruptPayload, match=r"main\.bin\.zst: zstd: the data is cut short"):
            Recording.open(tmp_path)

    def test_files_that_hold_the_same(self, bundled: Any, tmp_path: Path) -> None:
        directory = bundled["none-ch2"].unpack(tmp_path / "unpacked")
        (directory / "ch5.bin").write_bytes((directory / "ch1.bin").read_bytes())
        with pytest.raises(ProtocolError, match=r"ch1\.bin and ch5\.bin both hold channel 1"):
            Recording.open(directory)
        (directory / "ch5.bin").write_bytes((directory / "main.bin").read_bytes())
        with pytest.raises(ProtocolError, match=r"ch5\.bin and main\.bin both hold the main"):
            Recording.open(directory)

    def test_files_of_two_migrations(self, channel: Any, record: Any) -> None:
        with pytest.raises(ProtocolError, match=r"ch0\.bin and ch1\.bin are of two migrations"):
            record(None, channel(0), channel(1, uuid=2))

    def test_channels_beside_a_mapped_ram_file(
        self, main_stream: Any, channel: Any, record: Any
    ) -> None:
        main = main_stream(capabilities=("mapped-ram",)).start({"pc.ram": bytes(4096)})
        with pytest.raises(ProtocolError, match="a mapped-ram file has no channels beside it"):
            record(main.end().devices("cpu"), channel(0))

    @pytest.mark.parametrize(
        "text", ["", "[]", "{", '{"channels": "2"}', '{"compression": 1}', "[" * 100_000, "\xff"]
    )
    def test_a_meta_json_that_is_none(self, text: str, channel: Any, record: Any) -> None:
        directory = record(None, channel(0)).path
        (directory / "meta.json").write_bytes(text.encode("latin-1"))
        with pytest.raises(ProtocolError, match=r"meta\.json: "):
            Recording.open(directory)


def test_going_ahead_stops_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(100)))

    class Stream:
        """A file that cannot seek."""

        def __init__(self, file: Any) -> None:
            self.read = file.read

        def seekable(self) -> bool:
            return False

    for wrap in (lambda file: file, Stream):
        with path.open("rb") as opened:
            file = wrap(opened)
            assert pass_over(file, 10) == 10
            assert read_up_to(file, 5) == bytes(range(10, 15))
            assert pass_over(file, 1 << 40) == 85
            assert read_up_to(file, 1 << 40) == b""
