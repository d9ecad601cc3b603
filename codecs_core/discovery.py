"""Installed distributions → entry points → codec classes that keep the contract.

pluggy stays in this module: its own loader lets one broken plugin take the host down, so every
plugin gets a manager to itself, and whatever is wrong with it is raised to the caller, who guards.
"""

from __future__ import annotations

import dataclasses
import re
import traceback
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from typing import TYPE_CHECKING

import pluggy

from codecs_core import hookspecs
from codecs_core.accelerator import Accelerator
from codecs_core.codec import Codec

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint
    from pathlib import Path

__all__ = [
    "AUTO",
    "CORE",
    "Defect",
    "Mismatch",
    "accelerators",
    "described",
    "identity",
    "installed",
    "load",
    "offer",
    "precedence",
    "words",
]

AUTO = "auto"
"""What stands in the place of a codec's name where a channel is to choose for every packet."""

CORE = "codecs-core"
"""The distribution that this is."""

_MOST_WORDS = 400
"""Characters of a stranger's message that are passed on."""

_MOST_CANDIDATES = 8
"""What a codec may suggest: every one is tried, and the wire has 26 numbers for all codecs."""


class Defect(Exception):
    """A plugin does not keep the contract; the text says how."""


class Mismatch(Exception):
    """A plugin is made for another version of the core; the text says which."""


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
            name = _normal(identity(distribution)[0])
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

    Raises `Mismatch` where it is made for another core, `Defect` where it does not keep the
    contract, and whatever the plugin raises.
    """
    _check_version(entry)
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


def offer(codec: type[Codec]) -> tuple[Codec, ...]:
    """What a codec that can work here suggests to the adaptive method.

    Raises `Defect` where `Codec.candidates` does not keep the contract, and whatever it raises.
    """
    answer: object = codec.candidates()
    call = f"{codec.__qualname__}.candidates()"
    if not isinstance(answer, Sequence) or isinstance(answer, str | bytes):
        raise Defect(f"{call} returned {answer!r}, not a sequence of {codec.__qualname__}")
    for each in answer:
        if type(each) is not codec:
            raise Defect(f"{call} returned {each!r}, which is no instance of {codec.__qualname__}")
    if len(answer) > _MOST_CANDIDATES:
        raise Defect(f"{call} returned {len(answer)} codecs; at most {_MOST_CANDIDATES} are tried")
    seen: list[object] = []
    for each in answer:
        if each.wire_parameters() in seen:
            raise Defect(
                f"{call} returned {each!r} twice, or with local parameters that differ: on the "
                "wire they are one method"
            )
        seen.append(each.wire_parameters())
    return tuple(answer)


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


def described(error: BaseException, module: str) -> str:
    """Say what was raised: its kind, its words, and where in the package of ``module``."""
    text = ": ".join(filter(None, (type(error).__name__, words(error))))
    package = module.partition(".")[0]
    places = [
        f" ({frame.f_globals['__name__']}, line {line})"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__")).partition(".")[0] == package
    ]
    return text + (places[-1] if places else "")


def words(error: BaseException) -> str:
    """Return an exception's message on one line, whatever it does to prevent that."""
    try:
        lines = str(error).split("\n")
    except Exception:
        return "its message cannot be had"
    text = "; ".join(filter(None, map(str.strip, lines)))
    return text if len(text) <= _MOST_WORDS else f"{text[:_MOST_WORDS]}…"


def _check_version(entry: EntryPoint) -> None:
    """Raise `Mismatch` where the plugin's distribution needs another core than this.

    Whoever installs by force, or by PYTHONPATH, has not been told. Only bounds are looked at: they
    are what we ask plugins to name, and all of the language would take as long as a whole command.
    """
    try:
        core = metadata.version(CORE)
    # Run from a tree: there is nothing to compare.
    except metadata.PackageNotFoundError:
        return
    for needed in (entry.dist.requires if entry.dist else None) or ():
        name, bounds = re.match(r"([\w.-]*)(?:\[.*\])?(.*)", needed, re.S).groups()  # type: ignore[union-attr]
        if _normal(name) != CORE or ";" in bounds:
            continue
        for bound, version in re.findall(r"(>=|<)\s*(\d+(?:\.\d+)*)(?=[\s,)]|$)", bounds):
            if (bound == "<") != (_release(core) < _release(version)):
                raise Mismatch(f"it needs {CORE} {bounds.strip(' ()')}, and this is {core}")


def _release(version: str) -> list[int]:
    """Return what of a version counts for a bound: 0.2, 0.2.0 and 0.2.dev1 are the same."""
    release = [int(each) for each in re.findall(r"\d+", re.match(r"[\d.]*", version).group())]  # type: ignore[union-attr]
    while release and not release[-1]:
        release.pop()
    return release


def _normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _check_contract(codec: object) -> None:
    if not (isinstance(codec, type) and issubclass(codec, Codec)):
        raise Defect(f"codecs_core_codecs returned {codec!r}, which is no subclass of Codec")
    name = getattr(codec, "name", None)
    if not (isinstance(name, str) and re.fullmatch(r"[a-z0-9][a-z0-9-]{0,30}", name)):
        raise Defect(f"{codec.__qualname__}.name is {name!r}, not lower-case letters and digits")
    if name == AUTO:
        raise Defect(f"{codec.__qualname__}.name is {name!r}, which is the adaptive method's")
    if "__dataclass_params__" not in vars(codec) or not vars(codec)["__dataclass_params__"].frozen:
        raise Defect(f"{codec.__qualname__} is not decorated with @dataclass(frozen=True)")
    if codec.method is not None and not (isinstance(codec.method, int) and 0 < codec.method < 31):
        raise Defect(f"{codec.__qualname__}.method is {codec.method!r}, not 1 to 30 or None")
    if codec.suffix is not None and not re.fullmatch(r"\.\S+", str(codec.suffix)):
        raise Defect(f"{codec.__qualname__}.suffix is {codec.suffix!r}, not like '.ext' or None")
    magic: object = codec.magic
    if not isinstance(magic, tuple) or not all(
        isinstance(each, bytes) and 2 <= len(each) <= 8 for each in magic
    ):
        raise Defect(
            f"{codec.__qualname__}.magic is {magic!r}, not a tuple of 2 to 8 bytes each, as in: "
            'magic = (b"BZh",)'
        )
    for field_ in dataclasses.fields(codec):
        if field_.name in ("name", "method", "suffix"):
            raise Defect(
                f"{codec.__qualname__}.{field_.name} is annotated, which makes it a parameter; "
                f"write it without, as in: {field_.name} = {field_.default!r}"
            )
        if hasattr(Codec, field_.name):
            raise Defect(
                f"{codec.__qualname__}.{field_.name} has the name of a part of the contract; call "
                "the parameter something else"
            )
        if not re.fullmatch(r"[a-z][a-z0-9_]*", field_.name):
            raise Defect(
                f"{codec.__qualname__}.{field_.name} is no name for a parameter; write it in "
                "lower-case letters, digits and '_'"
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
