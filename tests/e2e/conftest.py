"""Real QEMUs with a small guest of our own, and relays between them."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from qemu.qmp.legacy import QEMUMonitorProtocol

HERE = Path(__file__).parent
QEMU = "qemu-system-x86_64"
MULTIFD = str(Path(sys.executable).with_name("multifd"))
MEMORY = 32 << 20
COUNTER = 0x500


@pytest.fixture(scope="session")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The guest's boot sector."""
    place = tmp_path_factory.mktemp("guest")
    sector = place / "guest.bin"
    subprocess.run(["as", "--32", "-o", place / "guest.o", HERE / "guest.S"], check=True)
    link = ["ld", "-m", "elf_i386", "-Ttext=0x7c00", "--oformat=binary", "-e", "_start"]
    subprocess.run([*link, "-o", sector, place / "guest.o"], check=True)
    assert sector.stat().st_size == 512
    return sector


class Machine:
    """A QEMU under emulation, with its monitor."""

    def __init__(self, place: Path, name: str, disk: Path | None, *arguments: str) -> None:
        self.place = place
        self.name = name
        path = str(place / f"{name}.qmp")
        self.monitor = QEMUMonitorProtocol(path, server=True)
        guest = (
            "-machine", "pc,accel=tcg", "-m", "32M", "-display", "none", "-nodefaults",
            "-no-user-config", "-drive", f"file={disk},format=raw,if=floppy,readonly=on",
            "-boot", "a",
        ) if disk else ()  # fmt: skip
        self.process = subprocess.Popen(
            [QEMU, *guest, "-qmp", f"unix:{path}", *arguments], stdin=subprocess.DEVNULL
        )
        self.monitor.accept(timeout=20)

    def run(self, command: str, **arguments: Any) -> Any:
        return self.monitor.cmd(command, **arguments)

    def set_up(self, channels: int, compression: str = "none") -> None:
        # With a return path the source waits for the destination's word before it gives up.
        names = ("multifd", "return-path", "events")
        self.run(
            "migrate-set-capabilities",
            capabilities=[{"capability": each, "state": True} for each in names],
        )
        self.run(
            "migrate-set-parameters",
            **{
                "multifd-channels": channels,
                "multifd-compression": compression,
                "max-bandwidth": 1 << 40,
            },
        )

    def status(self) -> str:
        return str(self.run("query-migrate").get("status", "none"))

    def wait(self, *wanted: str, seconds: float = 30) -> str:
        """Wait for the migration to be in one of these states."""
        give_up = time.monotonic() + seconds
        while (status := self.status()) not in wanted and time.monotonic() < give_up:
            time.sleep(0.02)
        assert status in wanted, self.run("query-migrate")
        return status

    def wait_for_rounds(self, count: int = 3) -> int:
        """Wait until the guest's counter has gone on by ``count``, and return it."""
        first = self.counter()
        give_up = time.monotonic() + 20
        while (counter := self.counter()) < first + count:
            assert time.monotonic() < give_up, "the guest does not run"
            time.sleep(0.05)
        return counter

    def running(self) -> bool:
        return bool(self.run("query-status")["running"])

    def counter(self) -> int:
        line = self.run("human-monitor-command", **{"command-line": f"xp /1wx {COUNTER:#x}"})
        return int(line.split(":")[1], 16)

    def memory(self) -> str:
        """The SHA-256 of the guest's memory."""
        path = self.place / f"{self.name}.ram"
        self.run("pmemsave", val=0, size=MEMORY, filename=str(path))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        path.unlink()
        return digest

    def runs_no_guest(self) -> bool:
        """Whether it has ended, or stands still, within ten seconds.

        A destination whose migration has broken off ends; one of 7.2 may also wait for ever for
        the SYNC of a channel that is gone. Its monitor does not answer then, but a guest at work
        would show: under emulation it takes a whole CPU.
        """
        give_up = time.monotonic() + 10
        while time.monotonic() < give_up:
            before = self._cpu_ticks()
            time.sleep(0.5)
            after = self._cpu_ticks()
            if self.process.poll() is not None or after - before < 10:
                return True
        return False

    def _cpu_ticks(self) -> int:
        """What the process has used, in hundredths of a second."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0
        return int(fields[11]) + int(fields[12])

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        with suppress(Exception):
            self.monitor.close()


@pytest.fixture
def machine(tmp_path: Path, disk: Path) -> Iterator[Callable[..., Machine]]:
    """Start a QEMU: ``machine("source")``; a ``bare`` one is what its arguments say."""
    assert shutil.which(QEMU), f"{QEMU} is missing; remedy: apt-get install qemu-system-x86"
    with ExitStack() as stack:

        def start(name: str, *arguments: str, bare: bool = False) -> Machine:
            made = Machine(tmp_path, name, None if bare else disk, *arguments)
            stack.callback(made.close)
            return made

        yield start


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start ``multifd relay``, and wait until it listens."""
    with ExitStack() as stack:

        def start(*arguments: str) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [MULTIFD, "relay", *arguments], stderr=subprocess.PIPE, text=True
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            assert process.stderr is not None
            assert process.stderr.readline().startswith("listening on ")
            return process

        yield start
