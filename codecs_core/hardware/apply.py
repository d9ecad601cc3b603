"""What to type, so that a recommendation is followed: here, and in QEMU's monitors."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from codecs_core.hardware.methods import IAA, QAT, QEMU

if TYPE_CHECKING:
    from codecs_core.hardware.advice import Advice

__all__ = ["Commands", "commands"]


@dataclass(frozen=True, slots=True)
class Commands:
    """``multifd`` are this program's; ``hmp`` and ``qmp`` QEMU's, at both ends before a migration.

    Those of QEMU are empty where they would not do the same, and ``why`` says why.
    """

    multifd: tuple[str, ...]
    hmp: tuple[str, ...] = ()
    qmp: tuple[str, ...] = ()
    why: str = ""


def commands(advice: Advice) -> Commands:
    """The commands that apply an advice; what is in capitals is the user's to fill in."""
    codec, settings = advice.codec, advice.settings
    options = {name: f"--{name} {value}" for name, value in settings.items()}
    everything = " ".join(options.values())
    without_channels = " ".join(
        option for name, option in options.items() if name != "multifd-channels"
    )
    ours = (
        f"multifd send SOURCE tcp:HOST:PORT {everything}",
        f"multifd migrate --qmp SOCKET --to tcp:HOST:PORT {everything}",
        f"multifd relay egress --listen unix:PATH --connect tcp:HOST:PORT {without_channels}",
    )
    if codec not in QEMU:
        return Commands(ours, why=f"QEMU itself has no codec {codec}: let the relays compress")
    if codec in (QAT, IAA) and not advice.accelerated:
        return Commands(
            ours,
            why=f"without a device QEMU's own {codec} is several times slower than this project's: "
            "let the relays compress",
        )
    return Commands(
        ours,
        hmp=(
            "migrate_set_capability multifd on",
            *(f"migrate_set_parameter {name} {value}" for name, value in settings.items()),
        ),
        qmp=(
            json.dumps(
                {
                    "execute": "migrate-set-capabilities",
                    "arguments": {"capabilities": [{"capability": "multifd", "state": True}]},
                }
            ),
            json.dumps({"execute": "migrate-set-parameters", "arguments": settings}),
        ),
    )
