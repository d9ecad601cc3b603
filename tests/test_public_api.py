"""What ``import codecs_core`` offers, and what it does not cost."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import codecs_core


@pytest.mark.parametrize("name", codecs_core.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(codecs_core, name) is not None
    assert name in dir(codecs_core)


def test_the_three_lists_of_names_agree() -> None:
    """``__all__``, where names are loaded from, and what type checkers see."""
    tree = ast.parse(Path(codecs_core.__file__).read_text())
    typed = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("codecs_core.")
        for alias in node.names
    }
    loaded = {name: f"codecs_core.{home}" for name, home in codecs_core._HOME.items()}
    assert typed == loaded
    assert sorted(loaded) == sorted(codecs_core.__all__)


def test_homes_export_what_is_taken_from_them() -> None:
    for name, home in codecs_core._HOME.items():
        assert name in importlib.import_module(f"codecs_core.{home}").__all__


def test_version_is_the_distributions() -> None:
    assert codecs_core.__version__ == metadata.version("codecs-core")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'codecs_core' has no attribute 'Compressor'"):
        codecs_core.Compressor  # noqa: B018


def test_importing_the_package_imports_next_to_nothing() -> None:
    """No other package, no metadata of the installed ones: this is why the import is quick."""
    code = """if True:
        import sys
        before = set(sys.modules)
        import codecs_core
        print(*set(sys.modules) - before)
    """
    answer = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )
    imported = set(answer.stdout.split())
    strangers = {name for name in imported if name.split(".")[0] not in sys.stdlib_module_names}
    assert strangers == {"codecs_core"}
    assert "importlib.metadata" not in imported
