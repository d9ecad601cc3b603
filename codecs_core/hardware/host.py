"""What the accelerators' use depends on beside the devices: kernel, IOMMU, libraries, limits.

Everything is picked from the files by what it is for, so that a capture holds no more: of
``/proc/cmdline`` the words about the IOMMU, of dpkg's database the versions of five packages.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from codecs_core.hardware.tree import Flag, Number, Text, Tree

__all__ = [
    "MODULES",
    "Cpu",
    "HugePages",
    "Iommu",
    "Library",
    "QatService",
    "cpu",
    "firmware",
    "huge_pages",
    "iommu",
    "kernel",
    "libraries",
    "locked_memory",
    "modules",
    "qat_service",
]

_LIBRARY_PLACES: Final = (
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/local/lib64",
    "/usr/lib",
)
_LIBRARIES: Final = {
    "libqatzip": "libqatzip.so.3",
    "libqat": "libqat.so.4",
    "libusdm": "libusdm.so.0",
    "libqpl": "libqpl.so.1",
    "libaccel-config": "libaccel-config.so.1",
}
_DPKG: Final = "/var/lib/dpkg/status"
_DPKG_SIZE: Final = 64 << 20
_CPU_FIELDS: Final = ("processor", "vendor_id", "model name", "physical id", "flags")
_CPU_FLAGS: Final = ("enqcmd", "hypervisor")
_SCALABLE_MODE: Final = 1 << 43

MODULES: Final = (
    "intel_qat", "qat_4xxx", "qat_420xx", "qat_6xxx", "qat_c62x", "qat_c3xxx", "qat_dh895xcc",
    "usdm_drv", "vfio_pci", "idxd", "iaa_crypto",
)  # fmt: skip
"""The kernel modules that matter here."""

_CAP_IPC_LOCK = 14
"""The capability that lifts the limit, by its number in ``linux/capability.h``."""


@dataclass(frozen=True, slots=True)
class Cpu:
    """The processors: ``count`` logical ones in ``sockets``.

    ``enqcmd`` tells whether they have the instruction that submits work to a shared queue.
    """

    vendor: str | None
    model: str | None
    count: int
    sockets: int
    enqcmd: bool
    virtual: bool


@dataclass(frozen=True, slots=True)
class Iommu:
    """The IOMMU. ``units`` is empty where the kernel uses none.

    ``scalable_mode`` tells whether the hardware of every unit is capable of it (bit 43 of VT-d's
    extended capability register); whether it is on shows at the devices, in ``pasid``.
    ``options`` are the words about the IOMMU on the kernel's command line.
    """

    units: tuple[str, ...]
    scalable_mode: Flag
    options: tuple[str, ...] | Text


@dataclass(frozen=True, slots=True)
class Library:
    """A library of user space: the file that its name leads to, and the package's version."""

    name: str
    path: str | None
    version: str | None


@dataclass(frozen=True, slots=True)
class QatService:
    """qatlib's service ``qat``, which makes and shares out the virtual functions."""

    installed: bool
    enabled: bool
    running: bool
    policy: str | None
    services: str | None


@dataclass(frozen=True, slots=True)
class HugePages:
    """The reserved huge pages of one size, in bytes."""

    size: int
    total: Number
    free: Number


def kernel(tree: Tree) -> Text:
    """The kernel's release: ``6.8.0-45-generic``."""
    return tree.word("/proc/sys/kernel/osrelease")


def cpu(tree: Tree) -> Cpu:
    """Read the processors' model."""
    lines = tree.lines("/proc/cpuinfo", keep=_cpu_fields, limit=16 << 20)
    pairs = [
        (name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines)
    ]
    first = dict(reversed(pairs))
    flags = first.get("flags", "").split()
    return Cpu(
        vendor=first.get("vendor_id"),
        model=first.get("model name"),
        count=sum(name == "processor" for name, _ in pairs),
        sockets=len({value for name, value in pairs if name == "physical id"}),
        enqcmd="enqcmd" in flags,
        virtual="hypervisor" in flags,
    )


def _cpu_fields(content: str) -> str:
    kept: list[str] = []
    known: set[str] = set()
    for line in content.splitlines():
        name, _, value = (part.strip() for part in line.partition(":"))
        if name not in _CPU_FIELDS or (name not in ("processor", "physical id") and name in known):
            continue
        known.add(name)
        if name == "flags":
            value = " ".join(flag for flag in value.split() if flag in _CPU_FLAGS)
        kept.append(f"{name}: {value}\n")
    return "".join(kept)


def iommu(tree: Tree) -> Iommu:
    """Read what the kernel tells of the IOMMU."""
    place = "/sys/class/iommu"
    units = [unit for unit in tree.entries(place) if tree.exists(f"{place}/{unit}")]
    capabilities = [
        _hexadecimal(tree.word(f"{place}/{unit}/intel-iommu/ecap"))
        for unit in units
        if unit.startswith("dmar")
    ]
    known = [each for each in capabilities if each is not None]
    options = tree.text("/proc/cmdline", keep=_iommu_options)
    return Iommu(
        units=tuple(units),
        scalable_mode=all(each & _SCALABLE_MODE for each in known) if known else None,
        options=tuple(options.split()) if isinstance(options, str) else options,
    )


