"""Reads this project's docstrings as Markdown, with references that lead somewhere.

They are plain text with a little of reStructuredText: ``code``, `names` of other objects, and
blocks of code below a line that ends with two colons.
"""

from __future__ import annotations

import ast
import re
from textwrap import dedent
from typing import Any

import griffe

_BLOCK = re.compile(r"(?P<head>^.*)::\n\n(?P<code>(?:(?: {4}.*)?\n)+)", re.MULTILINE)
_CODE = re.compile(r"``(?P<code>[^`]+)``|`(?P<name>[\w.]+)`")


class Docstrings(griffe.Extension):
    """Rewrites every docstring of a package when all of it is loaded."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Rewrite the docstrings of the package."""
        _rewrite(pkg, {str(name) for name in pkg.exports or ()})


def _rewrite(place: griffe.Object, public: set[str]) -> None:
    if place.docstring is not None:
        place.docstring.value = _markdown(place.docstring.value, place, public)
    for member in place.members.values():
        if isinstance(member, griffe.Object):
            _rewrite(member, public)


def _markdown(text: str, place: griffe.Object, public: set[str]) -> str:
    def code(found: re.Match[str]) -> str:
        if found["code"]:
            return f"`{found['code']}`"
        target = _target(found["name"], place, public)
        shown = f"<code>{found['name']}</code>"
        return f'<autoref optional identifier="{target}">{shown}</autoref>' if target else shown

    parts = []
    end = 0
    text += "\n"
    for block in _BLOCK.finditer(text):
        parts.append(_CODE.sub(code, text[end : block.start()]))
        head = _CODE.sub(code, block["head"])
        parts.append(f"{head}:\n\n" if head.strip() else "")
        parts.append(_fenced(dedent(block["code"]).strip("\n")))
        end = block.end()
    parts.append(_CODE.sub(code, text[end:]))
    return "".join(parts).rstrip("\n")


def _fenced(code: str) -> str:
    try:
        ast.parse(code)
    except SyntaxError:
        return f"```text\n{code}\n```\n\n"
    return f"```python\n{code}\n```\n\n"


def _target(name: str, place: griffe.Object, public: set[str]) -> str | None:
    """Return the full name of what a docstring calls ``name``."""
    first = name.partition(".")[0]
    if first in public:
        return f"{place.package.path}.{name}"
    owner: griffe.Object | None = place
    while owner is not None:
        if first in owner.members:
            return f"{owner.path}.{name}"
        owner = owner.parent
    return None
