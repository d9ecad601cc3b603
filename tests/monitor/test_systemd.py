"""What systemd is told, at a socket as it makes them."""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from codecs_core.monitor.systemd import Service


class Manager:
    """Listens as systemd does."""

    def __init__(self, name: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.settimeout(10)
        self.sock.bind("\0" + name[1:] if name.startswith("@") else name)
        self.environment = {"NOTIFY_SOCKET": name}

    def hear(self) -> dict[str, str]:
        """The next datagram."""
        lines = self.sock.recv(4096).decode().splitlines()
        return dict(line.split("=", 1) for line in lines)


@pytest.fixture(params=["a path", "an abstract name"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    abstract = f"@multifd-{uuid.uuid4()}"
    made = Manager(abstract if request.param == "an abstract name" else str(tmp_path / "notify"))
    with made.sock:
        yield made


def service(manager: Manager, alive: bool = True, **more: str) -> Service:
    return Service(lambda: "2 under way", lambda: alive, manager.environment | more)


def test_from_ready_to_stopping(manager: Manager) -> None:
    with service(manager) as told:
        told.ready()
        told.ready()
        assert manager.hear() == {"READY": "1", "STATUS": "2 under way"}
    assert manager.hear() == {"STOPPING": "1", "STATUS": "2 under way"}


def test_what_was_done_in_the_end(manager: Manager) -> None:
    """``systemctl status`` goes on to show the last word of a service that is no more."""
    lines = iter(["1 under way", "1 completed"])
    with Service(lambda: next(lines), lambda: True, manager.environment) as told:
        told.ready()
        assert manager.hear() == {"READY": "1", "STATUS": "1 under way"}
    assert manager.hear() == {"STOPPING": "1", "STATUS": "1 completed"}


def test_a_status_that_cannot_be_had_keeps_nobody_from_beginning(manager: Manager) -> None:
    def status() -> str:
        raise RuntimeError("a defect in a plugin")

    with Service(status, lambda: True, manager.environment) as told:
        told.ready()
        assert manager.hear() == {"READY": "1"}
    assert manager.hear() == {"STOPPING": "1"}


def test_signs_of_life(manager: Manager) -> None:
    due = {"WATCHDOG_USEC": "60000", "WATCHDOG_PID": str(os.getpid())}
    with service(manager, **due) as told:
        assert told.every == 0.02
        told.ready()
        manager.hear()
        for _ in range(3):
            assert manager.hear() == {"STATUS": "2 under way", "WATCHDOG": "1"}


def test_no_sign_of_life_without_life(manager: Manager) -> None:
    with service(manager, False, WATCHDOG_USEC="60000") as told:
        told.ready()
        manager.hear()
        assert manager.hear() == {"STATUS": "2 under way"}


def test_a_status_that_cannot_be_had_is_no_sign_of_life(manager: Manager) -> None:
    answers = iter(["ready", None, None, "again"])

    def status() -> str:
        answer = next(answers, "again")
        if answer is None:
            raise RuntimeError("a defect in a plugin")
        return answer

    with Service(status, lambda: True, manager.environment | {"WATCHDOG_USEC": "60000"}) as told:
        told.ready()
        assert manager.hear() == {"READY": "1", "STATUS": "ready"}
        assert manager.hear() == {"STATUS": "again", "WATCHDOG": "1"}


@pytest.mark.parametrize(
    "due", [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "-6"}]
)
def test_no_watchdog(manager: Manager, due: dict[str, str]) -> None:
    assert service(manager, **due).every == 5.0


def test_the_watchdog_of_another_process(manager: Manager) -> None:
    assert service(manager, WATCHDOG_USEC="60000", WATCHDOG_PID="1").every == 5.0


def test_without_systemd_there_is_nothing() -> None:
    threads = threading.active_count()
    with Service(lambda: "", lambda: True, {}) as told:
        told.ready()
        assert threading.active_count() == threads
        told.stopping()


def test_a_manager_that_has_gone_is_no_failure(tmp_path: Path) -> None:
    with Service(lambda: "", lambda: True, {"NOTIFY_SOCKET": str(tmp_path / "gone")}) as told:
        told.ready()
        told.stopping()
