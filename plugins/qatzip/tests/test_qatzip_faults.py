"""What a device does, played by a double of libqatzip: never on hardware, but in every way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from codecs_core.testing.device import ROUND_TRIP, DeviceContract, counts

Run = Callable[..., Any]


class TestDevice(DeviceContract):
    library = "libqatzip"
    lost_packing = "compress@6-99=-2"
    lost_unpacking = [f"decompress@4-99={code}" for code in (-2, -5, -101)]
    overruled = [f"decompress@4-4={code}" for code in (-3, -4, -100)]
    absent = ["init@1-99=-101", "setup@1-99=-101", "setup@1-99=11"]
    why_absent = "qzInit failed with QZ_NOSW_NO_HW"
    lost_under_way = "compress@40-9999=-2 decompress@90-9999=-2"


def test_a_device_serves_every_packet_in_members_of_its_buffer(on_double: Run) -> None:
    outcome = on_double("""
        payloads, sent = encode(device, packets)
        assert decode(software, payloads)[0] == packets
        print(json.dumps([sent, [p.count(b"QZ\\x08\\x00") for p in payloads]]))
    """)
    assert outcome.result == [counts(12, 0), [8] * 12]
    assert outcome.stderr == ""


def test_the_buffer_size_reaches_the_device(on_double: Run) -> None:
    outcome = on_double("""
        payloads, sent = encode(get_codec("qatzip", hw_buff_sz=131072), packets)
        assert decode(device, payloads)[0] == packets
        print(json.dumps(payloads[0].count(b"QZ\\x08\\x00")))
    """)
    assert outcome.result == 4


def test_levels_reach_the_device(on_double: Run) -> None:
    outcome = on_double("""
        sizes = [sum(map(len, encode(get_codec("qatzip", level=n), packets)[0])) for n in (1, 9)]
        print(json.dumps(sizes))
    """)
    assert outcome.result[1] < outcome.result[0]


@pytest.mark.parametrize("code", [-5, -103, -104])
def test_a_busy_device_costs_the_packet_alone(on_double: Run, code: int) -> None:
    # The probe is a process of its own, with counts of its own.
    outcome = on_double(ROUND_TRIP, f"compress@3-5={code} decompress@17-17={code}")
    sent, received = outcome.result
    assert sent == counts(9, 3)
    assert received["software_packets"] == 1
    assert outcome.stderr == ""


def test_a_device_that_stays_busy_is_given_up(on_double: Run) -> None:
    outcome = on_double(ROUND_TRIP, "compress@2-99=-103")
    assert outcome.result[0] == counts(1, 11)
    assert len(outcome.warnings) == 1
    assert "QZ_NOSW_NO_INST_ATTACH" in outcome.stderr


@pytest.mark.parametrize("code", [-1, -2, -100, -101, -102, -105, -116, -200, -77])
def test_a_device_that_fails_is_left_at_once(on_double: Run, code: int) -> None:
    outcome = on_double(ROUND_TRIP, f"compress@5-99={code}")
    assert outcome.result[0] == counts(4, 8)
    assert len(outcome.warnings) == 1
    assert "qzCompressExt failed with" in outcome.stderr
    assert "packets go on in software" in outcome.stderr


def test_a_device_that_came_back_may_be_lost_again(on_double: Run) -> None:
    outcome = on_double(
        "print(json.dumps([encode(device, packets)[1] for _ in range(2)]))",
        "compress@2-2=-2 compress@4-4=-2",
    )
    assert outcome.result == [counts(1, 11), counts(1, 11)]
    assert len(outcome.warnings) == 2


def test_bad_data_is_no_fault_of_the_device(on_double: Run) -> None:
    outcome = on_double("""
        payload = bytearray(encode(software, packets[:1])[0][0])
        payload[1000] ^= 0x55
        errors = []
        for _ in range(9):
            try:
                decode(device, [payload])
            except CorruptPayload as error:
                errors.append(str(error))
        print(json.dumps([errors, decode(device, encode(software, packets)[0])[1]]))
    """)
    errors, after = outcome.result
    assert len(errors) == 9
    assert after == counts(12, 0)
    assert outcome.stderr == ""


@pytest.mark.parametrize("plan", ["malloc@1-1=0", "malloc@2-2=0", "malloc@1-99=0"])
def test_without_pinned_memory_the_heap_serves(on_double: Run, plan: str) -> None:
    outcome = on_double(ROUND_TRIP, plan)
    assert outcome.result == [counts(12, 0), counts(12, 0)]
    assert outcome.stderr == ""


def test_software_that_the_library_reports_is_counted(on_double: Run) -> None:
    outcome = on_double(ROUND_TRIP, "compress@2-4=software compress@7-7=11")
    assert outcome.result[0] == counts(8, 4)
    assert outcome.stderr == ""


def test_without_backup_a_failure_ends_the_stream(on_double: Run) -> None:
    outcome = on_double(
        """
        codec = get_codec("qatzip", sw_backup=False)
        try:
            encode(codec, packets)
        except CodecError as error:
            print(json.dumps(str(error)))
        """,
        "compress@3-3=-2",
    )
    assert outcome.result.startswith("qatzip: qzCompressExt failed with QZ_FAIL")
    assert "remedy" in outcome.result


def test_no_instance_left_for_a_channel(on_double: Run) -> None:
    """The device works, but has no room for one session more."""
    outcome = on_double(
        """
        first, second = device.encoder(), device.encoder()
        payloads = [bytes(each.encode(memoryview(packets[0]))) for each in (first, second)]
        assert decode(software, payloads)[0] == packets[:1] * 2
        print(json.dumps([p.count(b"QZ\\x08\\x00") for p in payloads]))
        first.close(), second.close()
        """,
        "setup@2-2=-103",
    )
    assert outcome.result == [8, 1]
    assert len(outcome.warnings) == 1


def test_small_packets_do_not_go_to_the_device(on_double: Run) -> None:
    outcome = on_double("""
        codec = get_codec("qatzip", input_sz_thrshold=8192)
        payloads, sent = encode(codec, [packets[0][:4096], packets[0][:8192]])
        print(json.dumps(sent))
    """)
    assert outcome.result == counts(1, 1)
