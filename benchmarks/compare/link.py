"""Where the two ends are, and what lies between them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks import links

LOOPBACK = "loopback"


@dataclass(frozen=True)
class Link:
    """Two hosts, by the names of their network namespaces, and the far one's address.

    ``None`` is the namespace that the harness itself is in.
    """

    near: str | None
    far: str | None
    address: str
    device: str = "lo"

    def near_command(self, *command: str) -> list[str]:
        """A command, to be run at the sending end."""
        return _inside(self.near, command)

    def far_command(self, *command: str) -> list[str]:
        """A command, to be run at the receiving end."""
        return _inside(self.far, command)

    def carried(self) -> int:
        """The bytes that it has carried, both ways, headers included."""
        if self.near is None:
            with open("/proc/self/net/dev") as file:
                row = next(line for line in file if line.strip().startswith(f"{self.device}:"))
            return int(row.partition(":")[2].split()[0])
        # What the loopback sends, it receives.
        return links.link_bytes(self.device) // (2 if self.device == "lo" else 1)


def _inside(host: str | None, command: tuple[str, ...]) -> list[str]:
    return list(command) if host is None else ["ip", "netns", "exec", host, *command]


class Links:
    """Gives links by their rates."""

    def __init__(self, *, isolated: bool) -> None:
        self._isolated = isolated
        self._rate: str | None = None

    def get(self, name: str) -> Link:
        """The loopback, or a link of a rate of `links.LINKS`. Raises `PermissionError`."""
        if name == LOOPBACK:
            host = links.SOURCE if self._isolated else None
            return Link(host, host, "127.0.0.1")
        if not self._isolated:
            raise PermissionError("a link with a rate takes root, for network namespaces")
        if name != self._rate:
            links.shape(name)
            self._rate = name
        return Link(links.SOURCE, links.DESTINATION, links.ADDRESS, links.SOURCE_DEVICE)


@contextmanager
def open_links() -> Iterator[Links]:
    """Two hosts where that may be; without root, the loopback of this one."""
    if os.geteuid():
        yield Links(isolated=False)
        return
    try:
        with links.namespaces():
            yield Links(isolated=True)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"network namespaces cannot be made: {error}") from error
