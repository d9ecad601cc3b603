"""A proxy between two ends that does to their connections what a plan says, byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import struct
import threading
from collections import deque
from collections.abc import Iterable
from typing import Any

from .plan import Fault, Kind

__all__ = ["Proxy"]

_PIECE = 64 * 1024
_DELAYED = 20
_REORDER_WAIT = 0.5


class _Cut(Exception):
    """A connection is to be closed."""


class Proxy:
    """Listens at ``address``, leads every connection on to ``onward``, and strikes.

    Addresses are ``tcp:HOST:PORT`` or ``unix:PATH``. ``fired`` are the faults that have struck,
    ``passed`` the bytes that have passed, by connection and direction. By hand, from any thread:
    `hold` and `release` stall and resume everything, `cut` closes one connection.
    """

    def __init__(self, listen: str, onward: str, faults: Iterable[Fault] = ()) -> None:
        self.fired: list[Fault] = []
        self.passed: dict[tuple[int, bool], int] = {}
        self._faults = tuple(faults)
        self._onward = onward
        self._listener = _socket(listen)
        self._listener.bind(_place(listen))
        self._listener.listen(300)
        self._listener.setblocking(False)
        self.address = listen
        if listen.startswith("tcp:"):
            self.address = f"tcp:127.0.0.1:{self._listener.getsockname()[1]}"
        self._loop = asyncio.new_event_loop()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._errors: list[BaseException] = []
        self._led: dict[int, asyncio.Event] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._serving = self._loop.create_task(self._serve())
        self._thread = threading.Thread(target=self._run, name="fault proxy")
        self._thread.start()

    def hold(self) -> None:
        """Let nothing pass any more."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def release(self) -> None:
        """Let everything pass again."""
        self._loop.call_soon_threadsafe(self._flowing.set)

    def cut(self, connection: int) -> None:
        """Close a connection, and return when that is done."""

        async def cancel() -> None:
            while connection not in self._tasks:
                await asyncio.sleep(0.001)
            self._tasks[connection].cancel()
            await asyncio.wait([self._tasks[connection]])

        asyncio.run_coroutine_threadsafe(cancel(), self._loop).result()

    def close(self) -> None:
        """Close everything. Raises what the proxy itself has failed with."""
        self._loop.call_soon_threadsafe(self._serving.cancel)
        self._thread.join()
        for error in self._errors:
            raise error

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _run(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._serving)
        self._loop.close()

    async def _serve(self) -> None:
        number = 0
        try:
            while True:
                inner, _ = await self._loop.sock_accept(self._listener)
                self._tasks[number] = task = self._loop.create_task(self._lead(number, inner))
                # One that is cancelled before it has begun closes nothing.
                task.add_done_callback(lambda _, sock=inner: sock.close())
                number += 1
        finally:
            self._listener.close()
            for task in self._tasks.values():
                task.cancel()
            ends = await asyncio.gather(*self._tasks.values(), return_exceptions=True)
            self._errors = [each for each in ends if isinstance(each, Exception)]

    def _is_led(self, number: int) -> asyncio.Event:
        return self._led.setdefault(number, asyncio.Event())

    async def _lead(self, number: int, inner: socket.socket) -> None:
        """Lead a connection on, and pass it both ways until it ends."""
        outer = _socket(self._onward)
        outer.setblocking(False)
        reset = False
        try:
            await self._take_turn(number)
            await self._loop.sock_connect(outer, _place(self._onward))
            self._is_led(number).set()
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._pass(number, True, inner, outer))
                ways.create_task(self._pass(number, False, outer, inner))
        except* _Cut as cut:
            reset = any(each.args == (Kind.RESET,) for each in cut.exceptions)
        except* OSError:
            # One of the two ends has gone, which the other is to see.
            pass
        finally:
            self._is_led(number).set()
            for each in (inner, outer):
                if reset:
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                each.close()

    async def _take_turn(self, number: int) -> None:
        for fault in self._faults:
            if fault.kind is Kind.REORDER and fault.connection == number:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._is_led(number + 1).wait(), _REORDER_WAIT)
                    self.fired.append(fault)

    async def _pass(
        self, number: int, up: bool, source: socket.socket, sink: socket.socket
    ) -> None:
        due = deque(
            sorted(
                (
                    each
                    for each in self._faults
                    if (each.connection, each.up) == (number, up) and each.kind is not Kind.REORDER
                ),
                key=lambda each: each.at,
            )
        )
        way = _Way()
        while True:
            while due and due[0].at <= way.position:
                self.fired.append(due[0])
                await self._strike(due.popleft(), way, sink)
            limit = min(due[0].at - way.position if due else _PIECE, _PIECE)
            data = bytearray(await self._loop.sock_recv(source, 1 if way.narrow else limit))
            await self._flowing.wait()
            if not data:
                break
            way.bend(data)
            if way.delayed:
                way.delayed -= 1
                await asyncio.sleep(way.delay)
            if not way.swallows:
                await self._loop.sock_sendall(sink, data)
            way.position += len(data)
            self.passed[number, up] = way.position
        if not way.swallows:
            sink.shutdown(socket.SHUT_WR)

    async def _strike(self, fault: Fault, way: _Way, sink: socket.socket) -> None:
        match fault.kind:
            case Kind.CUT | Kind.RESET:
                raise _Cut(fault.kind)
            case Kind.TRUNCATE:
                way.swallows = True
                sink.shutdown(socket.SHUT_WR)
            case Kind.STALL:
                await asyncio.sleep(1e6 if math.isinf(fault.amount) else fault.amount)
            case Kind.DELAY:
                way.delayed, way.delay = _DELAYED, fault.amount
            case Kind.SPLIT:
                way.narrow = int(fault.amount)
            case Kind.FLIP:
                way.mask ^= 1 << int(fault.amount)


class _Way:
    """One direction of a connection, and what has happened to it."""

    def __init__(self) -> None:
        self.position = 0
        self.swallows = False
        self.delayed = 0
        self.delay = 0.0
        self.narrow = 0
        self.mask = 0

    def bend(self, data: bytearray) -> None:
        """Flip what is to be flipped, and count what comes byte by byte."""
        data[0] ^= self.mask
        self.mask = 0
        self.narrow = max(0, self.narrow - 1)


def _socket(address: str) -> socket.socket:
    if address.startswith("unix:"):
        return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _place(address: str) -> Any:
    if address.startswith("unix:"):
        return address.removeprefix("unix:")
    host, port = address.removeprefix("tcp:").split(":")
    return host, int(port)
