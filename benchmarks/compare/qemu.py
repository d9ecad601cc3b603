"""QEMU's own multifd: two QEMUs, and a guest that is stopped, whose memory is the data."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, cast

from qemu.qmp.legacy import QEMUMonitorProtocol

from benchmarks.compare.chain import Chain, chain
from benchmarks.compare.run import LIMIT, End, Failed, Run, Scene, need
from benchmarks.migration import QEMU, prepare
from benchmarks.processes import cpu_seconds, peak

PORT = 4444
PERIOD = 0.01
"""Seconds between two questions whether the migration has ended."""


@dataclass(frozen=True)
class Qemu:
    """A migration by a method, at its default level.

    The guest never runs, so there is one round. Both ends have all their memory present before it
    begins. The time is the source's own ``total-time``: from the command to the destination's word
    that it has everything.
    """

    method: str = "none"
    channels: int = 2

    def run(self, scene: Scene) -> Run:
        """Migrate once."""
        need(QEMU, package="qemu-system-x86")
        link = scene.link
        with ExitStack() as stack:
            backend = f"memory-backend-ram,id=ram,size={scene.size},prealloc=on"
            destination, far = self._start(
                stack, scene, "destination", backend, "-incoming", "defer"
            )
            backend = (
                f"memory-backend-file,id=ram,size={scene.size},mem-path={scene.data},"
                "share=off,prealloc=on"
            )
            source, near = self._start(stack, scene, "source", backend)
            for each in (destination, source):
                prepare(each, self.method, self.channels)
            uri = f"tcp:{link.address}:{PORT}"
            destination.cmd("migrate-incoming", uri=uri)
            pids = (near.first, far.first)
            used, before = [cpu_seconds(pid) for pid in pids], link.carried()
            source.cmd("migrate", uri=uri)
            info = _until_it_ends(source)
            sent, received = (
                End(cpu_seconds(pid) - spent, peak(pid) - scene.size)
                for pid, spent in zip(pids, used, strict=True)
            )
            wire = link.carried() - before
        return Run(
            scene.size, info["total-time"] / 1000, sent, received, wire, info["ram"]["transferred"]
        )

    def _start(
        self, stack: ExitStack, scene: Scene, side: str, backend: str, *arguments: str
    ) -> tuple[QEMUMonitorProtocol, Chain]:
        """Start a QEMU, and connect its monitor."""
        path = scene.place / f"{side}.qmp"
        monitor = QEMUMonitorProtocol(str(path), server=True)
        stack.callback(path.unlink, missing_ok=True)
        stack.callback(monitor.close)
        place = scene.link.near_command if side == "source" else scene.link.far_command
        process = stack.enter_context(
            chain(
                place(
                    QEMU, "-object", backend, "-machine", "pc,accel=tcg,memory-backend=ram",
                    "-m", f"{scene.size >> 20}M", "-S", "-display", "none", "-nodefaults",
                    "-no-user-config", "-qmp", f"unix:{path}", *arguments,
                )
            )
        )  # fmt: skip
        try:
            monitor.accept(timeout=60)
        except Exception as error:
            raise Failed(f"{QEMU} did not start: {process.said()}") from error
        return monitor, process


def _until_it_ends(source: QEMUMonitorProtocol) -> dict[str, Any]:
    give_up = time.monotonic() + LIMIT
    while time.monotonic() < give_up:
        info = cast("dict[str, Any]", source.cmd("query-migrate"))
        # The state is set before the time is.
        if info["status"] == "completed" and info["total-time"]:
            return info
        if info["status"] in ("failed", "cancelled"):
            raise Failed(f"the migration {info['status']}: {info.get('error-desc', '')}")
        time.sleep(PERIOD)
    raise Failed(f"the migration took longer than {LIMIT:.0f} s")
