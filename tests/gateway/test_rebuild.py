from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codecs_core.errors import (
    CodecsCoreError,
    CorruptPayload,
    ProtocolError,
    TruncatedStream,
    UnknownCodec,
    UsageError,
)
from codecs_core.gateway.rebuild import rebuild
from codecs_core.gateway.recording import Recording
from codecs_core.memory.block import MemoryBlock

PAGE = 4096


def memory_of(recording: Recording, name: str = "pc.ram", **options: Any) -> bytearray:
    memory = bytearray(recording.blocks[name].size)
    rebuild(recording, MemoryBlock(name, memory), **options)
    return memory


def fills(memory: bytes) -> list[int]:
    """The byte that fills each page."""
    pages = [memory[at : at + PAGE] for at in range(0, len(memory), PAGE)]
    assert all(page == page[:1] * PAGE for page in pages)
    return [page[0] for page in pages]


def test_every_page_of_every_recording(rebuildable: Any) -> None:
    recording = Recording.open(rebuildable.path)
    digests = rebuildable.digests()
    assert "pc.ram" in digests
    for name, digest in digests.items():
        assert hashlib.sha256(memory_of(recording, name)).hexdigest() == digest, name


class TestOrder:
    """Later rounds overwrite earlier ones, wherever a page travels."""

    @pytest.fixture
    def two_rounds(self, main_stream: Any, channel: Any, record: Any) -> Any:
        """Write a recording of two pages and two rounds; return their fills."""

        def write(
            first: tuple[dict[int, int], dict[int, int], list[bytes]],
            second: tuple[dict[int, int], dict[int, int], list[bytes]],
            *,
            flush: bool = True,
        ) -> list[int]:
            flushes = [main_stream.flush()] if flush else []
            main = main_stream().start({"pc.ram": 2 * PAGE}, *flushes)
            channels = [channel(0).sync(), channel(1).sync()]
            for *sent, zeros in (first, second):
                main.part(*zeros, *flushes)
                for writer, pages in zip(channels, sent, strict=True):
                    if pages:
                        writer.send(pages)
                    writer.sync()
            main.end()
            if not flush:
                for writer in channels:
                    writer.sync()
            return fills(memory_of(record(main.devices("cpu"), *channels)))

        return write

    def test_pages_change_the_channel(self, two_rounds: Any) -> None:
        assert two_rounds(({0: 1, 1: 2}, {}, []), ({1: 4}, {0: 3}, [])) == [3, 4]
        assert two_rounds(({}, {0: 1, 1: 2}, []), ({0: 3}, {1: 4}, [])) == [3, 4]

    def test_zero_pages_in_packets(self, two_rounds: Any) -> None:
        assert two_rounds(({0: 1}, {1: 0}, []), ({}, {0: 0, 1: 2}, [])) == [0, 2]

    @pytest.mark.parametrize("flush", [True, False])
    def test_zero_pages_on_the_main_channel(
        self, two_rounds: Any, main_stream: Any, flush: bool
    ) -> None:
        zeros = [main_stream.zero(0, "pc.ram"), main_stream.zero(PAGE)]
        assert two_rounds(({0: 1}, {1: 2}, []), ({}, {}, zeros), flush=flush) == [0, 0]
        assert two_rounds(({}, {}, zeros), ({0: 1}, {1: 2}, []), flush=flush) == [1, 2]
        assert two_rounds(({0: 1}, {}, zeros[:0]), ({1: 2}, {}, zeros[:1]), flush=flush) == [0, 2]

    @pytest.mark.parametrize(("earlier", "later"), [(0, 1), (1, 0)])
    def test_twice_in_one_round_the_higher_packet_number_holds(
        self, main_stream: Any, channel: Any, record: Any, earlier: int, later: int
    ) -> None:
        main = main_stream().start({"pc.ram": PAGE}).end().devices("cpu")
        channels = [channel(0), channel(1)]
        channels[earlier].send({0: 1}, number=3)
        channels[later].send({0: 2}, number=5)
        for each in channels:
            each.sync(6).sync(7)
        assert fills(memory_of(record(main, *channels))) == [2]

    def test_a_sync_on_a_data_packet_holds_behind_its_pages(
        self, main_stream: Any, channel: Any, record: Any
    ) -> None:
        main = (
            main_stream()
            .start({"pc.ram": 2 * PAGE})
            .part(main_stream.zero(0, "pc.ram"))
            .end()
            .devices("cpu")
        )
        one = channel(0).send({0: 1, 1: 1}, sync=True).send({}).sync().sync()
        assert fills(memory_of(record(main, one))) == [0, 1]

    def test_a_last_sync_that_the_main_channel_does_not_tell(
        self, main_stream: Any, channel: Any, record: Any
    ) -> None:
        flush = main_stream.flush()
        main = main_stream().start({"pc.ram": PAGE}, flush).part(flush).end().devices("cpu")
        one = channel(0).sync().send({0: 1}).sync().send({0: 2}).sync()
        assert fills(memory_of(record(main, one))) == [2]


