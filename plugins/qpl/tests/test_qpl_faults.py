"""What a device does, played by a double of libqpl: never on hardware, but in every way."""

from __future__ import annotations

import filecmp
import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
MULTIFD = str(Path(sys.executable).with_name("multifd"))

ROUND_TRIP = """
payloads, sent = encode(device, packets)
assert decode(software, payloads)[0] == packets
back, received = decode(device, payloads)
assert back == packets
print(json.dumps([sent, received]))
"""
ENCODE = """
payloads, sent = encode(device, packets)
assert decode(software, payloads)[0] == packets
print(json.dumps(sent))
"""
BUSY = 5
PAGE_FAULT = 303


def counts(hardware: int, software: int) -> dict[str, int]:
    return {"hardware_packets": hardware, "software_packets": software}


def nth(packet: int) -> int:
    """The first job of a packet, counted from 1: the probe has one, 128 are a packet's."""
    return 2 + 128 * (packet - 1)


def test_a_device_serves_every_packet_with_all_its_pages_at_once(on_double: Run) -> None:
    outcome = on_double(
        ROUND_TRIP.replace("[sent, received]", "[sent, received, flying()]").replace(
            "payloads, sent", "flying = ctypes.CDLL(None).double_most_flying\npayloads, sent"
        ),
        # The software path of libqpl is not needed.
        "execute@1-99999=6",
    )
    assert outcome.result == [counts(12, 0), counts(12, 0), 128]
    assert outcome.stderr == ""


def test_what_software_writes_a_device_reads(on_double: Run) -> None:
    outcome = on_double("""
        back, received = decode(device, encode(software, packets)[0])
        assert back == packets
        print(json.dumps(received))
    """)
    assert outcome.result == counts(12, 0)


def test_a_full_queue_is_tried_three_times(on_double: Run) -> None:
    outcome = on_double(ROUND_TRIP, f"submit@{nth(3)}-{nth(3) + 1}={BUSY} execute@1-99999=6")
    assert outcome.result == [counts(12, 0), counts(12, 0)]
    assert outcome.stderr == ""


def test_a_page_that_finds_the_queues_full_goes_to_software_alone(on_double: Run) -> None:
    outcome = on_double(ROUND_TRIP, f"submit@{nth(3) + 5}-{nth(3) + 7}={BUSY} execute@2-99999=6")
    assert outcome.result == [counts(11, 1), counts(12, 0)]
    assert outcome.stderr == ""


def test_queues_that_stay_full_leave_all_to_software(on_double: Run) -> None:
    outcome = on_double(ROUND_TRIP, f"submit@2-999999={BUSY}")
    assert outcome.result == [counts(0, 12), counts(0, 12)]
    assert outcome.stderr == ""


@pytest.mark.parametrize("call", ["submit", "wait"])
def test_a_page_fault_costs_the_packet_alone(on_double: Run, call: str) -> None:
    at = nth(4) + 77
    outcome = on_double(ROUND_TRIP, f"{call}@{at}-{at}={PAGE_FAULT}")
    assert outcome.result == [counts(11, 1), counts(12, 0)]
    assert outcome.stderr == ""


def test_a_device_that_faults_on_and_on_is_given_up(on_double: Run) -> None:
    outcome = on_double(ENCODE, f"wait@{nth(2)}-999999={PAGE_FAULT}")
    assert outcome.result == counts(1, 11)
    assert len(outcome.warnings) == 1
    assert "accel-config config-wq" in outcome.stderr


@pytest.mark.parametrize("call", ["submit", "wait"])
@pytest.mark.parametrize("status", [6, 8, 52, 101, 334, 500, 503, 777])
def test_a_device_that_fails_is_left_at_once(on_double: Run, call: str, status: int) -> None:
    """In mid-packet: every job that was submitted is awaited all the same, or the double aborts."""
    outcome = on_double(ENCODE, f"{call}@{nth(5) + 9}-999999={status}")
    assert outcome.result == counts(4, 8)
    assert len(outcome.warnings) == 1
    assert "qpl: libqpl failed to compress" in outcome.stderr
    assert "packets go on in software" in outcome.stderr


@pytest.mark.parametrize("status", [6, PAGE_FAULT, 334])
def test_a_device_that_fails_to_unpack_loses_nothing(on_double: Run, status: int) -> None:
    outcome = on_double(
        """
        back, received = decode(device, encode(software, packets)[0])
        assert back == packets
        print(json.dumps(received))
        """,
        # Pages that are stored raw are no jobs.
        f"wait@300-9999={status}",
    )
    assert 0 < outcome.result["hardware_packets"] < 12
    assert len(outcome.warnings) == 1


