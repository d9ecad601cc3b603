"""Entry points → codecs: lazily, and surviving broken plugins.

An entry point of group ``codecs_core`` is named after its codec, so the names are known without
importing anything; asking for a codec imports the one plugin that provides it. Each plugin is in
one of three states: *loaded*, *unavailable* (sound, but its library or device is missing) and
*broken* (a defect, whose cause is kept). Only a plugin that is asked for by name can fail the
caller.
"""

from __future__ import annotations

import dataclasses
import enum
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING, Any

from codecs_core.accelerator import Accelerator, Obstacle
from codecs_core.codec import Availability, Codec, Parameter
from codecs_core.discovery import (
    AUTO,
    CORE,
    Defect,
    Mismatch,
    accelerators,
    described,
    identity,
    installed,
    load,
    offer,
    precedence,
)
from codecs_core.errors import (
    BrokenPlugin,
    CodecUnavailable,
    UnknownCodec,
    UsageError,
)
from codecs_core.none import NoneCodec

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint
    from pathlib import Path

__all__ = [
    "ALLOW_LIST",
    "AUTHOR",
    "AUTO",
    "CodecInfo",
    "Registry",
    "State",
    "codecs",
    "default_registry",
    "get_codec",
]

ALLOW_LIST = "CODECS_CORE_PLUGINS"
"""Environment variable: a comma-separated list of the only plugins that may load."""

AUTHOR = "report it to the plugin's author, or uninstall it"
"""What to do about a defect."""

FIRST_PARTY = frozenset({"zlib", "zstd", "lz4", "qatzip", "qpl"})
"""Codecs published beside the core as ``codecs-core-<name>``, for the hint in `UnknownCodec`."""


class State(enum.StrEnum):
    """What became of a plugin."""

    LOADED = "loaded"
    UNAVAILABLE = "unavailable"
    BROKEN = "broken"


@dataclass(frozen=True)
class CodecInfo:
    """What is known of one codec: a row of the listing.

    ``reason`` and ``remedy`` are empty where the codec is loaded; ``cause`` is the exception of
    a broken plugin. ``codec`` is the class, where it could be had, ``candidates`` what it suggests
    to the adaptive method.
    """

    name: str
    state: State
    distribution: str = ""
    version: str = ""
    method: int | None = None
    suffix: str | None = None
    backend: str = ""
    reason: str = ""
    remedy: str = ""
    summary: str = ""
    parameters: tuple[Parameter, ...] = ()
    candidates: tuple[Codec, ...] = field(default=(), repr=False, compare=False)
    codec: type[Codec] | None = field(default=None, repr=False)
    cause: BaseException | None = field(default=None, repr=False, compare=False)

    @property
    def provider(self) -> str:
        """The distribution and its version: ``codecs-core 0.1.0``."""
        return f"{self.distribution} {self.version}".rstrip()


