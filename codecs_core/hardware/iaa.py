"""In-Memory Analytics Accelerators, as PCI and the kernel's idxd driver show them.

The files are described in the kernel's ``Documentation/ABI/stable/sysfs-driver-dma-idxd``, which
writes ``dsa<m>`` for both kinds of device; IAA's are called ``iax<m>``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from codecs_core.hardware.pci import PCI, functions

if TYPE_CHECKING:
    from codecs_core.hardware.tree import Flag, Number, Text, Tree

__all__ = ["DRIVER", "IaaDevice", "WorkQueue", "read"]

DRIVER: Final = "idxd"
_DEVICE: Final = 0x0CFE
_BUS: Final = "/sys/bus/dsa/devices"


@dataclass(frozen=True, slots=True)
class WorkQueue:
    """One work queue. ``node_usable`` says whether this user may use ``/dev/iax/<name>``."""

    name: str
    state: Text
    mode: Text
    type: Text
    size: Number
    block_on_fault: Flag
    node_usable: Flag


@dataclass(frozen=True, slots=True)
class IaaDevice:
    """One device. ``name`` is idxd's, ``None`` where the driver has not taken the device.

    ``pasid`` says whether processes may give it their own addresses: shared virtual memory.
    """

    address: str
    name: str | None
    numa_node: Number
    driver: Text
    state: Text
    pasid: Flag
    version: Number
    max_queues: Number
    max_queues_size: Number
    max_engines: Number
    queues: tuple[WorkQueue, ...]


def read(tree: Tree) -> tuple[IaaDevice, ...]:
    """Find all IAA devices, in the order of their addresses."""
    names: dict[str, str] = {}
    for name in tree.entries(_BUS):
        if re.fullmatch(r"iax\d+", name):
            target = tree.target(f"{_BUS}/{name}")
            if isinstance(target, str):
                names[target.split("/")[-2]] = name
    return tuple(
        _device(tree, address, names.get(address))
        for address, number in functions(tree)
        if number == _DEVICE
    )


def _device(tree: Tree, address: str, name: str | None) -> IaaDevice:
    place = f"{PCI}/{address}"
    driver = tree.name(f"{place}/driver")
    numa_node = tree.number(f"{place}/numa_node")
    if name is None:
        return IaaDevice(address, None, numa_node, driver, None, None, None, None, None, None, ())
    place = f"{_BUS}/{name}"
    return IaaDevice(
        address=address,
        name=name,
        numa_node=numa_node,
        driver=driver,
        state=tree.word(f"{place}/state"),
        pasid=tree.flag(f"{place}/pasid_enabled"),
        version=tree.number(f"{place}/version"),
        max_queues=tree.number(f"{place}/max_work_queues"),
        max_queues_size=tree.number(f"{place}/max_work_queues_size"),
        max_engines=tree.number(f"{place}/max_engines"),
        queues=tuple(
            _queue(tree, f"{place}/{each}", each)
            for each in tree.entries(place)
            if re.fullmatch(r"wq\d+\.\d+", each)
        ),
    )


def _queue(tree: Tree, place: str, name: str) -> WorkQueue:
    return WorkQueue(
        name=name,
        state=tree.word(f"{place}/state"),
        mode=tree.word(f"{place}/mode"),
        type=tree.word(f"{place}/type"),
        size=tree.number(f"{place}/size"),
        block_on_fault=tree.flag(f"{place}/block_on_fault"),
        node_usable=tree.usable(f"/dev/iax/{name}"),
    )
