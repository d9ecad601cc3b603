"""QuickAssist devices, as PCI and the kernel's QAT driver show them.

The ids are those of ``drivers/crypto/intel/qat/qat_common/adf_accel_devices.h``; the files are
described in the kernel's ``Documentation/ABI/testing/sysfs-driver-qat`` and ``sysfs-bus-pci``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from codecs_core.hardware.pci import PCI, functions

if TYPE_CHECKING:
    from codecs_core.hardware.tree import Flag, Number, Text, Tree

__all__ = ["MODELS", "VFIO_DRIVER", "Model", "QatDevice", "read"]

VFIO_DRIVER: Final = "vfio-pci"
"""The driver that hands a virtual function to user space."""

COMPRESSION: Final = "dc"


@dataclass(frozen=True, slots=True)
class Model:
    """A kind of device: its generation, and the driver and module of its physical function."""

    name: str
    generation: int
    driver: str
    module: str
    firmware: str


def _model(name: str, generation: int, driver: str = "", module: str = "") -> Model:
    driver = driver or name
    module = module or f"qat_{driver}"
    return Model(name, generation, driver, module, f"{module}.bin")


_4XXX = {"driver": "4xxx"}
MODELS: Final = {
    0x4940: (_model("4xxx", 4), False),
    0x4941: (_model("4xxx", 4), True),
    0x4942: (_model("401xx", 4, **_4XXX), False),
    0x4943: (_model("401xx", 4, **_4XXX), True),
    0x4944: (_model("402xx", 4, **_4XXX), False),
    0x4945: (_model("402xx", 4, **_4XXX), True),
    0x4946: (_model("420xx", 4), False),
    0x4947: (_model("420xx", 4), True),
    0x4948: (_model("6xxx", 6), False),
    0x4949: (_model("6xxx", 6), True),
    0x37C8: (_model("c62x", 2, "c6xx", "qat_c62x"), False),
    0x37C9: (_model("c62x", 2, "c6xx", "qat_c62x"), True),
    0x19E2: (_model("c3xxx", 2), False),
    0x19E3: (_model("c3xxx", 2), True),
    0x0435: (_model("dh895xcc", 2), False),
    0x0443: (_model("dh895xcc", 2), True),
}
"""PCI device id → the model, and whether it is a virtual function."""


@dataclass(frozen=True, slots=True)
class QatDevice:
    """One function of a QAT device.

    ``state`` and ``services`` are the driver's, and exist for physical functions of generation 4
    and later on Linux 6.0 and later. ``physical`` is the address of a virtual function's physical
    one, ``None`` where that is not on this host (a virtual machine that was given the VF).
    ``node_usable`` says whether this user may read and write ``/dev/vfio/<group>``.
    """

    address: str
    model: Model
    virtual: bool
    numa_node: Number
    driver: Text
    state: Text
    services: tuple[str, ...] | Text
    total_vfs: Number
    vfs: Number
    physical: Text
    group: Text
    node_usable: Flag

    @property
    def compresses(self) -> bool:
        """Whether the services are known to include compression."""
        return isinstance(self.services, tuple) and COMPRESSION in self.services


def read(tree: Tree) -> tuple[QatDevice, ...]:
    """Find the functions of all QAT devices, in the order of their addresses."""
    return tuple(
        _device(tree, address, *MODELS[number])
        for address, number in functions(tree)
        if number in MODELS
    )


def _device(tree: Tree, address: str, model: Model, virtual: bool) -> QatDevice:
    place = f"{PCI}/{address}"
    services = tree.word(f"{place}/qat/cfg_services")
    group = tree.name(f"{place}/iommu_group")
    return QatDevice(
        address=address,
        model=model,
        virtual=virtual,
        numa_node=tree.number(f"{place}/numa_node"),
        driver=tree.name(f"{place}/driver"),
        state=tree.word(f"{place}/qat/state"),
        services=tuple(services.split(";")) if isinstance(services, str) else services,
        total_vfs=tree.number(f"{place}/sriov_totalvfs"),
        vfs=tree.number(f"{place}/sriov_numvfs"),
        physical=tree.name(f"{place}/physfn"),
        group=group,
        node_usable=tree.usable(f"/dev/vfio/{group}") if isinstance(group, str) else None,
    )
