from __future__ import annotations

import contextlib
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecs_core.errors import ProtocolError, TruncatedStream
from codecs_core.wire import qemu
from codecs_core.wire.mapped_ram import MappedRam
from codecs_core.wire.qemu import MainParser


def parse(data: bytes, *cuts: int) -> tuple[list[qemu.Event], qemu.Description | None]:
    """Feed ``data``, cut at the given places, to a fresh parser."""
    parser = MainParser()
    events = []
    for start, end in zip((0, *cuts), (*cuts, len(data)), strict=True):
        events += parser.feed(data[start:end])
    return events, parser.close()


def zeros(block: str, *offsets: int) -> qemu.ZeroPages:
    return qemu.ZeroPages(block, struct.pack(f">{len(offsets)}Q", *offsets))


@pytest.fixture
def stream(main_stream: Any) -> Any:
    """A stream with everything in it that is read."""
    return (
        main_stream("pc-test-9.0", ("x-other",))
        .start({"pc.ram": 0x8000, "rom": 0x1000}, main_stream.flush())
        .part(
            main_stream.zero(0, "pc.ram"),
            main_stream.zero(0x1000),
            main_stream.zero(0, "rom"),
            main_stream.flush(),
            main_stream.zero(0x2000, "pc.ram"),
        )
        .part(main_stream.page(0x3000, "pc.ram", b"p" * 4096))
        .end(main_stream.flush())
        .devices("timer", "cpu")
    )


EVENTS = [
    qemu.Configuration("pc-test-9.0", 4096, ("x-other",)),
    qemu.RamBlock("pc.ram", 0x8000),
    qemu.RamBlock("rom", 0x1000),
    qemu.SyncPoint(),
    zeros("pc.ram", 0, 0x1000),
    zeros("rom", 0),
    qemu.SyncPoint(),
    zeros("pc.ram", 0x2000),
    qemu.Page("pc.ram", 0x3000, b"p" * 4096),
    qemu.SyncPoint(),
    qemu.RamEnd(),
]


def test_a_whole_stream(stream: Any) -> None:
    events, description = parse(bytes(stream.data))
    assert events[:-1] == EVENTS
    last = events[-1]
    assert isinstance(last, qemu.DeviceState)
    assert last.device == "timer"
    assert stream.data[last.position :].startswith(b"\4\0\0\0\x08\5timer")
    assert description is not None
    assert description.page_size == 4096
    assert [device.name for device in description.devices] == ["timer", "cpu"]


def test_byte_by_byte(stream: Any) -> None:
    data = bytes(stream.data)
    assert parse(data, *range(1, len(data))) == parse(data)


def test_cut_anywhere_it_is_truncated_or_without_description(stream: Any) -> None:
    data = bytes(stream.data)
    whole, _ = parse(data)
    begin = next(e.position for e in whole if isinstance(e, qemu.DeviceState))
    for end in range(len(data)):
        if end < begin + 19:
            with pytest.raises(TruncatedStream, match=f"after {end} bytes"):
                parse(data[:end])
        else:
            events, description = parse(data[:end])
            assert events == whole
            assert description is None


def test_without_flushes_the_sections_are_the_sync_points(main_stream: Any) -> None:
    stream = main_stream().start({"pc.ram": 0x1000}).part(main_stream.zero(0, "pc.ram")).end()
    events, _ = parse(bytes(stream.devices("cpu").data))
    assert events[2:-1] == [
        qemu.SyncPoint(),
        zeros("pc.ram", 0),
        qemu.SyncPoint(),
        qemu.SyncPoint(),
        qemu.RamEnd(),
    ]


def test_zero_pages_come_in_bounded_batches(main_stream: Any) -> None:
    size = 10_000 * 4096
    entries = [main_stream.zero(0, "pc.ram")]
    entries += [main_stream.zero(page * 4096) for page in range(1, 10_000)]
    stream = main_stream().start({"pc.ram": size}).part(*entries).end().devices()
    batches = [e.offsets for e in parse(bytes(stream.data))[0] if isinstance(e, qemu.ZeroPages)]
    assert max(map(len, batches)) <= 8 * 4096
    assert b"".join(batches) == struct.pack(">10000Q", *range(0, size, 4096))


