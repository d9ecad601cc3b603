"""What is missing on the way down to a device, and what to do about the first of it."""

from __future__ import annotations

from codecs_core.errors import CodecsCoreError, CodecUnavailable
from codecs_core_qatzip.library import binding

__all__ = ["no_hardware"]


def no_hardware(reason: str) -> CodecUnavailable:
    """Explain why ``backend=hardware`` cannot be had.

    ``reason`` is what the probe says. The steps are those from the library down to the device's
    node, as ``multifd devices`` judges them; the remedy is that of the first.
    """
    from codecs_core.hardware import obstacles

    text = f"codec 'qatzip': backend hardware: {reason}"
    try:
        missing = obstacles("qatzip", libraries=not _library_loads())
    except (CodecsCoreError, OSError) as error:
        return CodecUnavailable(f"{text}; the host cannot be examined: {error}", name="qatzip")
    if not missing:
        return CodecUnavailable(
            f"{text}; the host's devices look usable: see dmesg, and the service qat", name="qatzip"
        )
    steps = "; ".join(f"{number}. {each.evidence}" for number, each in enumerate(missing, 1))
    remedy = next((each.remedy.splitlines() for each in missing if each.remedy), [])
    return CodecUnavailable(
        f"{text}; missing on the way to a device: {steps}; remedy for the first: "
        + "; ".join(line.removeprefix("# ") for line in remedy),
        name="qatzip",
    )


def _library_loads() -> bool:
    """The library may lie where the host's inventory does not look for it."""
    try:
        binding()
    except CodecUnavailable:
        return False
    return True
