"""What is missing on the way down to a device, and what to do about the first of it."""

from __future__ import annotations

from codecs_core.errors import CodecUnavailable

__all__ = ["no_hardware"]


def no_hardware(reason: str) -> CodecUnavailable:
    """Explain why ``backend=hardware`` cannot be had; ``reason`` is what the probe says."""
    return CodecUnavailable(f"codec 'qatzip': backend hardware: {reason}", name="qatzip")
