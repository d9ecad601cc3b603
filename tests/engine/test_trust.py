"""Sessions under TLS: who may join, who is refused, and what each end reads."""

from __future__ import annotations

import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from codecs_core import (
    CodecsCoreError,
    LinkError,
    ProtocolError,
    Receiver,
    RemoteError,
    Sender,
    TlsCredentials,
    TlsError,
    UsageError,
)
from codecs_core.transport.address import parse
from codecs_core.transport.connect import dial
from codecs_core.transport.tls_link import client_links
from codecs_core.wire import control
from codecs_core.wire.packet import ChannelInit
from tests.engine.conftest import Running

DATA = os.urandom(4096) * 300
NAMED = "localhost"


class Waiting:
    """A receiver that waits, and what it has refused."""

    def __init__(self, uri: str, tls: TlsCredentials | None, timeout: float = 30) -> None:
        self.refused: list[str] = []
        self.memory = bytearray(len(DATA))
        self.receiver = Receiver(uri, tls=tls, timeout=timeout, on_refusal=self.refused.append)
        self.receiver.add_block("ram", self.memory)
        self.running = Running(self.receiver.receive)

    @property
    def address(self) -> str:
        return self.receiver.address

    def serve(self, tls: TlsCredentials | None, **settings: Any) -> None:
        """Show that a sender is served now."""
        send(self.address, tls, **settings)
        self.running.result()
        assert self.memory == DATA

    def close(self) -> None:
        self.receiver.close()
        self.running.wait()


@pytest.fixture
def wait() -> Iterator[Callable[..., Waiting]]:
    with ExitStack() as stack:

        def start(tls: TlsCredentials | None, uri: str = "tcp:127.0.0.1:0", **more: Any) -> Waiting:
            waiting = Waiting(uri, tls, **more)
            stack.callback(waiting.close)
            return waiting

        yield start


def send(address: str, tls: TlsCredentials | None, **settings: Any) -> None:
    with Sender(address, tls=tls, **settings) as sender:
        sender.add_block("ram", DATA)
        sender.send()
        sender.sync()


def refusal(address: str, tls: TlsCredentials | None) -> CodecsCoreError:
    """What a sender reads that is not served."""
    with pytest.raises(CodecsCoreError) as error:
        send(address, tls)
    return error.value


@pytest.mark.parametrize("codec", ["none", "zstd"])
@pytest.mark.parametrize("uri", ["tcp:127.0.0.1:0", "unix:{}/s"])
def test_a_transfer(
    wait: Callable[..., Waiting], pki: Path, tmp_path: Path, codec: str, uri: str
) -> None:
    waiting = wait(TlsCredentials(pki), uri.format(tmp_path))
    waiting.serve(TlsCredentials(pki, hostname=NAMED), codec=codec, channels=4)
    assert waiting.refused == []


def test_over_one_stream(wait: Callable[..., Waiting], pki: Path) -> None:
    """An inherited socket: the channel shares the control connection."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        waiting = wait(TlsCredentials(pki), f"fd:{theirs.fileno()}")
        with pytest.raises(UsageError, match="remedy: --tls-hostname NAME"):
            Sender(f"fd:{ours.fileno()}", tls=TlsCredentials(pki))
        with Sender(f"fd:{ours.fileno()}", tls=TlsCredentials(pki, NAMED)) as sender:
            sender.add_block("ram", DATA)
            sender.send()
        waiting.running.result()
    assert waiting.memory == DATA


def test_nothing_is_in_the_clear(pki: Path) -> None:
    """What a listener on the way sees: not the data, not the blocks' names, not the token."""
    with Receiver("tcp:127.0.0.1:0", tls=TlsCredentials(pki)) as receiver:
        receiver.add_block("a telling name", bytearray(4096))
        running = Running(receiver.receive)
        seen = bytearray()
        with socket.create_server(("127.0.0.1", 0)) as tap:
            address = parse(f"tcp:127.0.0.1:{tap.getsockname()[1]}")

            def pipe(source: socket.socket, target: socket.socket) -> None:
                while data := source.recv(1 << 16):
                    seen.extend(data)
                    target.sendall(data)
                target.shutdown(socket.SHUT_WR)

            def carry() -> None:
                for _ in range(2):
                    near, _ = tap.accept()
                    far = socket.create_connection(parse_host(receiver.address))
                    sockets.extend((near, far))
                    carriers.extend((Running(pipe, near, far), Running(pipe, far, near)))

            sockets: list[socket.socket] = []
            carriers: list[Running] = []
            carrying = Running(carry)
            with Sender(str(address), tls=TlsCredentials(pki), channels=1) as sender:
                sender.add_block("a telling name", b"telling data " * 315 + b".")
                sender.send()
            carrying.result()
            for each in carriers:
                each.wait()
            for sock in sockets:
                sock.close()
        running.result()
    assert len(seen) > 4096
    assert b"telling" not in seen
    assert control.PREAMBLE not in seen


