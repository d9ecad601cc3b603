"""A real migration is recorded on its way, and replayed to another real QEMU."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from codecs_core.gateway.extract import extract
from codecs_core.gateway.recording import Recording
from tests.conftest import Recorded, _recordings
from tests.e2e.conftest import MEMORY, MULTIFD, QEMU

if TYPE_CHECKING:
    from tests.e2e.conftest import Machine

    Start = Callable[..., Machine]


class Run:
    """A ``multifd`` command at work."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [MULTIFD, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout and self.process.stderr
        self.stdout, self.stderr = self.process.stdout, self.process.stderr

    def result(self) -> Any:
        output, errors = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, errors
        return json.loads(output)


def machines() -> set[str]:
    """The machine types that this QEMU knows."""
    text = subprocess.run([QEMU, "-machine", "help"], capture_output=True, text=True, check=True)
    return {line.split()[0] for line in text.stdout.splitlines() if line}


def assert_rebuilt(machine: Machine, recording: Path, place: Path) -> None:
    """The machine has in its memory what is extracted from the recording."""
    output = place / "extracted"
    extract(Recording.open(recording), "pc.ram", output, allow_unsent=True, force=True)
    rebuilt = output.read_bytes()
    assert len(rebuilt) == MEMORY
    # ROMs lie over the block between 640 KiB and 1 MiB.
    for name, start, end in (("low", 0, 0xA0000), ("high", 1 << 20, MEMORY)):
        machine.run("pmemsave", val=start, size=end - start, filename=str(place / name))
        assert hashlib.sha256((place / name).read_bytes()).digest() == (
            hashlib.sha256(rebuilt[start:end]).digest()
        )


@pytest.mark.parametrize(("codec", "method"), [("none", "zstd"), ("zstd", "none")])
def test_recorded_and_replayed(machine: Start, tmp_path: Path, codec: str, method: str) -> None:
    source = machine("source")
    destination = machine("destination", "-incoming", "defer")
    for each in (source, destination):
        each.set_up(2, method)
    onward, listening = f"unix:{tmp_path}/in", f"unix:{tmp_path}/out"
    destination.run("migrate-incoming", uri=onward)
    place = tmp_path / "recording"
    recorder = Run(
        "record", "--json", "--listen", listening, "--connect", onward,
        "--multifd-compression", codec, str(place),
    )  # fmt: skip
    assert recorder.stderr.readline().startswith("listening on ")
    source.wait_for_rounds()
    source.run("migrate", uri=listening)
    source.wait("completed")
    recorded = recorder.result()
    assert recorded["channels"] == 2
    counter = destination.wait_for_rounds()

    again = machine("again", "-incoming", "defer", "-S")
    again.set_up(2, method)
    again.run("migrate-incoming", uri=f"unix:{tmp_path}/again")
    played = Run("replay", "--json", str(place), f"unix:{tmp_path}/again").result()
    assert played["arrived"] is True
    assert played["sent_bytes"] == recorded["passed_bytes"]
    # It stands where the recorded guest stood when it moved, with the memory of the recording.
    assert 3 <= again.counter() <= counter
    assert not again.running()
    assert_rebuilt(again, place, tmp_path)
    again.run("cont")
    again.wait_for_rounds()


def test_a_cancelled_migration_is_no_recording(machine: Start, tmp_path: Path) -> None:
    source = machine("source")
    destination = machine("destination", "-incoming", "defer")
    for each in (source, destination):
        each.set_up(2)
    destination.run("migrate-incoming", uri=f"unix:{tmp_path}/in")
    place = tmp_path / "recording"
    recorder = Run(
        "record", "--listen", f"unix:{tmp_path}/out", "--connect", f"unix:{tmp_path}/in", str(place)
    )
    assert recorder.stderr.readline().startswith("listening on ")
    source.wait_for_rounds()
    slow = {"max-bandwidth": 100_000, "downtime-limit": 1}
    source.run("migrate-set-parameters", **slow)
    source.run("migrate", uri=f"unix:{tmp_path}/out")
    source.wait("active")
    source.run("migrate_cancel")
    source.wait("cancelled")
    # A destination of 7.2 may wait for ever for the SYNC of a channel that is gone.
    destination.close()
    _, errors = recorder.process.communicate(timeout=30)
    assert recorder.process.returncode == 1
    assert "Traceback" not in errors
    assert [each.name for each in tmp_path.iterdir() if "recording" in each.name] == []
    source.wait_for_rounds()


def playable() -> list[Recorded]:
    known = machines()
    found = []
    for each in _recordings():
        configuration = Recording.open(each.path).configuration
        assert configuration is not None
        if configuration.machine in known and not each.meta["mapped_ram"]:
            found.append(each)
    return found


def test_recordings_of_other_hosts(machine: Start, tmp_path: Path) -> None:
    """Every recording whose machine this QEMU has: the memory is what was recorded."""
    chosen = playable()
    assert chosen, "this QEMU has the machine of none of the recordings"
    for number, each in enumerate(chosen):
        meta = each.meta
        again = machine(
            f"again{number}", *meta["machine_arguments"], "-incoming", "defer", "-S", bare=True
        )
        again.set_up(meta["channels"], meta["compression"])
        again.run("migrate-incoming", uri=f"unix:{tmp_path}/again{number}")
        Run("replay", "--json", str(each.path), f"unix:{tmp_path}/again{number}").result()
        again.wait("completed")
        assert_rebuilt(again, each.path, tmp_path)
        again.close()