def test_commands_are_passed_over(main_stream: Any) -> None:
    stream = main_stream().start({"pc.ram": 0x1000})
    stream.data += struct.pack(">BHH", 8, 11, 3) + b"abc"
    events, _ = parse(bytes(stream.end().devices("cpu").data))
    assert qemu.RamEnd() in events


def test_a_device_before_the_ram_ends_what_can_be_read(main_stream: Any) -> None:
    stream = main_stream().start({"pc.ram": 0x1000})
    position = len(stream.data)
    stream.data += struct.pack(">BI", 1, 9) + main_stream.text("vfio") + struct.pack(">II", 0, 1)
    events, _ = parse(bytes(stream.data) + b"opaque")
    assert events[-1] == qemu.DeviceState(position, "vfio")
    assert qemu.RamEnd() not in events


def test_a_stream_without_devices(main_stream: Any) -> None:
    stream = main_stream().start({"pc.ram": 0x1000}).end()
    events, description = parse(bytes(stream.devices().data))
    assert isinstance(events[-1], qemu.DeviceState)
    assert events[-1].device == ""
    assert description == qemu.Description(4096, [])


def test_other_parts_of_the_configuration(main_stream: Any) -> None:
    stream = main_stream()
    stream.data += b"\5" + main_stream.text("configuration/target-page-bits")
    stream.data += struct.pack(">II", 1, 14)
    stream.data += b"\5" + main_stream.text("configuration/uuid") + bytes(4) + bytes(16)
    events, _ = parse(bytes(stream.start({"ram": 0x4000}).end().devices().data))
    assert events[0] == qemu.Configuration("pc-test-1.0", 1 << 14, ())


def test_shared_memory_has_its_address_in_the_list(main_stream: Any) -> None:
    stream = main_stream(capabilities=("x-ignore-shared",)).start({"pc.ram": 0x1000})
    at = stream.data.index(b"pc.ram") + len(b"pc.ram") + 8
    stream.data[at:at] = struct.pack(">Q", 0x1234)
    events, _ = parse(bytes(stream.end().devices().data))
    assert qemu.RamBlock("pc.ram", 0x1000) in events


@pytest.mark.parametrize("skipping", [False, True])
def test_mapped_ram_is_fed_or_passed_over(main_stream: Any, skipping: bool) -> None:
    memory = {"pc.ram": b"a" * 4096 + bytes(8192), "rom": bytes(4096)}
    stream = main_stream(capabilities=("mapped-ram",)).start(memory).end().devices("cpu")
    data = bytes(stream.data)
    parser = MainParser()
    events = []
    position = 0
    while position < len(data):
        events += parser.feed(data[position : position + 16])
        position += len(data[position : position + 16])
        if skipping:
            position += parser.skippable
            parser.skip(parser.skippable)
    assert parser.position == len(data)
    blocks = [e for e in events if isinstance(e, qemu.RamBlock)]
    assert [(b.name, b.size) for b in blocks] == [("pc.ram", 12288), ("rom", 4096)]
    mapped = blocks[0].mapped
    assert mapped is not None
    assert data[mapped.bitmap_offset] == 1
    assert data[mapped.pages_offset :].startswith(b"a" * 4096 + b"stale")
    assert isinstance(events[-1], qemu.DeviceState)
    assert parser.close() is not None


def test_only_what_means_nothing_can_be_passed_over() -> None:
    with pytest.raises(ProtocolError, match="1 bytes cannot be passed over"):
        MainParser().skip(1)


