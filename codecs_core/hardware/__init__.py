"""The accelerators of a host, what keeps them from being used, and the codec that suits it."""

from __future__ import annotations

from codecs_core.hardware.advice import Advice, Contender, advise
from codecs_core.hardware.inventory import Inventory, inventory
from codecs_core.hardware.methods import Speed
from codecs_core.hardware.rules import Rule
from codecs_core.hardware.usable import accelerators, obstacles

__all__ = [
    "Advice",
    "Contender",
    "Inventory",
    "Rule",
    "Speed",
    "accelerators",
    "advise",
    "inventory",
    "obstacles",
]