def test_pages_on_the_main_channel_alone(main_stream: Any, record: Any) -> None:
    main = (
        main_stream()
        .start({"pc.ram": 3 * PAGE})
        .part(main_stream.page(PAGE, "pc.ram", b"\7" * PAGE), main_stream.zero(0, "pc.ram"))
        .end(main_stream.page(0, "pc.ram", b"\5" * PAGE), main_stream.zero(2 * PAGE, "pc.ram"))
        .devices("cpu")
    )
    assert fills(memory_of(record(main))) == [5, 7, 0]


def test_a_codec_that_qemu_does_not_have_goes_by_the_recorded_name(
    main_stream: Any, channel: Any, record: Any
) -> None:
    main = main_stream().start({"pc.ram": 2 * PAGE}).end().devices("cpu")
    one = channel(0, "lz4").send({0: 1, 1: 0}).sync().sync()
    recording = record(main, one, meta={"channels": 1, "compression": "lz4"})
    assert fills(memory_of(recording)) == [1, 0]
    (recording.path / "meta.json").unlink()
    with pytest.raises(UnknownCodec, match="no installed codec speaks wire method 31"):
        memory_of(Recording.open(recording.path))


def test_mapped_ram_goes_by_its_bitmap(main_stream: Any, tmp_path: Any) -> None:
    ram = bytes(PAGE) + b"\1" * PAGE * 3 + bytes(PAGE) + b"\2" * PAGE
    stream = main_stream(capabilities=("mapped-ram",)).start({"pc.ram": ram, "rom": b"\3" * PAGE})
    path = tmp_path / "ram.mig"
    path.write_bytes(stream.end().devices("cpu").data)
    recording = Recording.open(path)
    assert memory_of(recording) == ram
    memory = bytearray(PAGE)
    rebuilt = rebuild(recording, MemoryBlock("rom", memory))
    assert fills(memory) == [3]
    assert (rebuilt.normal_pages, rebuilt.zero_pages, rebuilt.unsent_pages) == (1, 0, 0)


