"""``multifd top``: pictures that fit, lines in a pipe, and a terminal that is left as it was."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from codecs_core.cli.topview import view
from codecs_core.codec import HARDWARE_PACKETS, SOFTWARE_PACKETS
from codecs_core.engine.progress import ChannelProgress, Progress
from codecs_core.monitor.endpoint import Endpoint
from codecs_core.monitor.ledger import Ledger, SessionStatus, Status
from codecs_core.monitor.status import PATH, render

from .conftest import MULTIFD, WAIT

GIB = 1 << 30
HEARD = "sed /^.$/q > /dev/null"
"""Reads a request, to its blank line."""


def progress(seconds: float = 10.0, *, hardware: bool = False, codec: str = "zstd") -> Progress:
    """Two channels that move 512 MiB/s each at ratio 4, half of the time in the codec."""
    pages = int(seconds * (GIB // 2) / 4096)
    served = {HARDWARE_PACKETS: 75, SOFTWARE_PACKETS: 25} if hardware else {}
    channels = tuple(
        ChannelProgress(
            number, pages // 128, pages, 0, pages * 1024, seconds / 2, seconds / 4, served
        )
        for number in range(2)
    )
    return Progress(codec, 4096, seconds, None, 0, 12, channels, repairs=1)


def status(*sessions: Progress, **changes: Any) -> Status:
    numbered = tuple(
        SessionStatus(number, "tcp:192.0.2.7:50312", each)
        for number, each in enumerate(sessions, 1)
    )
    values: dict[str, Any] = {
        "role": "egress",
        "version": "0.1.0",
        "seconds": 3723.0,
        "sessions": numbered,
        "completed": 17,
        "failed": 1,
        "refused": 2,
    }
    return Status(**(values | changes))


def drawn(now: Status, before: Status | None = None, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=True)
    console.print(view(now, before))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_what_is_shown() -> None:
    lines = drawn(status(progress()))
    assert lines[0] == ("egress 0.1.0, up 1:02:03: 1 under way, 17 completed, 1 failed, 2 refused")
    assert lines[2].rstrip() == (
        "#1 zstd, 10.0 s, 12 rounds, 1 connections made again  tcp:192.0.2.7:50312"
    )
    first, both = lines[4], lines[6]
    assert first.split() == [
        "0", "5.0", "GiB", "512.0", "MiB/s", "128.0", "MiB/s", "4.00", "█" * 12, "50%", "25%"
    ]  # fmt: skip
    assert both.split()[:7] == ["all", "10.0", "GiB", "1.0", "GiB/s", "256.0", "MiB/s"]


def test_what_was_chosen() -> None:
    served = ChannelProgress(0, 4, 512, 0, 9, 1.0, 1.0, methods={"zstd": 3, "none": 1})
    now = Progress("auto", 4096, 10.0, None, 0, 0, (served,))
    assert "zstd 75%, none 25%" in "\n".join(drawn(status(now)))
    made_up = Progress("auto", 4096, 10.0, None, 0, 0, (replace(served, methods={"none": 0}),))
    assert "none" not in "\n".join(drawn(status(made_up)))


def test_rates_are_those_since_the_look_before() -> None:
    before, now = progress(8.0), progress(10.0)
    faster = ChannelProgress(0, 1, now.channels[0].normal_pages + GIB // 4096, 0, 0, 5.0, 2.5)
    now = Progress("zstd", 4096, 10.0, None, 0, 12, (faster,))
    row = drawn(status(now), status(before))[4].split()
    assert row[3:5] == ["1.0", "GiB/s"]
    # Its bytes on the wire went back: nothing is claimed.
    assert row[7] == "-"


@pytest.mark.parametrize("hardware", [False, True])
def test_it_fits_into_80_columns(hardware: bool) -> None:
    wide = progress(2000.0, hardware=hardware, codec="a-codec-with-a-very-long-name" * 3)
    lines = drawn(status(wide, wide, version="9" * 100))
    assert max(map(len, lines)) <= 80
    # No cell was cut or folded: all rows of numbers end with their percentage.
    rows = [line.rstrip() for line in lines if re.match(r" *(\d|all) ", line)]
    assert len(rows) == 6
    assert all(row.endswith("75%" if hardware else "25%") for row in rows)


def test_a_command_at_rest() -> None:
    assert "no session is under way" in "\n".join(drawn(status()))
    waiting = Progress("", 4096, 0.0, None, 0, 0)
    assert "no codec yet" in "\n".join(drawn(status(waiting)))


def test_what_a_stranger_makes_up() -> None:
    """Nothing steers the terminal, nothing raises, whatever the numbers are."""
    most = 2**62 - 1
    huge = ChannelProgress(most, most, most, most, 0, float(most), 0.0, {"\x1b": most})
    bad = Progress("\x1b[2J", most, float(most), most, 0, most, (huge, huge), repairs=most)
    tiny = Progress("", 1, 1e-300, 1, 0, 0, (ChannelProgress(0, 0, 0, 0, most, 0.0, 1.0),) * 2)
    before = status(bad, tiny)
    lines = drawn(status(tiny, bad, seconds=float(most), version="\x1b[31m"), before)
    assert "\x1b" not in "".join(lines)
    assert max(map(len, lines)) <= 80


@pytest.fixture
def served() -> Iterator[tuple[str, Ledger]]:
    ledger = Ledger("egress", "1.0")
    began = time.monotonic()
    ledger.begin("tcp:192.0.2.7:50312", lambda: progress(time.monotonic() - began + 1))
    with Endpoint("tcp:127.0.0.1:0", {PATH: lambda accept: render(ledger)}) as endpoint:
        yield endpoint.address, ledger


def test_once(multifd: Callable[..., Any], served: tuple[str, Ledger]) -> None:
    result = multifd("top", "--once", served[0])
    assert (result.status, result.err) == (0, "")
    assert result.out.startswith("egress 1.0, up ")
    assert "\x1b" not in result.out
    assert not any(line.endswith(" ") for line in result.out.splitlines())


def test_once_for_programs(multifd: Callable[..., Any], served: tuple[str, Ledger]) -> None:
    result = multifd("top", "--once", "--json", served[0])
    (session,) = result.json["sessions"]
    assert (result.json["role"], session["peer"]) == ("egress", "tcp:192.0.2.7:50312")
    assert session["progress"]["ratio"] == 4.0
    assert session["progress"]["channels"][1]["channel"] == 1


def test_in_a_pipe_until_the_command_ends() -> None:
    ledger = Ledger("sender", "1.0")
    with Endpoint("tcp:127.0.0.1:0", {PATH: lambda accept: render(ledger)}) as endpoint:
        top = subprocess.Popen(
            [MULTIFD, "top", "--json", "--interval", "0.1", endpoint.address],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert top.stdout is not None
        looks = [json.loads(top.stdout.readline()) for _ in range(3)]
    _, said = top.communicate(timeout=WAIT)
    assert looks[0]["seconds"] < looks[1]["seconds"] < looks[2]["seconds"]
    assert top.returncode == 0
    assert said == f"{endpoint.address}: the command has ended\n"


def test_who_is_sent_away_once_asks_again() -> None:
    """As the oldest in a crowd of visitors is; the command has not ended."""
    _, body = render(Ledger("egress", "1.0"))
    answers = [b"HTTP/1.1 200 OK\r\n\r\n" + body, b"", b"HTTP/1.1 200 OK\r\n\r\n" + body]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        top = subprocess.Popen(
            [MULTIFD, "top", "--json", "--interval", "0.1", f"tcp:127.0.0.1:{port(listener)}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        listener.settimeout(WAIT)
        for answer in answers:
            with listener.accept()[0] as visitor:
                visitor.recv(1 << 16)
                visitor.sendall(answer)
    out, said = top.communicate(timeout=WAIT)
    assert len(out.splitlines()) == 2
    assert (top.returncode, said.endswith(": the command has ended\n")) == (0, True)


def port(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


@pytest.mark.parametrize(
    ("uri", "status", "said"),
    [
        ("tcp:127.0.0.1:1", 1, "connecting to tcp:127.0.0.1:1: Connection refused"),
        ("unix:/no/such", 1, "connecting to unix:/no/such: No such file"),
        ("nowhere", 2, "is no address"),
        (
            f"exec:{HEARD}; echo HTTP/1.1 404 Gone away",
            1,
            "remedy: the address that a multifd command",
        ),
        (
            f"exec:{HEARD}; printf 'HTTP/1.1 200 OK\\r\\n\\r\\n[]'",
            1,
            "is no status of this version",
        ),
    ],
)
def test_errors(multifd: Callable[..., Any], uri: str, status: int, said: str) -> None:
    result = multifd("top", "--once", uri)
    assert (result.status, result.out) == (status, "")
    assert said in result.err
    assert result.err.count("\n") == 1


@pytest.mark.parametrize("how", ["Ctrl-C", "the command ends"])
def test_the_terminal_is_as_it_was(how: str) -> None:
    """Its own screen is left, and the cursor is back; the last picture stays where it ends."""
    ledger = Ledger("egress", "1.0")
    ledger.begin("a peer", progress)
    outer, inner = pty.openpty()
    screen = bytearray()
    with Endpoint("tcp:127.0.0.1:0", {PATH: lambda accept: render(ledger)}) as endpoint:
        top = subprocess.Popen(
            [MULTIFD, "top", "--interval", "0.1", endpoint.address],
            stdin=inner,
            stdout=inner,
            stderr=inner,
            env=os.environ | {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"},
        )
        os.close(inner)

        def read() -> None:
            try:
                while data := os.read(outer, 1 << 16):
                    screen.extend(data)
            except OSError:
                pass

        reader = threading.Thread(target=read)
        reader.start()
        give_up = time.monotonic() + WAIT
        while screen.count(b"a peer") < 3 and time.monotonic() < give_up:
            time.sleep(0.02)
        if how == "Ctrl-C":
            top.send_signal(signal.SIGINT)
            assert top.wait(WAIT) == 130
    assert top.wait(WAIT) == (130 if how == "Ctrl-C" else 0)
    reader.join()
    os.close(outer)
    assert screen.count(b"\x1b[?1049h") == screen.count(b"\x1b[?1049l") == 1
    assert screen.rindex(b"\x1b[?25h") > screen.rindex(b"\x1b[?25l")
    after = screen.partition(b"\x1b[?1049l")[2]
    assert (b"a peer" in after) == (how != "Ctrl-C")


def test_a_dumb_terminal_is_as_a_pipe() -> None:
    """Nothing can be drawn over there: each picture comes below the one before."""
    ledger = Ledger("egress", "1.0")
    ledger.begin("a peer", progress)
    outer, inner = pty.openpty()
    with Endpoint("tcp:127.0.0.1:0", {PATH: lambda accept: render(ledger)}) as endpoint:
        top = subprocess.Popen(
            [MULTIFD, "top", "--interval", "0.1", endpoint.address],
            stdin=inner,
            stdout=inner,
            stderr=inner,
            env=os.environ | {"TERM": "dumb", "COLUMNS": "80", "LINES": "24"},
        )
        os.close(inner)
        screen = b""
        while screen.count(b"a peer") < 2:
            screen += os.read(outer, 1 << 16)
        top.send_signal(signal.SIGINT)
        assert top.wait(WAIT) == 130
    os.close(outer)
    assert b"\x1b" not in screen
