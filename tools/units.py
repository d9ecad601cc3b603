"""Start the units of docs/systemd under a systemd of their own, and pass migrations through them.

As root: ``python3 tools/units.py``. systemd runs in namespaces, on an overlay over this host's
files, which stay as they are: a host's own systemd, if any, knows nothing of it. It takes systemd,
iproute2, git, ``qemu-system-x86_64``, and a Python of the system: in a home directory units would
not see it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON = "/usr/bin/python3"
WAIT = 60

COPY = r"""
git ls-files -z --cached --others --exclude-standard |
    tar --null --files-from=- --create | tar --extract -C "$1"
"""

BOOT = r"""
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
cd "$1"
mkdir up work root
mount -t overlay overlay -o lowerdir=/,upperdir=up,workdir=work root
cp -r "$2" root/checkout
cd root
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs dev
for name in null zero full random urandom tty; do
    touch dev/$name
    mount --bind /dev/$name dev/$name
done
mkdir dev/pts dev/shm
mount -t devpts devpts dev/pts -o newinstance,ptmxmode=0666
mount -t tmpfs tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mkdir -p old
pivot_root . old
umount -l /old
# Credentials are mounted in one namespace, and seen in another.
mount --make-rshared /
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=basic.target --log-target=null --show-status=no
"""

PREPARE = rf"""
set -e
{PYTHON} -m venv /opt/multifd
/opt/multifd/bin/pip install --quiet /checkout /checkout/plugins/zstd prometheus-client
mkdir -p /etc/pki
/opt/multifd/bin/multifd test-ca /etc/pki/qemu --server-name 192.0.2.2 >/dev/null
id libvirt-qemu >/dev/null 2>&1 || useradd --system libvirt-qemu
install -m 644 /checkout/docs/systemd/*.service /checkout/docs/systemd/*.socket /etc/systemd/system/
install -m 644 /checkout/docs/systemd/multifd.conf /etc/tmpfiles.d/
"""

START = r"""
set -e
# Two hosts' addresses: who goes to one comes from the other.
ip link set lo up
for address in 192.0.2.1 192.0.2.2 192.0.2.9; do ip address add $address/32 dev lo; done
ip route replace local 192.0.2.2 dev lo src 192.0.2.1 table local
systemd-tmpfiles --create multifd.conf
systemctl daemon-reload
systemctl --quiet enable --now multifd-egress.socket multifd-ingress.socket
"""

METRICS = r"""
mkdir -p /run/systemd/system/multifd-$1.service.d
cat >/run/systemd/system/multifd-$1.service.d/metrics.conf <<END
[Service]
WatchdogSec=3
RuntimeDirectory=multifd-$1
ExecStart=
$(grep ^ExecStart= /etc/systemd/system/multifd-$1.service) --metrics unix:%t/multifd-$1/metrics
END
systemctl daemon-reload
systemctl restart multifd-$1.service
"""

MIGRATE = r"""
import json, os, shutil, socket, subprocess, sys, time

def qemu(name, *more):
    path = f"/run/qemu/{name}"
    process = subprocess.Popen([
        "setpriv", "--reuid", "libvirt-qemu", "--clear-groups", "qemu-system-x86_64", "-nodefaults",
        "-machine", "pc,accel=tcg", "-m", "256", "-display", "none", "-S",
        "-qmp", f"unix:{path},server=on,wait=off", *more,
    ])
    monitor = socket.socket(socket.AF_UNIX)
    while monitor.connect_ex(path):
        time.sleep(0.05)
    file = monitor.makefile("rw")

    def tell(command, **arguments):
        file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        file.flush()
        while "return" not in (answer := json.loads(file.readline())):
            assert "error" not in answer, answer
        return answer["return"]

    tell("qmp_capabilities")
    names = ("multifd", "return-path")
    tell("migrate-set-capabilities", capabilities=[{"capability": n, "state": True} for n in names])
    return process, tell

os.makedirs("/run/qemu", exist_ok=True)
shutil.chown("/run/qemu", "libvirt-qemu")
there, destination = qemu("destination", "-incoming", "defer")
here, source = qemu("source")
try:
    destination("migrate-incoming", uri="unix:/run/multifd/incoming.sock")
    source("migrate-set-parameters", **{"max-bandwidth": int(sys.argv[1])})
    source("migrate", uri="unix:/run/multifd/egress.sock")
    while (status := source("query-migrate").get("status")) not in ("completed", "failed"):
        time.sleep(0.1)
    print(status)
finally:
    here.kill()
    there.kill()
"""

STRANGER = r"""
import socket
with socket.socket() as stranger:
    stranger.bind(("192.0.2.9", 0))
    stranger.settimeout(2)
    print("closed" if stranger.connect_ex(("192.0.2.2", 4444)) else "open")
"""


class Machine:
    """A systemd, and what runs under it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def run(self, *command: str, network: str = "-a", check: bool = True, text: str = "") -> str:
        """Run a command beside it, with ``text`` as its input; return what it prints."""
        done = subprocess.run(
            ["nsenter", "-t", str(self.pid), *network.split(), *command],
            input=text, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        if check and done.returncode:
            sys.exit(f"{' '.join(command)}: {done.stdout}{done.stderr}")
        return done.stdout

    def show(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self.run("systemctl", "show", "--value", "-p", name, unit).strip()

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a command beside it."""
        full = ["nsenter", "-t", str(self.pid), "-a", *command]
        return subprocess.Popen(full, stdout=subprocess.PIPE, text=True)


@contextmanager
def machine() -> Iterator[Machine]:
    """Boot one, and end it with all that runs there."""
    with tempfile.TemporaryDirectory() as place:
        checkout = Path(place, "checkout")
        checkout.mkdir()
        subprocess.run(["sh", "-c", COPY, "copy", str(checkout)], cwd=ROOT, check=True)
        (Path(place) / "machine").mkdir()
        outer = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc", "--net",
             "--cgroup", "sh", "-c", BOOT, "boot", f"{place}/machine", str(checkout)],
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            until("a first process", lambda: children(outer.pid))
            booted = Machine(int(children(outer.pid)[0]))
            until(
                "a system that runs",
                lambda: (
                    booted.run("systemctl", "is-system-running", check=False).strip()
                    in ("running", "degraded")
                ),
            )
            yield booted
        finally:
            outer.kill()
            outer.wait()


def children(pid: int) -> list[str]:
    """Return the processes that ``pid`` has started."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def until(what: str, true: Callable[[], object]) -> None:
    """Wait until something is true."""
    give_up = time.monotonic() + WAIT
    while not true():
        if time.monotonic() > give_up:
            sys.exit(f"in vain waited for {what}")
        time.sleep(0.1)


def is_(what: str, found: object, expected: object) -> None:
    """Say what is so, or exit."""
    if found != expected:
        sys.exit(f"{what}: {found!r}, not {expected!r}")
    print(f"  {what}: {found}")


def main() -> None:
    """Go through the life of both services."""
    if os.geteuid():
        sys.exit("systemd needs root, even in namespaces")
    with machine() as host:
        print("installing …", flush=True)
        # Packages come over the network of this host.
        host.run("sh", "-s", text=PREPARE, network="-m -p -u -i -C")
        host.run("sh", "-s", text=START)
        print("a source connects, and both services start")
        migrated = host.run(PYTHON, "-", "1000000000", text=MIGRATE)
        is_("the migration", migrated.strip(), "completed")
        for side in ("egress", "ingress"):
            unit = f"multifd-{side}.service"
            is_(f"{unit}", host.show(unit, "ActiveState"), "active")
            until("a word", lambda unit=unit: "1 completed" in host.show(unit, "StatusText"))
            print(f"  {unit}: {host.show(unit, 'StatusText')}")
        print("who is not the other relay")
        is_("the port, for a stranger", host.run(PYTHON, "-", text=STRANGER).strip(), "closed")
        print("systemctl stop, while a migration is under way")
        Path(f"/proc/{host.pid}/root/migrate.py").write_text(MIGRATE)
        slow = host.start(PYTHON, "/migrate.py", "60000")
        egress = "multifd-egress.service"
        until("it", lambda: "1 under way" in host.show(egress, "StatusText"))
        host.run("systemctl", "stop", "--no-block", egress)
        time.sleep(1)
        is_("meanwhile", host.show(egress, "ActiveState"), "deactivating")
        is_("the migration", slow.communicate(timeout=WAIT)[0].strip(), "completed")
        until("its end", lambda: host.show(egress, "ActiveState") == "inactive")
        is_("its exit status", host.show(egress, "ExecMainStatus"), "0")
        print(f"  its last word: {host.show(egress, 'StatusText')}")
        print("multifd top, and the watchdog")
        for side in ("egress", "ingress"):
            host.run("sh", "-s", side, text=METRICS)
            uri = f"unix:/run/multifd-{side}/metrics"
            status = json.loads(
                host.run("/opt/multifd/bin/multifd", "top", "--json", "--once", uri)
            )
            is_(f"{side}, by multifd top", status["role"], side)
            unit = f"multifd-{side}.service"
            host.run("kill", "-STOP", host.show(unit, "MainPID"))
            until("a restart", lambda unit=unit: host.show(unit, "NRestarts") == "1")
            until("life", lambda unit=unit: host.show(unit, "ActiveState") == "active")
            print(f"  {side}: stopped, and started again")
    print("the units work")


if __name__ == "__main__":
    main()
