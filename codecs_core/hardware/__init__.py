"""The accelerators of a host, what keeps them from being used, and which codec suits."""

from __future__ import annotations

from codecs_core.hardware.advice import Advice, advise
from codecs_core.hardware.inventory import Inventory, inventory
from codecs_core.hardware.rules import Rule
from codecs_core.hardware.usable import accelerators

__all__ = ["Advice", "Inventory", "Rule", "accelerators", "advise", "inventory"]
