"""Two hosts and the link between them, on one machine: network namespaces, veth, and ``tc``.

Takes root.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

SOURCE, DESTINATION = (f"multifd-{end}-{os.getpid()}" for end in ("source", "destination"))
"""Network namespaces; of this process, so that two runs do not meet."""
SOURCE_DEVICE, DESTINATION_DEVICE = "mfd-s", "mfd-d"
ADDRESS = "10.111.0.2"
"""Of the destination, on the link."""
LINKS = {"100M": "100mbit", "1G": "1gbit", "10G": "10gbit", "unshaped": None}
BURSTS = {"100M": "256k", "1G": "1m", "10G": "8m"}


@contextmanager
def namespaces() -> Iterator[None]:
    """Two hosts, and a link between them; both are gone afterwards."""
    ends = {SOURCE: ("10.111.0.1", SOURCE_DEVICE), DESTINATION: (ADDRESS, DESTINATION_DEVICE)}
    with ExitStack() as stack:
        for host in ends:
            run("ip", "netns", "add", host)
            stack.callback(run, "ip", "netns", "del", host)
        run(
            "ip", "link", "add", SOURCE_DEVICE, "netns", SOURCE, "type", "veth",
            "peer", "name", DESTINATION_DEVICE, "netns", DESTINATION,
        )  # fmt: skip
        for host, (address, device) in ends.items():
            inside(host, "ip", "address", "add", f"{address}/24", "dev", device)
            inside(host, "ip", "link", "set", device, "up")
            inside(host, "ip", "link", "set", "lo", "up")
        yield


def shape(link: str) -> None:
    """Give the link its rate, in both directions."""
    for host, device in ((SOURCE, SOURCE_DEVICE), (DESTINATION, DESTINATION_DEVICE)):
        # A veth has no queue of its own: noqueue is what unshaped means.
        limit: tuple[str, ...] = ("noqueue",)
        if (rate := LINKS[link]) is not None:
            limit = ("tbf", "rate", rate, "burst", BURSTS[link], "latency", "50ms")
        inside(host, "tc", "qdisc", "replace", "dev", device, "root", *limit)


def link_bytes(device: str = SOURCE_DEVICE) -> int:
    """What a device of the source has carried, both ways; the loopback counts each way twice."""
    show = ("ip", "-json", "-statistics", "link", "show", device)
    (found,) = json.loads(inside(SOURCE, *show))
    return int(found["stats64"]["tx"]["bytes"] + found["stats64"]["rx"]["bytes"])


def run(*command: str) -> str:
    """Run a command, and return what it says."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def inside(host: str, *command: str) -> str:
    """Run a command on a host."""
    return run("ip", "netns", "exec", host, *command)
