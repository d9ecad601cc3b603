"""The architecture, enforced: which part may import which, and that no part knows a codec."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import codecs_core
from codecs_core.registry import FIRST_PARTY

ROOT = Path(codecs_core.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

CONTRACT = {"codec", "errors", "file_format"}
CORE = {*CONTRACT, "hookspecs", "none", "registry"}
PARTS = {
    "errors": set(),
    "accelerator": set(),
    "file_format": {"errors"},
    "codec": {"errors", "file_format"},
    "reader": CONTRACT,
    "device": CONTRACT,
    "build": set(),
    "none": CONTRACT,
    "hookspecs": {*CONTRACT, "accelerator"},
    "discovery": {*CONTRACT, "hookspecs", "accelerator"},
    "registry": {*CORE, "discovery", "accelerator"},
    "guard": {*CORE, "discovery"},
    "oneshot": {*CONTRACT, "registry"},
    "files": {*CONTRACT, "reader"},
    "stream": {*CONTRACT, "guard", "registry", "files"},
    "wire": CONTRACT,
    "memory": CONTRACT,
    "transport": CONTRACT,
    "engine": {*CORE, "guard", "wire", "memory", "transport"},
    "monitor": {*CONTRACT, "wire", "memory", "transport", "engine"},
    "hardware": {*CORE, "accelerator"},
    "forecast": {*CORE, "guard", "wire", "memory", "transport", "engine"},
    "gateway": {*CORE, "guard", "wire", "memory", "transport", "engine"},
    "testing": {*CORE, "discovery", "guard", "oneshot", "stream"},
    "scaffold": CORE,
    "dask": set(),
    "cli": {
        *(CORE | {"guard", "oneshot", "stream", "hardware", "accelerator", "scaffold"}),
        *("wire", "memory", "transport", "engine", "gateway", "forecast", "monitor"),
    },
    "__main__": {"cli"},
}
"""Every part of the package, and the parts that it may import beside itself."""

CODEC_LIBRARIES = {"deflate", "isal", "lz4", "zlib_ng", "zstandard", "compression"}
CODEC_NAME = re.compile(rf"(?<![\w.])({'|'.join(sorted({*FIRST_PARTY, 'uadk'}))})(?!\w)")


def part_of(module: Path) -> str:
    """``wire`` for ``codecs_core/wire/packet.py``, ``codec`` for ``codecs_core/codec.py``."""
    return module.relative_to(ROOT).with_suffix("").parts[0]


def imports(tree: ast.AST) -> Iterator[str]:
    """The full names that a module imports, anywhere in it and for whatever reason."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def constants(tree: ast.AST) -> Iterator[ast.Constant]:
    """The literals of a module that are not documentation: docstrings, and a command's epilog."""
    documentation = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) or (isinstance(node, ast.keyword) and node.arg == "epilog")
        for part in (ast.walk(node.value) if isinstance(node, ast.keyword) else (node.value,))
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in documentation:
            yield node


def parametrize_modules(modules: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("module", modules, ids=lambda m: str(m.relative_to(ROOT)))


@parametrize_modules(MODULES)
def test_every_module_belongs_to_a_part(module: Path) -> None:
    assert part_of(module) in {*PARTS, "__init__"}


@parametrize_modules([module for module in MODULES if part_of(module) != "__init__"])
def test_imports_point_downwards(module: Path) -> None:
    part = part_of(module)
    for name in imports(ast.parse(module.read_text())):
        package, _, rest = name.partition(".")
        if package != "codecs_core":
            continue
        target = rest.split(".")[0]
        assert target in PARTS, f"{module.name} imports {name}: import it from where it is defined"
        assert target == part or target in PARTS[part], f"{part} must not import {target}"


def test_the_rules_have_no_way_round() -> None:
    """What a part may import never leads back to it."""
    for part in PARTS:
        seen: set[str] = set()
        rest = set(PARTS[part]) - {part}
        while rest:
            seen |= rest
            rest = {below for each in rest for below in PARTS[each] if below != each} - seen
        assert part not in seen, part


@parametrize_modules(MODULES)
def test_what_is_imported_is_declared(module: Path) -> None:
    """Only the conformance kit may need what its extra installs."""
    project = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())["project"]
    extras = ("testing",) if part_of(module) == "testing" else ("metrics", "plot")
    lists = (project["dependencies"], *(project["optional-dependencies"][each] for each in extras))
    declared = {re.split(r"[.>]", each)[0].replace("-", "_") for part in lists for each in part}
    if part_of(module) == "dask":
        # It is but another name for what a distribution of its own brings.
        declared.add("codecs_core_dask")
    used = {name.split(".")[0] for name in imports(ast.parse(module.read_text()))}
    assert used - declared - sys.stdlib_module_names - {"codecs_core"} == set()


@parametrize_modules(MODULES)
def test_no_module_imports_a_codecs_library(module: Path) -> None:
    for name in imports(ast.parse(module.read_text())):
        package = name.split(".")[0]
        assert package not in CODEC_LIBRARIES
        # `codecs_core.dask` is but another name for one.
        assert not package.startswith("codecs_core_") or part_of(module) == "dask"


@parametrize_modules(MODULES)
def test_no_module_names_a_codec(module: Path) -> None:
    """Documentation may; code must not: what holds for one codec is that codec's affair."""
    tree = ast.parse(module.read_text())
    if part_of(module) == "registry":
        (listed,) = [
            node
            for node in tree.body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "FIRST_PARTY"
        ]
        tree.body.remove(listed)
    if module == ROOT / "hardware/methods.py":
        # Advice is about codecs; it has their names from here.
        return
    for constant in constants(tree):
        found = CODEC_NAME.search(str(constant.value))
        assert not found, f"line {constant.lineno} names the codec {found[0]!r}"
