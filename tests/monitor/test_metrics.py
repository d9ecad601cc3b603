"""From snapshots to counts: names, labels, sums, and that no sum ever goes back."""

from __future__ import annotations

import json
import random
import re
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from codecs_core import errors
from codecs_core.cli.log import EVENTS
from codecs_core.codec import HARDWARE_PACKETS, SOFTWARE_PACKETS
from codecs_core.engine.progress import ChannelProgress, Progress
from codecs_core.monitor.ledger import Ledger
from codecs_core.monitor.metrics import KINDS, METRICS, Count, counts, kind_of

PAGE = 4096
DOCS = Path(__file__).parents[2] / "docs"
PAGE_TEXT = (DOCS / "metrics.md").read_text()


def channel(number: int = 0, **changes: Any) -> ChannelProgress:
    values: dict[str, Any] = {
        "packets": 3,
        "normal_pages": 5,
        "zero_pages": 2,
        "wire_bytes": 7000,
        "codec_seconds": 0.25,
        "blocked_seconds": 0.5,
    }
    return ChannelProgress(number, **(values | changes))


def progress(*channels: ChannelProgress, **changes: Any) -> Progress:
    values: dict[str, Any] = {
        "codec": "zstd",
        "page_size": PAGE,
        "seconds": 2.0,
        "total_pages": None,
        "skipped_pages": 0,
        "syncs": 0,
        "channels": channels,
    }
    return Progress(**(values | changes))


def table(found: Iterable[Count]) -> dict[tuple[str, tuple[str, ...]], int]:
    rows = [(name, labels, number) for name, labels, number in found]
    assert len({row[:2] for row in rows}) == len(rows), "a series has one sample"
    return {row[:2]: row[2] for row in rows}


def test_a_sender_by_channel() -> None:
    done = progress(channel(0), channel(1, zero_pages=0), skipped_pages=4, held_pages=6, syncs=2)
    found = table(counts("sender", done))
    first = ("sender", "zstd", "0")
    assert found["multifd_packets_total", first] == 3
    assert found["multifd_pages_total", (*first, "normal")] == 5
    assert found["multifd_pages_total", (*first, "zero")] == 2
    assert found["multifd_memory_bytes_total", first] == 7 * PAGE
    assert found["multifd_memory_bytes_total", ("sender", "zstd", "1")] == 5 * PAGE
    assert found["multifd_wire_bytes_total", first] == 7000
    assert found["multifd_encode_seconds_total", first] == 250_000_000
    assert found["multifd_blocked_seconds_total", first] == 500_000_000
    assert found["multifd_unsent_pages_total", ("sender", "zstd", "hole")] == 4
    assert found["multifd_unsent_pages_total", ("sender", "zstd", "held")] == 6
    assert found["multifd_rounds_total", ("sender", "zstd")] == 2
    assert not any(name.startswith(("multifd_decode", "multifd_codec")) for name, _ in found)


def test_who_receives_decodes() -> None:
    for role in ("receiver", "ingress"):
        names = {name for name, _, _ in counts(role, progress(channel()))}  # type: ignore[arg-type]
        assert "multifd_decode_seconds_total" in names
        assert "multifd_encode_seconds_total" not in names


def test_packets_of_a_device() -> None:
    served = {HARDWARE_PACKETS: 2, SOFTWARE_PACKETS: 1}
    found = table(counts("egress", progress(channel(statistics=served))))
    labels = ("egress", "zstd", "0")
    assert found["multifd_codec_packets_total", (*labels, "hardware")] == 2
    assert found["multifd_codec_packets_total", (*labels, "software")] == 1


def test_packets_by_what_was_chosen() -> None:
    several = channel(1, methods={"zstd level 3": 5, "none": 2})
    found = table(counts("sender", progress(several, codec="auto")))
    of_method = {
        labels[3]: number
        for (name, labels), number in found.items()
        if name == "multifd_method_packets_total"
    }
    assert of_method == {"zstd level 3": 5, "none": 2}


@pytest.mark.parametrize("role", ["receiver", "ingress"])
def test_a_peer_makes_no_labels(role: Any) -> None:
    """It chooses levels, of which some codecs have tens of thousands, in session after session."""
    ledger = Ledger(role, "1.0")
    for level in range(100):
        chosen = channel(methods={f"lz4 level {-level}": 2, "lz4": 1, "none": 1})
        ledger.end(ledger.begin("peer", lambda chosen=chosen: progress(chosen)))  # type: ignore[misc]
    found = {
        labels[3]: number
        for (name, labels), number in table(ledger.counts()).items()
        if name == "multifd_method_packets_total"
    }
    assert found == {"lz4": 300, "none": 100}


def test_nothing_is_told_before_a_codec_is_agreed_on() -> None:
    assert list(counts("receiver", progress(codec=""))) == []


def test_every_count_is_of_a_known_metric_with_its_labels() -> None:
    ledger = Ledger("egress", "1.0")
    served = {HARDWARE_PACKETS: 2, SOFTWARE_PACKETS: 1}
    served_by = channel(statistics=served, methods={"zstd": 3})
    ledger.begin("peer", lambda: progress(served_by, total_pages=100))
    ledger.refuse()
    labels = {each.name: len(each.labels) for each in METRICS}
    found = table(ledger.counts())
    assert {name: len(values) for name, values in found} == {
        name: count for name, count in labels.items() if name != "multifd_decode_seconds_total"
    }
    assert found["multifd_remaining_bytes", ("egress",)] == 93 * PAGE


