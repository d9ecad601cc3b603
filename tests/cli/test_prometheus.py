"""A real Prometheus: it scrapes commands at work, and answers what the dashboard asks."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.conftest import ChannelWriter

from .conftest import WAIT, Start, content
from .test_monitoring import Watched, destination, first, migrate, relays, request

__all__ = ["destination", "relays"]

ROOT = Path(__file__).parents[2]
PLACES = (str(ROOT / "build/prometheus/usr/bin"), None)
SERVER, TOOL = (
    next(filter(None, (shutil.which(name, path=place) for place in PLACES)), "")
    for name in ("prometheus", "promtool")
)
BOARD = json.loads((ROOT / "docs/grafana.json").read_text())
TARGETS = [(panel["title"], each) for panel in BOARD["panels"] for each in panel["targets"]]
VARIABLES = {"$role": ".*", "$instance": ".*", "$__rate_interval": "1m", "$__range": "1m"}
# It may use a device, and counts what that has served.
DEVICE = ("--multifd-compression", "qatzip", "--multifd-qatzip-backend", "libqatzip")

pytestmark = pytest.mark.skipif(not (SERVER and TOOL), reason="no Prometheus; tools/setup gets it")

Series = list[tuple[dict[str, str], float]]


class Prometheus:
    """Scrapes ``places``, four times a second."""

    def __init__(self, places: list[str], directory: Path) -> None:
        config = directory / "prometheus.json"
        jobs = {"job_name": "multifd", "static_configs": [{"targets": places}]}
        pace = {"scrape_interval": "250ms", "scrape_timeout": "250ms"}
        config.write_text(json.dumps({"global": pace, "scrape_configs": [jobs]}))
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._address = f"127.0.0.1:{free.getsockname()[1]}"
        self.process = subprocess.Popen(
            [
                *(SERVER, f"--config.file={config}", f"--storage.tsdb.path={directory}/data"),
                f"--web.listen-address={self._address}",
            ],
            stderr=subprocess.DEVNULL,
        )

    def ask(self, query: str) -> Series:
        """Return the labels and the value of each series of a query; wait until it has one."""
        give_up = time.monotonic() + WAIT
        while not (found := self.series(query)):
            # A scrape may have been late: what it would have brought is gone until the next.
            assert time.monotonic() < give_up, query
            time.sleep(0.1)
        return found

    def series(self, query: str) -> Series:
        """Return what a query has now."""
        url = f"http://{self._address}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        with urllib.request.urlopen(url, timeout=WAIT) as answer:
            found = json.load(answer)["data"]["result"]
        return [(each["metric"], float(each["value"][1])) for each in found]

    def sees(self, count: int) -> None:
        """Wait until it scrapes so many commands."""
        give_up = time.monotonic() + WAIT
        while True:
            try:
                if sum(value for _, value in self.series("up")) == count:
                    return
            except OSError:
                pass
            assert time.monotonic() < give_up
            time.sleep(0.1)


@pytest.fixture
def prometheus(
    start: Start, tmp_path: Path, relays: tuple[Watched, Watched]
) -> Iterator[Prometheus]:
    """One that has seen two relays and a transfer at work, a failure, and a stranger."""
    options = ("--log", "json", "--metrics", "tcp:127.0.0.1:0")
    receiver = start("recv", "tcp:127.0.0.1:0", "there", *options)
    metrics = [each.metrics for each in relays] + [first(receiver, "metrics")["address"]]
    address = first(receiver, "listening")["address"]
    sender = start("send", "-", address, *DEVICE, *options, stdin=subprocess.PIPE)
    metrics.append(first(sender, "metrics")["address"])
    made = Prometheus([each.removeprefix("tcp:") for each in metrics], tmp_path)
    try:
        made.sees(len(metrics))
        work(tmp_path, sender.stdin, relays[1].address)
        # What has come last is scraped twice, too.
        time.sleep(0.8)
        made.sees(len(metrics))
        for each in metrics:
            check(request(each, "/metrics"))
        yield made
    finally:
        made.process.terminate()
        assert made.process.wait(WAIT) == 0


def work(place: Path, stream: Any, ingress: str) -> None:
    """Have every metric grow while it is scraped."""

    def feed() -> None:
        stream.write(content(1 << 20))
        stream.flush()
        time.sleep(0.3)

    for number in (1, 2, 3):
        data = bytes(ChannelWriter(0, uuid=number).send({1: 7, 2: 0}).sync().data)
        migrate(place / "in", {0: data}, feed)
    port = int(ingress.rpartition(":")[2])
    for nonsense in (bytes(ChannelWriter(0, uuid=99).data), b"GET / HTTP/1.1\r\n" * 9):
        with socket.create_connection(("127.0.0.1", port), WAIT) as stranger:
            stranger.sendall(nonsense)
            while stranger.recv(100):
                pass


def check(text: bytes) -> None:
    """Hold what is served against Prometheus' own conventions."""
    done = subprocess.run([TOOL, "check", "metrics"], input=text, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_every_query_of_the_dashboard_has_an_answer(prometheus: Prometheus) -> None:
    answers: dict[str, Series] = {}
    coding: Series = []
    for title, target in TARGETS:
        query = target["expr"]
        for name, value in VARIABLES.items():
            query = query.replace(name, value)
        found = prometheus.ask(query)
        for labels, value in found:
            assert value >= 0, (title, labels)
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) == labels.keys()
        answers.setdefault(title, []).extend(found)
        if "code_seconds" in query:
            coding += found

    def of(title: str, **labels: str) -> float:
        return sum(v for given, v in answers[title] if labels.items() <= given.items())

    sides = ("sender", "receiver", "egress", "ingress")
    assert {labels["role"] for labels, _ in answers["Version"]} == set(sides)
    for title in ("Rate", "Memory moved", "Packets and rounds", "Packets by method"):
        assert all(of(title, role=role) > 0 for role in sides), title
    assert of("Under way", role="sender") == of("Under way", role="receiver") == 1
    assert all(value > 1 for _, value in answers["Compression ratio"])
    assert coding
    assert all(0 < value <= 1 for _, value in coding)
    assert of("Hardware share") == 0
    assert 2 < of("Sessions ended", role="egress", outcome="completed") < 4
    assert of("Errors", role="ingress", kind="ProtocolError") > 0.9
    assert of("Connections", role="ingress") > 0.9
    page = (ROOT / "docs/metrics.md").read_text()
    for query in re.findall(r"\| `([^`|]*\(multifd[^`|]*)`", page):
        prometheus.series(query)