class TestIncomplete:
    def test_the_main_channel_is_missing(self, bundled: Any, tmp_path: Path) -> None:
        recording = Recording.open(
            bundled["none-ch2"].unpack(tmp_path / "unpacked", "ch0.bin", "ch1.bin")
        )
        with pytest.raises(UsageError, match=r"lacks the main channel, main\.bin"):
            rebuild(recording, MemoryBlock("pc.ram", bytearray(PAGE)))

    def test_a_channel_alone(self, bundled: Any) -> None:
        recording = Recording.open(bundled["none-ch2"].path / "ch0.bin.zst")
        with pytest.raises(UsageError, match=r"lacks the main channel, main\.bin"):
            rebuild(recording, MemoryBlock("pc.ram", bytearray(PAGE)))

    def test_a_channel_is_missing_between_others(self, bundled: Any, tmp_path: Path) -> None:
        directory = bundled["zlib-ch4"].unpack(tmp_path / "unpacked")
        (directory / "ch2.bin").unlink()
        with pytest.raises(ProtocolError, match=r"lacks ch2\.bin, and the pages in it"):
            memory_of(Recording.open(directory))

    def test_the_last_channel_is_missing(self, bundled: Any, tmp_path: Path) -> None:
        directory = bundled["none-ch2"].unpack(tmp_path / "unpacked")
        (directory / "ch1.bin").unlink()
        with pytest.raises(ProtocolError, match=r"of the 8192 pages .* were never sent: a channel"):
            memory_of(Recording.open(directory))
        (directory / "meta.json").write_text('{"channels": 2}')
        with pytest.raises(ProtocolError, match=r"lacks ch1\.bin"):
            memory_of(Recording.open(directory))

    def test_pages_that_were_never_sent(self, main_stream: Any, channel: Any, record: Any) -> None:
        main = main_stream().start({"pc.ram": 20 * PAGE}).end().devices("cpu")
        recording = record(main, channel(0).send({1: 1, 17: 0}).send({1: 2}).sync().sync())
        with pytest.raises(ProtocolError, match="18 of the 20 pages"):
            memory_of(recording)
        memory = bytearray(20 * PAGE)
        rebuilt = rebuild(recording, MemoryBlock("pc.ram", memory), allow_unsent=True)
        assert fills(memory) == [0, 2, *[0] * 18]
        assert (rebuilt.normal_pages, rebuilt.zero_pages, rebuilt.unsent_pages) == (2, 1, 18)

    def test_a_channel_lacks_a_sync(self, main_stream: Any, channel: Any, record: Any) -> None:
        main = main_stream().start({"pc.ram": PAGE}).end().devices("cpu")
        with pytest.raises(TruncatedStream, match=r"ch1\.bin: .* after 1 SYNCs; 2 are"):
            memory_of(record(main, channel(0).send({0: 1}).sync().sync(), channel(1).sync()))
        with pytest.raises(TruncatedStream, match=r"ch0\.bin: .* after 1 SYNCs; 2 are"):
            memory_of(record(main, channel(0).send({0: 1}).sync(), channel(1).sync()))

    def test_a_device_hides_the_rest_of_the_ram(
        self, main_stream: Any, channel: Any, record: Any
    ) -> None:
        main = main_stream().start({"pc.ram": PAGE}).devices("vfio")
        with pytest.raises(ProtocolError, match="state of device 'vfio', at byte"):
            memory_of(record(main, channel(0).send({0: 1}).sync()))
        main = main_stream().start({"pc.ram": PAGE}).devices()
        with pytest.raises(ProtocolError, match=r"the main channel ends at byte \d+, before its"):
            memory_of(record(main, channel(0).send({0: 1}).sync()))

    def test_a_mapped_ram_file_that_was_not_finished(self, main_stream: Any, tmp_path: Any) -> None:
        stream = main_stream(capabilities=("mapped-ram",)).start({"pc.ram": b"\1" * PAGE})
        path = tmp_path / "ram.mig"
        path.write_bytes(stream.data)
        with pytest.raises(TruncatedStream, match=r"ram\.mig: .* before their end marker"):
            memory_of(Recording.open(path))