def parse_host(uri: str) -> tuple[str, int]:
    host, port = uri.removeprefix("tcp:").rsplit(":", 1)
    return host, int(port)


class TestWhoIsRefused:
    """One clear error at each end; the receiver waits on, and serves the next."""

    def test_a_client_of_another_authority(
        self, wait: Callable[..., Waiting], pki: Path, stranger_pki: Path, tmp_path: Path
    ) -> None:
        for name in ("client-cert.pem", "client-key.pem"):
            (tmp_path / name).write_bytes((stranger_pki / name).read_bytes())
        # It believes both authorities, and is itself of the wrong one.
        both = (pki / "ca-cert.pem").read_text() + (stranger_pki / "ca-cert.pem").read_text()
        (tmp_path / "ca-cert.pem").write_text(both)
        waiting = wait(TlsCredentials(pki))
        error = refusal(waiting.address, TlsCredentials(tmp_path))
        assert "the peer refuses our certificate: " in str(error)
        assert isinstance(error, TlsError)
        waiting.serve(TlsCredentials(pki))
        (said,) = waiting.refused
        assert "tcp:127.0.0.1:" in said
        assert "the peer's certificate is refused: " in said

    def test_a_server_of_another_authority(
        self, wait: Callable[..., Waiting], pki: Path, stranger_pki: Path
    ) -> None:
        waiting = wait(TlsCredentials(pki))
        error = refusal(waiting.address, TlsCredentials(stranger_pki))
        assert isinstance(error, TlsError)
        assert "the peer's certificate is refused: " in str(error)
        waiting.serve(TlsCredentials(pki))
        (said,) = waiting.refused
        assert "the peer refuses our certificate: " in said

    def test_a_server_of_another_name(self, wait: Callable[..., Waiting], pki: Path) -> None:
        waiting = wait(TlsCredentials(pki))
        error = refusal(waiting.address, TlsCredentials(pki, "elsewhere.example"))
        assert isinstance(error, TlsError)
        assert "not valid for 'elsewhere.example'; remedy: --tls-hostname" in str(error)
        waiting.serve(TlsCredentials(pki))
        (said,) = waiting.refused
        assert "not for the name that was dialled" in said

    def test_a_client_that_is_not_listed(
        self, wait: Callable[..., Waiting], pki: Path, bob: Path
    ) -> None:
        waiting = wait(TlsCredentials(pki, authz=("alice", "carol")))
        error = refusal(waiting.address, TlsCredentials(bob))
        assert isinstance(error, RemoteError)
        assert "the client 'O=multifd test,CN=bob' is not among those let in here" in str(error)
        waiting.serve(TlsCredentials(pki))
        (said,) = waiting.refused
        assert "'O=multifd test,CN=bob' is not among those let in here" in said

    def test_a_client_without_a_certificate(self, wait: Callable[..., Waiting], pki: Path) -> None:
        waiting = wait(TlsCredentials(pki))
        with raw_client(waiting.address, pki) as client:
            with pytest.raises(ssl.SSLError, match="certificate required"):
                client.recv(1)
        waiting.serve(TlsCredentials(pki))
        (said,) = waiting.refused
        assert "the peer shows no certificate" in said

    def test_a_client_whose_certificate_has_expired(
        self, wait: Callable[..., Waiting], pki: Path, tmp_path: Path
    ) -> None:
        from codecs_core.transport.authority import issue

        for name in ("ca-cert.pem", "ca-key.pem"):
            (tmp_path / name).write_bytes((pki / name).read_bytes())
        issue(tmp_path, "client", ["alice"], days=-1)
        waiting = wait(TlsCredentials(pki))
        with raw_client(waiting.address, pki, tmp_path) as client:
            with pytest.raises(ssl.SSLError, match="certificate expired"):
                client.recv(1)
        waiting.serve(TlsCredentials(pki))
        (said,) = waiting.refused
        assert "certificate has expired" in said

    def test_a_server_whose_certificate_has_expired(self, pki: Path, tmp_path: Path) -> None:
        from codecs_core.transport.authority import issue

        for name in ("ca-cert.pem", "ca-key.pem"):
            (tmp_path / name).write_bytes((pki / name).read_bytes())
        issue(tmp_path, "server", ["127.0.0.1"], days=-1)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "server-cert.pem", tmp_path / "server-key.pem")
        with socket.create_server(("127.0.0.1", 0)) as server:

            def serve() -> None:
                sock, _ = server.accept()
                with sock:
                    context.wrap_socket(sock, server_side=True)

            serving = Running(serve)
            address = f"tcp:127.0.0.1:{server.getsockname()[1]}"
            error = refusal(address, TlsCredentials(pki))
            assert "certificate is refused: certificate has expired" in str(error)
            assert "expired" in str(serving.wait()).lower()

    def test_a_sender_in_the_clear(self, wait: Callable[..., Waiting], pki: Path) -> None:
        waiting = wait(TlsCredentials(pki))
        error = refusal(waiting.address, None)
        assert isinstance(error, ProtocolError)
        assert str(error) == f"{waiting.address} asks for TLS; remedy: --tls-creds here, too"
        waiting.serve(TlsCredentials(pki))
        (said,) = waiting.refused
        assert "the peer does not speak TLS" in said

    def test_a_receiver_in_the_clear(self, wait: Callable[..., Waiting], pki: Path) -> None:
        waiting = wait(None)
        error = refusal(waiting.address, TlsCredentials(pki))
        assert isinstance(error, TlsError)
        assert "the peer does not speak TLS; remedy: --tls-creds there, too" in str(error)
        error = waiting.running.wait()
        assert isinstance(error, ProtocolError)
        assert re.fullmatch(
            r"tcp:127.0.0.1:\d+ begins with TLS, which is not asked for here; "
            "remedy: --tls-creds at both ends, or at none",
            str(error),
        )

    def test_a_version_that_is_too_old(self, wait: Callable[..., Waiting], pki: Path) -> None:
        waiting = wait(TlsCredentials(pki))
        # The ClientHello of TLS 1.1, as far as its version.
        hello = (
            bytes.fromhex("16 0302 002f 01 00002b 0302")
            + bytes(32)
            + bytes.fromhex("00 0004 c013 002f 01 00")
        )
        with socket.create_connection(parse_host(waiting.address), 30) as sock:
            sock.sendall(hello + bytes(5 + 47 - len(hello)))
            alert = sock.recv(7)
        assert alert[:1] + alert[5:] == bytes.fromhex("15 02 46")
        waiting.serve(TlsCredentials(pki))
        assert len(waiting.refused) == 1

    def test_a_probe_is_forgotten(self, wait: Callable[..., Waiting], pki: Path) -> None:
        waiting = wait(TlsCredentials(pki))
        socket.create_connection(parse_host(waiting.address)).close()
        waiting.serve(TlsCredentials(pki))
        assert waiting.refused == []

    def test_the_only_one_there_can_be(self, pki: Path, stranger_pki: Path) -> None:
        """Over an inherited socket nobody else can come: the receiver fails."""
        ours, theirs = socket.socketpair()
        with ours, theirs, Receiver(f"fd:{theirs.fileno()}", tls=TlsCredentials(pki)) as receiver:
            running = Running(receiver.receive)
            error = refusal(f"fd:{ours.fileno()}", TlsCredentials(stranger_pki, NAMED))
            assert isinstance(error, TlsError)
            assert isinstance(running.wait(), TlsError)

    @pytest.mark.parametrize("protected", ["sender", "receiver"])
    def test_one_stream_of_which_one_end_speaks_tls(self, pki: Path, protected: str) -> None:
        credentials = TlsCredentials(pki, NAMED)
        theirs_tls, ours_tls = (
            credentials if each == protected else None for each in ("receiver", "sender")
        )
        ours, theirs = socket.socketpair()
        with ours, theirs, Receiver(f"fd:{theirs.fileno()}", tls=theirs_tls) as receiver:
            running = Running(receiver.receive)
            sent, received = refusal(f"fd:{ours.fileno()}", ours_tls), running.wait()
        if protected == "sender":
            assert "the peer does not speak TLS; remedy: --tls-creds there, too" in str(sent)
            assert "begins with TLS, which is not asked for here; remedy: --tls-" in str(received)
        else:
            assert "asks for TLS; remedy: --tls-creds here, too" in str(sent)
            assert "the peer does not speak TLS; remedy: --tls-creds there, too" in str(received)


