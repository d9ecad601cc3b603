"""What is measured against what, and what is promised.

A main section holds everybody at 2 channels over the loopback; the others vary one thing at a
time. A promise is what the project wants to hold; without a bound it is a quotient to be shown.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.compare.groups import Group, Promise, Row
from benchmarks.compare.ours import Bare, Copy, Encode, Ours
from benchmarks.compare.pipes import (
    MBUFFER,
    SOCAT,
    Absent,
    Iperf3,
    Rclone,
    through_mbuffer,
    through_socat,
)
from benchmarks.compare.qemu import Qemu

OURS = "multifd"
CHANNELS = (1, 2, 4, 8)
PACKETS_KIB = (64, 128, 256, 512, 1024, 2048)
LINK_MIB = {"10G": 512, "1G": 256, "100M": 64}
"""What a link of a rate is given to carry, so that it takes seconds and not minutes."""
BARE, PIPES = 0.97, 1.3
ZSTD_PIPES = {
    **{f"zstd -T{n} | socat": through_socat(f"zstd -1 -T{n} -c", "zstd -dc") for n in (0, 2, 1)},
    "zstd -T0 | mbuffer": through_mbuffer("zstd -1 -T0 -c", "zstd -dc"),
}
"""As many threads as there are CPUs, as our channels, and one, which leaves a CPU to the rest."""
KEPT = {"zlib": 0.97, "zstd": 0.99}
"""The share of QEMU's compression ratio that is to be kept."""


def _times(codec: str) -> int:
    """Without a codec a transfer is so short that its beginning would count."""
    return 2 if codec == "none" else 1


def memory_limit(channels: int) -> float:
    """MiB that either end may have without the data."""
    return channels * 4 + 40


def plan(*, quick: bool = False) -> list[Group]:
    """All groups, or the few of a quick run."""
    groups = [*main("guest", extras=True)]
    if quick:
        return [*groups, *channels(["zstd"], (1, 4)), *links(("1G",)), *memory((64,), ())]
    return [
        *groups,
        *main("programs"),
        *kinds(),
        *channels(["none", "zstd"], CHANNELS),
        *packets(),
        *links(tuple(LINK_MIB)),
        *memory((64, 1024), (8192,)),
    ]


def main(data: str, *, extras: bool = False) -> Iterator[Group]:
    """Everybody, by codec; ``extras``: with what integrity and trust cost, too."""
    yield _main(
        data,
        "none",
        [
            Row("QEMU", Qemu("none")),
            Row("iperf3 -P 2", Iperf3()),
            Row("2 × iperf3", Iperf3(channels=1, processes=2)),
            Row("memcpy, 2 threads", Copy()),
            Row("socat", SOCAT),
            Row("mbuffer", MBUFFER),
            Row("rclone, 2 streams", Rclone()),
            Row("bbcp", Absent("not a package of Debian")),
        ],
        [
            _than("QEMU", 2.0),
            _than("QEMU", measure="cpu", most=0.8),
            _than("iperf3 -P 2", 1.2),
            _than("2 × iperf3"),
            _than("memcpy, 2 threads"),
            Promise(OURS, ("socat", "mbuffer", "rclone, 2 streams"), least=PIPES),
        ],
        checksums=0.85,
        extras={"tls": 0.4} if extras else {},
    )
    yield _main(
        data,
        "lz4",
        [
            Row("bare codec", Bare("lz4")),
            Row("lz4 | socat", through_socat("lz4 -1 -c", "lz4 -dc")),
            Row("lz4 | mbuffer", through_mbuffer("lz4 -1 -c", "lz4 -dc")),
        ],
        [_than("bare codec", BARE), Promise(OURS, ("lz4 | socat", "lz4 | mbuffer"), least=PIPES)],
    )
    yield _main(
        data,
        "zstd",
        [
            Row("QEMU", Qemu("zstd")),
            Row("bare codec", Bare("zstd")),
            *(Row(name, pipe) for name, pipe in ZSTD_PIPES.items()),
        ],
        [
            *_than_qemu("zstd", 1.15, 0.95),
            _than("bare codec", BARE),
            Promise(OURS, tuple(ZSTD_PIPES), least=PIPES),
        ],
        checksums=0.97,
        extras={"tls": 0.85} if extras else {},
    )
    yield _main(
        data,
        "zlib",
        [
            Row("QEMU", Qemu("zlib")),
            Row("bare codec", Bare("zlib")),
            Row("pigz -p 2 | socat", through_socat("pigz -1 -p 2 -c", "pigz -dc")),
            Row("pigz -p 2 | mbuffer", through_mbuffer("pigz -1 -p 2 -c", "pigz -dc")),
            Row("plugin, 1 thread", Encode(plugin=True)),
            Row("Python's zlib, 1 thread", Encode(plugin=False)),
        ],
        [
            *_than_qemu("zlib", 3.5, 0.5),
            _than("bare codec", BARE),
            Promise(OURS, ("pigz -p 2 | socat", "pigz -p 2 | mbuffer"), least=PIPES),
            Promise("plugin, 1 thread", ("Python's zlib, 1 thread",), least=3.0),
            Promise("plugin, 1 thread", ("Python's zlib, 1 thread",), "ratio", least=0.97),
        ],
    )
    yield _main(
        data,
        "qatzip",
        [
            Row("libqatzip's fallback", Ours("qatzip", parameters={"backend": "libqatzip"})),
            Row("bare codec", Bare("qatzip", parameters={"backend": "software"})),
        ],
        [
            _than("libqatzip's fallback", 3.5),
            _than("libqatzip's fallback", measure="cpu", most=0.5),
            _than("libqatzip's fallback", measure="ratio", least=0.97),
            _than("bare codec", BARE),
        ],
        ours=Ours("qatzip", parameters={"backend": "software"}),
    )
    yield _main(
        data,
        "qpl",
        [Row("bare codec", Bare("qpl", parameters={"backend": "software"}))],
        [_than("bare codec", BARE)],
        ours=Ours("qpl", parameters={"backend": "software"}),
    )


