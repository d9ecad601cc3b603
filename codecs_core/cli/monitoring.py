"""What a long-running command shows of itself: metrics, a log, and word to systemd.

A command has it by a decorator::

    @monitoring_options("receiver")
    def command(..., monitoring: Monitoring) -> None:
        with monitoring:
            monitoring.listening(address)
            with monitoring.session(peer, progress, "received"):
                ...
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Self

import click

from codecs_core.cli import explain
from codecs_core.cli.completion import uri_option
from codecs_core.cli.log import Log, log_options
from codecs_core.cli.output import Command, rate
from codecs_core.errors import UsageError
from codecs_core.monitor.ledger import Ledger
from codecs_core.monitor.metrics import kind_of
from codecs_core.monitor.systemd import Service

if TYPE_CHECKING:
    from collections.abc import Mapping

    from codecs_core.engine.progress import Progress
    from codecs_core.monitor.endpoint import Page
    from codecs_core.monitor.metrics import Role

__all__ = ["Monitoring", "monitoring_options"]


class Monitoring:
    """Everything that one command shows, while the ``with`` block runs.

    ``metrics`` is where it serves them, if at all. ``alive`` tells systemd's watchdog whether the
    command does what it is there for.
    """

    def __init__(self, role: Role, log: Log, metrics: str | None, *, insecure: bool | None) -> None:
        self.log = log
        self.ledger = Ledger(role, version("codecs-core"))
        self.alive: Callable[[], bool] = lambda: True
        self._metrics = metrics
        self._insecure = insecure
        self._service = Service(self._line, lambda: self.alive())
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            if self._metrics is not None:
                self._serve(self._metrics, stack)
            stack.enter_context(self._service)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def listening(self, address: str, *, aside: bool = False) -> None:
        """Tell that connections are taken in at ``address``."""
        self.log.tell("listening", f"listening on {address}", aside=aside, address=address)
        self._service.ready()

    def refused(self, why: str) -> None:
        """Tell of a connection that was refused."""
        self.ledger.refuse()
        self.log.tell("connection_refused", f"refused: {why}", reason=why)

    def stopping(self) -> None:
        """Tell that nobody more is taken in."""
        self._service.stopping()
        self.log.tell("stopping", None)

    @contextmanager
    def session(
        self, peer: str, progress: Callable[[], Progress], done: str | None
    ) -> Iterator[None]:
        """Tell of a command's only session; people at a terminal hear what was ``done``, if any."""
        from codecs_core.cli.progress import summary

        number = self.begin(peer, progress)
        try:
            yield
        except BaseException as error:
            self.end(number, {"peer": peer, "seconds": self.ledger.look(number).seconds}, error)
            raise
        final = self.ledger.look(number)
        facts = {
            "peer": peer,
            "seconds": final.seconds,
            "codec": final.codec,
            "channels": len(final.channels),
            "memory_bytes": final.memory_bytes,
            "wire_bytes": final.wire_bytes,
            "repairs": final.repairs,
        }
        self.end(number, facts, text=done and f"{done} {summary(final)}", aside=True)

    def begin(self, peer: str, progress: Callable[[], Progress]) -> int:
        """Tell that a session has begun; return its number."""
        number = self.ledger.begin(peer, progress)
        self.log.tell("session_begun", None, session=number, peer=peer)
        self._service.ready()
        return number

    def end(
        self,
        number: int | None,
        facts: Mapping[str, Any],
        error: BaseException | None = None,
        text: str | None = None,
        *,
        aside: bool = False,
    ) -> None:
        """Tell that a session has ended; ``None`` where it failed before it began."""
        if number is not None:
            self.ledger.end(number, error)
        elif error is not None:
            self.ledger.fail(error)
        facts = {"session": number, **facts}
        if error is None:
            self.log.tell("session_completed", text, aside=aside, **facts)
        else:
            facts |= {"kind": kind_of(error), "error": explain(error)[1]}
            self.log.tell("session_failed", text, aside=aside, **facts)

    def _serve(self, uri: str, stack: ExitStack) -> None:
        pages = _pages(self.ledger)
        from codecs_core.monitor.endpoint import Endpoint

        endpoint = stack.enter_context(Endpoint(uri, pages, insecure=self._insecure))
        chosen = endpoint.address != uri
        self.log.tell(
            "metrics", f"metrics at {endpoint.address}", aside=not chosen, address=endpoint.address
        )

    def _line(self) -> str:
        """Say what the command is doing, in a line for ``systemctl status``."""
        status = self.ledger.status()
        moving = sum(each.progress.rate for each in status.sessions)
        return (
            f"{len(status.sessions)} under way, {rate(moving)}; "
            f"{status.completed} completed, {status.failed} failed"
        )


def _pages(ledger: Ledger) -> Mapping[str, Page]:
    """Return what is served. Raises `UsageError` where the library for metrics is missing."""
    from codecs_core.monitor import status

    try:
        from codecs_core.monitor.exposition import Exposition
    except ImportError as error:
        raise UsageError(
            f"--metrics needs the package prometheus_client: {error}; remedy: "
            "pip install 'codecs-core[metrics]', or pip install prometheus-client"
        ) from error
    exposition = Exposition(ledger)
    return {"/metrics": exposition.render, status.PATH: lambda accept: status.render(ledger)}


def monitoring_options(role: Role, *, listens: bool = True) -> Callable[[Command], Command]:
    """Add ``--metrics``, ``--log`` and ``--log-level``; the callback receives ``monitoring``.

    The ``--insecure`` of a command that ``listens`` counts for its metrics, too. One that dials has
    none: its metrics are for its own host.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def monitored(*args: Any, metrics: str | None, **values: Any) -> Any:
            log = Log.current(click.get_current_context())
            insecure = values["insecure"] if listens else None
            monitoring = Monitoring(role, log, metrics, insecure=insecure)
            return command(*args, monitoring=monitoring, **values)

        return log_options(_metrics_option(monitored))  # type: ignore[return-value]

    return decorate


def _metrics_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return uri_option(
        "--metrics",
        help="Serve metrics to Prometheus, and the status to 'multifd top': tcp:HOST:PORT, "
        "unix:PATH.",
    )(command)
