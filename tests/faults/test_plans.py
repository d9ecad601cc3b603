"""A sample of the fault plans; and that plans are values, and faults strike."""

from __future__ import annotations

import math
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import pytest

from .campaign import carry_out, planned
from .plan import Fault, Kind
from .proxy import Proxy

SAMPLE = range(1, 41)
AUTO_SAMPLE = range(101, 117)
Through = Callable[..., AbstractContextManager[tuple[socket.socket, socket.socket]]]


def test_a_sample_of_plans() -> None:
    """`python -m tests.faults --plans 500` carries out more."""
    wrong = [str(each) for each in carry_out(map(planned, SAMPLE), jobs=10) if each.wrong]
    assert wrong == []


def test_a_sample_with_a_codec_chosen_for_every_packet() -> None:
    """`python -m tests.faults --codec auto` carries out more."""
    plans = [planned(seed, "auto") for seed in AUTO_SAMPLE]
    wrong = [str(each) for each in carry_out(plans, jobs=10) if each.wrong]
    assert wrong == []


def test_a_seed_is_a_plan() -> None:
    first = [planned(seed) for seed in range(300)]
    assert first == [planned(seed) for seed in range(300)]
    assert len(set(first)) == 300
    kinds = {fault.kind for each in first for fault in each.faults}
    assert kinds == set(Kind)
    assert any(each.harmless for each in first)
    assert str(planned(1)).startswith("seed 1: ")


class TestProxy:
    """Every fault does what its name says."""

    @pytest.fixture
    def through(self) -> Iterator[Through]:
        with ExitStack() as stack:

            @contextmanager
            def pair(*faults: Fault) -> Iterator[tuple[socket.socket, socket.socket]]:
                server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
                onward = f"tcp:127.0.0.1:{server.getsockname()[1]}"
                proxy = stack.enter_context(Proxy("tcp:127.0.0.1:0", onward, faults))
                port = int(proxy.address.rpartition(":")[2])
                client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
                peer, _ = server.accept()
                stack.enter_context(peer)
                for each in (client, peer):
                    each.settimeout(30)
                yield client, peer

            yield pair

    def test_cut(self, through: Through) -> None:
        with through(Fault(Kind.CUT, 0, 3)) as (client, peer):
            client.sendall(b"abc")
            assert drain(peer) == b"abc"
            assert drain(client) == b""

    def test_reset(self, through: Through) -> None:
        with through(Fault(Kind.RESET, 0, 3)) as (client, peer):
            client.sendall(b"abc")
            for each in (client, peer):
                with pytest.raises(ConnectionResetError):
                    drain(each)

    def test_truncate(self, through: Through) -> None:
        with through(Fault(Kind.TRUNCATE, 0, 3)) as (client, peer):
            client.sendall(b"abcdef")
            assert drain(peer) == b"abc"
            client.sendall(bytes(1 << 20))
            peer.sendall(b"back")
            assert client.recv(4) == b"back"

    def test_stall(self, through: Through) -> None:
        with through(Fault(Kind.STALL, 0, 3, amount=math.inf)) as (client, peer):
            client.sendall(b"abcdef")
            assert peer.recv(10) == b"abc"
            peer.settimeout(0.3)
            with pytest.raises(TimeoutError):
                peer.recv(10)
            peer.sendall(b"back")
            assert client.recv(4) == b"back"

    def test_short_stall_and_delay(self, through: Through) -> None:
        faults = (Fault(Kind.STALL, 0, 1, amount=0.1), Fault(Kind.DELAY, 0, 2, amount=0.01))
        with through(*faults) as (client, peer):
            client.sendall(b"abcdef")
            client.shutdown(socket.SHUT_WR)
            assert drain(peer) == b"abcdef"

    def test_split(self, through: Through) -> None:
        with through(Fault(Kind.SPLIT, 0, 2, amount=3)) as (client, peer):
            client.sendall(b"abcdefgh")
            client.shutdown(socket.SHUT_WR)
            pieces = []
            while piece := peer.recv(100):
                pieces.append(piece)
            assert b"".join(pieces) == b"abcdefgh"

    @pytest.mark.parametrize("up", [True, False])
    def test_flip(self, through: Through, up: bool) -> None:
        with through(Fault(Kind.FLIP, 0, 2, up, amount=5)) as (client, peer):
            source, sink = (client, peer) if up else (peer, client)
            source.sendall(b"abcd")
            source.shutdown(socket.SHUT_WR)
            assert drain(sink) == b"abCd"


def drain(sock: socket.socket) -> bytes:
    data = b""
    while piece := sock.recv(1 << 16):
        data += piece
    return data
