"""Captures: they show the same host elsewhere, hold no more than was read, and harm nobody."""

from __future__ import annotations

import errno
import gzip
import io
import lzma
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from codecs_core.errors import UsageError
from codecs_core.hardware import inventory
from codecs_core.hardware.capture import Archive, write
from codecs_core.hardware.inventory import take
from codecs_core.hardware.tree import Directory, Tree, Unknown
from tests.hardware.conftest import HOSTS, NAMES, Faulty


def pack(tree: Tree, path: Path) -> Path:
    take(tree)
    with path.open("xb") as file:
        write(tree.seen, file)
    return path


@pytest.mark.parametrize("name", NAMES)
def test_shows_the_same_host(name: str, tmp_path: Path) -> None:
    archive = pack(Tree(Directory(HOSTS / name)), tmp_path / "host.tar")
    original = inventory(HOSTS / name)
    assert inventory(archive) == original
    assert original.unread == ()
    # Captured again, nothing is lost either.
    again = pack(Tree(Archive(archive)), tmp_path / "again.tar")
    assert inventory(again) == original


@pytest.mark.parametrize("name", NAMES)
def test_shows_the_same_host_when_it_is_unpacked(name: str, tmp_path: Path) -> None:
    archive = pack(Tree(Directory(HOSTS / name)), tmp_path / "host.tar")
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path / "host")
    assert inventory(tmp_path / "host") == inventory(HOSTS / name)


def test_shows_what_its_user_could_not_read(tmp_path: Path) -> None:
    faults: dict[str, int | bytes | bool] = {
        "/sys/devices/pci0000:6b/0000:6b:00.0/qat/cfg_services": errno.EACCES,
        "/sys/devices/pci0000:6b/0000:6b:00.0/qat/state": errno.EIO,
        "/sys/bus/dsa": errno.EPERM,
        "/dev/vfio/301": False,
    }
    tree = Tree(Faulty(Directory(HOSTS / "both-more-qat"), faults))
    archive = pack(tree, tmp_path / "host.tar")
    original = take(Tree(Faulty(Directory(HOSTS / "both-more-qat"), faults)))
    assert len(original.unread) == 3
    assert inventory(archive) == original


def test_holds_what_is_needed_alone(host: Callable[[str], Path], tmp_path: Path) -> None:
    """Nothing that tells who or where the host is."""
    root = host("both-more-qat")
    secrets = {
        "proc/cmdline": "root=UUID=SECRET ip=10.1.2.3 intel_iommu=on,sm_on password=SECRET",
        "var/lib/dpkg/status": (root / "var/lib/dpkg/status").read_text()
        + "\nPackage: SECRET\nStatus: install ok installed\nVersion: 1\n",
        "etc/sysconfig/qat": "# SECRET\nPOLICY=1\nSECRET=1\n",
        "proc/cpuinfo": (root / "proc/cpuinfo").read_text() + "serial\t: SECRET\n",
        "proc/self/limits": (root / "proc/self/limits").read_text() + "SECRET 1 1 units\n",
        "etc/hostname": "SECRET",
        "sys/class/net/eth0/address": "SE:CR:ET",
        "sys/devices/pci0000:6b/0000:6b:00.0/serial_number": "SECRET",
    }
    for name, content in secrets.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    archive = pack(Tree(Directory(root)), tmp_path / "host.tar")
    data = archive.read_bytes()
    assert b"SECRET" not in data
    assert b"10.1.2.3" not in data
    with tarfile.open(archive) as opened:
        members = opened.getmembers()
    assert not [m.name for m in members if re.search("hostname|/net/|serial|address", m.name)]
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {(0, 0, "", "", 0)}
    assert inventory(archive).qat_service.policy == "1"


def test_private_parts_of_paths_are_numbered(host: Callable[[str], Path], tmp_path: Path) -> None:
    """A virtual bus names devices by UUIDs; a library may be in somebody's home directory."""
    root = host("qat-in-a-guest")
    uuid = "0f1e2d3c-4B5A-6978-8796-a5b4c3d2e1f0"
    place = root / "sys/devices/VMBUS:00" / uuid
    place.mkdir(parents=True)
    link = root / "sys/bus/pci/devices/0000:00:05.0"
    link.resolve().rename(place / "0000:00:05.0")
    link.unlink()
    link.symlink_to(f"../../../devices/VMBUS:00/{uuid}/0000:00:05.0")
    library = root / "usr/local/lib/libqpl.so.1"
    library.parent.mkdir(parents=True)
    library.symlink_to("/home/alice/qpl/libqpl.so.1.6.0")
    (root / "home/alice/qpl").mkdir(parents=True)
    (root / "home/alice/qpl/libqpl.so.1.6.0").touch()

    archive = pack(Tree(Directory(root)), tmp_path / "host.tar")
    data = archive.read_bytes()
    assert uuid.encode() not in data
    assert b"alice" not in data
    there, here = inventory(archive), inventory(root)
    assert there.qat == here.qat
    assert here.qat
    found = there.library("libqpl")
    assert found
    assert re.fullmatch(r"/home/private-\d/qpl/libqpl\.so\.1\.6\.0", found.path or "")
    assert found.version == "1.6.0"


