"""The rules that choose a codec: QEMU's three, and ours where they stop.

The three rules are those of QEMU's ``docs/devel/migration/qatzip-compression.rst``, "How To Choose
Between QATzip and QPL", in its order; the first that applies gives the document's choice. Our rules
then ask whether that choice can run here, and whether it is worth it on this link. Every rule is
reported with the evidence for and against it, whether it applied or not.

*Limited bandwidth*: the link carries raw pages more slowly than the host compresses them. Only then
does compressing shorten a transfer: without it, the time is ``pages / bandwidth``; with it,
``pages / min(codec, bandwidth x ratio)``, which is less exactly where the codec is faster than the
bandwidth.

*QAT resources exceed IAA's*: more physical QAT devices than IAA devices are usable. Devices are
counted, since that is what the document and the inventory know; virtual functions share their
physical one's engine, and work queues their device's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from codecs_core.hardware.methods import FALLBACKS, IAA, LEVELS, NONE, QAT, Speed

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Rule", "Situation"]

QEMU = f"QEMU, docs/devel/migration/{QAT}-compression.rst"
OURS = "codecs_core, docs/choosing.md"
WORTHWHILE = 1.1
"""The least ratio that is worth a codec's work."""

_MOST_CHANNELS = 16
_NO_BANDWIDTH = "the link's bandwidth is not known; --bandwidth tells it"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: what it says, whether it applies, and the evidence.

    ``choice`` is the codec that it chose, where it applied; ``None`` for ``applies`` means that
    the evidence does not suffice to tell.
    """

    number: int
    statement: str
    source: str
    applies: bool | None
    evidence: tuple[str, ...]
    against: tuple[str, ...] = ()
    choice: str | None = None


@dataclass(frozen=True)
class Situation:
    """What the rules look at.

    ``counts`` are the usable devices by codec, ``present`` all of them. ``svm`` tells whether some
    IAA device has shared virtual memory, ``codecs`` which codecs can be used, ``bandwidth`` the
    link's in bytes a second.
    """

    cpus: int
    svm: bool
    counts: Mapping[str, int]
    present: Mapping[str, int]
    codecs: frozenset[str]
    bandwidth: float | None
    speeds: Mapping[str, Speed]

    def judge(self) -> list[Rule]:
        """Every rule in its order; the last choice made is the one that holds."""
        first = self._limited_bandwidth()
        second = self._no_svm(decided=first.choice is not None)
        third = self._otherwise(decided=(first.choice or second.choice) is not None)
        rules = [first, second, third]
        choice = next(rule.choice for rule in rules if rule.choice)
        if choice not in self.counts:
            other = self._other_accelerator(choice)
            rules += [other, self._software(needed=other.choice is None)]
            choice = rules[-1].choice or other.choice or NONE
        rules.append(self._hardly_shrinking(choice))
        rules.append(self._fast_link(rules[-1].choice or choice))
        return rules

    # ── the document's rules ──

    def _limited_bandwidth(self) -> Rule:
        qat, iaa = self.counts.get(QAT, 0), self.counts.get(IAA, 0)
        exceed = qat > iaa
        limited = None if self.bandwidth is None else self.bandwidth < self._rate(QAT)
        evidence: list[str] = []
        against: list[str] = []
        (evidence if exceed else against).append(f"usable devices: {qat} QAT, {iaa} IAA")
        if self.bandwidth is None:
            against.append(_NO_BANDWIDTH)
        elif qat:
            (evidence if limited else against).append(f"{self._link()}; {self._compresses(QAT)}")
        applies = limited if exceed else False
        return Rule(
            1,
            "the bandwidth is limited, and QAT resources exceed IAA's: use QATzip",
            QEMU,
            applies,
            tuple(evidence),
            tuple(against),
            QAT if applies else None,
        )

    def _no_svm(self, *, decided: bool) -> Rule:
        statement = "no shared virtual memory (SVM): use QATzip, for QPL is slow without it"
        if self.svm:
            return Rule(2, statement, QEMU, False, (), ("an IAA device has pasid_enabled 1",))
        iaa = self.present.get(IAA)
        why = "no IAA device has pasid_enabled 1" if iaa else "there is no IAA device"
        return Rule(2, statement, QEMU, True, (why,), (), None if decided else QAT)

    def _otherwise(self, *, decided: bool) -> Rule:
        statement = "otherwise: use QPL first"
        if decided:
            return Rule(3, statement, QEMU, False, (), ("a rule before applies",))
        return Rule(3, statement, QEMU, True, ("neither of the rules before applies",), (), IAA)

    # ── ours ──

    def _other_accelerator(self, refused: str) -> Rule:
        others = [codec for codec in self.counts if codec != refused]
        usable = f"usable devices for {refused}: 0 of {self.present.get(refused, 0)}"
        if refused not in self.codecs:
            usable += f"; its plugin is not usable here (pip install codecs-core-{refused})"
        return Rule(
            4,
            "the document's choice cannot run, another accelerator can: use that",
            OURS,
            bool(others),
            (usable, *(f"usable devices for {each}: {self.counts[each]}" for each in others)),
            () if others else ("no other accelerator is usable",),
            max(others, key=self._rate, default=None),
        )

    def _software(self, *, needed: bool) -> Rule:
        statement = "no accelerator is usable: compress in software"
        if not needed:
            return Rule(5, statement, OURS, False, (), ("an accelerator is usable",))
        choice = next((each for each in FALLBACKS if each in self.codecs), NONE)
        why = (
            f"none of {' and '.join(FALLBACKS)} is usable"
            if choice == NONE
            else f"of {' and '.join(FALLBACKS)}, {choice} is the tightest that is usable"
        )
        return Rule(5, statement, OURS, True, (why,), (), choice)

    def _hardly_shrinking(self, choice: str) -> Rule:
        statement = "the pages hardly shrink: do not compress"
        if choice == NONE:
            return Rule(6, statement, OURS, False, (), ("nothing is compressed",))
        if choice not in self.speeds:
            return Rule(6, statement, OURS, None, (), (f"the ratio of {choice} is not known",))
        speed = self.speeds[choice]
        said = f"{choice} makes pages {speed.ratio:.2f} times smaller ({speed.ratio_source})"
        if speed.ratio < WORTHWHILE:
            return Rule(6, statement, OURS, True, (said,), (), NONE)
        return Rule(6, statement, OURS, False, (), (said,))

    def _fast_link(self, choice: str) -> Rule:
        statement = "the link carries raw pages faster than the codec compresses: use a faster one"
        if self.bandwidth is None:
            return Rule(7, statement, OURS, None, (), (_NO_BANDWIDTH,))
        if choice == NONE:
            return Rule(7, statement, OURS, False, (), ("nothing is compressed",))
        if self._rate(choice) > self.bandwidth:
            return Rule(
                7, statement, OURS, False, (), (f"{self._link()}; {self._compresses(choice)}",)
            )
        others = [
            each
            for each in dict.fromkeys((*self.counts, *FALLBACKS))
            if each in self.codecs and each in self.speeds and each != choice
        ]
        fastest = max((choice, *others), key=self._throughput)
        evidence = (self._link(), *map(self._compresses, (choice, *others)))
        worthwhile = self._throughput(fastest) > self.bandwidth
        return Rule(7, statement, OURS, True, evidence, (), fastest if worthwhile else NONE)

    # ── rates ──

    def _rate(self, codec: str) -> float:
        """Bytes of pages a second, by all devices or CPUs."""
        speed = self.speeds.get(codec)
        if speed is None:
            return math.inf
        return speed.rate * (self.counts.get(codec, 0) if speed.accelerated else self.cpus)

    def _throughput(self, codec: str) -> float:
        assert self.bandwidth is not None
        return min(self._rate(codec), self.bandwidth * self.speeds[codec].ratio)

    def _link(self) -> str:
        assert self.bandwidth is not None
        return f"the link carries {_said(self.bandwidth)} of raw pages"

    def _compresses(self, codec: str) -> str:
        speed = self.speeds.get(codec)
        if speed is None:
            return f"how fast {codec} compresses is not known"
        accelerated = speed.accelerated
        units = self.counts.get(codec, 0) if accelerated else self.cpus
        kind = "device" if accelerated else "CPU"
        return (
            f"{codec} by {units} {kind}{'' if units == 1 else 's'} compresses "
            f"{_said(self._rate(codec))} ({speed.source})"
        )

    # ── what follows ──

    def settings(self, codec: str, channels: int | None) -> dict[str, str | int]:
        """QEMU's parameters for it."""
        chosen: dict[str, str | int] = {
            "multifd-compression": codec,
            "multifd-channels": channels or self._channels(codec),
        }
        if codec in LEVELS:
            chosen[f"multifd-{codec}-level"] = LEVELS[codec]
        return chosen

    def _channels(self, codec: str) -> int:
        """What keeps the devices busy; of software, what feeds the link; QEMU's 2 at least."""
        speed = self.speeds.get(codec)
        if speed is None or speed.accelerated:
            return speed.channels if speed else 2
        needed = (
            self.cpus
            if self.bandwidth is None
            else math.ceil(min(self.bandwidth * speed.ratio / speed.rate, _MOST_CHANNELS))
        )
        return max(2, min(needed, self.cpus, _MOST_CHANNELS))

    def better(self, codec: str) -> str | None:
        """What the rules would choose if all that is present could be used, and cannot now."""
        ideal = replace(
            self,
            svm=self.svm or IAA in self.present,
            counts=self.present,
            codecs=self.codecs | self.present.keys(),
        )
        choice = next(rule.choice for rule in reversed(ideal.judge()) if rule.choice)
        idle = self.present.get(choice, 0) - self.counts.get(choice, 0)
        return choice if choice != codec and idle else None


def _said(bytes_per_second: float) -> str:
    bits = bytes_per_second * 8
    unit, factor = ("Gbit/s", 1e9) if bits >= 1e9 else ("Mbit/s", 1e6)
    return f"{bits / factor:.3g} {unit}"
