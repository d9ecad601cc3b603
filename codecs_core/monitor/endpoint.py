"""A small HTTP server for a few pages, in one thread, that a hostile visitor cannot hold up.

A visitor gets one answer and `_PATIENCE` seconds for all of it; more than `_VISITORS` at once are
not served: the oldest has to go. Nothing that is not a short GET is looked at.
"""

from __future__ import annotations

import asyncio
import http.client
import io
import os
import socket
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final, Self, TypeAlias

from codecs_core.errors import LinkError, UsageError
from codecs_core.transport.address import parse
from codecs_core.transport.connect import listen

__all__ = ["Endpoint", "Page"]

Page: TypeAlias = Callable[[str], tuple[str, bytes]]
"""Makes a page: the request's Accept header → content type and body."""

_HEAD: Final = 8192
"""How many bytes a request may have."""
_PATIENCE: Final = 5.0
_VISITORS: Final = 16
_WAITING: Final = 64
"""How many may wait to be let in; that many are taken in at a time."""
_LOOK: Final = 0.05
_TEXT: Final = "text/plain; charset=utf-8"


class Endpoint:
    """Serves ``pages``, by path, at ``uri`` while the ``with`` block runs.

    ``uri`` is ``tcp:HOST:PORT``, ``unix:PATH`` or a listening ``fd:N``; what other hosts reach
    needs ``insecure``, and cannot be had with ``None``. Raises `UsageError` for another,
    `LinkError` where it cannot listen.
    """

    def __init__(
        self, uri: str, pages: Mapping[str, Page], *, insecure: bool | None = False
    ) -> None:
        self._pages = pages
        self._listener = listen(
            parse(uri), insecure=insecure, remedy="unix:PATH or tcp:127.0.0.1:PORT"
        )
        if self._listener.fileno() is None:
            self._listener.close()
            raise UsageError(f"{uri} is one connection; serve metrics on tcp: or unix:")
        self._visitors: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._stop: Callable[[], object] = bool
        self._ready = threading.Event()
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="multifd-metrics", daemon=True)

    @property
    def address(self) -> str:
        """Where it is served, with the port that the system chose."""
        return self._listener.address

    def __enter__(self) -> Self:
        try:
            self._thread.start()
        except RuntimeError as error:
            self._listener.close()
            raise LinkError(f"serving at {self.address}: no thread can be started") from error
        try:
            self._ready.wait()
        except BaseException:
            # Ctrl-C: who could not enter does not exit.
            self.__exit__()
            raise
        if self._error is not None:
            self._listener.close()
            raise LinkError(f"serving at {self.address}: {self._error}") from self._error
        return self

    def __exit__(self, *exception: object) -> None:
        self._ready.wait()
        self._stop()
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except OSError as error:
            self._error = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        loop, stopped = asyncio.get_running_loop(), asyncio.Event()
        # What goes wrong with a visitor is no news for the command's log.
        loop.set_exception_handler(lambda loop, context: None)
        fd = self._listener.fileno()
        assert fd is not None
        # A copy: asyncio closes it, and the listener, which knows its path, its own.
        sock = socket.socket(fileno=os.dup(fd))
        server = await asyncio.start_server(self._visit, sock=sock, limit=_HEAD, backlog=_WAITING)
        self._stop = lambda: loop.call_soon_threadsafe(stopped.set)
        self._ready.set()
        await stopped.wait()
        # Nobody more is let in; who is half in becomes a visitor first, which a closed server would
        # not allow, and is then let go.
        loop.remove_reader(sock)
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for writer in self._visitors.values():
                writer.transport.abort()
            await asyncio.wait(others, timeout=_LOOK)
        server.close()

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._visitors) >= _VISITORS:
            self._visitors.pop(next(iter(self._visitors))).transport.abort()
        self._visitors[task] = writer
        try:
            async with asyncio.timeout(_PATIENCE):
                head = await reader.readuntil(b"\r\n\r\n")
                # Drained is then: all of it has gone to the kernel.
                writer.transport.set_write_buffer_limits(0)
                writer.write(self._answer(head))
                await writer.drain()
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError):
            # Slow, gone, or not HTTP: whoever it is, there is nobody to tell.
            pass
        finally:
            writer.transport.abort()
            self._visitors.pop(task, None)

    def _answer(self, head: bytes) -> bytes:
        """Return the response to a request."""
        status, content_type, body = self._look_up(head)
        lines = (
            f"HTTP/1.1 {status.value} {status.phrase}",
            f"Content-Type: {content_type}",
            f"Content-Length: {len(body)}",
            "Connection: close",
            "",
            "",
        )
        return "\r\n".join(lines).encode() + (b"" if head.startswith(b"HEAD ") else body)

    def _look_up(self, head: bytes) -> tuple[HTTPStatus, str, bytes]:
        line, _, rest = head.partition(b"\r\n")
        words = line.split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return HTTPStatus.BAD_REQUEST, _TEXT, b"not a request of HTTP/1.1\n"
        if words[0] not in (b"GET", b"HEAD"):
            return HTTPStatus.METHOD_NOT_ALLOWED, _TEXT, b"there is only GET\n"
        page = self._pages.get(words[1].partition(b"?")[0].decode("ascii", "replace"))
        if page is None:
            known = ", ".join(self._pages)
            return HTTPStatus.NOT_FOUND, _TEXT, f"there is {known}\n".encode()
        try:
            accept = http.client.parse_headers(io.BytesIO(rest)).get("accept", "")
        except http.client.HTTPException as error:
            return HTTPStatus.BAD_REQUEST, _TEXT, f"{error}\n".encode()
        try:
            return HTTPStatus.OK, *page(accept)
        except Exception as error:
            # A plugin's statistics may raise anything; the transfer goes on.
            text = f"{type(error).__name__}: {error}\n".encode(errors="replace")
            return HTTPStatus.INTERNAL_SERVER_ERROR, _TEXT, text
