"""What the long-running commands tell on stderr: lines for people, or JSON lines for programs.

Rules of this module:

* An event has a name, a level and facts. `EVENTS` has all of them; `docs/metrics.md` has the same
  table.
* No fact is a secret: no token, no key, nothing of what is transferred.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

import click

from codecs_core.cli.output import Command, printable

__all__ = ["EVENTS", "LEVELS", "Log", "log_options"]

LEVELS: Final = ("info", "warning", "error")
EVENTS: Final = {
    "listening": ("info", "connections are taken in at `address`"),
    "metrics": ("info", "metrics and the status are served at `address`"),
    "session_begun": ("info", "a transfer or migration, `session`, with `peer` begins"),
    "session_completed": ("info", "it has succeeded, after `seconds`"),
    "session_failed": ("error", "it has failed with `error`, of `kind`"),
    "connection_refused": ("warning", "somebody was not let in, for this `reason`"),
    "partial_kept": ("warning", "what has come of `file` is kept as `partial`"),
    "whole_kept": ("warning", "`file` is whole; the sender may not have been told"),
    "guest": ("warning", "where the guest of an interrupted migration is"),
    "stopping": ("info", "SIGTERM has come: what is under way may end"),
    "failed": ("error", "the command has failed with `error`, of `kind`; exit status `status`"),
}
"""Every event: its level, and when it is told of."""

_CONTEXT: Final = f"{__name__}.log"


class Log:
    """Tells of events. ``level`` is the least that is told of; any thread may use it."""

    def __init__(self, *, as_json: bool = False, level: str = "info") -> None:
        self.as_json = as_json
        self._least = LEVELS.index(level)
        self._lock = threading.Lock()

    @classmethod
    def current(cls, context: click.Context | None, given: Sequence[str] = ()) -> Log:
        """Return the log of the command that runs.

        Where its options could not be understood, that is what ``given`` looks like.
        """
        found = None if context is None else context.meta.get(_CONTEXT)
        if isinstance(found, Log):
            return found
        pairs = zip(given, (*given[1:], ""), strict=True)
        return cls(as_json="--log=json" in given or ("--log", "json") in pairs)

    @property
    def draws(self) -> bool:
        """Whether stderr is a terminal of a person, who likes to see how far it is."""
        return not self.as_json and sys.stderr.isatty()

    def tell(self, event: str, text: str | None, *, aside: bool = False, **facts: Any) -> None:
        """Tell of ``event``: ``text`` for people, and ``facts`` for programs.

        ``aside``: people hear it only at a terminal; ``None``: they do not.
        """
        level, _ = EVENTS[event]
        if LEVELS.index(level) < self._least:
            return
        if self.as_json:
            rounded = {n: round(v, 6) if isinstance(v, float) else v for n, v in facts.items()}
            line = json.dumps(_head(level, event, text) | rounded)
        elif text is None or (aside and not self.draws):
            return
        else:
            line = printable(text)
        # Where nobody reads it, the transfer goes on.
        with self._lock, suppress(OSError):
            click.echo(line, err=True)


def _head(level: str, event: str, text: str | None) -> dict[str, str]:
    time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    head = {"time": time, "level": level, "event": event}
    return head if text is None else head | {"message": text}


def log_options(command: Command) -> Command:
    """Add ``--log`` and ``--log-level``. The callback finds its log by `Log.current`."""
    command = click.option(
        "--log-level",
        type=click.Choice(LEVELS),
        default="info",
        show_default=True,
        is_eager=True,
        expose_value=False,
        callback=_keep,
        help="The least that is told of on stderr.",
    )(command)
    return click.option(
        "--log",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        is_eager=True,
        expose_value=False,
        callback=_keep,
        help="How events are told of on stderr: in lines for people, or in JSON lines.",
    )(command)


def _keep(ctx: click.Context, option: click.Parameter, value: str) -> None:
    given = ctx.meta.setdefault(f"{__name__}.given", {})
    given[option.name] = value
    ctx.meta[_CONTEXT] = Log(
        as_json=given.get("log") == "json", level=given.get("log_level", "info")
    )
