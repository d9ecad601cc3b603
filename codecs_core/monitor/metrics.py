"""The metrics by name, and how a snapshot of a transfer becomes counts.

Rules of this module:

* Counts are integers, those of time in nanoseconds. Sums of integers do not depend on their order:
  when a session ends, and its counts join those of earlier ones, no total goes backwards, not even
  by a rounding. Prometheus would take that for a restart.
* Labels have few values, whatever connects: a role, the codecs that are installed, at most 255
  channels. There is none for sessions and peers, which come and go, nor for the levels that a peer
  chooses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from codecs_core import errors
from codecs_core.codec import HARDWARE_PACKETS, SOFTWARE_PACKETS
from codecs_core.engine.progress import ChannelProgress, Progress

__all__ = ["KINDS", "METRICS", "Count", "Metric", "Role", "counts", "kind_of", "remaining"]

Role: TypeAlias = Literal["sender", "receiver", "egress", "ingress"]
"""What a command does: ``migrate`` is an egress, ``accept`` an ingress."""
Count: TypeAlias = tuple[str, tuple[str, ...], int]
"""A metric's name, the values of its labels, and a number."""

_NANOSECONDS: Final = 10**9
_ENCODES: Final = ("sender", "egress")
_CHANNEL: Final = ("role", "codec", "channel")
_OTHER: Final = "Other"
_INTERRUPTED: Final = "Interrupted"
KINDS: Final = (*errors.__all__, _INTERRUPTED, _OTHER)
"""What a session may have failed with."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric. What is shown is the count divided by ``divisor``."""

    name: str
    kind: Literal["counter", "gauge"]
    labels: tuple[str, ...]
    help: str
    divisor: int = 1


METRICS: Final = (
    Metric(
        "multifd_packets_total", "counter", _CHANNEL,
        "Packets with pages; at a relay SYNC packets, too.",
    ),
    Metric(
        "multifd_pages_total", "counter", (*_CHANNEL, "kind"),
        "Pages that travelled: normal ones with their bytes, zero ones as an offset.",
    ),
    Metric(
        "multifd_memory_bytes_total", "counter", _CHANNEL, "What those pages are in memory.",
    ),
    Metric(
        "multifd_wire_bytes_total", "counter", _CHANNEL,
        "What they took on the wire, headers included.",
    ),
    Metric(
        "multifd_encode_seconds_total", "counter", _CHANNEL,
        "Time that a sender's or an egress' channels spent in the codec.", _NANOSECONDS,
    ),
    Metric(
        "multifd_decode_seconds_total", "counter", _CHANNEL,
        "Time that a receiver's or an ingress' channels spent in the codec.", _NANOSECONDS,
    ),
    Metric(
        "multifd_blocked_seconds_total", "counter", _CHANNEL,
        "Time that channels waited for the link: to send, or for what comes.", _NANOSECONDS,
    ),
    Metric(
        "multifd_codec_packets_total", "counter", (*_CHANNEL, "by"),
        "Packets of a codec that may use a device, by what has served them: hardware, software.",
    ),
    Metric(
        "multifd_method_packets_total", "counter", (*_CHANNEL, "method"),
        "Packets by the codec that has served them; where they are encoded, by its level, too.",
    ),
    Metric(
        "multifd_unsent_pages_total", "counter", ("role", "codec", "why"),
        "Pages that were not sent: a hole at both ends, or held by the receiver already.",
    ),
    Metric("multifd_rounds_total", "counter", ("role", "codec"), "SYNCs that have passed."),
    Metric(
        "multifd_repaired_connections_total", "counter", ("role", "codec"),
        "Connections that were lost, and made again.",
    ),
    Metric("multifd_sessions", "gauge", ("role",), "Transfers or migrations under way."),
    Metric(
        "multifd_sessions_ended_total", "counter", ("role", "outcome"),
        "Transfers or migrations that have ended: completed, or failed.",
    ),
    Metric(
        "multifd_errors_total", "counter", ("role", "kind"),
        "What those that failed failed with; ChecksumMismatch: bytes were damaged on the way.",
    ),
    Metric(
        "multifd_refused_connections_total", "counter", ("role",),
        "Connections that were refused: strangers, wrong certificates, too many.",
    ),
    Metric(
        "multifd_remaining_bytes", "gauge", ("role",),
        "Memory that sessions of a known size have still to move.",
    ),
    Metric("multifd_info", "gauge", ("role", "version"), "1; the version is in the label."),
)  # fmt: skip
"""All of them. `docs/metrics.md` has the same table."""


def counts(role: Role, progress: Progress) -> Iterator[Count]:
    """Yield what a session has done so far."""
    codec = progress.codec
    for each in progress.channels:
        yield from _of_channel(role, codec, progress.page_size, each)
    if codec:
        yield "multifd_unsent_pages_total", (role, codec, "hole"), progress.skipped_pages
        yield "multifd_unsent_pages_total", (role, codec, "held"), progress.held_pages
        yield "multifd_rounds_total", (role, codec), progress.syncs
        yield "multifd_repaired_connections_total", (role, codec), progress.repairs


def _of_channel(
    role: Role, codec: str, page_size: int, channel: ChannelProgress
) -> Iterator[Count]:
    labels = (role, codec, str(channel.channel))
    normal, zero = channel.normal_pages, channel.zero_pages
    coding = "multifd_encode_seconds_total" if role in _ENCODES else "multifd_decode_seconds_total"
    yield "multifd_packets_total", labels, channel.packets
    yield "multifd_pages_total", (*labels, "normal"), normal
    yield "multifd_pages_total", (*labels, "zero"), zero
    yield "multifd_memory_bytes_total", labels, (normal + zero) * page_size
    yield "multifd_wire_bytes_total", labels, channel.wire_bytes
    yield coding, labels, round(channel.codec_seconds * _NANOSECONDS)
    yield (
        "multifd_blocked_seconds_total", labels, round(channel.blocked_seconds * _NANOSECONDS)
    )  # fmt: skip
    for by, name in (("hardware", HARDWARE_PACKETS), ("software", SOFTWARE_PACKETS)):
        if name in channel.statistics:
            yield "multifd_codec_packets_total", (*labels, by), channel.statistics[name]
    methods: Counter[str] = Counter()
    for label, packets in channel.methods.items():
        # Who decodes is not who chose the parameters: there are more of them than labels may be.
        methods[label if role in _ENCODES else label.partition(" ")[0]] += packets
    for method, packets in methods.items():
        yield "multifd_method_packets_total", (*labels, method), packets


def remaining(progress: Progress) -> int:
    """Bytes of memory that are still to move; 0 where that is not known."""
    total = progress.total_pages
    return 0 if total is None else max(0, total - progress.pages) * progress.page_size


def kind_of(error: BaseException) -> str:
    """Which of `KINDS` an error is."""
    if isinstance(error, KeyboardInterrupt):
        return _INTERRUPTED
    names = (each.__name__ for each in type(error).__mro__)
    return next((each for each in names if each in errors.__all__), _OTHER)
