"""Whether libqatzip reaches a device here: asked once a process, in a process of its own.

Where there is no device, libqatzip prints on stderr and leaks a thread-specific key every time it
looks for one, and a driver in a bad state may hold it up. A process of its own keeps all that away
from this one.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import Final

from codecs_core.codec import Geometry
from codecs_core.errors import CodecError, CodecUnavailable
from codecs_core_qatzip.environment import environment
from codecs_core_qatzip.library import LibrarySession, Settings, binding

__all__ = ["ALWAYS", "Probe", "hardware", "library_loads", "no_hardware"]

ALWAYS: Final = "CODECS_CORE_QATZIP_PROBE"
"""Environment variable: ``always`` asks libqatzip also where no device's node is seen."""

_NODES: Final = ("/dev/vfio", "/dev/qat_adf_ctl")
"""What libqatzip reaches devices by: qatlib, and Intel's driver outside of the kernel."""
_TIMEOUT = 20.0
_SAMPLE = b"page" * 16384


@dataclass(frozen=True, slots=True)
class Probe:
    """Whether a device served a packet; where none did, ``reason`` says what failed."""

    found: bool
    reason: str = ""


@functools.cache
def hardware() -> Probe:
    """Probe for a device, once a process."""
    try:
        binding()
    except CodecUnavailable as error:
        return Probe(False, str(error).removeprefix("codec 'qatzip': "))
    if os.environ.get(ALWAYS) != "always" and not any(map(_has_entries, _NODES)):
        return Probe(False, f"no device: there is neither {' nor '.join(_NODES)}")
    command = [sys.executable, "-m", __spec__.name]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
            env=environment(),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Probe(False, f"libqatzip did not answer within {_TIMEOUT:.0f} s")
    except OSError as error:
        return Probe(False, f"the probe cannot start: {error}")
    try:
        return Probe(**json.loads(done.stdout.splitlines()[-1]))
    except (IndexError, ValueError, TypeError):
        said = done.stderr.strip().splitlines()
        return Probe(
            False,
            f"libqatzip ended the probe with status {done.returncode}"
            + (f": {said[-1]}" if said else ""),
        )


def no_hardware(reason: str) -> CodecUnavailable:
    """Explain why ``backend=hardware`` cannot be had; ``reason`` is what the probe says."""
    from codecs_core.hardware.missing import no_hardware

    return no_hardware(
        "qatzip", reason, has_library=library_loads(), otherwise="dmesg, and the service qat"
    )


def library_loads() -> bool:
    """Tell whether there is a binding, and its library on this host."""
    try:
        binding()
    except CodecUnavailable:
        return False
    return True


def _has_entries(node: str) -> bool:
    """Whether there is such a node, or a directory that is not empty."""
    try:
        return bool(os.listdir(node))
    except NotADirectoryError:
        return True
    except OSError:
        return False


def _probe() -> Probe:
    try:
        session = LibrarySession(Settings(), Geometry(), compress=True)
        try:
            _, in_hardware = session.compress(memoryview(_SAMPLE))
        finally:
            session.close()
    except CodecError as error:
        return Probe(False, str(error).removeprefix("qatzip: "))
    if not in_hardware:
        return Probe(False, "libqatzip works in software")
    return Probe(True)


if __name__ == "__main__":
    print(json.dumps(asdict(_probe())))
