"""``multifd migrate`` and ``multifd accept``: the whole job, by the monitors of real QEMUs."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from codecs_core import LinkTimeout
from codecs_core.gateway.monitor import Monitor
from tests.e2e.conftest import MULTIFD

if TYPE_CHECKING:
    from tests.e2e.conftest import Machine

    Start = Callable[..., Machine]


class Command:
    """A ``multifd`` command at work."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [MULTIFD, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def heard(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.readline()

    def end(self, status: int) -> tuple[str, str]:
        output, errors = self.process.communicate(timeout=60)
        assert self.process.returncode == status, errors
        for line in errors.splitlines():
            assert line.startswith(("multifd: ", "the guest ", "listening ")), errors
        return output, errors


class Hosts:
    """A source with its guest at work, a destination that waits, and their monitors."""

    def __init__(self, machine: Start, place: Path) -> None:
        self.place = place
        self.source = machine("source", "-qmp", f"unix:{place}/source,server=on,wait=off")
        self.destination = machine(
            "destination", "-incoming", "defer",
            "-qmp", f"unix:{place}/destination,server=on,wait=off",
        )  # fmt: skip
        self.before = self.source.run("query-migrate-parameters")
        self.source.wait_for_rounds()

    def accept(self, *arguments: str) -> tuple[Command, str]:
        """Start it, and return it with its address."""
        command = Command(
            "accept", "--json", "--qmp", f"{self.place}/destination", "--timeout", "3",
            "--listen", "tcp:127.0.0.1:0", *arguments,
        )  # fmt: skip
        return command, command.heard().split()[-1]

    def migrate(self, to: str, *arguments: str) -> Command:
        return Command(
            "migrate", "--json", "--qmp", f"{self.place}/source", "--timeout", "3",
            "--retry-for", "1", "--to", to, *arguments,
        )  # fmt: skip

    def under_way(self) -> tuple[Command, Command]:
        """Begin a migration in which the guest dirties pages faster than they may be sent."""
        accept, address = self.accept()
        slow = ("--max-bandwidth", "100kB/s", "--downtime-limit", "0.001")
        migrate = self.migrate(address, "--multifd-compression", "zstd", *slow)
        self.source.wait("active")
        time.sleep(0.5)
        return accept, migrate

    def assert_at_source(self, *, killed: bool = False) -> None:
        give_up = time.monotonic() + 10
        while not self.source.running() and time.monotonic() < give_up:
            time.sleep(0.05)
        self.source.wait_for_rounds()
        assert self.destination.runs_no_guest()
        self.assert_clean(killed=killed)

    def assert_clean(self, *, killed: bool = False) -> None:
        """Settings are as they were, and no socket is left, but of who was killed."""
        after = self.source.run("query-migrate-parameters")
        assert after == self.before
        states = {
            each["capability"]: each["state"]
            for each in self.source.run("query-migrate-capabilities")
        }
        assert not states["multifd"] and not states["return-path"]
        assert killed or not list(self.place.glob("multifd-*"))


@pytest.fixture
def hosts(machine: Start, tmp_path: Path) -> Hosts:
    return Hosts(machine, tmp_path)


@pytest.mark.parametrize(("codec", "channels"), [("zstd", 4), ("none", 1)])
def test_a_guest_moves(hosts: Hosts, codec: str, channels: int) -> None:
    accept, address = hosts.accept()
    counter = hosts.source.counter()
    migrate = hosts.migrate(
        address, "--multifd-compression", codec, "--multifd-channels", str(channels)
    )
    left: dict[str, Any] = json.loads(migrate.end(0)[0])
    came: dict[str, Any] = json.loads(accept.end(0)[0])
    assert hosts.destination.wait_for_rounds() > counter
    assert hosts.source.run("query-status")["status"] == "postmigrate"
    assert left["status"] == came["status"] == "completed"
    assert left["memory_bytes"] == came["memory_bytes"] > 0
    assert left["wire_bytes"] == came["wire_bytes"]
    assert (left["ratio"] > 1.5) is (codec == "zstd")
    assert left["downtime"] > 0 and left["rounds"] >= 2
    hosts.assert_clean()


def test_a_guest_moves_by_what_its_channels_choose(hosts: Hosts) -> None:
    accept, address = hosts.accept()
    migrate = hosts.migrate(address, "--multifd-compression", "auto")
    left: dict[str, Any] = json.loads(migrate.end(0)[0])
    came: dict[str, Any] = json.loads(accept.end(0)[0])
    assert left["status"] == came["status"] == "completed"
    assert left["methods"] == came["methods"]
    assert sum(left["methods"].values()) > 0
    hosts.destination.wait_for_rounds()
    hosts.assert_clean()


