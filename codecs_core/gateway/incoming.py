"""Takes a guest in for a QEMU that waits for one, from a relay on the source's host."""

from __future__ import annotations

import time
from collections.abc import Callable

from codecs_core.errors import LinkError, TransferError, UsageError
from codecs_core.gateway.ingress import Ingress
from codecs_core.gateway.monitor import Monitor
from codecs_core.gateway.relay import Migration
from codecs_core.gateway.side import ENDED, LOOK, PATIENCE, MigrationProgress, Report, Side
from codecs_core.transport.tls import TlsCredentials

__all__ = ["Incoming"]


class Incoming(Side):
    """Takes one migration in for ``monitor``'s QEMU, started with ``-incoming defer``.

    ``listen`` is where the `Outgoing`, or an egress relay, connects. ``channels`` is the source's
    ``multifd-channels`` where the egress does not tell it. ``tls`` and ``insecure`` are those of
    a `Receiver`, and so is ``on_refusal``. Otherwise as `Outgoing`.
    """

    def __init__(
        self,
        monitor: Monitor,
        listen: str,
        *,
        channels: int = 2,
        socket: str | None = None,
        timeout: float = 30.0,
        tls: TlsCredentials | None = None,
        insecure: bool = False,
        on_refusal: Callable[[str], None] | None = None,
        report: Report | None = None,
    ) -> None:
        super().__init__(monitor, socket, report)
        self._channels = channels
        self._on_refusal = on_refusal
        self._waiting = False
        self._ended: list[Migration] = []
        state = self._state()
        if state != "inmigrate":
            raise UsageError(
                f"this QEMU waits for no migration, its guest is in state {state!r}; remedy: start "
                "it with -incoming defer"
            )
        self._check()
        self._relay = Ingress(
            listen,
            f"unix:{self._socket}",
            timeout=timeout,
            tls=tls,
            insecure=insecure,
            on_end=self._end,
            on_refusal=on_refusal,
            prepare=self._prepare,
        )

    @property
    def address(self) -> str:
        """Where the source's side connects, with the port that the system chose."""
        return self._relay.address

    def run(self) -> MigrationProgress:
        """Wait for a migration, and return the final figures once the guest has arrived.

        Raises `TransferError` with the reason where it fails. Who is refused before the guest's
        first byte has come does not end the wait.
        """
        thread = self._serve(self._relay)
        try:
            self._follow()
            error = self._ended[0].error
            if error is not None:
                raise TransferError(f"the migration failed: {error}; no guest has arrived here")
            try:
                return self._finish(self._ended[0])
            except LinkError as gone:
                # Cancelled at the source: its connections end as they do after a success.
                raise TransferError(
                    f"the migration failed: the source has ended it early; {gone}"
                ) from gone
        finally:
            self._relay.close()
            thread.join()
            self._put_back()
            self._clean()

    def _follow(self) -> None:
        """Wait until a migration has ended."""
        moving = False
        try:
            while not self._ended:
                if live := [each for each in self._relay.live() if each.bridge is not None]:
                    moving = True
                    self._report(self._look(live[0]))
                else:
                    self._state()
                time.sleep(LOOK)
        except LinkError:
            # A QEMU whose migration has failed ends itself; the relay knows why, a moment later.
            give_up = time.monotonic() + PATIENCE
            while moving and not self._ended and time.monotonic() < give_up:
                time.sleep(LOOK)
            if not self._ended:
                raise

    def _prepare(self, channels: int | None) -> None:
        if self._ended or any(each.bridge is not None for each in self._relay.live()):
            raise UsageError("another migration to this QEMU is under way")
        self._set({"multifd-channels": channels or self._channels, "multifd-compression": "none"})
        if not self._waiting:
            self.monitor.run("migrate-incoming", uri=f"unix:{self._socket}")
            self._waiting = True

    def _end(self, migration: Migration) -> None:
        if migration.bridge is not None:
            self._ended.append(migration)
        elif self._on_refusal is not None:
            self._on_refusal(str(migration.error))

    def _look(self, migration: Migration) -> MigrationProgress:
        return MigrationProgress.of(self.monitor.run("query-migrate"), migration)

    def _finish(self, migration: Migration) -> MigrationProgress:
        give_up = time.monotonic() + PATIENCE
        while (progress := self._look(migration)).status not in ENDED:
            if time.monotonic() > give_up:
                raise TransferError(
                    f"all has come, but QEMU says {progress.status!r}; its monitor tells more"
                )
            time.sleep(LOOK / 10)
        if progress.status != "completed":
            raise TransferError(f"QEMU says that the migration has {progress.status}")
        return progress