def raw_client(address: str, pki: Path, own: Path | None = None) -> ssl.SSLSocket:
    """A client that shows no certificate, or that of another place; its handshake is through."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(pki / "ca-cert.pem")
    if own is not None:
        context.load_cert_chain(own / "client-cert.pem", own / "client-key.pem")
    sock = socket.create_connection(parse_host(address), 30)
    return context.wrap_socket(sock, server_hostname="127.0.0.1")


class TestChannels:
    """By hand: a control connection as alice, then channels."""

    @pytest.fixture
    def joining(
        self, wait: Callable[..., Waiting], pki: Path
    ) -> Iterator[tuple[Waiting, Callable[[Path], Any], UUID, Any]]:
        waiting = wait(TlsCredentials(pki))
        address = parse(waiting.address)
        with ExitStack() as stack:

            def connect(place: Path) -> Any:
                link = dial(address, 30, client_links(TlsCredentials(place), address))
                stack.callback(link.close)
                return link

            alice = connect(pki)
            hello = control.Hello(
                page_size=4096,
                packet_size=1 << 19,
                channels=1,
                codec="none",
                parameters={},
                blocks=[control.BlockInfo("ram", len(DATA))],
            )
            alice.send([control.PREAMBLE, control.encode(hello)])
            kind, length = control.decode_frame_header(alice.receive_exactly(5))
            accept = control.decode(kind, alice.receive_exactly(length))
            assert isinstance(accept, control.Accept)
            yield waiting, connect, UUID(accept.token), alice

    def test_need_the_certificate_of_the_control_connection(
        self, joining: Any, pki: Path, bob: Path
    ) -> None:
        """Bob may connect, and has learned the token: he may not join alice's session."""
        waiting, connect, token, alice = joining
        thief = connect(bob)
        thief.send([ChannelInit(token, 0).encode()])
        with pytest.raises(LinkError):
            thief.receive_exactly(1)
        assert len(waiting.refused) == 1
        assert waiting.refused[0].endswith("a channel with another certificate")
        mine = connect(pki)
        mine.send([ChannelInit(token, 0).encode()])
        mine.end()
        alice.send([control.encode(control.Done(0, 0, 0, {}))])
        waiting.running.result()

    def test_a_channel_that_is_cut_is_no_end(self, joining: Any, pki: Path) -> None:
        """Whoever cuts a connection cannot make what has come look whole."""
        waiting, connect, token, alice = joining
        channel = connect(pki)
        channel.send([ChannelInit(token, 0).encode()])
        channel.abort()
        alice.send([control.encode(control.Done(0, 0, 0, {}))])
        error = waiting.running.wait()
        assert isinstance(error, LinkError)
        assert "was cut: TLS has not ended" in str(error)

    def test_come_too_late(self, joining: Any, pki: Path) -> None:
        waiting, connect, token, alice = joining
        channel = connect(pki)
        channel.send([ChannelInit(token, 0).encode()])
        deadline = time.monotonic() + 30
        # Until the last channel is there, the system takes connections for the receiver.
        with pytest.raises(ConnectionRefusedError):
            while time.monotonic() < deadline:
                socket.create_connection(parse_host(waiting.address)).close()
                time.sleep(0.01)
        with pytest.raises(LinkError, match="Connection refused"):
            connect(pki)
        channel.end()
        alice.send([control.encode(control.Done(0, 0, 0, {}))])
        waiting.running.result()