def test_a_migration_is_watched(hosts: Hosts) -> None:
    """By its metrics, from both sides."""
    places = [f"unix:{hosts.place}/{side}.metrics" for side in ("egress", "ingress")]
    accept, address = hosts.accept("--metrics", places[1])
    # So slow that it does not end while it is watched, even where the guest hardly gets a CPU.
    options = ("--multifd-compression", "zstd", "--max-bandwidth", "10kB/s")
    migrate = hosts.migrate(address, *options, "--downtime-limit", "0.001", "--metrics", places[0])
    hosts.source.wait("active")
    for place in places:
        give_up = time.monotonic() + 30
        while True:
            top = subprocess.run(
                [MULTIFD, "top", "--once", "--json", place], capture_output=True, text=True
            )
            # A busy machine may be too slow for one look, not for all.
            seen = [] if top.returncode else json.loads(top.stdout)["sessions"]
            if seen and seen[0]["progress"]["pages"]:
                break
            assert time.monotonic() < give_up, top.stderr
        assert seen[0]["progress"]["codec"] == "zstd"
        assert len(seen[0]["progress"]["channels"]) == 2
    migrate.process.terminate()
    migrate.end(130)
    accept.end(1)


def test_a_plain_relay_on_the_way(hosts: Hosts, relay: Callable[..., Any]) -> None:
    accept, address = hosts.accept("--multifd-channels", "3")
    start = f"unix:{hosts.place}/egress"
    relay("egress", "--listen", start, "--connect", address, "--multifd-compression", "lz4")
    hosts.source.set_up(3)
    hosts.source.run("migrate", uri=start)
    hosts.source.wait("completed")
    accept.end(0)
    hosts.destination.wait_for_rounds()


@pytest.mark.parametrize("protected", ["migrate", "accept"])
def test_tls_at_one_end_alone(hosts: Hosts, pki: Path, protected: str) -> None:
    """Each end says what is missing. The guest stays, and the other waits on for another."""
    creds = {protected: ("--tls-creds", str(pki))}
    accept, address = hosts.accept(*creds.get("accept", ()))
    _, errors = hosts.migrate(address, *creds.get("migrate", ())).end(1)
    told = accept.heard()
    assert told.startswith("refused: tcp:127.0.0.1:")
    assert "; remedy: --tls-creds " in told
    assert "; remedy: --tls-creds " in errors
    assert "the guest is at the source, running" in errors
    assert hosts.source.running()
    accept.process.send_signal(signal.SIGINT)
    accept.end(130)


def test_interrupted(hosts: Hosts) -> None:
    accept, migrate = hosts.under_way()
    migrate.process.send_signal(signal.SIGINT)
    _, errors = migrate.end(130)
    assert "the guest is at the source, running" in errors
    assert "failed" in accept.end(1)[1]
    hosts.assert_at_source()


def test_the_destinations_side_is_killed(hosts: Hosts) -> None:
    accept, migrate = hosts.under_way()
    accept.process.kill()
    accept.end(-signal.SIGKILL)
    _, errors = migrate.end(1)
    assert "the guest is at the source, running" in errors
    hosts.assert_at_source(killed=True)


def test_the_sources_side_is_killed(hosts: Hosts) -> None:
    accept, migrate = hosts.under_way()
    migrate.process.kill()
    migrate.end(-signal.SIGKILL)
    assert "no guest has arrived here" in accept.end(1)[1]
    give_up = time.monotonic() + 10
    while not hosts.source.running() and time.monotonic() < give_up:
        time.sleep(0.05)
    hosts.source.wait_for_rounds()
    assert hosts.destination.runs_no_guest()


def test_the_destination_qemu_is_killed(hosts: Hosts) -> None:
    accept, migrate = hosts.under_way()
    hosts.destination.process.kill()
    assert "the guest is at the source, running" in migrate.end(1)[1]
    accept.end(1)
    hosts.source.wait_for_rounds()


def test_nobody_listens(hosts: Hosts) -> None:
    _, errors = hosts.migrate(f"unix:{hosts.place}/nobody").end(1)
    assert "No such file or directory" in errors
    assert "the guest is at the source, running" in errors
    hosts.assert_clean()


def test_the_wrong_side(hosts: Hosts) -> None:
    arguments = ("accept", "--qmp", f"{hosts.place}/source", "--listen", "tcp:127.0.0.1:0")
    assert "start it with -incoming defer" in Command(*arguments).end(2)[1]
    arguments = ("migrate", "--qmp", f"{hosts.place}/destination", "--to", "tcp:127.0.0.1:1")
    assert "this QEMU is no source" in Command(*arguments).end(2)[1]


def test_tls_between_qemu_and_its_relay_is_refused(hosts: Hosts) -> None:
    hosts.source.run("migrate-set-parameters", **{"tls-creds": "tls0"})
    assert "tls-creds is set" in hosts.migrate("tcp:127.0.0.1:1").end(2)[1]
    hosts.source.wait_for_rounds()


def test_a_migration_under_way_is_left_alone(hosts: Hosts) -> None:
    accept, migrate = hosts.under_way()
    with pytest.raises(LinkTimeout, match="another client may hold it"):
        Monitor(f"{hosts.place}/source", timeout=0.5)
    assert hosts.source.status() == "active"
    migrate.process.send_signal(signal.SIGTERM)
    migrate.end(130)
    accept.end(1)
    hosts.assert_at_source()
