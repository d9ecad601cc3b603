"""A guest moves from QEMU to QEMU through both relays, and is alive on exactly one side."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Machine

    Start = Callable[..., Machine]
    Relays = Callable[..., subprocess.Popen[str]]


class Move:
    """A source with its guest at work, a destination, and the relays between them."""

    def __init__(
        self, machine: Start, relay: Relays, place: Path, codec: str, channels: int, method: str
    ) -> None:
        self.source = machine("source")
        self.destination = machine("destination", "-incoming", "defer")
        for each in (self.source, self.destination):
            each.set_up(channels, method)
        onward, between, start = (f"unix:{place}/{name}" for name in ("in", "link", "out"))
        self.onward = onward
        self.destination.run("migrate-incoming", uri=onward)
        patience = ("--timeout", "3")
        self.ingress = relay("ingress", "--listen", between, "--connect", onward, *patience)
        compression = ("--multifd-compression", codec)
        self.egress = relay(
            "egress",
            "--listen",
            start,
            "--connect",
            between,
            *compression,
            *patience,
            "--retry-for",
            "2",
        )
        self.uri = start
        give_up = time.monotonic() + 20
        while self.source.counter() < 3:
            assert time.monotonic() < give_up, "the guest does not run"
            time.sleep(0.05)

    def begin(self) -> None:
        self.source.run("migrate", uri=self.uri)

    def begin_endless(self) -> None:
        """Begin a migration in which the guest dirties pages faster than they may be sent."""
        slow = {"max-bandwidth": 100_000, "downtime-limit": 1}
        self.source.run("migrate-set-parameters", **slow)
        self.begin()
        self.source.wait("active")
        time.sleep(0.5)


@pytest.fixture
def move(machine: Start, relay: Relays, tmp_path: Path) -> Callable[..., Move]:
    def make(codec: str = "zstd", channels: int = 2, method: str = "none") -> Move:
        return Move(machine, relay, tmp_path, codec, channels, method)

    return make


@pytest.mark.parametrize(
    ("codec", "channels", "method"),
    [
        ("none", 1, "none"),
        ("lz4", 2, "none"),
        ("zlib", 4, "none"),
        ("zstd", 8, "none"),
        ("qatzip", 2, "none"),
        ("qpl", 2, "none"),
        ("zstd", 2, "zlib"),
        ("none", 2, "zstd"),
    ],
)
def test_the_memory_arrives(
    move: Callable[..., Move], codec: str, channels: int, method: str
) -> None:
    moving = move(codec, channels, method)
    moving.source.run("stop")
    before, counter = moving.source.memory(), moving.source.counter()
    moving.begin()
    moving.source.wait("completed")
    moving.destination.wait("completed")
    assert moving.destination.memory() == before
    assert moving.destination.counter() == counter
    moving.destination.run("cont")
    give_up = time.monotonic() + 20
    while moving.destination.counter() == counter and time.monotonic() < give_up:
        time.sleep(0.05)
    assert moving.destination.counter() > counter


def test_a_guest_at_work_goes_on(move: Callable[..., Move]) -> None:
    moving = move()
    counter = moving.source.counter()
    moving.begin()
    moving.source.wait("completed")
    moving.destination.wait("completed")
    assert moving.destination.running()
    assert not moving.source.running()
    arrived = moving.destination.counter()
    assert arrived >= counter
    time.sleep(0.5)
    assert moving.destination.counter() > arrived


@pytest.mark.parametrize("loss", ["ingress", "egress", "link", "destination", "cancelled"])
def test_what_is_lost_leaves_the_guest_at_the_source(move: Callable[..., Move], loss: str) -> None:
    moving = move()
    moving.begin_endless()
    if loss == "link":
        # As a cut link: the other side is silent, and nothing says why.
        moving.ingress.send_signal(signal.SIGSTOP)
    elif loss == "cancelled":
        moving.source.run("migrate_cancel")
    elif loss == "destination":
        moving.destination.process.kill()
    else:
        getattr(moving, loss).kill()
    moving.source.wait("failed", "cancelled")
    assert moving.source.running()
    counter = moving.source.counter()
    time.sleep(0.5)
    assert moving.source.counter() > counter
    if loss == "link":
        moving.ingress.send_signal(signal.SIGCONT)
    assert moving.destination.runs_no_guest()


def test_a_source_that_is_lost_starts_no_second_guest(move: Callable[..., Move]) -> None:
    moving = move()
    moving.begin_endless()
    moving.source.process.kill()
    assert moving.destination.runs_no_guest()
    for each in (moving.egress, moving.ingress):
        assert each.poll() is None


def test_the_relays_serve_the_next_migration(move: Callable[..., Move], machine: Start) -> None:
    """After one that broke off: cancelled, then done again to a new destination."""
    moving = move()
    moving.begin_endless()
    moving.source.run("migrate_cancel")
    moving.source.wait("cancelled")
    assert moving.destination.runs_no_guest()
    again = machine("again", "-incoming", "defer")
    again.set_up(2)
    again.run("migrate-incoming", uri=moving.onward)
    moving.source.run("migrate-set-parameters", **{"max-bandwidth": 1 << 40, "downtime-limit": 300})
    moving.begin()
    moving.source.wait("completed")
    again.wait("completed")
    counter = again.counter()
    time.sleep(0.5)
    assert again.counter() > counter
