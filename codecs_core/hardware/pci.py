"""The PCI functions of one vendor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from codecs_core.hardware.tree import Tree

__all__ = ["PCI", "functions"]

PCI: Final = "/sys/bus/pci/devices"
_INTEL: Final = 0x8086


def functions(tree: Tree) -> Iterator[tuple[str, int]]:
    """Yield the address and the device id of every PCI function of Intel's."""
    for address in tree.entries(PCI):
        if tree.number(f"{PCI}/{address}/vendor") == _INTEL:
            number = tree.number(f"{PCI}/{address}/device")
            if isinstance(number, int):
                yield address, number