class TestCrowds:
    @pytest.mark.parametrize("tls", [True, False])
    def test_who_says_nothing_keeps_nobody_out(
        self, wait: Callable[..., Waiting], pki: Path, tls: bool
    ) -> None:
        """More silent connections than may wait at once."""
        credentials = TlsCredentials(pki) if tls else None
        waiting = wait(credentials)
        with ExitStack() as stack:
            crowd = [
                stack.enter_context(socket.create_connection(parse_host(waiting.address)))
                for _ in range(100)
            ]
            if tls:
                for each in crowd[-50:]:
                    each.sendall(b"\x16\x03\x01")
            waiting.serve(credentials, channels=4)

    def test_a_handshake_byte_by_byte_keeps_nobody_out(
        self, wait: Callable[..., Waiting], pki: Path
    ) -> None:
        waiting = wait(TlsCredentials(pki), timeout=2)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = TlsCredentials(pki).client_context()
        slow = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
        with pytest.raises(ssl.SSLWantReadError):
            slow.do_handshake()
        with socket.create_connection(parse_host(waiting.address)) as sock:
            for byte in outgoing.read()[:50]:
                sock.sendall(bytes([byte]))
                time.sleep(0.001)
            sock.settimeout(30)
            assert sock.recv(1) == b""
            waiting.serve(TlsCredentials(pki))
            (said,) = waiting.refused
            assert "no TLS handshake in 2 s" in said


