"""Moves the guest of a QEMU to another host, compressed on the way.

The guest runs on at the source unless the destination has said that it has arrived: QEMU itself
waits for that word on the return path, which is always on here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from codecs_core.engine.methods import Choice
from codecs_core.errors import CodecsCoreError, LinkError, TransferError, UsageError
from codecs_core.gateway.egress import Egress
from codecs_core.gateway.monitor import Monitor
from codecs_core.gateway.relay import Migration
from codecs_core.gateway.side import ENDED, LOOK, PATIENCE, MigrationProgress, Report, Side
from codecs_core.transport.tls import TlsCredentials

__all__ = ["Outgoing"]

_UNLIMITED: Final = 1 << 40
_STANDING: Final = ("paused", "finish-migrate")


class Outgoing(Side):
    """Moves the guest of ``monitor``'s QEMU to the `Incoming`, or ingress relay, at ``to``.

    ``max_bandwidth`` (bytes of memory per second, before compression) and ``downtime_limit``
    (seconds) are QEMU's; ``None`` is no limit, and QEMU's own setting. ``socket`` is where QEMU
    meets the relay; by default beside the monitor's socket. ``retry_for`` is as for an `Egress`.
    ``tls`` protects what leaves this host. ``on_start`` and ``on_end`` are those of a `Relay`.
    ``report`` is told of the progress, several times a
    second.
    """

    def __init__(
        self,
        monitor: Monitor,
        to: str,
        *,
        codec: str | Choice,
        channels: int = 2,
        max_bandwidth: float | None = None,
        downtime_limit: float | None = None,
        socket: str | None = None,
        retry_for: float = 0.0,
        timeout: float = 30.0,
        tls: TlsCredentials | None = None,
        on_start: Callable[[Migration], None] | None = None,
        on_end: Callable[[Migration], None] | None = None,
        report: Report | None = None,
    ) -> None:
        super().__init__(monitor, socket, report)
        self._channels = channels
        self._settings: dict[str, Any] = {
            "multifd-channels": channels,
            "multifd-compression": "none",
            "max-bandwidth": _UNLIMITED if max_bandwidth is None else int(max_bandwidth),
        }
        if downtime_limit is not None:
            self._settings["downtime-limit"] = round(downtime_limit * 1000)
        self._was_running = False
        self._begun: Migration | None = None
        self._ended: list[Migration] = []
        self._on_start = on_start
        self._on_end = on_end
        self._relay = Egress(
            f"unix:{self._socket}",
            to,
            codec=codec,
            channels=channels,
            retry_for=retry_for,
            timeout=timeout,
            tls=tls,
            on_start=self._begin,
            on_end=self._end,
        )

    def run(self) -> MigrationProgress:
        """Migrate, and return the final figures once the guest has arrived.

        Raises `TransferError` with the reason where it fails, `UsageError` where this QEMU cannot
        do it. Whatever is raised, `KeyboardInterrupt` too, the migration is cancelled before.
        """
        thread = self._serve(self._relay)
        try:
            self._prepare()
            try:
                self.monitor.run("migrate", uri=f"unix:{self._socket}")
                progress = self._follow()
            except BaseException:
                progress = self._cancel()
                if progress.status != "completed":
                    raise
            if progress.status != "completed":
                raise TransferError(f"{self._reason()}; {self.whereabouts()}")
            return progress
        finally:
            self._relay.close()
            thread.join()
            self._put_back()
            self._clean()

    def whereabouts(self) -> str:
        """Say where the guest is, as far as the source knows."""
        give_up = time.monotonic() + PATIENCE
        try:
            # QEMU says that a migration has failed a moment before the guest goes on.
            while (state := self._state()) in _STANDING and self._was_running:
                if time.monotonic() > give_up:
                    break
                time.sleep(LOOK)
        except CodecsCoreError as error:
            return f"where the guest is cannot be told: {error}"
        if state == "postmigrate":
            return "the guest has left: it is at the destination"
        if state == "running" or not self._was_running:
            return f"the guest is at the source, {state}"
        return f"the guest is at the source, {state}; 'cont' in its monitor lets it go on"

    def _prepare(self) -> None:
        state = self._state()
        self._was_running = state == "running"
        if state in ("inmigrate", "postmigrate"):
            raise UsageError(f"this QEMU is no source: its guest is in state {state!r}")
        status = self.monitor.run("query-migrate").get("status", "none")
        if status not in (*ENDED, "none"):
            raise UsageError(f"a migration is under way here already: {status}")
        self._check()
        self._set(self._settings)
        _admit(self._socket, self.monitor.user)

    def _begin(self, migration: Migration) -> None:
        self._begun = migration
        if self._on_start is not None:
            self._on_start(migration)

    def _end(self, migration: Migration) -> None:
        self._ended.append(migration)
        if self._on_end is not None:
            self._on_end(migration)

    def _follow(self) -> MigrationProgress:
        while (progress := self._look()).status not in ENDED:
            self._report(progress)
            time.sleep(LOOK)
        # The last bytes of the figures: the relay ends a moment after QEMU.
        give_up = time.monotonic() + PATIENCE
        while self._relay.is_busy() and time.monotonic() < give_up:
            time.sleep(LOOK / 10)
        return self._look()

    def _look(self) -> MigrationProgress:
        return MigrationProgress.of(self.monitor.run("query-migrate"), self._begun)

    def _cancel(self) -> MigrationProgress:
        """Cancel the migration, and return how it has ended; it may be complete after all."""
        give_up = time.monotonic() + PATIENCE
        try:
            self.monitor.run("migrate_cancel")
            while (progress := self._look()).status not in ENDED and time.monotonic() < give_up:
                time.sleep(LOOK)
            return progress
        except CodecsCoreError:
            # QEMU is gone, or does not answer: without its relay the migration ends, too.
            return MigrationProgress("unknown")

    def _reason(self) -> str:
        """Why the migration has failed: the relay knows more than QEMU, where it was the cause."""
        info = self.monitor.run("query-migrate")
        for each in self._ended:
            if each.error is not None:
                return f"the migration failed: {each.error}"
        detail = info.get("error-desc")
        return f"the migration was {info['status']}" + (f": {detail}" if detail else "")


def _admit(socket: Path, user: int) -> None:
    """Let QEMU, and nobody else, connect to our socket."""
    try:
        os.chmod(socket, 0o600)
        if user != os.geteuid():
            os.chown(socket, user, -1)
    except OSError as error:
        raise LinkError(
            f"QEMU runs under user {user}, which cannot be let in at {socket}: {error.strerror}; "
            "remedy: run as that user, or as root"
        ) from error
