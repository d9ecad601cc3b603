"""QPL's software backend beside libqpl's software path: the same pages, in one run.

    python benchmarks/qpl.py

Pages are those of this host's programs and shared objects, and of a recorded guest's memory, in
packets of 512 KiB. libqpl is called as QEMU calls it, page by page from C: level 1, fixed Huffman
codes, without verifying, the output limited to a page. Each round measures both, one after the
other; a quotient is the median of the rounds' quotients, with the least and the greatest.

Unpacking is measured on what each has written itself, and on the very same payloads: libqpl's, and
ours. "Page by page" is what serves without ISA-L and libdeflate: the package isal, with a call from
Python for each page.
"""

from __future__ import annotations

import argparse
import json
import statistics
from functools import partial
from pathlib import Path
from typing import Any

from codecs_core_qpl import QplCodec
from codecs_core_qpl.library import LibrarySession
from codecs_core_qpl.software import PagesDecoder, PagesEncoder
from qatzip import PACKET, Packets, guest, programs, quotient, rate
from rich.console import Console
from rich.table import Table

from codecs_core.codec import DEFAULT_GEOMETRY

ROWS = (
    ("compress", "compress"),
    ("decompress", "decompress"),
    ("unpack theirs", "… libqpl's payloads"),
    ("unpack ours", "… our payloads"),
    ("pages compress", "compress, page by page"),
    ("pages decompress", "decompress, page by page"),
)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--packets", type=int, default=24, help="packets of each kind of data")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--json", type=Path, help="write all figures here, too")
    options = parser.parse_args()
    kinds = {"shared objects": programs(options.packets), "guest memory": guest(options.packets)}
    figures = {kind: compare(packets, options.rounds) for kind, packets in kinds.items()}
    show(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def compare(packets: Packets, rounds: int) -> dict[str, Any]:
    """Both sides' rates and ratios, and the quotients."""
    codec = QplCodec(backend="software")
    ours, decoder = codec.encoder(), codec.decoder()
    pages, pages_decoder = PagesEncoder(DEFAULT_GEOMETRY), PagesDecoder(DEFAULT_GEOMETRY)
    libqpl = LibrarySession(DEFAULT_GEOMETRY, hardware=False)
    packet = memoryview(bytearray(PACKET))
    payloads = [memoryview(bytes(ours.encode(each))) for each in packets]
    their_payloads = [memoryview(bytes(libqpl.compress(each)[0])) for each in packets]
    pages_payloads = [memoryview(bytes(pages.encode(each))) for each in packets]
    unpack, their_unpack, pages_unpack = (
        partial(_into, work, packet)
        for work in (decoder.decode_into, libqpl.decompress, pages_decoder.decode_into)
    )
    runs = [
        {
            "compress": rate(ours.encode, packets),
            "their compress": rate(libqpl.compress, packets),
            "unpack ours": rate(unpack, payloads),
            "their unpack ours": rate(their_unpack, payloads),
            "unpack theirs": rate(unpack, their_payloads),
            "their unpack theirs": rate(their_unpack, their_payloads),
            "pages compress": rate(pages.encode, packets),
            "pages decompress": rate(pages_unpack, pages_payloads),
        }
        for _ in range(rounds)
    ]
    for run in runs:
        run["decompress"] = run["unpack ours"]
        run["their decompress"] = run["their pages decompress"] = run["their unpack theirs"]
        run["their pages compress"] = run["their compress"]
    size = sum(map(len, packets))
    ratio, their_ratio = (size / sum(map(len, each)) for each in (payloads, their_payloads))
    libqpl.close()
    return {
        **{key: statistics.median(run[key] for run in runs) for key in runs[0]},
        **{f"{what} quotient": quotient(runs, what) for what, _ in ROWS},
        "ratio": ratio,
        "their ratio": their_ratio,
        "ratio kept": ratio / their_ratio,
        "pages ratio": size / sum(map(len, pages_payloads)),
    }


def _into(work: Any, packet: memoryview, payload: memoryview) -> None:
    work(payload, packet)


def show(figures: dict[str, dict[str, Any]]) -> None:
    """Print the comparison."""
    table = Table(title="software backend beside libqpl's software path, MB/s")
    for column in ("pages", "what", "software", "libqpl", "quotient"):
        table.add_column(column, justify="left" if column in ("pages", "what") else "right")
    for kind, row in figures.items():
        kept = f"{row['ratio kept']:.3f}"
        table.add_row(kind, "ratio", f"{row['ratio']:.2f}", f"{row['their ratio']:.2f}", kept)
        kept = f"{row['pages ratio'] / row['their ratio']:.3f}"
        cells = (f"{row['pages ratio']:.2f}", f"{row['their ratio']:.2f}", kept)
        table.add_row("", "ratio, page by page", *cells)
        for what, label in ROWS:
            median, least, most = row[f"{what} quotient"]
            table.add_row(
                "", label, f"{row[what] / 1e6:.0f}", f"{row[f'their {what}'] / 1e6:.0f}",
                f"{median:.2f} ({least:.2f}-{most:.2f})",
            )  # fmt: skip
    Console().print(table)


if __name__ == "__main__":
    main()
