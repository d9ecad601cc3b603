"""The rules that choose a codec: QEMU's three, and ours where they stop.

The three rules are those of QEMU's ``docs/devel/migration/qatzip-compression.rst``, "How To Choose
Between QATzip and QPL", in its order; the first that applies gives the document's choice. Our rules
then ask whether that choice can run here, and whether it is worth it on this link. Every rule is
reported with the evidence for and against it, whether it applied or not.

*Limited bandwidth*: the link carries raw pages more slowly than the host compresses them. Only then
does compressing shorten a transfer: without it, the time is ``pages / bandwidth``; with it,
``pages / min(codec, bandwidth x ratio)``, which is less exactly where the codec is faster than the
bandwidth.

*QAT resources exceed IAA*: more physical QAT devices than IAA devices are usable. Devices are
counted, since that is what the document and the inventory know; virtual functions share their
physical one's engine, and work queues their device's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: what it says, whether it applies, and the evidence.

    ``choice`` is the codec that it chose, where it applied; ``None`` for ``applies`` means that
    the evidence does not suffice to tell.
    """

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
    counts: dict[str, int]
    present: dict[str, int]
    codecs: frozenset[str]
    bandwidth: float | None
    speeds: Mapping[str, Speed]

    def judge(self) -> list[Rule]:
        """Every rule in its order; the last choice made is the one that holds."""
        document = self._document()
        rules = list(document)
        choice = next(rule.choice for rule in document if rule.choice)
        if choice not in self.counts:
            rules.append(self._only(choice))
            rules.append(self._none_usable(rules[-1].choice is not None))
            choice = rules[-1].choice or rules[-2].choice or NONE
        rules.append(self._worthwhile(choice))
        if rules[-1].choice is None:
            rules.append(self._fast_link(choice))
        return rules

    # ── the document's rules ──

    def _document(self) -> list[Rule]:
        rules = [self._rule_1()]
        rules.append(self._rule_2(decided=rules[0].applies is True))
        rules.append(self._rule_3(decided=any(rule.choice for rule in rules)))
        return rules

    def _rule_1(self) -> Rule:
        qat, iaa = self.counts.get(QAT, 0), self.counts.get(IAA, 0)
        exceed = qat > iaa
        limited = None if self.bandwidth is None else self.bandwidth < self._rate(QAT)
        evidence: list[str] = []
        against: list[str] = []
        counts = f"usable devices: {qat} QAT, {iaa} IAA"
        (evidence if exceed else against).append(counts)
        if self.bandwidth is None:
            against.append("the link's bandwidth is not known; --bandwidth tells it")
        elif qat:
            (evidence if limited else against).append(
                f"the link carries {_rate(self.bandwidth)} of raw pages; "
                f"{self._who(QAT)} compresses {_rate(self._rate(QAT))}"
            )
        applies = limited if exceed else False
        return Rule(
            "1. the bandwidth is limited, and QAT resources exceed IAA's: use QATzip",
            QEMU,
            applies,
            tuple(evidence),
            tuple(against),
            QAT if applies else None,
        )

    def _rule_2(self, *, decided: bool) -> Rule:
        applies = not self.svm
        evidence = (
            "no IAA device has pasid_enabled 1"
            if self.present.get(IAA)
            else "there is no IAA device",
        )
        against = ("an IAA device has pasid_enabled 1",)
        return Rule(
            "2. no shared virtual memory (SVM): use QATzip, for QPL is slow without it",
            QEMU,
            applies,
            evidence if applies else (),
            () if applies else against,
            QAT if applies and not decided else None,
        )

    def _rule_3(self, *, decided: bool) -> Rule:
        return Rule(
            "3. otherwise: use QPL first",
            QEMU,
            not decided,
            () if decided else ("neither of the rules before applies",),
            ("a rule before applies",) if decided else (),
            None if decided else IAA,
        )

    # ── ours ──

    def _only(self, refused: str) -> Rule:
        others = [codec for codec in self.counts if codec != refused]
        usable = f"usable devices for {refused}: 0 of {self.present.get(refused, 0)}"
        against = [] if others else ["no other accelerator is usable"]
        if refused not in self.codecs:
            usable += f"; its plugin is not usable (pip install codecs-core-{refused})"
        return Rule(
            "4. the document's choice cannot run, another accelerator can: use that",
            OURS,
            bool(others),
            (usable, *(f"usable devices for {each}: {self.counts[each]}" for each in others)),
            tuple(against),
            max(others, key=lambda each: self._rate(each), default=None),
        )

    def _none_usable(self, other: bool) -> Rule:
        software = next((each for each in FALLBACKS if each in self.codecs), NONE)
        return Rule(
            "5. no accelerator is usable: compress in software",
            OURS,
            not other,
            () if other else (f"{software} is the tightest software codec that is usable here",),
            ("an accelerator is usable",) if other else (),
            None if other else software,
        )

    def _worthwhile(self, choice: str) -> Rule:
        ratio = self.speeds[choice].ratio if choice in self.speeds else math.inf
        said = f"{choice} makes such pages {ratio:.2f} times smaller"
        applies = choice != NONE and ratio < WORTHWHILE
        return Rule(
            "6. the pages hardly shrink: do not compress",
            OURS,
            applies,
            (said,) if applies else (),
            () if applies else (said if ratio < math.inf else "the ratio is not known",),
            NONE if applies else None,
        )

    def _fast_link(self, choice: str) -> Rule:
        statement = (
            "7. the link carries raw pages faster than the codec compresses: use a faster one"
        )
        if self.bandwidth is None:
            why = ("the link's bandwidth is not known; --bandwidth tells it",)
            return Rule(statement, OURS, None, (), why)
        speed = f"the link carries {_rate(self.bandwidth)} of raw pages"
        if choice == NONE or self._rate(choice) > self.bandwidth:
            fact = (
                "nothing is compressed"
                if choice == NONE
                else f"{self._who(choice)} compresses {_rate(self._rate(choice))}"
            )
            return Rule(statement, OURS, False, (), (speed, fact))
        usable = [
            each
            for each in (*self.counts, *FALLBACKS)
            if each in self.codecs and each in self.speeds and each != choice
        ]
        fastest = max((choice, *usable), key=self._throughput)
        if self._throughput(fastest) <= self.bandwidth:
            fastest = NONE
        evidence = tuple(
            f"{self._who(each)} compresses {_rate(self._rate(each))}" for each in (choice, *usable)
        )
        return Rule(statement, OURS, True, (speed, *evidence), (), fastest)

    # ── sizes ──

    def _rate(self, codec: str) -> float:
        """Bytes of pages a second, by all devices or CPUs."""
        speed = self.speeds.get(codec)
        if speed is None:
            return math.inf
        return speed.rate * (self.counts.get(codec, 0) if speed.accelerated else self.cpus)

    def _throughput(self, codec: str) -> float:
        assert self.bandwidth is not None
        ratio = self.speeds[codec].ratio if codec in self.speeds else 1.0
        return min(self._rate(codec), self.bandwidth * ratio)

    def _who(self, codec: str) -> str:
        units = self.counts.get(codec)
        if units:
            return f"{codec} by {units} device{'s' if units > 1 else ''}"
        return f"{codec} by {self.cpus} CPU{'s' if self.cpus > 1 else ''}"

    def settings(self, codec: str) -> dict[str, str | int]:
        """QEMU's parameters for it."""
        chosen: dict[str, str | int] = {
            "multifd-compression": codec,
            "multifd-channels": self._channels(codec),
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
        """What the rules would choose if all that is present could be used."""
        ideal = Situation(
            self.cpus, self.svm or IAA in self.present, self.present, self.present,
            self.codecs | self.present.keys(), self.bandwidth, self.speeds,
        )  # fmt: skip
        choice = next(rule.choice for rule in reversed(ideal.judge()) if rule.choice)
        return choice if choice != codec and choice in self.present else None


def _rate(bytes_per_second: float) -> str:
    return f"{bytes_per_second / 1e9:.2f} GB/s"
