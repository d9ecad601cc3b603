"""What a Python process that this one starts needs to find the same modules."""

from __future__ import annotations

import os
import sys

__all__ = ["environment"]


def environment() -> dict[str, str]:
    """Return this process's environment, with its module search path."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
