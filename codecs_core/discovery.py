"""Installed distributions → entry points → codec classes that keep the contract.

pluggy stays in this module: its own loader lets one broken plugin take the host down, so every
plugin gets a manager to itself, and whatever is wrong with it is raised to the caller, who guards.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator
from importlib import metadata
from typing import TYPE_CHECKING

import pluggy

from codecs_core import hookspecs
from codecs_core.accelerator import Accelerator
from codecs_core.codec import Codec

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint
    from pathlib import Path

__all__ = ["Defect", "accelerators", "identity", "installed", "load", "precedence"]


class Defect(Exception):
    """A plugin does not keep the contract; the text says how."""


def installed() -> Iterator[EntryPoint]:
    """The installed entry points of our group.

    `importlib.metadata.entry_points` would fail as a whole where one distribution's metadata
    is damaged.
    """
    seen: set[str] = set()
    for distribution in metadata.distributions():
        try:
            if not _entries(distribution):
                continue
            # Asked for last, for it takes reading the whole metadata.
            name = re.sub(r"[-_.]+", "-", identity(distribution)[0]).lower()
            if name in seen:
                continue
            # The first on the path is the one that Python imports.
            entries = _entries(metadata.distribution(name) if name else distribution)
        # Nobody's plugin: what it offers cannot be read.
        except Exception:
            continue
        if name:
            seen.add(name)
        yield from entries


def identity(distribution: metadata.Distribution | None) -> tuple[str, str]:
    """The name and version of a distribution, empty where its metadata does not tell."""
    try:
        # The standard library says None, the package importlib_metadata raises.
        return (distribution.name or "", distribution.version or "") if distribution else ("", "")
    except KeyError:
        return "", ""


def _entries(distribution: metadata.Distribution) -> list[EntryPoint]:
    return [each for each in distribution.entry_points if each.group == hookspecs.NAME]


def precedence(entry: EntryPoint) -> tuple[str, bool, str]:
    """The order of claims to one name: ``codecs-core-<name>`` first, then by distribution."""
    distribution = identity(entry.dist)[0]
    return entry.name, distribution != f"codecs-core-{entry.name}", distribution


def load(entry: EntryPoint) -> type[Codec]:
    """Import one plugin, and return the codec that its entry point is named after.

    Raises `Defect` where it does not keep the contract, and whatever the plugin raises.
    """
    hook = _manager(entry).hook.codecs_core_codecs
    if not hook.get_hookimpls():
        raise Defect(f"{entry.value} implements no hook codecs_core_codecs")
    provided: list[type[Codec]] = []
    for answer in hook():
        if not isinstance(answer, Iterable):
            raise Defect(f"codecs_core_codecs returned {answer!r}, not a list of codecs")
        provided.extend(answer)
    for codec in provided:
        _check_contract(codec)
    found = next((codec for codec in provided if codec.name == entry.name), None)
    if found is None:
        names = ", ".join(repr(codec.name) for codec in provided) or "nothing"
        raise Defect(f"the entry point is named {entry.name!r}, but {entry.value} provides {names}")
    return found


def accelerators(entry: EntryPoint, root: Path) -> list[Accelerator]:
    """The devices that one plugin knows of; most know none.

    Raises `Defect` where it returns something else, and whatever the plugin raises.
    """
    found: list[Accelerator] = []
    for answer in _manager(entry).hook.codecs_core_accelerators(root=root):
        if not isinstance(answer, Iterable):
            raise Defect(f"codecs_core_accelerators returned {answer!r}, not a list")
        found.extend(answer)
    for each in found:
        if not isinstance(each, Accelerator):
            raise Defect(f"codecs_core_accelerators returned {each!r}, which is no Accelerator")
    return found


def _manager(entry: EntryPoint) -> pluggy.PluginManager:
    """Import a plugin into a manager of its own."""
    manager = pluggy.PluginManager(hookspecs.NAME)
    manager.add_hookspecs(hookspecs)
    manager.register(entry.load(), name=entry.name)
    return manager


def _check_contract(codec: object) -> None:
    if not (isinstance(codec, type) and issubclass(codec, Codec)):
        raise Defect(f"codecs_core_codecs returned {codec!r}, which is no subclass of Codec")
    name = getattr(codec, "name", None)
    if not (isinstance(name, str) and re.fullmatch(r"[a-z0-9][a-z0-9-]{0,30}", name)):
        raise Defect(f"{codec.__qualname__}.name is {name!r}, not lower-case letters and digits")
    if "__dataclass_params__" not in vars(codec) or not vars(codec)["__dataclass_params__"].frozen:
        raise Defect(f"{codec.__qualname__} is not decorated with @dataclass(frozen=True)")
    if codec.method is not None and not (isinstance(codec.method, int) and 0 < codec.method < 31):
        raise Defect(f"{codec.__qualname__}.method is {codec.method!r}, not 1 to 30 or None")
    if codec.suffix is not None and not re.fullmatch(r"\.\S+", str(codec.suffix)):
        raise Defect(f"{codec.__qualname__}.suffix is {codec.suffix!r}, not like '.ext' or None")
    for field_ in dataclasses.fields(codec):
        if field_.name in ("name", "method", "suffix"):
            raise Defect(
                f"{codec.__qualname__}.{field_.name} is annotated, which makes it a parameter; "
                f"write it without, as in: {field_.name} = {field_.default!r}"
            )
        if type(field_.default) not in (int, bool, str):
            raise Defect(
                f"{codec.__qualname__}.{field_.name} has no default of type int, bool or str; "
                "declare it with parameter(...)"
            )
    if codec.__abstractmethods__:
        missing = ", ".join(sorted(codec.__abstractmethods__))
        raise Defect(f"{codec.__qualname__} does not implement {missing}")
    codec()