class TestHostile:
    def test_blocks_that_do_not_fit(self, bundled: Any) -> None:
        recording = Recording.open(bundled["none-ch2"].path)
        with pytest.raises(UsageError, match=r"has no RAM block 'pc\.roam'; it has 'pc\.ram', "):
            rebuild(recording, MemoryBlock("pc.roam", bytearray(PAGE)))
        with pytest.raises(UsageError, match="has 33554432 bytes in pages of 4096, not 4096 in"):
            rebuild(recording, MemoryBlock("pc.ram", bytearray(PAGE)))
        with pytest.raises(UsageError, match="not 33554432 in pages of 8192"):
            rebuild(recording, MemoryBlock("pc.ram", bytearray(1 << 25), page_size=8192))

    @pytest.mark.parametrize(
        ("sent", "error", "message"),
        [
            ({"block": "pc.rom"}, ProtocolError, r"packet 5: there is no RAM block 'pc\.rom'"),
            ({"offsets": bytes(6) + b"\x20\0"}, ProtocolError, "packet 5: offset 0x2000"),
            ({"offsets": bytes(7) + b"\1"}, ProtocolError, "packet 5: offset 0x1 "),
            ({"offsets": b"\xff" * 8}, ProtocolError, "packet 5: offset 0xf{16}"),
            ({"method": 9}, ProtocolError, "wire method 9, but the recording's codec is 'none'"),
            ({"next_packet_size": PAGE - 1}, CorruptPayload, "packet 5: none: .* 4095 bytes"),
        ],
    )
    def test_packets_that_do_not_fit(
        self,
        sent: dict[str, Any],
        error: type[Exception],
        message: str,
        main_stream: Any,
        channel: Any,
        record: Any,
    ) -> None:
        main = main_stream().start({"pc.ram": 2 * PAGE}).end().devices("cpu")
        one = channel(0).send({0: 1}).send({1: 1}, number=5, **sent).sync().sync()
        with pytest.raises(error, match=rf"^ch0\.bin: .*{message}"):
            memory_of(record(main, one))

    def test_a_method_that_no_codec_speaks(
        self, main_stream: Any, channel: Any, record: Any
    ) -> None:
        main = main_stream().start({"pc.ram": PAGE}).end().devices("cpu")
        one = channel(0).send({0: 1}, method=29).sync().sync()
        with pytest.raises(UnknownCodec, match="no installed codec speaks wire method 29"):
            memory_of(record(main, one))
        with pytest.raises(ProtocolError, match=r"wire method 29, .* 'none', method 0"):
            memory_of(record(main, one, meta={"compression": "none"}))
        with pytest.raises(UnknownCodec, match="no codec is called 'qxz'"):
            memory_of(record(main, one, meta={"compression": "qxz"}))

    @pytest.fixture
    def small(self, main_stream: Any, channel: Any, record: Any) -> Recording:
        """Two channels and two rounds of zlib, which keeps history across packets."""
        flush = main_stream.flush()
        main = main_stream().start({"pc.ram": 8 * PAGE, "rom": PAGE}, flush)
        main.part(main_stream.zero(0, "rom"), flush).part(main_stream.zero(0, "pc.ram"), flush)
        return record(
            main.end().devices("timer", "cpu"),
            channel(0, "zlib").sync().send({0: 1, 1: 2, 2: 0}).sync().send({3: 9}).sync(),
            channel(1, "zlib").sync().send({3: 4, 4: 5, 5: 0, 6: 1, 7: 7}).sync().sync(),
            meta={"channels": 2, "compression": "zlib"},
        )

    def test_cut_short_anywhere_it_is_refused(self, small: Recording) -> None:
        whole = memory_of(small)
        assert fills(whole) == [0, 2, 0, 9, 5, 0, 1, 7]
        for path in sorted(small.path.glob("*.bin")):
            data = path.read_bytes()
            devices = data.find(b"\4\0\0\0\x08\5timer")
            for end in {*range(0, len(data), 41), *range(0, len(data), 1344), len(data) - 1}:
                path.write_bytes(data[:end])
                if path.name == "main.bin" and end >= devices + 19:
                    assert memory_of(Recording.open(small.path)) == whole
                    continue
                with pytest.raises(ProtocolError, match=path.name):
                    memory_of(Recording.open(small.path))
            path.write_bytes(data)

    def test_damaged_anywhere_only_our_errors_escape(self, small: Recording) -> None:
        files = {path: path.read_bytes() for path in sorted(small.path.iterdir())}

        @settings(max_examples=300)
        @given(st.data())
        def damage(data: st.DataObject) -> None:
            path = data.draw(st.sampled_from(sorted(files)))
            bad = bytearray(files[path])
            # Most bytes of a header are offsets that nobody uses: look where it matters.
            places = st.integers(0, len(bad) - 1)
            headers = [at for at in range(64, len(bad), 1344) if bad[at : at + 4] == bad[:4]]
            if headers:
                places |= st.sampled_from(headers).flatmap(lambda at: st.integers(at, at + 400))
            for at in data.draw(st.lists(places, min_size=1, max_size=3)):
                if at < len(bad):
                    bad[at] = data.draw(st.integers(0, 255))
            path.write_bytes(bad)
            with contextlib.suppress(CodecsCoreError):
                block = MemoryBlock("pc.ram", bytearray(8 * PAGE))
                rebuild(Recording.open(small.path), block)
            path.write_bytes(files[path])

        damage()

    def test_a_damaged_mapped_ram_file(self, main_stream: Any, tmp_path: Path) -> None:
        memory = {"rom": b"\1" * PAGE, "pc.ram": bytes(PAGE) + b"\2" * 2 * PAGE}
        stream = main_stream(capabilities=("mapped-ram",)).start(memory)
        good = bytes(stream.end().devices("cpu").data)
        headers = [good.index(b"\3rom"), good.index(b"\6pc.ram")]
        path = tmp_path / "ram.mig"

        @settings(max_examples=300)
        @given(st.data())
        def damage(data: st.DataObject) -> None:
            bad = bytearray(good)
            places = st.integers(0, 80) | st.sampled_from(headers).flatmap(
                lambda at: st.integers(at, at + 44)
            )
            for at in data.draw(st.lists(places, min_size=1, max_size=3)):
                bad[at] = data.draw(st.integers(0, 255))
            path.write_bytes(bad[: data.draw(st.integers(len(bad) - PAGE, len(bad)))])
            with contextlib.suppress(CodecsCoreError):
                block = MemoryBlock("pc.ram", bytearray(3 * PAGE))
                rebuild(Recording.open(path), block)

        damage()
