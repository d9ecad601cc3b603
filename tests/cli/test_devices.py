"""``multifd devices``: hosts shown, and captured."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Result
    from tests.conftest import Plugins

    Multifd = Callable[..., Result]

HOSTS = Path(__file__).parents[1] / "hosts"
NAMES = sorted(each.name for each in HOSTS.iterdir() if each.is_dir())

ACCELERATED = """
from codecs_core.accelerator import Accelerator, Obstacle

@hookimpl
def codecs_core_accelerators(root):
    assert root.is_dir()
    return [Accelerator("npu", "npu0", "NPU"),
            Accelerator("npu", "npu1", "NPU", (Obstacle("npu1 is asleep", "wake npu1"),))]
"""
SOURCE = """
from dataclasses import dataclass
from codecs_core import Codec, hookimpl

@dataclass(frozen=True)
class Fake(Codec):
    name = "npu"
    def encoder(self, geometry=None):
        raise NotImplementedError
    def decoder(self, geometry=None):
        raise NotImplementedError

@hookimpl
def codecs_core_codecs():
    return [Fake]
"""


class TestDevices:
    @pytest.mark.parametrize("name", NAMES)
    def test_every_host(self, multifd: Multifd, name: str) -> None:
        result = multifd("devices", "--root", str(HOSTS / name))
        assert (result.status, result.err) == (0, "")
        assert "HOST" in result.out
        as_json = multifd("devices", "--root", str(HOSTS / name), "--json").json
        for device in as_json["accelerators"]:
            verdict = "usable" if device["usable"] else "not usable"
            assert re.search(rf"{device['device']} +{device['codec']} +{verdict}\n", result.out)
            for obstacle in device["obstacles"]:
                assert obstacle["evidence"] in result.out
                for line in obstacle["remedy"]:
                    assert f"    {line}\n" in result.out
        if not as_json["accelerators"]:
            assert "no accelerator that a codec could use" in result.out

    def test_this_host(self, multifd: Multifd) -> None:
        result = multifd("devices", "--json")
        assert result.status == 0
        assert result.json["host"]["cpu"]["count"] >= 1

    def test_capture(self, multifd: Multifd, tmp_path: Path) -> None:
        archive = str(tmp_path / "host.tar")
        root = str(HOSTS / "both-more-qat")
        result = multifd("devices", "--root", root, "--capture", archive)
        assert result.out.endswith(f"\nwritten: {archive}\n")
        there = multifd("devices", "--root", root, "--json").json
        assert multifd("devices", "--root", archive, "--json").json == there

    def test_a_capture_replaces_nothing(self, multifd: Multifd, tmp_path: Path) -> None:
        archive = tmp_path / "host.tar"
        archive.write_text("precious")
        result = multifd("devices", "--capture", str(archive))
        assert (result.status, result.err) == (1, f"multifd: error: {archive}: File exists\n")
        assert archive.read_text() == "precious"

    def test_what_cannot_be_read_is_shown(self, multifd: Multifd, tmp_path: Path) -> None:
        place = tmp_path / "sys/bus/pci/devices/0000:6b:00.0"
        (place / "qat").mkdir(parents=True)
        for name, content in {
            "vendor": "0x8086",
            "device": "0x4940",
            "qat/state": "",
            "numa_node": "\x1b[2Jfirst",
        }.items():
            (place / name).write_text(content)
        result = multifd("devices", "--root", str(tmp_path))
        assert result.status == 0
        assert "qat/state is empty\n" in result.out
        assert "numa_node holds '\\x1b[2Jfirst', not a line of text\n" in result.out
        assert "\x1b" not in result.out

    def test_no_such_root(self, multifd: Multifd, tmp_path: Path) -> None:
        result = multifd("devices", "--root", str(tmp_path / "none"))
        assert result.status == 2
        assert "does not exist" in result.err
        (tmp_path / "file").write_text("no archive")
        result = multifd("devices", "--root", str(tmp_path / "file"))
        assert result.status == 2
        assert "neither a directory nor a capture" in result.err

    def test_devices_of_plugins(self, multifd: Multifd, plugins: Plugins) -> None:
        plugins.install("npu", source=SOURCE + ACCELERATED)
        plugins.install("gamma", source="raise RuntimeError('not well')")
        plugins.install(
            "beta",
            source=SOURCE.replace("npu", "beta")
            + "@hookimpl\ndef codecs_core_accelerators(root):\n    raise OSError('no bus')",
        )
        result = multifd("devices", "--json")
        devices = {each["device"]: each for each in result.json["accelerators"]}
        assert devices["npu0"]["usable"]
        assert devices["npu1"]["obstacles"] == [
            {"evidence": "npu1 is asleep", "remedy": ["wake npu1"]}
        ]
        assert "no bus" in devices["?"]["obstacles"][0]["evidence"]
        assert devices["?"]["codec"] == "beta"

    @pytest.mark.parametrize("answer", ["7", "[7]"])
    def test_a_plugin_that_answers_nonsense(
        self, multifd: Multifd, plugins: Plugins, answer: str
    ) -> None:
        hook = f"@hookimpl\ndef codecs_core_accelerators(root):\n    return {answer}"
        plugins.install("npu", source=SOURCE + hook)
        (device,) = multifd("devices", "--json").json["accelerators"]
        assert "codecs_core_accelerators returned" in device["obstacles"][0]["evidence"]
