"""What became of a set of files."""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass

from codecs_core import TransferError

__all__ = ["Outcome", "Report", "Status", "TranscodeFailed"]


class Status(enum.StrEnum):
    """What became of one file."""

    WRITTEN = "written"
    SKIPPED = "skipped"
    VERIFIED = "verified"
    FAILED = "failed"


@dataclass(frozen=True)
class Outcome:
    """What became of one file. Sizes are in bytes, ``seconds`` those of the last attempt.

    ``source_size`` and ``target_size`` are the files' own, ``size`` is that of what they decode to.
    """

    source: str
    target: str | None
    status: Status
    source_size: int = 0
    size: int = 0
    target_size: int = 0
    seconds: float = 0.0
    error: str = ""


@dataclass(frozen=True)
class Report:
    """What became of a set of files: ``outcomes`` as they came in, of ``total`` files."""

    total: int
    outcomes: tuple[Outcome, ...] = ()

    @property
    def counts(self) -> dict[Status, int]:
        """How many files are written, skipped, verified, failed."""
        found = Counter(each.status for each in self.outcomes)
        return {status: found[status] for status in Status if found[status]}

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """The files that failed; each tells why."""
        return tuple(each for each in self.outcomes if each.status is Status.FAILED)

    @property
    def source_size(self) -> int:
        """Bytes of all sources."""
        return sum(each.source_size for each in self.outcomes)

    @property
    def size(self) -> int:
        """Bytes that they decode to."""
        return sum(each.size for each in self.outcomes)

    @property
    def target_size(self) -> int:
        """Bytes of all targets."""
        return sum(each.target_size for each in self.outcomes)

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {status}" for status, count in self.counts.items())
        line = f"{len(self.outcomes)} of {self.total} files: {counts or 'none done'}"
        if self.target_size:
            line += f"; {self.size} bytes in {self.target_size}"
        return line


class TranscodeFailed(TransferError):
    """Some of the files failed; ``report`` tells what became of each."""

    def __init__(self, report: Report) -> None:
        first, *others = report.failed
        more = f", and {len(others)} more failed" if others else ""
        super().__init__(f"{first.source}: {first.error}{more} ({report})")
        self.report = report

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.report,)
