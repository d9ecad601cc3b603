"""A new plugin: a distribution whose codec works and passes the conformance kit, to start from.

The files under ``template`` are those of the worked example, examples/codecs-core-xz, with a name
to be filled in.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from string import Template

from codecs_core.errors import UsageError
from codecs_core.registry import AUTO, FIRST_PARTY, default_registry

__all__ = ["NewPlugin"]

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
"""A codec's name that is the end of a distribution's name, too: normalized, as PEP 503 has it."""

MAX_NAME = 31
"""As long as the registry takes."""

SUMMARY = "LZMA2, until it has an algorithm of its own"


@dataclass(frozen=True)
class NewPlugin:
    """A distribution ``codecs-core-NAME`` that provides the codec ``name``.

    ``summary`` is one line, without a full stop. Raises `UsageError` for a name that cannot be a
    codec's, or that is taken here.
    """

    name: str
    summary: str = SUMMARY

    def __post_init__(self) -> None:
        """Check name and summary."""
        if not NAME.fullmatch(self.name) or len(self.name) > MAX_NAME:
            raise UsageError(
                f"{self.name!r} cannot be a codec's name; remedy: at most {MAX_NAME} lower-case "
                "letters and digits, in words joined by single hyphens"
            )
        if (taken := _owner(self.name, self.distribution)) is not None:
            raise UsageError(f"the name {self.name!r} is taken by {taken}; remedy: choose another")
        if not (re.fullmatch(r'\s*[^\s"\\][^"\\]*', self.summary) and self.summary.isprintable()):
            raise UsageError(
                f"the summary {self.summary!r} does not fit between quotes; "
                "remedy: one line without quotation marks and backslashes"
            )

    @property
    def distribution(self) -> str:
        """The distribution's name."""
        return f"codecs-core-{self.name}"

    @property
    def module(self) -> str:
        """The name of the module to import."""
        return self.distribution.replace("-", "_")

    def files(self) -> dict[str, str]:
        """The distribution's files: paths in its directory, and what is in them."""
        title = "".join(word.capitalize() for word in self.name.split("-"))
        values = {
            "name": self.name,
            "summary": self.summary,
            "distribution": self.distribution,
            "module": self.module,
            "title": title if title[0].isalpha() else f"Codec{title}",
            "core": _compatible(metadata.version("codecs-core")),
        }
        templates = {
            "pyproject.toml": "pyproject.toml.in",
            "README.md": "README.md.in",
            f"src/{self.module}/__init__.py": "codec.py.in",
            f"tests/test_{self.name.replace('-', '_')}.py": "test.py.in",
        }
        place = resources.files("codecs_core.scaffold") / "template"
        filled = {
            path: Template((place / template).read_text("utf-8")).substitute(values)
            for path, template in templates.items()
        }
        return filled | {f"src/{self.module}/py.typed": ""}

    def write(self, directory: Path) -> list[Path]:
        """Write the files into a directory that is new or empty, and return them.

        Hidden files, a repository's say, do not count. Nothing is left behind where it fails.
        Raises `UsageError` where there is something already.
        """
        if directory.exists() and not directory.is_dir():
            raise UsageError(
                f"{directory} is a file; remedy: give a directory that is new or empty"
            )
        new = not directory.exists()
        if not new and any(not each.name.startswith(".") for each in directory.iterdir()):
            raise UsageError(f"{directory} is not empty; remedy: give one that is new or empty")
        written: list[Path] = []
        try:
            for name, text in self.files().items():
                path = directory / name
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("x", encoding="utf-8") as file:
                    written.append(path)
                    file.write(text)
        except BaseException:
            self._remove(directory, new)
            raise
        return written

    def _remove(self, directory: Path, whole: bool) -> None:
        for place in {directory / Path(name).parts[0] for name in self.files()}:
            if place.is_dir():
                shutil.rmtree(place)
            elif place.exists():
                place.unlink()
        if whole and directory.is_dir():
            directory.rmdir()


def _owner(name: str, distribution: str) -> str | None:
    """Who has the codec's name, or the distribution's, if anybody has."""
    registry = default_registry()
    if name == AUTO:
        return "the adaptive method"
    if name in registry:
        return registry[name].provider
    if name in FIRST_PARTY:
        return f"{distribution}, which is not installed"
    try:
        return f"{distribution} {metadata.version(distribution)}"
    except metadata.PackageNotFoundError:
        return None


def _compatible(version: str) -> str:
    """The releases whose contract is that of ``version``: ``>=0.1,<0.2``, ``>=2.3,<3``."""
    major, minor = (int(part) for part in re.findall(r"\d+", version)[:2])
    return f">={major}.{minor},<" + (f"0.{minor + 1}" if major == 0 else str(major + 1))
