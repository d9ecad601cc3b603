"""What is found on each host, and on hosts whose files are damaged."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecs_core.errors import UsageError
from codecs_core.hardware import accelerators, inventory, obstacles
from codecs_core.hardware.inventory import Inventory, take
from codecs_core.hardware.tree import Directory, Tree, Unknown
from tests.hardware.conftest import HOSTS, NAMES, spoiled

QAT_PLACE = "/sys/devices/pci0000:6b/0000:6b:00.0"
IAA_PLACE = "/sys/devices/pci0000:6a/0000:6a:02.0/iax1"

FILES = {
    name: [
        "/" + str(path.relative_to(HOSTS / name))
        for path in sorted((HOSTS / name).rglob("*"))
        if path.name != "ABOUT" and not path.is_symlink()
    ]
    for name in NAMES
}


def verdicts(found: Inventory) -> dict[str, list[str]]:
    """Each device with what stands in its way."""
    return {each.device: [o.evidence for o in each.obstacles] for each in accelerators(found)}


def test_every_host_states_its_sources() -> None:
    listed = (HOSTS / "README.md").read_text()
    for name in NAMES:
        assert "Sources: " in (HOSTS / name / "ABOUT").read_text()
        assert f"| `{name}` |" in listed


EXPECTED: dict[str, dict[str, list[str]]] = {
    "no-accelerator": {},
    "amd": {},
    "qat-physical-only": {
        "0000:6b:00.0": ["/sriov_numvfs is 0"],
        "0000:70:00.0": ["/sriov_numvfs is 0"],
    },
    "qat-vfio": {"0000:6b:00.0": [], "0000:70:00.0": []},
    "qat-without-driver": {
        "0000:6b:00.0": ["module qat_4xxx is not loaded"],
        "0000:70:00.0": ["module qat_4xxx is not loaded"],
    },
    "qat-without-compression": {
        "0000:6b:00.0": ["cfg_services is 'sym;asym', without dc"],
        "0000:70:00.0": ["cfg_services is 'sym;asym', without dc"],
    },
    "qat-generation-2": {
        "0000:1a:00.0": ["out-of-tree driver", "libqatzip and libqat are not installed"]
    },
    "qat-in-a-guest": {"0000:00:05.0": ["physical function of 0000:00:05.0 is on another host"]},
    "iaa-svm": {"iax1": [], "iax3": []},
    "iaa-without-pasid": {
        "iax1": ["iax1/pasid_enabled is 0", "mode 'dedicated'", "no flag enqcmd"],
        "iax3": ["iax3/pasid_enabled is 0", "mode 'dedicated'", "no flag enqcmd"],
    },
    "iaa-queues-disabled": {
        "iax1": ["iax1/state is 'disabled'"],
        "iax3": ["iax3/state is 'disabled'"],
    },
    "iaa-for-the-kernel": {"iax1": ["type 'kernel'"], "iax3": ["type 'kernel'"]},
    "both-more-qat": {"0000:6b:00.0": [], "0000:70:00.0": [], "0000:e8:00.0": [], "iax1": []},
    "both-more-iaa": {"0000:6b:00.0": [], "iax1": [], "iax3": [], "iax5": []},
}


@pytest.mark.parametrize("name", NAMES)
def test_obstacles_of_every_host(name: str) -> None:
    found = inventory(HOSTS / name)
    assert found.unread == ()
    actual = verdicts(found)
    assert actual.keys() == EXPECTED[name].keys()
    for device, expected in EXPECTED[name].items():
        assert len(actual[device]) == len(expected), actual[device]
        for evidence, part in zip(actual[device], expected, strict=True):
            assert part in evidence


def test_devices_of_qat() -> None:
    found = inventory(HOSTS / "qat-vfio")
    physical, virtual = found.qat[:2]
    assert (physical.address, physical.virtual, physical.model.name) == (
        "0000:6b:00.0",
        False,
        "4xxx",
    )
    assert (physical.model.generation, physical.numa_node) == (4, 0)
    assert (physical.driver, physical.state, physical.services) == ("4xxx", "up", ("dc",))
    assert (physical.total_vfs, physical.vfs, physical.physical) == (16, 2, None)
    assert (virtual.address, virtual.virtual, virtual.physical) == (
        "0000:6b:00.1",
        True,
        physical.address,
    )
    assert (virtual.driver, virtual.group, virtual.node_usable) == ("vfio-pci", "301", True)
    assert (virtual.state, virtual.services) == (None, None)
    service = found.qat_service
    assert (service.installed, service.enabled, service.running) == (True, True, True)
    assert (service.policy, service.services) == ("0", "dc")
    assert found.firmware == {"qat_4xxx.bin": True}


def test_devices_of_iaa() -> None:
    found = inventory(HOSTS / "iaa-svm")
    device = found.iaa[0]
    assert (device.address, device.name, device.driver) == ("0000:6a:02.0", "iax1", "idxd")
    assert (device.state, device.pasid, device.version) == ("enabled", True, 0x100)
    assert (device.max_queues, device.max_engines, device.max_queues_size) == (8, 8, 128)
    (queue,) = device.queues
    assert (queue.name, queue.state, queue.mode, queue.type) == (
        "wq1.0",
        "enabled",
        "shared",
        "user",
    )
    assert (queue.size, queue.block_on_fault, queue.node_usable) == (128, True, True)


def test_the_host_around_them() -> None:
    found = inventory(HOSTS / "both-more-qat")
    assert found.kernel == "6.8.0-45-generic"
    assert found.cpu.model == "Intel(R) Xeon(R) Platinum 8480+"
    assert (found.cpu.count, found.cpu.sockets, found.cpu.enqcmd) == (8, 2, True)
    assert (found.iommu.units, found.iommu.scalable_mode) == (("dmar0",), True)
    assert found.iommu.options == ("intel_iommu=on,sm_on",)
    assert found.modules == ("intel_qat", "qat_4xxx", "vfio_pci", "idxd")
    assert found.locked_memory == 256 << 20
    (pages,) = found.huge_pages
    assert (pages.size, pages.total, pages.free) == (2 << 20, 0, 0)
    library = found.library("libqatzip")
    assert library
    assert library.version == "1.3.1-1"
    assert library.path == "/usr/lib/x86_64-linux-gnu/libqatzip.so.3.0.3"
    assert not inventory(HOSTS / "amd").cpu.enqcmd
    assert inventory(HOSTS / "no-accelerator").iommu.scalable_mode is False


def test_this_host() -> None:
    found = inventory()
    assert found.cpu.count >= 1
    json.dumps(found.as_dict())


@pytest.mark.parametrize(
    ("name", "faults", "device", "evidence"),
    [
        ("qat-vfio", {"/dev/vfio/301": False, "/dev/vfio/302": False}, "0000:6b:00.0", "this user"),
        (
            "qat-vfio",
            {f"{QAT_PLACE}/qat/state": b"down\n"},
            "0000:6b:00.0",
            "qat/state is 'down'",
        ),
        ("qat-vfio", {f"{QAT_PLACE}/qat": errno.ENOENT}, "0000:6b:00.0", "there is no"),
        (
            "qat-vfio",
            {f"{QAT_PLACE}/qat/cfg_services": errno.EACCES},
            "0000:6b:00.0",
            "cannot be read: permission denied",
        ),
        ("qat-vfio", {f"{QAT_PLACE}/driver": errno.EACCES}, "0000:6b:00.0", "permission denied"),
        ("qat-vfio", {"/sys/class/iommu": errno.ENOENT}, "0000:6b:00.0", "the IOMMU is off"),
        (
            "qat-vfio",
            {"/usr/lib/x86_64-linux-gnu/libqatzip.so.3": errno.ENOENT},
            "0000:6b:00.0",
            "libqatzip is not installed",
        ),
        (
            "qat-physical-only",
            {f"{QAT_PLACE}/sriov_totalvfs": b"0\n"},
            "0000:6b:00.0",
            "sriov_totalvfs is 0",
        ),
        (
            "qat-without-driver",
            {"/usr/lib/firmware": errno.ENOENT},
            "0000:6b:00.0",
            "/lib/firmware/qat_4xxx.bin is missing",
        ),
        ("iaa-svm", {"/dev/iax/wq1.0": False}, "iax1", "this user may not"),
        ("iaa-svm", {"/dev/iax": errno.EACCES}, "iax1", "this user may not"),
        ("iaa-svm", {"/dev/iax": errno.ENOENT}, "iax1", "/dev/iax/wq1.0 is missing"),
        ("iaa-svm", {f"{IAA_PLACE}/pasid_enabled": b"maybe"}, "iax1", "holds 'maybe'"),
        ("iaa-svm", {f"{IAA_PLACE}/state": b""}, "iax1", "is empty"),
        ("iaa-svm", {f"{IAA_PLACE}/wq1.0/state": b"disabled"}, "iax1", "no work queue"),
        ("iaa-svm", {f"{IAA_PLACE}/wq1.0/mode": errno.EIO}, "iax1", "input/output error"),
        ("iaa-svm", {"/sys/bus/dsa": errno.ENOENT}, "0000:6a:02.0", "not to idxd"),
    ],
)
def test_every_step_can_be_missing(
    name: str, faults: dict[str, int | bytes | bool], device: str, evidence: str
) -> None:
    obstacles = verdicts(spoiled(name, faults))[device]
    assert any(evidence in each for each in obstacles), obstacles


def test_every_remedy_is_a_command_or_a_comment() -> None:
    known = {
        "#", "accel-config", "apt-get", "chgrp", "chmod", "chown", "echo", "for", "modprobe",
        "sed", "systemctl", "udevadm", "usermod",
    }  # fmt: skip
    for name in NAMES:
        for device in accelerators(inventory(HOSTS / name)):
            for obstacle in device.obstacles:
                assert obstacle.remedy, obstacle.evidence
                for line in obstacle.remedy.splitlines():
                    assert line.split()[0] in known


def plain(value: Any) -> bool:
    """Whether nothing but JSON is left."""
    return json.loads(json.dumps(value)) == value


GARBAGE = st.one_of(
    st.sampled_from([errno.EACCES, errno.EIO, errno.ENOENT, errno.ENODEV, errno.EINVAL]),
    st.sampled_from([b"", b"\n", b"garbage\n", b"-1", b"99999999999999999999", b"0x", b"\0" * 8]),
    st.binary(max_size=64),
    st.booleans(),
)


@given(st.data())
def test_damaged_files_harm_nothing(data: st.DataObject) -> None:
    """Empty, not a number, denied, vanished while it is read: never an exception."""
    name = data.draw(st.sampled_from(NAMES))
    faults = data.draw(st.dictionaries(st.sampled_from(FILES[name]), GARBAGE, max_size=6))
    found = spoiled(name, faults)
    assert plain(found.as_dict())
    for device in accelerators(found):
        assert plain(device.as_dict())
    for unknown in found.unread:
        assert unknown.reason


@pytest.mark.parametrize("name", NAMES)
def test_what_is_denied_is_told(name: str) -> None:
    """Each file that is read and denied shows up as unread, and never as a usable device."""
    tree = Tree(Directory(HOSTS / name))
    take(tree)
    read = [path for path, node in tree.seen.items() if node.data is not None]
    assert read
    for path in read:
        found = spoiled(name, {path: errno.EACCES})
        assert [each for each in found.unread if each.reason.endswith("permission denied")]
        assert isinstance(found.unread[0], Unknown)


def test_a_root_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        inventory(tmp_path / "none")


def test_a_low_limit_of_locked_memory_is_an_obstacle() -> None:
    low = b"Max locked memory         8388608              8388608              bytes\n"
    (first, *_) = verdicts(spoiled("qat-vfio", {"/proc/self/limits": low})).values()
    assert first == ["this user may lock 8192 KiB of memory, and a virtual function takes 16 MiB"]


def test_who_may_lock_anything_has_no_limit(host: Callable[[str], Path]) -> None:
    root = host("qat-vfio")
    (root / "proc/self/limits").write_text("Max locked memory  8388608  8388608  bytes\n")
    (root / "proc/self/status").write_text("Name:\tx\nCapEff:\t000001ffffffffff\n")
    assert inventory(root).locked_memory is None
    (root / "proc/self/status").write_text("Name:\tx\nCapEff:\t0000000000000000\n")
    assert inventory(root).locked_memory == 8 << 20


@pytest.mark.parametrize(
    ("name", "codec", "evidence"),
    [
        ("no-accelerator", "qatzip", ["there is no QuickAssist (QAT) device on the PCI bus"]),
        ("no-accelerator", "qpl", ["there is no In-Memory Analytics (IAA) device"]),
        ("qat-vfio", "qatzip", []),
        ("qat-without-compression", "qatzip", ["without dc"]),
    ],
)
def test_obstacles_of_a_codec(name: str, codec: str, evidence: list[str]) -> None:
    found = [each.evidence for each in obstacles(codec, HOSTS / name)]
    assert len(found) >= len(evidence)
    assert all(text in found[-1] for text in evidence)
    assert bool(found) == bool(evidence)


def test_libraries_come_first_among_the_obstacles(host: Callable[[str], Path]) -> None:
    root = host("qat-without-compression")
    for library in root.glob("usr/lib/x86_64-linux-gnu/lib*"):
        library.unlink()
    first, second, *_ = obstacles("qatzip", root)
    assert first.evidence == "libqatzip and libqat are not installed"
    assert first.remedy.startswith("apt-get install libqatzip3 libqat4")
    assert "without dc" in second.evidence
