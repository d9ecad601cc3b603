"""A QEMU's monitor, and what stands where one should be."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from codecs_core import LinkError, LinkTimeout, TransferError, UsageError
from codecs_core.gateway.monitor import Monitor

Answer = Callable[[str], dict[str, object] | None]


class FakeQemu:
    """Speaks QMP; ``answer`` gives what it returns for a command, ``None`` ends it."""

    def __init__(self, path: Path, version: tuple[int, int, int], answer: Answer) -> None:
        self.path = str(path)
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(self.path)
        self.server.listen()
        self.version = dict(zip(("major", "minor", "micro"), version, strict=True))
        self.answer = answer
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            connection, _ = self.server.accept()
            with connection, connection.makefile("w") as file:
                version = {"qemu": self.version, "package": ""}
                greeting = {"QMP": {"version": version, "capabilities": []}}
                print(json.dumps(greeting), file=file, flush=True)
                text = ""
                while data := connection.recv(4096):
                    # Requests come without a newline, one at a time.
                    text += data.decode()
                    try:
                        request, text = json.loads(text), ""
                    except ValueError:
                        continue
                    name = request["execute"]
                    if name == "qmp_capabilities":
                        reply: dict[str, object] | None = {"return": {}}
                    elif name == "query-version":
                        reply = {"return": version}
                    else:
                        reply = self.answer(name)
                    if reply is None:
                        return
                    known = {"id": request["id"]} if "id" in request else {}
                    print(json.dumps(reply | known), file=file, flush=True)

    def close(self) -> None:
        with suppress(OSError):
            self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()
        self.thread.join()


@pytest.fixture
def qemu(tmp_path: Path) -> Iterator[Callable[..., FakeQemu]]:
    threads = threading.active_count()
    made: list[FakeQemu] = []

    def start(
        version: tuple[int, int, int] = (7, 2, 0), answer: Answer = lambda name: {"return": {}}
    ) -> FakeQemu:
        made.append(FakeQemu(tmp_path / "qmp", version, answer))
        return made[-1]

    yield start
    for each in made:
        each.close()
    assert threading.active_count() == threads


def test_commands(qemu: Callable[..., FakeQemu]) -> None:
    with Monitor(qemu((9, 1, 2), lambda name: {"return": {"name": name}}).path) as monitor:
        assert monitor.run("query-status") == {"name": "query-status"}
        assert monitor.version == (9, 1, 2)
        assert monitor.name == "9.1.2"
        assert monitor.user == os.geteuid()


def test_what_qemu_refuses(qemu: Callable[..., FakeQemu]) -> None:
    error: dict[str, object] = {"error": {"class": "GenericError", "desc": "not today"}}
    with (
        Monitor(qemu(answer=lambda name: error).path) as monitor,
        pytest.raises(TransferError, match="QEMU refuses migrate: not today"),
    ):
        monitor.run("migrate", uri="tcp:")


def test_one_that_is_too_old(qemu: Callable[..., FakeQemu]) -> None:
    with pytest.raises(UsageError, match=r"QEMU 6\.2\.1; migrations of 7\.2"):
        Monitor(qemu((6, 2, 1)).path)


def test_one_that_ends(qemu: Callable[..., FakeQemu]) -> None:
    with (
        Monitor(qemu(answer=lambda name: None).path) as monitor,
        pytest.raises(LinkError, match="QEMU has ended"),
    ):
        monitor.run("query-status")


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(LinkError, match="nowhere: No such file"):
        Monitor(str(tmp_path / "nowhere"))


def test_a_monitor_that_another_holds(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "qmp"))
        server.listen()
        threads = threading.active_count()
        with pytest.raises(LinkTimeout, match="another client may hold it"):
            Monitor(str(tmp_path / "qmp"), timeout=0.3)
        assert threading.active_count() == threads
