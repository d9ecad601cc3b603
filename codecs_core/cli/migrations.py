"""What is told of the migrations that pass a relay."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any

from codecs_core.cli import explain
from codecs_core.cli.output import duration, size
from codecs_core.cli.progress import parts

if TYPE_CHECKING:
    from codecs_core.cli.monitoring import Monitoring
    from codecs_core.gateway.relay import Migration

__all__ = ["Teller"]


class Teller:
    """Tells of each migration when it begins and ends.

    With ``as_json`` one that has ended is a JSON object on a line of stdout. ``alone``: it is the
    command's only one, which tells people of it itself.
    """

    def __init__(
        self, monitoring: Monitoring, *, as_json: bool = False, alone: bool = False
    ) -> None:
        self._monitoring = monitoring
        self._as_json = as_json
        self._alone = alone
        self._numbers: dict[int, int] = {}
        self._lock = threading.Lock()

    def begun(self, migration: Migration) -> None:
        """Tell that a migration is under way."""
        number = self._monitoring.begin(migration.peer, migration.progress)
        self._numbers[id(migration)] = number

    def ended(self, migration: Migration) -> None:
        """Tell how a migration has ended."""
        facts = _facts(migration)
        text = None if self._as_json or self._alone else _sentence(facts)
        number = self._numbers.pop(id(migration), None)
        told = {name: fact for name, fact in facts.items() if name != "error"}
        self._monitoring.end(number, told, migration.error, text)
        if self._as_json:
            with self._lock:
                print(json.dumps(facts), flush=True)


def _facts(migration: Migration) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "peer": migration.peer,
        "seconds": time.monotonic() - migration.started,
        "channels": len(migration.numbers),
        "error": None if migration.error is None else explain(migration.error)[1],
    }
    if migration.bridge is not None:
        bridge = migration.bridge
        facts |= {
            "packets": bridge.packets,
            "pages": bridge.pages,
            "channel_bytes": bridge.wire_bytes,
            "main_bytes": bridge.main_bytes,
            "methods": bridge.methods,
        }
    return facts


def _sentence(facts: dict[str, Any]) -> str:
    if facts["error"] is not None:
        return f"migration from {facts['peer']} failed: {facts['error']}"
    return (
        f"migration from {facts['peer']} passed in {duration(facts['seconds'])}: "
        f"{facts['pages']} pages in {facts['packets']} packets, "
        f"{size(facts['channel_bytes'])} on {facts['channels']} channels"
        f"{' by ' + parts(facts['methods']) if facts['methods'] else ''}"
    )
