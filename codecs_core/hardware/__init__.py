"""The accelerators of a host, and what keeps them from being used."""

from __future__ import annotations

from codecs_core.hardware.inventory import Inventory, inventory
from codecs_core.hardware.usable import accelerators, obstacles

__all__ = ["Inventory", "accelerators", "inventory", "obstacles"]
