"""``multifd relay``: two processes, their messages, and how they end."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import MainStream
from tests.gateway.conftest import ChannelWriter
from tests.gateway.test_relay import Destination

if TYPE_CHECKING:
    from tests.cli.conftest import Result

    Multifd = Callable[..., Result]

MULTIFD = str(Path(sys.executable).with_name("multifd"))


@pytest.fixture
def start() -> Iterator[Callable[..., Any]]:
    with ExitStack() as stack:

        def run(*arguments: str) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [MULTIFD, "relay", *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            assert process.stderr is not None
            assert process.stderr.readline().startswith("listening on ")
            return process

        yield run


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_idle_relays_end_when_told(
    start: Callable[..., Any], tmp_path: Path, number: int, status: int
) -> None:
    for side in ("egress", "ingress"):
        process = start(
            side, "--listen", f"unix:{tmp_path}/{side}", "--connect", f"unix:{tmp_path}/on"
        )
        process.send_signal(number)
        assert process.wait(60) == status
        assert not (tmp_path / side).exists()


def test_a_signal_lets_a_migration_end(start: Callable[..., Any], tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as destination:
        destination.bind(str(tmp_path / "on"))
        destination.listen()
        link = f"unix:{tmp_path}/link"
        ingress = start("ingress", "--listen", link, "--connect", f"unix:{tmp_path}/on")
        egress = start("egress", "--listen", f"unix:{tmp_path}/in", "--connect", link)
        with socket.socket(socket.AF_UNIX) as source:
            source.connect(str(tmp_path / "in"))
            source.sendall(b"QEVM" + bytes(100))
            arrived, _ = destination.accept()
            with arrived:
                assert arrived.recv(4) == b"QEVM"
                for each in (egress, ingress):
                    each.terminate()
                time.sleep(0.5)
                assert egress.poll() is None
                assert ingress.poll() is None
                source.sendall(b"more")
                source.shutdown(socket.SHUT_WR)
                taken = b""
                while data := arrived.recv(1 << 16):
                    taken += data
                assert taken.endswith(b"more")
            assert source.recv(1) == b""
    for each in (egress, ingress):
        assert each.wait(60) == 0
        assert "passed in" in each.stderr.read()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("egress", "--connect", "tcp:h:1"), "--listen"),
        (("ingress", "--listen", "carrier pigeon", "--connect", "tcp:h:1"), "is no address"),
        (("ingress", "--listen", "exec:cat", "--connect", "tcp:h:1"), "has several"),
        (
            ("egress", "--listen", "tcp::0", "--connect", "tcp:h:1", "--multifd-compression", "x"),
            "no codec is called 'x'",
        ),
        (("egress", "--multifd-channels", "4"), "--multifd-channels"),
    ],
)
def test_wrong_use(multifd: Multifd, arguments: tuple[str, ...], said: str) -> None:
    result = multifd("relay", *arguments)
    assert result.status == 2
    assert said in result.err
    assert "Traceback" not in result.err


def test_an_egress_is_no_sender(multifd: Multifd, tmp_path: Path) -> None:
    link = f"unix:{tmp_path}/link"
    receiver = subprocess.Popen(
        [MULTIFD, "recv", link, str(tmp_path / "file")], stderr=subprocess.PIPE, text=True
    )
    with receiver:
        while not (tmp_path / "link").exists():
            time.sleep(0.02)
        egress = subprocess.Popen(
            [MULTIFD, "relay", "egress", "--listen", f"unix:{tmp_path}/in", "--connect", link],
            stderr=subprocess.PIPE,
            text=True,
        )
        with egress:
            assert egress.stderr is not None
            egress.stderr.readline()
            with socket.socket(socket.AF_UNIX) as source:
                source.connect(str(tmp_path / "in"))
                source.sendall(b"QEVM" + bytes(100))
                assert "multifd relay ingress" in egress.stderr.readline()
            egress.terminate()
        assert receiver.wait(60) == 1


def test_auto_between_two_relays(start: Callable[..., Any], tmp_path: Path) -> None:
    """The destination gets the source's packets, and both relays tell what served them."""
    link = f"unix:{tmp_path}/link"
    destination = Destination(tmp_path / "on")
    destination.expected = 2
    channels = {}
    for number in range(destination.expected):
        channel = ChannelWriter(number)
        for each in range(30):
            channel.send({each: 65 + each, each + 50: 66, 200: 0}, number=each).sync(each)
        channels[number] = bytes(channel.data)
    try:
        ingress = start("ingress", "--listen", link, "--connect", f"unix:{tmp_path}/on", "--json")
        egress = start(
            "egress", "--listen", f"unix:{tmp_path}/in", "--connect", link, "--json",
            "--multifd-compression", "auto", "--multifd-qatzip-backend", "software",
        )  # fmt: skip
        with ExitStack() as stack:
            sources = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(3)]
            for each in sources:
                each.settimeout(60)
                each.connect(str(tmp_path / "in"))
            main, *others = sources
            main.sendall(bytes(MainStream().start({"pc.ram": 1 << 20}).end().data))
            for each, data in zip(others, channels.values(), strict=True):
                each.sendall(data)
                each.shutdown(socket.SHUT_WR)
            main.shutdown(socket.SHUT_WR)
            while main.recv(1 << 16):
                pass
        for each in (egress, ingress):
            each.terminate()
        left, came = (json.loads(each.communicate(timeout=60)[0]) for each in (egress, ingress))
    finally:
        destination.close()
    assert destination.channels() == channels
    assert left["error"] is came["error"] is None
    assert left["methods"] == came["methods"]
    assert sum(left["methods"].values()) == 60


@pytest.mark.parametrize("command", ["relay egress", "migrate"])
def test_levels_are_for_auto_to_choose(multifd: Multifd, tmp_path: Path, command: str) -> None:
    (tmp_path / "qmp").touch()
    places = {
        "relay egress": ("--listen", f"unix:{tmp_path}/in", "--connect", "tcp:h:1"),
        "migrate": ("--qmp", str(tmp_path / "qmp"), "--to", "tcp:h:1"),
    }
    result = multifd(
        *command.split(), *places[command],
        "--multifd-compression", "auto", "--multifd-zstd-level", "3",
    )  # fmt: skip
    assert result.status == 2
    assert "--multifd-zstd-level is for --multifd-compression auto to choose" in result.err
    assert "Traceback" not in result.err
