"""What is missing on the way down to a codec's device, and what to do about the first of it."""

from __future__ import annotations

from codecs_core.errors import CodecsCoreError, CodecUnavailable
from codecs_core.hardware.usable import obstacles

__all__ = ["no_hardware"]


def no_hardware(codec: str, reason: str, *, has_library: bool, otherwise: str) -> CodecUnavailable:
    """Explain why ``backend=hardware`` of ``codec`` cannot be had.

    ``reason`` is what the codec's probe says. The steps are those from the library down to the
    device's node, as ``multifd devices`` judges them; the remedy is that of the first. A codec
    that ``has_library`` has it wherever the inventory may look. ``otherwise`` is where to look
    when nothing is seen to be missing.
    """
    text = f"codec {codec!r}: backend hardware: {reason}"
    try:
        missing = obstacles(codec, libraries=not has_library)
    except (CodecsCoreError, OSError) as error:
        return CodecUnavailable(f"{text}; the host cannot be examined: {error}", name=codec)
    if not missing:
        return CodecUnavailable(
            f"{text}; the host's devices look usable: see {otherwise}", name=codec
        )
    steps = "; ".join(f"{number}. {each.evidence}" for number, each in enumerate(missing, 1))
    remedy = next((each.remedy.splitlines() for each in missing if each.remedy), [])
    return CodecUnavailable(
        f"{text}; missing on the way to a device: {steps}; remedy for the first: "
        + "; ".join(line.removeprefix("# ") for line in remedy),
        name=codec,
    )
