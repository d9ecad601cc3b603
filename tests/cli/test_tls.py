"""``--tls-creds``, ``--insecure`` and ``multifd test-ca``, as a user meets them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Result

    Multifd = Callable[..., Result]

MULTIFD = str(Path(sys.executable).with_name("multifd"))


def test_a_transfer_from_nothing(multifd: Multifd, tmp_path: Path) -> None:
    pki, data = tmp_path / "pki", tmp_path / "data"
    data.write_bytes(b"secret " * 1000)
    made = multifd("test-ca", str(pki), "--client-name", "alice")
    assert made.status == 0
    assert "the client is alice; valid for 30 days" in made.out
    assert {each.stat().st_mode & 0o777 for each in pki.iterdir()} == {0o600}
    assert pki.stat().st_mode & 0o777 == 0o700
    receiver = subprocess.Popen(
        [
            *(MULTIFD, "recv", "--tls-creds", str(pki), "--tls-authz", "alice"),
            *("tcp:127.0.0.1:0", str(tmp_path / "copy")),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    with receiver:
        assert receiver.stderr is not None
        address = receiver.stderr.readline().split()[-1]
        refused = multifd("send", str(data), address)
        assert refused.status == 1
        assert refused.err == (
            f"multifd: error: {address} asks for TLS; remedy: --tls-creds here, too\n"
        )
        assert re.fullmatch(
            r"refused: tcp:127.0.0.1:\d+: the peer does not speak TLS; "
            r"remedy: --tls-creds there, too\n",
            receiver.stderr.readline(),
        )
        assert multifd("send", "--tls-creds", str(pki), str(data), address).status == 0
    assert receiver.returncode == 0
    assert (tmp_path / "copy").read_bytes() == data.read_bytes()


def test_tls_at_the_sender_alone(multifd: Multifd, pki: Path, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"secret")
    with subprocess.Popen(
        [MULTIFD, "recv", "tcp:127.0.0.1:0", str(tmp_path / "copy")],
        stderr=subprocess.PIPE,
        text=True,
    ) as receiver:
        assert receiver.stderr is not None
        address = receiver.stderr.readline().split()[-1]
        sent = multifd("send", "--tls-creds", str(pki), str(tmp_path / "data"), address)
        said = receiver.stderr.read()
    assert (sent.status, sent.err) == (
        1,
        f"multifd: error: {address}: the peer does not speak TLS; remedy: --tls-creds there, too\n",
    )
    assert receiver.returncode == 1
    assert re.fullmatch(
        r"multifd: error: tcp:127.0.0.1:\d+ begins with TLS, which is not asked for here; "
        r"remedy: --tls-creds at both ends, or at none\n",
        said,
    )


def test_test_ca_needs_nothing_that_only_tests_have(tmp_path: Path) -> None:
    """A plain install has neither pytest nor hypothesis."""
    program = (
        "import sys; sys.modules.update(pytest=None, hypothesis=None)\n"
        "from codecs_core.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "test-ca", str(tmp_path / "pki")],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_test_ca_overwrites_nothing(multifd: Multifd, pki: Path) -> None:
    again = multifd("test-ca", str(pki))
    assert again.status == 2
    assert "exists; remedy: another directory" in again.err


@pytest.mark.parametrize("name", ["a,b", "", "x" * 65, 'a"b'])
def test_test_ca_refuses_what_is_no_name(multifd: Multifd, tmp_path: Path, name: str) -> None:
    result = multifd("test-ca", str(tmp_path / "pki"), "--client-name", name)
    assert result.status == 2
    assert "is no name for a certificate" in result.err


def test_test_ca_without_openssl(
    multifd: Multifd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = multifd("test-ca", str(tmp_path / "pki"))
    assert result.status == 2
    assert "remedy: apt install openssl" in result.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("recv", "tcp:0.0.0.0:0", "x"), "remedy: --tls-creds DIR (tls=...), or --insecure"),
        (("recv", "tcp::0", "x", "--tls-authz", "a"), "--tls-authz needs --tls-creds DIR"),
        (("send", "x", "tcp:h:1", "--tls-hostname", "a"), "--tls-hostname needs --tls-creds DIR"),
        (("send", "x", "tcp:h:1", "--tls-creds", "absent"), "absent has no ca-cert.pem"),
        (("recv", "tcp::0", "x", "--tls-creds", "absent"), "absent has no ca-cert.pem"),
        (("send", "x", "tcp:h:1", "--insecure"), "No such option"),
        (
            ("relay", "egress", "--listen", "tcp::0", "--connect", "tcp:h:1"),
            "remedy: unix:PATH or tcp:127.0.0.1:PORT, beside the QEMU",
        ),
        (("relay", "ingress", "--listen", "tcp::0", "--connect", "tcp:h:1"), "or --insecure"),
        (("record", "x", "--listen", "tcp::0", "--connect", "tcp:h:1"), "or --insecure"),
    ],
)
def test_wrong_use(
    multifd: Multifd,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = multifd(*arguments)
    assert (result.status, result.out) == (2, "")
    assert said in result.err
    assert "Traceback" not in result.err


def test_unix_needs_a_name(multifd: Multifd, pki: Path, tmp_path: Path) -> None:
    result = multifd("send", "x", f"unix:{tmp_path}/s", "--tls-creds", str(pki))
    assert result.status == 2
    assert "remedy: --tls-hostname NAME" in result.err