@pytest.mark.parametrize("status", [2, 3, 211, 225])
def test_a_device_that_calls_good_data_bad_is_overruled(on_double: Run, status: int) -> None:
    outcome = on_double(
        """
        back, received = decode(device, encode(software, packets)[0])
        assert back == packets
        print(json.dumps(received))
        """,
        f"wait@300-300={status}",
    )
    assert outcome.result == counts(11, 1)
    assert outcome.stderr == ""


def test_bad_data_is_no_fault_of_the_device(on_double: Run) -> None:
    outcome = on_double("""
        page = sample("text", 4096, 1)
        [payload], _ = encode(software, [page * 2])
        errors = []
        for bad in (payload[:-1], payload[:8] + b"\\xff" * (len(payload) - 8), payload[:7], b""):
            for _ in range(9):
                try:
                    decode(device, [bad], 8192)
                except CorruptPayload as error:
                    errors.append(str(error))
        print(json.dumps([len(errors), decode(device, encode(software, packets)[0])[1]]))
    """)
    assert outcome.result == [36, counts(12, 0)]
    assert outcome.stderr == ""


def test_a_lost_device_is_told_once_for_all_channels(on_double: Run) -> None:
    outcome = on_double(
        """
        encoders = [device.encoder() for _ in range(4)]
        payloads = [[bytes(e.encode(memoryview(p))) for p in packets] for e in encoders]
        assert all(decode(software, each)[0] == packets for each in payloads)
        print(json.dumps([dict(e.statistics()) for e in encoders]))
        for each in encoders:
            each.close()
        """,
        f"wait@{nth(6)}-999999=334",
    )
    assert outcome.result == [counts(5, 7), counts(0, 12), counts(0, 12), counts(0, 12)]
    assert len(outcome.warnings) == 1


@pytest.mark.parametrize("status", [500, 501, 502, 503])
def test_without_a_device_software_serves_in_silence(on_double: Run, status: int) -> None:
    outcome = on_double(ROUND_TRIP, f"init@1-999999={status}")
    assert outcome.result == [{}, {}]
    assert outcome.stderr == ""


def test_no_memory_left_for_a_channel(on_double: Run) -> None:
    """The device works, but in the middle of a session's jobs there is none more."""
    outcome = on_double(
        """
        first, second = device.encoder(), device.encoder()
        payloads = [bytes(each.encode(memoryview(packets[0]))) for each in (first, second)]
        assert decode(software, payloads)[0] == packets[:1] * 2
        print(json.dumps([dict(each.statistics()) for each in (first, second)]))
        first.close(), second.close()
        """,
        "init@200-200=101",
    )
    assert outcome.result == [counts(1, 0), {}]
    assert len(outcome.warnings) == 1


def test_asked_for_by_name_the_device_must_be_there(on_double: Run) -> None:
    outcome = on_double(
        """
        try:
            get_codec("qpl", backend="hardware").encoder()
        except CodecUnavailable as error:
            print(json.dumps(str(error)))
        """,
        "init@1-99=503",
    )
    assert "QPL_STS_INIT_WORK_QUEUES_NOT_AVAILABLE" in outcome.result
    assert "missing on the way to a device: 1. " in outcome.result
    assert "remedy for the first: " in outcome.result


def test_the_listing_tells_the_backend(on_double: Run) -> None:
    outcome = on_double(
        "from codecs_core import codecs; print(json.dumps(codecs()['qpl'].backend))"
    )
    assert outcome.result.startswith("hardware (libqpl ")


@pytest.mark.parametrize(("plan", "share"), [("", 1.0), ("wait@5000-999999=334", None)])
def test_from_end_to_end(
    environment_of_double: Callable[[str], dict[str, str]],
    tmp_path: Path,
    plan: str,
    share: float | None,
) -> None:
    """Two commands, and a device that fails on the way: the file arrives, the share shows."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes((random.Random(1).randbytes(2048) + bytes(2048)) * (40 << 8))
    environment = environment_of_double(plan)
    with subprocess.Popen(
        [MULTIFD, "recv", "tcp:127.0.0.1:0", str(target), "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    ) as receiver:  # fmt: skip
        assert receiver.stderr is not None
        address = receiver.stderr.readline().split()[-1]
        sent = subprocess.run(
            [MULTIFD, "send", str(source), address, "--json", "--multifd-compression", "qpl"],
            capture_output=True, text=True, check=True, env=environment,
        )  # fmt: skip
        output, errors = receiver.communicate()
    assert receiver.returncode == 0
    assert filecmp.cmp(source, target, shallow=False)
    for report, warnings in ((sent.stdout, sent.stderr), (output, errors)):
        progress = json.loads(report)
        total = progress["statistics"]
        assert total["hardware_packets"] + total["software_packets"] == 80
        if share is None:
            assert 0 < progress["hardware_share"] < 1
            assert warnings.count("packets go on in software") == 1
        else:
            assert progress["hardware_share"] == share
            assert warnings == ""
