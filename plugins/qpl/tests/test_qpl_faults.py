"""What a device does, played by a double of libqpl: never on hardware, but in every way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from codecs_core.testing.device import ROUND_TRIP, DeviceContract, counts

Run = Callable[..., Any]

ENCODE = """
payloads, sent = encode(device, packets)
assert decode(software, payloads)[0] == packets
print(json.dumps(sent))
"""
BUSY = 5
PAGE_FAULT = 303


def nth(packet: int) -> int:
    """The first job of a packet, counted from 1: the probe has one, 128 are a packet's."""
    return 2 + 128 * (packet - 1)


class TestDevice(DeviceContract):
    library = "libqpl"
    lost_packing = f"wait@{nth(6)}-999999=334"
    # Pages that are stored raw are no jobs.
    lost_unpacking = [f"wait@300-9999={status}" for status in (6, PAGE_FAULT, 334)]
    overruled = [f"wait@300-300={status}" for status in (2, 3, 211, 225)]
    absent = [f"init@1-999999={status}" for status in (503, 500, 501, 502)]
    why_absent = "QPL_STS_INIT_WORK_QUEUES_NOT_AVAILABLE"
    lost_under_way = "wait@5000-999999=334"


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


def test_what_is_missing_on_the_way_to_a_device_is_named(on_double: Run) -> None:
    outcome = on_double(
        """
        try:
            get_codec("qpl", backend="hardware").encoder()
        except CodecUnavailable as error:
            print(json.dumps(str(error)))
        """,
        "init@1-99=503",
    )
    assert "missing on the way to a device: 1. " in outcome.result
    assert "remedy for the first: " in outcome.result
