"""Which accelerators this user can use as things are, and what it takes for the others.

A device is usable where every step from the kernel's driver to the node that the user's library
opens is seen to be in order. What is unknown counts as not in order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from codecs_core.accelerator import Accelerator, Obstacle
from codecs_core.hardware.inventory import inventory
from codecs_core.hardware.methods import IAA, QAT
from codecs_core.hardware.pci import PCI
from codecs_core.hardware.qat import VFIO_DRIVER
from codecs_core.hardware.tree import Unknown

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from codecs_core.hardware.iaa import IaaDevice
    from codecs_core.hardware.inventory import Inventory
    from codecs_core.hardware.qat import QatDevice

__all__ = ["accelerators", "has_svm", "obstacles"]

IOMMU_ON = "# enable VT-d in the firmware, add intel_iommu=on to the kernel's command line, reboot"
SVM_ON = "# add intel_iommu=on,sm_on to the kernel's command line (Linux 5.18 or later), reboot"
LOCKED_MEMORY = 16 << 20
"""What qatlib locks for a virtual function, in bytes; its document says so."""
DRIVERS = "/sys/bus/pci/drivers"
_PACKAGES = {
    "libqatzip": "libqatzip3",
    "libqat": "libqat4",
    "libqpl": "libqpl1",
    "libaccel-config": "libaccel-config1",
}
_LIBRARIES = {QAT: ("libqatzip", "libqat"), IAA: ("libqpl", "libaccel-config")}
_KINDS = {QAT: "QuickAssist (QAT)", IAA: "In-Memory Analytics (IAA)"}
_SUITES = {"libqatzip": "version 13 and later", "libqpl": "unstable"}


def accelerators(found: Inventory) -> tuple[Accelerator, ...]:
    """Every physical device, with what stands in its way.

    A virtual function counts for its physical one; it is listed only where that is not on this
    host.
    """
    return (*_all_qat(found), *_all_iaa(found))


def obstacles(
    codec: str, root: str | os.PathLike[str] = "/", *, libraries: bool = True
) -> tuple[Obstacle, ...]:
    """What keeps ``codec`` from a device on the host below ``root``, from the library down.

    Empty where some device is usable. Of several devices, the one with the fewest obstacles
    counts. Who has the libraries already, wherever they are, asks without ``libraries``. Raises
    as `inventory`.
    """
    found = inventory(root)
    missing = tuple(_missing(found, *_LIBRARIES[codec]))
    devices = [each for each in accelerators(found) if each.codec == codec]
    ways = [tuple(o for o in each.obstacles if o not in missing) for each in devices]
    nothing = Obstacle(
        f"there is no {_KINDS[codec]} device on the PCI bus",
        "# use a host with one, or give this virtual machine a virtual function",
    )
    way = min(ways, key=len, default=(nothing,))
    return (*missing, *way) if libraries else way


def has_svm(found: Inventory) -> bool:
    """Whether processes may give some IAA device their own addresses."""
    return any(device.pasid is True for device in found.iaa)


# ── QAT ──────────────────────────────────────────────────────────────────────────────────────


def _all_qat(found: Inventory) -> Iterator[Accelerator]:
    shared = tuple(_qat_host(found))
    for device in found.qat:
        if not device.virtual:
            own = tuple(_physical(device, found))
        elif device.physical is None:
            own = tuple(_orphan(device))
        else:
            continue
        kind = f"QAT {device.model.name}{', virtual' if device.virtual else ''}"
        yield Accelerator(QAT, device.address, kind, (*own, *shared))


def _qat_host(found: Inventory) -> Iterator[Obstacle]:
    if not found.iommu.units:
        yield Obstacle("/sys/class/iommu is empty: the IOMMU is off", IOMMU_ON)
    yield from _missing(found, *_LIBRARIES[QAT])
    limit = found.locked_memory
    if isinstance(limit, int) and limit < LOCKED_MEMORY:
        yield Obstacle(
            f"this user may lock {limit >> 10} KiB of memory, and a virtual function takes "
            f"{LOCKED_MEMORY >> 20} MiB",
            "echo '@qat - memlock 524288' > /etc/security/limits.d/qat.conf\n# log in again; of "
            "a systemd service, set LimitMEMLOCK=512M",
        )


def _missing(found: Inventory, *names: str) -> Iterator[Obstacle]:
    absent = [name for name in names if found.library(name) is None]
    if absent:
        yield Obstacle(
            f"{' and '.join(absent)} {'is' if len(absent) == 1 else 'are'} not installed",
            f"apt-get install {' '.join(_PACKAGES[name] for name in absent)}\n"
            f"# of Debian, {names[0]} is in {_SUITES[names[0]]}",
        )


def _physical(device: QatDevice, found: Inventory) -> Iterator[Obstacle]:
    model = device.model
    if model.generation < 4:
        yield Obstacle(
            f"QAT generation {model.generation} works with Intel's out-of-tree driver alone, "
            "which this inventory cannot judge",
            "# install Intel's driver package; 'multifd codecs' then shows what libqatzip reaches",
        )
        return
    if device.driver != model.driver:
        yield _without_driver(device, found)
        return
    place = f"{PCI}/{device.address}"
    if not device.compresses:
        yield _without_compression(device, found)
    elif device.state != "up":
        yield Obstacle(
            f"{place}/qat/state is {_said(device.state)}", f"echo up > {place}/qat/state"
        )
    functions = [each for each in found.qat if each.virtual and each.physical == device.address]
    if not functions:
        yield _without_functions(device, found)
    elif not any(_open_to_us(each) for each in functions):
        yield _closed(functions[0])


def _without_driver(device: QatDevice, found: Inventory) -> Obstacle:
    model = device.model
    if isinstance(device.driver, Unknown):
        return Obstacle(f"the driver of {device.address} is {device.driver}")
    if device.driver is not None:
        return Obstacle(
            f"{device.address} is bound to {device.driver}, not to {model.driver}",
            f"echo {device.address} > {DRIVERS}/{device.driver}/unbind\n"
            f"echo {device.address} > {DRIVERS}/{model.driver}/bind",
        )
    if not found.firmware.get(model.firmware):
        return Obstacle(
            f"{device.address} has no driver, and /lib/firmware/{model.firmware} is missing",
            f"# install the package of linux-firmware that holds {model.firmware}\n"
            f"modprobe -r {model.module}\nmodprobe {model.module}",
        )
    if model.module not in found.modules:
        return Obstacle(
            f"{device.address} has no driver: module {model.module} is not loaded",
            f"modprobe {model.module}",
        )
    return Obstacle(
        f"{device.address} has no driver, though module {model.module} is loaded",
        f"echo {device.address} > {DRIVERS}/{model.driver}/bind",
    )


def _without_compression(device: QatDevice, found: Inventory) -> Obstacle:
    place = f"{PCI}/{device.address}"
    evidence = f"{place}/qat/cfg_services is {_said(device.services)}, without dc"
    if device.services is None:
        return Obstacle(
            f"there is no {place}/qat/cfg_services, so that the device's services are unknown",
            "# use Linux 6.0 or later, which tells and sets them",
        )
    if found.qat_service.running:
        return Obstacle(
            evidence,
            "sed -i '/^ServicesEnabled=/d' /etc/sysconfig/qat\n"
            "echo ServicesEnabled=dc >> /etc/sysconfig/qat\nsystemctl restart qat",
        )
    free = f"echo 0 > {place}/sriov_numvfs\n" if device.vfs else ""
    again = f"\necho {device.vfs} > {place}/sriov_numvfs" if device.vfs else ""
    return Obstacle(
        evidence,
        f"{free}echo down > {place}/qat/state\necho dc > {place}/qat/cfg_services\n"
        f"echo up > {place}/qat/state{again}",
    )


def _without_functions(device: QatDevice, found: Inventory) -> Obstacle:
    place = f"{PCI}/{device.address}"
    if not device.total_vfs:
        return Obstacle(
            f"{place}/sriov_totalvfs is {_said(device.total_vfs)}: no virtual functions to use",
            "# enable SR-IOV in the firmware",
        )
    evidence = f"{place}/sriov_numvfs is {_said(device.vfs)}: no virtual functions to use"
    if found.qat_service.installed:
        return Obstacle(evidence, "systemctl enable --now qat")
    return Obstacle(
        evidence,
        f"modprobe vfio-pci\necho {device.total_vfs} > {place}/sriov_numvfs\n"
        "# or install qatlib, whose service does this for all devices",
    )


def _open_to_us(function: QatDevice) -> bool:
    return (
        function.driver == VFIO_DRIVER
        and isinstance(function.group, str)
        and function.node_usable is True
    )


def _closed(function: QatDevice) -> Obstacle:
    """Why a virtual function cannot be used; its siblings are most often in the same state."""
    place = f"{PCI}/{function.address}"
    if function.driver != VFIO_DRIVER:
        return Obstacle(
            f"virtual function {function.address} is bound to {_said(function.driver)}, not to "
            f"{VFIO_DRIVER}",
            f"modprobe {VFIO_DRIVER}\necho {VFIO_DRIVER} > {place}/driver_override\n"
            + (f"echo {function.address} > {place}/driver/unbind\n" if function.driver else "")
            + f"echo {function.address} > /sys/bus/pci/drivers_probe",
        )
    if not isinstance(function.group, str):
        return Obstacle(f"virtual function {function.address} has no IOMMU group", IOMMU_ON)
    node = f"/dev/vfio/{function.group}"
    if function.node_usable is None:
        return Obstacle(f"{node} of {function.address} is missing", f"modprobe {VFIO_DRIVER}")
    return Obstacle(
        f"this user may not read and write {node}",
        f"chgrp qat {node}\nchmod 660 {node}\nusermod -a -G qat USER\n# log in again",
    )


def _orphan(device: QatDevice) -> Iterator[Obstacle]:
    """A function that was given to a virtual machine."""
    yield Obstacle(
        f"the physical function of {device.address} is on another host, so that its services "
        "are unknown",
        "# 'multifd codecs' shows what libqatzip reaches",
    )
    if not _open_to_us(device):
        yield _closed(device)


# ── IAA ──────────────────────────────────────────────────────────────────────────────────────


def _all_iaa(found: Inventory) -> Iterator[Accelerator]:
    shared = tuple(_iaa_host(found))
    for device in found.iaa:
        own = tuple(_iaa_device(device, found))
        yield Accelerator(IAA, device.name or device.address, "IAA", (*own, *shared))


def _iaa_host(found: Inventory) -> Iterator[Obstacle]:
    if not found.cpu.enqcmd:
        yield Obstacle(
            "/proc/cpuinfo has no flag enqcmd: work cannot be given to a shared queue", SVM_ON
        )
    yield from _missing(found, *_LIBRARIES[IAA])


def _iaa_device(device: IaaDevice, found: Inventory) -> Iterator[Obstacle]:
    if device.name is None:
        if device.driver is None and "idxd" not in found.modules:
            yield Obstacle(
                f"{device.address} has no driver: module idxd is not loaded", "modprobe idxd"
            )
        else:
            yield Obstacle(
                f"{device.address} is bound to {_said(device.driver)}, not to idxd",
                f"echo {device.address} > {DRIVERS}/idxd/bind",
            )
        return
    if device.pasid is not True:
        yield Obstacle(
            f"/sys/bus/dsa/devices/{device.name}/pasid_enabled is {_said(device.pasid)}: no "
            "shared virtual memory",
            SVM_ON,
        )
    if device.state != "enabled":
        yield Obstacle(
            f"/sys/bus/dsa/devices/{device.name}/state is {_said(device.state)}",
            _configure(device, device.queues[0].name if device.queues else None),
        )
    elif not any(each.state == "enabled" for each in device.queues):
        yield Obstacle(
            f"{device.name} has no work queue that is enabled",
            _configure(device, device.queues[0].name if device.queues else None),
        )
    else:
        yield from _queues(device)


def _queues(device: IaaDevice) -> Iterator[Obstacle]:
    enabled = [each for each in device.queues if each.state == "enabled"]
    fitting = [each for each in enabled if (each.mode, each.type) == ("shared", "user")]
    if not fitting:
        queue = enabled[0]
        yield Obstacle(
            f"{queue.name} has mode {_said(queue.mode)} and type {_said(queue.type)}; "
            "libqpl uses shared user queues alone",
            _configure(device, queue.name),
        )
    elif not any(each.node_usable is True for each in fitting):
        node = f"/dev/iax/{fitting[0].name}"
        if fitting[0].node_usable is None:
            yield Obstacle(f"{node} is missing", "udevadm trigger --subsystem-match=dsa")
        else:
            yield Obstacle(f"this user may not read and write {node}", f"chown USER {node}")


def _configure(device: IaaDevice, queue: str | None) -> str:
    """The commands of QEMU's document, for one shared user queue with all engines."""
    number = (device.name or "").removeprefix("iax")
    queue = queue or f"wq{number}.0"
    engines = device.max_engines if isinstance(device.max_engines, int) else 8
    stop = [f"accel-config disable-device {device.name}"] if device.state == "enabled" else []
    size = device.max_queues_size if isinstance(device.max_queues_size, int) else 128
    return "\n".join(
        [
            *stop,
            f"for engine in {device.name}/engine{number}.{{0..{min(engines, 8) - 1}}}; "
            "do accel-config config-engine $engine -g 0; done",
            f"accel-config config-wq {device.name}/{queue} -g 0 -s {size} -p 10 -b 1 -t {size} "
            "-m shared -y user -n multifd -d user",
            f"accel-config enable-device {device.name}",
            f"accel-config enable-wq {device.name}/{queue}",
        ]
    )


def _said(value: object) -> str:
    """A value as the evidence quotes it."""
    if value is None:
        return "missing"
    if isinstance(value, tuple):
        return repr(";".join(value))
    if isinstance(value, bool):
        return str(int(value))
    return str(value) if isinstance(value, Unknown) else repr(value)