class TestWithoutTls:
    @pytest.mark.parametrize("uri", ["tcp::0", "tcp:0.0.0.0:0", "tcp:[::]:0"])
    def test_other_hosts_are_let_in_by_name_only(self, uri: str) -> None:
        with pytest.raises(UsageError) as error:
            Receiver(uri)
        assert f"{uri} can be reached from other hosts" in str(error.value)
        assert "remedy: --tls-creds DIR (tls=...), or --insecure (insecure=True)" in str(
            error.value
        )
        Receiver(uri, insecure=True).close()

    def test_with_it_they_are(self, pki: Path) -> None:
        Receiver("tcp:0.0.0.0:0", tls=TlsCredentials(pki)).close()

    @pytest.mark.parametrize("uri", ["tcp:127.0.0.1:0", "tcp:[::1]:0", "tcp:localhost:0"])
    def test_this_host_is(self, uri: str) -> None:
        Receiver(uri).close()

    def test_a_unix_socket_is_its_owners(self, tmp_path: Path) -> None:
        before = os.umask(0)
        try:
            receiver = Receiver(f"unix:{tmp_path}/s")
            assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600
        finally:
            os.umask(before)
        receiver.close()
        assert list(tmp_path.iterdir()) == []


def test_interrupted_in_a_handshake(pki: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while a server lets us wait: nothing is left open."""
    from codecs_core.transport import tls_link

    def interrupt(self: Any) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(tls_link.TlsLink, "_greet", interrupt)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp:127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(KeyboardInterrupt), Sender(address, tls=TlsCredentials(pki)) as sender:
            sender.add_block("ram", DATA)
            sender.send()
