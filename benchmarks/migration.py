"""What benchmarks that start QEMU share."""

from __future__ import annotations

from qemu.qmp.legacy import QEMUMonitorProtocol

QEMU = "qemu-system-x86_64"


def prepare(monitor: QEMUMonitorProtocol, method: str, channels: int) -> None:
    """Set a QEMU up for a migration that nothing but the link holds back."""
    states = [{"capability": each, "state": True} for each in ("multifd", "return-path")]
    monitor.cmd("migrate-set-capabilities", capabilities=states)
    monitor.cmd(
        "migrate-set-parameters",
        **{
            "multifd-channels": channels,
            "multifd-compression": method,
            "max-bandwidth": 1 << 40,
        },
    )