@pytest.mark.parametrize("metric", METRICS, ids=[each.name for each in METRICS])
def test_names_follow_the_conventions(metric: Any) -> None:
    """Of Prometheus: a prefix, a unit, ``_total`` for what only grows."""
    assert metric.name.startswith("multifd_")
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert ("_seconds" in metric.name) == (metric.divisor == 10**9)


def test_no_count_goes_back_when_sessions_end() -> None:
    """Not even by a rounding: the sum of seconds as floats would depend on the order."""
    dice = random.Random(3)
    ledger = Ledger("egress", "1.0")
    live: dict[int, Progress] = {}
    last: dict[Any, int] = {}
    for _ in range(300):
        if len(live) < 5 or dice.random() < 0.4:
            share = channel(
                dice.randrange(3),
                codec_seconds=dice.randrange(10**13) / 1e9,
                blocked_seconds=dice.randrange(10**13) / 1e9,
            )
            done = progress(share)
            live[ledger.begin("peer", lambda done=done: done)] = done  # type: ignore[misc]
        else:
            number = dice.choice(list(live))
            del live[number]
            ledger.end(number, dice.choice([None, errors.LinkError("lost")]))
        now = table(ledger.counts())
        sums = {key for key in last if key[0].endswith("_total")}
        assert all(now[key] >= last[key] for key in sums)
        last = now
    assert len(last) < 60


def test_a_session_is_never_missing_while_it_ends() -> None:
    """Somebody who reads all the time sees each page once: under way, or among the ended."""
    ledger = Ledger("ingress", "1.0")
    stop = threading.Event()
    seen: list[int] = []

    def look() -> None:
        while not stop.is_set():
            seen.append(table(ledger.counts()).get(("multifd_packets_total", labels), 0))

    labels = ("ingress", "zstd", "0")
    reader = threading.Thread(target=look)
    reader.start()
    for _ in range(200):
        ledger.end(ledger.begin("peer", lambda: progress(channel())))
    stop.set()
    reader.join()
    assert seen == sorted(seen)
    assert table(ledger.counts())["multifd_packets_total", labels] == 600


def test_a_session_that_cannot_be_looked_at_hides_no_other() -> None:
    """It is seen as it was last, and ends as any: a relay serves others for months."""
    looks = iter([progress(channel())])
    ledger = Ledger("egress", "1.0")
    # Behind its first look it raises what an iterator does.
    odd = ledger.begin("odd", lambda: next(looks))
    ledger.begin("never", lambda: next(iter([])))
    ledger.begin("sound", lambda: progress(channel()))
    labels = ("egress", "zstd", "0")
    for _ in range(3):
        assert table(ledger.counts())["multifd_packets_total", labels] == 6
        assert [len(each.progress.channels) for each in ledger.status().sessions] == [1, 0, 1]
    assert ledger.look(odd).channels
    ledger.end(odd)
    found = table(ledger.counts())
    assert found["multifd_packets_total", labels] == 6
    assert found["multifd_sessions_ended_total", ("egress", "completed")] == 1


def test_ends_are_counted_by_outcome_and_kind() -> None:
    ledger = Ledger("receiver", "1.0")
    ledger.end(ledger.begin("a", progress))
    ledger.end(ledger.begin("b", progress), errors.ChecksumMismatch("damaged"))
    ledger.fail(errors.TlsError("who are you"))
    found = table(ledger.counts())
    assert found["multifd_sessions_ended_total", ("receiver", "completed")] == 1
    assert found["multifd_sessions_ended_total", ("receiver", "failed")] == 2
    assert found["multifd_errors_total", ("receiver", "ChecksumMismatch")] == 1
    assert found["multifd_errors_total", ("receiver", "TlsError")] == 1
    assert found["multifd_sessions", ("receiver",)] == 0
    status = ledger.status()
    assert (status.completed, status.failed, status.sessions) == (1, 2, ())


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.LinkTimeout("late"), "LinkTimeout"),
        (KeyboardInterrupt(), "Interrupted"),
        (RuntimeError("a defect"), "Other"),
        (type("PluginsOwn", (errors.CodecError,), {})("odd"), "CodecError"),
    ],
)
def test_kinds_are_few(error: BaseException, kind: str) -> None:
    assert kind_of(error) == kind
    assert kind in KINDS


def rows(page: str) -> set[str]:
    return {line for line in page.splitlines() if line.startswith("| `")}


def test_the_page_has_every_metric() -> None:
    for each in METRICS:
        labels = ", ".join(f"`{label}`" for label in each.labels)
        assert f"| `{each.name}` | {each.kind} | {labels} | {each.help} |" in rows(PAGE_TEXT)
    assert set(re.findall(r"multifd_\w+", PAGE_TEXT)) == {each.name for each in METRICS}


def test_the_page_has_every_event() -> None:
    assert {f"| `{name}` | {level} | {when} |" for name, (level, when) in EVENTS.items()} == {
        row for row in rows(PAGE_TEXT) if "`multifd_" not in row
    }


def test_the_dashboard_asks_for_every_metric_by_its_labels() -> None:
    board = json.loads((DOCS / "grafana.json").read_text())
    known = {each.name: {*each.labels, "instance"} for each in METRICS}
    asked = set()
    for panel in board["panels"]:
        for target in panel["targets"]:
            query = target["expr"]
            names = re.findall(r"multifd_\w+", query)
            asked |= set(names)
            grouped = re.findall(r"by \(([^)]*)\)", query)
            labels = {each.strip() for group in grouped for each in group.split(",")}
            labels |= set(re.findall(r"([a-z]+)=", query))
            labels |= set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            for name in names:
                assert labels <= known[name], (panel["title"], name)
    assert asked == known.keys()
    places = [tuple(panel["gridPos"].values()) for panel in board["panels"]]
    assert len(set(places)) == len(places)