class Registry(Mapping[str, CodecInfo]):
    """The codecs of one set of entry points, by name. Thread-safe.

    Iterating yields names and imports nothing; looking a name up loads that plugin alone.
    ``entry_points`` defaults to those installed.
    """

    def __init__(self, entry_points: Iterable[EntryPoint] | None = None) -> None:
        self._lock = threading.RLock()
        if entry_points is None:
            entry_points = installed()
        self._claims: dict[str, list[EntryPoint]] = {}
        for each in sorted(entry_points, key=precedence):
            if _allowed(each.name):
                self._claims.setdefault(each.name, []).append(each)
        self._infos: dict[str, CodecInfo] = {NoneCodec.name: _describe(NoneCodec, None)}

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((NoneCodec.name, *self._claims)))

    def __len__(self) -> int:
        return len(self._claims.keys() | {NoneCodec.name})

    def __contains__(self, name: object) -> bool:
        return name == NoneCodec.name or name in self._claims

    def __getitem__(self, name: str) -> CodecInfo:
        with self._lock:
            if name not in self._infos:
                self._infos[name] = self._load(self._claims[name][0])
            return self._infos[name]

    def listing(self) -> list[CodecInfo]:
        """Every codec and every rejected claim to a name, all loaded: the full table."""
        rows = [self[name] for name in self]
        for name, claims in self._claims.items():
            losers = claims if name == NoneCodec.name else claims[1:]
            owner = self[name].distribution
            rows.extend(
                dataclasses.replace(
                    _origin(loser, State.BROKEN),
                    reason=f"the name {name!r} is already taken by {owner}",
                    remedy="uninstall one of the two, or ask its author to rename the codec",
                )
                for loser in losers
            )
        return rows

    def known(self) -> list[CodecInfo]:
        """What has been asked for so far; loads nothing."""
        with self._lock:
            return list(self._infos.values())

    def codec_class(self, name: str) -> type[Codec]:
        """The class of codec ``name``.

        Raises `UnknownCodec`, or `CodecUnavailable` or `BrokenPlugin` where the plugin is not in
        state *loaded*.
        """
        try:
            info = self[name]
        except KeyError:
            raise UnknownCodec(self._unknown(name), name=name) from None
        if info.state is State.BROKEN:
            raise BrokenPlugin(
                f"the plugin for codec {name!r} ({info.provider}) is broken: {_why(info)}",
                name=name,
            ) from info.cause
        if info.state is State.UNAVAILABLE:
            raise CodecUnavailable(f"codec {name!r} is not available here: {_why(info)}", name=name)
        assert info.codec is not None
        return info.codec

    def get_codec(self, name: str | Codec, /, **parameters: Any) -> Codec:
        """Make codec ``name`` with ``parameters``; a codec is handed back as it is."""
        if isinstance(name, Codec):
            if parameters:
                raise UsageError(
                    f"{name!r} is a codec already; give parameters with a codec's name only"
                )
            return name
        if not isinstance(name, str):
            raise UsageError(f"a codec is given by its name or as a Codec, not as {name!r}")
        return self.codec_class(name).from_parameters(parameters)

    def by_method(self, method: int) -> str | None:
        """The name of the codec that speaks QEMU's wire method ``method``, loading all.

        Raises `BrokenPlugin` where several claim to.
        """
        found = [i for i in self.values() if i.codec and i.method == method]
        if len(found) > 1:
            claims = " and ".join(f"{each.name!r} ({each.provider})" for each in found)
            raise BrokenPlugin(
                f"wire method {method} is claimed by the codecs {claims}; uninstall all but one, "
                f"or name those to load in {ALLOW_LIST}",
                name=found[-1].name,
            )
        return found[0].name if found else None

    def by_suffix(self, path: str | os.PathLike[str]) -> str | None:
        """The name of the codec whose file format ``path`` ends like, loading all."""
        text = os.fspath(path)
        return next(
            (i.name for i in self.values() if i.suffix is not None and text.endswith(i.suffix)),
            None,
        )

    def by_magic(self, head: bytes) -> list[str]:
        """The names of the codecs whose files begin like ``head``, those that work first."""
        found = [i for i in self.values() if i.codec and head.startswith(i.codec.magic)]
        return [i.name for i in sorted(found, key=lambda i: i.state is not State.LOADED)]

    def accelerators(self, root: Path) -> list[Accelerator]:
        """The devices that plugins know of on the host below ``root``, loading all.

        A plugin that fails stands for one device, with its failure as the obstacle.
        """
        found: dict[Accelerator, None] = {}
        for name, claims in self._claims.items():
            if self[name].state is State.BROKEN:
                continue
            try:
                found.update(dict.fromkeys(accelerators(claims[0], root)))
            except (KeyboardInterrupt, GeneratorExit):
                raise
            except BaseException as error:
                reason = _reason(error, claims[0])
                obstacle = Obstacle(f"the plugin cannot tell its devices: {reason}")
                found[Accelerator(name, "?", self[name].provider, (obstacle,))] = None
        return list(found)

    def _unknown(self, name: str) -> str:
        text = f"no codec is called {name!r}; installed: {', '.join(self)}"
        if not _allowed(name):
            text += f" ({ALLOW_LIST}={os.environ[ALLOW_LIST]!r} restricts what may load)"
        elif name in FIRST_PARTY:
            text += f"; remedy: pip install codecs-core-{name}"
        return text

    def _load(self, entry: EntryPoint) -> CodecInfo:
        try:
            return _describe(load(entry), entry)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        # A plugin is a stranger's code: whatever it raises, SystemExit included, is its defect.
        except BaseException as error:
            return dataclasses.replace(
                _origin(entry, State.BROKEN),
                reason=_reason(error, entry),
                remedy=_remedy(error, entry),
                cause=error,
            )


def _describe(codec: type[Codec], entry: EntryPoint | None) -> CodecInfo:
    availability = codec.availability()
    if not isinstance(availability, Availability):
        raise Defect(f"{codec.__qualname__}.availability() returned {availability!r}")
    base = (
        _origin(entry, State.LOADED)
        if entry
        else CodecInfo(codec.name, State.LOADED, CORE, _version(CORE))
    )
    candidates = offer(codec) if availability.available else ()
    return dataclasses.replace(
        base,
        state=State.LOADED if availability.available else State.UNAVAILABLE,
        method=codec.method,
        suffix=codec.suffix,
        backend=availability.backend,
        reason=availability.reason,
        remedy=availability.remedy,
        summary=(codec.__doc__ or "").strip().split("\n")[0],
        parameters=codec.parameters(),
        candidates=candidates,
        codec=codec,
    )


def _origin(entry: EntryPoint, state: State) -> CodecInfo:
    name, version = identity(entry.dist)
    return CodecInfo(entry.name, state, name or entry.value, version)


def _allowed(name: str) -> bool:
    listed = os.environ.get(ALLOW_LIST)
    return listed is None or name in {each.strip() for each in listed.split(",")}


def _why(info: CodecInfo) -> str:
    return "; ".join(filter(None, (info.reason, info.remedy))) or "it gives no reason"


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _reason(error: BaseException, entry: EntryPoint) -> str:
    if isinstance(error, Defect | Mismatch):
        return str(error)
    return described(error, entry.value.partition(":")[0])


def _remedy(error: BaseException, entry: EntryPoint) -> str:
    if isinstance(error, Mismatch):
        return f"pip install --upgrade {CORE} {_origin(entry, State.BROKEN).distribution}"
    if isinstance(error, ModuleNotFoundError):
        return f"install what has this module; if nothing has, {AUTHOR}"
    return AUTHOR


_default: Registry | None = None
_default_lock = threading.Lock()


def default_registry() -> Registry:
    """The registry of the installed plugins, made on first use."""
    global _default
    with _default_lock:
        if _default is None:
            _default = Registry()
        return _default


def codecs() -> Registry:
    """The installed codecs: a mapping from name to `CodecInfo`.

    Iterating it imports no plugin; ``codecs()["zstd"]`` loads that one, ``.listing()`` all.
    """
    return default_registry()


def get_codec(name: str | Codec, /, **parameters: Any) -> Codec:
    """Make the codec called ``name``: ``get_codec("zstd", level=3)``.

    Parameters go by field name or by QEMU's (``multifd_zstd_level=3``). Raises `UnknownCodec`,
    `CodecUnavailable`, `BrokenPlugin` or `ParameterError`.
    """
    return default_registry().get_codec(name, **parameters)
