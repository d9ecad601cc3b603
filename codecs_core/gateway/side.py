"""One side of a migration that is driven from here: a QEMU by its monitor, and a relay beside it.

::

    Outgoing: monitor ─▶ source QEMU ─▶ Egress ═══▶ Ingress ─▶ destination QEMU ◀─ monitor: Incoming
"""

from __future__ import annotations

import os
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from codecs_core.errors import CodecsCoreError, UsageError
from codecs_core.gateway.monitor import Monitor
from codecs_core.gateway.relay import Migration, Relay

__all__ = ["ENDED", "LOOK", "PATIENCE", "MigrationProgress", "Report", "Side"]

ON: Final = ("multifd", "return-path")
"""The capabilities that a migration through relays needs."""
OFF: Final = (
    "background-snapshot", "compress", "mapped-ram", "postcopy-ram", "rdma-pin-all", "x-colo",
    "xbzrle", "zero-copy-send",
)  # fmt: skip
"""The capabilities that do not go with it."""
ENDED: Final = ("completed", "failed", "cancelled")
LOOK: Final = 0.25
"""Seconds between two looks at QEMU."""
PATIENCE: Final = 15.0
"""Seconds in which what has been told to end must have ended."""

Report = Callable[["MigrationProgress"], None]


@dataclass(frozen=True)
class MigrationProgress:
    """How far a migration is, as QEMU and the relay tell it.

    Sizes in bytes, times in seconds, rates in bytes per second. ``status`` is QEMU's word.
    ``remaining_bytes`` of memory are dirty, and become more by ``dirty_rate``; ``rounds`` is how
    often QEMU has looked. ``memory_bytes`` of pages became ``wire_bytes`` between the relays.
    ``downtime`` is what QEMU expects, and at the end what it was. ``methods`` tells how many
    packets each codec has served, by its label.
    """

    status: str
    seconds: float = 0.0
    total_bytes: int = 0
    remaining_bytes: int = 0
    normal_pages: int = 0
    zero_pages: int = 0
    rounds: int = 0
    dirty_rate: float = 0.0
    downtime: float | None = None
    memory_bytes: int = 0
    wire_bytes: int = 0
    main_bytes: int = 0
    methods: Mapping[str, int] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """Bytes of pages to bytes on the wire; 0 before anything was sent."""
        return self.memory_bytes / self.wire_bytes if self.wire_bytes else 0.0

    @property
    def rate(self) -> float:
        """Bytes of pages a second."""
        return self.memory_bytes / self.seconds if self.seconds else 0.0

    @property
    def wire_rate(self) -> float:
        """Bytes on the wire a second."""
        return self.wire_bytes / self.seconds if self.seconds else 0.0

    @property
    def eta(self) -> float | None:
        """Seconds to go at the rates so far; ``None`` while memory is dirtied faster than sent."""
        gain = self.rate - self.dirty_rate
        return self.remaining_bytes / gain if gain > 0 else None

    @classmethod
    def of(cls, info: Mapping[str, Any], migration: Migration | None) -> MigrationProgress:
        """Put together what ``query-migrate`` and a relay's migration say."""
        ram = info.get("ram", {})
        page = ram.get("page-size", 4096)
        downtime = info.get("downtime", info.get("expected-downtime"))
        bridge = None if migration is None else migration.bridge
        return cls(
            status=info.get("status", "none"),
            seconds=info.get("total-time", 0) / 1000
            or (0.0 if migration is None else time.monotonic() - migration.started),
            total_bytes=ram.get("total", 0),
            remaining_bytes=ram.get("remaining", 0),
            normal_pages=ram.get("normal", 0),
            zero_pages=ram.get("duplicate", 0),
            rounds=ram.get("dirty-sync-count", 0),
            dirty_rate=float(ram.get("dirty-pages-rate", 0) * page),
            downtime=None if downtime is None else downtime / 1000,
            memory_bytes=0 if bridge is None else bridge.pages * page,
            wire_bytes=0 if bridge is None else bridge.wire_bytes,
            main_bytes=0 if bridge is None else bridge.main_bytes,
            methods={} if bridge is None else bridge.methods,
        )


class Side:
    """What both sides share: a monitor, a relay, and QEMU's settings, which are put back."""

    def __init__(self, monitor: Monitor, socket: str | None, report: Report | None) -> None:
        self.monitor = monitor
        self._report = report or (lambda progress: None)
        self._socket, self._scratch = _place(monitor, socket)
        self._migrations: list[Migration] = []
        self._capabilities: dict[str, bool] = {}
        self._parameters: dict[str, Any] = {}

    def _check(self) -> None:
        """Raise `UsageError` where this QEMU cannot do it."""
        known = {
            each["capability"]: each["state"]
            for each in self.monitor.run("query-migrate-capabilities")
        }
        missing = [each for each in ON if each not in known]
        if missing:
            raise UsageError(f"QEMU {self.monitor.name} lacks the capability {missing[0]}")
        if self.monitor.run("query-migrate-parameters").get("tls-creds"):
            raise UsageError(
                "tls-creds is set, but QEMU talks to its relay on this host: a unix socket is "
                "enough there; remedy: migrate_set_parameter tls-creds ''"
            )
        wanted = dict.fromkeys(ON, True) | {each: False for each in OFF if each in known}
        self._capabilities = {e: known[e] for e, state in wanted.items() if known[e] != state}

    def _set(self, parameters: Mapping[str, Any]) -> None:
        """Set what the migration needs, and remember what was there."""
        before = self.monitor.run("query-migrate-parameters")
        if not self._parameters:
            self._parameters = {each: before[each] for each in parameters if each in before}
        self._switch({each: not state for each, state in self._capabilities.items()})
        self.monitor.run("migrate-set-parameters", **parameters)

    def _put_back(self) -> None:
        """Leave QEMU's settings as they were found, where it still lives."""
        parameters, self._parameters = self._parameters, {}
        capabilities, self._capabilities = self._capabilities, {}
        with suppress(CodecsCoreError):
            if parameters:
                self.monitor.run("migrate-set-parameters", **parameters)
                self._switch(capabilities)

    def _switch(self, states: Mapping[str, bool]) -> None:
        if states:
            settings = [{"capability": each, "state": state} for each, state in states.items()]
            self.monitor.run("migrate-set-capabilities", capabilities=settings)

    def _serve(self, relay: Relay) -> threading.Thread:
        thread = threading.Thread(target=relay.serve, name="relay", daemon=True)
        thread.start()
        return thread

    def _clean(self) -> None:
        for each in (self._socket, self._scratch):
            with suppress(OSError):
                if each is not None and each.is_dir():
                    each.rmdir()
                elif each is not None:
                    each.unlink()

    def _state(self) -> str:
        return str(self.monitor.run("query-status")["status"])


def _place(monitor: Monitor, socket: str | None) -> tuple[Path, Path | None]:
    """Where QEMU and its relay meet, and the directory that was made for it, if any."""
    if socket is not None:
        return Path(socket), None
    beside = Path(monitor.path).resolve().parent
    name = f"multifd-{secrets.token_hex(4)}.sock"
    # QEMU has reached its monitor's directory, whatever confines it.
    if os.access(beside, os.W_OK) and len(os.fsencode(beside / name)) <= 107:
        return beside / name, None
    made = Path(tempfile.mkdtemp(prefix="multifd-"))
    if monitor.user != os.geteuid() and os.geteuid() == 0:
        os.chown(made, monitor.user, -1)
    return made / name, made