def hostile() -> dict[str, tuple[str, Any]]:
    """What is wrong, the error's words, and how to make the stream."""

    def blocks(*listed: tuple[str, int], total: int | None = None) -> Any:
        def make(main: Any) -> bytes:
            stream = main().open_list(sum(size for _, size in listed) if total is None else total)
            for name, size in listed:
                stream.data += main.text(name) + struct.pack(">Q", size)
            return bytes(stream.data)

        return make

    def part(*entries: bytes, blocks: dict[str, int] | None = None) -> Any:
        return lambda main: bytes(main().start(blocks or {"pc.ram": 0x1000}).part(*entries).data)

    def mapped_part(*entries: bytes) -> Any:
        stream = {"pc.ram": bytes(4096)}
        return lambda main: bytes(
            main(capabilities=("mapped-ram",)).start(stream).part(*entries).data
        )

    def entry(value: int, rest: bytes = b"") -> bytes:
        return struct.pack(">Q", value) + rest

    def mapped(header: MappedRam) -> Any:
        def make(main: Any) -> bytes:
            stream = main(capabilities=("mapped-ram",)).open_list(0x1000)
            return bytes(stream.data + main.text("pc.ram") + bytes(6) + b"\x10\0" + header.encode())

        return make

    def configuration(name: str, body: bytes) -> Any:
        return lambda main: bytes(main().data) + b"\5" + main.text(name) + bytes(4) + body

    return {
        "magic": ("begins with b'QEVM'", lambda main: b"QEVN\0\0\0\3"),
        "version": ("version 4", lambda main: b"QEVM\0\0\0\4\7"),
        "machine": ("a name of 4294967295 bytes", lambda main: b"QEVM\0\0\0\3\7\xff\xff\xff\xff"),
        "machine text": ("not UTF-8", lambda main: b"QEVM\0\0\0\3\7\0\0\0\1\xff"),
        "part of the configuration": ("unknown part 'new'", configuration("new", b"")),
        "page bits": (
            r"pages of 2\^40 bytes",
            configuration("configuration/target-page-bits", b"\0\0\0\x28"),
        ),
        "capabilities": (
            "lists 4294967295 capabilities",
            configuration("configuration/capabilities", b"\xff" * 4),
        ),
        "capabilities again and again": (
            "lists 300 capabilities",
            lambda main: bytes(
                main(capabilities=("x",) * 150).data
                + bytes(main(capabilities=("x",) * 150).data).partition(b"pc-test-1.0")[2]
            ),
        ),
        "section type": ("section type 0x63", lambda main: bytes(main().data) + b"c"),
        "section version": (
            "version 5, not 4",
            lambda main: bytes(main().data) + b"\1\0\0\0\7\3ram" + struct.pack(">II", 0, 5),
        ),
        "part before start": ("section 7 goes on", lambda main: bytes(main().part().data)),
        "part after end": (
            "section 7 goes on",
            lambda main: bytes(main().start({"a": 4096}).end().part().data),
        ),
        "footer": (
            "footer of RAM section 7",
            lambda main: bytes(main().start({"a": 4096}).data)[:-1] + b"\1",
        ),
        "huge block": ("0x7ffffffffffff000 bytes", blocks(("a", (1 << 63) - 4096))),
        "block above total": ("0x2000 bytes", blocks(("a", 0x2000), total=0x1000)),
        "odd block": ("no whole pages", blocks(("a", 0x1001), total=0x2000)),
        "block twice": ("listed twice", blocks(("a", 4096), ("a", 4096))),
        "many blocks": (
            "more than 4096 RAM blocks",
            blocks(*((f"{n}", 0) for n in range(4097)), total=4096),
        ),
        "second list": ("RAM flags 0x4", part(entry(0x4))),
        "unknown block": ("'pc.rom', which is not listed", part(entry(2, b"\6pc.rom\0"))),
        "no block": ("RAM block '', which is not listed", part(entry(0x22, b"\0"))),
        "offset outside": ("offset 0x1000 lies outside", part(entry(0x1002, b"\6pc.ram\0"))),
        "filled page": ("filled with 0x2a", part(entry(2, b"\6pc.ram\x2a"))),
        "xbzrle": ("RAM flags 0x40", part(entry(0x40))),
        "mixed flags": ("RAM flags 0xa", part(entry(0xA))),
        "page in mapped": ("RAM flags 0x8 in a mapped-ram file", mapped_part(entry(0x8))),
        "zero in mapped": ("RAM flags 0x22 in a mapped-ram file", mapped_part(entry(0x22))),
        "flush in mapped": ("RAM flags 0x200 in a mapped-ram file", mapped_part(entry(0x200))),
        "mapped bitmap": ("do not follow", mapped(MappedRam(4096, 0, 1 << 20))),
        "mapped pages": ("beyond any file", mapped(MappedRam(4096, 1 << 20, (1 << 64) - 4096))),
    }


