"""What a codec does whose packets a device works on, whatever the device does.

The device is played by a `Double` of the library that drives it::

    class TestDevice(DeviceContract):
        lost_packing = "compress@6-99=-2"
        ...

The test class names, in its double's own words, the plans that these tests need; a fixture
``double`` gives the double. Statistics are ``hardware_packets`` and ``software_packets``.
"""

from __future__ import annotations

import filecmp
import json
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from codecs_core.testing.double import Double

__all__ = ["ROUND_TRIP", "DeviceContract", "counts"]

ROUND_TRIP = """
payloads, sent = encode(device, packets)
assert decode(software, payloads)[0] == packets
back, received = decode(device, payloads)
assert back == packets
print(json.dumps([sent, received]))
"""
"""Twelve packets there and back: what the device has done of either."""
_DECODE = """
back, received = decode(device, encode(software, packets)[0])
assert back == packets
print(json.dumps(received))
"""
_FOUR_CHANNELS = """
encoders = [device.encoder() for _ in range(4)]
payloads = [[bytes(e.encode(memoryview(p))) for p in packets] for e in encoders]
assert all(decode(software, each)[0] == packets for each in payloads)
print(json.dumps([dict(e.statistics()) for e in encoders]))
for each in encoders:
    each.close()
"""
_BY_NAME = """
try:
    get_codec({codec!r}, backend="hardware").encoder()
except CodecUnavailable as error:
    print(json.dumps(str(error)))
"""
_LISTING = """
from codecs_core import codecs
print(json.dumps(codecs()[{codec!r}].backend))
"""
_PACKETS = 80


def counts(hardware: int, software: int) -> dict[str, int]:
    """The statistics of a session."""
    return {"hardware_packets": hardware, "software_packets": software}


class DeviceContract:
    """A device may be busy, fail, lie, or be gone: the data is right, and what is said is true."""

    library: ClassVar[str]
    """What the listing calls the library."""
    lost_packing: ClassVar[str]
    """The plan by which the device fails for good with the sixth packet that it compresses."""
    lost_unpacking: ClassVar[Sequence[str]]
    """Plans by which it fails for good with one of twelve that it decompresses."""
    overruled: ClassVar[Sequence[str]]
    """Plans by which it calls a sound payload bad."""
    absent: ClassVar[Sequence[str]]
    """Plans by which there is no device."""
    why_absent: ClassVar[str]
    """What an error says of the first of those."""
    lost_under_way: ClassVar[str]
    """The plan by which it fails for good at both ends of a transfer of eighty packets."""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run a test with each plan of the attribute that one of its arguments names."""
        for name in ("lost_unpacking", "overruled", "absent"):
            if name in metafunc.fixturenames:
                metafunc.parametrize(name, getattr(self, name))

    def test_what_software_writes_a_device_reads(self, double: Double) -> None:
        """The two are one format."""
        assert double.run(_DECODE).result == counts(12, 0)

    def test_a_lost_device_is_told_once_for_all_channels(self, double: Double) -> None:
        """Software goes on, in the session that has noticed and in those that begin later."""
        outcome = double.run(_FOUR_CHANNELS, self.lost_packing)
        assert outcome.result == [counts(5, 7), counts(0, 12), counts(0, 12), counts(0, 12)]
        assert len(outcome.warnings) == 1
        assert "packets go on in software" in outcome.stderr

    def test_a_device_that_fails_to_unpack_loses_nothing(
        self, double: Double, lost_unpacking: str
    ) -> None:
        """The packet in hand, too, is unpacked by software."""
        outcome = double.run(_DECODE, lost_unpacking)
        assert 0 < outcome.result["hardware_packets"] < 12
        assert sum(outcome.result.values()) == 12
        assert len(outcome.warnings) == 1

    def test_a_device_that_calls_good_data_bad_is_overruled(
        self, double: Double, overruled: str
    ) -> None:
        """Software has the last word, and the device goes on to be used."""
        outcome = double.run(_DECODE, overruled)
        assert outcome.result == counts(11, 1)
        assert outcome.stderr == ""

    def test_without_a_device_software_serves_in_silence(self, double: Double, absent: str) -> None:
        """Nobody has asked for one."""
        outcome = double.run(ROUND_TRIP, absent)
        assert outcome.result == [{}, {}]
        assert outcome.stderr == ""

    def test_asked_for_by_name_the_device_must_be_there(self, double: Double) -> None:
        """The error says what the library has said."""
        result = double.run(_BY_NAME.format(codec=double.codec), self.absent[0]).result
        assert self.why_absent in result

    def test_the_listing_tells_the_backend(self, double: Double) -> None:
        """And the library's name with its version."""
        result = double.run(_LISTING.format(codec=double.codec)).result
        assert result.startswith(f"hardware ({self.library} ")

    def test_from_end_to_end(self, double: Double, tmp_path: Path) -> None:
        """Two commands: the file arrives, and all of it was done in hardware."""
        for progress, said in _transfer(double, tmp_path, ""):
            assert progress["hardware_share"] == 1
            assert said == ""

    def test_from_end_to_end_with_a_device_that_is_lost(
        self, double: Double, tmp_path: Path
    ) -> None:
        """The file arrives all the same; each end tells of it once, and its share shows."""
        for progress, said in _transfer(double, tmp_path, self.lost_under_way):
            assert 0 < progress["hardware_share"] < 1
            assert said.count("packets go on in software") == 1


def _transfer(double: Double, place: Path, plan: str) -> list[tuple[dict[str, Any], str]]:
    """Send eighty packets; what each end reports, and what it says on stderr."""
    source, target = place / "source", place / "target"
    source.write_bytes((random.Random(1).randbytes(2048) + bytes(2048)) * (_PACKETS << 7))
    multifd = str(Path(sys.executable).with_name("multifd"))
    environment = double.surroundings(plan)
    with subprocess.Popen(
        [multifd, "recv", "tcp:127.0.0.1:0", str(target), "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    ) as receiver:  # fmt: skip
        assert receiver.stderr is not None
        address = receiver.stderr.readline().split()[-1]
        sent = subprocess.run(
            [multifd, "send", str(source), address, "--json",
             "--multifd-compression", double.codec],
            capture_output=True, text=True, check=True, env=environment,
        )  # fmt: skip
        output, errors = receiver.communicate()
    assert receiver.returncode == 0
    assert filecmp.cmp(source, target, shallow=False)
    reports = [(json.loads(sent.stdout), sent.stderr), (json.loads(output), errors)]
    for progress, _ in reports:
        assert sum(progress["statistics"].values()) == _PACKETS
        assert len(progress["channels"]) == 2
        assert all(each["statistics"] for each in progress["channels"])
    return reports
