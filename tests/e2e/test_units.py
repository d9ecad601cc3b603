"""The systemd units of the documentation: their commands serve the socket they are given."""

from __future__ import annotations

import configparser
import os
import shlex
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import MULTIFD

UNITS = Path(__file__).parents[2] / "docs/systemd"


def setting(unit: str, section: str, name: str) -> str:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(UNITS / unit)
    return parser[section][name]


@pytest.mark.parametrize("side", ["egress", "ingress"])
def test_a_unit_serves_its_socket(side: str, tmp_path: Path) -> None:
    subprocess.run([MULTIFD, "test-ca", str(tmp_path / "pki")], check=True, capture_output=True)
    start = setting(f"multifd-{side}.service", "Service", "ExecStart")
    program, *arguments = shlex.split(start.replace("%d", str(tmp_path / "pki")))
    assert Path(program).name == "multifd"
    assert setting(f"multifd-{side}.service", "Service", "Type") == "notify"
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
    ):
        # systemd passes its first socket as descriptor 3.
        shell = f'exec "$@" 3<&{listening.fileno()}'
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        told = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "300000"}
        relay = subprocess.Popen(
            ["bash", "-c", shell, "relay", MULTIFD, *arguments],
            pass_fds=[listening.fileno()],
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | told,
        )
        try:
            assert relay.stderr is not None
            assert relay.stderr.readline() == "listening on fd:3\n"
            assert manager.recv(4096).startswith(b"READY=1\nSTATUS=0 under way, ")
            while not manager.recv(4096).endswith(b"\nWATCHDOG=1"):
                pass
            with socket.create_connection(listening.getsockname()[:2]) as stranger:
                stranger.settimeout(20)
                stranger.sendall(b"GET / HTTP/1.0\r\n" + bytes(64))
                # It is no migration: it is taken in, and let go; under TLS with an alert.
                while stranger.recv(100):
                    pass
            relay.send_signal(signal.SIGTERM)
            while not manager.recv(4096).startswith(b"STOPPING=1\nSTATUS=0 under way, "):
                pass
            assert relay.wait(20) == 0
        finally:
            relay.kill()
            relay.communicate()


def test_only_the_other_relay_reaches_the_port() -> None:
    """Connections are held to the addresses of the unit that made the socket."""
    for name in ("IPAddressDeny", "IPAddressAllow"):
        of_socket = setting("multifd-ingress.socket", "Socket", name)
        assert of_socket == setting("multifd-ingress.service", "Service", name)


def test_the_destination_may_make_its_socket() -> None:
    """In a directory that is there before QEMU is, and belongs to its user."""
    command = shlex.split(setting("multifd-ingress.service", "Service", "ExecStart"))
    place = Path(command[command.index("--connect") + 1].removeprefix("unix:")).parent
    kind, made, _, owner, _ = (UNITS / "multifd.conf").read_text().splitlines()[-1].split()
    assert (kind, made) == ("d", str(place))
    assert owner == setting("multifd-ingress.service", "Service", "User")
