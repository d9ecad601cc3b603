"""Move a recorded guest's RAM from one process to another over TCP, with each codec in turn.

Every row is one ``multifd send`` to one ``multifd recv``; what arrives is compared with what was
sent, byte for byte. The exit status is 1 where a row is not verified.
"""

from __future__ import annotations

import filecmp
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

MULTIFD = str(Path(sys.executable).with_name("multifd"))
RECORDING = Path(__file__).parents[1] / "tests/data/streams/none-ch2"
BLOCK = "pc.ram"
MIB = 1 << 20


def main() -> int:
    """Print the table."""
    with tempfile.TemporaryDirectory(prefix="multifd-") as place:
        ram = Path(place, "ram.bin")
        multifd("extract", str(RECORDING), "--block", BLOCK, "--output", str(ram))
        table = Table(title=f"{BLOCK} of a recorded guest, {ram.stat().st_size // MIB} MiB, by TCP")
        for column in ("codec", "backend", "pages", "zero pages", "ratio", "MiB/s", "verified"):
            table.add_column(column, justify="left" if column in ("codec", "backend") else "right")
        failed = False
        for codec in multifd("codecs")["codecs"]:
            if codec["state"] != "available":
                table.add_row(codec["name"], f"{codec['state']}: {codec['reason']}")
                failed |= codec["state"] == "broken"
                continue
            row = transfer(codec["name"], ram, Path(place, f"{codec['name']}.bin"))
            failed |= not row["verified"]
            table.add_row(
                codec["name"],
                codec["backend"],
                f"{row['pages']}",
                f"{row['zero_pages'] + row['skipped_pages']}",
                f"{row['ratio']:.2f}",
                f"{row['rate'] / MIB:.0f}",
                "yes" if row["verified"] else "NO",
            )
    Console().print(table)
    return 1 if failed else 0


def transfer(codec: str, source: Path, target: Path) -> dict[str, Any]:
    """Send ``source`` to a receiving process, which writes ``target``."""
    receiver = subprocess.Popen(
        [MULTIFD, "recv", "tcp:127.0.0.1:0", str(target)], stderr=subprocess.PIPE, text=True
    )
    assert receiver.stderr is not None
    with receiver:
        address = receiver.stderr.readline().split()[-1]
        result = multifd("send", str(source), address, "--multifd-compression", codec)
    same = receiver.returncode == 0 and filecmp.cmp(source, target, shallow=False)
    return {**result, "verified": same}


def multifd(*arguments: str) -> dict[str, Any]:
    """Run a command and return the object that it prints."""
    done = subprocess.run(
        [MULTIFD, *arguments, "--json"], stdout=subprocess.PIPE, text=True, check=True
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


if __name__ == "__main__":
    sys.exit(main())
