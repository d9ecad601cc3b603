"""Commands that are watched: scraped over HTTP during real transfers, logged, and told of."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from codecs_core.cli.log import Log
from codecs_core.cli.monitoring import Monitoring
from codecs_core.monitor.metrics import METRICS
from tests.conftest import MainStream
from tests.gateway.conftest import ChannelWriter
from tests.gateway.test_relay import Destination

from .conftest import MULTIFD, WAIT, Process, Start, content, end

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
MAIN = bytes(MainStream().start({"pc.ram": 1 << 20}).end().data)


def connect(place: Path) -> socket.socket:
    """Connect to a socket that somebody is about to make, or has made."""
    give_up = time.monotonic() + WAIT
    while True:
        source = socket.socket(socket.AF_UNIX)
        source.settimeout(WAIT)
        try:
            source.connect(str(place))
        except (FileNotFoundError, ConnectionRefusedError):
            source.close()
            assert time.monotonic() < give_up
            time.sleep(0.02)
        else:
            return source


def request(address: str, path: str) -> bytes:
    kind, _, place = address.partition(":")
    connection = http.client.HTTPConnection("localhost" if kind == "unix" else place, timeout=WAIT)
    try:
        if kind == "unix":
            connection.sock = connect(Path(place))
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.read()
    finally:
        connection.close()


def scrape(address: str) -> Samples:
    """Every sample of ours at ``address``."""
    text = request(address, "/metrics").decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("multifd_")
    }


def total(samples: Samples, name: str, **labels: str) -> float:
    """The sum of the series that have these labels."""
    return sum(
        value
        for (each, given), value in samples.items()
        if each == name and labels.items() <= dict(given).items()
    )


def grows(name: str) -> bool:
    return name.endswith("_total")


def events(process: Process) -> Iterator[dict[str, Any]]:
    assert process.stderr is not None
    for line in process.stderr:
        yield json.loads(line)


def first(process: Process, event: str) -> dict[str, Any]:
    """The next event with this name."""
    return next(each for each in events(process) if each["event"] == event)


def test_a_transfer_is_scraped_while_it_runs(start: Start, tmp_path: Path) -> None:
    """Both ends; what the sender has sent is what has arrived, on every channel."""
    data = content(8 << 20)
    receiver = start(
        "recv", "tcp:127.0.0.1:0", "there", "--log", "json", "--metrics", "tcp:127.0.0.1:0"
    )
    there = first(receiver, "metrics")["address"]
    address = first(receiver, "listening")["address"]
    give_up = time.monotonic() + WAIT
    while total(before := scrape(there), "multifd_sessions", role="receiver") != 1:
        assert time.monotonic() < give_up
    assert {name for name, _ in before} >= {"multifd_info", "multifd_errors_total"}
    here = f"unix:{tmp_path}/metrics"
    options = ("--multifd-compression", "zlib", "--metrics", here, "--log", "json")
    sender = start("send", "-", address, *options, stdin=subprocess.PIPE)
    assert sender.stdin is not None
    sender.stdin.write(data)
    sender.stdin.flush()
    seen: dict[str, Samples] = {here: {}, there: {}}
    while any(total(each, "multifd_pages_total") < 2048 for each in seen.values()):
        for place in (here, there):
            now = scrape(place)
            assert all(now[key] >= value for key, value in seen[place].items() if grows(key[0]))
            seen[place] = now
        assert time.monotonic() < give_up
    sent, came = seen[here], seen[there]
    assert total(sent, "multifd_encode_seconds_total", role="sender", codec="zlib") > 0
    assert total(came, "multifd_decode_seconds_total", role="receiver", codec="zlib") > 0
    assert total(sent, "multifd_pages_total", kind="zero") > 0
    for number in ("0", "1"):
        for name in ("multifd_packets_total", "multifd_memory_bytes_total"):
            labels = {"codec": "zlib", "channel": number}
            assert total(sent, name, **labels) == total(came, name, **labels)
    sender.stdin.close()
    sender.stdin = None
    assert end(sender)[0] == 0
    done = first(receiver, "session_completed")
    assert done["memory_bytes"] == len(data) == (tmp_path / "there").stat().st_size
    assert end(receiver)[0] == 0
    assert not (tmp_path / "metrics").exists()


class Watched:
    """A relay of a kind, watched by both ways; its events come on stderr."""

    def __init__(self, start: Start, side: str, *arguments: str) -> None:
        self.process = start(
            "relay", side, *arguments, "--log", "json", "--metrics", "tcp:127.0.0.1:0"
        )
        self.metrics = first(self.process, "metrics")["address"]
        self.address = first(self.process, "listening")["address"]

    def ended(self) -> dict[str, Any]:
        return next(e for e in events(self.process) if e["event"].startswith("session_c"))


@pytest.fixture
def destination(tmp_path: Path) -> Iterator[Destination]:
    made = Destination(tmp_path / "on")
    yield made
    made.close()


@pytest.fixture
def relays(start: Start, tmp_path: Path, destination: Destination) -> tuple[Watched, Watched]:
    ingress = Watched(
        start, "ingress", "--listen", "tcp:127.0.0.1:0", "--connect", f"unix:{tmp_path}/on"
    )
    egress = Watched(
        start, "egress", "--listen", f"unix:{tmp_path}/in", "--connect", ingress.address,
        "--multifd-compression", "zstd",
    )  # fmt: skip
    return egress, ingress


def migrate(place: Path, channels: dict[int, bytes], during: Callable[[], None]) -> None:
    """A migration as QEMU does it; ``during`` is called when all has been sent."""
    with connect(place) as main:
        sockets = []
        for data in channels.values():
            sockets.append(connect(place))
            sockets[-1].sendall(data)
        main.sendall(MAIN)
        during()
        for each in sockets:
            each.close()
        main.shutdown(socket.SHUT_WR)
        while main.recv(1 << 16):
            pass


def test_relays_over_several_migrations(
    relays: tuple[Watched, Watched], destination: Destination, tmp_path: Path
) -> None:
    destination.expected = 2
    seen: dict[str, Samples] = {}

    def look() -> None:
        """The relays count what has been sent, and nothing that was counted before is gone."""
        for each in relays:
            give_up = time.monotonic() + WAIT
            while True:
                now = scrape(each.metrics)
                for key, value in seen.get(each.metrics, {}).items():
                    if grows(key[0]):
                        assert now[key] >= value, key
                seen[each.metrics] = now
                if total(now, "multifd_pages_total") == 3 * migrations:
                    break
                assert time.monotonic() < give_up
            assert total(now, "multifd_sessions") == 1

    for migrations in (1, 2, 3):
        channels = {
            0: bytes(ChannelWriter(0, uuid=migrations).send({1: 7, 2: 0}).sync().data),
            1: bytes(ChannelWriter(1, uuid=migrations).send({3: 8}).sync().data),
        }
        migrate(tmp_path / "in", channels, look)
        for each in relays:
            done = each.ended()
            assert (done["session"], done["channels"], done["pages"]) == (migrations, 2, 3)
    series = [scrape(each.metrics) for each in relays]
    for samples, role in zip(series, ("egress", "ingress"), strict=True):
        assert total(samples, "multifd_sessions") == 0
        assert total(samples, "multifd_sessions_ended_total", role=role, outcome="completed") == 3
        assert total(samples, "multifd_rounds_total", codec="zstd") == 3
        assert total(samples, "multifd_pages_total", kind="zero") == 3
        assert total(samples, "multifd_pages_total", channel="1", kind="normal") == 3
    sent, came = (total(each, "multifd_wire_bytes_total") for each in series)
    assert sent == came > 0
    # As many series after three migrations as after one.
    assert [len(each) for each in series] == [len(each) for each in seen.values()]


def test_what_relays_log(
    relays: tuple[Watched, Watched], destination: Destination, tmp_path: Path
) -> None:
    """A life of a relay in JSON, in which no secret appears."""
    _, ingress = relays
    with socket.create_connection(("127.0.0.1", int(ingress.address.split(":")[-1]))) as stranger:
        # Of a channel, with a token that is none.
        stranger.sendall(ChannelWriter(0, uuid=0xFEEDFACE).data)
        refused = first(ingress.process, "connection_refused")
        assert "a channel of no migration" in refused["reason"]
    data = bytes(ChannelWriter(0).send({1: 7}).sync().data)
    migrate(tmp_path / "in", {0: data}, lambda: None)
    assert first(ingress.process, "session_begun")["session"] == 1
    for each in relays:
        each.process.send_signal(signal.SIGTERM)
    for each in relays:
        lines = list(events(each.process))
        assert each.process.wait(WAIT) == 0
        # The session may be over when the signal comes, or not quite; who comes then is refused.
        said = [line["event"] for line in lines if line["event"] != "connection_refused"]
        assert {*said[-2:]} == {"session_completed", "stopping"}
        assert all(line.keys() >= {"time", "level", "event"} for line in lines)
        told = json.dumps([refused, *lines]).lower()
        assert "feedface" not in told
        # Nor anything else that could be a token.
        assert not re.search(r"[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}", told)


def test_a_failed_session_says_why(start: Start, tmp_path: Path) -> None:
    receiver = start("recv", f"unix:{tmp_path}/link", "there", "--log", "json")
    first(receiver, "listening")
    with connect(tmp_path / "link") as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        stranger.shutdown(socket.SHUT_WR)
        while stranger.recv(100):
            pass
    failed, last = list(events(receiver))[-2:]
    assert (failed["event"], failed["kind"], failed["session"]) == (
        "session_failed", "ProtocolError", 1
    )  # fmt: skip
    assert (last["event"], last["status"], last["kind"]) == ("failed", 1, "ProtocolError")
    assert last["message"].startswith("multifd: error: ")
    assert end(receiver)[0] == 1


def closed(start: Start, streams: str, *arguments: str) -> Process:
    """Start ``multifd`` without some of its standard streams."""
    shell = f'exec "$@" {streams}'
    return start("-c", shell, "sh", MULTIFD, *arguments, program="/bin/sh")


def test_a_command_without_stderr(start: Start, tmp_path: Path) -> None:
    """As a daemon is started by some; and what it opens does not become its stderr."""
    receiver = closed(
        start, "<&- 2>&-", "recv", f"unix:{tmp_path}/s", "there", "--metrics", f"unix:{tmp_path}/m"
    )
    connect(tmp_path / "m").close()
    assert total(scrape(f"unix:{tmp_path}/m"), "multifd_info") == 1
    streams = [os.readlink(f"/proc/{receiver.pid}/fd/{fd}") for fd in (0, 2)]
    assert streams == [os.devnull, os.devnull]
    receiver.send_signal(signal.SIGINT)
    assert receiver.wait(WAIT) == 130
    assert os.listdir(tmp_path) == []


def test_a_command_without_stdout(start: Start) -> None:
    """What cannot be told is a failure, and one line."""
    status, _, said = end(closed(start, ">&-", "codecs", "--json"))
    assert (status, said) == (1, "multifd: error: Bad file descriptor\n")


def test_nothing_is_left_where_monitoring_cannot_begin(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    log = Log()
    monkeypatch.setattr(log, "tell", interrupted)
    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        Monitoring("sender", log, f"unix:{tmp_path}/m", insecure=None).__enter__()
    assert threading.active_count() == threads
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("options", [("--log", "json", "--bogus"), ("--log=json", "--bogus")])
def test_wrong_use_is_a_json_line_too(multifd: Callable[..., Any], options: tuple[str]) -> None:
    result = multifd("recv", "tcp:127.0.0.1:0", "there", *options)
    said = json.loads(result.err)
    assert (result.status, said["event"], said["kind"]) == (2, "failed", "UsageError")


def test_a_traceback_is_a_fact_of_its_line(
    multifd: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MULTIFD_DEBUG", "1")
    result = multifd("send", "/no/such", "tcp:127.0.0.1:1", "--log", "json")
    said = json.loads(result.err)
    assert said["error"] == "/no/such: No such file or directory"
    assert said["traceback"].startswith("Traceback (most recent call last):\n")
    assert "FileNotFoundError" in said["traceback"]


def test_the_least_level(start: Start, tmp_path: Path) -> None:
    options = ("--log", "json", "--log-level", "error", "--metrics", f"unix:{tmp_path}/metrics")
    receiver = start("recv", "tcp:127.0.0.1:0", "there", *options)
    give_up = time.monotonic() + WAIT
    while not total(scrape(f"unix:{tmp_path}/metrics"), "multifd_sessions"):
        assert time.monotonic() < give_up
    receiver.send_signal(signal.SIGINT)
    told = [(each["event"], each["error"]) for each in events(receiver)]
    assert told == [("session_failed", "interrupted"), ("failed", "interrupted")]
    assert receiver.wait(WAIT) == 130


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (("--metrics", "tcp:0.0.0.0:0"), 2, "can be reached from other hosts"),
        (("--metrics", "exec:cat"), 2, "serve metrics on tcp: or unix:"),
        (("--metrics", "nowhere"), 2, "is no address"),
        (("--metrics", "unix:/no/such/place"), 1, "listening on unix:/no/such/place"),
        (("--log", "xml"), 2, "'xml' is not one of"),
    ],
)
@pytest.mark.parametrize("command", ["recv", "send"])
def test_wrong_use(
    multifd: Callable[..., Any],
    tmp_path: Path,
    command: str,
    options: tuple[str, ...],
    status: int,
    said: str,
) -> None:
    places = {"recv": (f"unix:{tmp_path}/s", "there"), "send": (__file__, f"unix:{tmp_path}/s")}
    result = multifd(command, *places[command], *options)
    assert (result.status, result.out) == (status, "")
    assert said in result.err
    assert "Traceback" not in result.err
    assert not (tmp_path / "s").exists()


def test_without_the_library(
    multifd: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "codecs_core.monitor.exposition", raising=False)
    result = multifd("recv", f"unix:{tmp_path}/s", "there", "--metrics", f"unix:{tmp_path}/m")
    assert result.status == 2
    assert "pip install 'codecs-core[metrics]'" in result.err
    assert os.listdir(tmp_path) == []


def test_both_formats(start: Start) -> None:
    """Every documented name is exported, by its type, and none besides."""
    receiver = start("recv", "tcp:127.0.0.1:0", "x", "--log", "json", "--metrics", "tcp:127.1:0")
    address = first(receiver, "metrics")["address"]
    text = request(address, "/metrics").decode()
    families = {
        each.name + ("_total" if each.type == "counter" else ""): each.type
        for each in text_string_to_metric_families(text)
    }
    ours = {name: kind for name, kind in families.items() if name.startswith("multifd_")}
    assert ours == {each.name: each.kind for each in METRICS}
    assert "process_resident_memory_bytes" in families
    connection = http.client.HTTPConnection(address.removeprefix("tcp:"), timeout=WAIT)
    connection.request("GET", "/metrics", headers={"Accept": "application/openmetrics-text"})
    answer = connection.getresponse()
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.read().endswith(b"# EOF\n")
    connection.close()
