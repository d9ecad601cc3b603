"""Commands joined by pipes, at one end of a link, and what they use."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from benchmarks.compare.run import LIMIT, End, Failed
from benchmarks.processes import peak

PERIOD = 0.01
"""Seconds between two looks at the memory of a process; the kernel keeps the highest itself."""


class Chain:
    """Running commands; each reads what the one before writes."""

    def __init__(self, commands: Sequence[Sequence[str]]) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115
        self._peaks: dict[int, int] = {}
        self._ended = threading.Event()
        self.processes: list[subprocess.Popen[bytes]] = []
        stdin: int | None = subprocess.DEVNULL
        for number, command in enumerate(commands, 1):
            last = number == len(commands)
            process = subprocess.Popen(
                command,
                stdin=stdin,
                stdout=subprocess.DEVNULL if last else subprocess.PIPE,
                stderr=self._stderr,
            )
            if self.processes and self.processes[-1].stdout is not None:
                self.processes[-1].stdout.close()
            self.processes.append(process)
            stdin = None if process.stdout is None else process.stdout.fileno()
        self._watch = threading.Thread(target=self._look)
        self._watch.start()
        self._limit = threading.Timer(LIMIT, self._kill)
        self._limit.start()

    @property
    def last(self) -> int:
        """The pid of the last command."""
        return self.processes[-1].pid

    @property
    def first(self) -> int:
        """The pid of the first command."""
        return self.processes[0].pid

    def wait(self) -> End:
        """Wait for all commands to end. Raises `Failed` with what one of them says."""
        cpu = 0.0
        for process in self.processes:
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            cpu += used.ru_utime + used.ru_stime
        if any(each.returncode for each in self.processes):
            raise Failed(self.said())
        return End(cpu, sum(self._peaks.values()))

    def said(self) -> str:
        """The last line on stderr, or which command had which exit status."""
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        status = ", ".join(f"{each.returncode}" for each in self.processes)
        return lines[-1] if lines else f"exit status {status}"

    def close(self) -> None:
        """End what still runs."""
        self._limit.cancel()
        self._kill()
        for process in self.processes:
            process.wait()
        self._ended.set()
        self._watch.join()
        self._stderr.close()

    def _kill(self) -> None:
        for process in self.processes:
            if process.returncode is None:
                process.kill()

    def _look(self) -> None:
        while not self._ended.wait(PERIOD):
            for process in self.processes:
                with suppress(OSError):
                    self._peaks[process.pid] = peak(process.pid)


@contextmanager
def chain(*commands: Sequence[str]) -> Iterator[Chain]:
    """Start commands joined by pipes; they are gone in the end."""
    running = Chain(commands)
    try:
        yield running
    finally:
        running.close()
