"""A guest moves from QEMU to QEMU through both relays, and is alive on exactly one side."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.proxy import Proxy

if TYPE_CHECKING:
    from tests.e2e.conftest import Machine

    Start = Callable[..., Machine]
    Relays = Callable[..., subprocess.Popen[str]]


class Move:
    """A source with its guest at work, a destination, and the relays between them.

    ``by`` is where the egress connects, if not at the ingress itself.
    """

    def __init__(
        self,
        machine: Start,
        relay: Relays,
        place: Path,
        codec: str,
        channels: int,
        method: str,
        *,
        retry_for: int = 2,
        by: str | None = None,
        tls: Path | None = None,
    ) -> None:
        self.source = machine("source")
        self.destination = machine("destination", "-incoming", "defer")
        for each in (self.source, self.destination):
            each.set_up(channels, method)
        self.onward, between, self.uri = (f"unix:{place}/{name}" for name in ("in", "link", "out"))
        self.destination.run("migrate-incoming", uri=self.onward)
        patience = ("--timeout", "3")
        creds = () if tls is None else ("--tls-creds", str(tls))
        self.ingress = relay(
            "ingress", "--listen", between, "--connect", self.onward, *patience, *creds
        )
        self.egress = relay(
            *("egress", "--listen", self.uri, "--connect", by or between),
            *("--multifd-compression", codec, "--retry-for", str(retry_for)),
            *(*patience, *creds, *(creds and ("--tls-hostname", "localhost"))),
        )
        self.source.wait_for_rounds()

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
    def make(codec: str = "zstd", channels: int = 2, method: str = "none", **how: Any) -> Move:
        return Move(machine, relay, tmp_path, codec, channels, method, **how)

    return make


@pytest.fixture
def way(tmp_path: Path) -> Iterator[Proxy]:
    """The network between the relays, which a test can cut."""
    with Proxy(f"unix:{tmp_path}/way", f"unix:{tmp_path}/link") as proxy:
        yield proxy


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
    moving.destination.wait_for_rounds()


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
    moving.destination.wait_for_rounds()


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
    moving.source.wait_for_rounds()
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
    again.wait_for_rounds()


def lift(source: Machine) -> None:
    """Let an endless migration end."""
    source.run("migrate-set-parameters", **{"max-bandwidth": 1 << 40, "downtime-limit": 300})


def cut(way: Proxy) -> int:
    """Lose all connections between the relays, in the middle of a round; return how many."""
    give_up = time.monotonic() + 20
    before = sum(way.passed.values())
    while sum(way.passed.values()) == before:
        assert time.monotonic() < give_up, "nothing passes"
        time.sleep(0.01)
    led = len({number for number, _ in way.passed})
    for number in range(led):
        way.cut(number)
    return led


@pytest.mark.parametrize("protected", [False, True])
def test_a_link_that_is_cut_is_made_again(
    move: Callable[..., Move], way: Proxy, pki: Path, protected: bool
) -> None:
    """In the middle of a round: both QEMUs notice nothing, and the memory arrives."""
    moving = move(retry_for=20, by=way.address, tls=pki if protected else None)
    moving.begin_endless()
    led = cut(way)
    moving.source.run("stop")
    before, counter = moving.source.memory(), moving.source.counter()
    lift(moving.source)
    moving.source.wait("completed")
    moving.destination.wait("completed")
    assert moving.destination.memory() == before
    assert moving.destination.counter() == counter
    assert led == 3
    # One that comes before the other end knows of the loss is sent away, and comes again.
    assert len({number for number, _ in way.passed}) >= 2 * led
    for each in (moving.egress, moving.ingress):
        assert each.stderr is not None
        assert " passed in " in each.stderr.readline()


def test_a_link_that_stays_away_leaves_the_guest_at_the_source(
    move: Callable[..., Move], way: Proxy, tmp_path: Path
) -> None:
    """The time is over: both relays say so, and both QEMUs are told."""
    moving = move(retry_for=1, by=way.address)
    moving.begin_endless()
    (tmp_path / "link").rename(tmp_path / "away")
    cut(way)
    moving.source.wait("failed")
    for each, why in ((moving.egress, "no other could be made: "), (moving.ingress, "in 1 s")):
        assert each.stderr is not None
        line = each.stderr.readline()
        assert line.startswith("migration from "), line
        assert why in line
    assert moving.source.running()
    moving.source.wait_for_rounds()
    assert moving.destination.runs_no_guest()
