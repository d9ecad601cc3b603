"""What a process has used so far, and whether it listens: read from the kernel."""

from __future__ import annotations

import time
from pathlib import Path

_SCHEDULER_CLOCK = 2


def cpu_seconds(pid: int) -> float:
    """The CPU time of all threads of a process, those that have ended included."""
    # The number of another process's clock is made of its pid: clock_getcpuclockid(3).
    return time.clock_gettime((~pid << 3) | _SCHEDULER_CLOCK)


def peak(pid: int | str = "self") -> int:
    """The most memory that a process has had, in bytes."""
    return _status(pid, "VmHWM")


def resident(pid: int | str = "self") -> int:
    """The memory that a process has, in bytes."""
    return _status(pid, "VmRSS")


def _status(pid: int | str, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(f"process {pid} has ended")


def wait_until_it_listens(pid: int, port: int, *, timeout: float = 20.0) -> None:
    """Wait until something listens at a TCP port of the network that a process sees."""
    give_up = time.monotonic() + timeout
    ending, listening = f":{port:04X}", "0A"
    while time.monotonic() < give_up:
        for table in ("tcp", "tcp6"):
            path = Path(f"/proc/{pid}/net/{table}")
            for line in path.read_text().splitlines()[1:] if path.exists() else ():
                _, local, _, state, *_ = line.split()
                if local.endswith(ending) and state == listening:
                    return
        time.sleep(0.005)
    raise TimeoutError(f"nothing listens at port {port} after {timeout:.0f} s")
