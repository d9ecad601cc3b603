"""The network between two ends, which a test can cut."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

__all__ = ["Way"]


class Way:
    """The network between two ends: `cut` loses all its connections, or some."""

    def __init__(self, to: str) -> None:
        host, port = to.removeprefix("tcp:").rsplit(":", 1)
        self.to = (host, int(port))
        self.server = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp:127.0.0.1:{self.server.getsockname()[1]}"
        self.pairs: list[tuple[socket.socket, socket.socket]] = []
        self.open = True
        self.passed = 0
        self.threads = [threading.Thread(target=self._accept)]
        self.threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self.server.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self.to, 5) if self.open else None
            except OSError:
                far = None
            if far is None:
                near.close()
                continue
            self.pairs.append((near, far))
            for ends in ((near, far), (far, near)):
                thread = threading.Thread(target=self._pump, args=ends)
                thread.start()
                self.threads.append(thread)

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 15):
                target.sendall(data)
                self.passed += len(data)
            target.shutdown(socket.SHUT_WR)

    def cut(self, chosen: Callable[[int], bool] = lambda number: True) -> None:
        """Lose what is on its way, by a reset at both ends."""
        for number, pair in enumerate(self.pairs):
            if chosen(number):
                for each in pair:
                    with suppress(OSError):
                        each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                        each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with suppress(OSError):
            self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()
        self.cut()
        for each in self.threads:
            each.join()
        for pair in self.pairs:
            for sock in pair:
                sock.close()