@pytest.mark.parametrize(("message", "make"), hostile().values(), ids=hostile().keys())
def test_a_hostile_stream_is_refused(message: str, make: Any, main_stream: Any) -> None:
    data = make(main_stream)
    parser = MainParser()
    with pytest.raises(ProtocolError, match=message):
        parser.feed(data)
    with pytest.raises(ProtocolError, match="failed before"):
        parser.feed(b"")
    assert parser.close() is None
    with pytest.raises(ProtocolError, match=message):
        parse(data, *range(1, len(data)))


@pytest.mark.parametrize(
    "text", [b"{", b'{"page_size": "4096", "devices": []}', b'{"devices": [1]}', b"{\xff\xff"]
)
def test_a_description_that_is_none_is_refused(text: bytes, main_stream: Any) -> None:
    data = bytes(main_stream().start({"a": 4096}).end().data) + b"\0\6"
    with pytest.raises(ProtocolError, match="the description of the devices"):
        parse(data + struct.pack(">I", len(text)) + text)


def test_device_state_does_not_grow_in_memory(main_stream: Any) -> None:
    data = bytes(main_stream().start({"a": 4096}).end().devices("gpu").data)
    parser = MainParser()
    parser.feed(data[:-100])
    for _ in range(40):
        assert parser.feed(bytes(1 << 20)) == []
    assert len(parser._tail) == qemu.MAX_DESCRIPTION
    assert parser.position == len(data) - 100 + (40 << 20)
    assert parser.close() is None


@given(st.data())
def test_nothing_but_protocol_errors_escapes(main_stream: Any, data: st.DataObject) -> None:
    zero, flush = main_stream.zero, main_stream.flush()
    plain = main_stream(capabilities=("x-other",)).start({"pc.ram": 8192, "rom": 4096}, flush)
    plain.part(zero(0, "pc.ram"), zero(4096), flush, zero(0, "rom")).end(flush).devices("cpu")
    mapped = main_stream(capabilities=("mapped-ram",))
    mapped.start({"pc.ram": bytes(4096) + b"b" * 4096, "rom": bytes(4096)}).end().devices("cpu")
    bad = bytearray(data.draw(st.sampled_from([plain.data, mapped.data])))
    meaningful = [at for at in range(len(bad)) if at < 300 or at >= len(bad) - 300]
    for at in data.draw(st.lists(st.sampled_from(meaningful), min_size=1, max_size=4)):
        bad[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(bad)))
    with contextlib.suppress(ProtocolError):
        parse(bytes(bad), cut)


def test_every_recording_is_read_to_its_last_byte(recorded: Any) -> None:
    name = "file.mig" if recorded.meta["mapped_ram"] else "main.bin"
    data = recorded.raw(name)
    events, description = parse(data, *range(65_521, len(data), 65_521))
    expected = recorded.meta["decoded"]["main"]
    configuration = events[0]
    assert isinstance(configuration, qemu.Configuration)
    assert configuration.machine == expected["machine"]
    assert {e.name: e.size for e in events if isinstance(e, qemu.RamBlock)} == {
        block["name"]: block["size"] for block in recorded.meta["blocks"]
    }
    zero_pages = sum(len(e.offsets) // 8 for e in events if isinstance(e, qemu.ZeroPages))
    assert zero_pages == expected["events"].get("zero", 0)
    syncs = expected["events"].get("flush", expected["events"]["eos"])
    if recorded.meta["mapped_ram"]:
        syncs = 0
    assert sum(isinstance(e, qemu.SyncPoint) for e in events) == syncs
    assert qemu.RamEnd() in events
    assert events[-1] == qemu.DeviceState(expected["device_state_at"], "timer")
    assert description is not None
    assert len(description.devices) == expected["devices"]