def _iommu_options(content: str) -> str:
    return " ".join(re.findall(r"(?<!\S)(?:intel_iommu|amd_iommu|iommu(?:\.\w+)?)=\S*", content))


def _hexadecimal(text: Text) -> int | None:
    try:
        return int(text, 16) if isinstance(text, str) else None
    except ValueError:
        return None


def libraries(tree: Tree) -> tuple[Library, ...]:
    """Look for the accelerators' libraries where the loader does by default."""
    versions = _package_versions(tree)
    found = []
    for name, soname in _LIBRARIES.items():
        targets = (tree.target(f"{place}/{soname}") for place in _LIBRARY_PLACES)
        path = next((each for each in targets if isinstance(each, str)), None)
        version = versions.get(name) if path and "/local/" not in path else None
        if path and version is None and (match := re.search(r"\.so\.(\d+(?:\.\d+)+)$", path)):
            version = match[1]
        found.append(Library(name, path, version))
    return tuple(found)


def _package_versions(tree: Tree) -> dict[str, str]:
    versions = {}
    for line in tree.lines(_DPKG, keep=_packages, limit=_DPKG_SIZE):
        package, _, version = line.partition(" ")
        versions[re.sub(r"\d+$", "", package)] = version
    return versions


def _packages(content: str) -> str:
    """Of dpkg's database, a line ``package version`` for each library that is installed."""
    if "Package:" not in content:
        return content
    wanted = "|".join(map(re.escape, _LIBRARIES))
    lines = []
    for match in re.finditer(rf"^Package: ((?:{wanted})\d*)\n", content, re.MULTILINE):
        stanza = content[match.start() :].partition("\n\n")[0]
        version = re.search(r"^Version: (\S+)$", stanza, re.MULTILINE)
        if version and re.search(r"^Status: .* installed$", stanza, re.MULTILINE):
            lines.append(f"{match[1]} {version[1]}\n")
    return "".join(lines)


def modules(tree: Tree) -> tuple[str, ...]:
    """Of `MODULES`, those that are loaded or built in."""
    return tuple(each for each in MODULES if tree.exists(f"/sys/module/{each}"))


def firmware(tree: Tree, name: str) -> bool:
    """Whether the kernel can find a firmware file, plain or compressed."""
    return any(
        tree.exists(f"{place}/{name}{suffix}")
        for place in ("/lib/firmware/updates", "/lib/firmware")
        for suffix in ("", ".xz", ".zst")
    )


def qat_service(tree: Tree) -> QatService:
    """Read the state of qatlib's service from its files."""
    units = ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
    settings: dict[str, str] = {}
    for path in ("/etc/sysconfig/qat", "/etc/default/qat"):
        for line in tree.lines(path, keep=_qat_settings):
            name, _, value = line.partition("=")
            settings.setdefault(name, value.strip("\"'"))
    return QatService(
        installed=any(tree.exists(f"{place}/qat.service") for place in units),
        enabled=tree.exists("/etc/systemd/system/multi-user.target.wants/qat.service"),
        running=tree.exists("/run/qat/qatmgr.pid"),
        policy=settings.get("POLICY"),
        services=settings.get("ServicesEnabled"),
    )


def _qat_settings(content: str) -> str:
    return "\n".join(re.findall(r"^(?:POLICY|ServicesEnabled)=.*$", content, re.MULTILINE))


def huge_pages(tree: Tree) -> tuple[HugePages, ...]:
    """Read the pools of huge pages."""
    place = "/sys/kernel/mm/hugepages"
    return tuple(
        HugePages(
            size=int(match[1]) << 10,
            total=tree.number(f"{place}/{name}/nr_hugepages"),
            free=tree.number(f"{place}/{name}/free_hugepages"),
        )
        for name in tree.entries(place)
        if (match := re.fullmatch(r"hugepages-(\d{1,12})kB", name))
    )


def locked_memory(tree: Tree) -> Number:
    """How many bytes this process may lock; ``None`` where there is no limit."""
    capabilities = tree.text("/proc/self/status", keep=_capabilities_line)
    held = re.search(r"([0-9a-f]{1,16})$", capabilities) if isinstance(capabilities, str) else None
    if held and int(held[1], 16) >> _CAP_IPC_LOCK & 1:
        return None
    content = tree.text("/proc/self/limits", keep=_locked_memory_line)
    if not isinstance(content, str):
        return content
    match = re.search(r"(\d{1,19})\s", content)
    return int(match[1]) if match else None


def _capabilities_line(content: str) -> str:
    return "\n".join(re.findall(r"^CapEff:.*$", content, re.MULTILINE))


def _locked_memory_line(content: str) -> str:
    return "\n".join(re.findall(r"^Max locked memory.*$", content, re.MULTILINE))