def _main(
    data: str,
    codec: str,
    theirs: list[Row],
    promises: list[Promise],
    *,
    ours: Ours | None = None,
    checksums: float | None = None,
    extras: dict[str, float] | None = None,
) -> Group:
    rows = [Row(OURS, ours or Ours(codec)), *theirs]
    more = [Promise(OURS, measure="peak", most=memory_limit(2))]
    if checksums is not None:
        rows.append(Row(f"{OURS}, no checksums", Ours(codec, settings={"checksum": False})))
        more.append(Promise(OURS, (f"{OURS}, no checksums",), least=checksums))
    if extras:
        rows += [
            Row(f"{OURS}, TLS", Ours(codec, tls=True)),
            Row(f"{OURS}, verify full", Ours(codec, settings={"verify": "full"})),
            Row(f"{OURS}, retries", Ours(codec, settings={"retry_for": 30.0})),
        ]
        more += [
            Promise(f"{OURS}, TLS", (OURS,), least=extras["tls"]),
            Promise(f"{OURS}, verify full", (OURS,)),
            Promise(f"{OURS}, retries", (OURS,)),
        ]
    return Group(data, codec, tuple(rows), (*promises, *more), data, times=_times(codec))


def _than(
    theirs: str, least: float | None = None, *, measure: str = "rate", most: float | None = None
) -> Promise:
    return Promise(OURS, (theirs,), measure, least, most)


def _than_qemu(codec: str, rate: float, cpu: float) -> list[Promise]:
    return [
        _than("QEMU", rate),
        _than("QEMU", KEPT[codec], measure="ratio"),
        _than("QEMU", measure="cpu", most=cpu),
    ]


def kinds() -> Iterator[Group]:
    """Other data: text, bytes that nothing makes smaller, and memory that is mostly zero."""
    for data in ("text", "noise", "idle"):
        for codec in ("none", "zlib", "zstd"):
            rows = (Row(OURS, Ours(codec)), Row("QEMU", Qemu(codec)))
            promises = (_than("QEMU"), _than("QEMU", measure="ratio"))
            yield Group("data", f"{data}, {codec}", rows, promises, data, mib=256)


def channels(codecs: list[str], counts: tuple[int, ...]) -> Iterator[Group]:
    """Other numbers of channels."""
    for codec in codecs:
        rows, promises = [], []
        for count in counts:
            ours, theirs = f"{OURS}, {count} channels", f"QEMU, {count} channels"
            rows += [
                Row(ours, Ours(codec, channels=count), f"{OURS} {codec}", count),
                Row(theirs, Qemu(codec, channels=count), f"QEMU {codec}", count),
            ]
            promises += [
                Promise(ours, (theirs,)),
                Promise(ours, measure="peak", most=memory_limit(count)),
            ]
        yield Group("channels", codec, tuple(rows), tuple(promises), times=_times(codec))


def packets() -> Iterator[Group]:
    """Other sizes of a packet; QEMU's is 512 KiB."""
    for codec in ("none", "lz4", "zstd"):
        rows = tuple(
            Row(f"{OURS}, {kib} KiB", Ours(codec, packet=kib * 1024), f"{OURS} {codec}", kib)
            for kib in PACKETS_KIB
        )
        yield Group("packets", codec, rows, times=_times(codec))


def links(rates: tuple[str, ...]) -> Iterator[Group]:
    """Links of a rate, between two hosts."""
    for rate in rates:
        for codec in ("none", "zstd"):
            rows = [Row(OURS, Ours(codec)), Row("QEMU", Qemu(codec))]
            promises = [_than("QEMU")]
            if codec == "zstd":
                rows.append(Row("zstd -T0 | socat", through_socat("zstd -1 -T0 -c", "zstd -dc")))
                promises.append(_than("zstd -T0 | socat"))
            yield Group(
                "links",
                f"{rate}, {codec}",
                tuple(rows),
                tuple(promises),
                link=rate,
                mib=LINK_MIB[rate],
            )


def memory(blocks_mib: tuple[int, ...], streams_mib: tuple[int, ...]) -> Iterator[Group]:
    """Little and much: memory does not grow with it."""
    for mib in blocks_mib:
        rows = (
            Row("block, none", Ours("none")),
            Row("block, zstd", Ours("zstd")),
            Row("block, zstd, 8 channels", Ours("zstd", channels=8)),
            Row("stream, zstd", Ours("zstd", stream=True)),
        )
        yield Group("memory", f"{mib} MiB", rows, _limits(rows), mib=mib, rounds=3)
    # Between ends on one host it would leave all pages as they are.
    adaptive = (
        Row("block, auto", Ours("auto")),
        Row("block, auto, 8 channels", Ours("auto", channels=8)),
    )
    link = "1G"
    yield Group(
        "memory", f"{LINK_MIB[link]} MiB, {link}", adaptive, _limits(adaptive), link=link,
        mib=LINK_MIB[link], rounds=3,
    )  # fmt: skip
    for mib in streams_mib:
        alone = (Row("stream, zstd", Ours("zstd", stream=True)),)
        yield Group("memory", f"{mib} MiB", alone, _limits(alone), mib=mib, file_mib=64, rounds=1)


def _limits(rows: tuple[Row, ...]) -> tuple[Promise, ...]:
    return tuple(
        Promise(row.name, measure=measure, most=memory_limit(row.contender.channels))
        for row in rows
        for measure in ("peak", "grown")
        if isinstance(row.contender, Ours)
    )