def tar(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for member, data in members:
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def test_links_in_an_archive_stay_inside(tmp_path: Path) -> None:
    link = tarfile.TarInfo("proc/sys/kernel/osrelease")
    link.type, link.linkname = tarfile.SYMTYPE, "/../../../../../../etc/passwd"
    assert inventory(tar(tmp_path / "sly.tar", (link, b""))).kernel is None


def test_links_that_no_host_has_are_not_followed(tmp_path: Path) -> None:
    """It would take as long as the archive's author likes, for every file."""
    link = tarfile.TarInfo("proc/sys/kernel")
    link.type, link.linkname = tarfile.SYMTYPE, "/proc/sys/../" * 10_000
    kernel = inventory(tar(tmp_path / "sly.tar", (link, b""))).kernel
    assert isinstance(kernel, Unknown)
    assert "too long" in kernel.reason


def test_nothing_is_written(tmp_path: Path) -> None:
    path = tar(tmp_path / "sly.tar", (tarfile.TarInfo("../outside"), b"x"))
    with pytest.raises(UsageError, match="leads out of the archive"):
        inventory(path)
    assert [each.name for each in tmp_path.iterdir()] == ["sly.tar"]


@pytest.mark.parametrize(
    "data", [b"", b"no tar", b"\0" * 10240, b"\x1f\x8b\x08\0" + b"\0" * 20, b"x" * 2000]
)
def test_what_is_no_archive(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "host.tar"
    path.write_bytes(data)
    if data == b"\0" * 10240:
        # An empty archive is one: it shows a host of which nothing is known.
        assert inventory(path).qat == ()
        return
    with pytest.raises(UsageError, match="neither a directory nor a capture"):
        inventory(path)


def test_archives_that_are_too_large_are_refused(tmp_path: Path) -> None:
    path = tar(tmp_path / "big.tar", (tarfile.TarInfo("proc/cpuinfo"), bytes(2 << 20)))
    with pytest.raises(UsageError, match="is no capture"):
        inventory(path)


def test_many_members_together_are_too_large(tmp_path: Path) -> None:
    members = ((tarfile.TarInfo(f"proc/{number}"), bytes(1 << 20)) for number in range(65))
    with pytest.raises(UsageError, match="or more than 67108864 in all"):
        inventory(tar(tmp_path / "big.tar", *members))


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
def test_compressed_archives_are_refused(
    compress: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    """They may announce, and hold, more than any memory."""
    path = pack(Tree(Directory(HOSTS / "iaa-svm")), tmp_path / "host.tar")
    path.write_bytes(compress(path.read_bytes()))
    with pytest.raises(UsageError, match="neither a directory nor a capture"):
        inventory(path)


@pytest.mark.parametrize("number", ["x", "0", "-13", "99999", "9" * 5000])
def test_numbers_of_errors_that_are_none(number: str, tmp_path: Path) -> None:
    member = tarfile.TarInfo("proc/cpuinfo")
    member.pax_headers = {"CODECS_CORE.errno": number}
    with pytest.raises(UsageError, match="neither a directory nor a capture"):
        inventory(tar(tmp_path / "odd.tar", (member, b"")))


def test_endless_names_are_refused(tmp_path: Path) -> None:
    path = tar(tmp_path / "deep.tar", (tarfile.TarInfo("a/" * 3000 + "a"), b""))
    with pytest.raises(UsageError, match="6001 characters"):
        inventory(path)


def test_cut_short(tmp_path: Path) -> None:
    whole = pack(Tree(Directory(HOSTS / "iaa-svm")), tmp_path / "host.tar").read_bytes()
    for length in range(0, len(whole), 1337):
        path = tmp_path / "cut.tar"
        path.write_bytes(whole[:length])
        try:
            inventory(path)
        except UsageError:
            continue
